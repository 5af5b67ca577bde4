"""Log lines: the fields of their JSON form, and their text for a terminal."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from worker.model.phones import hyphenated
from worker.model.plans import Action, Count, NoticeKind, Phone, Timestamp
from worker.model.results import Outcome, RunOutcome
from worker.render.i18n import translate
from worker.render.terminal import Paint, fit, safe

__all__ = ["LogEvent", "LogLine", "console_line"]

_OUTCOMES: Final = sorted({*Outcome, *RunOutcome})
_STYLES: Final = {"debug": "quiet", "info": "info", "warning": "warn", "error": "bad"}
_VALUE_COLUMNS: Final = 200
_ACCOUNT_COLUMNS: Final = 12


class LogEvent(StrEnum):
    """The events of the log. Later versions may add events."""

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
    LIBRARY = "library"
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
    WATCH_UNRECORDED = "watch.unrecorded"
    FLEET_STARTED = "fleet.started"
    FLEET_LANES = "fleet.lanes"
    FLEET_TAKEN_OVER = "fleet.taken_over"
    FLEET_SLICE = "fleet.slice"
    FLEET_BACKOFF = "fleet.backoff"
    FLEET_ROLLING = "fleet.rolling"
    FLEET_PAUSED = "fleet.paused"
    FLEET_DRAINING = "fleet.draining"
    FLEET_WAITING = "fleet.waiting"
    FLEET_STOPPED = "fleet.stopped"


class LogLine(Struct, frozen=True, kw_only=True):
    """One line of the log. Only the first four fields are on every line; no field is null."""

    timestamp: Timestamp
    level: Literal["debug", "info", "warning", "error"]
    event: Annotated[
        str,
        Meta(
            description="What the line is about. `number` is the result of one number in an apply, `number.planned` "
            "its plan; there is one such line for each number.",
            examples=[event.value for event in LogEvent],
        ),
    ]
    run_id: Annotated[str, Meta(description="The same on all lines of a run, and in its result.")]
    account: Annotated[str, Meta(description="The account's name in the desired state.")] | UnsetType = UNSET
    phone: Phone | UnsetType = UNSET
    kind: Annotated[NoticeKind, Meta(description="What a notice is about.")] | UnsetType = UNSET
    message: Annotated[str, Meta(description="The text of a notice, or of a library.")] | UnsetType = UNSET
    library: Annotated[str, Meta(description="The library that logged the message.")] | UnsetType = UNSET
    action: Action | UnsetType = UNSET
    desired: Annotated[str, Meta(description="The desired status.")] | UnsetType = UNSET
    before: Annotated[str, Meta(description="The status in the first read.")] | UnsetType = UNSET
    after: Annotated[str, Meta(description="The status in the verification read.")] | UnsetType = UNSET
    outcome: (
        Annotated[
            str,
            Meta(description="The outcome of a number, or of the run.", extra_json_schema={"enum": _OUTCOMES}),
        ]
        | UnsetType
    ) = UNSET
    attempts: Annotated[int, Meta(ge=0, description="How often the request was sent.")] | UnsetType = UNSET
    duration_ms: (
        Annotated[float, Meta(ge=0, description="Milliseconds that it took, or that the worker will wait.")] | UnsetType
    ) = UNSET
    http_status: Annotated[int, Meta(ge=100, le=599)] | UnsetType = UNSET
    error_code: Annotated[str, Meta(description="The API's code, or the worker's own.")] | UnsetType = UNSET
    error_message: Annotated[str, Meta(description="The error as a sentence.")] | UnsetType = UNSET
    raised_at: Annotated[list[str], Meta(description="Stack of an unexpected error, outermost first.")] | UnsetType = (
        UNSET
    )
    accounts: Annotated[int, Meta(ge=0, description="Accounts of the run, or of its canary.")] | UnsetType = UNSET
    numbers: (
        Annotated[int, Meta(ge=0, description="Numbers of the run, of an account, or of its canary.")] | UnsetType
    ) = UNSET
    active: Annotated[int, Meta(ge=0, description="ACTIVE numbers of an account.")] | UnsetType = UNSET
    counts: Annotated[dict[str, Count], Meta(description="Numbers by action or outcome.")] | UnsetType = UNSET
    writes: (
        Annotated[int, Meta(ge=0, description="Write requests that an apply or a rollback sent, retries included.")]
        | UnsetType
    ) = UNSET
    fingerprint: Annotated[str, Meta(description="The saved plan's.")] | UnsetType = UNSET
    channel: Annotated[str, Meta(description="The notification channel's name.")] | UnsetType = UNSET
    news: Annotated[int, Meta(ge=0, description="Notifications for a channel.")] | UnsetType = UNSET
    rhythm: Annotated[str, Meta(description="When a daemon's passes start.")] | UnsetType = UNSET
    mode: Annotated[Literal["apply", "dry-run"], Meta(description="Whether a daemon writes.")] | UnsetType = UNSET
    trigger: Annotated[Literal["rhythm", "transition"], Meta(description="What started a pass.")] | UnsetType = UNSET
    next: Annotated[Timestamp, Meta(description="When the next pass starts.")] | UnsetType = UNSET
    overran: (
        Annotated[bool, Meta(description="True if the next pass was due during this one and was postponed.")]
        | UnsetType
    ) = UNSET
    worker: Annotated[int, Meta(ge=1, description="The worker of a fleet, as `fleet status` names it.")] | UnsetType = (
        UNSET
    )
    revision: Annotated[int, Meta(ge=1, description="The revision of a fleet.")] | UnsetType = UNSET
    lanes: Annotated[int, Meta(ge=0, description="Lanes leased by a worker, or that it took over.")] | UnsetType = UNSET
    workers: Annotated[int, Meta(ge=0, description="Live workers of a fleet.")] | UnsetType = UNSET
    url: Annotated[str, Meta(description="Address of a daemon.")] | UnsetType = UNSET
    file: Annotated[str, Meta(description="A desired-state file.")] | UnsetType = UNSET
    reason: (
        Annotated[str, Meta(description="Why nothing is written, or why an account was read again.")] | UnsetType
    ) = UNSET
    by: Annotated[str, Meta(description="Who asked for it.")] | UnsetType = UNSET
    until: Annotated[Timestamp, Meta(description="When it ends.")] | UnsetType = UNSET


_SHOWN: Final = frozenset({Outcome.CHANGED, Outcome.FAILED, Outcome.CONFLICT, Outcome.UNVERIFIED})
"""Outcomes of numbers that a terminal shows during a run. The result at the end lists the others."""

_SILENT: Final = frozenset(
    {LogEvent.RUN_STARTED, LogEvent.RUN_FINISHED, LogEvent.ACCOUNT_OBSERVED, LogEvent.NUMBER_PLANNED, LogEvent.NOTICE}
)

_PLACED: Final = frozenset(
    {"timestamp", "level", "event", "run_id", "account", "phone", "action", "desired", "before", "after", "outcome"}
    | {"counts", "http_status", "error_code", "error_message"}
)


_SENTENCES: Final = frozenset({"message", "reason", "error_message"})
"""Fields that hold a sentence. Their values are translated on a terminal."""


def console_line(line: Mapping[str, Any], paint: Paint, *, show_all: bool) -> str | None:
    """Return the text of a log line for a terminal, ended by a newline.

    Return None if the line is a detail that a terminal does not show; with `show_all`, details are shown too.
    """
    event = line["event"]
    if not show_all and (event in _SILENT or (event == LogEvent.NUMBER and line.get("outcome") not in _SHOWN)):
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
    parts = []
    if "phone" in line:
        parts.append(safe(hyphenated(str(line["phone"])), _VALUE_COLUMNS))
    parts += [_shown(line[name]) for name in ("action", "outcome") if name in line]
    if "before" in line:
        # a result without `after` is of a number that was not read after the write
        then = line.get("after", "?" if line["event"] == LogEvent.NUMBER else line.get("desired", "?"))
        parts.append(f"{_shown(line['before'])} → {_shown(then)}")
    if "counts" in line:
        parts.append(", ".join(f"{number:,} {safe(kind)}" for kind, number in line["counts"].items() if number))
    parts += [f"{safe(name)}={_shown(_localized(name, value))}" for name, value in line.items() if name not in _PLACED]
    message = _shown(_localized("error_message", line.get("error_message", "")))
    if "error_code" in line:
        status = f" ({_shown(line['http_status'])})" if "http_status" in line else ""
        parts.append(f"{_shown(line['error_code'])}{status}: {message}")
    elif message:
        parts.append(message)
    return parts


def _localized(name: str, value: Any) -> Any:
    return translate(value) if name in _SENTENCES and isinstance(value, str) else value


def _shown(value: Any) -> str:
    return safe(str(value), _VALUE_COLUMNS)
