"""Plan files, written by `plan --out` and applied by `apply`.

The seal is a hash that detects changes of the file. It is not a signature, so it does not prove who wrote the file.
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
from worker.plan.diff import WRITES

__all__ = ["MAX_AGE_SECONDS", "LeftOut", "SavedAccount", "SavedPlan", "fingerprint", "seal", "unseal"]


MAX_AGE_SECONDS: Final = 86_400.0
"""Maximum age of a saved plan, in seconds: one day, because an approval is rarely valid for longer."""
_AHEAD_SECONDS: Final = 300.0
"""Maximum time in seconds by which a plan may be in the future: the clocks of two hosts may differ by minutes."""
_SCHEMA: Final = "senderid.saved-plan/v2"
_FAMILY: Final = "senderid.saved-plan/"
_OFF: Final = InUse()


class SavedAccount(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One account of a plan file: its endpoint and credentials, its limits, and its writes.

    `account_id` is the id of the account that was read; an apply refuses any other account. `endpoint` is a name or a
    URL. `credentials` are references, never secrets; None for the default ones. `safety`, `groups` and `in_use` are the
    limits in force when the plan was made. `sha256` and `commit` are the revision of the main file, `parts` the other
    documents of a split account and the files with shared defaults.

    `changes` are the writes. The `observed` status of a write is its precondition. `impossible` are the numbers that
    were blocked, held or missing, which an apply also reports. If the plan has deactivations, `impossible` includes
    protected numbers that should be ACTIVE, for `safety.pair_swaps`.
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
        """All changes, because each of them is a write."""
        return self.changes

    @property
    def listed(self) -> tuple[str, ...]:
        """The digits of the numbers to write, all of which were registered."""
        return tuple(change.phone for change in self.changes)

    @classmethod
    def of(
        cls, desired: DesiredAccount, plan: AccountPlan, *, endpoint: str, safety: Safety, in_use: InUse = _OFF
    ) -> Self:
        """Return an account of a plan file, from its plan and the endpoint, limits and in-use guard in force.

        The caller decides whether a refused plan may be saved. An apply checks the rules again.
        """
        deactivates = plan.counts.get(Action.DEACTIVATE, 0) > 0
        return cls(
            account=plan.account,
            account_id=plan.account_id,
            source=desired.source,
            endpoint=endpoint,
            credentials=desired.credentials,
            safety=safety,
            changes=plan.writes,
            impossible=tuple(
                change
                for change in plan.changes
                if change.action.needs_attention or (deactivates and change.is_unreached)
            ),
            in_use=in_use,
            groups=desired.groups,
            sha256=desired.sha256,
            commit=desired.commit,
            parts=desired.parts,
        )


class LeftOut(Struct, frozen=True, forbid_unknown_fields=True):
    """An account that a plan file leaves out because its plan was refused or the account could not be read."""

    account: str
    account_id: str | None
    verdict: Verdict
    error: ErrorInfo


class SavedPlan(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of a plan file.

    `id` identifies the file: two files with equal changes have different ids. `version` is the version of the worker
    that wrote the file. `allow` are the names of the safety rules that the user allowed plans to break. `seal` is the
    SHA-256 of the rest of the content, in hex; it is empty outside the file.
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
        """Return the plan file of the accounts that have writes or impossible numbers.

        `created_at` is the time of the plan (UTC, ISO 8601, Z).
        """
        with_content = tuple(account for account in accounts if account.writes or account.impossible)
        return cls(
            id=id,
            created_at=created_at,
            version=version,
            fingerprint=fingerprint(with_content),
            allow=tuple(sorted(set(allow))),
            accounts=with_content,
            left_out=tuple(left_out),
        )


def seal(plan: SavedPlan) -> bytes:
    """Return the bytes of a plan file: indented JSON whose last key is the SHA-256 of the other content."""
    sealed_plan = replace(plan, seal=_seal_of(plan))
    return msgspec.json.format(msgspec.json.encode(sealed_plan, enc_hook=english), indent=2) + b"\n"


def unseal(data: bytes, *, now: datetime, max_age_seconds: float = MAX_AGE_SECONDS) -> SavedPlan:
    """Return the content of a plan file, if the plan may be applied at `now`, an aware time.

    Raises:
        PlanFileError: the data is not a plan file, or the file was changed after it was sealed, has the schema of
            another version, has an impossible write or a duplicate account, is more than `max_age_seconds` old, or is
            from the future.
    """
    try:
        plan, created = _decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        message = Message("this is not a plan file: save a plan with plan --out, or pass desired state with -f")
        raise PlanFileError(message) from None
    if plan.seal != _seal_of(plan):
        raise PlanFileError(Message("the plan file was changed after it was written; plan again"))
    if not _are_distinct(plan.accounts):
        raise PlanFileError(Message("the plan file has one account twice; plan again"))
    if not _is_coherent(plan):
        raise PlanFileError(Message("the plan file has invalid writes, such as two of one number; plan again"))
    age = (now - created).total_seconds()
    if age > max_age_seconds:
        message = Message(
            "the plan is {age} old, and the limit is {limit}; plan again",
            age=str(timedelta(seconds=int(age))),
            limit=str(timedelta(seconds=max_age_seconds)),
        )
        raise PlanFileError(message)
    if age < -_AHEAD_SECONDS:
        message = Message(
            "the plan was created {minutes:.0f} minutes in the future; check the clocks of both hosts",
            minutes=-age / 60,
        )
        raise PlanFileError(message)
    return replace(plan, seal="")


class _Header(Struct):
    """The first keys of a plan file, which include the version of its schema."""

    schema: str = ""


def _decode(data: bytes) -> tuple[SavedPlan, datetime]:
    schema = msgspec.json.decode(data, type=_Header).schema
    if schema.startswith(_FAMILY) and schema != _SCHEMA:
        message = Message(
            "unsupported plan file version: this senderid supports {schema}; apply the plan with the senderid that "
            "created it, or plan again",
            schema=_SCHEMA,
        )
        raise PlanFileError(message)
    plan = msgspec.json.decode(data, type=SavedPlan)
    return plan, datetime.fromisoformat(plan.created_at)


def fingerprint(accounts: Iterable[AccountPlan | SavedAccount]) -> str:
    """Return the SHA-256 of all writes of the accounts, in hex.

    It covers the name and id of each account with writes, and the digits, observed and desired status of each write. It
    ignores times, order, verdicts, reasons and notes, so that equal sets of writes have equal fingerprints.
    """
    digests = sorted(filter(None, map(_digest, accounts)))
    return sha256(b"".join(digests)).hexdigest()


def _digest(account: AccountPlan | SavedAccount) -> bytes:
    writes = sorted((change.phone, change.observed, change.desired) for change in account.writes)
    return sha256(msgspec.json.encode((account.account, account.account_id, writes))).digest() if writes else b""


def _seal_of(plan: SavedPlan) -> str:
    return sha256(msgspec.json.encode(replace(plan, seal=""), enc_hook=english)).hexdigest()


def _are_distinct(accounts: Sequence[SavedAccount]) -> bool:
    """Return True if no two accounts have the same name, or the same platform and id."""
    ids = [
        (platform_of(account.endpoint), account.account_id) for account in accounts if account.account_id is not None
    ]
    return len(set(ids)) == len(ids) and len({account.account for account in accounts}) == len(accounts)


def _is_coherent(plan: SavedPlan) -> bool:
    """Return True if the plan is consistent.

    Each write is in `WRITES`, no number has two writes, each impossible number has an obstacle, and the fingerprint is
    that of the writes.
    """
    return plan.fingerprint == fingerprint(plan.accounts) and all(
        len({change.phone for change in account.writes}) == len(account.writes)
        and all(
            re.fullmatch(PHONE_PATTERN, change.phone) and (change.action, change.observed, change.desired) in WRITES
            for change in account.writes
        )
        and all(
            re.fullmatch(PHONE_PATTERN, change.phone) and (change.action.needs_attention or change.is_unreached)
            for change in account.impossible
        )
        for account in plan.accounts
    )
