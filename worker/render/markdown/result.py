"""A result as a page of Markdown: what went wrong first, with what to do."""

from collections.abc import Iterator, Sequence
from functools import partial

from worker.model.results import AccountResult, NumberResult, Outcome, Result, RunOutcome
from worker.render.i18n import gettext as _
from worker.render.i18n import ngettext, translated
from worker.render.markdown.escape import phone, prose
from worker.render.markdown.fit import Kind, Page, Section, fitted
from worker.render.markdown.plan import errors_of, notices_of, refusals_of
from worker.render.text.layout import counts
from worker.render.text.result import ENDED, GRAVEST_FIRST, MARKS, advice, closing, grouped, number_row, tally_text

__all__ = ["result", "result_row"]


def result(result: Result, remark: str = "") -> str:
    """A result, and what there is to remark on it, as Markdown that fits a comment."""
    title, *verdict = closing(result)
    accounts = sorted(result.accounts, key=lambda account: (GRAVEST_FIRST.index(account.outcome), -_open(account)))
    busy = [account for account in accounts if account.numbers]
    quiet = sum(not _told(account) for account in accounts)
    return fitted(
        Page(
            title=prose(title),
            verdict=tuple(verdict),
            needs=[
                *refusals_of((account.account, account.refusals) for account in accounts),
                *errors_of((account.account, None if account.refusals else account.error) for account in accounts),
            ],
            asks=list(_asks(busy)),
            sections=list(map(_section, busy)),
            quiet=_quiet(quiet) if quiet and len(accounts) > 1 else "",
            notices=list(notices_of((account.notices, _blocked(account)) for account in accounts)),
            totals=list(_totals(accounts)),
            remarks=(" ".join(remark.split()),) if remark else (),
        )
    )


def result_row(number: NumberResult) -> tuple[str, ...]:
    """A number and what became of it, as the cells of a table."""
    return phone(number.phone), prose(number_row(number).what)


def _told(account: AccountResult) -> bool:
    return bool(account.numbers or account.notices or account.outcome is not RunOutcome.CONVERGED)


def _open(account: AccountResult) -> int:
    return sum(number for outcome, number in account.counts.items() if outcome.stuck)


def _blocked(account: AccountResult) -> frozenset[str]:
    return frozenset(number.phone for number in account.numbers if number.outcome is Outcome.BLOCKED)


def _asks(accounts: Sequence[AccountResult]) -> Iterator[str]:
    """What a person must do for numbers that did not become what they should, by what that is."""
    found: dict[tuple[Outcome, str], int] = {}
    for account in accounts:
        for some in grouped(account.numbers):
            told = advice(some, account.error)
            if told and some[0].outcome.stuck:
                found[some[0].outcome, told] = found.get((some[0].outcome, told), 0) + len(some)
    for (outcome, told), number in found.items():
        yield f"**{counts([(number, MARKS[outcome].word)])}**: {prose(told)}"


def _section(account: AccountResult) -> Section:
    word, _style = ENDED[account.outcome]
    return Section(
        accounts=(account.account,),
        account_id=account.account_id,
        brief=f"{translated(word)}: {tally_text(account.counts, quiet=False)}",
        size=len(account.numbers),
        kinds=partial(_kinds, account),
    )


def _kinds(account: AccountResult) -> list[Kind]:
    titles = (_("Number"), _("Status"))
    return [
        Kind(MARKS[some[0].outcome].word, prose(advice(some, account.error)), titles, some, result_row)
        for some in grouped(account.numbers)
    ]


def _quiet(number: int) -> str:
    told = ngettext("{count} account had nothing to do.", "{count} accounts had nothing to do.", number)
    return told.format(count=f"{number:,}")


def _totals(accounts: Sequence[AccountResult]) -> Iterator[tuple[str, int, int]]:
    for outcome, mark in MARKS.items():
        found = [number for account in accounts if (number := account.counts.get(outcome, 0))]
        if found:
            yield translated(mark.word), sum(found), len(found)
