"""The vendor's own client against the sandbox: the sandbox behaves as the vendor's API."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from solapi import SolapiMessageService
from solapi.lib.authenticator import AuthenticationParameter
from solapi.lib.fetcher import RequestMethod, default_fetcher

from worker.sandbox import SandboxAccount

PHONE = "01012345678"


@pytest.fixture
def vendor(serve: Callable[..., Any]) -> tuple[Any, SandboxAccount, AuthenticationParameter]:
    """Return a sandbox, its account, and the key pair in the form of the vendor's client."""
    account = SandboxAccount.of({PHONE: "ACTIVE", "0212345678": "PENDING"})
    return serve(account), account, {"api_key": account.api_key, "api_secret": account.api_secret}


def _request(served: Any, key: AuthenticationParameter, method: RequestMethod, path: str, data: Any = None) -> Any:
    return default_fetcher(key, {"method": method, "url": f"{served.sandbox.url}/senderid/v1/numbers{path}"}, data)


def test_balance_is_read(vendor: Any) -> None:
    served, account, _ = vendor
    service = SolapiMessageService(account.api_key, account.api_secret)
    service.base_url = served.sandbox.url
    assert service.get_balance().balance == 1000
    (request,) = served.sandbox.wire
    assert (request.method, request.path, request.status) == ("GET", "/cash/v1/balance", 200)


def test_numbers_are_read_and_written(vendor: Any) -> None:
    served, account, key = vendor
    document = _request(served, key, RequestMethod.GET, "")
    assert {row["phoneNumber"]: row["status"] for row in document["senderIds"]} == account.statuses
    assert _request(served, key, RequestMethod.GET, "/active") == [PHONE]
    document = _request(served, key, RequestMethod.PUT, f"/{PHONE}", {"status": "INACTIVE"})
    assert document["senderIds"][0]["status"] == "INACTIVE"
    assert account.statuses[PHONE] == "INACTIVE"
    assert len({request.signature for request in served.sandbox.wire}) == 3


@pytest.mark.parametrize("zone", ["Asia/Seoul", "America/New_York", "UTC"])
def test_local_time_with_offset_is_accepted(vendor: Any, zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    served, _, key = vendor
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert _request(served, key, RequestMethod.GET, "")["senderIds"]
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("phone", "status", "code"),
    [
        ("0212345678", "ACTIVE", "FailedToUpdate"),
        ("01099999999", "ACTIVE", "InvalidSenderId"),
        (PHONE, "PENDING", "ValidationError"),
    ],
)
def test_refusals_have_the_vendors_codes(vendor: Any, phone: str, status: str, code: str) -> None:
    served, account, key = vendor
    previous = account.statuses
    with pytest.raises(Exception, match=code):  # it raises nothing narrower
        _request(served, key, RequestMethod.PUT, f"/{phone}", {"status": status})
    assert account.statuses == previous


@pytest.mark.parametrize(
    ("wrong", "code"), [({"api_secret": "x"}, "SignatureDoesNotMatch"), ({"api_key": "NCSX"}, "InvalidApiKey")]
)
def test_wrong_keys_are_refused(vendor: Any, wrong: dict[str, str], code: str) -> None:
    served, _, key = vendor
    with pytest.raises(Exception, match=code):  # it raises nothing narrower
        _request(served, key | wrong, RequestMethod.GET, "")
