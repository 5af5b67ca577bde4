"""Notifications of `apply` and `drift`: each state is reported once when it starts, and once when it ends."""

import json
from collections.abc import Iterator

import pytest

from tests.e2e.conftest import Command, Serve, Served
from tests.support.webhook import Webhook
from worker.sandbox import SandboxAccount

A, B, C = "01000000001", "01000000002", "01000000003"
NUMBERS = {A: "ACTIVE", B: "ACTIVE", C: "ACTIVE"}
_FILE = f"version: 1\nnumbers: {{{A}: ACTIVE, {B}: INACTIVE, {C}: ACTIVE}}\n"
_SETTINGS = """
notify:
  one_shot: {one_shot}
  channels:
    - {{name: ops, url: {{env: OPS_URL}}, title: "$title"}}
    - {{name: quiet, url: {{env: OPS_URL}}, events: [daemon]}}
"""


@pytest.fixture
def webhook(served: Served, command: Command) -> Iterator[Webhook]:
    """Serve a webhook as the channel of the settings."""
    del served
    command.write("config/desired/main.yaml", _FILE)
    command.write("config/worker.yaml", _SETTINGS.format(one_shot="true"))
    with Webhook() as running:
        command.environment["OPS_URL"] = running.url("ok")
        yield running


def _titles(webhook: Webhook) -> list[str]:
    """Return the titles of the messages since the last call."""
    titles = [message["title"] for message in webhook.received]
    webhook.received.clear()
    return titles


def test_failing_account_is_reported_once_and_its_recovery_once(command: Command, webhook: Webhook) -> None:
    """Each run is a process of its own, as in a CronJob."""
    apply = ("apply", "--yes")
    assert command(*apply).returncode == 0
    (title,) = _titles(webhook)
    assert title.startswith("main: ")
    assert command(*apply).returncode == 0
    assert _titles(webhook) == []
    secret = command.environment.pop("SOLAPI_API_SECRET")
    for _ in range(2):
        assert command(*apply).returncode == 1
    (title,) = _titles(webhook)
    assert title.startswith("main: failing: the API secret is missing")
    assert command("drift").returncode == 1
    command.environment["SOLAPI_API_SECRET"] = secret
    for _ in range(2):
        assert command(*apply).returncode == 0
    assert _titles(webhook) == ["main: working again"]


def test_drift_is_reported_once_until_it_is_reverted(
    command: Command, webhook: Webhook, account: SandboxAccount
) -> None:
    assert command("apply", "--yes").returncode == 0
    _titles(webhook)
    account.switch(B, "ACTIVE")
    for _ in range(2):
        assert command("drift").returncode == 2
    (title,) = _titles(webhook)
    assert "drift" in title or "changed" in title
    assert command("apply", "--yes").returncode == 0
    assert len(_titles(webhook)) == 1
    assert command("drift").returncode == 0
    assert _titles(webhook) == []


def test_refused_plan_is_reported_once_by_both_commands(command: Command, webhook: Webhook) -> None:
    """`drift` does not show whether a rule refuses the next apply."""
    command.write("config/desired/main.yaml", f"version: 1\nnumbers: {{{A}: INACTIVE, {B}: INACTIVE, {C}: INACTIVE}}\n")
    statuses = [command(*arguments).returncode for arguments in (("apply", "--yes"), ("drift",), ("apply", "--yes"))]
    assert (statuses[0], statuses[2]) == (4, 4)
    (title,) = _titles(webhook)
    assert title.startswith("main: plan refused by ")


def test_saved_plan_does_not_end_other_states(command: Command, webhook: Webhook, account: SandboxAccount) -> None:
    assert command("apply", "--yes").returncode == 0
    account.switch(B, "ACTIVE")
    assert command("drift").returncode == 2
    _titles(webhook)
    command.write("config/desired/main.yaml", _FILE.replace(f"{C}: ACTIVE", f"{C}: INACTIVE"))
    assert command("plan", "--only", C, "--out", "p.json").returncode == 0
    assert command("apply", "p.json").returncode == 0
    (title,) = _titles(webhook)
    assert "deactivated" in title
    assert command("drift").returncode == 2
    assert _titles(webhook) == []


@pytest.mark.parametrize("arguments", [("--only", B), ("--exclude", B), ("--dry-run",)])
def test_part_of_an_account_sends_nothing(command: Command, webhook: Webhook, arguments: tuple[str, ...]) -> None:
    assert command("apply", "--yes", *arguments).returncode in {0, 2}
    assert _titles(webhook) == []


def test_notifications_are_opt_in(command: Command, webhook: Webhook) -> None:
    command.write("config/worker.yaml", _SETTINGS.format(one_shot="false"))
    assert command("apply", "--yes").returncode == 0
    assert command("drift").returncode == 0
    assert _titles(webhook) == []


def test_invalid_file_is_reported_once_until_it_is_valid(command: Command, webhook: Webhook) -> None:
    assert command("apply", "--yes").returncode == 0
    _titles(webhook)
    command.write("config/desired/main.yaml", "version: 1\n")
    for arguments in (("apply", "--yes"), ("drift",), ("plan",)):
        assert command(*arguments).returncode == 65
    (title,) = _titles(webhook)
    assert title.startswith("config/desired/main.yaml is invalid")
    command.write("config/desired/main.yaml", _FILE)
    assert command("apply", "--yes").returncode == 0
    assert _titles(webhook) == ["config/desired/main.yaml is valid again or was deleted"]


@pytest.mark.parametrize("url", ["bad", None])
def test_channel_that_fails_does_not_end_the_run(command: Command, webhook: Webhook, url: str | None) -> None:
    """The next run reports a state that no channel has accepted."""
    working = command.environment.pop("OPS_URL")
    if url is not None:
        command.environment["OPS_URL"] = webhook.url(url)
    assert command("apply", "--yes").returncode == 0
    secret = command.environment.pop("SOLAPI_API_SECRET")
    result = command("apply", "--yes", "--log-format", "json")
    assert result.returncode == 1
    (line,) = [json.loads(text) for text in result.stderr.splitlines() if '"notify.failed"' in text]
    assert (line["channel"], line["level"]) == ("ops", "warning")
    _titles(webhook)
    command.environment["OPS_URL"] = working
    assert command("apply", "--yes").returncode == 1
    assert [title.partition(":")[0] for title in _titles(webhook)] == ["main"]
    command.environment["SOLAPI_API_SECRET"] = secret
    assert command("apply", "--yes").returncode == 0
    assert _titles(webhook) == ["main: working again"]


def test_other_accounts_keep_their_state(command: Command, webhook: Webhook, serve: Serve) -> None:
    """A run of one account neither ends nor repeats what another account has."""
    del serve
    assert command("apply", "--yes").returncode == 0
    other = "version: 1\ncredentials: {api_key: {env: GONE}, api_secret: {env: GONE}}\nnumbers: {}\n"
    command.write("config/desired/other.yaml", other)
    assert command("apply", "--yes").returncode == 1
    _titles(webhook)
    assert command("apply", "--yes", "--account", "main").returncode == 0
    assert command("apply", "--yes").returncode == 1
    assert _titles(webhook) == []
