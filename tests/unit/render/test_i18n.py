"""The language that people are spoken to in."""

import pytest

from worker.model.messages import Message
from worker.render import i18n


def test_english_is_spoken_until_another_is_chosen() -> None:
    """Without a choice messages stay as they are written, and a number picks its form."""
    assert i18n.current_language() == "en"
    assert i18n.gettext("Plan") == "Plan"
    assert i18n.ngettext("one", "many", 1) == "one"
    assert i18n.ngettext("one", "many", 2) == "many"


def test_a_language_is_spoken_for_a_while_only() -> None:
    """What is chosen within a context ends with it; a message without a translation stays English."""
    with i18n.use_language("ko"):
        assert i18n.current_language() == "ko"
        assert i18n.gettext("no such message") == "no such message"
        assert i18n.ngettext("no such one", "no such many", 2) == "no such many"
        with i18n.use_language("en"):
            assert i18n.current_language() == "en"
    assert i18n.current_language() == "en"


@pytest.mark.parametrize(
    ("wish", "code"),
    [
        ("ko", "ko"),
        ("ko_KR.UTF-8", "ko"),
        ("KO-kr", "ko"),
        ("en_US", "en"),
        ("C.UTF-8", None),
        ("", None),
        (None, None),
    ],
)
def test_wishes_are_understood_as_systems_and_browsers_write_them(wish: str | None, code: str | None) -> None:
    """Locale names and language tags select their language; an unsupported one selects none."""
    assert i18n.language_of(wish) == code


def test_message_is_translated_by_template() -> None:
    message = Message("Plan: {what}", what=Message("Notices"))
    assert i18n.translate(message) is message
    with i18n.use_language("ko"):
        assert i18n.translate(message) != message
