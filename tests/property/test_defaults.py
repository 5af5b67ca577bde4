"""A document with defaults and named schedules equals the document in which they are written out by hand."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from worker.config.desired import load
from worker.model.accounts import AccountMemory, DesiredAccount, Observed, ObservedAccount, Status
from worker.model.errors import DesiredStateError
from worker.model.plans import AccountPlan
from worker.plan.build import Terms, build

_START = datetime(2026, 11, 20, tzinfo=UTC)
_PHONES = tuple(f"0100000000{index}" for index in range(5))
_SCHEDULE_KEYS = {"schedule", "until", "then"}

_windows = {
    "office": '[{weekly: "Mon-Fri 09:00-18:00", status: ACTIVE}]',
    "sale": "[{from: 2026-11-21, until: 2026-11-24, status: INACTIVE}]",
    "night": '[{weekly: "daily 22:00-06:00", status: INACTIVE}, {from: 2026-11-25, status: ACTIVE}]',
}
_common = {
    "status": st.sampled_from(["ACTIVE", "INACTIVE"]),
    "note": st.sampled_from(["a", "b"]),
    "owner": st.sampled_from(["x", "y"]),
    "protected": st.sampled_from(["true", "false"]),
    "schedule": st.sampled_from([*_windows, "none", _windows["sale"]]),
}
defaults = st.fixed_dictionaries({}, optional=_common)
_known = st.sampled_from([f"{{reason: r, until: 2026-11-24{more}}}" for more in ("", ", observed: PENDING")])
entries = st.fixed_dictionaries({}, optional=_common | {"acknowledge": _known}) | st.fixed_dictionaries(
    {"status": _common["status"], "until": st.just("2026-11-23")},
    optional={"then": _common["status"], "owner": _common["owner"]},
)
numbers = st.dictionaries(st.sampled_from(_PHONES), entries, max_size=4)
accounts = st.dictionaries(st.sampled_from(_PHONES), st.sampled_from(["ACTIVE", "INACTIVE", "PENDING"]))
moments = st.integers(0, 8 * 24).map(lambda hours: _START + timedelta(hours=hours))


def _flow(fields: dict[str, str]) -> str:
    return "{" + ", ".join(f"{key}: {value}" for key, value in fields.items()) + "}"


def _document(head: str, entries: dict[str, dict[str, str]]) -> bytes:
    lines = "".join(f"  {phone}: {_flow(entry)}\n" for phone, entry in entries.items())
    return f"version: 1\nunmanaged: deactivate\n{head}numbers:{chr(10) + lines if entries else ' {}'}\n".encode()


def _expanded(entry: dict[str, str], inherited: dict[str, str]) -> dict[str, str]:
    """Return an entry with the fields that it has by default, and with its schedule in place of the name."""
    own_schedule = not _SCHEDULE_KEYS.isdisjoint(entry)
    fields = {key: value for key, value in inherited.items() if not (own_schedule and key in _SCHEDULE_KEYS)} | entry
    schedule = fields.pop("schedule", "none")
    return fields | ({} if schedule == "none" else {"schedule": _windows.get(schedule, schedule)})


def _loaded(*arguments: Any) -> DesiredAccount | None:
    try:
        (account,) = load(*arguments).accounts
    except DesiredStateError:
        return None
    return account


def _plan(account: DesiredAccount, statuses: dict[str, str], moment: datetime) -> AccountPlan:
    observed = ObservedAccount("1", {phone: Observed(phone, Status(status)) for phone, status in statuses.items()})
    return build(account, observed, Terms(), AccountMemory(), moment).plan


@given(shared=defaults, own=defaults, numbers=numbers, in_folder=st.sets(st.sampled_from(sorted(_windows))))
def test_defaults_equal_their_expansion_by_hand(
    *, shared: dict[str, str], own: dict[str, str], numbers: dict[str, dict[str, str]], in_folder: set[str]
) -> None:
    by_hand = {phone: _expanded(entry, shared | own) for phone, entry in numbers.items()}
    expected = _loaded([("a.yaml", _document("", by_hand))])
    account = _by_default(shared, own, numbers, in_folder)
    if account is None or expected is None:
        # a folder can use only the schedules of its own file
        assert account is expected or shared.get("schedule", "none") in _windows.keys() - in_folder
        return
    assert (account.numbers, account.schedules) == (expected.numbers, expected.schedules)


@given(own=defaults, numbers=numbers, statuses=accounts, moment=moments)
def test_plan_with_defaults_equals_the_plan_by_hand(
    *, own: dict[str, str], numbers: dict[str, dict[str, str]], statuses: dict[str, str], moment: datetime
) -> None:
    by_hand = {phone: _expanded(entry, own) for phone, entry in numbers.items()}
    expected = _loaded([("a.yaml", _document("", by_hand))])
    account = _by_default({}, own, numbers, set(_windows))
    assert (account is None) == (expected is None)
    if account is not None and expected is not None:
        assert _plan(account, statuses, moment) == _plan(expected, statuses, moment)


def _by_default(
    shared: dict[str, str], own: dict[str, str], numbers: dict[str, dict[str, str]], in_folder: set[str]
) -> DesiredAccount | None:
    schedules = {name: f"  {name}: {windows}\n" for name, windows in _windows.items()}
    texts = [
        "".join(text for name, text in schedules.items() if (name in in_folder) is in_shared)
        for in_shared in (True, False)
    ]
    heads = [
        (f"schedules:\n{text}" if text else "") + (f"defaults: {_flow(fields)}\n")
        for text, fields in zip(texts, (shared, own), strict=True)
    ]
    folder = ("senderid.yaml", f"version: 1\n{heads[0]}".encode())
    account = _loaded([("a.yaml", _document(heads[1], numbers))], None, lambda _: folder)
    return account and replace(account, parts=())
