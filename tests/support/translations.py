"""A check that the messages of a test are in the catalogue of translations."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest
from babel.messages.pofile import read_po

from worker.model.messages import Message, Parameter
from worker.render.i18n import LOCALE

__all__ = ["watch_messages"]

_PLACE: Final = LOCALE / "ko" / "LC_MESSAGES" / "senderid.po"


def _translated() -> frozenset[str]:
    with _PLACE.open("rb") as file:
        ids = [message.id for message in read_po(file)]
    return frozenset(text for each in ids for text in ((each,) if isinstance(each, str) else each))


_TRANSLATED: Final = _translated()


@contextmanager
def watch_messages() -> Iterator[list[str]]:
    """Yield a list that gets the template of each message that the worker makes and that has no translation.

    The templates that `worker.model.messages` itself joins from others do not count.
    """
    missing: list[str] = []
    new, plural = Message.__new__, Message.plural

    def check(*templates: str) -> None:
        module = sys._getframe(2).f_globals["__name__"]
        if module.startswith("worker.") and module != Message.__module__:
            missing.extend(template for template in templates if template not in _TRANSLATED)

    def checked_new(cls: type[Message], template: str, /, **parameters: Parameter) -> Message:
        check(template)
        return new(cls, template, **parameters)

    def checked_plural(one: str, many: str, /, count: int, **parameters: Parameter) -> Message:
        check(one, many)
        return plural(one, many, count, **parameters)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Message, "__new__", checked_new)
        patch.setattr(Message, "plural", checked_plural)
        yield missing
