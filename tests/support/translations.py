"""A check of the messages that a test makes: each has a translation, and no value is missing."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest
from babel.messages.pofile import read_po

from worker.model.errors import WorkerError
from worker.model.messages import Message, Parameter
from worker.render.i18n import LOCALE

__all__ = ["watch_messages"]

_CATALOGUE: Final = LOCALE / "ko" / "LC_MESSAGES" / "senderid.po"


def _translated() -> frozenset[str]:
    with _CATALOGUE.open("rb") as file:
        ids = [message.id for message in read_po(file)]
    return frozenset(text for forms in ids for text in ((forms,) if isinstance(forms, str) else forms))


_TRANSLATED: Final = _translated()
_MISSING: Final = (None, "None", ("None",))


@contextmanager
def watch_messages() -> Iterator[list[str]]:
    """Yield a list that gets each message and error of the worker that is wrong for the user.

    Such a message has no translation, or shows `None`; such an error has no text. Templates that
    `worker.model.messages` itself joins from other messages do not count.
    """
    wrong: list[str] = []
    new, plural = Message.__new__, Message.plural

    def check(templates: tuple[str, ...], parameters: dict[str, Parameter]) -> None:
        module = sys._getframe(2).f_globals["__name__"]
        if module.startswith("worker.") and module != Message.__module__:
            wrong.extend(template for template in templates if template not in _TRANSLATED)
            wrong.extend(f"{name} of {templates}" for name, value in parameters.items() if value in _MISSING)

    def checked_new(cls: type[Message], template: str, /, **parameters: Parameter) -> Message:
        check((template,), parameters)
        return new(cls, template, **parameters)

    def checked_plural(one: str, many: str, /, count: int, **parameters: Parameter) -> Message:
        check((one, many), {"count": count, **parameters})
        return plural(one, many, count, **parameters)

    def checked_error(cls: type[WorkerError], *arguments: object, **_: object) -> WorkerError:
        if None in arguments:
            wrong.append(cls.__name__)
        return Exception.__new__(cls, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Message, "__new__", checked_new)
        patch.setattr(Message, "plural", checked_plural)
        patch.setattr(WorkerError, "__new__", checked_error, raising=False)
        yield wrong
