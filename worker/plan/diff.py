"""Plans: what is wanted compared with what is there, the fingerprint of the outcome, and the plan file.

A plan file carries an approved plan from `plan --out` to `apply`. Its seal shows that the file is as it was written; it
is no signature, and proves nothing about who wrote it.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Annotated, Final, Literal, Protocol, Self

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from worker.config.settings import InUse, Safety
from worker.config.urls import platform
from worker.model.accounts import (
    PHONE_PATTERN,
    Desired,
    DesiredAccount,
    Group,
    Memory,
    Observed,
    ObservedAccount,
    SourceFile,
    Status,
)
from worker.model.credentials import CredentialsRef
from worker.model.errors import PlanFileError
from worker.model.history import NumberStory
from worker.model.plans import AccountPlan, Action, Cause, Change, ErrorInfo, Outcome, Timestamp, Verdict, tally

__all__ = [
    "MAX_AGE_SECONDS",
    "LeftOut",
    "Planned",
    "Preconditions",
    "SavedAccount",
    "SavedPlan",
    "attribute",
    "confirmed",
    "diff",
    "fingerprint",
    "inverse",
    "preconditions",
    "seal",
    "unseal",
]

MAX_AGE_SECONDS: Final = 86_400.0
"""How long a saved plan may be applied, seconds: a day, as an approval rarely outlives one."""

_AHEAD_SECONDS: Final = 300.0
"""How far in the future a plan file may have been made: clocks of two hosts differ by minutes at worst."""

_SCHEMA: Final = "senderid.saved-plan/v2"
_FAMILY: Final = "senderid.saved-plan/"

_BLOCKED: Final[Mapping[str, str]] = {
    Status.PENDING: "PENDING: the vendor is still reviewing its documents or ARS call; finish those, then plan again",
    Status.BLOCKED: "BLOCKED: the vendor has stopped this number; contact their support",
    Status.DUPLICATED: "DUPLICATED: another account holds this number; file a duplicate request in the console",
    Status.EXPIRED: "EXPIRED: its verification has run out; verify the number again in the console",
    Status.OVERLIMIT: "OVERLIMIT: the account holds more numbers than it may; ask for a higher limit or remove some",
}
_BLOCKED_UNKNOWN: Final = "its status is unknown to this version; look the number up in the vendor's console"
_UNWRITABLE: Final = "only ACTIVE and INACTIVE can be asked for; list one of the two"
_MISSING: Final = "not registered on this account; register it with the vendor first, or take it off the list"
_PROTECTED: Final = "protected; change it by hand, or lift its protection in the file"
_UNMANAGED: Final = "registered but not listed; list it, or set unmanaged to ignore or deactivate"
_UNMANAGED_FIXED: Final = "registered but not listed, in a status that cannot be written; set unmanaged to ignore it"
_LISTED: Final = {Action.ACTIVATE: "listed as ACTIVE", Action.DEACTIVATE: "listed as INACTIVE"}
_UNLISTED: Final = "not listed, and unmanaged is set to deactivate"

_OFF: Final = InUse()

_WRITES: Final = {
    (Action.ACTIVATE, Status.INACTIVE, Status.ACTIVE),
    (Action.DEACTIVATE, Status.ACTIVE, Status.INACTIVE),
}
"""Action, observed and desired of every write there can be."""


def diff(
    wanted: Mapping[str, Desired], observed: Mapping[str, Observed]
) -> tuple[tuple[Change, ...], dict[Action, int]]:
    """What it takes to bring the observed numbers to the wanted statuses.

    Returns every number of `wanted` that is not `unchanged`, in the order of `Action` (activations before
    deactivations) and of phones within one action, and how many numbers have each action. A number that is observed and
    not wanted takes no part.
    """
    found: dict[Action, list[Change]] = {action: [] for action in Action}
    for phone, want in wanted.items():
        number = observed.get(phone)
        before = None if number is None else number.status
        if before == want.status and want.managed:
            continue
        action, reason = _judge(want, before)
        found[action].append(
            Change(phone, action, before, want.status, reason, want.note, want.owner, until=want.until)
        )
    changes = tuple(change for some in found.values() for change in sorted(some, key=_by_phone))
    counts = {action: len(some) for action, some in found.items()}
    counts[Action.UNCHANGED] = len(wanted) - len(changes)
    return changes, tally(Action, counts)


def attribute(changes: Iterable[Change], observed: ObservedAccount, memory: Memory) -> tuple[Change, ...]:
    """The changes, each with its cause where `memory` has what a run of ours last wrote to the number.

    What is there is what we wrote: the file changed. The file still says what we wrote: the account changed, at `since`
    if the API tells. Neither: both did.
    """
    written = memory.written
    causes = {change.phone: _cause(written[change.phone], change) for change in changes if change.phone in written}
    drifted = {phone for phone, cause in causes.items() if cause is not Cause.CONFIG_CHANGE}
    since = observed.updated_at(drifted)
    return tuple(
        replace(change, cause=causes[change.phone], since=since.get(change.phone)) if change.phone in causes else change
        for change in changes
    )


def _cause(ours: Status, change: Change) -> Cause:
    if change.observed == ours:
        return Cause.CONFIG_CHANGE
    return Cause.EXTERNAL_DRIFT if change.desired == ours else Cause.BOTH


def confirmed(wanted: Mapping[str, Desired], observed: Mapping[str, Observed], memory: Memory) -> dict[str, Status]:
    """Numbers that are as desired while a run of ours last wrote another status: someone else changed both."""
    return {
        phone: wanted[phone].status
        for phone, ours in memory.written.items()
        if phone in wanted
        and wanted[phone].managed
        and phone in observed
        and observed[phone].status == wanted[phone].status != ours
    }


def _by_phone(change: Change) -> str:
    return change.phone


def _judge(want: Desired, seen: Status | None) -> tuple[Action, str]:
    """The action for a number that is not simply as its file wants it, and why."""
    if seen is None:
        return Action.MISSING, _MISSING
    if seen == want.status:
        return Action.UNMANAGED, want.because or (_UNMANAGED if seen.writable else _UNMANAGED_FIXED)
    if not seen.writable:
        return Action.BLOCKED, _BLOCKED.get(seen, _BLOCKED_UNKNOWN)
    if not want.status.writable:
        return Action.BLOCKED, _UNWRITABLE
    if want.protected:
        return Action.PROTECTED, _PROTECTED
    action = Action.ACTIVATE if want.status is Status.ACTIVE else Action.DEACTIVATE
    return action, want.because or (_LISTED[action] if want.managed else _UNLISTED)


class Planned(Protocol):
    """An account with its writes, freshly planned or saved."""

    @property
    def account(self) -> str:
        """The account's name."""
        ...

    @property
    def account_id(self) -> str | None:
        """The vendor's id of the account that was seen."""
        ...

    @property
    def writes(self) -> tuple[Change, ...]:
        """The changes that take a write."""
        ...


