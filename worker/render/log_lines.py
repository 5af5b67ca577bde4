"""Log lines: the fields of one as a machine reads it, and the line that a person gets of it."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from worker.model.phones import hyphenated
from worker.model.plans import Action, Count, NoticeKind, Phone, Timestamp
from worker.model.results import Outcome, RunOutcome
from worker.render.i18n import translated
from worker.render.terminal import Paint, fit, safe

__all__ = ["Event", "LogLine", "console_line"]

_OUTCOMES: Final = sorted({*Outcome, *RunOutcome})
_STYLES: Final = {"debug": "quiet", "info": "info", "warning": "warn", "error": "bad"}
_VALUE_COLUMNS: Final = 200
_ACCOUNT_COLUMNS: Final = 12


class Event(StrEnum):
    """What a line is about. There may be more events later."""

    RUN_STARTED = "run.started"
    RUN_FINISHED = "run.finished"
    RUN_STOPPING = "run.stopping"
    ACCOUNT_OBSERVED = "account.observed"
    ACCOUNT_REREAD = "account.reread"
    ACCOUNT_FAILED = "account.failed"
    ACCOUNT_REFUSED = "account.refused"
    NOTICE = "notice"
    NUMBER_PLANNED = "number.planned"
    NUMBER = "number"
    REQUEST_RETRIED = "request.retried"
    RATE_LIMIT_HELD = "rate_limit.held"
    CANARY_PASSED = "canary.passed"
    CANARY_FAILED = "canary.failed"
    CIRCUIT_OPENED = "circuit.opened"
    CIRCUIT_CLOSED = "circuit.closed"
    NOTIFY_FAILED = "notify.failed"
    NOTIFY_RECOVERED = "notify.recovered"
    NOTIFY_UNDELIVERED = "notify.undelivered"
    METRICS_FAILED = "metrics.failed"
    TRACES_FAILED = "traces.failed"
    WATCH_STARTED = "watch.started"
    WATCH_PASS = "watch.pass"  # noqa: S105 - an event
    WATCH_BACKOFF = "watch.backoff"
    WATCH_FILE_BROKEN = "watch.file_broken"
    WATCH_FILE_MENDED = "watch.file_mended"
    WATCH_FILE_REMOVED = "watch.file_removed"
    WATCH_SUSPENDED = "watch.suspended"
    WATCH_RESUMED = "watch.resumed"
    WATCH_RELOADED = "watch.reloaded"
    WATCH_STOPPING = "watch.stopping"
    WATCH_LISTENING = "watch.listening"


class LogLine(Struct, frozen=True, kw_only=True):
    """One line of the log. Beyond the first four, a field is there where it applies, and never null."""

    timestamp: Timestamp
    level: Literal["debug", "info", "warning", "error"]
    event: Annotated[
        str,
        Meta(
            description="What the line is about. `number` closes the story of one number in an apply, `number.planned` "
            "in a plan; there is one such line for each number.",
            examples=[event.value for event in Event],
        ),
    ]
    run_id: Annotated[str, Meta(description="The same on all lines of a run, and in its result.")]
    account: Annotated[str, Meta(description="The account's name in the desired state.")] | UnsetType = UNSET
    phone: Phone | UnsetType = UNSET
    kind: Annotated[NoticeKind, Meta(description="What a notice is about.")] | UnsetType = UNSET
    message: Annotated[str, Meta(description="A notice, for people.")] | UnsetType = UNSET
    action: Action | UnsetType = UNSET
    desired: Annotated[str, Meta(description="The status that is asked for.")] | UnsetType = UNSET
    before: Annotated[str, Meta(description="The status at the first look.")] | UnsetType = UNSET
    after: Annotated[str, Meta(description="The status at the last look.")] | UnsetType = UNSET
    outcome: (
        Annotated[
            str,
            Meta(description="What became of a number, or of the run.", extra_json_schema={"enum": _OUTCOMES}),
        ]
        | UnsetType
    ) = UNSET
    attempts: Annotated[int, Meta(ge=0, description="How often the request was sent.")] | UnsetType = UNSET
    duration_ms: (
        Annotated[float, Meta(ge=0, description="Milliseconds that it took, or will be waited.")] | UnsetType
    ) = UNSET
    http_status: Annotated[int, Meta(ge=100, le=599)] | UnsetType = UNSET
    error_code: Annotated[str, Meta(description="The API's code, or the worker's own.")] | UnsetType = UNSET
    error_message: Annotated[str, Meta(description="For people.")] | UnsetType = UNSET
    raised_at: Annotated[list[str], Meta(description="Where a bug showed, outermost first.")] | UnsetType = UNSET
    accounts: Annotated[int, Meta(ge=0, description="Accounts of the run, or of its canary.")] | UnsetType = UNSET
    numbers: (
        Annotated[
            int, Meta(ge=0, description="Numbers of the run, that an account has, or that its canary was to write.")
        ]
        | UnsetType
    ) = UNSET
    active: Annotated[int, Meta(ge=0, description="ACTIVE numbers that an account has.")] | UnsetType = UNSET
    counts: Annotated[dict[str, Count], Meta(description="Numbers by action or outcome.")] | UnsetType = UNSET
    writes: (
        Annotated[int, Meta(ge=0, description="Write requests that an apply or a rollback sent, retries included.")]
        | UnsetType
    ) = UNSET
    fingerprint: Annotated[str, Meta(description="The saved plan's.")] | UnsetType = UNSET
    channel: Annotated[str, Meta(description="The notification channel's name.")] | UnsetType = UNSET
    news: Annotated[int, Meta(ge=0, description="News that a channel is to be told of.")] | UnsetType = UNSET
    rhythm: Annotated[str, Meta(description="When a daemon's passes begin.")] | UnsetType = UNSET
    mode: Annotated[Literal["apply", "dry-run"], Meta(description="Whether a daemon writes.")] | UnsetType = UNSET
    trigger: Annotated[Literal["rhythm", "transition"], Meta(description="What a pass was due to.")] | UnsetType = UNSET
    next: Annotated[Timestamp, Meta(description="When the next pass begins.")] | UnsetType = UNSET
    overran: (
        Annotated[bool, Meta(description="The time of the next pass fell into this one, so that it is later.")]
        | UnsetType
    ) = UNSET
    url: Annotated[str, Meta(description="Where a daemon answers.")] | UnsetType = UNSET
    file: Annotated[str, Meta(description="A desired-state file.")] | UnsetType = UNSET
    reason: (
        Annotated[str, Meta(description="Why nothing is written, or why an account was read again.")] | UnsetType
    ) = UNSET
    by: Annotated[str, Meta(description="Who wants it so.")] | UnsetType = UNSET
    until: Annotated[Timestamp, Meta(description="When that ends by itself.")] | UnsetType = UNSET


_TOLD: Final = frozenset({Outcome.CHANGED, Outcome.FAILED, Outcome.CONFLICT, Outcome.UNVERIFIED})
"""Outcomes that people want to see while they come about; the result tells of all the others."""

_SILENT: Final = frozenset(
    {Event.RUN_STARTED, Event.RUN_FINISHED, Event.ACCOUNT_OBSERVED, Event.NUMBER_PLANNED, Event.NOTICE}
)

_PLACED: Final = frozenset(
    {"timestamp", "level", "event", "run_id", "account", "phone", "action", "desired", "before", "after", "outcome"}
    | {"counts", "http_status", "error_code", "error_message"}
)


_SENTENCES: Final = frozenset({"message", "reason", "error_message"})
"""Fields that hold a sentence for people."""


def console_line(line: Mapping[str, Any], paint: Paint, *, everything: bool) -> str | None:
    """A log line for a terminal, ended by a newline; None for one that a person would skip, unless `everything`."""
    event = line["event"]
    if not everything and (event in _SILENT or (event == Event.NUMBER and line.get("outcome") not in _TOLD)):
        return None
    level = line["level"]
    parts = [
        f"{line['timestamp'][11:19]}Z",
        paint(_STYLES[level], f"{level:<7}"),
        fit(_shown(line.get("account", "")), _ACCOUNT_COLUMNS),
        paint("bold", safe(event, _VALUE_COLUMNS)),
        *_details(line),
    ]
    return " ".join(part for part in parts if part).rstrip() + "\n"


def _details(line: Mapping[str, Any]) -> list[str]:
    found = []
    if "phone" in line:
        found.append(safe(hyphenated(str(line["phone"])), _VALUE_COLUMNS))
    found += [_shown(line[name]) for name in ("action", "outcome") if name in line]
    if "before" in line:
        # a closing line without an `after` is of a number that nobody has seen since
        then = line.get("after", "?" if line["event"] == Event.NUMBER else line.get("desired", "?"))
        found.append(f"{_shown(line['before'])} → {_shown(then)}")
    if "counts" in line:
        found.append(", ".join(f"{number:,} {safe(kind)}" for kind, number in line["counts"].items() if number))
    found += [f"{safe(name)}={_shown(_said(name, value))}" for name, value in line.items() if name not in _PLACED]
    told = _shown(_said("error_message", line.get("error_message", "")))
    if "error_code" in line:
        status = f" ({_shown(line['http_status'])})" if "http_status" in line else ""
        found.append(f"{_shown(line['error_code'])}{status}: {told}")
    elif told:
        found.append(told)
    return found


def _said(name: str, value: Any) -> Any:
    return translated(value) if name in _SENTENCES and isinstance(value, str) else value


def _shown(value: Any) -> str:
    return safe(str(value), _VALUE_COLUMNS)
