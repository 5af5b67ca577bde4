"""Delivery by Apprise to a local server that accepts, refuses or hangs."""

import logging
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import apprise
import pytest

from tests.support.webhook import Webhook
from worker.daemon.notify.apprise_sender import AppriseSender, open_sender
from worker.daemon.notify.dispatcher import deliver
from worker.daemon.notify.message import ChannelMessage
from worker.model.errors import ChannelUnusable
from worker.model.redaction import Secrets

MESSAGE = ChannelMessage("[senderid] main: failing", "main: failing: <b>x</b>", "failure")
TOKEN = "TIiajkdnlazkcOXrIdevi7FQ"

FILLED = {
    "T/B/X": f"T1JJ3T3L2/A1BRTD4JD/{TOKEN}",
    "BOT_TOKEN": "123456789:abcdefghijklmnopqrst",
    "CHAT_ID": "12345678",
    "CLIENT_ID": "0123456789abcdef0123456789abcdef",
}
"""Values for the placeholders of the documentation."""


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    """Return a running webhook."""
    with Webhook() as running:
        yield running


async def test_message_arrives_unchanged(webhook: Webhook, capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing is printed."""
    assert await deliver(open_sender("ops", webhook.url("ok")), MESSAGE, 10) is None
    (received,) = webhook.received
    assert (received["title"], received["message"], received["type"]) == (MESSAGE.title, MESSAGE.body, "failure")
    assert capfd.readouterr() == ("", "")


def test_redirects_and_icon_downloads_are_disabled(monkeypatch: pytest.MonkeyPatch, webhook: Webhook) -> None:
    """Redirects and icon downloads would send the message or a request to another host."""
    calls: list[dict[str, object]] = []
    real = apprise.AppriseAsset

    def asset(**options: Any) -> apprise.AppriseAsset:
        calls.append(options)
        return real(**options)

    monkeypatch.setattr(apprise, "AppriseAsset", asset)
    open_sender("ops", webhook.url("ok"))
    assert calls == [
        {
            "app_id": "senderid",
            "app_desc": "SMS sender numbers",
            "image_url_mask": "",
            "image_url_logo": "",
            "async_mode": False,
            "service_timeout": 0,
            "http_redirects": False,
            "storage_mode": apprise.PersistentStoreMode.MEMORY,
            "allow_templates": False,
        }
    ]


async def test_documented_kakaowork_url_sets_fields_and_headers(webhook: Webhook) -> None:
    page = (Path(__file__).parents[3] / "docs/how-to/notifications.md").read_text()
    (url,) = re.findall(r"`(jsons://api\.kakaowork\.com/\S+)`", page)
    local_url = url.replace("jsons://api.kakaowork.com/", webhook.url("ok/")).replace("APP_KEY", TOKEN)
    assert await deliver(open_sender("ops", local_url), MESSAGE, 10) is None
    assert webhook.received == [{"conversation_id": "CONVERSATION_ID", "text": MESSAGE.body}]
    assert webhook.headers[0]["Authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("scheme", ["slack", "tgram", "mailtos", "discord", "gchat", "kakaotalk", "workflows", "json"])
def test_documented_urls_are_accepted(scheme: str) -> None:
    page = (Path(__file__).parents[3] / "docs/how-to/notifications.md").read_text()
    urls = re.findall(rf"`({scheme}://\S+)`", page)
    assert urls
    for url in urls:
        for word, value in FILLED.items():
            url = url.replace(word, value)  # noqa: PLW2901 - word by word
        assert open_sender("ops", url).name == "ops"


async def test_refusal_is_reported_without_the_url(webhook: Webhook, capfd: pytest.CaptureFixture[str]) -> None:
    url = webhook.url(f"bad/{TOKEN}").replace("://", "://user:pass%40word@")
    reason = await deliver(open_sender("ops", url), MESSAGE, 10)
    assert reason is not None
    assert "500" in reason
    assert len(webhook.received) == 1
    assert capfd.readouterr() == ("", "")


async def test_decoded_part_of_the_url_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service quotes the token as it was before its percent-encoding."""

    class Refusal(list[object]):
        def __bool__(self) -> bool:
            """Return False: the message was not sent."""
            return False

    entry = SimpleNamespace(message="the token TIia+jkdn/lazkc is revoked")
    monkeypatch.setattr(apprise.Apprise, "notify", lambda *_args, **_options: Refusal([[[entry]]]))
    reason = await deliver(open_sender("ops", "json://localhost/TIia%2Bjkdn%2Flazkc"), MESSAGE, 10)
    assert reason == "the token [removed]/[removed] is revoked"


async def test_failed_connection_is_reported_without_its_host(capfd: pytest.CaptureFixture[str]) -> None:
    reason = await deliver(open_sender("ops", f"json://127.0.0.1:1/{TOKEN}"), MESSAGE, 10)
    assert reason == "A Connection error occurred sending JSON notification to [removed]."
    assert capfd.readouterr() == ("", "")


async def test_hanging_delivery_times_out(webhook: Webhook) -> None:
    """A second delivery is refused while the first one hangs."""
    sender = open_sender("ops", webhook.url("hang"))
    assert await deliver(sender, MESSAGE, 0.2) == "no response within 0.2 s"
    webhook.arrived.wait(5)
    assert await deliver(sender, MESSAGE, 5) == "the previous delivery is still running"
    assert len(webhook.received) == 1
    hanging = [thread for thread in threading.enumerate() if thread.name == "notify ops"]
    assert [thread.daemon for thread in hanging] == [True]


@pytest.mark.parametrize(
    "url", [f"nowhere://{TOKEN}", TOKEN, "", f"slack://{TOKEN}", f"json://a/{TOKEN},json://b/{TOKEN}", "json://"]
)
def test_invalid_url_is_refused_without_revealing_it(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ChannelUnusable, match="channel ops: Apprise does not accept its URL") as error:
        open_sender("ops", url)
    assert TOKEN not in str(error.value)
    assert capfd.readouterr() == ("", "")


def test_missing_library_names_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(ChannelUnusable, match=r"pip install '\.\[notify\]'"):
        open_sender("ops", "json://127.0.0.1:1")


async def test_log_of_the_library_is_suppressed(webhook: Webhook) -> None:
    """The log of the library contains URLs, which may be secret."""
    records: list[logging.LogRecord] = []

    class Listening(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    handler, root = Listening(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        await deliver(open_sender("ops", webhook.url(f"bad/{TOKEN}")), MESSAGE, 10)
        logging.getLogger("other").debug("heard")
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    assert [record.getMessage() for record in records if record.name != "asyncio"] == ["heard"]


async def test_exception_of_the_library_is_reported_by_type(monkeypatch: pytest.MonkeyPatch) -> None:
    sender = open_sender("ops", "json://127.0.0.1:1")

    def broken(**_: object) -> bool:
        raise ValueError(TOKEN)

    monkeypatch.setattr(sender._service, "notify", broken)
    assert await deliver(sender, MESSAGE, 10) == "ValueError"


async def test_message_is_sent_as_plain_text() -> None:
    """Apprise escapes it for channels that take HTML."""
    service = Mock(**{"notify.return_value": True})
    assert await AppriseSender("ops", service, Secrets(()))(MESSAGE) is None
    service.notify.assert_called_once_with(
        body=MESSAGE.body,
        title=MESSAGE.title,
        notify_type=apprise.NotifyType.FAILURE,
        body_format=apprise.NotifyFormat.TEXT,
    )
