"""Pages, documents and log lines stay valid for arbitrary plans, results, accounts and log fields."""

import json
import re
from collections.abc import Callable
from functools import cache
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
    """Return some values, or more than 20 equal ones, which are only counted."""
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
    """Check the properties of every page. Rows of numbers are never cut and need up to 80 columns."""
    plain, colored = page(False), page(True)  # noqa: FBT003 - without colours, and with them
    assert plain.endswith("\n")
    assert plain.replace("\n", "").isprintable()
    assert max(map(width, plain.split("\n"))) <= max(columns, PAGE)
    assert plain == COLORS.sub("", colored)


@unhurried
@given(plans, st.integers(20, 200))
def test_any_plan_renders_as_a_page(plan: Plan, columns: int) -> None:
    """Lines are printable, fit the page and end with a newline, with or without colours."""
    check_page(lambda color: text.plan(plan, color=color, width=columns), columns)


@unhurried
@given(results, st.integers(20, 200))
def test_any_result_renders_as_a_page(result: Result, columns: int) -> None:
    """Lines are printable, fit the page and end with a newline, with or without colours."""
    check_page(lambda color: text.result(result, color=color, width=columns), columns)


@cache
def _validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(schema(name))


def check_document(document: Plan | Result) -> None:
    """Check the properties of every document."""
    data = encode(document)
    text = data.decode()
    assert not re.search("[\x00-\x09\x0b-\x1f\x80-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", text)
    parsed = json.loads(data)
    name = "plan" if isinstance(document, Plan) else "result"
    assert list(_validator(name).iter_errors(parsed)) == []
    lone = re.compile("[\ud800-\udfff]")
    expected = msgspec.to_builtins(document, str_keys=True)
    if lone.search(json.dumps(expected, ensure_ascii=False)):
        assert "\ufffd" in text
        assert lone.search(json.dumps(parsed, ensure_ascii=False)) is None
    else:
        assert parsed == json.loads(json.dumps(expected))
        assert msgspec.json.decode(data, type=type(document)) == document


@pytest.mark.slow
@pytest.mark.parametrize("evil", LONG, ids=lambda evil: ascii(evil[:10]))
@pytest.mark.parametrize("columns", [20, 80, 200])
def test_very_long_texts_keep_pages_and_documents_valid(evil: str, columns: int) -> None:
    """Texts of ten thousand characters appear in every field."""
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
        NumberResult("0211", action, evil, observed, evil, outcome, 1, NumberError(evil, evil, 500))
        for outcome in Outcome
        for action in (None, Action.ACTIVATE)
        for observed in (None, evil)
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
def test_any_document_round_trips(document: Plan | Result) -> None:
    """A document is valid, safe on a terminal, and parses back unchanged except for lone surrogates."""
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
def test_plan_of_an_exported_file_has_no_changes(account: ObservedAccount, name: str) -> None:
    """The export of any account loads without a warning about itself, and planning it gives no write."""
    exported = desired_yaml(account, name=name, endpoint="solapi")
    (desired,) = load([("exported.yaml", exported.encode())]).accounts
    assert desired.account_id in {None, account.account_id}
    assert desired.name
    changes = diff(adopt(desired, account), account.numbers)
    assert {change.action for change in changes} <= {Action.UNMANAGED}
    assert desired.numbers.keys().isdisjoint(change.phone for change in changes)
    listable = {phone for phone, number in account.numbers.items() if number.status.is_writable and is_number(phone)}
    assert desired.numbers.keys() == listable


def is_number(text: str) -> bool:
    """Return True if a text consists of the digits of a number."""
    try:
        return normalise(text) == text
    except ValueError:
        return False


@unhurried
@given(phones)
def test_hyphens_do_not_change_a_number(phone: str) -> None:
    """Hyphens are inserted between digits and no digit is lost, so a number stays the same number."""
    hyphenated_phone = hyphenated(phone)
    assert hyphenated_phone.replace("-", "") == phone
    assert is_number(phone) is (is_number(phone) and normalise(hyphenated_phone) == phone)


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
    """A console line of any fields ends with a newline and contains no control sequence."""
    line = fields | {"timestamp": "2026-03-01T12:00:00.000Z", "level": "info", "event": event, "run_id": "r"}
    line.pop("counts", None)
    text = console_line(line, Paint(color=color), show_all=True)
    assert text is not None
    assert text.endswith("\n")
    assert COLORS.sub("", text)[:-1].isprintable()


class Lines:
    """A stream that keeps what is written."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes, /) -> None:
        """Keep bytes."""
        self.data += data

    def flush(self) -> None:
        """Do nothing."""


CANARY = "c4naryc4naryc4nary"


@unhurried
@given(fields, hostile)
@example(dict.fromkeys(LONG, LONG), LONG[0])
@example({CANARY: {CANARY: [CANARY]}}, CANARY)
@example({"timestamp": [], "level": 1}, "event")
@example({"salt": CANARY, "text": f"{CANARY}\ud800{CANARY}"}, f"signature={CANARY}")
def test_any_log_line_is_one_object(fields: dict[str, Any], event: str) -> None:
    """A JSON line contains every field except None values, and no secret."""
    stream = Lines()
    secrets = Secrets([CANARY])
    log = logs.configure(
        format="json", level="info", sink=logs.Sink(stream, is_buffered=False), color=False, secrets=secrets
    )
    fields = {name: value for name, value in fields.items() if name not in {"event", "self"}}
    log.bind(**fields).info(event)
    text = stream.data.decode()
    assert text.endswith("}\n")
    assert len(text.splitlines()) == 1
    assert CANARY not in text
    line = json.loads(text)
    assert isinstance(line["timestamp"], str)
    assert None not in line.values() or any(isinstance(value, float) for value in fields.values())


@unhurried
@given(hostile | st.sampled_from(LONG), st.integers(3, 100))
def test_any_text_becomes_safe(foreign: str, limit: int) -> None:
    """External text becomes printable and as short as required. Making it safe twice changes nothing."""
    safe_text = safe(foreign, limit)
    assert safe_text.isprintable()
    assert width(safe_text) <= limit
    assert safe(safe_text, limit) == safe_text


@unhurried
@given(hostile | st.sampled_from(LONG), st.integers(2, 100))
def test_any_text_is_wrapped(foreign: str, columns: int) -> None:
    """Wrapped text fits its columns, has no empty line, and loses only whitespace."""
    lines = wrap(foreign, columns)
    assert all(line and width(line) <= columns for line in lines)
    assert "".join("".join(lines).split()) == "".join(safe(foreign).split())
