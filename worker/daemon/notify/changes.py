"""What is new of accounts: the state of each as the last pass left it, and what a person should be told of a change.

Only edges are news. What stays as it is, is told once, however many passes see it; what was told is told to be over.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec
from msgspec import Struct, structs

from worker.config.channels import Event
from worker.model.messages import english
from worker.model.plans import AccountPlan, Action, Cause, Change, Notice, NoticeKind, Verdict
from worker.model.results import AccountResult, NumberResult, Outcome, RunOutcome

__all__ = [
    "AccountState",
    "Notification",
    "NotifyState",
    "WriteSummary",
    "decoded",
    "encoded",
    "notifications",
    "started",
    "stopping",
    "updated",
]

_SHOWN: Final = 5
"""Numbers that one piece of news lists; the rest is counted."""

_OUTSIDE: Final = frozenset({Cause.EXTERNAL_DRIFT, Cause.BOTH})
_AS_DESIRED: Final = frozenset({Outcome.CHANGED, Outcome.UNCHANGED})
_FAILED: Final = frozenset({Outcome.FAILED, Outcome.UNVERIFIED})
_UNFINISHED: Final = frozenset({RunOutcome.FAILED, RunOutcome.PARTIAL})
_NOTHING_SEEN: Final = frozenset({RunOutcome.LOCKED, RunOutcome.INTERRUPTED, RunOutcome.REFUSED})
"""Without a safety rule that refuses: the account was held, the run was stopped, or the plan was no longer true."""


class Notification(Struct, frozen=True):
    """One thing to tell. `title` is a line, `lines` are more of it; both may hold foreign text.

    `account` is None where it is about all of them. `over`: what was told before has come to its end.
    """

    event: Event
    account: str | None
    title: str
    lines: tuple[str, ...] = ()
    over: bool = False


class WriteSummary(Struct, frozen=True, omit_defaults=True):
    """What one run changed on an account: how many numbers, and how many of them others had changed before.

    `phones` are some of the latter.
    """

    run_id: str
    activated: int = 0
    deactivated: int = 0
    put_right: int = 0
    phones: tuple[str, ...] = ()


class AccountState(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How one account stands.

    `failing` is why it cannot be read or written, None where it can. `refused` are the messages of the safety rules
    that refuse its plan, by rule. `drift` holds the numbers that others changed and that are still so, with the cause;
    `held` those whose deactivation is kept back, with the reason. `suspended` is why nothing is written to it.
    `written` is what the last run that changed anything did.
    """

    failing: str | None = None
    refused: Mapping[str, str] = {}
    drift: Mapping[str, Cause] = {}
    held: Mapping[str, str] = {}
    notices: tuple[Notice, ...] = ()
    suspended: str | None = None
    written: WriteSummary | None = None


