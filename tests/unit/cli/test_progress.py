"""The progress bar: where and when it is shown, what it says, and that lines above it stay whole."""

import io
import re
from contextlib import redirect_stderr
from typing import Any

import pytest

from worker.cli.progress import Progress

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
HIDDEN, SHOWN = "\x1b[?25l", "\x1b[?25h"


class Clock:
    """A monotonic clock that is set by hand."""

    now = 1000.0

    def __call__(self) -> float:
        """The time."""
        return self.now


class Terminal(io.TextIOWrapper):
    """A terminal that remembers what was written to it; `gone` makes it fail from then on."""

    def __init__(self) -> None:
        self.gone = False
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)

    def isatty(self) -> bool:
        """It is a terminal."""
        return True

    def write(self, text: str) -> int:
        """Remember a text."""
        if self.gone:
            raise OSError(5, "Input/output error")
        return super().write(text)

    @property
    def raw(self) -> str:
        """Everything that was written."""
        buffer = self.buffer
        assert isinstance(buffer, io.BytesIO)
        return buffer.getvalue().decode()

    @property
    def text(self) -> str:
        """The same without what moves the cursor or colours."""
        return ESCAPES.sub("", self.raw)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the bar."""
    clock = Clock()
    monkeypatch.setattr("worker.cli.progress.time", type("time", (), {"monotonic": clock}))
    return clock


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal of 80 columns."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    return Terminal()


def advanced(progress: Progress, clock: Clock, numbers: int, seconds: float = 0.125) -> None:
    """Advance by *count* numbers, *seconds* apart."""
    for _ in range(numbers):
        clock.now += seconds
        progress.advance()


def test_no_bar_within_a_second(clock: Clock, terminal: Terminal) -> None:
    """A run of a second shows no bar, however many numbers it has."""
    with redirect_stderr(terminal), Progress(enabled=True) as progress:
        progress.expect(100)
        advanced(progress, clock, 100, 0.01)
    assert terminal.raw == ""


def test_bar_after_a_second(clock: Clock, terminal: Terminal) -> None:
    """After a second there is a bar with how many of how many are done, how fast, and how long it will take."""
    with redirect_stderr(terminal), Progress(enabled=True) as progress:
        progress.expect(1200)
        advanced(progress, clock, 8)
        assert terminal.raw == ""
        advanced(progress, clock, 1)
        assert HIDDEN in terminal.raw
        assert " 9/1200" in terminal.text
        advanced(progress, clock, 191)
    frame = [frame for frame in re.split(r"[\r\n]+", terminal.text) if frame][-1]
    assert re.fullmatch(r"writing \S+ +200/1200 8/s 0:02:05 *", frame)


def test_a_burst_promises_nothing(clock: Clock, terminal: Terminal) -> None:
    """What a quota lets through at once does not count as the pace of the rest."""
    with redirect_stderr(terminal), Progress(enabled=True) as progress:
        progress.expect(120)
        advanced(progress, clock, 19, 0)
        advanced(progress, clock, 1, 5)
    frame = [frame for frame in re.split(r"[\r\n]+", terminal.text) if frame][-1]
    assert re.fullmatch(r"writing \S+ +20/120 4/s 0:00:25 *", frame)


def test_bar_is_taken_away(clock: Clock, terminal: Terminal) -> None:
    """At the end the bar is erased and the cursor shown, once, however often it ends; lines then go straight on."""
    with redirect_stderr(terminal), Progress(enabled=True) as progress:
        progress.expect(20)
        advanced(progress, clock, 20)
        progress.finish()
        ended = terminal.raw
        assert ended.endswith(f"\r\x1b[2K{SHOWN}")
        assert ended.count(SHOWN) == 1
        progress.finish()
        advanced(progress, clock, 20)
        assert terminal.raw == ended
        progress.write(b"\x0bas it is\n")
    assert terminal.raw == f"{ended}\x0bas it is\n"


def test_end_without_a_bar(terminal: Terminal) -> None:
    """Where there was no bar the end writes nothing."""
    with redirect_stderr(terminal):
        Progress(enabled=True).finish()
    assert terminal.raw == ""


def test_bar_is_taken_away_by_an_error(clock: Clock, terminal: Terminal) -> None:
    """A run that ends with an exception leaves the terminal as it was."""

    def fail() -> None:
        with Progress(enabled=True) as progress:
            progress.expect(20)
            advanced(progress, clock, 15)
            raise KeyError

    with redirect_stderr(terminal), pytest.raises(KeyError):
        fail()
    assert terminal.raw.count(HIDDEN) == terminal.raw.count(SHOWN) == 1


def test_no_bar_where_there_is_no_terminal(clock: Clock, terminal: Terminal) -> None:
    """A bar that is not enabled is never shown."""
    with redirect_stderr(terminal), Progress(enabled=False) as progress:
        progress.expect(20)
        advanced(progress, clock, 20, 60)
    assert terminal.raw == ""


def test_no_bar_on_a_dumb_terminal(clock: Clock, terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal that cannot erase a line gets no bar."""
    monkeypatch.setenv("TERM", "dumb")
    with redirect_stderr(terminal), Progress(enabled=True) as progress:
        progress.expect(20)
        advanced(progress, clock, 20, 60)
    assert terminal.raw == ""


