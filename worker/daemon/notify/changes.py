"""Notifications of state changes between passes.

A lasting state, such as a refused plan, has one notification when it starts and one when it ends.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal

import msgspec
from msgspec import Struct, field, structs

from worker.config.channels import Event
from worker.model.errors import Interrupted
from worker.model.messages import Message, PhoneNumber, english
from worker.model.plans import AccountPlan, Action, Cause, Change, Notice, NoticeKind, Verdict
from worker.model.results import AccountResult, NumberResult, Outcome, RunOutcome

__all__ = [
    "Coverage",
    "Notification",
    "NotifiedAccount",
    "NotifyState",
    "WriteSummary",
    "decode",
    "encode",
    "notifications",
    "start_notification",
    "stop_notification",
    "update_account",
    "update_covered",
]

_SHOWN: Final = 5
"""Maximum count of numbers that a notification lists. The others are counted."""

_OUTSIDE: Final = frozenset({Cause.EXTERNAL_DRIFT, Cause.BOTH})
_AS_DESIRED: Final = frozenset({Outcome.CHANGED, Outcome.UNCHANGED})
_FAILED: Final = frozenset({Outcome.FAILED, Outcome.UNVERIFIED})
_UNFINISHED: Final = frozenset({RunOutcome.FAILED, RunOutcome.PARTIAL})
_NOTHING_SEEN: Final = frozenset({RunOutcome.LOCKED, RunOutcome.INTERRUPTED, RunOutcome.REFUSED})
"""Outcomes without a new observation: another run had the lease, the run was stopped, or the plan was stale."""


Coverage = Literal["account", "drift", "writes"]
"""The part of an account's state that a run shows: all of it, its drift, or the writes of a saved plan."""


class Notification(Struct, frozen=True):
    """A notification of one change.

    `title` is one line, and `lines` are its details. Both may contain untrusted text. `account` is None if the change
    concerns all accounts. `is_end` is True if it reports the end of a state.
    """

    event: Event
    account: str | None
    title: str
    lines: tuple[str, ...] = ()
    is_end: bool = False


class WriteSummary(Struct, frozen=True, omit_defaults=True):
    """The summary of one run's changes to an account.

    `reverted` is the count of numbers whose external change the run reverted, and `phones` are some of the changed
    numbers.
    """

    run_id: str
    activated: int = 0
    deactivated: int = 0
    reverted: int = field(default=0, name="put_right")
    phones: tuple[str, ...] = ()


