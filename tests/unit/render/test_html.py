"""HTML from templates."""

from base64 import b64decode
from hashlib import sha256

import pytest
from jinja2 import UndefinedError

from worker.render import html


def _macro(call: str, **values: object) -> str:
    text = '{% import "macros.html" as m with context %}{{ m.' + call + " }}"
    return html._environment().from_string(text).render(**values)


def test_untrusted_text_is_escaped() -> None:
    """Markup is escaped, and bidirectional and invisible characters are replaced."""
    rendered = _macro("foreign(text)", text='<script>alert("x")</script>\u202e\u0000')
    assert rendered == "<bdi>&lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt;\ufffd\ufffd</bdi>"


def test_missing_value_is_an_error() -> None:
    """A template that uses an undefined value fails."""
    with pytest.raises(UndefinedError):
        _macro("foreign(missing)")


def test_macros_render_words_and_grouped_numbers() -> None:
    """A chip has a word in addition to its colour. Phone numbers have hyphens."""
    assert " failed</span>" in _macro('chip("failed", "bad", "x")')
    assert ">010-1234-5678</span>" in _macro('phone("01012345678")')
    assert "1,234,567" in _macro('tile(1234567, "changed", "good")')
    assert '<time datetime="2026-11-24T09:00:00Z">2026-11-24 09:00:00' in _macro('moment("2026-11-24T09:00:00Z")')


def test_inlined_asset_has_its_hash() -> None:
    """The content security policy of a document allows exactly its inlined bytes."""
    text, source = html.inline_asset("style.css")
    assert b64decode(source.removeprefix("'sha256-").removesuffix("'")) == sha256(str(text).encode()).digest()
