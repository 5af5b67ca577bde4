"""A run of the ledger as a page of Markdown."""

from collections.abc import Iterator
from functools import partial

from worker.model.history import AccountRecord, Ending, NumberRecord, RunRecord
from worker.render.i18n import gettext as _
from worker.render.i18n import translated
from worker.render.markdown.escape import code, phone, prose
from worker.render.markdown.fit import Kind, Page, Section, fitted
from worker.render.markdown.plan import errors_of
from worker.render.text.history import OPEN, UNFINISHED, brief, kind_word, provenance, who
from worker.render.text.result import MARKS, error_text, number_row

__all__ = ["run"]

_ORDER = (None, *MARKS)


def run(told: RunRecord) -> str:
    """One run in full, as Markdown that fits a comment."""
    began = f"{told.started_at[:10]} {told.started_at[11:19]} UTC"
    return fitted(
        Page(
            title=_("Run {run}: {outcome}").format(run=code(told.run_id), outcome=translated(told.outcome)),
            verdict=(translated(UNFINISHED),) if told.outcome is Ending.UNFINISHED else (),
            needs=list(errors_of((account.account, account.error) for account in told.accounts)),
            sections=list(map(_section, told.accounts)),
            totals=list(_totals(told)),
            remarks=(
                _("{command} by {who}, {began}, senderid {version}").format(
                    command=told.command, who=who(told), began=began, version=told.version
                ),
                *([] if told.plan is None else [_("plan file {plan}").format(plan=told.plan)]),
            ),
        )
    )


def _section(account: AccountRecord) -> Section:
    return Section(
        accounts=(account.account,),
        account_id=account.account_id,
        brief=f"{translated(account.outcome)}: {brief(account.counts)}",
        size=len(account.numbers or ()),
        kinds=partial(_kinds, account),
        remarks=tuple(provenance(account)),
    )


def _kinds(account: AccountRecord) -> list[Kind]:
    titles = (_("Number"), _("Status"), _("Attempts"), _("Error"))
    found = [(outcome, [each for each in account.numbers or () if each.outcome is outcome]) for outcome in _ORDER]
    return [
        Kind((OPEN if outcome is None else MARKS[outcome]).word, "", titles, some, _row)
        for outcome, some in found
        if some
    ]


def _row(number: NumberRecord) -> tuple[str, ...]:
    attempts = ", ".join(f"{attempt.number}: {translated(attempt.state)}" for attempt in number.attempts)
    error = "" if number.error is None else error_text(number.error)
    return phone(number.phone), prose(number_row(number).what), prose(attempts), prose(error)


def _totals(told: RunRecord) -> Iterator[tuple[str, int, int]]:
    for kind, number in told.counts.items():
        if number:
            accounts = sum(kind in account.counts for account in told.accounts)
            yield kind_word(kind), number, accounts
