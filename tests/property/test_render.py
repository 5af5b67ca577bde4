"""Whatever plans, results, accounts and log lines hold: pages stay pages, documents documents, and lines lines."""

import json
import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tests.support.examples import examples
from worker.config.desired import load
from worker.model.accounts import Observed, ObservedAccount, Status
from worker.model.errors import ErrorInfo, NumberError, Refusal
from worker.model.phones import hyphenated, normalise
from worker.model.plans import AccountPlan, Action, Change, Plan, Verdict
from worker.model.redaction import Secrets
from worker.model.results import AccountResult, NumberResult, Outcome, Requests, Result, RunOutcome
from worker.plan.diff import diff
from worker.plan.policy import adopt
from worker.render import text
from worker.render.desired_yaml import desired_yaml
from worker.render.json_document import encode
from worker.render.json_schema import schema
from worker.render.log_lines import console_line
from worker.render.terminal import Paint, safe, width, wrap
from worker.telemetry import logs

COLORS = re.compile(r"\x1b\[\d+m")
PAGE = 80

unhurried = examples(60)
"""Pages of many accounts take a moment, and more so where coverage is measured."""

LONG = ["x" * 10_000, "가" * 10_000, "word " * 2_000, "--allow " + "y" * 10_000, "\x1b\ud800" * 5_000]
hostile = st.one_of(
    st.text(max_size=30),
    st.text(st.characters(codec=None), max_size=30),
    st.sampled_from(
        [
            "",
            "plain",
            "본사 고객센터",
            "\x1b[2J\x1b]0;title\a",
            "a\r\nb\x85c\u2028d",
            "\u202egnp.exe\u2066",
            "\ud800",
            "\udcff\udcfe",
            "👨‍👩‍👧 😀",
            "x" * 100,
            "가" * 100,
            "--allow " + "y" * 100,
        ]
    ),
)
phones = st.from_regex(r"[0-9]{3,12}", fullmatch=True)
statuses = st.one_of(st.sampled_from([str(status) for status in Status]), hostile)
counted = st.integers(0, 10**6)
moments = st.datetimes().map(lambda moment: moment.isoformat(timespec="milliseconds") + "Z")
errors = st.builds(ErrorInfo, hostile, hostile)
number_errors = st.builds(NumberError, hostile, hostile, st.none() | st.integers(100, 599))
changes = st.builds(
    Change,
    phones,
    st.sampled_from([action for action in Action if action is not Action.UNCHANGED]),
    st.none() | statuses,
    statuses,
    hostile,
    st.none() | hostile,
    st.none() | hostile,
)
refusals = st.builds(Refusal, hostile, hostile)


def few(of: st.SearchStrategy[Any], most: int = 3) -> st.SearchStrategy[tuple[Any, ...]]:
    """Some values, or enough of one that they are only counted."""
    return st.lists(of, max_size=most).map(tuple) | st.tuples(of, st.integers(21, 30)).map(
        lambda two: (two[0],) * two[1]
    )


plans = st.builds(
    Plan,
    created_at=moments,
    fingerprint=hostile,
    accounts=few(
        st.builds(
            AccountPlan,
            account=hostile,
            account_id=st.none() | hostile,
            verdict=st.sampled_from(Verdict),
            refusals=few(refusals, 1),
            error=st.none() | errors,
            counts=st.dictionaries(st.sampled_from(Action), counted),
            changes=few(changes),
        )
    ),
)
results = st.builds(
    Result,
    run_id=hostile,
    started_at=moments,
    finished_at=moments,
    outcome=st.sampled_from(RunOutcome),
    accounts=few(
        st.builds(
            AccountResult,
            account=hostile,
            account_id=st.none() | hostile,
            outcome=st.sampled_from(RunOutcome),
            error=st.none() | errors,
            refusals=few(refusals, 1),
            counts=st.dictionaries(st.sampled_from(Outcome), counted),
            requests=st.builds(Requests, counted, counted, counted),
            numbers=few(
                st.builds(
                    NumberResult,
                    phones,
                    st.none() | st.sampled_from(Action),
                    st.none() | statuses,
                    st.none() | statuses,
                    st.none() | statuses,
                    st.sampled_from(Outcome),
                    counted,
                    st.none() | number_errors,
                    counted,
                )
            ),
        )
    ),
)


