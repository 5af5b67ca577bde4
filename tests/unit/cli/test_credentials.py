"""References to secrets: resolved when they are needed, read again after `forget`, and always hidden in logs."""

from pathlib import Path

import pytest

from worker.cli.credentials import CredentialsResolver
from worker.config.channels import Channel
from worker.model.credentials import CredentialsRef, SecretRef

REFERENCE = CredentialsRef(SecretRef(env="KEY"), SecretRef(file="secret"))


@pytest.fixture(autouse=True)
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set an API key, an API secret and the URL of a channel."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KEY", "NCS1")
    monkeypatch.setenv("URL", "json://user:canary@host")
    Path("secret").write_text("first-secret\n")


def test_every_resolved_secret_is_hidden() -> None:
    """The API secret and a channel's URL, which often has a token, but not the API key."""
    resolver = CredentialsResolver()
    assert resolver(REFERENCE).api_secret.reveal() == "first-secret"
    assert resolver.url(Channel("ops", SecretRef(env="URL"))) == "json://user:canary@host"
    assert set(resolver.secrets) == {"first-secret", "json://user:canary@host"}


def test_rotated_secret_is_read_after_forget_and_the_old_one_stays_hidden() -> None:
    resolver = CredentialsResolver()
    resolver(REFERENCE)
    Path("secret").write_text("second-secret\n")
    assert resolver(REFERENCE).api_secret.reveal() == "first-secret"
    resolver.forget()
    assert resolver(REFERENCE).api_secret.reveal() == "second-secret"
    assert set(resolver.secrets) == {"first-secret", "second-secret"}
