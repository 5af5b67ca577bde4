"""The report of a result: what became of each number, and what somebody must do about those that did not converge."""

from collections import Counter
from collections.abc import Iterator, Sequence

from worker.model.errors import ErrorInfo
from worker.model.history import AccountRecord, NumberRecord
from worker.model.plans import Notice
from worker.model.results import AccountResult, NumberResult, Outcome, Requests, Result, RunOutcome
from worker.render.html import TONES
from worker.render.i18n import gettext as _
from worker.render.report.page import Cell, Column, Fact, Named, Report, Row, Table, Task, Tile, page, sampled
from worker.render.report.todo import failed, numbered, refused, worth_knowing
from worker.render.text.history import OPEN, seconds
from worker.render.text.layout import Mark
from worker.render.text.notices import repeats
from worker.render.text.result import (
    ENDED,
    GRAVEST_FIRST,
    MARKS,
    advice,
    closing,
    error_text,
    grouped,
    number_row,
    tally_text,
)

__all__ = ["about", "account_cells", "account_columns", "requests_facts", "result", "stuck"]


def result(document: Result, remark: str = "") -> str:
    """A result as an HTML document; `remark` is what else there is to say of it, for people."""
    accounts = sorted(document.accounts, key=lambda account: GRAVEST_FIRST.index(account.outcome))
    total = Counter[Outcome]()
    for account in accounts:
        total.update(account.counts)
    busy = [account for account in accounts if _busy(account)]
    verdict, *remarks = closing(document)
    _word, style = ENDED[document.outcome]
    return page(
        Report(
            title=_("Result"),
            facts=tuple(_facts(document)),
            tone=TONES[style],
            verdict=verdict,
            remarks=(*remarks, *filter(None, (" ".join(remark.split()), _drawing(document)))),
            tiles=tuple(Tile(total[outcome], mark.word, TONES[mark.style]) for outcome, mark in MARKS.items()),
            tasks=(
                *refused((account.account, refusal) for account in accounts for refusal in account.refusals),
                *failed(
                    ((each.account, each.error) for each in accounts if each.error is not None and not each.refusals),
                    _("Stopped"),
                ),
                *stuck([(account.account, account.error, account.numbers) for account in accounts]),
            ),
            notes=tuple(worth_knowing(_notices(accounts))),
            tables=(_accounts(busy), _numbers(busy)),
            quiet=tuple(account.account for account in accounts if not _busy(account)),
        )
    )


def stuck(
    accounts: Sequence[tuple[str, ErrorInfo | None, Sequence[NumberResult]]],
) -> Iterator[Task]:
    """What a person must do about the numbers of accounts, each with its name and its own error.

    Numbers that share their account's error are left out: it is told once.
    """
    # two accounts may have equal numbers: it is which value, not what it holds
    names: dict[int, str] = {}
    numbers: list[NumberResult] = []
    for name, above, some in accounts:
        for each in some:
            own = None if each.error is None else ErrorInfo(each.error.code, each.error.message)
            if each.outcome.stuck and (own is None or own != above):
                names[id(each)] = name
                numbers.append(each)
    for alike in grouped(numbers):
        yield numbered(MARKS[alike[0].outcome], advice(alike, None), [(names[id(each)], each.phone) for each in alike])


def about(number: NumberResult | NumberRecord) -> tuple[Cell, ...]:
    """The cells of a number's phone, outcome, status and error."""
    return (
        number.phone,
        OPEN if number.outcome is None else MARKS[number.outcome],
        number_row(number).what,
        None if number.error is None else error_text(number.error),
    )


def _busy(account: AccountResult) -> bool:
    return bool(account.numbers or account.notices or account.outcome is not RunOutcome.CONVERGED)


def _facts(document: Result) -> Iterator[Fact]:
    yield Fact(_("Run"), document.run_id, "code")
    yield Fact(_("Began"), document.started_at, "moment")
    yield Fact(_("Ended"), document.finished_at, "moment")
    yield Fact(_("Took"), _("{seconds:,.1f} s").format(seconds=seconds(document.started_at, document.finished_at)))
    yield Fact(_("Accounts"), f"{len(document.accounts):,}")
    yield from requests_facts(document.accounts)


def requests_facts(accounts: Sequence[AccountResult] | Sequence[AccountRecord]) -> Iterator[Fact]:
    """How many requests accounts took together."""
    requests = sum((account.requests for account in accounts), Requests())
    yield Fact(_("Reads"), f"{requests.reads:,}")
    yield Fact(_("Writes"), f"{requests.writes:,}")
    yield Fact(_("Retries among them"), f"{requests.retries:,}")


def _drawing(document: Result) -> str:
    """Where more is to be seen, if anything was written."""
    if not any(account.requests.writes for account in document.accounts):
        return ""
    told = _("When each write was sent is drawn by: senderid history {run} --format html")
    return told.format(run=document.run_id)


def _notices(accounts: Sequence[AccountResult]) -> Iterator[tuple[str, Notice]]:
    for account in accounts:
        told = {number.phone for number in account.numbers if number.outcome is Outcome.BLOCKED}
        yield from ((account.account, notice) for notice in account.notices if not repeats(notice, told))


def account_columns() -> tuple[Column, ...]:
    """What `account_cells` hold."""
    return (
        Column("account", _("Account"), "account"),
        Column("ended", _("Outcome"), "mark", facet=True),
        Column("counts", _("Numbers"), "lines"),
        Column("reads", _("Reads"), "number"),
        Column("writes", _("Writes"), "number"),
        Column("retries", _("Retries"), "number"),
        Column("why", _("Why"), "lines"),
    )


def account_cells(account: AccountResult | AccountRecord, ended: Mark, counted: str) -> tuple[Cell, ...]:
    """An account with how it ended, its numbers as counted, its requests and its error."""
    return (
        Named(account.account, account.account_id),
        ended,
        counted,
        account.requests.reads,
        account.requests.writes,
        account.requests.retries,
        None if account.error is None else error_text(account.error),
    )


def _accounts(accounts: Sequence[AccountResult]) -> Table:
    return sampled("accounts", _("Accounts"), account_columns(), [_account(account) for account in accounts])


def _account(account: AccountResult) -> Row:
    told, style = ENDED[account.outcome]
    return Row(
        account_cells(account, Mark("", told.lower(), style), tally_text(account.counts)),
        person=account.outcome is not RunOutcome.CONVERGED,
    )


def _numbers(accounts: Sequence[AccountResult]) -> Table:
    columns = (
        Column("account", _("Account"), "account", facet=True),
        Column("phone", _("Number"), "phone"),
        Column("what", _("Outcome"), "mark", facet=True),
        Column("status", _("Status"), "lines"),
        Column("why", _("Why"), "lines"),
        Column("attempts", _("Attempts"), "number"),
        Column("took", _("Took (ms)"), "number"),
    )
    rows = [
        Row(
            (Named(account.account), *about(each), each.attempts or None, each.duration_ms or None),
            person=each.outcome.stuck,
        )
        for account in accounts
        for each in account.numbers
    ]
    return sampled("numbers", _("Numbers"), columns, rows)
