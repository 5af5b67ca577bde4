"""The check of the project's prose."""

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
def test_finds_phrase_across_lines_and_case(text: str, phrase: str) -> None:
    """A phrase is found whatever its case, and where a line ends within it."""
    (found,) = check("page.md", of_markdown(text))
    assert found.phrase == phrase
    assert str(found).startswith(f"page.md:1: {phrase}: use ")


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
def test_leaves_other_text_alone(text: str) -> None:
    """Names of code and other uses of a word are no findings."""
    assert [*check("page.md", of_markdown(text))] == []


def test_markdown_lines_count_fenced_blocks() -> None:
    """Output in a fenced block is not prose, and does not shift the lines below."""
    text = "```console\n$ told\n```\n\nsomebody\n"
    assert [(found.line, found.phrase) for found in check("page.md", of_markdown(text))] == [(5, "somebody")]


def test_python_docstrings_and_comments_are_prose() -> None:
    """Strings that are values, and names, are left alone."""
    text = 'def told() -> str:\n    """Mend it."""\n    # what there\n    # is\n    return "nobody"  # a story\n'
    found = [(finding.line, finding.phrase) for finding in check("module.py", of_python(text))]
    assert found == [(2, "mend"), (3, "what there is"), (5, "story")]
