"""Finished messages in Korean, whatever stands in them."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tools import messages
from worker.model.plans import Action, Change, Plan
from worker.render import text
from worker.render.i18n import speaking, translated
from worker.render.i18n_catalog import Catalogue, Template

_FOREIGN = st.text(max_size=60) | st.sampled_from(
    ["{name}", "{0!r}", "%s", "\x1b[2J", "\u202egnp.exe", "<script>alert(1)</script>", "a: b (c); d, e. f"]
)
_TEMPLATES = sorted(
    (Template.of(str(message.id), "") for message in messages.template() if message.context and "{" in str(message.id)),
    key=str,
)
_LONG = 10_000


@given(_FOREIGN)
def test_english_stays_as_it_is(foreign: str) -> None:
    """Where English is spoken nothing is looked up at all."""
    assert translated(foreign) is foreign


@pytest.mark.slow
@given(st.sampled_from(_TEMPLATES), st.data())
def test_values_come_through_unchanged(template: Template, data: st.DataObject) -> None:
    """A value of a message stands in its Korean as it stood in its English: nothing of it is read as anything else."""
    marks = [f"⟦{number}⟧" for number in range(len(template.names))]
    values = [mark + data.draw(_FOREIGN.filter(lambda text: "⟦" not in text)) + mark for mark in marks]
    said = "".join(part + value for part, value in zip(template.parts, [*values, ""], strict=True))
    with speaking("ko"):
        korean = translated(said)
    assert all(value in korean for value in values)


@given(_FOREIGN)
def test_what_is_no_message_is_left_alone(foreign: str) -> None:
    """Foreign text, marked so that it can be none of the messages, is shown as it came."""
    with speaking("ko"):
        assert translated(f"⟦{foreign}⟧") == f"⟦{foreign}⟧"


@pytest.mark.parametrize(
    "piece",
    [
        "a: ",
        "x (y) ",
        ": ; ( ) . ",
        "{x}",
        "character ",
        "cannot be : ",
        "the ",
        "\u202e<b>",
        "읽을 수 없습니다: ",
    ],
)
def test_ten_thousand_hostile_characters_take_no_time(piece: str) -> None:
    """However a text plays with the parts of messages, looking for it takes less than a frame on a screen would."""
    hostile = piece * (_LONG // len(piece))
    catalogue = Catalogue.at(messages.CATALOGUES["ko"].with_suffix(".mo"))
    assert catalogue is not None
    assert catalogue.finished(hostile) == hostile
    for length in (1000, 2000, 4000):
        began = time.process_time()
        catalogue.finished(hostile[:length])
        assert time.process_time() - began < 0.25


@given(st.lists(_FOREIGN, min_size=3, max_size=3))
def test_a_korean_plan_of_foreign_texts_obeys_nothing(foreign: list[str]) -> None:
    """Notes, owners and reasons that mean harm are as harmless in Korean as in English."""
    note, owner, reason = foreign
    change = Change("01000000001", Action.ACTIVATE, "INACTIVE", "ACTIVE", f"in use: {reason}", note, owner)
    shown = _plan(change)
    assert "활성화" in shown
    assert "\x1b" not in shown
    assert shown.replace("\n", "").isprintable()


def _plan(change: Change) -> str:
    from worker.model.plans import AccountPlan, tally  # noqa: PLC0415

    account = AccountPlan(
        account="main", account_id=None, counts=tally(Action, {Action.ACTIVATE: 1}), changes=(change,)
    )
    plan = Plan(created_at="2026-11-24T00:00:00.000Z", fingerprint="0" * 64, accounts=(account,))
    with speaking("ko"):
        return text.plan(plan, color=False)
