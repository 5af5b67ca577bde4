"""The write of one number: its requests, and the result that follows from answers and verification read."""

from datetime import datetime

from worker.model.accounts import ObservedAccount, Status
from worker.model.errors import (
    ConnectionFailed,
    DeadlineExceeded,
    Interrupted,
    NotWritable,
    NumberError,
    NumberRejected,
    RateLimited,
    WorkerError,
)
from worker.model.messages import Message
from worker.model.plans import Change
from worker.model.results import NumberResult, Outcome

__all__ = ["WriteAttempt", "out_of_time"]


class WriteAttempt:
    """The write of one number: its next request, and what is known of the requests before it.

    `sequence` counts the requests that left, `intended` those whose intent the ledger has. `deadline` is the Unix time
    at which the file stops to ask for this, None if it does not. The flags say what became of the requests so far:

    - `acknowledged`: the API accepted one, or a read showed its effect.
    - `ambiguous`: the result of some request was unknown when its answer was lost.
    - `moved`: some read has shown another status than planned. If the number is as planned again, someone else set it.
    - `superseded`: before the next request's turn, the latest read has shown it as `seen`, other than planned.
    - `conflicting`: that read showed neither the planned nor the desired status.
    - `expired`: the deadline was over when the next request's turn came.

    `held` is why the next request may not leave.
    """

    __slots__ = (
        "acknowledged",
        "ambiguous",
        "began",
        "change",
        "conflicting",
        "deadline",
        "ended",
        "error",
        "expired",
        "held",
        "intended",
        "moved",
        "phone",
        "seen",
        "sequence",
        "status",
        "superseded",
    )

    def __init__(self, change: Change) -> None:
        self.change = change
        self.phone = change.phone
        self.status = Status(change.desired)
        self.deadline = None if change.until is None else datetime.fromisoformat(change.until).timestamp()
        self.sequence = 0
        self.intended = 0
        self.acknowledged = False
        self.ambiguous = False
        self.moved = False
        self.superseded = False
        self.conflicting = False
        self.expired = False
        self.held: str | None = None
        self.seen: Status | None = None
        self.error: WorkerError | None = None
        self.began = 0.0
        self.ended = 0.0

    @property
    def intent(self) -> tuple[str, int, Status]:
        """The next request, as a journal takes it."""
        return self.phone, self.sequence + 1, self.status

    def may_leave(self, latest: ObservedAccount | None, now: float) -> bool:
        """Return True if the next request may leave, and otherwise note why it may not.

        `latest` is the last read since the plan was made, None if there was none. `now` is Unix time in seconds.
        """
        if latest is not None and self._compare(latest):
            return False
        self.expired = self.deadline is not None and self.deadline <= now
        return not self.expired and self.held is None

    def _compare(self, latest: ObservedAccount) -> bool:
        """Return True if someone else has changed the number since it was planned."""
        self.seen = latest.status(self.phone)
        if not self.moved and self.seen == self.change.observed:
            return False
        self.superseded = True
        self.conflicting = self.seen != self.status
        return True

    def resolve(self, status: Status | None) -> bool:
        """Return True if an ambiguous write is to be sent again: the number has its old status and never had another.

        `status` is that of a read after the request was given up.
        """
        if status == self.change.observed and not self.moved:
            return True
        self.conflicting = status != self.status
        self.acknowledged = not self.conflicting
        return False

    def result(self, after: Status | None, stopped: WorkerError | None, *, verified: bool) -> NumberResult:
        """Return the result of the number, which the verification read has shown as `after`.

        Without such a read it is not `verified`. `stopped` is why the account's run ended early, None if it did not.
        """
        change = self.change
        if self.superseded and not verified:
            after = self.seen
        outcome, error = self._judge(after, stopped, verified=verified)
        unmoved = not self.sequence or after == change.observed
        if self.held is not None and unmoved:
            outcome, error = Outcome.HELD, NumberError("Held", self.held)
        if self.expired and unmoved:
            outcome, error = Outcome.CONFLICT, out_of_time(change)
        return NumberResult(
            phone=self.phone,
            action=change.action,
            desired=change.desired,
            before=change.observed,
            after=after if self.sequence or self.superseded else change.observed,
            outcome=outcome,
            attempts=self.sequence,
            error=error,
            duration_ms=round((self.ended - self.began) * 1000) if self.sequence else 0,
        )

    def _judge(
        self, after: Status | None, stopped: WorkerError | None, *, verified: bool
    ) -> tuple[Outcome, NumberError | None]:
        change = self.change
        error = None if self.error is None else self.error.number_error
        if self.superseded and not self.ambiguous:
            # no request of this run was carried out: the status is what others made it
            return (Outcome.UNCHANGED, None) if after == self.status else _changed_by_others(after)
        if not self.sequence:
            return Outcome.NOT_ATTEMPTED, error or (None if stopped is None else stopped.number_error)
        if verified and after == self.status and not self.conflicting:
            # refused or not, it was asked for and it shows, unless no request left or the quota was used up
            unsent = isinstance(self.error, ConnectionFailed | RateLimited)
            ours = self.acknowledged or self.ambiguous or not unsent
            return (Outcome.CHANGED if ours else Outcome.UNCHANGED), None
        if isinstance(self.error, NumberRejected):
            return (Outcome.BLOCKED if isinstance(self.error, NotWritable) else Outcome.FAILED), error
        if not verified:
            unproven = NumberError("Unproven", Message("the account could not be read after the write; plan again"))
            landed = self.acknowledged or self.ambiguous
            return (Outcome.UNVERIFIED, error or unproven) if landed else (Outcome.FAILED, error)
        if self.conflicting or after not in {change.observed, change.desired}:
            return _changed_by_others(after)
        if self.acknowledged:
            lost = Message(
                "the API accepted the write, but the number is still {status}; plan again", status=f"{after}"
            )
            return Outcome.UNVERIFIED, NumberError("Unproven", lost)
        if isinstance(self.error, Interrupted | DeadlineExceeded) and error is not None:
            message = Message.plural(
                "{count} attempt failed before the run was stopped: {reason}",
                "{count} attempts failed before the run was stopped: {reason}",
                self.sequence,
                reason=error.message,
            )
            error = NumberError(error.code, message)
        return Outcome.FAILED, error


def out_of_time(change: Change) -> NumberError:
    """Return the error of a write that its file asked for until a time that has passed."""
    message = Message(
        "the file asked for {status} until {until}, which has passed: plan again",
        status=change.desired,
        until=change.until or "",
    )
    return NumberError("Conflict", message)


def _changed_by_others(after: str | None) -> tuple[Outcome, NumberError]:
    if after is None:
        message = Message("the number was removed by someone else in the meantime")
    else:
        message = Message("the number was changed by someone else in the meantime: it is {status}", status=after)
    return Outcome.CONFLICT, NumberError("Conflict", message)