class NotifiedAccount(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The state of one account that notifications depend on.

    `failing` is why it cannot be read or written; None if it can. `refused` maps each safety rule that refuses its plan
    to the rule's message. `drift` maps each number with an unreverted external change to its cause. `held` maps each
    number whose deactivation is held to the reason. `suspended` is why the account is not written; None if it is.
    `written` is the summary of the last run that changed numbers.
    """

    failing: str | None = None
    refused: Mapping[str, str] = {}
    drift: Mapping[str, Cause] = {}
    held: Mapping[str, str] = {}
    notices: tuple[Notice, ...] = ()
    suspended: str | None = None
    written: WriteSummary | None = None


class NotifyState(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The state of the daemon that notifications depend on.

    `accounts` are by name. `broken` maps invalid files to their problems. `suspended` is why all accounts are
    suspended; None if they are not.
    """

    accounts: Mapping[str, NotifiedAccount] = {}
    broken: Mapping[str, str] = {}
    suspended: str | None = None


def encode(state: NotifyState) -> bytes:
    """Return a state as JSON, to be kept across restarts."""
    return msgspec.json.encode(state, enc_hook=english)


def decode(data: bytes) -> NotifyState | None:
    """Return the state that `encode` saved; None if the data is invalid.

    Unknown fields are dropped, and missing fields get their defaults.
    """
    try:
        return msgspec.json.decode(data, type=NotifyState)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def update_account(
    before: NotifiedAccount, plan: AccountPlan, result: AccountResult | None, run_id: str
) -> NotifiedAccount:
    """Return the state of an account after a pass. `result` is None if the plan was not applied.

    Fields that the pass could not observe stay as in `before`: the account could not be read, the daemon was stopped,
    another run had the lease, or the account changed between two reads. The suspension also stays, as a pass does not
    change it.
    """
    results = None if result is None else {number.phone: number for number in result.numbers}
    changed_writes = [change for change in plan.changes if _outcome(change, results) is Outcome.CHANGED]
    last_write = _summarize(changed_writes, run_id) if changed_writes else before.written
    if plan.error is not None and plan.error.code == Interrupted.__name__:
        return before
    if plan.verdict is Verdict.ERROR:
        return structs.replace(before, failing=_failing(plan, result), written=last_write)
    if result is not None and not result.refusals and result.outcome in _NOTHING_SEEN:
        return structs.replace(before, written=last_write)
    refusals = plan.refusals if result is None else (*plan.refusals, *result.refusals)
    return NotifiedAccount(
        failing=_failing(plan, result),
        refused={refusal.rule: refusal.message for refusal in refusals},
        drift={
            change.phone: change.cause
            for change in plan.changes
            if change.cause is not None
            and change.cause in _OUTSIDE
            and change.action is not Action.ACKNOWLEDGED
            and _outcome(change, results) not in _AS_DESIRED
        },
        held=dict(_holds_of(plan, result)),
        notices=plan.notices if result is None or result.outcome is RunOutcome.FAILED else result.notices,
        suspended=before.suspended,
        written=last_write,
    )


def update_covered(before: NotifiedAccount, now: NotifiedAccount, coverage: Coverage) -> NotifiedAccount:
    """Return the state after a run that shows a part of an account's state: `now` in that part, `before` elsewhere."""
    match coverage:
        case "drift":
            return structs.replace(before, failing=now.failing, drift=now.drift)
        case "writes":
            return structs.replace(before, failing=now.failing, written=now.written)
        case _:
            return now


def _outcome(change: Change, results: Mapping[str, NumberResult] | None) -> Outcome | None:
    """Return the outcome of a planned change; None if the plan was not applied.

    Results do not list unchanged numbers.
    """
    if results is None:
        return None
    return results[change.phone].outcome if change.phone in results else Outcome.UNCHANGED


def _failing(plan: AccountPlan, result: AccountResult | None) -> str | None:
    error = plan.error
    if result is not None and result.outcome in _UNFINISHED:
        error = result.error or error
    if error is not None:
        return Message("{message} ({code})", message=error.message, code=error.code)
    failures = [] if result is None else [number for number in result.numbers if number.outcome in _FAILED]
    if not failures:
        return None
    reason = next((number.error for number in failures if number.error), None)
    if reason is None:
        return Message.plural(
            "{count:,} number failed or is unverified", "{count:,} numbers failed or are unverified", len(failures)
        )
    return Message.plural(
        "{count:,} number failed or is unverified: {message} ({code})",
        "{count:,} numbers failed or are unverified: {message} ({code})",
        len(failures),
        message=reason.message,
        code=reason.code,
    )


def _holds_of(plan: AccountPlan, result: AccountResult | None) -> Iterator[tuple[str, str]]:
    for change in plan.changes:
        if change.action is Action.HELD:
            yield change.phone, change.reason
    for number in () if result is None else result.numbers:
        if number.outcome is Outcome.HELD and number.error is not None:
            yield number.phone, number.error.message


def _summarize(changes: Sequence[Change], run_id: str) -> WriteSummary:
    reverted_phones = [change.phone for change in changes if change.cause in _OUTSIDE]
    activated = sum(change.action is Action.ACTIVATE for change in changes)
    return WriteSummary(
        run_id, activated, len(changes) - activated, len(reverted_phones), tuple(reverted_phones[:_SHOWN])
    )


def notifications(before: NotifyState, now: NotifyState) -> tuple[Notification, ...]:
    """Return the notifications of the differences between two states, without accounts that are no longer managed."""
    result = [*_of_all(before, now)]
    for name, account in now.accounts.items():
        earlier = before.accounts.get(name, _NEVER_SEEN)
        if earlier != account:
            result += _of_account(name, earlier, account)
    return tuple(result)


_NEVER_SEEN: Final = NotifiedAccount()


def start_notification(accounts: int, version: str) -> Notification:
    """Return the notification that the daemon has started."""
    title = Message.plural(
        "watching {count:,} account (senderid {version})",
        "watching {count:,} accounts (senderid {version})",
        accounts,
        version=version,
    )
    return Notification(Event.DAEMON, None, title)


def stop_notification(reason: str) -> Notification:
    """Return the notification that the daemon is stopping."""
    return Notification(Event.DAEMON, None, Message("stopped watching: {reason}", reason=reason), is_end=True)


def _of_all(before: NotifyState, now: NotifyState) -> Iterator[Notification]:
    for source, problem in now.broken.items():
        if source not in before.broken:
            yield Notification(
                Event.FILE,
                None,
                Message("{source} is invalid; using its last valid version, if any", source=source),
                (problem,),
            )
    for source in before.broken:
        if source not in now.broken:
            yield Notification(
                Event.FILE, None, Message("{source} is valid again or was deleted", source=source), is_end=True
            )
    yield from _suspension(None, before.suspended, now.suspended)


def _of_account(name: str, before: NotifiedAccount, now: NotifiedAccount) -> Iterator[Notification]:
    if now.failing is not None and before.failing is None:
        yield Notification(Event.FAILING, name, Message("failing: {reason}", reason=now.failing))
    elif now.failing is None and before.failing is not None:
        yield Notification(Event.FAILING, name, Message("working again"), is_end=True)
    yield from _refusals(name, before.refused, now.refused)
    yield from _drift(name, before, now)
    yield from _writes(name, before, now)
    yield from _holds(name, before.held, now.held)
    earlier = {_mark(notice) for notice in before.notices}
    for notice in now.notices:
        if _mark(notice) not in earlier:
            event = Event.EXPIRING if notice.kind is NoticeKind.EXPIRING else Event.NOTICE
            yield Notification(event, name, _of_phone(notice.phone, notice.message) if notice.phone else notice.message)
    yield from _suspension(name, before.suspended, now.suspended)


def _refusals(name: str, before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[Notification]:
    new_rules = [rule for rule in now if rule not in before]
    if new_rules:
        lines = tuple(Message("{rule}: {message}", rule=rule, message=now[rule]) for rule in new_rules)
        yield Notification(Event.REFUSED, name, Message("plan refused by {rules}", rules=tuple(new_rules)), lines)
    elif before and not now:
        yield Notification(
            Event.REFUSED, name, Message("no longer refused by {rules}", rules=tuple(before)), is_end=True
        )


def _drift(name: str, before: NotifiedAccount, now: NotifiedAccount) -> Iterator[Notification]:
    new_phones = [phone for phone, cause in now.drift.items() if before.drift.get(phone) is not cause]
    if new_phones:
        both_count = sum(now.drift[phone] is Cause.BOTH for phone in new_phones)
        title = Message.plural(
            "{count:,} number changed externally", "{count:,} numbers changed externally", len(new_phones)
        )
        if both_count:
            title = Message("{changes} ({in_file:,} of them also in the file)", changes=title, in_file=both_count)
        yield Notification(Event.DRIFT, name, title, _some(new_phones))
    elif before.drift and not now.drift:
        yield Notification(Event.DRIFT, name, Message("external changes were reverted or acknowledged"), is_end=True)


def _writes(name: str, before: NotifiedAccount, now: NotifiedAccount) -> Iterator[Notification]:
    summary = now.written
    if summary is None or summary == before.written:
        return
    yield Notification(Event.CHANGED, name, _summary_text(summary))
    if summary.reverted and (now.drift or not before.drift):
        title = Message.plural(
            "{count:,} number changed externally, reverted (run {run})",
            "{count:,} numbers changed externally, reverted (run {run})",
            summary.reverted,
            run=summary.run_id,
        )
        yield Notification(Event.DRIFT, name, title, _some(summary.phones, summary.reverted), is_end=True)


def _summary_text(summary: WriteSummary) -> Message:
    on, off, run = summary.activated, summary.deactivated, summary.run_id
    if on and off:
        return Message(
            "{activated:,} activated, {deactivated:,} deactivated (run {run})", activated=on, deactivated=off, run=run
        )
    if on:
        return Message("{activated:,} activated (run {run})", activated=on, run=run)
    return Message("{deactivated:,} deactivated (run {run})", deactivated=off, run=run)


def _holds(name: str, before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[Notification]:
    new_phones = [phone for phone in now if phone not in before]
    if new_phones:
        lines = tuple(_of_phone(phone, now[phone]) for phone in new_phones[:_SHOWN])
        title = Message.plural("{count:,} deactivation held", "{count:,} deactivations held", len(new_phones))
        yield Notification(Event.HELD, name, title, (*lines, *_more(len(new_phones) - _SHOWN)))
    elif before and not now:
        yield Notification(Event.HELD, name, Message("no deactivation is held any more"), is_end=True)


def _suspension(name: str | None, before: str | None, now: str | None) -> Iterator[Notification]:
    if now is not None and before is None:
        yield Notification(Event.SUSPENDED, name, Message("writes suspended: {reason}", reason=now))
    elif now is None and before is not None:
        yield Notification(Event.SUSPENDED, name, Message("no longer suspended"), is_end=True)


def _mark(notice: Notice) -> tuple[NoticeKind, str | None, str]:
    """Return the key by which a notice of this pass is compared with those of the last pass.

    Messages on a number can vary from pass to pass and are ignored, except those on an expiry.
    """
    has_variable_text = notice.phone is not None and notice.kind is not NoticeKind.EXPIRING
    return notice.kind, notice.phone, "" if has_variable_text else notice.message


def _some(phones: Sequence[str], count: int | None = None) -> tuple[str, ...]:
    first_phones = phones[:_SHOWN]
    return (*first_phones, *_more((len(phones) if count is None else count) - len(first_phones)))


def _more(count: int) -> tuple[str, ...]:
    return (Message("… and {count:,} more", count=count),) if count > 0 else ()


def _of_phone(phone: str, message: str) -> Message:
    return Message("{phone}: {message}", phone=PhoneNumber(phone), message=message)
