"""Messages by Apprise, to a place on this machine that takes them, refuses them or never answers."""

import logging
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apprise
import pytest

from tests.support.webhook import Webhook
from worker.daemon.notify.apprise_sender import open_sender
from worker.daemon.notify.dispatcher import deliver
from worker.daemon.notify.message import ChannelMessage
from worker.model.errors import ChannelUnusable

MESSAGE = ChannelMessage("[senderid] main: failing", "main: failing: <b>x</b>", "failure")
TOKEN = "TIiajkdnlazkcOXrIdevi7FQ"

FILLED = {
    "T/B/X": f"T1JJ3T3L2/A1BRTD4JD/{TOKEN}",
    "BOT_TOKEN": "123456789:abcdefghijklmnopqrst",
    "CHAT_ID": "12345678",
    "CLIENT_ID": "0123456789abcdef0123456789abcdef",
}
"""Words of the page that only look like something when they are filled in."""


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    """A place that takes messages."""
    with Webhook() as running:
        yield running


async def test_message_arrives_unchanged(webhook: Webhook, capfd: pytest.CaptureFixture[str]) -> None:
    """Title, body and urgency get there, and nothing is printed."""
    assert await deliver(open_sender("ops", webhook.url("ok")), MESSAGE, 10) is None
    (received,) = webhook.received
    assert (received["title"], received["message"], received["type"]) == (MESSAGE.title, MESSAGE.body, "failure")
    assert capfd.readouterr() == ("", "")


def test_a_sender_follows_no_redirect_and_fetches_nothing(monkeypatch: pytest.MonkeyPatch, webhook: Webhook) -> None:
    """A redirect would take the message, and icons a request, to another host."""
    given: list[dict[str, object]] = []
    real = apprise.AppriseAsset

    def asset(**options: Any) -> apprise.AppriseAsset:
        given.append(options)
        return real(**options)

    monkeypatch.setattr(apprise, "AppriseAsset", asset)
    open_sender("ops", webhook.url("ok"))
    assert given == [
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


async def test_any_json_webhook_gets_what_it_takes(webhook: Webhook) -> None:
    """A channel's URL can rename, add and leave out fields and add headers, as the page on KakaoWork shows."""
    page = (Path(__file__).parents[3] / "docs/how-to/notifications.md").read_text()
    (shown,) = re.findall(r"`(jsons://api\.kakaowork\.com/\S+)`", page)
    here = shown.replace("jsons://api.kakaowork.com/", webhook.url("ok/")).replace("APP_KEY", TOKEN)
    assert await deliver(open_sender("ops", here), MESSAGE, 10) is None
    assert webhook.received == [{"conversation_id": "CONVERSATION_ID", "text": MESSAGE.body}]
    assert webhook.headers[0]["Authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("scheme", ["slack", "tgram", "mailtos", "discord", "gchat", "kakaotalk", "workflows", "json"])
def test_every_url_that_the_page_shows_is_understood(scheme: str) -> None:
    """Each example of the page on notifications is a URL that the library takes, with its words filled in."""
    page = (Path(__file__).parents[3] / "docs/how-to/notifications.md").read_text()
    shown = re.findall(rf"`({scheme}://\S+)`", page)
    assert shown
    for url in shown:
        for word, value in FILLED.items():
            url = url.replace(word, value)  # noqa: PLW2901 - word by word
        assert open_sender("ops", url).name == "ops"


async def test_refusal_is_reported_without_the_url(webhook: Webhook, capfd: pytest.CaptureFixture[str]) -> None:
    """A server that answers 500 is a reason without any part of the URL, and the library prints nothing."""
    url = webhook.url(f"bad/{TOKEN}").replace("://", "://user:pass%40word@")
    reason = await deliver(open_sender("ops", url), MESSAGE, 10)
    assert reason is not None
    assert "500" in reason
    assert len(webhook.received) == 1
    assert capfd.readouterr() == ("", "")


async def test_dead_server_is_reported_without_its_host(capfd: pytest.CaptureFixture[str]) -> None:
    """The reason of a failed connection leaves out the host, which is a part of the URL like any other."""
    reason = await deliver(open_sender("ops", f"json://127.0.0.1:1/{TOKEN}"), MESSAGE, 10)
    assert reason == "A Connection error occurred sending JSON notification to [removed]."
    assert capfd.readouterr() == ("", "")


async def test_a_server_that_hangs_is_given_up(webhook: Webhook) -> None:
    """A delivery ends when its time is over, and a second one does not join one that hangs."""
    door = open_sender("ops", webhook.url("hang"))
    assert await deliver(door, MESSAGE, 0.2) == "no response within 0.2 s"
    webhook.arrived.wait(5)
    assert await deliver(door, MESSAGE, 5) == "the previous delivery is still running"
    assert len(webhook.received) == 1
    hanging = [thread for thread in threading.enumerate() if thread.name == "notify ops"]
    assert [thread.daemon for thread in hanging] == [True]


@pytest.mark.parametrize(
    "url", [f"nowhere://{TOKEN}", TOKEN, "", f"slack://{TOKEN}", f"json://a/{TOKEN},json://b/{TOKEN}", "json://"]
)
def test_a_url_that_is_none_is_refused_unsaid(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    """What the library does not understand, or takes for several channels, is an error that repeats nothing of it."""
    with pytest.raises(ChannelUnusable, match="channel ops: Apprise does not accept its URL") as refused:
        open_sender("ops", url)
    assert TOKEN not in str(refused.value)
    assert capfd.readouterr() == ("", "")


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the extra is not installed, the error is the command that installs it."""
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(ChannelUnusable, match=r"pip install 'senderid-worker\[notify\]'"):
        open_sender("ops", "json://127.0.0.1:1")


async def test_the_librarys_log_goes_nowhere(webhook: Webhook) -> None:
    """The library's log lines have URLs: none is shown, even where everything is logged."""
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


async def test_service_that_raises_is_reported_by_type(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug of the library is a failed delivery, without its text."""
    door = open_sender("ops", "json://127.0.0.1:1")

    def broken(**_: object) -> bool:
        raise ValueError(TOKEN)

    monkeypatch.setattr(door._service, "notify", broken)
    assert await deliver(door, MESSAGE, 10) == "ValueError"
