"""Exceptions of the worker. Handlers decide by the type of an error, never by its message.

WorkerError
├── UsageError                 wrong options or a missing confirmation: nothing was sent
├── DesiredStateError          problems in desired-state files, each with its position
├── SettingsError              problems in settings, each with its position
├── ImplausibleNumber          a listed number cannot exist, and the account does not have it: nothing was written
├── PolicyRefusal              a safety rule refused the plan: nothing was written
├── Declined                   the operator declined the plan: nothing was written
├── PlanFileError              a saved plan cannot be used: nothing was sent
├── StalePlan                  the account changed after the plan: nothing was written
├── CredentialsMissing         an account's credentials are missing
├── ChannelUnusable            a notification channel cannot be used
├── DuplicateAccount           two names are one account: nothing was written to it
├── AccountBusy                another run has the lease of the account
├── LedgerError                the ledger cannot be used
│   └── LeaseLost              the lease of the account has ended, or may have
├── Interrupted                a signal stopped the run before the request was sent
├── DeadlineExceeded           the account's deadline passed before the request was sent
├── CircuitOpen                the API kept failing: the request was not sent
├── CanaryFailed               the canary accounts failed: this account was not started
├── ActivationsFailed          activations failed: the deactivations were not tried
├── InternalError              a bug in the worker: the account is reported as failed
└── ApiError                   a failed response, or no response
    ├── TransientError         no effect; the same request may succeed later
    │   ├── RateLimited        the rate limit is used up
    │   ├── SignatureReused    refused because of a reused signature
    │   ├── ServerError        the server or a proxy failed on a read
    │   └── ConnectionFailed   no connection, or it broke on a read
    ├── Ambiguous              a write was sent and its outcome is unknown
    ├── NumberRejected         this number's write was refused
    │   ├── NotRegistered      the account has no such number
    │   └── NotWritable        the number's status is neither ACTIVE nor INACTIVE
    └── AccountRejected        no request of this account can succeed
        └── ClockSkewed        the clocks of server and client differ too much
"""

from collections.abc import Sequence

from msgspec import Struct

from worker.model.messages import Message, join

__all__ = [
    "AccountBusy",
    "AccountRejected",
    "ActivationsFailed",
    "Ambiguous",
    "ApiError",
    "CanaryFailed",
    "ChannelUnusable",
    "CircuitOpen",
    "ClockSkewed",
    "ConnectionFailed",
    "CredentialsMissing",
    "DeadlineExceeded",
    "Declined",
    "DesiredStateError",
    "DuplicateAccount",
    "ErrorInfo",
    "ImplausibleNumber",
    "InternalError",
    "Interrupted",
    "LeaseLost",
    "LedgerError",
    "NotRegistered",
    "NotWritable",
    "NumberError",
    "NumberRejected",
    "PlanFileError",
    "PolicyRefusal",
    "Problem",
    "RateLimited",
    "Refusal",
    "ServerError",
    "SettingsError",
    "SignatureReused",
    "StalePlan",
    "TransientError",
    "UsageError",
    "WorkerError",
]


class Refusal(Struct, frozen=True):
    """The refusal of a plan by a safety rule. `rule` is the rule's name, as in `--allow`."""

    rule: str
    message: str


class ErrorInfo(Struct, frozen=True):
    """The error of an account that could not be planned or applied: a stable code and a message."""

    code: str
    message: str

    @property
    def is_declined(self) -> bool:
        """Return True if the operator declined the plan, which needs no attention."""
        return self.code == Declined.__name__


class NumberError(Struct, frozen=True):
    """The error of a number that did not reach its desired status. `http_status` is None without a response."""

    code: str
    message: str
    http_status: int | None = None


class WorkerError(Exception):
    """The base class of all errors of the worker. `code` is the error's stable name in JSON documents and logs."""

    @property
    def code(self) -> str:
        """The class name."""
        return type(self).__name__

    @property
    def info(self) -> ErrorInfo:
        """The error as a value, for the plan or result of an account."""
        return ErrorInfo(self.code, str(self))

    @property
    def number_error(self) -> NumberError:
        """The error as a value, for the result of one number."""
        return NumberError(self.code, str(self))


class Problem(Struct, frozen=True, order=True):
    """A problem in a file, with its position. `source` is the file's name; `line` and `column` count from 1."""

    source: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return Message(
            "{source}:{line}:{column}: {message}",
            source=self.source,
            line=self.line,
            column=self.column,
            message=self.message,
        )


class UsageError(WorkerError):
    """The options or arguments of a command are wrong."""


