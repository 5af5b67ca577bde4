"""Loading of settings, desired state and selections from options, files and the environment."""

import os
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from errno import EBADF
from typing import TYPE_CHECKING, Final
from unicodedata import normalize

import click

from worker.cli.credentials import _api_key
from worker.cli.defaults import DEFAULT_FILES, DEFAULT_SETTINGS, OVERRIDES
from worker.cli.document_conflicts import DocumentChecks
from worker.config import desired, files, settings
from worker.config.desired import DocumentSet, IdentityResolver
from worker.config.settings import Settings
from worker.model import times
from worker.model.accounts import DesiredAccount
from worker.model.errors import DesiredStateError, Problem, SettingsError, UsageError
from worker.model.messages import Message, PhoneNumber, join
from worker.model.phones import normalise, parse_digits
from worker.plan.policy import Selection, fold
from worker.plan.safety import ALLOW_ALL, RULES
from worker.render.i18n import gettext as _
from worker.render.i18n import translate

if TYPE_CHECKING:
    from worker.cli.options import Common

__all__ = [
    "DesiredFiles",
    "desired_paths",
    "document_checks",
    "load_accounts",
    "load_settings",
    "load_with_others",
    "match_accounts",
    "parse_phone",
    "parse_rules",
    "parse_selection",
    "parse_time",
    "print_warnings",
    "read_input",
]

_ACCOUNTS_SHOWN: Final = 10
"""Maximum count of account names that a message lists if none is similar to the given name."""


def load_settings(path: str | None, options: Mapping[str, object]) -> Settings:
    """Return the settings from options, environment, file and defaults, in this order of precedence.

    `options` maps dotted names of settings to values. None stands for an option that is not given.

    Raises:
        SettingsError: a setting is invalid. The error lists every problem.
    """
    source = None
    # lexists: a missing default file is no error, but a dangling link is one
    if path is not None or os.path.lexists(DEFAULT_SETTINGS):
        file = files.read_file(DEFAULT_SETTINGS if path is None else path)
        if isinstance(file, Problem):
            raise SettingsError([file])
        source = file
    context = click.get_current_context(silent=True)
    values = {name: value for name, value in options.items() if value is not None}
    values |= {} if context is None else context.meta.get(OVERRIDES, {})
    return settings.load(source, os.environ, values)


def load_accounts(settings: Settings, paths: Sequence[str], names: Sequence[str] = ()) -> tuple[DesiredAccount, ...]:
    """Return the accounts of the desired-state files, and print warnings to stderr.

    `names` selects accounts by name. If it is empty, all accounts are returned.

    Raises:
        DesiredStateError: a file is invalid. The error lists every problem of every file.
        UsageError: no file has an account of a given name.
    """
    return load_with_others(settings, paths, names)[0]


class DesiredFiles:
    """The desired-state files of paths. `digest` identifies their names and bytes; None if a file cannot be read."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._sources = list(files.read(desired_paths(paths), _stdin))
        self._shared_files = files.SharedFiles()
        readable = [source for source in self._sources if not isinstance(source, Problem)]
        is_complete = len(readable) == len(self._sources)
        self.digest = files.digest(readable, self._shared_files) if is_complete else None

    def documents(self, settings: Settings) -> DocumentSet:
        """Return the documents of all files, which may be parts of accounts, and print warnings to stderr.

        Raises:
            DesiredStateError: a file is invalid. The error lists every problem of every file.
        """
        documents = desired.read_documents(self._sources, document_checks(settings.endpoint), self._shared_files)
        print_warnings(documents.warnings)
        return documents


def load_with_others(
    settings: Settings, paths: Sequence[str], names: Sequence[str] = ()
) -> tuple[tuple[DesiredAccount, ...], tuple[DesiredAccount, ...]]:
    """Return the accounts that `load_accounts` returns, and the accounts that `names` does not select.

    All files are checked.

    Raises:
        DesiredStateError, UsageError: as for `load_accounts`.
    """
    sources = files.read(desired_paths(paths), _stdin)
    state = desired.load(sources, document_checks(settings.endpoint), files.SharedFiles())
    print_warnings((*state.warnings, *desired.ended_acknowledgements(state.accounts, datetime.now(UTC))))
    selected_names = frozenset(match_accounts(names, state.accounts))
    accounts = tuple(account for account in state.accounts if not selected_names or account.name in selected_names)
    return accounts, tuple(
        account for account in state.accounts if selected_names and account.name not in selected_names
    )


def document_checks(endpoint: str) -> DocumentChecks:
    """Return the checks of a run's documents. `endpoint` is the endpoint of accounts that set none."""
    return DocumentChecks(IdentityResolver(endpoint, _api_key))


def read_input(path: str) -> tuple[str, bytes]:
    """Return name and bytes of an input file. The path - means standard input.

    Raises:
        DesiredStateError: the file cannot be read.
    """
    (file,) = files.read([path], _stdin) if path == "-" else [files.read_file(path)]
    if isinstance(file, Problem):
        raise DesiredStateError([file])
    return file


def desired_paths(paths: Sequence[str]) -> Sequence[str]:
    """Return the given paths of desired-state files or, without any, the default folder.

    Raises:
        DesiredStateError: no path was given, and the default folder does not exist.
    """
    if not paths and not os.path.lexists(DEFAULT_FILES):
        message = Message("the folder does not exist: give files with -f, or start with `senderid init`")
        raise DesiredStateError([Problem(DEFAULT_FILES, 1, 1, message)])
    return paths or (DEFAULT_FILES,)


