"""`senderid`, also as `python -m worker`."""

import os
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line and exit with its status."""
    _stand_in()
    sys.unraisablehook = _interrupt_again
    if sys.argv[1:] == ["--version"]:
        # answered before anything is imported: scripts ask often
        from worker import __version__

        try:
            print(f"senderid {__version__}", flush=True)  # noqa: T201 - the answer
            sys.exit(0)
        except OSError:
            # the command line meets it once more, and says so
            pass
    from worker.cli import signals

    try:
        signals.install()
        from worker.cli.main import run

        status = run(sys.argv[1:])
    except KeyboardInterrupt as error:
        # before there was anything to report, or after everything was
        status = signals.ended_by(error)
    finally:
        # what the interpreter still does at its end would answer an interruption with a traceback
        signals.ignore()
    sys.exit(status)


def _interrupt_again(unraisable: "sys.UnraisableHookArgs") -> None:
    """Python drops what is raised where nobody can catch it, with a traceback; an interruption has to be heard."""
    if not issubclass(unraisable.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)
        return
    from signal import SIGINT
    from threading import Timer

    from worker.cli import signals

    number: int = SIGINT
    if isinstance(unraisable.exc_value, signals.Interruption):
        number = unraisable.exc_value.number
        signals.install()  # the signal that comes again is still the first
    # at once it would be raised in here, where nobody can catch it either
    again = Timer(0.05, os.kill, (os.getpid(), number))
    again.daemon = True
    again.start()


def _stand_in() -> None:
    """Fill the places of closed standard streams, which the first files and sockets would take otherwise.

    Writing to a closed stdout stays an error, as what it says is lost; who closed stderr wants to hear nothing.
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