class NotifyState(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How everything stands: accounts by name, unreadable files with what is wrong, and why all is suspended."""

    accounts: Mapping[str, AccountState] = {}
    broken: Mapping[str, str] = {}
    suspended: str | None = None


def encoded(state: NotifyState) -> bytes:
    """A state as it is kept between two starts of the program: JSON."""
    return msgspec.json.encode(state, enc_hook=english)


def decoded(data: bytes) -> NotifyState | None:
    """A state that was kept; None where the bytes are none that this program can read.

    Fields that it does not know are left out, and those that are not there have their defaults.
    """
    try:
        return msgspec.json.decode(data, type=NotifyState)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def updated(before: AccountState, plan: AccountPlan, result: AccountResult | None, run_id: str) -> AccountState:
    """How an account stands after a pass that planned it, and carried the plan out where there is a result.

    What the pass could not see, as the account could not be read, was held by another run or changed between two looks,
    stays as it was `before`; so does its suspension, of which a pass tells nothing.
    """
    ended = None if result is None else {number.phone: number for number in result.numbers}
    done = [change for change in plan.changes if _outcome(change, ended) is Outcome.CHANGED]
    written = _written(done, run_id) if done else before.written
    if plan.verdict is Verdict.ERROR:
        return structs.replace(before, failing=_failing(plan, result), written=written)
    if result is not None and not result.refusals and result.outcome in _NOTHING_SEEN:
        return structs.replace(before, written=written)
    refusals = plan.refusals if result is None else (*plan.refusals, *result.refusals)
    return AccountState(
        failing=_failing(plan, result),
        refused={refusal.rule: refusal.message for refusal in refusals},
        drift={
            change.phone: change.cause
            for change in plan.changes
            if change.cause is not None and change.cause in _OUTSIDE and _outcome(change, ended) not in _AS_DESIRED
        },
        held=dict(_held(plan, result)),
        notices=plan.notices if result is None or result.outcome is RunOutcome.FAILED else result.notices,
        suspended=before.suspended,
        written=written,
    )


def _outcome(change: Change, ended: Mapping[str, NumberResult] | None) -> Outcome | None:
    """What became of a change; None where nothing was tried. Results do not list what is unchanged."""
    if ended is None:
        return None
    return ended[change.phone].outcome if change.phone in ended else Outcome.UNCHANGED


def _failing(plan: AccountPlan, result: AccountResult | None) -> str | None:
    error = plan.error
    if result is not None and result.outcome in _UNFINISHED:
        error = result.error or error
    if error is not None:
        return f"{error.message} ({error.code})"
    failed = [] if result is None else [number for number in result.numbers if number.outcome in _FAILED]
    if not failed:
        return None
    reason = next((f": {number.error.message} ({number.error.code})" for number in failed if number.error), "")
    return f"{_count(len(failed), 'number')} could not be written or proven{reason}"


def _held(plan: AccountPlan, result: AccountResult | None) -> Iterator[tuple[str, str]]:
    for change in plan.changes:
        if change.action is Action.HELD:
            yield change.phone, change.reason
    for number in () if result is None else result.numbers:
        if number.outcome is Outcome.HELD and number.error is not None:
            yield number.phone, number.error.message


def _written(done: Sequence[Change], run_id: str) -> WriteSummary:
    right = [change.phone for change in done if change.cause in _OUTSIDE]
    activated = sum(change.action is Action.ACTIVATE for change in done)
    return WriteSummary(run_id, activated, len(done) - activated, len(right), tuple(right[:_SHOWN]))


def notifications(before: NotifyState, now: NotifyState) -> tuple[Notification, ...]:
    """What is to be told of the way from one state to another; nothing where they are alike.

    An account that is no longer there is none that anything is told of.
    """
    told = [*_of_all(before, now)]
    for name, account in now.accounts.items():
        known = before.accounts.get(name, _NEVER_SEEN)
        if known != account:
            told += _of_account(name, known, account)
    return tuple(told)


_NEVER_SEEN: Final = AccountState()


def started(accounts: int, version: str) -> Notification:
    """The daemon begins."""
    return Notification(Event.DAEMON, None, f"watching {_count(accounts, 'account')} (senderid {version})")


def stopping(reason: str) -> Notification:
    """The daemon ends."""
    return Notification(Event.DAEMON, None, f"no longer watching: {reason}", over=True)


def _of_all(before: NotifyState, now: NotifyState) -> Iterator[Notification]:
    for source, problem in now.broken.items():
        if source not in before.broken:
            yield Notification(
                Event.FILE, None, f"{source} cannot be used; its last good text counts, if any", (problem,)
            )
    for source in before.broken:
        if source not in now.broken:
            yield Notification(Event.FILE, None, f"{source} is mended or gone", over=True)
    yield from _suspension(None, before.suspended, now.suspended)


def _of_account(name: str, before: AccountState, now: AccountState) -> Iterator[Notification]:
    if now.failing is not None and before.failing is None:
        yield Notification(Event.FAILING, name, f"failing: {now.failing}")
    elif now.failing is None and before.failing is not None:
        yield Notification(Event.FAILING, name, "works again", over=True)
    yield from _refusals(name, before.refused, now.refused)
    yield from _drift(name, before, now)
    yield from _writes(name, before, now)
    yield from _holds(name, before.held, now.held)
    known = {_mark(notice) for notice in before.notices}
    for notice in now.notices:
        if _mark(notice) not in known:
            event = Event.EXPIRING if notice.kind is NoticeKind.EXPIRING else Event.NOTICE
            yield Notification(event, name, f"{notice.phone}: {notice.message}" if notice.phone else notice.message)
    yield from _suspension(name, before.suspended, now.suspended)


def _refusals(name: str, before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[Notification]:
    new = [rule for rule in now if rule not in before]
    if new:
        lines = tuple(f"{rule}: {now[rule]}" for rule in new)
        yield Notification(Event.REFUSED, name, f"nothing is written: refused by {', '.join(new)}", lines)
    elif before and not now:
        yield Notification(Event.REFUSED, name, f"no longer refused by {', '.join(before)}", over=True)


def _drift(name: str, before: AccountState, now: AccountState) -> Iterator[Notification]:
    new = [phone for phone, cause in now.drift.items() if before.drift.get(phone) is not cause]
    if new:
        both = sum(now.drift[phone] is Cause.BOTH for phone in new)
        told = f" ({both:,} of them also in the file)" if both else ""
        yield Notification(Event.DRIFT, name, f"{_count(len(new), 'number')} changed by others{told}", _some(new))
    elif before.drift and not now.drift:
        yield Notification(Event.DRIFT, name, "what others had changed is as the file says again", over=True)


def _writes(name: str, before: AccountState, now: AccountState) -> Iterator[Notification]:
    done = now.written
    if done is None or done == before.written:
        return
    yield Notification(Event.CHANGED, name, f"{_switched(done)} (run {done.run_id})")
    if done.put_right and (now.drift or not before.drift):
        title = f"{_count(done.put_right, 'number')} changed by others, put right (run {done.run_id})"
        yield Notification(Event.DRIFT, name, title, _some(done.phones, done.put_right), over=True)


def _switched(done: WriteSummary) -> str:
    if done.activated and done.deactivated:
        return f"{done.activated:,} activated, {done.deactivated:,} deactivated"
    return f"{done.activated:,} activated" if done.activated else f"{done.deactivated:,} deactivated"


def _holds(name: str, before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[Notification]:
    new = [phone for phone in now if phone not in before]
    if new:
        lines = tuple(f"{phone}: {now[phone]}" for phone in new[:_SHOWN])
        title = f"{_count(len(new), 'deactivation')} held"
        yield Notification(Event.HELD, name, title, (*lines, *_more(len(new) - _SHOWN)))
    elif before and not now:
        yield Notification(Event.HELD, name, "nothing is held any more", over=True)


def _suspension(name: str | None, before: str | None, now: str | None) -> Iterator[Notification]:
    if now is not None and before is None:
        yield Notification(Event.SUSPENDED, name, f"suspended, nothing is written: {now}")
    elif now is None and before is not None:
        yield Notification(Event.SUSPENDED, name, "no longer suspended", over=True)


def _mark(notice: Notice) -> tuple[NoticeKind, str | None, str]:
    """By what a notice is known. What is said of a number may vary from pass to pass; another end is worth a word."""
    varies = notice.phone is not None and notice.kind is not NoticeKind.EXPIRING
    return notice.kind, notice.phone, "" if varies else notice.message


def _some(phones: Sequence[str], count: int | None = None) -> tuple[str, ...]:
    shown = phones[:_SHOWN]
    return (*shown, *_more((len(phones) if count is None else count) - len(shown)))


def _more(count: int) -> tuple[str, ...]:
    return (f"… and {count:,} more",) if count > 0 else ()


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"
