"""Progress bar of long runs. Log lines are written above it."""

import math
import os
import shutil
import sys
import time
from datetime import timedelta
from types import TracebackType
from typing import Final, Self

from worker.render.i18n import gettext as _

__all__ = ["Progress"]

_DELAY_SECONDS: Final = 1.0
"""Seconds after the start of a run before the bar appears."""
_REDRAW: Final = 0.1
"""Minimum time in seconds between two updates of the bar."""
_WIDEST: Final = 40
"""Maximum width in columns of the bar without its text."""

_ERASE: Final = "\r\x1b[2K"
_HIDE_CURSOR, _SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"


class Progress:
    """Progress bar that counts finished numbers, shown on a terminal if a run takes more than a second.

    It is also the stream for log lines, so that bar and log lines do not overwrite each other. If the terminal is
    closed, the bar disappears and the run continues.
    """

    def __init__(self, *, enabled: bool) -> None:
        self._enabled = enabled and os.environ.get("TERM") != "dumb"
        self._total = 0
        self._finished_count = 0
        self._began = math.inf
        self._last_drawn = -math.inf
        self._is_visible = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.finish()

    def start(self, total: int) -> None:
        """Start the progress bar for `total` writes."""
        self._total = total
        self._began = time.monotonic()

    def advance(self) -> None:
        """Count one finished number."""
        self._finished_count += 1
        now = time.monotonic()
        if self._enabled and now - self._began > _DELAY_SECONDS and now - self._last_drawn >= _REDRAW:
            self._last_drawn = now
            self._write_terminal(_ERASE if self._is_visible else _HIDE_CURSOR, self._bar(now))
            self._is_visible = self._enabled

    def finish(self) -> None:
        """Remove the bar."""
        self._enabled = False
        if self._is_visible:
            self._is_visible = False
            self._write_terminal(_ERASE, _SHOW_CURSOR)

    def write(self, data: bytes, /) -> None:
        """Write log lines, above the bar if it is shown."""
        if self._is_visible:
            self._write_terminal(_ERASE, data.decode(errors="replace"), self._bar(time.monotonic()))
        else:
            sys.stderr.buffer.write(data)

    def flush(self) -> None:
        """Flush the log lines."""
        sys.stderr.buffer.flush()

    def _write_terminal(self, *texts: str) -> None:
        try:
            sys.stderr.write("".join(texts))
            sys.stderr.flush()
        except (OSError, ValueError):
            self._enabled = self._is_visible = False

    def _bar(self, now: float) -> str:
        """Return the text of the bar. The rate is the average since the start, as a quota admits writes in bursts."""
        rate = self._finished_count / (now - self._began)
        time_left = timedelta(seconds=math.ceil(max(self._total - self._finished_count, 0) / rate))
        label = _("writing")
        suffix = " ".join((f"{self._finished_count}/{self._total}", f"{rate:.0f}/s", str(time_left)))
        columns = shutil.get_terminal_size().columns
        width = max(0, min(_WIDEST, columns - 2 * len(label) - len(suffix) - 3))
        filled_width = min(width, width * self._finished_count // max(1, self._total))
        return " ".join((label, "━" * filled_width + "╌" * (width - filled_width), suffix))[: columns - 1]