def fingerprint(accounts: Iterable[Planned]) -> str:
    """The SHA-256, in hex, of what the plans would write and of what they saw there.

    It covers each account's name and id and each write's number, observed and desired status. It knows nothing of time,
    order, verdicts, reasons or notes, and an account without writes leaves no trace: one fingerprint is one set of
    writes.
    """
    digests = sorted(filter(None, map(_digest, accounts)))
    return sha256(b"".join(digests)).hexdigest()


def _digest(account: Planned) -> bytes:
    writes = sorted((change.phone, change.observed, change.desired) for change in account.writes)
    return sha256(msgspec.json.encode((account.account, account.account_id, writes))).digest() if writes else b""


class Preconditions(Struct, frozen=True):
    """Planned writes, sorted by what another look at the account found.

    `due` are still to be made, `already` have their desired status, and what `conflicts` saw is no longer so. What
    `lapsed` wanted it wanted until a moment that has passed.
    """

    due: tuple[Change, ...] = ()
    conflicts: tuple[Change, ...] = ()
    already: tuple[Change, ...] = ()
    lapsed: tuple[Change, ...] = ()


def preconditions(account: Planned, observed: Mapping[str, Observed], now: datetime | None = None) -> Preconditions:
    """Which of the account's writes are still true of `observed`. Each is in one group, in the plan's order.

    `now` is an aware time; None where no write's `until` counts.
    """
    due: list[Change] = []
    lapsed: list[Change] = []
    conflicts: list[Change] = []
    already: list[Change] = []
    for change in account.writes:
        seen = observed.get(change.phone)
        if now is not None and change.until is not None and datetime.fromisoformat(change.until) <= now:
            lapsed.append(change)
        elif seen is None:
            conflicts.append(change)
        elif seen.status == change.desired:
            already.append(change)
        else:
            (due if seen.status == change.observed else conflicts).append(change)
    return Preconditions(tuple(due), tuple(conflicts), tuple(already), tuple(lapsed))


