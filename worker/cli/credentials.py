"""Resolver of references to secrets in the environment, in files, and in the output of commands."""

import os
import signal
import time
from base64 import b64encode
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from worker.config.channels import Channel
from worker.config.settings import SecretsSettings
from worker.model.credentials import DEFAULT_CREDENTIALS, Credentials, CredentialsRef, Secret, SecretRef
from worker.model.errors import CredentialsMissing, UsageError
from worker.model.messages import Message, system_text
from worker.model.redaction import Secrets

if TYPE_CHECKING:
    import subprocess

    from worker.daemon.notify.apprise_sender import AppriseSender

__all__ = ["CredentialsResolver", "FixedCredentials", "open_channel", "read_password"]

_SECRET_CAP: Final = 4096
"""Maximum size in bytes of a secret file. Keys have some dozens of bytes, URLs some hundreds."""
_DEFAULT: Final = SecretsSettings()
_NO_COMMANDS: Final = SecretsSettings(commands=False)
_NO_KEY: Final = frozenset(" ,\"'")
"""Characters that no API key contains: delimiters of the header, and quotes that some env files leave in values."""


def _api_key(reference: SecretRef) -> str | None:
    """Return the API key that a reference names, or None if it cannot be read. Commands are not run."""
    try:
        return _read_secret(reference, Message("API key"), _NO_COMMANDS)[0]
    except CredentialsMissing:
        return None


