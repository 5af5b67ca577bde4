"""References to secrets: resolved on first use, read again after `forget`, and always masked in logs."""

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


def test_resolved_secrets_are_masked() -> None:
    """API secrets and channel URLs are secrets; API keys are not."""
    resolver = CredentialsResolver()
    assert resolver(REFERENCE).api_secret.reveal() == "first-secret"
    assert resolver.url(Channel("ops", SecretRef(env="URL"))) == "json://user:canary@host"
    assert set(resolver.secrets) == {"first-secret", "json://user:canary@host"}


def test_rotated_secret_is_read_after_forget_and_old_one_stays_masked() -> None:
    resolver = CredentialsResolver()
    resolver(REFERENCE)
    Path("secret").write_text("second-secret\n")
    assert resolver(REFERENCE).api_secret.reveal() == "first-secret"
    resolver.forget()
    assert resolver(REFERENCE).api_secret.reveal() == "second-secret"
    assert set(resolver.secrets) == {"first-secret", "second-secret"}
