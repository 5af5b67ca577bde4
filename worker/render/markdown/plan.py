"""A plan as a page of Markdown: what a person must do first, then what changes, account by account."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Final

from worker.model.errors import ErrorInfo, Refusal
from worker.model.plans import AccountPlan, Action, Cause, Change, Notice, Plan
from worker.render.i18n import gettext as _
from worker.render.i18n import ngettext, translated
from worker.render.markdown.escape import NOTE, code, listed, phone, prose
from worker.render.markdown.fit import Kind, Page, Section, fitted
from worker.render.text.layout import apart, count, counts, refusal_text
from worker.render.text.notices import grouped, repeats
from worker.render.text.plan import PLANNED, cause, closing, moment, noteworthy

__all__ = ["errors_of", "notices_of", "plan", "refusals_of"]

_ALIKE: Final = 200
"""Changes of an account that is looked for others that are alike: with more there are none."""
_ORDER: Final = tuple(PLANNED)
_SHOWN: Final = 10
"""Numbers that a notice names; more are counted."""

Same = tuple[object, ...]


def plan(plan: Plan, *, drift: bool = False) -> str:
    """A plan as Markdown that fits a comment. One of `drift` leaves out what the file itself changed."""
    readable = [account for account in plan.accounts if account.error is None]
    busy = [account for account in readable if noteworthy(account)]
    quiet = [account.account for account in readable if not noteworthy(account)]
    title, *verdict = (told for _, told in closing(plan, drift=drift))
    return fitted(
        Page(
            title=prose(title),
            verdict=tuple(verdict),
            needs=[
                *refusals_of((account.account, account.refusals) for account in busy),
                *errors_of((account.account, account.error) for account in plan.accounts),
            ],
            asks=list(_asks(busy)),
            sections=list(_sections([account for account in busy if account.changes])),
            quiet=_quiet(quiet) if len(plan.accounts) > 1 else "",
            notices=list(notices_of((account.notices, _blocked(account)) for account in busy)),
            totals=list(_totals(plan.accounts)),
        )
    )


def refusals_of(accounts: Iterable[tuple[str, Sequence[Refusal]]]) -> Iterator[str]:
    """A line for each refusal of accounts, those that say the same together."""
    alike: dict[str, list[str]] = {}
    for account, refusals in accounts:
        for refusal in refusals:
            told = _("Refused by {rule}: {reason}").format(rule=refusal.rule, reason=refusal_text(refusal))
            alike.setdefault(told, []).append(account)
    return _of_accounts(alike)


def errors_of(accounts: Iterable[tuple[str, ErrorInfo | None]]) -> Iterator[str]:
    """A line for each error of accounts, those with the same one together."""
    alike: dict[str, list[str]] = {}
    for account, error in accounts:
        if error is not None:
            alike.setdefault(f"{error.code}: {translated(error.message)}", []).append(account)
    return _of_accounts(alike)


def notices_of(accounts: Iterable[tuple[Sequence[Notice], frozenset[str]]]) -> Iterator[str]:
    """A line for each notice of accounts, numbers with the same one together; `told` of each are told of anyway."""
    alike = grouped(notice for notices, told in accounts for notice in notices if not repeats(notice, told))
    for (_kind, message), some in alike.items():
        phones = [notice.phone for notice in some if notice.phone]
        told = prose(translated(message))
        yield f"{_phones(phones)}: {told}" if phones else told


def _of_accounts(alike: dict[str, list[str]]) -> Iterator[str]:
    for told, accounts in sorted(alike.items(), key=lambda item: -len(item[1])):
        several = f"{count(len(accounts), 'account')}: " if len(accounts) > 1 else ""
        yield f"{several}{listed(accounts)}: {prose(told)}"


def _phones(phones: Sequence[str]) -> str:
    shown = ", ".join(map(phone, phones[:_SHOWN]))
    more = len(phones) - _SHOWN
    return _("{names} and {count} more").format(names=shown, count=f"{more:,}") if more > 0 else shown


def _blocked(account: AccountPlan) -> frozenset[str]:
    return frozenset(change.phone for change in account.changes if change.action is Action.BLOCKED)


def _asks(accounts: Sequence[AccountPlan]) -> Iterator[str]:
    """What a person must do for numbers that no write brings to where they are wanted, by what that is."""
    found: dict[tuple[Action, str], Counter[str]] = {}
    for account in accounts:
        for change in account.changes:
            if change.action.stuck:
                found.setdefault((change.action, change.reason), Counter())[account.account] += 1
    for (action, reason), where in sorted(found.items(), key=lambda item: _ORDER.index(item[0][0])):
        yield f"**{counts([(where.total(), _word(action))])}** ({listed(list(where))}): {prose(translated(reason))}"


def _sections(accounts: Sequence[AccountPlan]) -> Iterator[Section]:
    """The accounts, refused ones first, then those with more changes; accounts whose changes are the same together."""
    alike: dict[Same, list[AccountPlan]] = {}
    for index, account in enumerate(accounts):
        same: Same = (index,) if len(account.changes) > _ALIKE else (account.changes, bool(account.refusals))
        alike.setdefault(same, []).append(account)
    ordered = sorted(alike.values(), key=lambda some: (not some[0].refusals, -len(some[0].writes), -len(some)))
    for some in ordered:
        first = some[0]
        yield Section(
            accounts=tuple(account.account for account in some),
            account_id=first.account_id if len(some) == 1 else None,
            brief=_brief(first),
            size=len(first.changes),
            kinds=partial(_kinds, first),
        )


def _brief(account: AccountPlan) -> str:
    told = counts(
        (account.counts.get(action, 0), _word(action)) for action in PLANNED if action is not Action.UNCHANGED
    )
    return _("{what} (refused)").format(what=told) if account.refusals else told


def _word(action: Action) -> str:
    return f"to {PLANNED[action].word}" if action.writes else PLANNED[action].word


def _kinds(account: AccountPlan) -> list[Kind]:
    found: dict[tuple[Action, str], list[Change]] = {}
    for change in account.changes:
        found.setdefault((change.action, change.reason), []).append(change)
    titles = (_("Number"), _("Status"), _("Why"), _("Until"), _("Note"), _("Owner"))
    row: Callable[[Change], tuple[str, ...]] = partial(_row, account.timezone)
    return [
        Kind(_word(action), prose(translated(reason)), titles, changes, row)
        for (action, reason), changes in sorted(found.items(), key=lambda item: _ORDER.index(item[0][0]))
    ]


def _row(timezone: str, change: Change) -> tuple[str, ...]:
    what = f"{change.observed} → {change.desired}" if change.action.writes else apart(change.observed, change.desired)
    why = _("the file changed") if change.cause is Cause.CONFIG_CHANGE else cause(change)
    return (
        phone(change.phone),
        prose(what),
        prose(why),
        code(moment(change.until, timezone)) if change.until else "",
        prose(change.note or "", NOTE),
        prose(change.owner or "", NOTE),
    )


def _quiet(names: Sequence[str]) -> str:
    if not names:
        return ""
    told = ngettext("{count} account is as desired: {names}", "{count} accounts are as desired: {names}", len(names))
    return told.format(count=f"{len(names):,}", names=listed(names))


def _totals(accounts: Sequence[AccountPlan]) -> Iterator[tuple[str, int, int]]:
    for action in PLANNED:
        found = [number for account in accounts if (number := account.counts.get(action, 0))]
        if found:
            yield translated(_word(action)), sum(found), len(found)