class CredentialsResolver:
    """Resolver of references to credentials. `secrets` collects all secrets, so that the log can hide them.

    `settings` are the settings of commands. A command is run once, until `forget` is called, even if it fails.
    """

    def __init__(self, settings: SecretsSettings = _DEFAULT) -> None:
        self.secrets = Secrets()
        self._settings = settings
        self._outputs: dict[tuple[str, ...], tuple[str, str] | CredentialsMissing] = {}
        self._resolved_credentials: dict[CredentialsRef, Credentials] = {}

    def __call__(self, reference: CredentialsRef | None) -> Credentials:
        """Return the credentials of a reference. The reference None stands for the default credentials.

        Raises:
            CredentialsMissing: the API key or secret is missing or cannot be used. The message names the variable, the
                file or the command.
        """
        resolved_reference = reference or DEFAULT_CREDENTIALS
        if resolved_reference not in self._resolved_credentials:
            key, secret = (
                self._resolve(resolved_reference.api_key, Message("API key")),
                self._resolve(resolved_reference.api_secret, Message("API secret")),
            )
            self.secrets.add(secret)
            self._resolved_credentials[resolved_reference] = Credentials(key, Secret(secret))
        return self._resolved_credentials[resolved_reference]

    def url(self, channel: "Channel") -> str:
        """Return the URL of a notification channel.

        Raises:
            CredentialsMissing: the URL is missing or cannot be used. The message names the variable, the file or the
                command.
        """
        text, _ = self._read(channel.url, Message("URL of channel {name}", name=channel.name))
        self.secrets.add(text)
        return text

    def proxy_credentials(self, reference: SecretRef) -> str:
        """Return user and password of a proxy, as USER:PASSWORD.

        Raises:
            UsageError: they are missing or cannot be used. The message names the variable, the file or the command.
        """
        try:
            text, _ = self._read(reference, Message("user and password of the proxy"))
        except CredentialsMissing as error:
            raise UsageError(str(error)) from None
        _, _, password = text.partition(":")
        for secret in (text, password, b64encode(text.encode()).decode()):
            self.secrets.add(secret)
        return text

    def forget(self) -> None:
        """Forget resolved references, so that rotated secrets are read again. Old secrets stay hidden in the log."""
        self._resolved_credentials.clear()
        self._outputs.clear()

    def _resolve(self, reference: SecretRef, name: str) -> str:
        text, location = self._read(reference, name)
        if not (text.isascii() and text.isprintable()) or not _NO_KEY.isdisjoint(text):
            raise CredentialsMissing(
                Message(
                    "the {secret} cannot be used: {location} has invalid characters, such as quotes, spaces or line "
                    "breaks",
                    secret=name,
                    location=location,
                )
            )
        return text

    def _read(self, reference: SecretRef, name: str) -> tuple[str, str]:
        if reference.command is None:
            return _read_secret(reference, name, self._settings)
        if reference.command not in self._outputs:
            try:
                self._outputs[reference.command] = _read_secret(reference, name, self._settings)
            except CredentialsMissing as error:
                self._outputs[reference.command] = error
        output = self._outputs[reference.command]
        if isinstance(output, CredentialsMissing):
            raise output
        return output


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
        CredentialsMissing: the channel's URL is missing or cannot be used.
        ChannelUnusable: the channel's URL is invalid, or Apprise is not installed.
    """
    from worker.daemon.notify.apprise_sender import open_sender

    return open_sender(channel.name, resolver.url(channel))


def read_password(reference: SecretRef, settings: SecretsSettings) -> Secret:
    """Return the password of the ledger's database. `settings` are the settings of commands.

    Raises:
        CredentialsMissing: the password is missing or cannot be used. The message names the variable, the file or the
            command.
    """
    return Secret(_read_secret(reference, Message("password of the ledger"), settings)[0])


def _read_secret(reference: SecretRef, name: str, settings: SecretsSettings) -> tuple[str, str]:
    """Return a secret without surrounding white space, and the variable, file or command that it comes from."""
    location = reference.location
    if reference.env is not None:
        text = os.environ.get(reference.env)
        if text is None:
            raise CredentialsMissing(
                Message("the {secret} is missing: {location} is not set", secret=name, location=location)
            )
    else:
        try:
            data = _read_file(reference) if reference.command is None else _run(reference.command, settings)
        except (OSError, _CommandError) as error:
            reason = system_text(error.strerror) if isinstance(error, OSError) else error.reason
            raise CredentialsMissing(
                Message(
                    "the {secret} cannot be read: {location}: {strerror}",
                    secret=name,
                    location=location,
                    strerror=reason,
                )
            ) from None
        if len(data) > _SECRET_CAP:
            raise CredentialsMissing(
                Message("the {secret} cannot be used: {location} is too long for a key", secret=name, location=location)
                if reference.command is None
                else Message(
                    "the {secret} cannot be used: the output of {location} is too long for a key",
                    secret=name,
                    location=location,
                )
            )
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise CredentialsMissing(
                Message("the {secret} cannot be used: {location} is not UTF-8 text", secret=name, location=location)
                if reference.command is None
                else Message(
                    "the {secret} cannot be used: the output of {location} is not UTF-8 text",
                    secret=name,
                    location=location,
                )
            ) from None
    text = text.strip()
    if not text:
        raise CredentialsMissing(
            Message("the {secret} is missing: {location} is empty", secret=name, location=location)
            if reference.command is None
            else Message("the {secret} is missing: {location} printed nothing", secret=name, location=location)
        )
    return text, location


def _read_file(reference: SecretRef) -> bytes:
    """Return the first `_SECRET_CAP` + 1 bytes of a file."""
    # a file object takes twice as long, for each of many accounts
    descriptor = os.open(reference.file or "", os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = b""
        while chunk := os.read(descriptor, _SECRET_CAP + 1 - len(data)):
            data += chunk
        return data
    finally:
        os.close(descriptor)


class _CommandError(Exception):
    """A command printed no secret. Its output and its errors are not kept, because they may contain one."""

    def __init__(self, reason: Message) -> None:
        super().__init__(reason)
        self.reason = reason


def _run(command: Sequence[str], settings: SecretsSettings) -> bytes:
    """Return what a command writes to stdout, at most `_SECRET_CAP` + 1 bytes.

    It has the environment and the working folder of this process, and neither a shell, a terminal nor input. At its
    end, everything that it started is killed.

    Raises:
        OSError: the program cannot be started.
        _CommandError: commands are not run, or the command failed or took too long.
    """
    if not settings.commands:
        raise _CommandError(Message("commands are not run, by --no-commands or secrets.commands"))

    import subprocess

    deadline = time.monotonic() + settings.timeout_seconds
    with subprocess.Popen(  # noqa: S603 - the command that the operator wrote
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            data = _output(process, deadline)
            status = 0 if len(data) > _SECRET_CAP else process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            message = Message("it did not end within {seconds:g} s", seconds=settings.timeout_seconds)
            raise _CommandError(message) from None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if status:
        message = Message("it ended with exit status {status}; run it by hand to see why", status=status)
        raise _CommandError(message)
    return data


def _output(process: "subprocess.Popen[bytes]", deadline: float) -> bytes:
    """Return the output of a process up to its end, or to one byte more than a secret may have."""
    import subprocess
    from selectors import EVENT_READ, DefaultSelector

    data = b""
    descriptor = process.stdout.fileno() if process.stdout else -1
    with DefaultSelector() as selector:
        selector.register(descriptor, EVENT_READ)
        while len(data) <= _SECRET_CAP:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise subprocess.TimeoutExpired(process.args, 0)
            chunk = os.read(descriptor, _SECRET_CAP + 1 - len(data))
            if not chunk:
                break
            data += chunk
    return data
