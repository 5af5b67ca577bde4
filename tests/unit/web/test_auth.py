"""Access to the status page."""

import pytest

from worker.web.auth import Access, Denied, TooManyAttempts, is_loopback

TOKEN = "a-token-of-24-characters"
PEER = "192.0.2.1"


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.now


@pytest.mark.parametrize("host", ["127.0.0.1:9464", "localhost", "LOCALHOST:1", "[::1]:9464", "[::1]"])
def test_loopback_host_is_allowed_on_a_loopback_address(host: str) -> None:
    """Each name of the loopback address is allowed, with or without a port."""
    assert Access(None, host="127.0.0.1").deny(host, None, None, PEER) is None


@pytest.mark.parametrize(
    ("listened", "host"), [("127.0.0.2", "127.0.0.2:1"), ("127.0.0.2", "localhost"), ("::1", "[::1]:1")]
)
def test_listening_address_is_an_allowed_host(listened: str, host: str) -> None:
    """The printed URL works."""
    assert Access(None, host=listened).deny(host, None, None, PEER) is None


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil:9464", "", "::1", "10.0.0.1", "127.0.0.2"]
)
def test_rebound_host_is_denied(host: str) -> None:
    """DNS rebinding: a site whose name resolves to this machine gets no page."""
    assert Access(None, host="127.0.0.1").deny(host, None, None, PEER) is Denied.HOST


def test_other_addresses_require_a_configured_token() -> None:
    """Without a configured token no page is served, whatever the request has."""
    access = Access(None, host="192.0.2.9")
    assert access.deny("127.0.0.1", f"Bearer {TOKEN}", "1.x", PEER) is Denied.NO_TOKEN
    assert not access.requires_token


def test_token_is_for_programs_and_session_for_browsers() -> None:
    """A session does not contain the token, is valid for this token only, and expires."""
    wall = Clock()
    access = Access(TOKEN, host="192.0.2.9", wall=wall)
    assert access.deny("x", f"bearer {TOKEN}", None, PEER) is None
    assert access.deny("x", None, None, PEER) is Denied.LOGIN
    assert access.deny("x", f"Basic {TOKEN}", None, PEER) is Denied.LOGIN
    assert access.deny("x", "Bearer 토큰", None, PEER) is Denied.LOGIN
    cookie = access.login(TOKEN, PEER)
    assert cookie is not None
    assert TOKEN not in cookie
    assert access.deny("x", None, cookie, PEER) is None
    until, _, signature = cookie.partition(".")
    assert access.deny("x", None, f"{int(until) + 1}.{signature}", PEER) is Denied.LOGIN
    assert Access(TOKEN + "x", host="192.0.2.9", wall=wall).deny("x", None, cookie, PEER) is Denied.LOGIN
    wall.now += 12 * 3600 - 1
    assert access.deny("x", None, cookie, PEER) is None
    wall.now += 1
    assert access.deny("x", None, cookie, PEER) is Denied.LOGIN


@pytest.mark.parametrize(
    "cookie",
    ["", ".", "9999999999.", "9999999999.00", "x.y", "9" * 400 + ".z", "²²²²²²²²²²²².x", "1.\ud800", "\ud800.x"],
)
def test_invalid_session_is_denied(cookie: str) -> None:
    assert Access(TOKEN, host="127.0.0.1").deny("x", None, cookie, PEER) is Denied.LOGIN


def test_wrong_tokens_are_limited() -> None:
    """After ten wrong tokens from an address in a minute, logins are refused for a minute.

    A program with the token is served.
    """
    clock = Clock()
    access = Access(TOKEN, host="192.0.2.9", clock=clock)
    cookie = access.login(TOKEN, PEER)
    for _ in range(5):
        assert access.login("wrong", PEER) is None
        assert access.deny("x", "Bearer wrong", None, PEER) is Denied.LOGIN
    with pytest.raises(TooManyAttempts):
        access.login(TOKEN, PEER)
    with pytest.raises(TooManyAttempts):
        access.deny("x", "Bearer wrong", None, PEER)
    assert access.deny("x", f"Bearer {TOKEN}", None, PEER) is None
    assert access.deny("x", None, cookie, PEER) is None
    clock.now += 59
    with pytest.raises(TooManyAttempts):
        access.login(TOKEN, PEER)
    clock.now += 1
    assert access.login(TOKEN, PEER) is not None


@pytest.mark.parametrize(
    ("peer", "same", "other"),
    [
        ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
        ("2001:db8::1", "2001:db8:0:0:ffff::9", "2001:db8:0:1::1"),
        ("::ffff:192.0.2.1", "192.0.2.1", "::ffff:192.0.2.2"),
        ("fe80::1%eth0", "fe80::1%eth1", "192.0.2.1"),
        ("", "", "192.0.2.1"),
    ],
)
def test_failed_logins_lock_out_only_their_sender(peer: str, same: str, other: str) -> None:
    """Wrong tokens count for the address of the client, or for its network if it can choose its address."""
    access = Access(TOKEN, host="192.0.2.9", clock=Clock())
    for _ in range(10):
        assert access.login("wrong", peer) is None
    with pytest.raises(TooManyAttempts):
        access.login(TOKEN, same)
    assert access.login(TOKEN, other) is not None


def test_failed_logins_are_stored_for_1024_addresses() -> None:
    """The address without attempts for the longest time is dropped."""
    access = Access(TOKEN, host="192.0.2.9", clock=Clock())
    for number in range(1500):
        assert access.login("wrong", f"10.0.{number // 250}.{number % 250}") is None
        if number % 200 == 0:
            assert access.login("wrong", PEER) is None
    assert len(access._wrong_attempts) == 1024
    assert access.login("wrong", PEER) is None
    assert access.login("wrong", PEER) is None
    with pytest.raises(TooManyAttempts):
        access.login(TOKEN, PEER)


def test_loopback_addresses_are_recognised() -> None:
    """Other addresses and names are not loopback addresses."""
    assert all(map(is_loopback, ("127.0.0.1", "127.8.8.8", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "example.com", "")))  # noqa: S104 - nothing listens
