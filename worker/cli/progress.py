"""The progress bar of long runs, above which log lines still find their place."""

import math
import sys
import time
from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from worker.render.i18n import gettext as _

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

__all__ = ["Progress"]

_PATIENCE: Final = 1.0
"""Seconds that a run may take without a bar."""


class Progress:
    """Counts numbers and shows how far they are: on a terminal, and once the run has taken over a second.

    It is also the stream of log lines, so that bar and lines do not overwrite each other. A terminal that is gone takes
    the bar with it and stops no run.
    """

    def __init__(self, *, enabled: bool, color: bool = True) -> None:
        self._enabled = enabled
        self._color = color
        self._total = 0
        self._done = 0
        self._began = math.inf
        self._bar: Bar | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.finish()

    def expect(self, numbers: int) -> None:
        """That many numbers are to be written."""
        self._total = numbers
        self._began = time.monotonic()

    def advance(self) -> None:
        """One more number is done with."""
        self._done += 1
        if not self._enabled:
            return
        taken = time.monotonic() - self._began
        if self._bar is None:
            if taken <= _PATIENCE:
                return
            self._bar = self._new()
            try:
                self._bar.start()
            except (OSError, ValueError):
                self.finish()
                return
        self._bar.update(self._bar.task_ids[0], completed=self._done)

    def finish(self) -> None:
        """Take the bar away."""
        self._enabled = False
        bar, self._bar = self._bar, None
        if bar is not None:
            with suppress(OSError, ValueError):
                bar.stop()

    def write(self, data: bytes, /) -> None:
        """Write log lines, above the bar where there is one."""
        if self._bar is None:
            sys.stderr.buffer.write(data)
            return
        from rich.ansi import AnsiDecoder
        from rich.text import Text

        # line by line, as rich would also end one at U+2028 and the like
        lines = data.decode(errors="replace").removesuffix("\n").split("\n")
        self._bar.console.print(Text("\n").join(map(AnsiDecoder().decode_line, lines)), soft_wrap=True)

    def flush(self) -> None:
        """Let go of the lines."""
        sys.stderr.buffer.flush()

    def _new(self) -> "Bar":
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn
        from rich.progress import Progress as Bar
        from rich.text import Text

        began = self._began

        class Pace(ProgressColumn):
            """The rate since the start, as a quota lets writes through in bursts, and the time that the rest takes."""

            def render(self, task: Task) -> Text:
                rate = task.completed / (time.monotonic() - began)
                left = math.ceil(max(task.remaining or 0, 0) / rate)
                return Text(f"{rate:.0f}/s {timedelta(seconds=left)}")

        bar = Bar(
            TextColumn(_("writing")),
            BarColumn(),
            MofNCompleteColumn(),
            Pace(),
            console=Console(stderr=True, no_color=not self._color),
            get_time=time.monotonic,
            transient=True,
        )
        bar.add_task("", total=self._total, completed=self._done)
        return bar
