"""Structured logs on stderr, as JSON or as short lines for a terminal, with secrets removed.

structlog is used without stdlib logging, and lines are buffered. Lines that cannot be written are dropped, so that a
full disk or a closed pipe does not stop a run.
"""

import asyncio
import logging
import time
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from datetime import UTC, datetime
from errno import EAGAIN, EDQUOT, ENOSPC
from functools import lru_cache
from traceback import extract_tb
from typing import Any, Final, Literal, Protocol, cast

import msgspec
import structlog

from worker.model.ports import RunLog
from worker.model.redaction import SHORTEST_SECRET, Secrets, without_headers
from worker.render.json_document import encodable, inert
from worker.render.log_lines import console_line
from worker.render.terminal import Paint

__all__ = ["Logger", "Sink", "Stream", "configure", "libraries_log_to"]

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}

_FORBIDDEN: Final = frozenset({"authorization", "authentication", "signature", "salt", "secret", "apisecret"})
"""Names of fields that are never logged, in any letter case, with or without separators."""
_RESERVED: Final = frozenset({"timestamp", "level"})
_JOINTS: Final = str.maketrans("", "", "-_ ")
_BUFFERED: Final = 64 << 10
"""Maximum size of the buffered lines, in bytes."""
_LONGEST_WAIT: Final = 0.2
"""Maximum time for which a line is buffered, in seconds."""

_HARMLESS: Final = 16
"""Maximum length in characters of a text that is not searched for headers: a named salt or signature is longer."""

_LARGEST: Final = 2**63
"""Integers of this absolute value or more are logged as strings: few JSON readers keep them exact."""
_LONGEST_BITS: Final = 4096
"""Integers of this many bits or more are logged by type only: Python limits their conversion to text."""
_DEEPEST: Final = 8
"""Maximum depth of nested values that are logged: a value may contain itself."""
_NAMES: Final = 1000
"""Maximum count of field names that are cached as free of secrets."""

_TEXTS: Final = 64
"""Maximum count of cleaned texts in the cache: most lines repeat the texts of the run and the account."""

Line = MutableMapping[str, Any]


class Stream(Protocol):
    """The destination of log lines, such as `sys.stderr.buffer`."""

    def write(self, data: bytes, /) -> object:
        """Write the bytes of one or more lines."""
        ...

    def flush(self) -> None:
        """Flush the buffer."""
        ...


class Logger(RunLog, Protocol):
    """The log of a run. Fields that are None are omitted. Warnings and errors are not buffered."""

    def debug(self, event: str, **fields: Any) -> None:
        """Log an event at level DEBUG."""
        ...

    def error(self, event: str, **fields: Any) -> None:
        """Log an event at level ERROR.

        An exception in `exc_info` adds its type and the locations of its traceback. Its text and local variables are
        omitted, because they may contain secrets.
        """
        ...


_TEMPORARY: Final = frozenset({ENOSPC, EDQUOT, EAGAIN})
"""Errors of a write that may be temporary."""


class Sink:
    """A buffer in front of a stream. If a write fails, its lines are dropped silently.

    With `is_buffered`, lines are buffered for up to 0.2 seconds while an event loop runs, because flushing a line costs
    more than rendering it. Warnings and errors are never buffered.
    """

    def __init__(self, stream: Stream, *, is_buffered: bool) -> None:
        self._stream = stream
        self._lines: list[bytes] = []
        self._room = _BUFFERED if is_buffered else 0
        self._size = 0
        self._flush_timer: asyncio.TimerHandle | None = None
        self._broken = False

    def info(self, line: bytes) -> None:
        """Write a line that may be buffered."""
        self._lines.append(line)
        self._size += len(line)
        if self._size > self._room:
            self.flush()
        elif self._flush_timer is None:
            self._wait()

    def warning(self, line: bytes) -> None:
        """Write a line and flush the buffer."""
        self._lines.append(line)
        self.flush()

    debug = info
    error = critical = warning

    def flush(self) -> None:
        """Write the buffered lines to the stream."""
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        if self._lines and not self._broken:
            try:
                self._stream.write(b"".join(self._lines))
                self._stream.flush()
            except (OSError, ValueError) as error:
                # a full disk may have room again; a closed pipe stays closed
                self._broken = not isinstance(error, OSError) or error.errno not in _TEMPORARY
        self._lines.clear()
        self._size = 0

    def _wait(self) -> None:
        try:
            self._flush_timer = asyncio.get_running_loop().call_later(_LONGEST_WAIT, self.flush)
        except RuntimeError:  # no event loop that could flush the line later
            self.flush()


def configure(
    *,
    format: Literal["json", "console"],  # noqa: A002 - the setting's name
    level: str,
    sink: Sink,
    color: bool,
    secrets: Secrets,
) -> Logger:
    """Return a log that writes events of `level` and above to `sink`.

    It removes the texts in `secrets` from every line, including secrets that are added later.
    """
    render = _Console(color=color, show_all=level == "debug") if format == "console" else _json
    return cast(
        "Logger",
        structlog.wrap_logger(
            sink,
            processors=[_Clean(secrets), render],
            wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
            context_class=dict,
            cache_logger_on_first_use=False,
        ),
    )


