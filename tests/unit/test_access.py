"""Who may see the pages."""

import pytest

from worker.web.access import Access, Denied, Many, loopback

TOKEN = "a-token-of-24-characters"


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        """The time."""
        return self.now


@pytest.mark.parametrize("host", ["127.0.0.1:9464", "localhost", "LOCALHOST:1", "[::1]:9464", "[::1]"])
def test_on_a_loopback_address_this_machine_is_answered(host: str) -> None:
    """By each of its names, with a port or without."""
    assert Access(None, local=True).denied(host, None, None) is None


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil:9464", "", "::1", "10.0.0.1"]
)
def test_a_name_that_was_bound_anew_is_not_answered(host: str) -> None:
    """A site whose name was made to mean this machine gets nothing."""
    assert Access(None, local=True).denied(host, None, None) is Denied.HOST


def test_other_machines_need_a_token_that_there_is() -> None:
    """Without one nobody sees a page, whatever they send."""
    access = Access(None, local=False)
    assert access.denied("127.0.0.1", f"Bearer {TOKEN}", "1.x") is Denied.NO_TOKEN
    assert not access.guarded


def test_the_token_opens_to_programs_and_a_session_to_browsers() -> None:
    """A session is not the token, is of this token alone and ends by itself."""
    wall = Clock()
    access = Access(TOKEN, local=False, wall=wall)
    assert access.denied("x", f"bearer {TOKEN}", None) is None
    assert access.denied("x", None, None) is Denied.LOGIN
    assert access.denied("x", f"Basic {TOKEN}", None) is Denied.LOGIN
    assert access.denied("x", "Bearer 토큰", None) is Denied.LOGIN
    cookie = access.login(TOKEN)
    assert cookie is not None
    assert TOKEN not in cookie
    assert access.denied("x", None, cookie) is None
    assert Access(TOKEN + "x", local=False, wall=wall).denied("x", None, cookie) is Denied.LOGIN
    wall.now += 12 * 3600
    assert access.denied("x", None, cookie) is Denied.LOGIN


@pytest.mark.parametrize(
    "cookie", ["", ".", "9999999999.", "9999999999.00", "x.y", "9" * 400 + ".z", "²²²²²²²²²²²².x", "1.\ud800"]
)
def test_a_made_up_session_opens_nothing(cookie: str) -> None:
    """Whatever it is made of."""
    assert Access(TOKEN, local=True).denied("x", None, cookie) is Denied.LOGIN


def test_wrong_tokens_are_bounded() -> None:
    """After ten in a minute not even the right one is taken, until they are a minute old; sessions go on meanwhile."""
    clock = Clock()
    access = Access(TOKEN, local=False, clock=clock)
    cookie = access.login(TOKEN)
    for _ in range(5):
        assert access.login("wrong") is None
        assert access.denied("x", "Bearer wrong", None) is Denied.LOGIN
    with pytest.raises(Many):
        access.login(TOKEN)
    with pytest.raises(Many):
        access.denied("x", f"Bearer {TOKEN}", None)
    assert access.denied("x", None, cookie) is None
    clock.now += 60
    assert access.login(TOKEN) is not None


def test_loopback_addresses_are_known() -> None:
    """Others, and names that may be anything, are none."""
    assert all(map(loopback, ("127.0.0.1", "127.8.8.8", "::1", "localhost")))
    assert not any(map(loopback, ("0.0.0.0", "::", "10.0.0.1", "example.com", "")))  # noqa: S104 - nothing listens
