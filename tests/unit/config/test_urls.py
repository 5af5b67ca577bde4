"""URLs of push gateways."""

import pytest

from worker.config.urls import is_host_pattern, matches_host, parse_gateway, parse_proxy


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://pushgateway.internal:9091", "http://pushgateway.internal:9091"),
        ("https://push.example.com/base/", "https://push.example.com/base"),
        ("http://[::1]:9091/", "http://[::1]:9091"),
    ],
)
def test_gateway_url_is_accepted(text: str, url: str) -> None:
    """Plain http is allowed, because the pushed metrics are not secret and most gateways support only http."""
    assert parse_gateway(text) == url


@pytest.mark.parametrize(
    "text",
    ["pushgateway:9091", "ftp://x", "http://", "http://x:0", "http://x:99999", "http://[", "http://a b", "http://서울"],
)
def test_invalid_gateway_url_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="push_url must be the URL of a push gateway, such as http"):
        parse_gateway(text)


@pytest.mark.parametrize("text", ["http://user:hunter2@x", "http://x?token=hunter2", "http://x#hunter2"])
def test_gateway_url_with_credentials_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="must not have a user, password, query or fragment") as caught:
        parse_gateway(text)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "host", "expected"),
    [
        ("api.example.com", "API.example.com.", True),
        ("example.com", "api.example.com", True),
        (".example.com", "api.example.com", True),
        ("example.com", "badexample.com", False),
        ("api.example.com", "example.com", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.0.0.0/8", "api.example.com", False),
        ("fd00::/8", "fd00::1", True),
    ],
)
def test_host_pattern_matches_hosts(pattern: str, host: str, *, expected: bool) -> None:
    assert is_host_pattern(pattern)
    assert matches_host(pattern, host) is expected


@pytest.mark.parametrize("text", ["", ".", "a b", "-a", "a..b", "http://a", "a:1", "*", "10.0.0.0/99", "a" * 64])
def test_invalid_host_pattern_is_refused(text: str) -> None:
    assert not is_host_pattern(text)


@pytest.mark.parametrize("text", ["http://proxy.internal:3128", "http://127.0.0.1:8080/", "http://[::1]:8080"])
def test_proxy_is_returned_without_its_slash(text: str) -> None:
    assert parse_proxy(text) == text.rstrip("/")


@pytest.mark.parametrize(
    "text",
    [
        *("proxy:3128", "https://proxy:3128", "socks5://proxy:1", "http://proxy", "http://:3128", "http://p:0"),
        *("http://p:99999", "http://p:1/x", "http://p:1?q", "http://p:1#f", "http://p q:1", "http://user:pass@p:1"),
    ],
)
def test_invalid_proxy_is_refused_without_its_password(text: str) -> None:
    with pytest.raises(ValueError, match="proxy must") as raised:
        parse_proxy(text)
    assert "pass@" not in str(raised.value)
