"""Resolver of references to secrets in the environment and in files."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from worker.config.channels import Channel
from worker.model.credentials import DEFAULT_CREDENTIALS, Credentials, CredentialsRef, Secret, SecretRef
from worker.model.errors import CredentialsMissing
from worker.model.messages import Message, system_text
from worker.model.redaction import Secrets

if TYPE_CHECKING:
    from worker.daemon.notify.apprise_sender import AppriseSender

__all__ = ["CredentialsResolver", "FixedCredentials", "open_channel", "read_password"]

_SECRET_CAP: Final = 4096
"""Maximum size in bytes of a secret file. Keys have some dozens of bytes, URLs some hundreds."""
_NO_KEY: Final = frozenset(" ,\"'")
"""Characters that no API key contains: delimiters of the header, and quotes that some env files leave in values."""


def _api_key(reference: SecretRef) -> str | None:
    """Return the API key that a reference names, or None if it cannot be read."""
    try:
        return _read_secret(reference, Message("API key"))[0]
    except CredentialsMissing:
        return None


class CredentialsResolver:
    """Resolver of references to credentials. `secrets` collects all secrets, so that the log can hide them."""

    def __init__(self) -> None:
        self.secrets = Secrets()
        self._resolved_credentials: dict[CredentialsRef, Credentials] = {}

    def __call__(self, reference: CredentialsRef | None) -> Credentials:
        """Return the credentials of a reference. The reference None stands for the default credentials.

        Raises:
            CredentialsMissing: a part of them is missing. The message names the variable or the file.
        """
        resolved_reference = reference or DEFAULT_CREDENTIALS
        if resolved_reference not in self._resolved_credentials:
            key, secret = (
                _resolve(resolved_reference.api_key, Message("API key")),
                _resolve(resolved_reference.api_secret, Message("API secret")),
            )
            self.secrets.add(secret)
            self._resolved_credentials[resolved_reference] = Credentials(key, Secret(secret))
        return self._resolved_credentials[resolved_reference]

    def url(self, channel: "Channel") -> str:
        """Return the URL of a notification channel.

        Raises:
            CredentialsMissing: the URL is missing. The message names the variable or the file.
        """
        text, _ = _read_secret(channel.url, Message("URL of channel {name}", name=channel.name))
        self.secrets.add(text)
        return text

    def forget(self) -> None:
        """Forget resolved references, so that rotated secrets are read again. Old secrets stay hidden in the log."""
        self._resolved_credentials.clear()


class FixedCredentials(CredentialsResolver):
    """Resolver that returns the same credentials for every reference."""

    def __init__(self, credentials: Credentials) -> None:
        super().__init__()
        self._credentials = credentials
        self.secrets.add(credentials.api_secret.reveal())

    def __call__(self, reference: CredentialsRef | None) -> Credentials:  # noqa: ARG002 - the signature of a resolver
        """Return the fixed credentials."""
        return self._credentials


def open_channel(channel: "Channel", resolver: CredentialsResolver) -> "AppriseSender":
    """Return the sender of a notification channel.

    Raises:
        CredentialsMissing: the channel's URL cannot be resolved.
        ChannelUnusable: the channel's URL is invalid, or Apprise is not installed.
    """
    from worker.daemon.notify.apprise_sender import open_sender

    return open_sender(channel.name, resolver.url(channel))


def read_password(reference: SecretRef) -> Secret:
    """Return the password of the ledger's database.

    Raises:
        CredentialsMissing: the password is missing. The message names the variable or the file.
    """
    return Secret(_read_secret(reference, Message("password of the ledger"))[0])


def _resolve(reference: SecretRef, name: str) -> str:
    text, location = _read_secret(reference, name)
    if not (text.isascii() and text.isprintable()) or not _NO_KEY.isdisjoint(text):
        raise CredentialsMissing(
            Message(
                "the {secret} cannot be used: {location} has invalid characters, such as quotes, spaces or line breaks",
                secret=name,
                location=location,
            )
        )
    return text


def _read_secret(reference: SecretRef, name: str) -> tuple[str, str]:
    """Return a secret without surrounding white space, and the variable or file that it comes from."""
    location = reference.location
    if reference.env is not None:
        text = os.environ.get(reference.env)
    else:
        try:
            with Path(reference.file or "").open("rb") as file:
                data = file.read(_SECRET_CAP + 1)
        except OSError as error:
            raise CredentialsMissing(
                Message(
                    "the {secret} cannot be read: {location}: {strerror}",
                    secret=name,
                    location=location,
                    strerror=system_text(error.strerror),
                )
            ) from None
        if len(data) > _SECRET_CAP:
            raise CredentialsMissing(
                Message(
                    "the {secret} cannot be used: {location} is too long for a key",
                    secret=name,
                    location=location,
                )
            )
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise CredentialsMissing(
                Message("the {secret} cannot be used: {location} is not UTF-8 text", secret=name, location=location)
            ) from None
    if text is None:
        raise CredentialsMissing(
            Message("the {secret} is missing: {location} is not set", secret=name, location=location)
        )
    text = text.strip()
    if not text:
        raise CredentialsMissing(
            Message("the {secret} is missing: {location} is empty", secret=name, location=location)
        )
    return text, location
