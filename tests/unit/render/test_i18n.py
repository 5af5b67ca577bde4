"""The language of messages."""

import pytest

from worker.model.messages import Message
from worker.render import i18n


def test_english_is_the_default_language() -> None:
    """Messages stay unchanged, and a count selects singular or plural."""
    assert i18n.current_language() == "en"
    assert i18n.gettext("Plan") == "Plan"
    assert i18n.ngettext("one", "many", 1) == "one"
    assert i18n.ngettext("one", "many", 2) == "many"


def test_language_is_limited_to_its_context() -> None:
    """A message without a translation stays English."""
    with i18n.use_language("ko"):
        assert i18n.current_language() == "ko"
        assert i18n.gettext("no such message") == "no such message"
        assert i18n.ngettext("no such one", "no such many", 2) == "no such many"
        with i18n.use_language("en"):
            assert i18n.current_language() == "en"
    assert i18n.current_language() == "en"


def test_language_ends_with_its_context_after_an_error() -> None:
    with pytest.raises(ValueError, match="wrong"), i18n.use_language("ko"):
        raise ValueError("wrong")
    assert i18n.current_language() == "en"


@pytest.mark.parametrize(
    ("requested", "expected"),
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
def test_language_is_selected_by_locale_names_and_language_tags(requested: str | None, expected: str | None) -> None:
    """An unsupported language selects none."""
    assert i18n.language_of(requested) == expected


def test_message_is_translated_by_template() -> None:
    message = Message("Plan: {what}", what=Message("Notices"))
    assert i18n.translate(message) is message
    with i18n.use_language("ko"):
        assert i18n.translate(message) != message
