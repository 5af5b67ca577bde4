"""The progress bar of long runs, above which log lines still find their place."""

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

__all__ = ["Progress"]

_PATIENCE: Final = 1.0
"""Seconds that a run may take without a bar."""


class Progress:
    """Counts numbers and shows how far they are: on a terminal, and once the run has taken over a second.

    It is also the stream of log lines, so that bar and lines do not overwrite each other.
    """

    def __init__(self, *, enabled: bool) -> None:
        self._enabled = enabled
        self._total = 0
        self._done = 0
        self._began = 0.0
        self._bar: Bar | None = None
        self._task: TaskID | None = None

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
        if self._bar is None and time.monotonic() - self._began > _PATIENCE:
            self._show()
        if self._bar is not None and self._task is not None:
            rate = self._done / (time.monotonic() - self._began)
            self._bar.update(self._task, completed=self._done, rate=f"{rate:.0f}/s")

    def finish(self) -> None:
        """Take the bar away."""
        self._enabled = False
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def write(self, data: bytes, /) -> None:
        """Write log lines, above the bar where there is one."""
        if self._bar is None:
            sys.stderr.buffer.write(data)
            return
        from rich.text import Text

        self._bar.console.print(Text.from_ansi(data.decode(errors="replace").rstrip("\n")), soft_wrap=True)

    def flush(self) -> None:
        """Let go of the lines."""
        sys.stderr.buffer.flush()

    def _show(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        self._bar = Bar(
            TextColumn("writing"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task("", total=self._total, rate="")
        self._bar.start()
