"""What the ledger tells, as a person reads it: runs as a table, one run in full, one number over all runs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from worker.model.credentials import CredentialsRef, SecretRef
from worker.model.history import AccountRecord, Ending, History, NumberRecord, RunRecord
from worker.model.phones import hyphenated
from worker.model.plans import Action
from worker.model.results import Outcome
from worker.render.i18n import gettext as _
from worker.render.i18n import translated
from worker.render.terminal import Paint, fit, safe
from worker.render.terminal import width as cells
from worker.render.text.layout import (
    MANY,
    Group,
    Mark,
    count,
    counts,
    header,
    in_full_or_brief,
    indented,
    names,
    render_groups,
)
from worker.render.text.result import MARKS, error_text, number_row, requests_text

__all__ = [
    "OPEN",
    "STYLES",
    "UNFINISHED",
    "brief",
    "counts_text",
    "flat",
    "kind_word",
    "number",
    "provenance",
    "reached",
    "run",
    "runs",
    "seconds",
    "who",
]

STYLES: Final = {
    Ending.CONVERGED: "green",
    Ending.PARTIAL: "yellow",
    Ending.REFUSED: "red",
    Ending.FAILED: "red",
    Ending.LOCKED: "red",
    Ending.INTERRUPTED: "yellow",
    Ending.CRASHED: "red",
    Ending.UNFINISHED: "yellow",
}
OPEN: Final = Mark("…", "unfinished", "yellow")
_ORDER: Final = (None, *MARKS)
_SAMPLE: Final = 10
"""Numbers of one outcome that are shown with their attempts where there are many."""

_WHEN_COLUMNS: Final = 19
_OUTCOME_COLUMNS: Final = max(map(len, Ending))
_ACCOUNT_COLUMNS: Final = 20
_HASH_COLUMNS: Final = 12
UNFINISHED: Final = "It still runs, or it died: the next apply on its account settles the rest."


def runs(document: History, *, color: bool, width: int = 80) -> str:
    """Runs as a table, newest first, in `width` columns; ended by a newline. Without `color` it has no escape code."""
    paint = Paint(color=color)
    lines = []
    if document.runs:
        titles = (
            (_("WHEN (UTC)"), _WHEN_COLUMNS),
            (_("OUTCOME"), _OUTCOME_COLUMNS),
            (_("ACCOUNT"), _ACCOUNT_COLUMNS),
        )
        lines = [paint("dim", "  ".join([*(fit(*title) for title in titles), _("NUMBERS")]))]
    for told in document.runs:
        lines += _row(told, paint, width)
    return "\n".join([*lines, *_closing(document, paint)]) + "\n"


def run(told: RunRecord, *, color: bool, width: int = 80) -> str:
    """One run in full: who, where, by which files and settings, and every number with its attempts."""
    paint = Paint(color=color)
    lines = [
        paint("bold", _("Run {run}: ").format(run=safe(told.run_id)))
        + paint(STYLES[told.outcome], translated(told.outcome)),
        *indented(
            _("{command} by {who} (process {pid}), senderid {version}").format(
                command=told.command, who=who(told), pid=told.pid, version=told.version
            ),
            width,
            "  ",
            "    ",
        ),
        *indented(_span(told), width, "  ", "    "),
    ]
    if told.plan is not None:
        lines += indented(_("plan file {plan}").format(plan=told.plan), width, "  ", "    ")
    if told.settings:
        settings = _("settings: {settings}").format(settings=", ".join(flat(told.settings)))
        lines += indented(settings, width, "  ", "    ", _dim(paint))
    if told.outcome is Ending.UNFINISHED:
        lines += indented(translated(UNFINISHED), width, "  ", "    ")
    lines.append("")
    lines += in_full_or_brief(
        told.accounts,
        lambda account: _account(account, paint, width),
        lambda account: f"{translated(account.outcome)}, {brief(account.counts)}",
        lambda account: account.account,
        width,
    )
    if not told.accounts:
        lines += [_("Nothing is told of any account."), ""]
    return "\n".join(lines[:-1]) + "\n"


def number(phone: str, document: History, *, color: bool, width: int = 80) -> str:
    """The story of one number over the runs and accounts of a document, newest first."""
    paint = Paint(color=color)
    lines = []
    for told in document.runs:
        for account in told.accounts:
            known = f"{_when(told.started_at)}  {header(account.account, account.account_id, paint, width // 2)}"
            lines.append(known)
            lines += indented(
                _("{command} by {who}, run {run}: {outcome}").format(
                    command=told.command, who=who(told), run=told.run_id, outcome=translated(account.outcome)
                ),
                width,
                "  ",
                "    ",
                _dim(paint),
            )
            lines += [*render_groups(list(_groups(account.numbers or ())), paint, width), ""]
    which = _(" with {phone}").format(phone=safe(hyphenated(phone)))
    return "\n".join([*lines, *_closing(document, paint, which)]) + "\n"


def _row(told: RunRecord, paint: Paint, columns: int) -> Iterator[str]:
    accounts = names([account.account for account in told.accounts])
    left = f"{_when(told.started_at)}  {paint(STYLES[told.outcome], fit(translated(told.outcome), _OUTCOME_COLUMNS))}"
    room = columns - _WHEN_COLUMNS - _OUTCOME_COLUMNS - _ACCOUNT_COLUMNS - 6
    counted = safe(brief(told.counts), room)
    yield f"{left}  {fit(safe(accounts, _ACCOUNT_COLUMNS), _ACCOUNT_COLUMNS)}  {counted}".rstrip()
    line = _("{run}, {command} by {who}").format(run=told.run_id, command=told.command, who=who(told))
    yield from indented(line, columns, "  ", "    ", _dim(paint))


def _closing(document: History, paint: Paint, which: str = "") -> Iterator[str]:
    shown = len(document.runs)
    if not shown:
        yield _("No runs{which}.").format(which=which)
    elif shown < document.total:
        some = _("{count} of {runs}{which}. All of them: --limit 0")
        yield paint("dim", some.format(count=f"{shown:,}", runs=count(document.total, "run"), which=which))
    else:
        yield paint("dim", _("{runs}{which}.").format(runs=count(shown, "run"), which=which))


def _account(account: AccountRecord, paint: Paint, columns: int) -> Iterator[str]:
    ended = translated(account.outcome)
    known = header(account.account, account.account_id, paint, columns - cells(f": {ended}"))
    yield f"{known}: {paint(STYLES[account.outcome], ended)}"
    yield from indented(counts_text(account.counts) + requests_text(account.requests), columns, "  ", "  ")
    if account.error is not None:
        yield from indented(error_text(account.error), columns, "  ", "    ", lambda line: paint("red", line))
    for line in provenance(account):
        yield from indented(line, columns, "  ", "    ", _dim(paint))
    groups = list(_groups(account.numbers or ()))
    if groups:
        yield ""
    yield from render_groups(groups, paint, columns)


def provenance(account: AccountRecord) -> Iterator[str]:
    """By which file, revision, endpoint, credentials and rules an account was carried out."""
    revision = [f"sha256 {account.sha256[:_HASH_COLUMNS]}"] if account.sha256 else []
    revision += [f"commit {account.commit}"] if account.commit else []
    yield _("from {source}").format(source=account.source) + (f" ({', '.join(revision)})" if revision else "")
    yield reached(account)
    safety = account.safety
    limits = _("safety: max_deactivations {max_deactivations}, min_active {min_active}, pair_swaps {pair_swaps}")
    yield limits.format(
        max_deactivations=safety.max_deactivations, min_active=safety.min_active, pair_swaps=safety.pair_swaps
    )
    if account.fingerprint:
        yield _("plan {fingerprint}").format(fingerprint=account.fingerprint[:_HASH_COLUMNS])


def reached(account: AccountRecord) -> str:
    """Where an account was reached, and with which credentials."""
    told = _("at {endpoint}, with {credentials}")
    return told.format(endpoint=account.endpoint, credentials=_credentials(account.credentials))


def _credentials(where: CredentialsRef | None) -> str:
    if where is None:
        return _("the default credentials")
    told = _("credentials from {key} and {secret}")
    return told.format(key=_secret(where.api_key), secret=_secret(where.api_secret))


def _secret(where: SecretRef) -> str:
    return f"${where.env}" if where.env is not None else _("the file {path}").format(path=where.file)


def _groups(numbers: Sequence[NumberRecord]) -> Iterator[Group]:
    """Each number with its attempts below it; where one outcome has many, a sample of it."""
    for outcome in _ORDER:
        alike = [number for number in numbers if number.outcome is outcome]
        mark = OPEN if outcome is None else MARKS[outcome]
        shown = alike if len(alike) <= MANY else alike[:_SAMPLE]
        for each in shown:
            row = number_row(each)
            advice = "; ".join([*([] if each.error is None else [error_text(each.error)]), *_attempts(each)])
            yield Group(mark, (row,), advice)
        rest = alike[len(shown) :]
        if rest:
            yield Group(mark, (), more=(rest[0].phone, rest[-1].phone, len(rest)))


def _attempts(number: NumberRecord) -> Iterator[str]:
    """Each attempt, its error only where it is not what is said of the number anyway, and how long all of them took."""
    for attempt in number.attempts:
        error = "" if attempt.error in {None, number.error} else f" ({error_text(attempt.error)})"
        told = _("attempt {number} at {time}: {state}{error}")
        yield told.format(
            number=attempt.number, time=_clock(attempt.intended_at), state=translated(attempt.state), error=error
        )
    if number.duration_ms:
        yield _("{milliseconds} ms in all").format(milliseconds=f"{number.duration_ms:,}")


def brief(found: Mapping[str, int]) -> str:
    """Counts by outcome; those of what needed nothing only where there is nothing else."""
    quiet = {Outcome.UNCHANGED, Outcome.UNMANAGED}
    return counts_text({kind: number for kind, number in found.items() if kind not in quiet} or found)


def counts_text(found: Mapping[str, int]) -> str:
    """Counts by outcome, of what is unfinished by action."""
    return counts((number, kind_word(kind)) for kind, number in found.items()) or _("no numbers")


def kind_word(kind: str) -> str:
    """The word, in English, for numbers of an outcome or, where they are unfinished, of an action."""
    return f"to {kind}" if kind in {Action.ACTIVATE, Action.DEACTIVATE} else kind.replace("_", " ")


def flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Settings that are set, each by its dotted name."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        elif value is not None:
            yield f"{prefix}{name} {value}"


def who(told: RunRecord) -> str:
    """Who started a run, and on which host."""
    return f"{told.started_by}@{told.host}"


def _span(told: RunRecord) -> str:
    began = f"{_when(told.started_at)} UTC"
    if told.finished_at is None:
        return _("since {began}").format(began=began)
    return _("from {began} to {ended}, {seconds} s").format(
        began=began, ended=_when(told.finished_at), seconds=f"{seconds(told.started_at, told.finished_at):,.1f}"
    )


def seconds(began: str, ended: str) -> float:
    """The time between two stamps."""
    return (datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds()


def _when(time: str) -> str:
    return safe(f"{time[:10]} {time[11:19]}")


def _clock(time: str) -> str:
    return time[11:].removesuffix("Z")


def _dim(paint: Paint) -> Callable[[str], str]:
    return lambda line: paint("dim", line)