def inverse(numbers: Iterable[NumberStory], run: str) -> tuple[Change, ...]:
    """The writes that give numbers the status back that they had before a run: those that it changed, and no others."""
    back = {Status.ACTIVE: Action.ACTIVATE, Status.INACTIVE: Action.DEACTIVATE}
    changes = (
        Change(number.phone, back[Status(number.before)], number.after, number.before, f"as before run {run}")
        for number in numbers
        if number.outcome is Outcome.CHANGED and number.before is not None
    )
    return tuple(sorted(changes, key=lambda change: (change.action is Action.DEACTIVATE, change.phone)))


class SavedAccount(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One account of a plan file: whose it is, how to reach it, what limits hold, and its writes and nothing else.

    `account_id` pins the account that was seen. `credentials` says where they are kept, None for the default ones;
    a secret itself cannot be expressed. `endpoint` is a name or a URL. Each change's `observed` is its precondition.
    `impossible` are the numbers that were blocked, held or missing, so that an apply tells of them too. Beside
    deactivations they include protected numbers that should be ACTIVE, as `safety.pair_swaps` concerns them. `groups`
    and `in_use` hold as the safety does. `sha256` and `commit` are the revision of the desired state that was planned,
    `parts` the further files of an account that is split over several.
    """

    account: str
    account_id: str | None
    source: str
    endpoint: str
    credentials: CredentialsRef | None
    safety: Safety
    changes: tuple[Change, ...]
    impossible: tuple[Change, ...] = ()
    in_use: InUse = InUse()
    groups: tuple[Group, ...] = ()
    sha256: str | None = None
    commit: str | None = None
    parts: tuple[SourceFile, ...] = ()

    @property
    def writes(self) -> tuple[Change, ...]:
        """The changes, as each of them takes a write."""
        return self.changes

    @property
    def listed(self) -> tuple[str, ...]:
        """The numbers to write, each of which the plan has seen."""
        return tuple(change.phone for change in self.changes)

    @classmethod
    def of(
        cls, desired: DesiredAccount, planned: AccountPlan, *, endpoint: str, safety: Safety, in_use: InUse = _OFF
    ) -> Self:
        """The writes of a plan, with the endpoint, the thresholds and the in-use guard in force when it was made.

        Whether a refused plan may be saved is the caller's decision; an apply guards it again.
        """
        deactivates = planned.counts.get(Action.DEACTIVATE, 0) > 0
        return cls(
            account=planned.account,
            account_id=planned.account_id,
            source=desired.source,
            endpoint=endpoint,
            credentials=desired.credentials,
            safety=safety,
            changes=planned.writes,
            impossible=tuple(
                change for change in planned.changes if change.action.stuck or (deactivates and change.unreached)
            ),
            in_use=in_use,
            groups=desired.groups,
            sha256=desired.sha256,
            commit=desired.commit,
            parts=desired.parts,
        )


class LeftOut(Struct, frozen=True, forbid_unknown_fields=True):
    """An account that a plan file has no writes of, as it was refused or could not be read, and why."""

    account: str
    account_id: str | None
    verdict: Verdict
    error: ErrorInfo


class SavedPlan(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A plan file. `version` is the worker's that made it; `allow` names the safety rules that were let through then.

    `id` names this one file: two plans of the same changes have different ids. `seal` is empty but in the file itself.
    """

    schema: Literal["senderid.saved-plan/v2"] = _SCHEMA
    id: Annotated[str, Meta(min_length=1, max_length=64)]
    created_at: Timestamp
    version: str
    fingerprint: str
    allow: tuple[str, ...]
    accounts: tuple[SavedAccount, ...]
    left_out: tuple[LeftOut, ...] = ()
    seal: str = ""

    @classmethod
    def of(
        cls,
        accounts: Iterable[SavedAccount],
        left_out: Iterable[LeftOut] = (),
        *,
        id: str,  # noqa: A002 - the field's name
        created_at: str,
        version: str,
        allow: Iterable[str],
    ) -> Self:
        """A plan of the accounts that have something to do or to tell. `created_at` is UTC, ISO 8601, with Z."""
        kept = tuple(account for account in accounts if account.writes or account.impossible)
        return cls(
            id=id,
            created_at=created_at,
            version=version,
            fingerprint=fingerprint(kept),
            allow=tuple(sorted(set(allow))),
            accounts=kept,
            left_out=tuple(left_out),
        )


def seal(plan: SavedPlan) -> bytes:
    """The plan as the text of a plan file: indented JSON, ended by a SHA-256 over all the rest of it."""
    sealed = replace(plan, seal=_seal_of(plan))
    return msgspec.json.format(msgspec.json.encode(sealed), indent=2) + b"\n"


def unseal(data: bytes, *, now: datetime, max_age_seconds: float = MAX_AGE_SECONDS) -> SavedPlan:
    """The plan of a plan file, fit to be applied at `now`, an aware time.

    Raises:
        PlanFileError: when the file is no plan file, was changed after it was sealed, is of another version's schema,
            holds a write that no plan makes or one account twice, is more than `max_age_seconds` old, or was made in
            the future.
    """
    try:
        plan, created = _parsed(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise PlanFileError("this is not a plan file; plan --out writes one, and desired state goes with -f") from None
    if plan.seal != _seal_of(plan):
        raise PlanFileError("the plan file was changed after it was written; plan again")
    if not _distinct(plan.accounts):
        raise PlanFileError("the plan file has one account twice; plan again")
    if not _coherent(plan):
        raise PlanFileError("the plan file holds writes that no plan makes; plan again")
    age = (now - created).total_seconds()
    if age > max_age_seconds:
        made, allowed = timedelta(seconds=int(age)), timedelta(seconds=max_age_seconds)
        raise PlanFileError(f"the plan was made {made} ago, and may be applied for {allowed}; plan again")
    if age < -_AHEAD_SECONDS:
        raise PlanFileError(f"the plan was made {-age / 60:.0f} minutes in the future; check the clocks of both hosts")
    return replace(plan, seal="")


class _Header(Struct):
    """As much of a plan file as tells which version's it is."""

    schema: str = ""


def _parsed(data: bytes) -> tuple[SavedPlan, datetime]:
    schema = msgspec.json.decode(data, type=_Header).schema
    if schema.startswith(_FAMILY) and schema != _SCHEMA:
        msg = (
            f"the plan file is of another version (this one reads {_SCHEMA}); apply it with that version or plan again"
        )
        raise PlanFileError(msg)
    plan = msgspec.json.decode(data, type=SavedPlan)
    return plan, datetime.fromisoformat(plan.created_at)


def _seal_of(plan: SavedPlan) -> str:
    return sha256(msgspec.json.encode(replace(plan, seal=""))).hexdigest()


def _distinct(accounts: Sequence[SavedAccount]) -> bool:
    """Return True if no two of the accounts have one name, or are one account of one platform."""
    ids = [(platform(each.endpoint), each.account_id) for each in accounts if each.account_id is not None]
    return len(set(ids)) == len(ids) and len({each.account for each in accounts}) == len(accounts)


def _coherent(plan: SavedPlan) -> bool:
    """Whether every write is one that `diff` makes, once a number, and the fingerprint is theirs."""
    return plan.fingerprint == fingerprint(plan.accounts) and all(
        len({change.phone for change in account.writes}) == len(account.writes)
        and all(
            re.fullmatch(PHONE_PATTERN, change.phone) and (change.action, change.observed, change.desired) in _WRITES
            for change in account.writes
        )
        and all(
            re.fullmatch(PHONE_PATTERN, change.phone) and (change.action.stuck or change.unreached)
            for change in account.impossible
        )
        for account in plan.accounts
    )
