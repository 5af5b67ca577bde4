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
def test_urls_of_gateways(text: str, url: str) -> None:
    """Plain http is allowed as well: what is pushed is no secret, and most gateways speak nothing else."""
    assert parse_gateway(text) == url


@pytest.mark.parametrize(
    "text",
    ["pushgateway:9091", "ftp://x", "http://", "http://x:0", "http://x:99999", "http://[", "http://a b", "http://서울"],
)
def test_what_is_no_url_of_a_gateway(text: str) -> None:
    """The message says what would be one."""
    with pytest.raises(ValueError, match="push_url must be the URL of a push gateway, such as http"):
        parse_gateway(text)


@pytest.mark.parametrize("text", ["http://user:hunter2@x", "http://x?token=hunter2", "http://x#hunter2"])
def test_what_could_be_a_secret_is_not_repeated(text: str) -> None:
    """A password or a token in it is refused, and stands in no message."""
    with pytest.raises(ValueError, match="must not have a user, password, query or fragment") as caught:
        parse_gateway(text)
    assert "hunter2" not in str(caught.value)