class _ProblemsError(WorkerError):
    """The base class of errors that list problems. `omitted_count` is the count of problems that are not listed."""

    def __init__(self, problems: Sequence[Problem], omitted: int = 0) -> None:
        suffix = [Message("… and {count:,} more", count=omitted)] if omitted else []
        super().__init__(join([*map(str, problems), *suffix], "\n"))
        self.problems = tuple(problems)
        self.omitted_count = omitted


class DesiredStateError(_ProblemsError):
    """The desired state is invalid. `problems` lists those of each file in file order, then conflicts between files."""


class SettingsError(_ProblemsError):
    """The settings are invalid. The `source` of a problem is the settings file or an environment variable."""


class ImplausibleNumber(WorkerError):
    """A file lists an implausible number, and the account does not have it."""


class PolicyRefusal(WorkerError):
    """Safety rules refused the plan. `refusals` contains one entry per rule."""

    def __init__(self, refusals: Sequence[Refusal]) -> None:
        super().__init__("; ".join(refusal.message for refusal in refusals))
        self.refusals = tuple(refusals)


class PlanFileError(WorkerError):
    """A saved plan is invalid, was modified, has another version, or is too old."""


class StalePlan(WorkerError):
    """The account changed between the plan and the read before the first write."""


class CredentialsMissing(WorkerError):
    """A secret is missing or cannot be used. The message names its variable, file or command, never its value."""


class ChannelUnusable(WorkerError):
    """A notification channel cannot be used: its library is missing or its URL is invalid. No message shows the URL."""


class Declined(WorkerError):
    """The operator did not confirm the plan."""


class DuplicateAccount(WorkerError):
    """Two or more names in the files are the same account at the API. The message gives the location of each."""


class AccountBusy(WorkerError):
    """Another run has the lease of the account."""


class LedgerError(WorkerError):
    """The ledger or its folder cannot be read or written."""


class LeaseLost(LedgerError):
    """The lease of the account has ended, or may have: another run may write to the account."""


class Interrupted(WorkerError):
    """The run was stopped before this request was sent."""


class DeadlineExceeded(WorkerError):
    """The account's deadline passed before this request was sent, or during a read."""


class CircuitOpen(WorkerError):
    """The API kept failing, and so did every probe: no more requests are sent to the account."""


class CanaryFailed(WorkerError):
    """The canary accounts failed, so the run did not start this account."""


class ActivationsFailed(WorkerError):
    """Activations failed, so the deactivations were not sent: too few numbers would have stayed ACTIVE."""


class ApiError(WorkerError):
    """A failure of the API, a proxy or the network.

    `http_status` is None without a complete response. `api_code` is the `errorCode` of the API; None if the response
    has none. The message is the API's own, if it sent one. `timed_out` is True if the client stopped waiting for the
    response: the server may still receive the request.
    """

    def __init__(
        self, message: str, *, http_status: int | None = None, api_code: str | None = None, timed_out: bool = False
    ) -> None:
        super().__init__(message)
        self.http_status = http_status
        self.api_code = api_code
        self.timed_out = timed_out

    @property
    def code(self) -> str:
        """The API's error code; the class name if the API sent none."""
        return self.api_code or type(self).__name__

    @property
    def number_error(self) -> NumberError:
        """The error as a value, for the result of one number."""
        return NumberError(self.code, str(self), self.http_status)


class TransientError(ApiError):
    """The request had no effect and may be sent again."""


class RateLimited(TransientError):
    """HTTP 429: the rate limit is used up. `retry_after` is the wait that the server requests, in seconds, or None."""

    def __init__(self, message: str, *, retry_after: float | None = None, api_code: str | None = None) -> None:
        super().__init__(message, http_status=429, api_code=api_code)
        self.retry_after = retry_after


class SignatureReused(TransientError):
    """The server has received this signature before. A request with a new signature can succeed."""


class ServerError(TransientError):
    """The server or a proxy failed on a read, or the response is not in the format of the API."""


class ConnectionFailed(TransientError):
    """Nothing was sent, or the connection broke during a read."""


class Ambiguous(ApiError):
    """A write was sent, but its result is unknown: it may have taken effect, or may still take effect."""


class NumberRejected(ApiError):
    """The API refused the write of this one number."""


class NotRegistered(NumberRejected):
    """The account has no such number."""


class NotWritable(NumberRejected):
    """The number's status is neither ACTIVE nor INACTIVE."""


class AccountRejected(ApiError):
    """The credentials, scope, endpoint, TLS or account is rejected: no request of this account can succeed."""


class ClockSkewed(AccountRejected):
    """The server refuses the date in the signature: the clocks of server and client differ too much."""


class InternalError(WorkerError):
    """A bug in the worker. The message is only the type of the exception, because its text may contain a secret."""
