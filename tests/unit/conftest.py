"""Fixtures of unit tests: HTTP responses without a server, and a check of translations."""

from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import pytest
from aiohttp import ClientResponse
from aioresponses import aioresponses

from tests.support.translations import watch_messages

__all__ = ["Responses"]


class _Response(ClientResponse):
    """Response with the `stream_writer` that aiohttp 3.14 requires and aioresponses 0.7.9 does not pass."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, stream_writer=Mock(output_size=0), **more)


class Responses(aioresponses):
    """aioresponses for the installed version of aiohttp."""

    def add(self, *arguments: Any, **more: Any) -> None:
        """Add the response, or the exception, of a request."""
        super().add(*arguments, **{"response_class": _Response} | more)


@pytest.fixture
def responses() -> Iterator[Responses]:
    """Serve responses to sessions of aiohttp. Nothing reaches a network."""
    mock = Responses()
    with mock:
        yield mock


@pytest.fixture(autouse=True)
def _complete_messages() -> Iterator[None]:
    """Check that each message of the test has a translation and all its values."""
    with watch_messages() as wrong:
        yield
    assert wrong == []
