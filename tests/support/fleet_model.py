"""A reference model of a fleet of two accounts: what each command may write and show.

It shares no code with the worker.

A first run applied the old files to the accounts. Afterwards the files were edited, and others changed the accounts. A
row selects a value for each option of a command, and a world.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

__all__ = [
    "FAILING",
    "LATER",
    "LOST",
    "WORLDS",
    "Expected",
    "Number",
    "Row",
    "expect_apply",
    "expect_calendar",
    "expect_doctor",
    "expect_export",
    "expect_history",
    "expect_import",
    "expect_no_numbers",
    "expect_plan",
    "expect_rollback",
    "expect_saved_plan",
    "expect_show",
    "expect_status",
    "expect_watch",
    "is_valid",
]

Row = Mapping[str, str]

LATER: Final = "2040-06-01"
_TIMED: Final = "{status: INACTIVE, schedule: [{from: 2040-01-01, until: 2041-01-01, status: ACTIVE}]}"
_KNOWN: Final = "{status: ACTIVE, acknowledge: {reason: repair, until: 2999-01-01}}"
_ON: Final = "ACTIVE"
_OFF: Final = "INACTIVE"


class Number(NamedTuple):
    """A number over time: its status before the first run, its lines in the old and the new files, its status now.

    None means that the account or the file does not contain the number. `action` is the action planned from the new
    files, `later` the action planned in 2040. `drifted` is True if the number differs for another reason than an edit
    of its file. `owner` and `note` are those of both files.
    """

    account: str
    before: str | None
    then: str | None
    seen: str | None
    now: str | None
    action: str
    later: str | None = None
    drifted: bool = False
    owner: str | None = None
    note: str | None = None


_NUMBERS: Final = {
    "01000000011": Number("main", _ON, _OFF, _OFF, _ON, "activate", owner="Sales"),
    "01000000022": Number("main", _OFF, _ON, _ON, _OFF, "deactivate", note="Front desk"),
    "01000000033": Number("main", _OFF, _ON, _OFF, _ON, "activate", drifted=True, owner="Sales", note="front  DESK 2"),
    "01000000044": Number("main", _ON, _ON, _ON, _ON, "unchanged"),
    "01000000055": Number("main", _OFF, _TIMED, _OFF, _TIMED, "unchanged", "activate", owner="Sales"),
    "01000000066": Number("main", _ON, None, _ON, None, "unmanaged"),
    "01000000077": Number("shop", _ON, _OFF, _OFF, _ON, "activate", owner="Support"),
    "01000000088": Number("shop", _OFF, _ON, _ON, _OFF, "deactivate", owner="Sales", note="Front desk"),
    "01000000099": Number("shop", _ON, _OFF, _ON, _OFF, "deactivate", drifted=True),
    "01000000111": Number("shop", _ON, _ON, _ON, _ON, "unchanged"),
}
_STUCK: Final = {
    "01000000122": Number("main", None, None, None, _ON, "missing", drifted=True),
    "01000000133": Number("main", "PENDING", None, "PENDING", _ON, "blocked", drifted=True),
    "01000000144": Number("main", _OFF, _OFF, _OFF, "{status: ACTIVE, protected: true}", "protected", drifted=True),
    "01000000155": Number("main", _OFF, _OFF, _OFF, _KNOWN, "acknowledged", drifted=True),
}
_BLOCKED: Final = {
    "01000000022": Number("main", _OFF, _ON, "BLOCKED", _OFF, "blocked", drifted=True, note="Front desk")
}

WORLDS: Final = {
    "calm": _NUMBERS,
    "stuck": _NUMBERS | _STUCK,
    "edited": _NUMBERS | _BLOCKED,
    "failing": _NUMBERS,
    "lost": _NUMBERS,
    "unreadable": _NUMBERS,
    "locked": _NUMBERS,
}
"""The numbers of each world. In `failing` the write to `FAILING` fails, in `lost` the response to `LOST` gets lost, in
`unreadable` the credentials of `shop` are wrong, in `locked` another run has the leases of both accounts."""

FAILING: Final = "01000000011"
LOST: Final = "01000000022"

_OWNERS: Final = {"": None, "sales": {"Sales"}, "both": {"Sales", "Support"}}
_NOTES: Final = {"": None, "desk": {"Front desk", "front  DESK 2"}}
_PATHS: Final = {"": ("main", "shop"), "folder": ("main", "shop"), "main": ("main",), "both": ("main", "shop")}
_ACCOUNTS: Final = {
    "": ("main", "shop"),
    "all": ("main", "shop"),
    "main": ("main",),
    "shop": ("shop",),
    "both": ("main", "shop"),
}
_ATTENTION: Final = frozenset({"PENDING", "BLOCKED"})
_WRITES: Final = {"activate": _ON, "deactivate": _OFF}
_GRAVITY: Final = (1, 5, 4, 3, 2, 0)
"""Exit statuses, the worst first."""


class Expected(NamedTuple):
    """The expected result of a command: exit status, written statuses, and the numbers that its document lists.

    `listed` is None for documents that need not list numbers. A text may also list numbers that are `noted`, because
    they need attention whatever is selected. Documents and the log contain no number outside `within` and `noted`.
    """

    status: int
    writes: frozenset[tuple[str, str]]
    listed: frozenset[str] | None
    noted: frozenset[str]
    within: frozenset[str]


class _Plan(NamedTuple):
    """The actions of an account by number. `writes` is empty if a rule refuses them or the account cannot be read."""

    account: str
    actions: Mapping[str, str]
    writes: Mapping[str, str]
    is_refused: bool = False
    is_readable: bool = True

    @property
    def is_stuck(self) -> bool:
        return not {"missing", "blocked", "conflict"}.isdisjoint(self.actions.values())


def is_valid(row: Row) -> bool:
    """Return False for option values that are wrong together. The row may be incomplete."""
    accounts = _accounts(row)
    named = _ACCOUNTS[row.get("accounts", "all")]
    return (
        not (row.get("output_format") == "json" and row.get("mask") == "masked")
        and (row.get("accounts", "all") == "all" or set(named) == set(accounts))
        and all(_NUMBERS[phone].account in accounts for phone in _phones(row, "only"))
        and (row.get("owners") != "both" or "shop" in accounts)
    )


def _selected(row: Row) -> frozenset[str]:
    accounts = _accounts(row)
    numbers = WORLDS[row["world"]]
    return frozenset(phone for phone in numbers if numbers[phone].account in accounts and _is_selected(phone, row))


def expect_plan(row: Row, *, is_drift: bool = False) -> Expected:
    """Return the expected result of `plan`, or of `drift`."""
    plans = _plans(row, is_drift=is_drift)
    detailed = is_drift or row["detailed_exitcode"] == "detailed"
    statuses = []
    for plan in plans:
        pending = plan.writes or (is_drift and plan.actions)
        status = 3 if plan.is_stuck else 2 if pending else 0
        statuses.append(1 if not plan.is_readable else 4 if plan.is_refused else status if detailed else 0)
    return Expected(_worst(statuses), frozenset(), _listed(plans), _noted(row), _selected(row))


def expect_status(row: Row) -> Expected:
    """Return the expected result of `status`."""
    plans = _plans(row)
    numbers = WORLDS[row["world"]]
    listed = frozenset(
        phone
        for plan in plans
        for phone, action in plan.actions.items()
        if plan.is_readable
        and (not row["differs"] or action not in {"unchanged", "unmanaged"})
        and (not row["observed"] or numbers[phone].seen in {None, "PENDING"})
        and not row["expires_within"]
    )
    status = 0 if all(plan.is_readable for plan in plans) else 1
    return Expected(status, frozenset(), listed, frozenset(), _selected(row))


def expect_apply(row: Row) -> Expected:
    """Return the expected result of `apply`."""
    if row["dry_run"] == "dry":
        return expect_plan({**row, "detailed_exitcode": "plain"})
    return _expect_writes(row, _plans(row), _selected(row))


def expect_watch(row: Row) -> Expected:
    """Return the expected result of the first pass of `watch`, which SIGTERM then ends."""
    applied = _expect_writes(row, _plans(row), _selected(row))
    writes = frozenset[tuple[str, str]]() if row["dry_run"] == "dry" else applied.writes
    return applied._replace(status=143, writes=writes, listed=None)


def expect_saved_plan(row: Row) -> Expected:
    """Return the expected result of `apply` with a saved plan of the new files."""
    numbers = WORLDS[row["world"]]
    is_compared = not row["no_files"] and (row["files"] != "moved" or row["folder"] == "moved")
    plans = []
    for account in ("main", "shop"):
        # a saved plan contains no unlisted numbers, and a number that changed since is a conflict
        actions = {
            phone: "conflict" if number.seen == "BLOCKED" else number.action
            for phone, number in numbers.items()
            if number.account == account and number.action not in {"unchanged", "unmanaged"}
        }
        if is_compared and row["files"] == "reverted":
            actions |= {phone: "conflict" for phone in actions if numbers[phone].then not in {None, numbers[phone].now}}
        plans.append(_plan(row, account, actions))
    if row["dry_run"] == "dry":
        statuses = [0 if plan.is_readable else 1 for plan in plans]
        return Expected(_worst(statuses), frozenset(), _listed(plans), _noted(row), frozenset(numbers))
    return _expect_writes(row, plans, frozenset(numbers))


def expect_show(row: Row) -> Expected:
    """Return the expected result of `show` of a saved plan, which was made while all accounts were readable."""
    planned = frozenset(
        phone for phone, number in WORLDS[row["world"]].items() if number.action not in {"unchanged", "unmanaged"}
    )
    return Expected(0, frozenset(), planned, frozenset(), planned)


def expect_rollback(row: Row) -> Expected:
    """Return the expected result of `rollback` of the first run.

    The safety rules of that run apply, not those of the settings.
    """
    plans = []
    for account in ("main", "shop"):
        actions = {
            phone: _undo(number)
            for phone, number in WORLDS[row["world"]].items()
            if number.account == account and _is_written(number)
        }
        plans.append(_plan(row, account, actions))
    within = frozenset(phone for plan in plans for phone in plan.actions)
    if row["dry_run"] == "dry":
        statuses = [0 if plan.is_readable else 1 for plan in plans]
        return Expected(_worst(statuses), frozenset(), _listed(plans), _noted(row), within)
    return _expect_writes(row, plans, within)


def _undo(number: Number) -> str:
    if number.seen == number.before:
        return "unchanged"
    if number.seen != number.then:
        return "conflict"
    return "activate" if number.before == _ON else "deactivate"


def expect_history(row: Row) -> Expected:
    """Return the expected result of `history`."""
    numbers = {
        phone: number
        for phone, number in WORLDS[row["world"]].items()
        if row["account"] in {"", number.account} and row["phone"] in {"", phone}
    }
    written = frozenset(phone for phone, number in numbers.items() if _is_written(number))
    # the ledger only counts unlisted numbers
    return Expected(0, frozenset(), written if row["run"] else None, frozenset(), written | {row["phone"]} - {""})


def expect_calendar(row: Row) -> Expected:
    """Return the expected result of `calendar` for two weeks or ten years, from now or from December 2039."""
    is_due = row["start"] == "later"
    numbers = WORLDS[row["world"]].items()
    due = frozenset(phone for phone, number in numbers if is_due and number.later and number.account in _accounts(row))
    return Expected(0, frozenset(), due, frozenset(), due)


def expect_export(row: Row) -> Expected:
    """Return the expected result of `export` of the default account."""
    phones = frozenset(
        phone for phone, number in WORLDS[row["world"]].items() if number.account == "main" and number.seen
    )
    return Expected(0, frozenset(), None, frozenset(), phones)


def expect_import(_row: Row) -> Expected:
    """Return the expected result of `import` of a table with the numbers of `main`."""
    phones = frozenset(phone for phone, number in _NUMBERS.items() if number.account == "main")
    return Expected(0, frozenset(), None, frozenset(), phones)


def expect_no_numbers(_row: Row) -> Expected:
    """Return the expected result of a command that succeeds and shows no number."""
    return Expected(0, frozenset(), frozenset(), frozenset(), frozenset())


def expect_doctor(row: Row) -> Expected:
    """Return the expected result of `doctor` of the accounts of the files."""
    has_failed = row["world"] == "unreadable" and "shop" in _accounts(row)
    return expect_no_numbers(row)._replace(status=1 if has_failed else 0)


def _expect_writes(row: Row, plans: Sequence[_Plan], within: frozenset[str]) -> Expected:
    statuses = {}
    writes: set[tuple[str, str]] = set()
    listed = _listed(plans)
    is_canary_failed = False
    writing = [plan.account for plan in plans if plan.writes or "conflict" in plan.actions.values()]
    for plan in plans:
        is_locked = row["world"] == "locked" and plan.writes
        is_failing = (row["world"] == "failing" and FAILING in plan.writes) or "conflict" in plan.actions.values()
        if not plan.is_readable:
            statuses[plan.account] = 1
            listed |= plan.actions.keys() & {phone for phone, number in WORLDS[row["world"]].items() if number.now}
        elif plan.is_refused:
            statuses[plan.account] = 4
        elif plan.writes and is_canary_failed:
            statuses[plan.account] = 3
        else:
            statuses[plan.account] = 5 if is_locked else 3 if is_failing or plan.is_stuck else 0
            writes |= set() if is_locked else plan.writes.items()
        is_canary = row.get("canary") == "one" and writing[:1] == [plan.account]
        is_canary_failed = is_canary_failed or bool(is_canary and (is_locked or is_failing))
    return Expected(_worst(statuses.values()), frozenset(writes), frozenset(listed), _noted(row), within)


def _plans(row: Row, *, is_drift: bool = False) -> list[_Plan]:
    plans = []
    for account in _accounts(row):
        actions = {
            phone: (row.get("at") == "later" and number.later) or number.action
            for phone, number in WORLDS[row["world"]].items()
            if number.account == account and _is_selected(phone, row) and (number.drifted or not is_drift)
        }
        is_refused = _is_strict(row) and "deactivate" in actions.values()
        plans.append(_plan(row, account, actions, is_refused=is_refused))
    return plans


def _is_strict(row: Row) -> bool:
    return row["settings_path"] == "strict" and row.get("allow") not in {"max-deactivations", "all"}


def _is_written(number: Number) -> bool:
    """Return True if the first run changed a number."""
    return number.then in {_ON, _OFF} and number.then != number.before


def _plan(row: Row, account: str, actions: Mapping[str, str], *, is_refused: bool = False) -> _Plan:
    is_readable = not (row["world"] == "unreadable" and account == "shop")
    able = is_readable and not is_refused
    writes = {phone: _WRITES[action] for phone, action in actions.items() if able and action in _WRITES}
    return _Plan(account, actions, writes, is_refused, is_readable)


def _accounts(row: Row) -> list[str]:
    named = _PATHS["both"] if row.get("more") else _PATHS[row.get("paths", "folder")]
    return [name for name in named if name in _ACCOUNTS[row.get("accounts", "all")]]


def _phones(row: Row, option: str) -> list[str]:
    return [phone for phone in row.get(option, "").split("+") if phone]


def _is_selected(phone: str, row: Row) -> bool:
    only = _phones(row, "only")
    number = WORLDS[row["world"]][phone]
    owners, notes = _OWNERS[row.get("owners", "")], _NOTES[row.get("notes", "")]
    return (
        (not only or phone in only)
        and phone not in _phones(row, "exclude")
        and (owners is None or number.owner in owners)
        and (notes is None or number.note in notes)
    )


def _listed(plans: Sequence[_Plan]) -> frozenset[str]:
    readable = [plan for plan in plans if plan.is_readable]
    return frozenset(phone for plan in readable for phone, action in plan.actions.items() if action != "unchanged")


def _noted(row: Row) -> frozenset[str]:
    return frozenset(
        phone
        for phone, number in WORLDS[row["world"]].items()
        if number.seen in _ATTENTION and number.account in _accounts(row)
    )


def _worst(statuses: Iterable[int]) -> int:
    return min(statuses, key=_GRAVITY.index, default=0)
