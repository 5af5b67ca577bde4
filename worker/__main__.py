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
    try:
        from worker.cli import run

        sys.exit(run(sys.argv[1:]))
    except KeyboardInterrupt:
        # before there was anything to report
        sys.exit(130)


if __name__ == "__main__":
    main()
