"""Detection of accounts that are described twice under different names, without a request to the API.

The identity of an account is its platform and its registration there, not its name in a file.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import PurePath
from typing import Generic, TypeVar

from msgspec import Struct

from worker.config.desired.fragments import Conflict
from worker.config.urls import platform_of
from worker.model.accounts import DesiredAccount
from worker.model.credentials import DEFAULT_CREDENTIALS, SecretRef
from worker.model.errors import Problem
from worker.model.messages import Message
from worker.model.ports import AccountTarget, sources

__all__ = ["IdentityResolver", "SameAccount", "find_duplicates", "find_same_accounts"]

Target = TypeVar("Target", bound=AccountTarget)


class IdentityResolver(Struct, frozen=True):
    """The values that accounts share: the endpoint of accounts that name none, and a lookup of API keys.

    `api_key` returns the key behind a reference; None if the key is unavailable.
    """

    endpoint: str
    api_key: Callable[[SecretRef], str | None]


class SameAccount(Struct, Generic[Target], frozen=True):
    """Two descriptions of the same account. `is_pinned` is True if both pin its id; otherwise they share an API key."""

    first: Target
    second: Target
    is_pinned: bool

    @property
    def is_contradictory(self) -> bool:
        """Return True if both descriptions use the same API key but pin different account ids."""
        return not self.is_pinned and None not in {self.first.account_id, self.second.account_id}


def find_same_accounts(targets: Iterable[Target], resolver: IdentityResolver) -> Iterator[SameAccount[Target]]:
    """Yield each pair of a target and an earlier target that are the same account.

    Targets on the same platform are the same account if they pin the same account id or use the same API key. Keys are
    compared by value, or by reference if a value is unavailable.
    """
    pins: dict[tuple[str, str], Target] = {}
    keys: dict[tuple[str, str | SecretRef], Target] = {}
    key_of: dict[SecretRef, str | SecretRef] = {}
    for target in targets:
        platform = platform_of(target.endpoint or resolver.endpoint)
        reference = _plain((target.credentials or DEFAULT_CREDENTIALS).api_key)
        if reference not in key_of:
            key_of[reference] = resolver.api_key(reference) or reference
        same_id = target if target.account_id is None else pins.setdefault((platform, target.account_id), target)
        same_key = keys.setdefault((platform, key_of[reference]), target)
        if same_id is not target:
            yield SameAccount(same_id, target, is_pinned=True)
        elif same_key is not target:
            yield SameAccount(same_key, target, is_pinned=False)


def find_duplicates(accounts: Sequence[DesiredAccount], resolver: IdentityResolver) -> Iterator[Conflict]:
    """Yield a conflict for each two names of the same account, at the later one. No message has an API key."""
    for pair in find_same_accounts(accounts, resolver):
        first, second = pair.first, pair.second
        values = {"account": second.name, "other_account": first.name, "location": f"{first.source}:{first.line}"}
        if pair.is_pinned:
            message = Message(
                "account {account!r} pins the same account_id as {other_account!r} at {location}: describe the account "
                "once, or write the same `account:` in both documents to split it",
                **values,
            )
        elif pair.is_contradictory:
            message = Message(
                "account {account!r} has the API key of {other_account!r} at {location}, but another account_id: a key "
                "belongs to one account, so correct the credentials or the account_id of one of them",
                **values,
            )
        else:
            message = Message(
                "account {account!r} has the API key of {other_account!r} at {location}, so both are one account: "
                "describe the account once, write the same `account:` in both documents to split it, or give one of "
                "them other credentials",
                **values,
            )
        yield Conflict(Problem(second.source, second.line, 1, message), (*sources(second), *sources(first)))


def _plain(reference: SecretRef) -> SecretRef:
    """Return a reference with a normalized path, for comparison."""
    return reference if reference.file is None else SecretRef(file=str(PurePath(reference.file)))
