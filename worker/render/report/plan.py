"""The report of a plan: what would change, what stands in the way, and how much it takes from each account."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from worker.model.plans import AccountPlan, Action, Cause, Change, Notice, Plan, Verdict
from worker.render.html import TONES, Tone
from worker.render.i18n import gettext as _
from worker.render.i18n import translated
from worker.render.report.page import Column, Fact, Named, Report, Row, Share, Table, Task, Tile, page, sampled
from worker.render.report.todo import failed, gathered, numbered, refused, worth_knowing
from worker.render.text.layout import MANY, Mark, apart
from worker.render.text.notices import repeats
from worker.render.text.plan import PLANNED, cause, closing, moment, noteworthy

__all__ = ["plan"]

_VERDICTS: Final = {
    Verdict.OK: Mark("", "ok", "green"),
    Verdict.REFUSED: Mark("x", "refused", "red"),
    Verdict.ERROR: Mark("x", "not read", "red"),
}


def plan(document: Plan, *, drift: bool = False) -> str:
    """A plan as an HTML document. One of `drift` leaves out what the file itself changed."""
    accounts = document.accounts
    total = Counter[Action]()
    for account in accounts:
        total.update(account.counts)
    (_style, verdict), *remarks = closing(document, drift=drift)
    busy = [account for account in accounts if account.error is not None or noteworthy(account)]
    return page(
        Report(
            title=_("Drift") if drift else _("Plan"),
            facts=tuple(_facts(document, total)),
            tone=_tone(accounts, total),
            verdict=verdict,
            remarks=tuple(told for _style, told in remarks),
            tiles=tuple(Tile(total[action], mark.word, TONES[mark.style]) for action, mark in PLANNED.items()),
            tasks=tuple(_tasks(accounts)),
            notes=tuple(worth_knowing(_notices(accounts))),
            tables=(_accounts(busy), _numbers(busy)),
            quiet=tuple(account.account for account in accounts if account.error is None and not noteworthy(account)),
        )
    )


def _facts(document: Plan, total: Counter[Action]) -> Iterator[Fact]:
    yield Fact(_("Made"), document.created_at, "moment")
    if document.at is not None:
        yield Fact(_("For"), document.at, "moment")
    yield Fact(_("Fingerprint"), document.fingerprint, "code")
    yield Fact(_("Accounts"), f"{len(document.accounts):,}")
    yield Fact(_("Numbers"), f"{total.total():,}")


def _tone(accounts: Sequence[AccountPlan], total: Counter[Action]) -> Tone:
    if any(account.verdict is not Verdict.OK for account in accounts):
        return "bad"
    if any(number for action, number in total.items() if action.stuck):
        return "warn"
    return "info" if total[Action.ACTIVATE] or total[Action.DEACTIVATE] else "good"


def _tasks(accounts: Sequence[AccountPlan]) -> Iterator[Task]:
    yield from refused((account.account, refusal) for account in accounts for refusal in account.refusals)
    yield from failed(
        ((account.account, account.error) for account in accounts if account.error), _("Could not be planned")
    )
    stuck = [(account.account, each) for account in accounts for each in account.changes if each.action.stuck]
    alike = gathered(stuck, lambda item: (item[1].action, translated(item[1].reason)))
    for action in PLANNED:
        reasons = {reason: some for (kind, reason), some in alike.items() if kind is action}
        if len(reasons) > MANY:
            (first, _some), *_others = reasons.items()
            told = _("{reason} There are {number:,} other reasons: see below.").format(
                reason=first, number=len(reasons) - 1
            )
            reasons = {told: [item for some in reasons.values() for item in some]}
        for reason, some in reasons.items():
            yield numbered(PLANNED[action], reason, ((name, change.phone) for name, change in some))


def _notices(accounts: Sequence[AccountPlan]) -> Iterator[tuple[str, Notice]]:
    for account in accounts:
        told = {change.phone for change in account.changes if change.action is Action.BLOCKED}
        yield from ((account.account, notice) for notice in account.notices if not repeats(notice, told))


def _accounts(accounts: Sequence[AccountPlan]) -> Table:
    columns = (
        Column("account", _("Account"), "account"),
        Column("ended", _("Verdict"), "mark", facet=True),
        Column("active", _("ACTIVE numbers"), "share"),
        Column("on", _("To activate"), "number"),
        Column("off", _("To deactivate"), "number"),
        Column("person", _("Needs a person"), "number"),
        Column("aside", _("Left alone"), "number"),
        Column("same", _("Unchanged"), "number"),
        Column("why", _("Why"), "lines"),
    )
    return sampled("accounts", _("Accounts"), columns, [_account(account) for account in accounts])


def _account(account: AccountPlan) -> Row:
    found = Counter(account.counts)
    on, off = found[Action.ACTIVATE], found[Action.DEACTIVATE]
    person = sum(number for action, number in found.items() if action.stuck)
    why = (
        *(refusal.rule for refusal in account.refusals),
        *(() if account.error is None else (account.error.code,)),
    )
    return Row(
        (
            Named(account.account, account.account_id),
            _VERDICTS[account.verdict],
            None if account.active is None else Share(account.active, on, off),
            on,
            off,
            person,
            found[Action.PROTECTED] + found[Action.UNMANAGED],
            found[Action.UNCHANGED],
            why,
        ),
        person=bool(person) or account.verdict is not Verdict.OK,
    )


def _numbers(accounts: Sequence[AccountPlan]) -> Table:
    columns = (
        Column("account", _("Account"), "account", facet=True),
        Column("phone", _("Number"), "phone"),
        Column("what", _("Action"), "mark", facet=True),
        Column("status", _("Status"), "lines"),
        Column("why", _("Why"), "lines"),
        Column("cause", _("Cause"), "lines"),
        Column("until", _("Until"), "lines"),
        Column("note", _("Note"), "lines"),
        Column("owner", _("Owner"), "lines", facet=True),
    )
    rows = [_number(account, change) for account in accounts for change in account.changes]
    return sampled("numbers", _("Numbers"), columns, rows)


def _number(account: AccountPlan, change: Change) -> Row:
    writes = change.action.writes
    return Row(
        (
            Named(account.account),
            change.phone,
            PLANNED[change.action],
            f"{change.observed} → {change.desired}" if writes else apart(change.observed, change.desired),
            translated(change.reason),
            _("the file was changed") if change.cause is Cause.CONFIG_CHANGE else cause(change),
            change.until and moment(change.until, account.timezone),
            change.note,
            change.owner,
        ),
        person=change.action.stuck,
    )
