"""What a run starts from: settings, desired state, selection and credentials, out of options, files and environment."""

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Final

import click

from worker import desired, settings
from worker.cli import sources
from worker.cli.options import DEFAULT_FILES, DEFAULT_SETTINGS
from worker.errors import CredentialsMissing, Problem, SettingsError, UsageError
from worker.model import Credentials, CredentialsRef, DesiredAccount, Secret, SecretRef
from worker.phones import normalise
from worker.policy import ALLOW_ALL, RULES, Selection
from worker.settings import Settings

__all__ = ["Known", "Resolver", "load_accounts", "load_settings", "read_rules", "read_selection"]

_DEFAULT_CREDENTIALS: Final = CredentialsRef(SecretRef(env="SOLAPI_API_KEY"), SecretRef(env="SOLAPI_API_SECRET"))
_SECRET_CAP: Final = 4096
"""Bytes of a secret file; keys are a few dozen."""


def load_settings(path: str | None, options: Mapping[str, object]) -> Settings:
    """The settings of options (dotted names; None is not given), the environment, the file and the defaults.

    Raises:
        SettingsError: with every problem.
    """
    chosen = path or (DEFAULT_SETTINGS if Path(DEFAULT_SETTINGS).is_file() else None)
    source = None
    if chosen is not None:
        try:
            source = (chosen, Path(chosen).read_bytes())
        except OSError as error:
            raise SettingsError([Problem(chosen, 1, 1, f"the settings cannot be read: {error.strerror}")]) from None
    given = {name: value for name, value in options.items() if value is not None}
    return settings.load(source, os.environ, given)


def load_accounts(paths: Sequence[str], names: Sequence[str] = ()) -> tuple[DesiredAccount, ...]:
    """The accounts of the desired-state files, all of them or those named; warnings go to stderr.

    Raises:
        DesiredStateError: with every problem of every file.
        UsageError: an account that no file has.
    """
    loaded = desired.load(sources.read(paths or (DEFAULT_FILES,), sys.stdin.buffer.read))
    for warning in loaded.warnings:
        click.echo(f"{warning.source}:{warning.line}:{warning.column}: warning: {warning.message}", err=True)
    known = {account.name: account for account in loaded.accounts}
    for name in names:
        if name not in known:
            raise UsageError(f"no file has an account {name!r}{_similar(name, known)}")
    return tuple(account for account in loaded.accounts if not names or account.name in names)


def read_selection(only: Sequence[str], exclude: Sequence[str], accounts: Iterable[DesiredAccount]) -> Selection:
    """The numbers that a run is about, in any spelling.

    Raises:
        UsageError: what is not a number, or one to be looked at alone that no file lists.
    """
    selection = Selection(
        frozenset(_phone("--only", text) for text in only), frozenset(_phone("--exclude", text) for text in exclude)
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


class Resolver:
    """Finds credentials where files say they are. `secrets` holds what was found, for the log to hide."""

    def __init__(self) -> None:
        self.secrets: set[str] = set()
        self._found: dict[CredentialsRef, Credentials] = {}

    def __call__(self, reference: CredentialsRef | None) -> Credentials:
        """The credentials of a file's references, or the default ones.

        Raises:
            CredentialsMissing: with the place that has none.
        """
        where = reference or _DEFAULT_CREDENTIALS
        if where not in self._found:
            key, secret = _resolve(where.api_key, "API key"), _resolve(where.api_secret, "API secret")
            self.secrets.add(secret)
            self._found[where] = Credentials(key, Secret(secret))
        return self._found[where]


class Known(Resolver):
    """Credentials that need no looking up."""

    def __init__(self, credentials: Credentials) -> None:
        super().__init__()
        self._credentials = credentials
        self.secrets.add(credentials.api_secret.reveal())

    def __call__(self, reference: CredentialsRef | None) -> Credentials:  # noqa: ARG002 - whatever is asked for
        """The credentials."""
        return self._credentials


def _resolve(reference: SecretRef, what: str) -> str:
    if reference.env is not None:
        text, place = os.environ.get(reference.env, ""), f"the environment variable {reference.env}"
    else:
        place = f"the file {reference.file}"
        try:
            with Path(reference.file or "").open("rb") as file:
                text = file.read(_SECRET_CAP).decode()
        except OSError as error:
            raise CredentialsMissing(f"the {what} cannot be read: {place}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise CredentialsMissing(f"the {what} cannot be read: {place} is not text") from None
    text = text.strip()
    if not text:
        raise CredentialsMissing(f"the {what} is missing: {place} is not set or empty")
    if not (text.isascii() and text.isprintable()) or "," in text or " " in text:
        raise CredentialsMissing(f"the {what} in {place} has characters that no key has")
    return text


def _phone(option: str, text: str) -> str:
    try:
        return normalise(text)
    except ValueError as error:
        raise UsageError(f"{option} {text!r}: {error}") from None


def _similar(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
