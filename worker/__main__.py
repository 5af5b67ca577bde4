"""`senderid`, also as `python -m worker`."""

import gc
import os
import sys

__all__ = ["main"]

_NEW_OBJECTS = 50_000
"""Objects that are created between two runs of the garbage collector. Imports and requests leave few cycles."""


def main() -> None:
    """Run the command line and exit with its status."""
    gc.set_threshold(_NEW_OBJECTS)
    _fill_closed_streams()
    sys.unraisablehook = _resend_signal
    if sys.argv[1:] == ["--version"]:
        # printed before anything is imported: scripts call this often
        from worker import __version__

        try:
            print(f"senderid {__version__}", flush=True)  # noqa: T201 - the output
            sys.exit(0)
        except OSError:
            # the command line below meets and reports the same error
            pass
    from worker.cli import signals

    try:
        signals.install()
        from worker.cli.main import run

        status = run(sys.argv[1:])
    except BaseException as error:
        # before the command could report it, or after it had reported everything
        number = signals.cause_of(error)
        if number is None:
            raise
        status = signals.status(number)
    finally:
        # an interruption while the interpreter shuts down would end in a traceback
        signals.ignore()
    sys.exit(status)


def _resend_signal(unraisable: "sys.UnraisableHookArgs") -> None:
    """Send again a signal whose exception Python dropped, as in a finalizer, where no caller can catch it."""
    error = unraisable.exc_value
    if not isinstance(error, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)
        return
    from threading import Timer

    from worker.cli import signals

    number = signals.cause_of(error)
    assert number is not None  # noqa: S101 - every KeyboardInterrupt has one
    signals.install()  # the signal that comes again is still the first
    # sent at once, it would be raised in this hook and dropped too
    again = Timer(0.05, os.kill, (os.getpid(), number))
    again.daemon = True
    again.start()


def _fill_closed_streams() -> None:
    """Open the null device for closed standard streams, whose numbers the first files and sockets would get otherwise.

    Writing to a closed stdout stays an error, as the output is lost. A closed stderr means that no log is kept.
    """
    for number, access in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            # the lowest free number is taken, which is this one
            os.open(os.devnull, access)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


if __name__ == "__main__":
    main()
