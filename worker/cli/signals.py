"""Handlers of the signals that end the process (SIGHUP, SIGINT and SIGTERM), and their exit statuses."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future

__all__ = ["Interruption", "abandon", "cause_of", "ignore", "install", "on_loop", "raising", "status", "stop_signal"]

_ENDING: Final = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
_last_signal: int | None = None
"""The signal that raised the last `Interruption`; None if there was none."""


class Interruption(KeyboardInterrupt):
    """A signal that ends the process has arrived. A KeyboardInterrupt, so that libraries handle it like Ctrl-C."""


def status(number: int) -> int:
    """Return the exit status that shells use for a process that the signal `number` ended: 128 plus the number."""
    return 128 + number


def cause_of(error: BaseException) -> int | None:
    """Return the signal that caused an error; None if no signal did.

    The type of the error does not suffice: C code, such as the import of `_ssl`, can replace an `Interruption` by
    another error.
    """
    is_interrupt = isinstance(error, KeyboardInterrupt) or isinstance(error.__cause__, KeyboardInterrupt)
    return _last_signal or (signal.SIGINT if is_interrupt else None)


def install() -> None:
    """Make SIGHUP, SIGINT and SIGTERM raise `Interruption` in the main thread.

    A second signal ends the process immediately, except that a second SIGHUP does nothing: both the shell and the
    kernel can send SIGHUP for one closed terminal. A signal that is already ignored, as with nohup or in the
    background, stays ignored.
    """
    global _last_signal  # noqa: PLW0603 - signal handlers can keep state nowhere else
    _last_signal = None
    for number in _handled_signals():
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _raise)


@contextmanager
def raising() -> Iterator[None]:
    """Raise `Interruption` on signals inside the `with` block, even on a running event loop. The block may block.

    Outside the main thread it does nothing, as only the main thread receives signals.
    """
    main = threading.current_thread() is threading.main_thread()
    previous_handlers = {number: signal.getsignal(number) for number in _handled_signals()} if main else {}
    for number in previous_handlers:
        signal.signal(number, _raise)
    try:
        yield
    finally:
        for number, handler in previous_handlers.items():
            signal.signal(number, handler)


def ignore() -> None:
    """Ignore the signals from now on, so that they do not change the exit status."""
    for number in _ENDING:
        signal.signal(number, signal.SIG_IGN)


def abandon(stream: TextIO) -> None:
    """Discard the buffered data of a stream, as a flush could fail or block."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextmanager
def on_loop(loop: "AbstractEventLoop", receive: Callable[[signal.Signals], None]) -> Iterator[None]:
    """Call `receive` on a running event loop for each signal inside the `with` block. Then restore the handlers.

    A second SIGHUP is dropped, as in `install`.
    """
    previous_handlers = {number: signal.getsignal(number) for number in _handled_signals()}
    first_signal: signal.Signals | None = None

    def handle(number: signal.Signals) -> None:
        nonlocal first_signal
        if not _is_repeated(first_signal, number):
            first_signal = first_signal or number
            receive(number)

    for number in previous_handlers:
        loop.add_signal_handler(number, handle, number)
    try:
        yield
    finally:
        for number, handler in previous_handlers.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)


@contextmanager
def stop_signal(loop: "AbstractEventLoop") -> "Iterator[Future[int]]":
    """Yield a future of the exit status of the first signal. A second signal ends the process immediately."""
    exit_status: Future[int] = loop.create_future()

    def receive(number: signal.Signals) -> None:
        if exit_status.done():
            os._exit(status(number))
        exit_status.set_result(status(number))

    with on_loop(loop, receive):
        yield exit_status


def _handled_signals() -> list[signal.Signals]:
    return [number for number in _ENDING if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN]


def _is_repeated(first_signal: int | None, number: int) -> bool:
    return first_signal == number == signal.SIGHUP


def _raise(number: int, _frame: FrameType | None) -> None:
    global _last_signal  # noqa: PLW0603 - see `install`
    _last_signal = number
    for handled in _handled_signals():
        signal.signal(handled, _drop if _is_repeated(number, handled) else _exit)
    raise Interruption


def _drop(_number: int, _frame: FrameType | None) -> None:
    pass


def _exit(number: int, _frame: FrameType | None) -> None:
    os._exit(status(number))
