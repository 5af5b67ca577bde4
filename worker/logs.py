"""Log lines: one JSON object a line, or a short line for people; on stderr, and never a secret.

structlog does the work, without its way through stdlib logging and without flushing every line. A log that can no
longer be written is dropped: a full disk or a closed pipe under stderr stops no run.
"""

from collections.abc import Callable, Iterable, MutableMapping
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Final, Literal, Protocol, Self, cast

import orjson
import structlog

from worker.render.terminal import safe

__all__ = ["Log", "Sink", "Stream", "configure"]

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_FORBIDDEN: Final = frozenset({"authorization", "authentication", "signature", "salt", "secret", "api_secret"})
_BUFFERED: Final = 64 << 10
"""Bytes of lines that wait for the next write, at most."""
_PATIENCE: Final = 0.5
"""Seconds after which the next line takes the waiting ones along."""

_QUIET: Final = frozenset({"unchanged", "protected", "unmanaged", "not_attempted"})
"""Outcomes whose lines people do not read one by one; the result says how many they are."""

_COLORS: Final = {"debug": "2", "info": "36", "warning": "33", "error": "31"}

Event = MutableMapping[str, Any]


class Stream(Protocol):
    """Where lines end up."""

    def write(self, data: bytes, /) -> object:
        """Take bytes."""
        ...

    def flush(self) -> None:
        """Let go of them."""
        ...


class Log(Protocol):
    """Where a run tells what happens."""

    def bind(self, **fields: Any) -> Self:
        """The same log with `fields` on every line."""
        ...

    def debug(self, event: str, **fields: Any) -> None:
        """Write a line for whoever looks into the worker itself."""
        ...

    def info(self, event: str, **fields: Any) -> None:
        """Write a line."""
        ...

    def warning(self, event: str, **fields: Any) -> None:
        """Write a line that a person should see."""
        ...


class Sink:
    """Takes lines on their way to a stream, and gives up silently when the stream does.

    `patient` keeps lines for a moment, as flushing each costs more than making it.
    """

    def __init__(self, stream: Stream, *, patient: bool) -> None:
        self._stream = stream
        self._lines: list[bytes] = []
        self._room = _BUFFERED if patient else 0
        self._size = 0
        self._flushed = monotonic()
        self._broken = False

    def msg(self, line: bytes) -> None:
        """Take one line."""
        self._lines.append(line)
        self._size += len(line)
        if self._size > self._room or monotonic() - self._flushed > _PATIENCE:
            self.flush()

    debug = info = warning = error = critical = msg

    def flush(self) -> None:
        """Hand on what was taken."""
        self._flushed = monotonic()
        if self._lines and not self._broken:
            try:
                self._stream.write(b"".join(self._lines))
                self._stream.flush()
            except (OSError, ValueError):
                self._broken = True
        self._lines.clear()
        self._size = 0


def configure(
    *,
    format: Literal["json", "console"],  # noqa: A002 - the setting's name
    level: str,
    sink: Sink,
    color: bool,
    secrets: Callable[[], Iterable[str]],
) -> Log:
    """A log that writes lines of `level` and above to `sink`.

    `secrets` gives the texts that must not appear; it is asked at every line, as credentials are found late.
    """
    redact = _Redaction(secrets)
    render = _console(color=color) if format == "console" else _json
    return cast(
        "Log",
        structlog.wrap_logger(
            sink,
            processors=[structlog.processors.add_log_level, _timestamp, redact, render],
            wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
            context_class=dict,
            cache_logger_on_first_use=False,
        ),
    )


def _timestamp(_logger: object, _method: str, event: Event) -> Event:
    return {
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": event.pop("level"),
        "event": event.pop("event"),
        **{name: value for name, value in event.items() if value is not None},
    }


class _Redaction:
    def __init__(self, secrets: Callable[[], Iterable[str]]) -> None:
        self._secrets = secrets

    def __call__(self, _logger: object, _method: str, event: Event) -> Event:
        for name in _FORBIDDEN & event.keys():
            event[name] = "[removed]"
        for secret in self._secrets():
            for name, value in event.items():
                event[name] = _without(secret, value)
        return event


def _without(secret: str, value: object) -> object:
    if type(value) is str:
        return value.replace(secret, "[removed]") if secret in value else value
    if isinstance(value, dict):
        return {_without(secret, name): _without(secret, each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without(secret, each) for each in value]
    return value


def _json(_logger: object, _method: str, event: Event) -> bytes:
    return orjson.dumps(event, default=str, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS)


def _console(*, color: bool) -> Callable[[object, str, Event], bytes]:
    def render(_logger: object, _method: str, event: Event) -> bytes:
        level, name = event.pop("level"), event.pop("event")
        if name == "number.planned" or (name == "number" and event.get("outcome") in _QUIET):
            raise structlog.DropEvent
        time = event.pop("timestamp")[11:19]
        event.pop("run_id", None)
        word = f"\x1b[{_COLORS[level]}m{level:<7}\x1b[0m" if color else f"{level:<7}"
        fields = " ".join(f"{key}={_shown(value)}" for key, value in event.items())
        return f"{time} {word} {safe(str(name)):<18} {fields}\n".encode()

    return render


def _shown(value: object) -> str:
    text = safe(str(value))
    return f'"{text}"' if " " in text or not text else text
