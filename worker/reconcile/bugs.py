"""What a bug of ours is told as."""

from worker.model.errors import WorkerError
from worker.model.ports import Log

__all__ = ["InternalError", "foreseen"]


class InternalError(WorkerError):
    """A bug of ours. It names the exception's type only, as its text may hold anything."""


def foreseen(error: Exception, log: Log) -> WorkerError:
    """The error itself where it was raised on purpose, or what a bug is told as, with a line of its own."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, WorkerError):
        return error
    name = type(error).__name__
    log.warning("account.failed", error_code=InternalError.__name__, error_message=name)
    return InternalError(name)
