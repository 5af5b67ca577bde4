"""The current state of every number, as values. Encoded as JSON, a `StatusReport` is the document of `status`."""

from typing import Literal

from msgspec import Struct

from worker.model.errors import ErrorInfo
from worker.model.plans import Count, Phone, Timestamp

__all__ = ["AccountStatus", "KnownDifference", "NextStatus", "NumberStatus", "Origin", "StatusReport"]


class NextStatus(Struct, frozen=True):
    """The next change of a number's desired status by its schedule. `status` is None for no desired status."""

    at: Timestamp
    status: str | None


class Origin(Struct, frozen=True, kw_only=True):
    """Where a field of a number comes from: its text in the file, and `location` as `file:line`.

    `by_default` is True if the entry of the number does not have the field itself.
    """

    field: str
    value: str
    location: str
    by_default: bool = False


class KnownDifference(Struct, frozen=True, kw_only=True):
    """The acknowledgement of a difference, which is not written until then. `by` is None if the file does not say."""

    reason: str
    until: Timestamp
    by: str | None = None


class NumberStatus(Struct, frozen=True, kw_only=True):
    """The state of one number. `observed` is None if the number is not registered.

    `desired` is None if nothing is desired: the number is not `listed`, or its schedule gives it no status now.
    `differs` is True if a status is desired and another one is observed. `expires_at` is the end of the registration;
    None if unknown. With `extended`, the vendor extends the registration automatically. `acknowledged` is the
    acknowledgement of the difference; None if there is none. `origins` are set by `--explain`: where each field of the
    number comes from.
    """

    phone: Phone
    observed: str | None
    desired: str | None
    differs: bool
    listed: bool = True
    protected: bool = False
    note: str | None = None
    owner: str | None = None
    next: NextStatus | None = None
    expires_at: Timestamp | None = None
    extended: bool = False
    acknowledged: KnownDifference | None = None
    origins: tuple[Origin, ...] = ()


class AccountStatus(Struct, frozen=True, kw_only=True):
    """The state of the selected numbers of one account: first the listed ones in file order, then the others.

    `error` is set if the account could not be read; it then has no numbers. `timezone` is that of the file.
    `total` is the count of numbers before filters.
    """

    account: str
    account_id: str | None = None
    timezone: str = "Asia/Seoul"
    error: ErrorInfo | None = None
    total: Count = 0
    numbers: tuple[NumberStatus, ...] = ()


class StatusReport(Struct, frozen=True, kw_only=True):
    """The document of `senderid status`: the current state of every selected number."""

    schema: Literal["senderid.status/v1"] = "senderid.status/v1"
    created_at: Timestamp
    accounts: tuple[AccountStatus, ...]
