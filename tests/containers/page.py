"""The outputs that `docs/how-to/deployment.md` shows."""

from typing import Final

from tests.support.samples import ROOT, matches, samples, steps

__all__ = ["is_shown"]

_PAGE: Final = (ROOT / "docs/how-to/deployment.md").read_text()


def is_shown(output: str, command: str) -> bool:
    """Return True if the page shows this output for the one command of the page that ends like `command`."""
    consoles = [sample for sample in samples(_PAGE) if sample.language == "console"]
    (documented_output,) = [
        step.output for console in consoles for step in steps(console) if step.command.endswith(command)
    ]
    return matches(documented_output or "", output)
