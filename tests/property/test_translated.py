"""Messages in Korean, with any values inserted."""

import re
from string import Formatter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tools import messages
from worker.model.messages import Message, Parameter
from worker.model.plans import Action, Change, Plan
from worker.render import text
from worker.render.i18n import translate, use_language

_FOREIGN = st.text(max_size=60) | st.sampled_from(
    ["{name}", "{0!r}", "%s", "\x1b[2J", "\u202egnp.exe", "<script>alert(1)</script>", "a: b (c); d, e. f"]
)


def _templates() -> st.SearchStrategy[str]:
    return st.sampled_from(
        sorted(
            str(message.id)
            for message in messages.template()
            if isinstance(message.id, str)
            and "python-brace-format" in message.flags
            # the completion script contains shell variables
            and "${" not in message.id
        )
    )


@given(_FOREIGN)
def test_english_is_unchanged(foreign: str) -> None:
    """No catalogue is loaded for English."""
    assert translate(foreign) is foreign


@pytest.mark.slow
@given(st.deferred(_templates), st.data())
def test_values_are_inserted_unchanged(template: str, data: st.DataObject) -> None:
    """A value appears in the Korean message as in the English one, and is not interpreted."""
    fields = [(name, spec, conversion) for _, name, spec, conversion in Formatter().parse(template) if name]
    values: dict[str, Parameter] = {
        name: data.draw(_FOREIGN) if re.fullmatch(r"(\.\d+)?", spec or "") else 7 for name, spec, _ in fields
    }
    with use_language("ko"):
        korean = translate(Message(template, **values))
    for name, spec, conversion in fields:
        value = values[name]
        formatted = repr(value) if conversion == "r" else format(value, spec or "")
        assert formatted in korean


@given(_FOREIGN)
def test_external_text_is_not_translated(foreign: str) -> None:
    """External text, marked so that it cannot equal a message, is shown unchanged."""
    with use_language("ko"):
        assert translate(f"⟦{foreign}⟧") == f"⟦{foreign}⟧"


@given(st.lists(_FOREIGN, min_size=3, max_size=3))
def test_korean_plan_neutralizes_external_texts(foreign: list[str]) -> None:
    """Hostile notes, owners and reasons are as harmless in Korean as in English."""
    note, owner, reason = foreign
    change = Change(
        "01000000001", Action.ACTIVATE, "INACTIVE", "ACTIVE", Message("in use: {usage}", usage=reason), note, owner
    )
    text = _plan(change)
    assert "활성화" in text
    assert "\x1b" not in text
    assert text.replace("\n", "").isprintable()


def _plan(change: Change) -> str:
    from worker.model.plans import AccountPlan, tally  # noqa: PLC0415

    account = AccountPlan(
        account="main", account_id=None, counts=tally(Action, {Action.ACTIVATE: 1}), changes=(change,)
    )
    plan = Plan(created_at="2026-11-24T00:00:00.000Z", fingerprint="0" * 64, accounts=(account,))
    with use_language("ko"):
        return text.plan(plan, color=False)
