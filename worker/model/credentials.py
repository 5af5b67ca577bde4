"""API keys with their secrets, and references to them in files."""

from typing import Final

from msgspec import Struct

from worker.model.messages import Message

__all__ = ["DEFAULT_CREDENTIALS", "Credentials", "CredentialsRef", "Secret", "SecretRef"]


class Secret:
    """A secret text. Only `reveal()` returns it; `repr`, `str` and formatting show a placeholder."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the secret text."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(…)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


class SecretRef(Struct, frozen=True, forbid_unknown_fields=True):
    """A reference to a secret: the name of an environment variable, the path of a file, or a command. One is set.

    `command` are the program and its arguments. The secret is what the program writes to stdout.
    """

    env: str | None = None
    file: str | None = None
    command: tuple[str, ...] | None = None

    @property
    def location(self) -> str:
        """The environment variable, file or command, as a phrase for messages."""
        if self.env is not None:
            return Message("the environment variable {env}", env=self.env)
        if self.command is not None:
            return Message("the command {program}", program=self.command[0])
        return Message("the file {file}", file=self.file or "")


class Credentials(Struct, frozen=True):
    """An API key and its secret, ready to sign with."""

    api_key: str
    api_secret: Secret


class CredentialsRef(Struct, frozen=True):
    """References to an API key and its secret. Desired-state files and plan files have these, never the secrets."""

    api_key: SecretRef
    api_secret: SecretRef

    @property
    def has_command(self) -> bool:
        """Return True if a command prints one of the two."""
        return self.api_key.command is not None or self.api_secret.command is not None


DEFAULT_CREDENTIALS: Final = CredentialsRef(SecretRef(env="SOLAPI_API_KEY"), SecretRef(env="SOLAPI_API_SECRET"))
"""The references that apply to an account whose document has no credentials."""
