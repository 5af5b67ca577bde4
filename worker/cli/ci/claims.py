"""Claims by jobs of the saved plans that they apply, so that a plan is applied once.

A claim is kept in a comment on the pull or merge request, as runners have no persistent ledger. A job writes its claim
before it applies a plan. The claim is removed only if the log or the exit status proves that the job sent no write.
"""

import json
import re
from collections.abc import Iterable
from typing import Final, NamedTuple, Self

__all__ = ["JOB", "Claim", "sent_nothing"]

JOB: Final = re.compile(r"https?://[^\s<>]{1,500}")
"""Pattern of a job's URL that is valid in an HTML comment."""

_LINE: Final = re.compile(r"<!-- senderid-claim plan=([0-9A-Za-z_-]{1,64}) nonce=([0-9a-f]+) job=(\S+) -->")
_PLAN: Final = re.compile(r"[0-9A-Za-z_-]{1,64}")
_NOTHING_SENT: Final = frozenset({64, 65})
"""Exit statuses that mean that no request was sent: usage error and invalid input."""


class Claim(NamedTuple):
    """The claim of a job, given by its URL, to apply the plan with the id `plan`.

    `nonce` is a random text that distinguishes two claims of one job.
    """

    plan: str
    nonce: str
    job: str

    @property
    def line(self) -> str:
        """The claim as a hidden line of a comment.

        Raises:
            ValueError: the id of the plan or the URL of the job is not valid in an HTML comment.
        """
        if not (_PLAN.fullmatch(self.plan) and JOB.fullmatch(self.job)):
            raise ValueError("not a plan's id and a job's URL")
        return f"<!-- senderid-claim plan={self.plan} nonce={self.nonce} job={self.job} -->"

    @classmethod
    def read(cls, body: str) -> Self | None:
        """Return the claim in the second line of a comment; None if there is no claim."""
        lines = body.splitlines()
        match = _LINE.fullmatch(lines[1].strip()) if len(lines) > 1 else None
        return None if match is None else cls(*match.groups())


def sent_nothing(log: Iterable[str], status: int) -> bool:
    """Return True if the JSON log lines or the exit status of an apply prove that it sent no write.

    Without a line `run.finished`, as after a crash, only the exit status can prove it.
    """
    writes: object = None
    for line in log:
        if '"run.finished"' in line:
            writes = _writes(line)
    return status in _NOTHING_SENT or writes == 0


def _writes(line: str) -> object:
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    is_last = isinstance(fields, dict) and fields.get("event") == "run.finished"
    return fields.get("writes") if is_last else None