def print_warnings(warnings: Iterable[Problem]) -> None:
    """Print warnings about files to stderr."""
    for warning in warnings:
        location = f"{warning.source}:{warning.line}:{warning.column}"
        text = _("{location}: warning: {warning}").format(location=location, warning=translate(warning.message))
        click.echo(text, err=True)


def match_accounts(names: Sequence[str], accounts: Iterable[DesiredAccount]) -> list[str]:
    """Return the account names of `--account` in normalised form.

    Raises:
        UsageError: no file has an account of a given name.
    """
    by_name = {account.name: account for account in accounts}
    normalized_names = [normalize("NFC", name) for name in names]
    unknown = [
        Message("no file has an account {name!r}{hint}", name=name, hint=_similar(name, by_name))
        for name in normalized_names
        if name not in by_name
    ]
    if unknown:
        raise UsageError(join(unknown, "; "))
    return normalized_names


def parse_selection(
    options: "Common", accounts: Collection[DesiredAccount], others: Collection[DesiredAccount] = ()
) -> Selection:
    """Return the selection of `--only`, `--exclude`, `--owner` and `--note`.

    `others` are the accounts of the files that `--account` does not select.

    Raises:
        UsageError: a value is not a number or is empty, or no listed number matches a value of the other three options.
    """
    selection = Selection(
        frozenset(_digits("--only", text, normalise) for text in options.only),
        frozenset(_digits("--exclude", text, normalise) for text in options.exclude),
        frozenset(map(fold, options.owners)),
        frozenset(map(fold, options.notes)),
    )
    for phone in sorted(selection.only):
        if not any(phone in account.numbers for account in accounts):
            raise UsageError(_unlisted(phone, others))
    _check_owners(options.owners, accounts)
    _check_notes(options.notes, accounts)
    return selection


def _unlisted(phone: str, others: Iterable[DesiredAccount]) -> Message:
    for account in others:
        if phone in account.numbers:
            return Message(
                "--only {phone}: account {name!r} lists this number, but --account does not select that account",
                phone=PhoneNumber(phone),
                name=account.name,
            )
    return Message("--only {phone}: no file lists this number", phone=PhoneNumber(phone))


def _check_owners(owners: Sequence[str], accounts: Iterable[DesiredAccount]) -> None:
    if not owners:
        return
    known_owners = {fold(number.owner): number.owner for account in accounts for number in account.numbers.values()}
    for owner in owners:
        if not fold(owner) or fold(owner) not in known_owners:
            names = {name: None for name in known_owners.values() if name}
            close = get_close_matches(owner, names, n=1)
            hint = Message("; did you mean {name!r}?", name=close[0]) if close else ""
            raise UsageError(
                Message("--owner {owner!r}: no listed number has this owner{hint}", owner=owner, hint=hint)
            )


def _check_notes(notes: Sequence[str], accounts: Collection[DesiredAccount]) -> None:
    for note in notes:
        part = fold(note)
        if not part or not any(
            part in fold(number.note) for account in accounts for number in account.numbers.values()
        ):
            raise UsageError(Message("--note {note!r}: no listed number has this text in its note", note=note))


def parse_rules(names: Sequence[str]) -> frozenset[str]:
    """Return the rules of `--allow`.

    Raises:
        UsageError: a rule does not exist.
    """
    choices = (*RULES, ALLOW_ALL)
    for name in names:
        if name not in choices:
            raise UsageError(
                Message(
                    "--allow {name!r}: no such rule; use one of {choices}",
                    name=name,
                    choices=", ".join(choices),
                )
            )
    return frozenset(names)


def parse_time(option: str, text: str, accounts: Collection[DesiredAccount]) -> datetime:
    """Return the time of an option, in UTC. A time without an offset is in the time zone of the files.

    Raises:
        UsageError: the text is not a time, or it has no offset and the files have several time zones.
    """
    try:
        moment = times.parse_moment(text)
    except ValueError as error:
        raise UsageError(Message("{option} {text!r}: {error}", option=option, text=text, error=str(error))) from None
    zones = sorted({account.timezone for account in accounts}) or [times.DEFAULT_ZONE]
    if moment.tzinfo is None and len(zones) > 1:
        raise UsageError(
            Message(
                "{option} {text!r}: the files use several time zones ({zones}): write a time of day with an offset, "
                "such as {example}+09:00",
                option=option,
                text=text,
                zones=", ".join(zones[:_ACCOUNTS_SHOWN]),
                example=moment.isoformat(timespec="minutes"),
            )
        )
    return times.to_utc(moment, times.load_zone(zones[0]))


def _stdin(size: int) -> bytes:
    if sys.stdin is None:
        raise OSError(EBADF, os.strerror(EBADF))
    return sys.stdin.buffer.read(size)


def parse_phone(option: str, text: str) -> str:
    """Return the digits of the phone number in a search option, which has 3 to 12 digits.

    Raises:
        UsageError: the text is not a phone number.
    """
    return _digits(option, text, parse_digits)


def _digits(option: str, text: str, parse: Callable[[str], str]) -> str:
    try:
        return parse(text)
    except ValueError as error:
        raise UsageError(Message("{option} {text!r}: {error}", option=option, text=text, error=str(error))) from None


def _similar(name: str, candidates: Collection[str]) -> str:
    close = get_close_matches(name, candidates, n=1)
    if close:
        return Message("; did you mean {name!r}?", name=close[0])
    names = ", ".join(map(repr, candidates))
    return Message("; the accounts are {names}", names=names) if len(candidates) <= _ACCOUNTS_SHOWN else ""
