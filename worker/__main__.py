"""`senderid`, also as `python -m worker`."""

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line and exit with its status."""
    if sys.argv[1:] == ["--version"]:
        # answered before anything is imported: scripts ask often
        from worker import __version__

        sys.stdout.write(f"senderid {__version__}\n")
        sys.exit(0)
    status = 130
    try:
        from worker.cli import run

        status = run(sys.argv[1:])
    except KeyboardInterrupt:
        # before there was anything to report, or after everything was
        pass
    finally:
        # what the interpreter still does at its end would answer an interruption with a traceback
        from signal import SIG_IGN, SIGINT, signal

        signal(SIGINT, SIG_IGN)
    sys.exit(status)


if __name__ == "__main__":
    main()
