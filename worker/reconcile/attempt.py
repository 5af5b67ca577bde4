"""The write of one number: its requests, and the result that their responses and the verification read imply."""

from datetime import datetime

from worker.model.accounts import ObservedAccount, Status
from worker.model.errors import (
    ApiError,
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

__all__ = ["WriteAttempt", "expiry_error"]


class WriteAttempt:
    """The write of one number: its next request, and the result of the requests before it.

    `sequence` counts the requests sent. `intents` counts the requests whose intent the ledger has recorded. `deadline`
    is the Unix time at which the file's schedule ends this desired status; None means no end. The flags:

    - `is_accepted`: the API accepted a request, or a read showed its effect.
    - `is_ambiguous`: a request got no usable response, so its result is unknown.
    - `has_varied`: a read showed a status that the plan does not expect. If a later read shows the expected status,
      someone else changed it back.
    - `is_superseded`: before the next request, the latest read showed `latest_status`, which the plan does not expect.
    - `has_conflict`: the latest read showed neither the expected nor the desired status.
    - `is_expired`: the deadline passed before the next request.

    `hold_reason` is why the next request must not be sent. `failure` is the error of the last request.
    """

    __slots__ = (
        "change",
        "deadline",
        "end",
        "error",
        "failure",
        "has_conflict",
        "has_varied",
        "hold_reason",
        "intents",
        "is_accepted",
        "is_ambiguous",
        "is_expired",
        "is_superseded",
        "latest_status",
        "phone",
        "sequence",
        "start",
        "status",
    )

    def __init__(self, change: Change) -> None:
        self.change = change
        self.phone = change.phone
        self.status = Status(change.desired)
        self.deadline = None if change.until is None else datetime.fromisoformat(change.until).timestamp()
        self.sequence = 0
        self.intents = 0
        self.is_accepted = False
        self.is_ambiguous = False
        self.has_varied = False
        self.is_superseded = False
        self.has_conflict = False
        self.is_expired = False
        self.hold_reason: str | None = None
        self.latest_status: Status | None = None
        self.error: WorkerError | None = None
        self.failure: ApiError | None = None
        self.start = 0.0
        self.end = 0.0

    @property
    def intent(self) -> tuple[str, int, Status]:
        """The journal entry of the next request: phone, sequence number and desired status."""
        return self.phone, self.sequence + 1, self.status

    def may_send(self, latest: ObservedAccount | None, now: float) -> bool:
        """Return True if the next request may be sent, and set the flags that say why not.

        `latest` is the last read after the plan was built; None if there was no such read. `now` is Unix time in
        seconds.
        """
        if latest is not None and self._compare(latest):
            return False
        self.is_expired = self.deadline is not None and self.deadline <= now
        return not self.is_expired and self.hold_reason is None

    def _compare(self, latest: ObservedAccount) -> bool:
        """Set the flags from the latest read. Return True if the number was changed externally since it was planned."""
        self.latest_status = latest.status(self.phone)
        if not self.has_varied and self.latest_status == self.change.observed:
            return False
        self.is_superseded = True
        self.has_conflict = self.latest_status != self.status
        return True

    def resolve(self, status: Status | None) -> bool:
        """Return True if an ambiguous write must be sent again.

        `status` is the number's status in a read after the request. The write is sent again if that is still the old
        status, and no read has shown a different one.
        """
        if status == self.change.observed and not self.has_varied:
            return True
        self.has_conflict = status != self.status
        self.is_accepted = not self.has_conflict
        return False

    def result(self, after: Status | None, stop_reason: WorkerError | None, *, is_verified: bool) -> NumberResult:
        """Return the result of the number.

        `after` is its status in the verification read. `is_verified` is False if that read failed or was not made.
        `stop_reason` is the error that stopped the account early; None if nothing did.
        """
        change = self.change
        if self.is_superseded and not is_verified:
            after = self.latest_status
        outcome, error = self._judge(after, stop_reason, is_verified=is_verified)
        is_unchanged = not self.sequence or after == change.observed
        if self.hold_reason is not None and is_unchanged:
            outcome, error = Outcome.HELD, NumberError("Held", self.hold_reason)
        if self.is_expired and is_unchanged:
            outcome, error = Outcome.CONFLICT, expiry_error(change)
        return NumberResult(
            phone=self.phone,
            action=change.action,
            desired=change.desired,
            before=change.observed,
            after=after if self.sequence or self.is_superseded else change.observed,
            outcome=outcome,
            attempts=self.sequence,
            error=error,
            duration_ms=round((self.end - self.start) * 1000) if self.sequence else 0,
            note=change.note,
            owner=change.owner,
        )

    def _judge(
        self, after: Status | None, stop_reason: WorkerError | None, *, is_verified: bool
    ) -> tuple[Outcome, NumberError | None]:
        change = self.change
        error = None if self.error is None else self.error.number_error
        if self.is_superseded and not self.is_ambiguous:
            # no request of this run took effect: someone else set this status
            return (Outcome.UNCHANGED, None) if after == self.status else _changed_by_others(after)
        if not self.sequence:
            return Outcome.NOT_ATTEMPTED, error or (None if stop_reason is None else stop_reason.number_error)
        if is_verified and after == self.status and not self.has_conflict:
            # the read shows the desired status; it is this run's change unless no request left or the quota refused it
            is_unsent = isinstance(self.error, ConnectionFailed | RateLimited)
            by_this_run = self.is_accepted or self.is_ambiguous or not is_unsent
            return (Outcome.CHANGED if by_this_run else Outcome.UNCHANGED), None
        # an ambiguous request before the refused one may still take effect
        if isinstance(self.error, NumberRejected) and (is_verified or not self.is_ambiguous):
            return (Outcome.BLOCKED if isinstance(self.error, NotWritable) else Outcome.FAILED), error
        if not is_verified:
            unverified_error = NumberError(
                "Unproven", Message("the account could not be read after the write; plan again")
            )
            may_have_changed = self.is_accepted or self.is_ambiguous
            return (Outcome.UNVERIFIED, error or unverified_error) if may_have_changed else (Outcome.FAILED, error)
        if self.has_conflict or after not in {change.observed, change.desired}:
            return _changed_by_others(after)
        if self.is_accepted:
            not_shown = Message(
                "the API accepted the write, but the number is still {status}; plan again", status=f"{after}"
            )
            return Outcome.UNVERIFIED, NumberError("Unproven", not_shown)
        if isinstance(self.error, Interrupted | DeadlineExceeded) and error is not None:
            message = Message.plural(
                "{count} attempt failed before the run was stopped: {reason}",
                "{count} attempts failed before the run was stopped: {reason}",
                self.sequence,
                reason=error.message,
            )
            error = NumberError(error.code, message)
        return Outcome.FAILED, error


def expiry_error(change: Change) -> NumberError:
    """Return the error of a write whose desired status ended before it was sent."""
    message = Message(
        "the desired status {status} ended at {until}: plan again",
        status=change.desired,
        until=change.until or "",
    )
    return NumberError("Conflict", message)


def _changed_by_others(after: str | None) -> tuple[Outcome, NumberError]:
    if after is None:
        message = Message("the number was removed outside this run")
    else:
        message = Message("the number was changed outside this run: it is now {status}", status=after)
    return Outcome.CONFLICT, NumberError("Conflict", message)