@contextmanager
def libraries_log_to(log: Logger) -> Iterator[None]:
    """Log warnings and errors of libraries, such as asyncio, as events `library` of `log` inside the `with` block.

    Without this, the standard library would write them to stderr as plain text, with tracebacks.
    """
    handler = _LibraryHandler(log)
    logging.root.addHandler(handler)
    try:
        yield
    finally:
        logging.root.removeHandler(handler)


class _LibraryHandler(logging.Handler):
    def __init__(self, log: Logger) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        write = self._log.error if record.levelno >= logging.ERROR else self._log.warning
        error = record.exc_info[1] if record.exc_info else None
        write("library", library=record.name, message=record.getMessage(), exc_info=error)


class _Clean:
    """A structlog processor that orders the fields of a line and removes secrets from them."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        self._count = 0
        self._harmless = _HARMLESS
        self._names: set[str] = set()
        self._clean_text = lru_cache(_TEXTS)(self._without_secrets)
        self._second = -1
        self._second_text = ""

    def __call__(self, _logger: object, method: str, fields: Line) -> Line:
        if len(self._secrets) != self._count:
            self._update_secrets()
        line = {"timestamp": self._timestamp(), "level": method, "event": self._clean_name(fields.pop("event"))}
        exception = fields.pop("exc_info", None)
        if isinstance(exception, BaseException):
            line |= _exception_fields(exception)
        names, harmless = self._names, self._harmless
        for name, value in fields.items():
            if value is None:
                continue
            if name in names:
                # most values are short texts, which are harmless without a closer check
                line[name] = value if isinstance(value, str) and len(value) <= harmless else self._clean(value)
            elif name not in _RESERVED and not _is_forbidden(name):
                line[self._name(name)] = self._clean(value)
        return line

    def _update_secrets(self) -> None:
        self._count = len(self._secrets)
        self._harmless = min(_HARMLESS, (self._secrets.shortest or _HARMLESS + 1) - 1)
        self._names.clear()
        self._clean_text.cache_clear()

    def _name(self, name: str) -> str:
        cleaned = self._clean_name(name)
        if cleaned == name and len(self._names) < _NAMES:
            self._names.add(name)
        return cleaned

    def _timestamp(self) -> str:
        second, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
        if second != self._second:
            self._second = second
            self._second_text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return f"{self._second_text}.{nanoseconds // 1_000_000:03}Z"

    def _clean(self, value: Any, depth: int = _DEEPEST) -> Any:
        if isinstance(value, str):
            return self._text(str(value))
        if value is None or isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < _LARGEST):
            return value
        if isinstance(value, Mapping) and depth:
            clean_items = ((self._key(key), item) for key, item in value.items())
            return {key: self._clean(item, depth - 1) for key, item in clean_items if not _is_forbidden(key)}
        if isinstance(value, list | tuple | set | frozenset) and depth:
            return [self._clean(item, depth - 1) for item in value]
        # the text of a foreign object may contain anything, such as the headers of a request
        is_short = isinstance(value, int) and value.bit_length() < _LONGEST_BITS
        return str(value) if is_short else type(value).__name__

    def _key(self, key: Any) -> str:
        return self._clean_name(key) if isinstance(key, str) else str(self._clean(key, 0))

    def _clean_name(self, name: str) -> str:
        """Remove secrets from the name of an event or field, except short ones: these may be part of a proper name."""
        return self._text(name, SHORTEST_SECRET)

    def _text(self, text: str, min_length: int = 1) -> str:
        return text if len(text) <= self._harmless else self._clean_text(text, min_length)

    def _without_secrets(self, text: str, min_length: int) -> str:
        return without_headers(self._secrets.remove_from(text, min_length=min_length))


def _is_forbidden(name: str) -> bool:
    return name.lower().translate(_JOINTS) in _FORBIDDEN


def _exception_fields(error: BaseException) -> dict[str, Any]:
    frames = extract_tb(error.__traceback__)
    return {
        "error_code": type(error).__name__,
        "raised_at": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
    }


def _plain(value: Any) -> str | int | float:
    """Return an instance of a subclass of `str`, `int` or `float` as the plain type, which msgspec can encode."""
    if isinstance(value, str):
        return str.__str__(value)
    return int(value) if isinstance(value, int) else float(value)


_ENCODE: Final = msgspec.json.Encoder(enc_hook=_plain).encode


def _json(_logger: object, _method: str, line: Line) -> bytes:
    try:
        encoded = _ENCODE(line)
    except UnicodeEncodeError:  # a lone surrogate
        encoded = _ENCODE(encodable(line))
    return inert(encoded + b"\n")


class _Console:
    """A structlog renderer of short lines for a terminal."""

    def __init__(self, *, color: bool, show_all: bool) -> None:
        self._paint = Paint(color=color)
        self._show_all = show_all

    def __call__(self, _logger: object, _method: str, line: Line) -> bytes:
        text = console_line(line, self._paint, show_all=self._show_all)
        if text is None:
            raise structlog.DropEvent
        return text.encode()
