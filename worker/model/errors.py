"""Every error the worker raises on purpose. How to react hangs on the type alone.

WorkerError
├── UsageError                 wrong options or a missing answer: nothing was sent
├── DesiredStateError          problems in desired-state files, each with its place
├── SettingsError              problems in settings, each with its place
├── ImplausibleNumber          a listed number cannot exist, and the account does not have it: nothing was written
├── PolicyRefusal              a safety rule refused the plan: nothing was written
├── Declined                   a person looked at the plan and did not say yes: nothing was written
├── PlanFileError              a saved plan cannot be used: nothing was sent
├── StalePlan                  the account is no longer as the plan saw it: nothing was written
├── CredentialsMissing         an account's credentials are not where its file says
├── ChannelUnusable            a notification channel cannot be used
├── DuplicateAccount           two names turned out to be one account: nothing was written to it
├── AccountBusy                another run holds the account
├── LedgerError                the folder for local state cannot be used
├── Interrupted                a signal arrived before the request was sent
├── DeadlineExceeded           the account's time was up before the request was sent
├── CircuitOpen                nobody answered for so long that the request was not sent
├── CanaryFailed               the accounts that went first failed: this one was not begun with
├── ActivationsFailed          the deactivations leaned on activations that failed: they were not tried
├── InternalError              a bug in the worker: the account is reported as failed
└── ApiError                   an answer, or the lack of one
    ├── TransientError         not carried out; the same request may work later
    │   ├── RateLimited        the window is used up
    │   ├── SignatureReused    refused because of its signature alone
    │   ├── ServerError        the server or a proxy failed on a read
    │   └── ConnectionFailed   no connection, or it broke on a read
    ├── Ambiguous              a write was sent and its outcome is unknown
    ├── NumberRejected         this number's write was refused
    │   ├── NotRegistered      the account has no such number
    │   └── NotWritable        its status is neither ACTIVE nor INACTIVE
    └── AccountRejected        nothing of this account can work
        └── ClockSkewed        the server's clock and ours are too far apart
"""

from collections.abc import Sequence

from msgspec import Struct

from worker.model.messages import Message, joined

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
    """A safety rule that a plan breaks. `rule` is the name that `--allow` takes."""

    rule: str
    message: str


class ErrorInfo(Struct, frozen=True):
    """Why an account could not be planned or applied."""

    code: str
    message: str


class NumberError(Struct, frozen=True):
    """Why a number did not converge; `http_status` where the API answered."""

    code: str
    message: str
    http_status: int | None = None


class WorkerError(Exception):
    """The root. `code` is the stable name that JSON documents and logs carry."""

    @property
    def code(self) -> str:
        """The class's own name, unless the API gave a code."""
        return type(self).__name__

    @property
    def info(self) -> ErrorInfo:
        """The error as a document carries it for an account."""
        return ErrorInfo(self.code, str(self))

    @property
    def number_error(self) -> NumberError:
        """The error as a document carries it for one number."""
        return NumberError(self.code, str(self))


class Problem(Struct, frozen=True, order=True):
    """One thing wrong in a file. `line` and `column` count from 1."""

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
    """The command cannot be carried out as it was given."""


class _ProblemsError(WorkerError):
    """An error that is a list of problems; `untold` is how many more there are than anybody reads."""

    def __init__(self, problems: Sequence[Problem], untold: int = 0) -> None:
        more = [Message("… and {count:,} more", count=untold)] if untold else []
        super().__init__(joined([*map(str, problems), *more], "\n"))
        self.problems = tuple(problems)
        self.untold = untold


class DesiredStateError(_ProblemsError):
    """The desired state cannot be used; `problems` has every reason: file by file, then what files do not agree on."""


class SettingsError(_ProblemsError):
    """The settings cannot be used; `problems` has every reason. An environment variable is a source of its own."""


class ImplausibleNumber(WorkerError):
    """A file lists a number that no account is likely to have, and this account does not have it."""


class PolicyRefusal(WorkerError):
    """Safety rules refused the plan; `refusals` names each."""

    def __init__(self, refusals: Sequence[Refusal]) -> None:
        super().__init__("; ".join(refusal.message for refusal in refusals))
        self.refusals = tuple(refusals)


class PlanFileError(WorkerError):
    """A saved plan is not one, was changed, is of another version, or is too old to be carried out."""


class StalePlan(WorkerError):
    """The account changed between the plan and the look before the first write."""


class CredentialsMissing(WorkerError):
    """An account's credentials are not where they should be. The message names the place, nothing of a secret."""


class ChannelUnusable(WorkerError):
    """A notification channel cannot be used: its library is missing, or its URL, which is not told, is none."""


class Declined(WorkerError):
    """A person was asked and did not say yes."""


class DuplicateAccount(WorkerError):
    """The API answered for accounts of different names that they are one account; the message names each place."""


class AccountBusy(WorkerError):
    """Another run on this host holds the account."""


class LedgerError(WorkerError):
    """Local state cannot be read or written."""


class Interrupted(WorkerError):
    """The run was told to stop while this request was still waiting for its turn."""


class DeadlineExceeded(WorkerError):
    """The account's time was used up while this request was still waiting for its turn."""


class CircuitOpen(WorkerError):
    """The API failed so often in a row, and then every probe, that nothing more was sent to the account."""


class CanaryFailed(WorkerError):
    """Too much went wrong on the accounts that went first; nothing was sent to the others."""


class ActivationsFailed(WorkerError):
    """Activations failed without which too few numbers would stay ACTIVE."""


class ApiError(WorkerError):
    """What the API, a proxy or the network answered.

    `http_status` is None where no complete answer arrived. `api_code` is the API's `errorCode` and the message its own,
    where it sent one. `timed_out`: we stopped waiting, so the request may still arrive.
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
        """The API's code, or the class's name."""
        return self.api_code or type(self).__name__

    @property
    def number_error(self) -> NumberError:
        """The error as a document carries it for one number."""
        return NumberError(self.code, str(self), self.http_status)


class TransientError(ApiError):
    """The request was not carried out, and may be sent again."""


class RateLimited(TransientError):
    """429. `retry_after` is how many seconds the server asked to wait, None where it did not say."""

    def __init__(self, message: str, *, retry_after: float | None = None, api_code: str | None = None) -> None:
        super().__init__(message, http_status=429, api_code=api_code)
        self.retry_after = retry_after


class SignatureReused(TransientError):
    """The server has seen this signature before; a new one will do."""


class ServerError(TransientError):
    """The server failed on a read, or answered something that is not the API's."""


class ConnectionFailed(TransientError):
    """Nothing was sent, or a read broke before its end."""


class Ambiguous(ApiError):
    """A write left this host and no trustworthy answer came: it may have been carried out, or may still be."""


class NumberRejected(ApiError):
    """The API refused the write of this one number."""


class NotRegistered(NumberRejected):
    """The account has no such number."""


class NotWritable(NumberRejected):
    """The number's status is neither ACTIVE nor INACTIVE."""


class AccountRejected(ApiError):
    """Credentials, scope, endpoint, TLS or the account itself: no request of this account can work."""


class ClockSkewed(AccountRejected):
    """The server refuses the date in the signature."""


class InternalError(WorkerError):
    """A bug of ours. It names the exception's type only, as its text may hold anything."""
