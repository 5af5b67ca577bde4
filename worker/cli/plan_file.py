"""Reading of plan files."""

import os
from datetime import UTC, datetime
from typing import Final

from worker.config.files import read_file
from worker.model.errors import PlanFileError, Problem
from worker.model.messages import Message
from worker.plan.planfile import MAX_AGE_SECONDS, SavedPlan, unseal

__all__ = ["read_plan_file"]

_PLAN_CAP: Final = 256 << 20
"""Maximum size in bytes of a plan file. A plan with a million changes has about 200 MB."""


def read_plan_file(path: str, max_age: float | None) -> SavedPlan:
    """Return the content of a plan file. `max_age` is its maximum age in seconds; None means the default.

    Raises:
        PlanFileError: the file cannot be read, or may not be applied.
    """
    if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises where a name is too long
        raise PlanFileError(
            Message("{path} is a folder, not a plan file; desired state goes with -f {path}", path=path)
        )
    file = read_file(path, expected=Message("the file that plan --out wrote"), cap=_PLAN_CAP)
    if isinstance(file, Problem):
        raise PlanFileError(Message("{source}: {message}", source=file.source, message=file.message))
    _, data = file
    if len(data) > _PLAN_CAP:
        raise PlanFileError(Message("{path}: this is not a plan file: it is too long", path=path))
    try:
        return unseal(data, now=datetime.now(UTC), max_age_seconds=MAX_AGE_SECONDS if max_age is None else max_age)
    except PlanFileError as error:
        raise PlanFileError(Message("{path}: {error}", path=path, error=str(error))) from None
