"""What a run starts from: settings, desired state, selection and credentials, out of options, files and environment."""

import os
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from errno import EBADF
from pathlib import Path
from typing import TYPE_CHECKING, Final
from unicodedata import normalize

import click

from worker.cli.document_conflicts import Agreement
from worker.cli.options import DEFAULT_FILES, DEFAULT_SETTINGS
from worker.config import desired, files, settings
from worker.config.desired import Reach
from worker.config.settings import Settings
from worker.model import schedule, times
from worker.model.accounts import DesiredAccount
from worker.model.credentials import DEFAULT_CREDENTIALS, Credentials, CredentialsRef, Secret, SecretRef
from worker.model.errors import CredentialsMissing, DesiredStateError, Problem, SettingsError, UsageError
from worker.model.phones import digits_of, normalise
from worker.model.redaction import Secrets
from worker.plan.policy import ALLOW_ALL, RULES, Selection
from worker.render.i18n import gettext as _
from worker.render.i18n import translated

if TYPE_CHECKING:
    from worker.config.channels import Channel
    from worker.daemon.notify.apprise_sender import Door

__all__ = [
    "Known",
    "Resolver",
    "agreement",
    "check_accounts",
    "desired_paths",
    "load_accounts",
    "load_all",
    "load_settings",
    "open_channel",
    "read_moment",
    "read_one",
    "read_phone",
    "read_rules",
    "read_selection",
    "settled",
    "tell_warnings",
]

_SECRET_CAP: Final = 4096
"""Bytes of a secret file; keys are a few dozen, URLs a few hundred."""
_NO_KEY: Final = frozenset(" ,\"'")
"""What would end a key in the header that carries it, and what env files leave around values."""
_ACCOUNTS_SHOWN: Final = 10
"""Accounts that a message names when none is like what was asked for."""


def load_settings(path: str | None, options: Mapping[str, object]) -> Settings:
    """The settings of options (dotted names; None is not given), the environment, the file and the defaults.

    Raises:
        SettingsError: with every problem.
    """
    source = None
    # a link there that leads nowhere was meant to be read, and is not as good as no file
    if path is not None or os.path.lexists(DEFAULT_SETTINGS):
        read = files.read_file(DEFAULT_SETTINGS if path is None else path)
        if isinstance(read, Problem):
            raise SettingsError([read])
        source = read
    given = {name: value for name, value in options.items() if value is not None}
    return settings.load(source, os.environ, given)


def load_accounts(settings: Settings, paths: Sequence[str], names: Sequence[str] = ()) -> tuple[DesiredAccount, ...]:
    """Return the accounts of the desired-state files, all of them or those named; warnings go to stderr.

    Raises:
        DesiredStateError: with every problem of every file.
        UsageError: an account that no file has.
    """
    return load_all(settings, paths, names)[0]


def load_all(
    settings: Settings, paths: Sequence[str], names: Sequence[str] = ()
) -> tuple[tuple[DesiredAccount, ...], tuple[DesiredAccount, ...]]:
    """Return the accounts of `load_accounts`, and those that the names leave out. The files of both are checked.

    Raises:
        DesiredStateError: as `load_accounts` does.
        UsageError: likewise.
    """
    loaded = desired.load(files.read(desired_paths(paths), _stdin), agreement(settings.endpoint))
    tell_warnings(loaded.warnings)
    wanted = frozenset(check_accounts(names, loaded.accounts))
    taken = tuple(account for account in loaded.accounts if not wanted or account.name in wanted)
    return taken, tuple(account for account in loaded.accounts if wanted and account.name not in wanted)


def agreement(endpoint: str) -> Agreement:
    """Return the check of the documents of a run; `endpoint` is that of accounts that name none."""
    return Agreement(Reach(endpoint, _api_key))


def _api_key(reference: SecretRef) -> str | None:
    """Return the API key of a reference, or None if it is not there now."""
    try:
        return _kept(reference, "API key")[0]
    except CredentialsMissing:
        return None


