"""Translation of texts into the user's language, which is English by default.

Texts are written in English and marked by `gettext` and `ngettext`. Output for machines (JSON documents, JSON log
lines) is always English. A `Message` is kept in English, and `translate` translates it when a user reads it.
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

__all__ = [
    "LANGUAGES",
    "LOCALE",
    "choose_language",
    "current_language",
    "gettext",
    "language_of",
    "ngettext",
    "translate",
    "use_language",
]

LANGUAGES: Final = ("en", "ko")
"""ISO 639-1 codes of the supported languages. The first is the language of the source and has no catalogue."""

LOCALE: Final = Path(__file__).with_name("locale")
"""The folder with the catalogues of translations."""
_DOMAIN: Final = "senderid"


_catalogue: ContextVar[tuple[str, "Catalogue | None"]] = ContextVar("language", default=("en", None))


def gettext(message: str) -> str:
    """Return a marked text in the chosen language. The caller fills in its values by `str.format` afterwards."""
    _, catalogue = _catalogue.get()
    return message if catalogue is None else catalogue.gettext(message)


def ngettext(one: str, many: str, number: int) -> str:
    """Return the singular or the plural of a marked text in the chosen language, for a count of `number`."""
    _, catalogue = _catalogue.get()
    if catalogue is None:
        return one if number == 1 else many
    return catalogue.ngettext(one, many, number)


def translate(text: str) -> str:
    """Return a message, with the messages inside it, in the chosen language. A plain `str` is translated if marked.

    Untrusted text inside a message is not escaped: the caller makes it safe for the terminal or the page.
    """
    _, catalogue = _catalogue.get()
    if catalogue is None or not text:
        return text
    return catalogue.message(text) if isinstance(text, Message) else catalogue.gettext(text)


def current_language() -> str:
    """Return the code of the chosen language, one of `LANGUAGES`."""
    return _catalogue.get()[0]


def choose_language(language: str) -> None:
    """Choose a language of `LANGUAGES` for the current context (as in `contextvars`), and for tasks started in it."""
    _catalogue.set((language, _opened(language)))


@contextmanager
def use_language(language: str) -> Iterator[None]:
    """Choose a language of `LANGUAGES` inside the `with` block, then restore the former one."""
    token = _catalogue.set((language, _opened(language)))
    try:
        yield
    finally:
        _catalogue.reset(token)


def language_of(tag: str | None) -> str | None:
    """Return the language of a locale or tag such as ko, ko_KR.UTF-8 or en-GB; None if it is not supported."""
    code = (tag or "").replace("-", "_").partition("_")[0].partition(".")[0].lower()
    return code if code in LANGUAGES else None


@cache
def _opened(language: str) -> "Catalogue | None":
    if language == LANGUAGES[0]:
        return None
    from worker.render.i18n_catalog import Catalogue  # noqa: PLC0415 - English starts faster without this import

    # a checkout without compiled catalogues falls back to English
    return Catalogue.at(LOCALE / language / "LC_MESSAGES" / f"{_DOMAIN}.mo")