def test_bar_fits_a_narrow_terminal(clock: Clock, terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that wrapped could not be erased."""
    monkeypatch.setenv("COLUMNS", "20")
    with redirect_stderr(terminal), Progress(enabled=True) as progress:
        progress.expect(1200)
        advanced(progress, clock, 9)
        assert ESCAPES.sub("", terminal.raw).strip("\r") == "writing  9/1200 8/s"


def test_no_bar_for_an_unknown_total(clock: Clock, terminal: Terminal) -> None:
    with redirect_stderr(terminal), Progress(enabled=True) as progress:
        advanced(progress, clock, 20, 60)
    assert terminal.raw == ""


def test_lines_without_a_bar_go_straight_on(terminal: Terminal) -> None:
    """Without a bar, lines are written byte by byte as they are, colours included."""
    with redirect_stderr(terminal), Progress(enabled=True) as progress:
        progress.write(b"\x1b[31mred\x1b[0m\n\xff\n")
        progress.flush()
    buffer: Any = terminal.buffer
    assert buffer.getvalue() == b"\x1b[31mred\x1b[0m\n\xff\n"


@pytest.mark.parametrize(
    "lines",
    [
        ["12:00:00Z info    main         number 010-1234-5678 activate changed"],
        ["one", "two", "", "three [bold]no markup[/bold] :smile: 'quoted' 42"],
        ["a long line " * 40 + "."],
        ['{"error_message":"a\u2028b\x85cd\x9be"}'],
        ["고객 " * 60 + "😀."],
    ],
)
def test_lines_above_the_bar_are_whole(lines: list[str], clock: Clock, terminal: Terminal) -> None:
    """Lines stand above the bar as they are: not cut, wrapped, joined, split or taken for markup."""
    with redirect_stderr(terminal), Progress(enabled=True) as progress:
        progress.expect(20)
        advanced(progress, clock, 15)
        before = len(terminal.text)
        progress.write("".join(f"{line}\n" for line in lines).encode())
        progress.flush()
        written = terminal.text[before:]
    assert "".join(f"{line}\n" for line in lines) in written


def test_lines_above_the_bar_keep_their_colours(clock: Clock, terminal: Terminal) -> None:
    """A line that came with colours has them above the bar too, and they end with the line."""
    with redirect_stderr(terminal), Progress(enabled=True) as progress:
        progress.expect(20)
        advanced(progress, clock, 15)
        progress.write(b"\x1b[31mred\x1b[0m plain\n")
        assert "\x1b[31mred\x1b[0m plain\n" in terminal.raw


def test_bytes_that_are_no_text(clock: Clock, terminal: Terminal) -> None:
    """Bytes that are no text are shown as such above the bar, and stop nothing."""
    with redirect_stderr(terminal), Progress(enabled=True) as progress:
        progress.expect(20)
        advanced(progress, clock, 15)
        progress.write(b"\xff\xfe\n")
        assert "��\n" in terminal.text


def test_terminal_that_is_gone_before_the_bar(clock: Clock, terminal: Terminal) -> None:
    """Where the bar cannot be shown the run goes on without it."""
    with redirect_stderr(terminal), Progress(enabled=True) as progress:
        progress.expect(20)
        terminal.gone = True
        advanced(progress, clock, 20)
        terminal.gone = False
        advanced(progress, clock, 20)
    assert terminal.raw == ""


def test_terminal_that_is_gone_under_the_bar(clock: Clock, terminal: Terminal) -> None:
    """Where the bar cannot be taken away the run ends all the same."""
    with redirect_stderr(terminal), Progress(enabled=True) as progress:
        progress.expect(20)
        advanced(progress, clock, 15)
        terminal.gone = True
        advanced(progress, clock, 5)