def read_one(path: str) -> tuple[str, bytes]:
    """The name and the bytes of a file that is no desired state yet; - is standard input.

    Raises:
        DesiredStateError: it cannot be read.
    """
    (read,) = files.read([path], _stdin) if path == "-" else [files.read_file(path)]
    if isinstance(read, Problem):
        raise DesiredStateError([read])
    return read


def desired_paths(paths: Sequence[str]) -> Sequence[str]:
    """The paths that were given, or the default one.

    Raises:
        DesiredStateError: none were given, and the default one is not there.
    """
    if not paths and not os.path.lexists(DEFAULT_FILES):
        told = "there is no such folder here: name files with -f, or begin with `senderid export`"
        raise DesiredStateError([Problem(DEFAULT_FILES, 1, 1, told)])
    return paths or (DEFAULT_FILES,)


def tell_warnings(warnings: Iterable[Problem]) -> None:
    """Tell on stderr what is odd about files but not wrong."""
    for warning in warnings:
        place = f"{warning.source}:{warning.line}:{warning.column}"
        told = _("{place}: warning: {what}").format(place=place, what=translated(warning.message))
        click.echo(told, err=True)


def check_accounts(names: Sequence[str], accounts: Iterable[DesiredAccount]) -> list[str]:
    """The names that `--account` gave, as accounts have them.

    Raises:
        UsageError: an account that no file has.
    """
    known = {account.name: account for account in accounts}
    wanted = [normalize("NFC", name) for name in names]
    unknown = [f"no file has an account {name!r}{_similar(name, known)}" for name in wanted if name not in known]
    if unknown:
        raise UsageError("; ".join(unknown))
    return wanted


def read_selection(only: Sequence[str], exclude: Sequence[str], accounts: Collection[DesiredAccount]) -> Selection:
    """The numbers that a run is about, in any spelling.

    Raises:
        UsageError: what is not a number, or one to be looked at alone that no file lists.
    """
    selection = Selection(
        frozenset(_digits("--only", text, normalise) for text in only),
        frozenset(_digits("--exclude", text, normalise) for text in exclude),
    )
    for phone in sorted(selection.only):
        if not any(phone in account.numbers for account in accounts):
            raise UsageError(f"--only {phone}: no file lists this number")
    return selection


def read_rules(names: Sequence[str]) -> frozenset[str]:
    """The names of `--allow`.

    Raises:
        UsageError: a rule that there is not.
    """
    known = (*RULES, ALLOW_ALL)
    for name in names:
        if name not in known:
            raise UsageError(f"--allow {name!r}: there is no such rule; there are {', '.join(known)}")
    return frozenset(names)


def read_moment(option: str, text: str, accounts: Collection[DesiredAccount]) -> datetime:
    """The instant, in UTC, of an option; without an offset it is by the clock of the files' zone.

    Raises:
        UsageError: it is no moment, or the files are of several zones.
    """
    try:
        moment = times.written(text)
    except ValueError as error:
        raise UsageError(f"{option} {text!r}: {error}") from None
    zones = sorted({account.timezone for account in accounts}) or [times.DEFAULT_ZONE]
    if moment.tzinfo is None and len(zones) > 1:
        told = f"the files are of several time zones ({', '.join(zones[:_ACCOUNTS_SHOWN])})"
        raise UsageError(f"{option} {text!r}: {told}: write an offset too, such as {text}+09:00 with a time of day")
    return times.instant(moment, times.zone(zones[0]))


def settled(accounts: Sequence[DesiredAccount], moment: datetime | None = None) -> tuple[DesiredAccount, ...]:
    """The accounts as they should be at a moment; without one, now."""
    when = moment or datetime.now(UTC)
    return tuple(schedule.at(account, when) for account in accounts)


