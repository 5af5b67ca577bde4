"""JSON documents: their fields, and the escaping of untrusted text."""

import json
from typing import Any

import msgspec
import pytest

from worker.model.accounts import Status
from worker.model.errors import NumberError
from worker.model.plans import AccountPlan, Action, Change, Plan, tally
from worker.model.results import AccountResult, NumberResult, Outcome, Result, RunOutcome
from worker.render.json_document import encodable, encode, inert

HOSTILE = "\x1b[31m\n\u202e\u2028\x85\x9b\u200b고객 😀\\"


def plan(*changes: Change, account: str = "main") -> Plan:
    """Return a plan of one account."""
    account_plan = AccountPlan(account=account, counts=tally(Action, {}), changes=changes)
    return Plan(created_at="2026-03-01T12:00:00.000Z", fingerprint="f" * 64, accounts=(account_plan,))


def test_plan_document_has_every_field() -> None:
    """Absent values are null, and the document ends with a newline."""
    change = Change("0211", Action.ACTIVATE, Status.INACTIVE, Status.ACTIVE, "listed as ACTIVE", note="본사")
    data = encode(plan(change))
    assert data.endswith(b"}\n")
    assert "본사".encode() in data
    assert b'\n  "schema": "senderid.plan/v1",\n' in data
    assert json.loads(data) == {
        "schema": "senderid.plan/v1",
        "created_at": "2026-03-01T12:00:00.000Z",
        "at": None,
        "fingerprint": "f" * 64,
        "accounts": [
            {
                "account": "main",
                "account_id": None,
                "timezone": "Asia/Seoul",
                "verdict": "ok",
                "refusals": [],
                "error": None,
                "counts": dict.fromkeys(map(str, Action), 0),
                "changes": [
                    {
                        "phone": "0211",
                        "action": "activate",
                        "observed": "INACTIVE",
                        "desired": "ACTIVE",
                        "reason": "listed as ACTIVE",
                        "note": "본사",
                        "owner": None,
                        "cause": None,
                        "since": None,
                        "until": None,
                    }
                ],
                "notices": [],
                "active": None,
            }
        ],
    }


def test_result_document_has_every_field() -> None:
    """Statuses and outcomes are words."""
    error = NumberError("ServerError", "the server failed", 502)
    number = NumberResult(
        "0211",
        Action.DEACTIVATE,
        Status.INACTIVE,
        Status.ACTIVE,
        Status("FROZEN"),
        Outcome.CONFLICT,
        2,
        error,
        70,
        "a note",
    )
    account = AccountResult(
        account="main", outcome=RunOutcome.PARTIAL, counts=tally(Outcome, {Outcome.CONFLICT: 1}), numbers=(number,)
    )
    result = Result(
        run_id="r", started_at="2026-03-01T12:00:00Z", finished_at="2026-03-01T12:00:01Z",
        outcome=RunOutcome.PARTIAL, accounts=(account,),
    )  # fmt: skip
    assert json.loads(encode(result)) == {
        "schema": "senderid.result/v1",
        "run_id": "r",
        "started_at": "2026-03-01T12:00:00Z",
        "finished_at": "2026-03-01T12:00:01Z",
        "outcome": "partial",
        "prompt_ms": 0,
        "accounts": [
            {
                "account": "main",
                "account_id": None,
                "outcome": "partial",
                "error": None,
                "refusals": [],
                "counts": dict.fromkeys(map(str, Outcome), 0) | {"conflict": 1},
                "requests": {"reads": 0, "writes": 0, "retries": 0},
                "numbers": [
                    {
                        "phone": "0211",
                        "action": "deactivate",
                        "desired": "INACTIVE",
                        "before": "ACTIVE",
                        "after": "FROZEN",
                        "outcome": "conflict",
                        "attempts": 2,
                        "error": {"code": "ServerError", "message": "the server failed", "http_status": 502},
                        "duration_ms": 70,
                        "note": "a note",
                        "owner": None,
                    }
                ],
                "notices": [],
            }
        ],
    }


def test_untrusted_text_is_preserved_and_inert() -> None:
    """The decoded text is unchanged, and the encoded document has no character that controls a terminal."""
    data = encode(plan(account=HOSTILE))
    assert json.loads(data)["accounts"][0]["account"] == HOSTILE
    text = data.decode()
    assert {char for char in text if not char.isprintable()} == {"\n"}
    assert "고객 😀" in text
    assert text.splitlines() == text.split("\n")[:-1]


@pytest.mark.parametrize(
    ("text", "replaced"),
    [
        ("\ud800", "\ufffd"),
        ("a\udfffb", "a\ufffdb"),
        ("\ud800\ud800x", "\ufffd\ufffdx"),
        ("\ud83d\ude00", "😀"),
        ("\udcff.yaml", "\ufffd.yaml"),
        ("고객", "고객"),
    ],
)
def test_lone_surrogates_are_replaced(text: str, replaced: str) -> None:
    """Characters that UTF-8 cannot encode become U+FFFD in values and keys; other text is unchanged."""
    document = plan(Change("0211", Action.ACTIVATE, "INACTIVE", "ACTIVE", text), account="\ud800")
    decoded = msgspec.json.decode(encode(document), type=Plan)
    assert decoded.accounts[0].changes[0].reason == replaced
    assert decoded.accounts[0].counts == document.accounts[0].counts
    assert json.loads(encode({"\ud800": None, text: [text, 1.5, True]})) == {
        "\ufffd": None,
        replaced: [replaced, 1.5, True],
    }


@pytest.mark.parametrize("value", [None, True, 7, 2.5, [], {}, [{"a": ("b",)}]])
def test_encodable_leaves_other_values_unchanged(value: Any) -> None:
    """Only tuples become lists."""
    assert json.dumps(encodable(value)) == json.dumps(value)


def test_inert_escapes_control_characters() -> None:
    """The characters are escaped one by one, even after a backslash. Other characters stay unchanged."""
    data = json.dumps({"key": HOSTILE}, ensure_ascii=False).encode()
    assert json.loads(inert(data)) == {"key": HOSTILE}
    assert rb"\u202e\u2028\u0085\u009b\u200b" in inert(data)
    assert json.loads(inert(json.dumps("\\\u0085", ensure_ascii=False).encode())) == "\\\u0085"
    assert inert(b'{"plain": 1}') == b'{"plain": 1}'


def test_bidirectional_and_separator_characters_are_escaped() -> None:
    control_characters = [*range(0x80, 0xA0), *range(0x200B, 0x2010), *range(0x2028, 0x202F), *range(0x2060, 0x2070)]
    data = json.dumps("".join(map(chr, control_characters)), ensure_ascii=False).encode()
    assert inert(data).isascii()
