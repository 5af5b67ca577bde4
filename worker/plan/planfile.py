"""Plan files: an approved plan on its way from `plan --out` to `apply`.

Its seal shows that the file is as it was written. It is no signature, and proves nothing about who wrote it.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Annotated, Final, Literal, Self

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from worker.config.urls import platform_of
from worker.model.accounts import PHONE_PATTERN, DesiredAccount, Group, SourceFile
from worker.model.credentials import CredentialsRef
from worker.model.errors import ErrorInfo, PlanFileError
from worker.model.messages import Message, english
from worker.model.plans import AccountPlan, Action, Change, Timestamp, Verdict
from worker.model.safety import InUse, Safety
from worker.plan.diff import WRITES, fingerprint

__all__ = ["MAX_AGE_SECONDS", "LeftOut", "SavedAccount", "SavedPlan", "seal", "unseal"]


MAX_AGE_SECONDS: Final = 86_400.0
"""How long a saved plan may be applied, seconds: a day, as an approval rarely outlives one."""


_AHEAD_SECONDS: Final = 300.0
"""How far in the future a plan file may have been made: clocks of two hosts differ by minutes at worst."""


_SCHEMA: Final = "senderid.saved-plan/v2"


_FAMILY: Final = "senderid.saved-plan/"


_OFF: Final = InUse()


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
    return msgspec.json.format(msgspec.json.encode(sealed, enc_hook=english), indent=2) + b"\n"


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
        raise PlanFileError(
            Message("this is not a plan file; plan --out writes one, and desired state goes with -f")
        ) from None
    if plan.seal != _seal_of(plan):
        raise PlanFileError(Message("the plan file was changed after it was written; plan again"))
    if not _distinct(plan.accounts):
        raise PlanFileError(Message("the plan file has one account twice; plan again"))
    if not _coherent(plan):
        raise PlanFileError(Message("the plan file holds writes that no plan makes; plan again"))
    age = (now - created).total_seconds()
    if age > max_age_seconds:
        made, allowed = timedelta(seconds=int(age)), timedelta(seconds=max_age_seconds)
        raise PlanFileError(
            Message(
                "the plan was made {made} ago, and may be applied for {allowed}; plan again",
                made=str(made),
                allowed=str(allowed),
            )
        )
    if age < -_AHEAD_SECONDS:
        raise PlanFileError(
            Message("the plan was made {age:.0f} minutes in the future; check the clocks of both hosts", age=-age / 60)
        )
    return replace(plan, seal="")


class _Header(Struct):
    """As much of a plan file as tells which version's it is."""

    schema: str = ""


def _parsed(data: bytes) -> tuple[SavedPlan, datetime]:
    schema = msgspec.json.decode(data, type=_Header).schema
    if schema.startswith(_FAMILY) and schema != _SCHEMA:
        msg = Message(
            "the plan file is of another version (this one reads {schema}); apply it with that version or plan again",
            schema=_SCHEMA,
        )
        raise PlanFileError(msg)
    plan = msgspec.json.decode(data, type=SavedPlan)
    return plan, datetime.fromisoformat(plan.created_at)


def _seal_of(plan: SavedPlan) -> str:
    return sha256(msgspec.json.encode(replace(plan, seal=""), enc_hook=english)).hexdigest()


def _distinct(accounts: Sequence[SavedAccount]) -> bool:
    """Return True if no two of the accounts have one name, or are one account of one platform."""
    ids = [(platform_of(each.endpoint), each.account_id) for each in accounts if each.account_id is not None]
    return len(set(ids)) == len(ids) and len({each.account for each in accounts}) == len(accounts)


def _coherent(plan: SavedPlan) -> bool:
    """Whether every write is one that `diff` makes, once a number, and the fingerprint is theirs."""
    return plan.fingerprint == fingerprint(plan.accounts) and all(
        len({change.phone for change in account.writes}) == len(account.writes)
        and all(
            re.fullmatch(PHONE_PATTERN, change.phone) and (change.action, change.observed, change.desired) in WRITES
            for change in account.writes
        )
        and all(
            re.fullmatch(PHONE_PATTERN, change.phone) and (change.action.stuck or change.unreached)
            for change in account.impossible
        )
        for account in plan.accounts
    )