def check_page(page: Callable[[bool], str], columns: int) -> None:
    """What is true of every page; rows of numbers, which are never cut, need up to 80 columns."""
    plain, colored = page(False), page(True)  # noqa: FBT003 - without colours, and with them
    assert plain.endswith("\n")
    assert all(char.isprintable() or char == "\n" for char in plain)
    assert max(map(width, plain.split("\n"))) <= max(columns, PAGE)
    assert plain == COLORS.sub("", colored)


@unhurried
@given(plans, st.integers(20, 200))
def test_any_plan_is_a_page(plan: Plan, columns: int) -> None:
    """A plan of any content is lines of printable text that fit the page and end with a newline, coloured or not."""
    check_page(lambda color: text.plan(plan, color=color, width=columns), columns)


@unhurried
@given(results, st.integers(20, 200))
def test_any_result_is_a_page(result: Result, columns: int) -> None:
    """A result of any content is lines of printable text that fit the page and end with a newline, coloured or not."""
    check_page(lambda color: text.result(result, color=color, width=columns), columns)


def check_document(document: Plan | Result) -> None:
    """What is true of every document."""
    data = encode(document)
    whole = data.decode()
    assert not re.search("[\x00-\x09\x0b-\x1f\x80-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", whole)
    found = json.loads(data)
    name = "plan" if isinstance(document, Plan) else "result"
    assert list(Draft202012Validator(schema(name)).iter_errors(found)) == []
    lone = re.compile("[\ud800-\udfff]")
    expected = msgspec.to_builtins(document, str_keys=True)
    if lone.search(json.dumps(expected, ensure_ascii=False)):
        assert "\ufffd" in whole
        assert lone.search(json.dumps(found, ensure_ascii=False)) is None
    else:
        assert found == json.loads(json.dumps(expected))
        assert msgspec.json.decode(data, type=type(document)) == document


@pytest.mark.slow
@pytest.mark.parametrize("evil", LONG, ids=lambda evil: ascii(evil[:10]))
@pytest.mark.parametrize("columns", [20, 80, 200])
def test_endless_texts_are_pages(evil: str, columns: int) -> None:
    """Texts of ten thousand characters in every place leave pages and documents what they are."""
    change = Change("01012345678", Action.BLOCKED, evil, evil, evil, evil, evil)
    write = Change("01012345678", Action.ACTIVATE, evil, evil, evil, evil)
    error = ErrorInfo(evil, evil)
    refused = (Refusal(evil, evil),)
    plan = Plan(
        created_at="2026-03-01T12:00:00Z",
        fingerprint=evil,
        accounts=(
            AccountPlan(account=evil, account_id=evil, refusals=refused, counts={}, changes=(change, write)),
            AccountPlan(account=evil, verdict=Verdict.ERROR, error=error, counts={}),
            AccountPlan(account=evil, counts={}),
        ),
    )
    numbers = tuple(
        NumberResult("0211", action, evil, before, evil, outcome, 1, NumberError(evil, evil, 500))
        for outcome in Outcome
        for action in (None, Action.ACTIVATE)
        for before in (None, evil)
    )
    account = AccountResult(
        account=evil, account_id=evil, outcome=RunOutcome.FAILED, error=error, counts={}, numbers=numbers
    )
    result = Result(
        run_id=evil,
        started_at="2026-03-01T12:00:00Z",
        finished_at="2026-03-01T12:00:00Z",
        outcome=RunOutcome.FAILED,
        accounts=(account,) * 2,
    )
    check_page(lambda color: text.plan(plan, color=color, width=columns), columns)
    check_page(lambda color: text.result(result, color=color, width=columns), columns)
    check_document(plan)
    check_document(result)


@unhurried
@given(st.one_of(plans, results))
def test_any_document_comes_back(document: Plan | Result) -> None:
    """A document of any content is valid, inert on a terminal, and parses back to the same but for lone surrogates."""
    check_document(document)


accounts = st.builds(
    lambda account_id, numbers: ObservedAccount(
        account_id, {phone: Observed(phone, Status(status)) for phone, status in numbers.items()}
    ),
    st.none() | hostile,
    st.dictionaries(phones | hostile | st.from_regex("010[0-9]{8}", fullmatch=True), statuses, max_size=8),
)


