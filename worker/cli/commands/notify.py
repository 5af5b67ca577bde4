"""`senderid notify`: test the notification channels."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from worker.cli import load, options
from worker.cli.credentials import CredentialsResolver, open_channel
from worker.cli.exit_status import ExitStatus
from worker.config.yaml_reader import suggest
from worker.model.errors import ChannelUnusable, CredentialsMissing, UsageError
from worker.model.messages import Message
from worker.render.i18n import translate

if TYPE_CHECKING:
    from worker.config.channels import Channel
    from worker.config.settings import Settings

__all__ = ["command"]


@click.group("notify")
def command() -> None:
    """Test the channels that `senderid watch` sends notifications to.

    The settings list the channels: mail, chats, webhooks and other services that Apprise supports.
    """


@command.command("test", short_help="Send a test message to each channel.")
@click.option("--channel", "names", metavar="NAME", multiple=True, help="Only this channel. Repeatable.")
@options.settings
def test(*, names: tuple[str, ...], settings_path: str | None) -> int:
    """Send a test message to each channel, and report whether it was accepted.

    Exit status 0, or 1 if a channel did not accept it. No account is read.
    """
    settings = load.load_settings(settings_path, {})
    channels = _select(settings, names)

    from worker.cli.output import emit
    from worker.render.terminal import safe

    reasons = asyncio.run(_send_tests(channels, settings))
    for channel, reason in zip(channels, reasons, strict=True):
        status, detail = ("ok", "accepted") if reason is None else ("fail", reason)
        emit(f"{status:<4}  {safe(channel.name)}  {safe(translate(detail))}\n")
    return ExitStatus.OK if set(reasons) == {None} else ExitStatus.ERROR


def _select(settings: "Settings", names: Sequence[str]) -> list["Channel"]:
    channels = {channel.name: channel for channel in settings.notify.channels}
    if not channels:
        raise UsageError(
            Message("no channel is configured: add one under notify: channels; see docs/how-to/notifications.md")
        )
    for name in names:
        if name not in channels:
            raise UsageError(
                Message(
                    "--channel {name!r}: the settings have no such channel{hint}",
                    name=name,
                    hint=suggest(name, channels),
                )
            )
    return [channel for channel in channels.values() if not names or channel.name in names]


async def _send_tests(channels: Sequence["Channel"], settings: "Settings") -> list[str | None]:
    resolver, seconds = CredentialsResolver(settings.secrets), settings.notify.timeout_seconds
    return await asyncio.gather(*(_send_test(channel, resolver, seconds) for channel in channels))


async def _send_test(channel: "Channel", resolver: CredentialsResolver, seconds: float) -> str | None:
    from platform import node

    from worker.config.channels import Event
    from worker.daemon.notify.changes import Notification
    from worker.daemon.notify.dispatcher import deliver
    from worker.daemon.notify.message import compose

    try:
        sender = open_channel(channel, resolver)
    except (CredentialsMissing, ChannelUnusable) as error:
        return str(error)
    notification = Notification(
        Event.DAEMON,
        None,
        Message("this is a test of the channel {name}", name=channel.name),
        (Message("Nothing has happened."),),
    )
    return await deliver(sender, compose([notification], channel, host=node()), seconds)
