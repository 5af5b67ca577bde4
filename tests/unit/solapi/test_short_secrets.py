"""A secret that is too short to be one is refused before anything is sent, unless the endpoint is this machine."""

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
    found = Credentials("K", Secret(secret))
    fleet = Fleet(Settings(), Transport(Timeout()), lambda _: found, LogRecorder())
    with fleet.client(AccountReader, site, LogRecorder()):
        return True


@pytest.mark.parametrize(
    ("site", "place"),
    [
        (DefaultTarget(), "the environment variable SOLAPI_API_SECRET"),
        (DefaultTarget(credentials=_FILE), "the file /run/secrets/s"),
        (DefaultTarget(endpoint="https://api.example.com"), "the environment variable SOLAPI_API_SECRET"),
    ],
)
def test_a_real_endpoint_takes_eight_characters(site: DefaultTarget, place: str) -> None:
    """The error names the place of the secret, not the secret."""
    with pytest.raises(CredentialsMissing, match=f"{place} has fewer than 8 characters") as refused:
        _connected("sevenXY", site)
    assert "sevenXY" not in str(refused.value)
    assert _connected("eightXYZ", site)


@pytest.mark.parametrize(
    "endpoint", ["http://127.0.0.1:8080", "http://localhost:1", "http://[::1]:8080", "https://127.0.0.1"]
)
def test_a_simulated_api_takes_any(endpoint: str) -> None:
    """A sandbox may be tried with a secret of one letter, and a key as short."""
    assert _connected("s", DefaultTarget(endpoint=endpoint))
