"""`senderid notify test` in a process of its own, with a real webhook."""

from collections.abc import Iterator

import pytest

from tests.e2e.conftest import Command
from tests.support.webhook import Webhook

TOKEN = "TIiajkdnlazkcOXrIdevi7FQ"
SETTINGS = """
notify:
  timeout_seconds: {seconds}
  channels:
    - {{name: ops, url: {{env: OPS_URL}}}}
    - {{name: mail, url: {{file: mail.url}}, title: "$count from senderid: $title"}}
"""


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    """Serve a webhook."""
    with Webhook() as running:
        yield running


def test_every_channel_gets_a_test_message(command: Command, webhook: Webhook) -> None:
    command.write("config/worker.yaml", SETTINGS.format(seconds=10))
    command.write("mail.url", webhook.url("ok/mail\n"))
    command.environment["OPS_URL"] = webhook.url("ok/ops")
    result = command("notify", "test")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "ok    ops  accepted\nok    mail  accepted\n"
    assert {message["title"] for message in webhook.received} == {
        "[senderid] this is a test of the channel ops",
        "1 from senderid: this is a test of the channel mail",
    }
    result = command("notify", "test", "--channel", "mail")
    assert (result.returncode, result.stdout, len(webhook.received)) == (0, "ok    mail  accepted\n", 3)


def test_failed_channels_are_reported_without_their_urls(command: Command, webhook: Webhook) -> None:
    command.write("config/worker.yaml", SETTINGS.format(seconds=0.5))
    command.write("mail.url", webhook.url(f"bad/{TOKEN}"))
    command.environment["OPS_URL"] = webhook.url(f"hang/{TOKEN}")
    result = command("notify", "test")
    assert result.returncode == 1
    first, second = result.stdout.splitlines()
    assert first == "fail  ops  no response within 0.5 s"
    assert second.startswith("fail  mail  Failed to send JSON POST notification")
    assert (result.stderr, TOKEN in result.stdout) == ("", False)
    command.write("mail.url", f"nonsense {TOKEN}")
    del command.environment["OPS_URL"]
    result = command("notify", "test")
    assert result.returncode == 1
    assert result.stdout.splitlines() == [
        "fail  ops  the URL of channel ops is missing: the environment variable OPS_URL is not set",
        "fail  mail  channel mail: Apprise does not accept its URL; see docs/how-to/notifications.md for examples",
    ]
    assert result.stderr == ""


def test_one_failed_channel_is_an_error(command: Command, webhook: Webhook) -> None:
    command.write("config/worker.yaml", SETTINGS.format(seconds=10))
    command.write("mail.url", webhook.url(f"bad/{TOKEN}"))
    command.environment["OPS_URL"] = webhook.url("ok/ops")
    result = command("notify", "test")
    assert (result.returncode, [line[:9] for line in result.stdout.splitlines()]) == (1, ["ok    ops", "fail  mai"])
    assert command("notify", "test", "--channel", "ops").returncode == 0


@pytest.mark.parametrize(
    ("settings", "arguments", "status", "message"),
    [
        ("{}", [], 64, "senderid: no channel is configured: add one under notify: channels"),
        (
            SETTINGS.format(seconds=1),
            ["--channel", "opps"],
            64,
            "the settings have no such channel; did you mean 'ops'?",
        ),
        (f"notify: {{channels: [{{name: a, url: 'slack://{TOKEN}'}}]}}", [], 65, "1:36: url must be a reference"),
    ],
)
def test_wrong_usage_sends_nothing(
    command: Command, settings: str, arguments: list[str], status: int, message: str
) -> None:
    command.write("config/worker.yaml", settings)
    result = command("notify", "test", *arguments)
    assert (result.returncode, result.stdout) == (status, "")
    assert message in result.stderr
    assert TOKEN not in result.stderr
