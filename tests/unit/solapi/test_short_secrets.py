"""A secret that is too short is refused before any request, except at loopback addresses."""

import pytest

from tests.support.loopback import LogRecorder
from worker.config.settings import Settings, Timeout
from worker.model.credentials import Credentials, CredentialsRef, Secret, SecretRef
from worker.model.errors import CredentialsMissing
from worker.reconcile.fleet import DefaultTarget, Fleet
from worker.solapi.client import AccountReader
from worker.solapi.transport import Transport

_FILE = CredentialsRef(SecretRef(env="KEY"), SecretRef(file="/run/secrets/s"))


def _connected(secret: str, site: DefaultTarget) -> bool:
    credentials = Credentials("K", Secret(secret))
    fleet = Fleet(Settings(), Transport(Timeout()), lambda _: credentials, LogRecorder())
    with fleet.client(AccountReader, site, LogRecorder()):
        return True


@pytest.mark.parametrize(
    ("site", "source"),
    [
        (DefaultTarget(), "the environment variable SOLAPI_API_SECRET"),
        (DefaultTarget(credentials=_FILE), "the file /run/secrets/s"),
        (DefaultTarget(endpoint="https://api.example.com"), "the environment variable SOLAPI_API_SECRET"),
    ],
)
def test_real_endpoint_requires_eight_characters(site: DefaultTarget, source: str) -> None:
    """The error names the source of the secret, not the secret."""
    with pytest.raises(CredentialsMissing, match=f"{source} has fewer than 8 characters") as caught:
        _connected("sevenXY", site)
    assert "sevenXY" not in str(caught.value)
    assert _connected("eightXYZ", site)


@pytest.mark.parametrize(
    "endpoint", ["http://127.0.0.1:8080", "http://localhost:1", "http://[::1]:8080", "https://127.0.0.1"]
)
def test_loopback_endpoint_accepts_short_credentials(endpoint: str) -> None:
    """A sandbox accepts a secret and a key of one letter."""
    assert _connected("s", DefaultTarget(endpoint=endpoint))
