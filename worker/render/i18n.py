"""The language of the user: English, unless another was chosen.

Texts are written in English and marked by `gettext` and `ngettext`. Output for machines (JSON, log lines, exit
statuses) is never translated. A `Message` is English there, and `translated` translates it for users.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from worker.model.messages import Message

if TYPE_CHECKING:
    from worker.render.i18n_catalog import Catalogue

__all__ = ["LANGUAGES", "LOCALE", "gettext", "language_of", "ngettext", "speak", "speaking", "spoken", "translated"]

LANGUAGES: Final = ("en", "ko")
"""ISO 639-1 codes of the languages, the first without a catalogue."""

LOCALE: Final = Path(__file__).with_name("locale")
"""The folder of the catalogues."""
_DOMAIN: Final = "senderid"


_catalogue: ContextVar[tuple[str, "Catalogue | None"]] = ContextVar("language", default=("en", None))


def gettext(message: str) -> str:
    """Return a marked text in the chosen language. `str.format` fills in its values afterwards."""
    _, catalogue = _catalogue.get()
    return message if catalogue is None else catalogue.gettext(message)


def ngettext(one: str, many: str, number: int) -> str:
    """Return one of two marked texts in the chosen language, by a count."""
    _, catalogue = _catalogue.get()
    if catalogue is None:
        return one if number == 1 else many
    return catalogue.ngettext(one, many, number)


def translated(text: str) -> str:
    """Return a message in the chosen language, its parts too. A plain text is translated if it is a marked text.

    Text from other sources inside a message is not changed: the caller makes it safe for the terminal or page.
    """
    _, catalogue = _catalogue.get()
    if catalogue is None or not text:
        return text
    return catalogue.message(text) if isinstance(text, Message) else catalogue.gettext(text)


def spoken() -> str:
    """Return the code of the chosen language, one of `LANGUAGES`."""
    return _catalogue.get()[0]


def speak(language: str) -> None:
    """Choose a language of `LANGUAGES` for this context and those that start from it."""
    _catalogue.set((language, _opened(language)))


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """Choose a language of `LANGUAGES` while the context lasts."""
    token = _catalogue.set((language, _opened(language)))
    try:
        yield
    finally:
        _catalogue.reset(token)


def language_of(wish: str | None) -> str | None:
    """Return the language of a locale or tag such as ko, ko_KR.UTF-8 or en-GB; None if there is no such language."""
    code = (wish or "").replace("-", "_").partition("_")[0].partition(".")[0].lower()
    return code if code in LANGUAGES else None


@cache
def _opened(language: str) -> "Catalogue | None":
    if language == LANGUAGES[0]:
        return None
    from worker.render.i18n_catalog import Catalogue  # noqa: PLC0415 - English needs none, and starts sooner without

    # a bare checkout has no built catalogue: English then
    return Catalogue.at(LOCALE / language / "LC_MESSAGES" / f"{_DOMAIN}.mo")