@unhurried
@given(accounts, hostile)
def test_any_exported_file_changes_nothing(account: ObservedAccount, name: str) -> None:
    """What is exported of any account loads without a warning about itself, and planning it writes nothing there."""
    exported = desired_yaml(account, name=name, endpoint="solapi")
    (desired,) = load([("exported.yaml", exported.encode())]).accounts
    assert desired.account_id in {None, account.account_id}
    assert desired.name
    changes = diff(adopt(desired, account), account.numbers)
    assert {change.action for change in changes} <= {Action.UNMANAGED}
    assert desired.numbers.keys().isdisjoint(change.phone for change in changes)
    listable = {phone for phone, number in account.numbers.items() if number.status.writable and is_number(phone)}
    assert desired.numbers.keys() == listable


def is_number(text: str) -> bool:
    """Whether a text is the digits of a number."""
    try:
        return normalise(text) == text
    except ValueError:
        return False


@unhurried
@given(phones)
def test_hyphens_change_no_number(phone: str) -> None:
    """Hyphens are put between digits, none of which is lost, and what was a number is the same one still."""
    shown = hyphenated(phone)
    assert shown.replace("-", "") == phone
    assert is_number(phone) is (is_number(phone) and normalise(shown) == phone)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | hostile | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(hostile, inner, max_size=3),
    max_leaves=5,
)
fields = st.dictionaries(
    st.sampled_from(["account", "phone", "action", "outcome", "before", "after", "error_code", "http_status"])
    | hostile,
    values,
    max_size=5,
)


@unhurried
@given(fields, hostile, st.booleans())
def test_any_console_line_is_one_line(fields: dict[str, Any], event: str, color: bool) -> None:  # noqa: FBT001
    """A console line of any fields is one line, ended by a newline, without anything that a terminal obeys."""
    line = fields | {"timestamp": "2026-03-01T12:00:00.000Z", "level": "info", "event": event, "run_id": "r"}
    line.pop("counts", None)
    shown = console_line(line, Paint(color=color), show_all=True)
    assert shown is not None
    assert shown.endswith("\n")
    assert COLORS.sub("", shown)[:-1].isprintable()


class Lines:
    """A stream that remembers."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes, /) -> None:
        """Remember bytes."""
        self.data += data

    def flush(self) -> None:
        """Nothing is held back."""


CANARY = "c4naryc4naryc4nary"


@unhurried
@given(fields, hostile)
@example(dict.fromkeys(LONG, LONG), LONG[0])
@example({CANARY: {CANARY: [CANARY]}}, CANARY)
@example({"timestamp": [], "level": 1}, "event")
@example({"salt": CANARY, "text": f"{CANARY}\ud800{CANARY}"}, f"signature={CANARY}")
def test_any_log_line_is_one_object(fields: dict[str, Any], event: str) -> None:
    """A JSON line of any fields is one line and one object, with every field that is not None and no secret."""
    stream = Lines()
    secrets = Secrets([CANARY])
    log = logs.configure(
        format="json", level="info", sink=logs.Sink(stream, patient=False), color=False, secrets=secrets
    )
    fields = {name: value for name, value in fields.items() if name not in {"event", "self"}}
    log.bind(**fields).info(event)
    whole = stream.data.decode()
    assert whole.endswith("}\n")
    assert len(whole.splitlines()) == 1
    assert CANARY not in whole
    line = json.loads(whole)
    assert isinstance(line["timestamp"], str)
    assert None not in line.values() or any(isinstance(value, float) for value in fields.values())


@unhurried
@given(hostile | st.sampled_from(LONG), st.integers(3, 100))
def test_any_text_is_made_safe(foreign: str, limit: int) -> None:
    """Foreign text becomes printable and as short as asked, and made safe twice it is the same."""
    shown = safe(foreign, limit)
    assert shown.isprintable()
    assert width(shown) <= limit
    assert safe(shown, limit) == shown


@unhurried
@given(hostile | st.sampled_from(LONG), st.integers(2, 100))
def test_any_text_is_wrapped(foreign: str, columns: int) -> None:
    """Wrapped text fits its columns, has no empty line, and loses nothing but blanks."""
    lines = wrap(foreign, columns)
    assert all(line and width(line) <= columns for line in lines)
    assert "".join("".join(lines).split()) == "".join(safe(foreign).split())
