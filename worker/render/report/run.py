"""Reports of what the ledger tells: one run with its requests over time, runs as a table, one number over all runs."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

import msgspec

from worker.model.history import AccountRecord, Attempt, Ending, History, NumberRecord, RunRecord
from worker.model.phones import hyphenated
from worker.model.results import NumberResult, Outcome
from worker.render.html import TONES
from worker.render.i18n import gettext as _
from worker.render.i18n import ngettext, translated
from worker.render.report.chart import Chart, Rate, drawn
from worker.render.report.page import Cell, Column, Fact, Named, Report, Row, Table, Tile, page, sampled
from worker.render.report.rates import Write
from worker.render.report.result import about, account_cells, account_columns, requests_facts, stuck
from worker.render.report.todo import failed
from worker.render.text.history import (
    OPEN,
    STYLES,
    UNFINISHED,
    brief,
    counts_text,
    flat,
    kind_word,
    provenance,
    reached,
    seconds,
    who,
)
from worker.render.text.layout import Mark
from worker.render.text.result import MARKS, error_text

__all__ = ["number", "run", "runs"]

_CHARTS: Final = 5
"""API keys whose requests are drawn: those with the most."""

_WINDOW: Final = 5.0
"""Seconds in which requests are counted where the run does not say by which quota it went."""

_TOO_MANY: Final = 429


def run(told: RunRecord) -> str:
    """One run as an HTML document."""
    rate = _rate(told)
    charts, others = _charts(told, rate)
    return page(
        Report(
            title=_("Run {run}").format(run=told.run_id),
            facts=tuple(_facts(told)),
            tone=TONES[STYLES[told.outcome]],
            verdict=f"{translated(told.outcome).capitalize()}: {counts_text(told.counts)}.",
            remarks=(translated(UNFINISHED),) if told.outcome is Ending.UNFINISHED else (),
            tiles=tuple(_tiles(told)),
            tasks=(
                *failed(((each.account, each.error) for each in told.accounts if each.error), _("Stopped")),
                *stuck([(each.account, each.error, _ended(each)) for each in told.accounts]),
            ),
            charts=charts,
            chart_note=others,
            tables=(_accounts(told.accounts), _numbers(told.accounts)),
            settings=tuple(flat(told.settings or {})),
        )
    )


def runs(document: History) -> str:
    """Runs as an HTML document, newest first."""
    shown = len(document.runs)
    some = _("{shown:,} of {total:,} runs. All of them: --limit 0").format(shown=shown, total=document.total)
    every = ngettext("{number:,} run.", "{number:,} runs.", shown).format(number=shown)
    columns = (
        Column("when", _("When"), "moment"),
        Column("run", _("Run"), "code"),
        Column("what", _("Outcome"), "mark", facet=True),
        Column("command", _("Command"), "lines"),
        Column("who", _("By"), "lines", facet=True),
        Column("accounts", _("Accounts"), "lines"),
        Column("counts", _("Numbers"), "lines"),
        Column("took", _("Took (s)"), "lines"),
    )
    rows = [_run(told) for told in document.runs]
    return page(
        Report(
            title=_("Runs"),
            facts=(),
            tone="info",
            verdict=some if shown < document.total else every,
            tables=(sampled("numbers", _("Runs"), columns, rows),),
        )
    )


def number(phone: str, document: History) -> str:
    """The story of one number, by its digits, over the runs and accounts of a document, newest first."""
    columns = (
        Column("when", _("When"), "moment"),
        Column("run", _("Run"), "code"),
        Column("account", _("Account"), "account", facet=True),
        *_columns(),
        Column("by", _("By"), "lines", facet=True),
    )
    rows = [
        Row(
            (told.started_at, told.run_id, Named(account.account, account.account_id), *_cells(each), who(told)),
            person=each.outcome is not None and each.outcome.stuck,
        )
        for told in document.runs
        for account in told.accounts
        for each in account.numbers or ()
    ]
    found = len(document.runs)
    verdict = ngettext("{number:,} run with this number.", "{number:,} runs with this number.", found)
    return page(
        Report(
            title=hyphenated(phone),
            facts=(),
            tone="info",
            verdict=verdict.format(number=found),
            tables=(sampled("numbers", _("What runs did to it"), columns, rows),),
        )
    )


def _facts(told: RunRecord) -> Iterator[Fact]:
    yield Fact(_("Command"), told.command)
    yield Fact(_("By"), _("{who} (process {pid})").format(who=who(told), pid=told.pid))
    if told.plan is not None:
        yield Fact(_("Plan file"), told.plan, "code")
    yield Fact(_("Version"), told.version)
    yield Fact(_("Began"), told.started_at, "moment")
    if told.finished_at is not None:
        yield Fact(_("Ended"), told.finished_at, "moment")
        yield Fact(_("Took"), _("{seconds:,.1f} s").format(seconds=seconds(told.started_at, told.finished_at)))
    yield from requests_facts(told.accounts)


def _tiles(told: RunRecord) -> Iterator[Tile]:
    """What became of numbers; of accounts that are unfinished, what was to."""
    for kind, found in told.counts.items():
        ended = kind in set(Outcome)
        mark = MARKS[Outcome(kind)] if ended else Mark("", kind_word(kind), OPEN.style)
        yield Tile(found, mark.word, TONES[mark.style])


def _rate(told: RunRecord) -> Rate | None:
    """The quota by which a run went, where it says so."""
    try:
        return msgspec.convert((told.settings or {}).get("rate_limit"), Rate)
    except msgspec.ValidationError:
        return None


def _charts(told: RunRecord, rate: Rate | None) -> tuple[tuple[Chart, ...], str]:
    """The API keys that wrote most, each with its own quota, and what is said of the others."""
    keys: dict[str, list[Write]] = {}
    for account in told.accounts:
        writes = [_write(each) for story in account.numbers or () for each in story.attempts]
        if writes:
            keys.setdefault(reached(account), []).extend(writes)
    window = _WINDOW if rate is None else rate.per_seconds
    ordered = sorted(keys.items(), key=lambda item: -len(item[1]))
    charts = tuple(drawn(title, sorted(writes), window, rate) for title, writes in ordered[:_CHARTS])
    rest = [len(writes) for _title, writes in ordered[_CHARTS:]]
    if not rest:
        return charts, ""
    others = ngettext(
        "{number:,} more API key, of which no drawing is made, had {writes:,} writes.",
        "{number:,} more API keys, of which no drawing is made, had {writes:,} writes.",
        len(rest),
    )
    return charts, others.format(number=len(rest), writes=sum(rest))


def _write(attempt: Attempt) -> Write:
    """When it was answered; of one without an answer only when it was noted is known."""
    at = datetime.fromisoformat(attempt.answered_at or attempt.intended_at).timestamp()
    refused = attempt.error is not None and attempt.error.http_status == _TOO_MANY
    return Write(at, again=attempt.number > 1, refused=refused)


def _ended(account: AccountRecord) -> list[NumberResult]:
    """Its numbers whose outcome is known, as a result tells of them."""
    return [
        NumberResult(
            each.phone, each.action, each.desired, each.before, each.after, each.outcome, len(each.attempts), each.error
        )
        for each in account.numbers or ()
        if each.outcome is not None
    ]


def _accounts(accounts: Sequence[AccountRecord]) -> Table:
    columns = (*account_columns(), Column("how", _("By what"), "lines"))
    rows = [
        Row(
            (*account_cells(each, _ending(each.outcome), counts_text(each.counts)), tuple(provenance(each))),
            person=each.outcome is not Ending.CONVERGED,
        )
        for each in accounts
    ]
    return sampled("accounts", _("Accounts"), columns, rows)


def _numbers(accounts: Sequence[AccountRecord]) -> Table:
    columns = (
        Column("account", _("Account"), "account", facet=True),
        Column("phone", _("Number"), "phone"),
        *_columns(),
    )
    rows = [
        Row((Named(account.account), each.phone, *_cells(each)), person=each.outcome is not None and each.outcome.stuck)
        for account in accounts
        for each in account.numbers or ()
    ]
    return sampled("numbers", _("Numbers"), columns, rows)


def _columns() -> tuple[Column, ...]:
    """What `_cells` hold."""
    return (
        Column("what", _("Outcome"), "mark", facet=True),
        Column("status", _("Status"), "lines"),
        Column("why", _("Why"), "lines"),
        Column("attempts", _("Attempts"), "lines"),
        Column("took", _("Took (ms)"), "number"),
    )


def _cells(each: NumberRecord) -> tuple[Cell, ...]:
    _phone, *told = about(each)
    return (*told, tuple(map(_attempt, each.attempts)), each.duration_ms or None)


def _attempt(attempt: Attempt) -> str:
    """One request, with when it was noted before it left and when its answer was."""
    told = [
        _("{number}. {asked}: {state}").format(
            number=attempt.number, asked=attempt.asked, state=translated(attempt.state)
        ),
        _("noted {time}").format(time=_clock(attempt.intended_at)),
    ]
    if attempt.answered_at is not None:
        told.append(_("answered {time}").format(time=_clock(attempt.answered_at)))
    if attempt.error is not None:
        told.append(error_text(attempt.error))
    return ", ".join(told)


def _run(told: RunRecord) -> Row:
    took = None if told.finished_at is None else f"{seconds(told.started_at, told.finished_at):,.1f}"
    names = tuple(account.account for account in told.accounts)
    return Row(
        (
            told.started_at,
            told.run_id,
            _ending(told.outcome),
            told.command,
            who(told),
            names[:_CHARTS] + ((f"+{len(names) - _CHARTS:,}",) if len(names) > _CHARTS else ()),
            brief(told.counts),
            took,
        ),
        person=told.outcome is not Ending.CONVERGED,
    )


def _ending(outcome: Ending) -> Mark:
    return Mark("", outcome, STYLES[outcome])


def _clock(stamp: str) -> str:
    return stamp[11:].removesuffix("Z")
