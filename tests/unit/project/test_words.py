"""The check of the prose of the project."""

import pytest

from tests.tools.words import check, of_markdown, of_python


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("It tells\nyou.", "tells"),
        ("A look at the\naccount", "a look"),
        ("# what there\n# is", "what there is"),
        ("Whoever asks", "whoever"),
        ("`code`, then begin with it", "begin with"),
    ],
)
def test_phrase_is_found_across_lines_in_any_case(text: str, phrase: str) -> None:
    (finding,) = check("page.md", of_markdown(text))
    assert finding.phrase == phrase
    assert str(finding).startswith(f"page.md:1: {phrase}: use ")


@pytest.mark.parametrize(
    "text",
    [
        "history",
        "`watch.file_mended`",
        "It looks at files.",
        "a look-up",
        "ids that\nbegin with a digit",
        "a day as it is written",
    ],
)
def test_other_text_is_accepted(text: str) -> None:
    """Names in code and other meanings of a word are accepted."""
    assert [*check("page.md", of_markdown(text))] == []


def test_markdown_lines_count_fenced_blocks() -> None:
    """Output in a fenced block is not prose and does not shift the lines below."""
    text = "```console\n$ told\n```\n\nsomebody\n"
    assert [(finding.line, finding.phrase) for finding in check("page.md", of_markdown(text))] == [(5, "somebody")]


def test_python_docstrings_and_comments_are_checked() -> None:
    """Names and other strings are not prose."""
    text = 'def told() -> str:\n    """Mend it."""\n    # what there\n    # is\n    return "nobody"  # a story\n'
    findings = [(finding.line, finding.phrase) for finding in check("module.py", of_python(text))]
    assert findings == [(2, "mend"), (3, "what there is"), (5, "story")]
