"""URLs of push gateways."""

import pytest

from worker.config.urls import parse_gateway


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
