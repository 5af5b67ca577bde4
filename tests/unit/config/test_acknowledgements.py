"""Acknowledgements in desired-state files, and the problems of invalid ones."""

from datetime import UTC, datetime, timedelta

import pytest

from worker.config.desired import ended_acknowledgements, load
from worker.config.desired.origins import read_origins
from worker.model.accounts import Acknowledgement, Desired, DesiredAccount, Status
from worker.model.errors import DesiredStateError

PHONE = "01012345678"
END = datetime(2026, 12, 31, tzinfo=UTC)
DATED = "{reason: x, until: 2026-12-31"
FORMS = "use a form such as 2026-12-01, 2026-12-01T09:00 or 2026-12-01T09:00+09:00"
NO_DIFFERENCE = "observed is the desired status: write the status that is known to differ"


def account(*texts: str) -> DesiredAccount:
    """Return the only account of files a.yaml, b.yaml and so on."""
    (only,) = load(
        (f"{chr(97 + index)}.yaml", f"version: 1\n{text}".encode()) for index, text in enumerate(texts)
    ).accounts
    return only


def problems_of(*texts: str) -> list[str]:
    """Return the problems of files a.yaml, b.yaml and so on."""
    with pytest.raises(DesiredStateError) as error:
        account(*texts)
    return [str(problem) for problem in error.value.problems]


@pytest.mark.parametrize("form", ["  010-1234-5678: {{{}}}", "- {{phone: 010-1234-5678, {}}}"])
@pytest.mark.parametrize(
    ("fields", "known"),
    [
        ("reason: broken line, by: Kim, until: 2026-12-31", Acknowledgement("broken line", END, "Kim")),
        ("until: 2026-12-31T09:00+09:00, reason: x, observed: missing", Acknowledgement("x", END, None, "MISSING")),
        ("reason: 1, until: 2026-12-31, observed: ' Pending '", Acknowledgement("1", END, None, "PENDING")),
    ],
)
def test_acknowledgement_is_read_in_both_forms(form: str, fields: str, known: Acknowledgement) -> None:
    """A time without an offset is in the time zone of the document, which may follow the numbers."""
    entry = form.format(f"status: ACTIVE, note: n, acknowledge: {{{fields}}}")
    result = account(f"account: a\nnumbers:\n{entry}\ntimezone: UTC\n")
    expected = Acknowledgement(known.reason, known.until, known.by, known.observed, "UTC")
    if "+09:00" in fields:
        assert result.acknowledgements[PHONE].until == END
    else:
        assert result.acknowledgements == {PHONE: expected}
    assert result.numbers == {PHONE: Desired(Status.ACTIVE, "n")}


def test_acknowledgement_completes_an_entry_with_defaults() -> None:
    text = f"defaults: {{status: INACTIVE}}\nnumbers: {{{PHONE}: {{acknowledge: {{reason: x, until: 2026-12-31}}}}}}\n"
    assert account(text).numbers == {PHONE: Desired(Status.INACTIVE)}
    assert account(text).acknowledgements[PHONE].known_status(Status.INACTIVE) == "ACTIVE"


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("yes", "48: acknowledge must be {reason: …, until: 2026-12-31}, optionally with by and observed"),
        ("{until: 2026-12-31}", "48: acknowledge: missing reason: say why the difference is left"),
        ("{reason: x}", "48: acknowledge: missing until: write the day on which it ends, such as 2026-12-31"),
        ("{reason: '', until: 2026-12-31}", "57: reason is empty: give it a value or remove the line"),
        ("{reason: x, until: 2026-02-30}", f"67: invalid until '2026-02-30': no such day or time: {FORMS}"),
        ("{reason: x, until: 2026-12-31, who: me}", "79: unknown key 'who'; use one of reason, by, until, observed"),
        (f"{DATED}, observed: PENDIN}}", "89: invalid observed 'PENDIN'; did you mean 'PENDING'?"),
        (f"{DATED}, observed: []}}", f"89: invalid observed a list; use one of {', '.join((*Status, 'MISSING'))}"),
        (f"{DATED}, observed: active}}", f"89: {NO_DIFFERENCE}"),
    ],
)
def test_invalid_acknowledgement_is_refused(value: str, problem: str) -> None:
    entry = f"  010-1234-5678: {{status: ACTIVE, acknowledge: {value}}}"
    assert problems_of(f"numbers:\n{entry}\n") == [f"a.yaml:3:{problem}"]


def test_scheduled_number_may_acknowledge_either_status() -> None:
    entry = "{status: ACTIVE, until: 2026-12-20, acknowledge: {reason: x, until: 2026-12-31, observed: ACTIVE}}"
    assert account(f"numbers: {{{PHONE}: {entry}}}\n").acknowledgements[PHONE].observed == "ACTIVE"


def test_defaults_have_no_acknowledgement() -> None:
    (problem,) = problems_of("defaults: {acknowledge: {reason: x, until: 2026-12-31}}\nnumbers: {}\n")
    assert problem.startswith("a.yaml:2:12: unknown key 'acknowledge'; use one of status,")


def test_parts_of_an_account_keep_their_acknowledgements() -> None:
    """The parts must have the same time zone, as the end is a local time."""
    entry = "{status: ACTIVE, acknowledge: {reason: x, until: 2026-12-31}}"
    head, part = f"account: main\nunmanaged: report\nnumbers: {{{PHONE}: {entry}}}\n", "account: main\n"
    joined = account(head, f"{part}numbers: {{010-1234-5679: {entry}}}\n")
    assert list(joined.acknowledgements) == [PHONE, "01012345679"]
    (problem,) = problems_of(head, f"{part}timezone: UTC\nnumbers: {{010-1234-5679: {entry}}}\n")
    assert (
        problem.startswith("b.yaml:1: timezone is UTC here and Asia/Seoul at a.yaml:1") or ":1:1: timezone" in problem
    )


def test_origin_of_an_acknowledgement_is_its_line() -> None:
    entry = "    status: ACTIVE\n    acknowledge: {reason: 'a  b', until: 2026-12-31}\n"
    text = f"version: 1\nnumbers:\n  {PHONE}:\n{entry}"
    _status, origin = read_origins("a.yaml", text.encode(), PHONE, lambda _: None)["a"]
    assert (origin.field, origin.value) == ("acknowledge", "reason: a b, until: 2026-12-31")
    assert (origin.location, origin.by_default) == ("a.yaml:5", False)


def test_acknowledgement_that_has_ended_is_a_warning() -> None:
    """The warning has the file and line of the number. An acknowledgement in force has none."""
    dated = "{status: ACTIVE, acknowledge: {reason: x, until: 2026-12-31}}"
    other = "{status: ACTIVE, acknowledge: {reason: x, until: 2027-01-01}}"
    listed = account(f"timezone: UTC\nnumbers:\n  {PHONE}: {dated}\n  010-1234-5679: {other}\n")
    assert list(ended_acknowledgements([listed], END - timedelta(seconds=1))) == []
    (warning,) = ended_acknowledgements([listed], END)
    assert str(warning) == (
        f"a.yaml:4:1: {PHONE}: its acknowledgement ended at 2026-12-31 00:00 UTC: remove it, or give it a later until"
    )