class Resolver:
    """Finds credentials where files say they are. `secrets` holds what was found, for the log to hide."""

    def __init__(self) -> None:
        self.secrets = Secrets()
        self._found: dict[CredentialsRef, Credentials] = {}

    def __call__(self, reference: CredentialsRef | None) -> Credentials:
        """The credentials of a file's references, or the default ones.

        Raises:
            CredentialsMissing: with the place that has none.
        """
        where = reference or DEFAULT_CREDENTIALS
        if where not in self._found:
            key, secret = _resolve(where.api_key, "API key"), _resolve(where.api_secret, "API secret")
            self.secrets.add(secret)
            self._found[where] = Credentials(key, Secret(secret))
        return self._found[where]

    def url(self, channel: "Channel") -> str:
        """The URL of a notification channel.

        Raises:
            CredentialsMissing: with the place that has none.
        """
        text, _ = _kept(channel.url, f"URL of channel {channel.name}")
        self.secrets.add(text)
        return text

    def forget(self) -> None:
        """Look up everything anew when it is asked for: secrets are rotated. What was found stays hidden in the log."""
        self._found.clear()


class Known(Resolver):
    """Credentials that need no looking up."""

    def __init__(self, credentials: Credentials) -> None:
        super().__init__()
        self._credentials = credentials
        self.secrets.add(credentials.api_secret.reveal())

    def __call__(self, reference: CredentialsRef | None) -> Credentials:  # noqa: ARG002 - whatever is asked for
        """The credentials."""
        return self._credentials


def _stdin(size: int) -> bytes:
    if sys.stdin is None:
        raise OSError(EBADF, os.strerror(EBADF))
    return sys.stdin.buffer.read(size)


def open_channel(channel: "Channel", resolver: Resolver) -> "Door":
    """The way to a notification channel.

    Raises:
        CredentialsMissing: its URL is not where the settings say.
        ChannelUnusable: its URL is none, or the library for it is not installed.
    """
    from worker.daemon.notify.apprise_sender import opened

    return opened(channel.name, resolver.url(channel))


def _resolve(reference: SecretRef, what: str) -> str:
    text, place = _kept(reference, what)
    if not (text.isascii() and text.isprintable()) or not _NO_KEY.isdisjoint(text):
        told = "has characters that no key has, such as quotes, blanks or line ends between others"
        raise CredentialsMissing(f"the {what} cannot be used: {place} {told}")
    return text


def _kept(reference: SecretRef, what: str) -> tuple[str, str]:
    """A secret without blanks around it, and the place where it is kept."""
    place = reference.place
    if reference.env is not None:
        text = os.environ.get(reference.env)
    else:
        try:
            with Path(reference.file or "").open("rb") as file:
                data = file.read(_SECRET_CAP + 1)
        except OSError as error:
            raise CredentialsMissing(f"the {what} cannot be read: {place}: {error.strerror}") from None
        if len(data) > _SECRET_CAP:
            raise CredentialsMissing(f"the {what} cannot be used: {place} is too long to hold nothing but a key")
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise CredentialsMissing(f"the {what} cannot be used: {place} is not UTF-8 text") from None
    if text is None:
        raise CredentialsMissing(f"the {what} is missing: {place} is not set")
    text = text.strip()
    if not text:
        raise CredentialsMissing(f"the {what} is missing: {place} is empty")
    return text, place


def read_phone(option: str, text: str) -> str:
    """Return the digits of a number that an option searches for, in any spelling: any 3 to 12 digits.

    Raises:
        UsageError: it is no number.
    """
    return _digits(option, text, digits_of)


def _digits(option: str, text: str, read: Callable[[str], str]) -> str:
    try:
        return read(text)
    except ValueError as error:
        raise UsageError(f"{option} {text!r}: {error}") from None


def _similar(name: str, known: Collection[str]) -> str:
    close = get_close_matches(name, known, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; there are {', '.join(map(repr, known))}" if len(known) <= _ACCOUNTS_SHOWN else ""
