"""Progress bar: when it is shown, its content, and the log lines above it."""

import io
import re
from contextlib import redirect_stderr
from typing import Any

import pytest

from worker.cli.progress import Progress

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
HIDDEN, SHOWN = "\x1b[?25l", "\x1b[?25h"


class Clock:
    """Monotonic clock that the test sets."""

    now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


class Terminal(io.TextIOWrapper):
    """Terminal that records its output. Each write fails while `fails` is set."""

    def __init__(self) -> None:
        self.fails = False
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)

    def isatty(self) -> bool:
        """Return True."""
        return True

    def write(self, text: str) -> int:
        """Record a text."""
        if self.fails:
            raise OSError(5, "Input/output error")
        return super().write(text)

    @property
    def raw(self) -> str:
        """All output."""
        buffer = self.buffer
        assert isinstance(buffer, io.BytesIO)
        return buffer.getvalue().decode()

    @property
    def text(self) -> str:
        """The output without escape sequences."""
        return ESCAPES.sub("", self.raw)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the clock of the bar."""
    clock = Clock()
    monkeypatch.setattr("worker.cli.progress.time", type("time", (), {"monotonic": clock}))
    return clock


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Return a terminal of 80 columns."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    return Terminal()


def advance(progress: Progress, clock: Clock, numbers: int, seconds: float = 0.125) -> None:
    """Advance by *numbers* numbers, *seconds* apart."""
    for _ in range(numbers):
        clock.now += seconds
        progress.advance()


def test_run_shorter_than_a_second_shows_no_bar(clock: Clock, terminal: Terminal) -> None:
    with redirect_stderr(terminal), Progress(enabled=True) as progress:
        progress.start(100)
        advance(progress, clock, 100, 0.01)
    assert terminal.raw == ""


def test_bar_appears_after_a_second_with_count_rate_and_eta(clock: Clock, terminal: Terminal) -> None:
    with redirect_stderr(terminal), Progress(enabled=True) as progress:
        progress.start(1200)
        advance(progress, clock, 8)
        assert terminal.raw == ""
        advance(progress, clock, 1)
        assert HIDDEN in terminal.raw
        assert " 9/1200" in terminal.text
        advance(progress, clock, 191)
    frame = [frame for frame in re.split(r"[\r\n]+", terminal.text) if frame][-1]
    assert re.fullmatch(r"writing \S+ +200/1200 8/s 0:02:05 *", frame)


def test_initial_burst_does_not_count_in_the_rate(clock: Clock, terminal: Terminal) -> None:
    """The quota lets the first requests through immediately."""
    with redirect_stderr(terminal), Progress(enabled=True) as progress:
        progress.start(120)
        advance(progress, clock, 19, 0)
        advance(progress, clock, 1, 5)
    frame = [frame for frame in re.split(r"[\r\n]+", terminal.text) if frame][-1]
    assert re.fullmatch(r"writing \S+ +20/120 4/s 0:00:25 *", frame)


def test_bar_is_erased_at_the_end(clock: Clock, terminal: Terminal) -> None:
    """The bar is erased and the cursor restored once. Later lines are written unchanged."""
    with redirect_stderr(terminal), Progress(enabled=True) as progress:
        progress.start(20)
        advance(progress, clock, 20)
        progress.finish()
        final_output = terminal.raw
        assert final_output.endswith(f"\r\x1b[2K{SHOWN}")
        assert final_output.count(SHOWN) == 1
        progress.finish()
        advance(progress, clock, 20)
        assert terminal.raw == final_output
        progress.write(b"\x0bas it is\n")
    assert terminal.raw == f"{final_output}\x0bas it is\n"


def test_finish_without_a_bar_writes_nothing(terminal: Terminal) -> None:
    with redirect_stderr(terminal):
        Progress(enabled=True).finish()
    assert terminal.raw == ""


def test_bar_is_erased_after_an_exception(clock: Clock, terminal: Terminal) -> None:

    def fail() -> None:
        with Progress(enabled=True) as progress:
            progress.start(20)
            advance(progress, clock, 15)
            raise KeyError

    with redirect_stderr(terminal), pytest.raises(KeyError):
        fail()
    assert terminal.raw.count(HIDDEN) == terminal.raw.count(SHOWN) == 1


def test_disabled_bar_is_never_shown(clock: Clock, terminal: Terminal) -> None:
    with redirect_stderr(terminal), Progress(enabled=False) as progress:
        progress.start(20)
        advance(progress, clock, 20, 60)
    assert terminal.raw == ""


def test_dumb_terminal_shows_no_bar(clock: Clock, terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    with redirect_stderr(terminal), Progress(enabled=True) as progress:
        progress.start(20)
        advance(progress, clock, 20, 60)
    assert terminal.raw == ""


def test_bar_fits_a_narrow_terminal(clock: Clock, terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrapped line could not be erased."""
    monkeypatch.setenv("COLUMNS", "20")
    with redirect_stderr(terminal), Progress(enabled=True) as progress:
        progress.start(1200)
        advance(progress, clock, 9)
        assert ESCAPES.sub("", terminal.raw).strip("\r") == "writing  9/1200 8/s"


def test_unknown_total_shows_no_bar(clock: Clock, terminal: Terminal) -> None:
    with redirect_stderr(terminal), Progress(enabled=True) as progress:
        advance(progress, clock, 20, 60)
    assert terminal.raw == ""


def test_lines_without_a_bar_are_written_unchanged(terminal: Terminal) -> None:
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
def test_lines_above_the_bar_are_unchanged(lines: list[str], clock: Clock, terminal: Terminal) -> None:
    """Lines are not truncated, wrapped, joined, split or parsed as markup."""
    with redirect_stderr(terminal), Progress(enabled=True) as progress:
        progress.start(20)
        advance(progress, clock, 15)
        start = len(terminal.text)
        progress.write("".join(f"{line}\n" for line in lines).encode())
        progress.flush()
        output = terminal.text[start:]
    assert "".join(f"{line}\n" for line in lines) in output


def test_lines_above_the_bar_keep_their_colours(clock: Clock, terminal: Terminal) -> None:
    with redirect_stderr(terminal), Progress(enabled=True) as progress:
        progress.start(20)
        advance(progress, clock, 15)
        progress.write(b"\x1b[31mred\x1b[0m plain\n")
        assert "\x1b[31mred\x1b[0m plain\n" in terminal.raw


def test_undecodable_bytes_above_the_bar_are_replaced(clock: Clock, terminal: Terminal) -> None:
    with redirect_stderr(terminal), Progress(enabled=True) as progress:
        progress.start(20)
        advance(progress, clock, 15)
        progress.write(b"\xff\xfe\n")
        assert "��\n" in terminal.text


def test_bar_is_omitted_if_the_terminal_fails(clock: Clock, terminal: Terminal) -> None:
    with redirect_stderr(terminal), Progress(enabled=True) as progress:
        progress.start(20)
        terminal.fails = True
        advance(progress, clock, 20)
        terminal.fails = False
        advance(progress, clock, 20)
    assert terminal.raw == ""


def test_terminal_that_fails_under_the_bar_does_not_end_the_run(clock: Clock, terminal: Terminal) -> None:
    with redirect_stderr(terminal), Progress(enabled=True) as progress:
        progress.start(20)
        advance(progress, clock, 15)
        terminal.fails = True
        advance(progress, clock, 5)
