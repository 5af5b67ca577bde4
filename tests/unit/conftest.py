"""What unit tests share: answers without a server."""

from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import pytest
from aiohttp import ClientResponse
from aioresponses import aioresponses

from tests.support.translations import watch_messages

__all__ = ["Answers"]


class _Response(ClientResponse):
    """aiohttp 3.14 wants a `stream_writer`, which aioresponses 0.7.9 does not know."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, stream_writer=Mock(output_size=0), **more)


class Answers(aioresponses):
    """aioresponses as this version of aiohttp needs it."""

    def add(self, *arguments: Any, **more: Any) -> None:
        """The answer, or the exception, of a request."""
        super().add(*arguments, **{"response_class": _Response} | more)


@pytest.fixture
def answers() -> Iterator[Answers]:
    """Answers for aiohttp's sessions; nothing reaches a network."""
    prepared = Answers()
    with prepared:
        yield prepared


@pytest.fixture(autouse=True)
def _complete_messages() -> Iterator[None]:
    """Check that each message of the test has a translation and all its values."""
    with watch_messages() as wrong:
        yield
    assert wrong == []
