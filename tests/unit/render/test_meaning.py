"""Korean messages name the same actions, outcomes, statuses and directions as their English, at the same positions.

The glossary of `tests/tools/glossary.py` checks every message. Names of terms, and messages whose meaning depends on
the order of words, are also pinned in `snapshots/korean_terms.txt`: review each change of it.
"""

from collections.abc import Iterator
from itertools import combinations
from typing import Final

import pytest
from babel.messages.pofile import read_po

from tests.support.snapshots import snapshot
from tests.tools.glossary import OPPOSITES, is_pinned, occurrences, placeholders, problems
from tests.tools.messages import CATALOGUES


def _messages() -> list[tuple[str, str]]:
    with CATALOGUES["ko"].open("rb") as file:
        catalog = read_po(file, locale="ko")
    return [
        (
            message.id if isinstance(message.id, str) else message.id[1],
            message.string if isinstance(message.string, str) else "".join(message.string or ()),
        )
        for message in catalog
        if message.id
    ]


_MESSAGES: Final = _messages()
_MIN_MUTANTS: Final = 900


def _pins(messages: list[tuple[str, str]]) -> list[str]:
    return [f"{english}\n  = {korean}\n" for english, korean in messages if is_pinned(english, korean)]


def test_every_term_is_translated_by_the_glossary() -> None:
    wrong = {
        english: (term_problems, korean)
        for english, korean in _MESSAGES
        if (term_problems := problems(english, korean))
    }
    assert wrong == {}


def test_names_and_word_order_are_as_reviewed() -> None:
    text = "".join(_pins(_MESSAGES))
    assert text == snapshot("korean_terms.txt", text)


def test_every_swap_is_detected() -> None:
    """Each word with an opposite, and each pair of placeholders, is swapped in every message."""
    mutants = [(english, korean, mutant) for english, korean in _MESSAGES for mutant in _swap_terms(korean)]
    missed = [
        (english, mutant)
        for english, korean, mutant in mutants
        if not problems(english, mutant) and _pins([(english, mutant)]) == _pins([(english, korean)])
    ]
    assert len(mutants) > _MIN_MUTANTS
    assert missed == []


@pytest.mark.parametrize(
    ("english", "korean", "mistake"),
    [
        ("No changes.", "변경 사항이 없습니다.", "변경 사항이 있습니다."),
        ("{path} cannot be written", "{path}에 쓸 수 없습니다", "{path}에 쓸 수 있습니다"),
        ("{path} can be written", "{path}: 쓸 수 있습니다", "{path}: 쓸 수 없습니다"),
        ("It changes nothing.", "아무것도 변경하지 않습니다.", "모두 변경합니다."),
        ("{count} numbers", "번호 {count}개", "번호 {count}개 없음"),
        ("not registered", "미등록", "등록"),
    ],
)
def test_lost_or_added_negation_is_detected(english: str, korean: str, mistake: str) -> None:
    assert problems(english, korean) == []
    assert problems(english, mistake) != []


def _swap_terms(korean: str) -> Iterator[str]:
    for pair in OPPOSITES:
        for word, opposite in (pair, pair[::-1]):
            for start in occurrences(word, korean):
                yield korean[:start] + opposite + korean[start + len(word) :]
        if all(occurrences(word, korean) for word in pair):
            yield _exchange(korean, *pair)
    for first, second in combinations(sorted(set(placeholders(korean))), 2):
        yield _exchange(korean, first, second)
    if "INACTIVE" in korean:
        yield _exchange(korean, "INACTIVE", "ACTIVE")


def _exchange(text: str, first: str, second: str) -> str:
    return text.replace(first, "\0").replace(second, first).replace("\0", second)
