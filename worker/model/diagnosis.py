"""Values of a diagnosis: the checks of the prerequisites of a run."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

__all__ = ["AccountChecks", "Check", "Diagnosis"]


class Check(Struct, frozen=True):
    """The result of one check. Its status is `skip` if the failure of an earlier check makes it impossible."""

    name: Annotated[str, Meta(description="What was checked, such as `clock`.")]
    status: Literal["ok", "warn", "fail", "skip"]
    detail: Annotated[str, Meta(description="What was found, and what to do about it.")]


class AccountChecks(Struct, frozen=True):
    """The checks of one account of the desired-state files."""

    account: str
    checks: tuple[Check, ...]


class Diagnosis(Struct, frozen=True):
    """The checks of a command.

    `checks` are those of the ledger and, if no desired-state files were given, of the default account. `accounts` has
    those of each account of the files.
    """

    checks: tuple[Check, ...]
    accounts: tuple[AccountChecks, ...] = ()
    schema: Literal["senderid.doctor/v1"] = "senderid.doctor/v1"
