"""Which accounts are the same one, as far as that is known without asking the API.

Accounts differ by what they are, a platform and what is registered there, and not by what a file calls them.
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

Site = TypeVar("Site", bound=AccountTarget)


class IdentityResolver(Struct, frozen=True):
    """How accounts are reached: the endpoint of those that name none, and what finds the API key of a reference.

    `api_key` returns None if the key is not there.
    """

    endpoint: str
    api_key: Callable[[SecretRef], str | None]


class SameAccount(Struct, Generic[Site], frozen=True):
    """Two descriptions of one account. `pinned` is True if both pin the same account id, otherwise they share a key."""

    first: Site
    second: Site
    pinned: bool

    @property
    def contradicting(self) -> bool:
        """Return True if they share a key and yet pin different account ids."""
        return not self.pinned and None not in {self.first.account_id, self.second.account_id}


def find_same_accounts(sites: Iterable[Site], reach: IdentityResolver) -> Iterator[SameAccount[Site]]:
    """Yield each site that is the same account as an earlier one, with that one.

    Sites of one platform are the same account if they pin the same account id, or use the same API key: by value, or
    by reference where the value cannot be found.
    """
    pins: dict[tuple[str, str], Site] = {}
    keys: dict[tuple[str, str | SecretRef], Site] = {}
    resolved: dict[SecretRef, str | SecretRef] = {}
    for site in sites:
        where = platform_of(site.endpoint or reach.endpoint)
        reference = _plain((site.credentials or DEFAULT_CREDENTIALS).api_key)
        if reference not in resolved:
            resolved[reference] = reach.api_key(reference) or reference
        pinned = site if site.account_id is None else pins.setdefault((where, site.account_id), site)
        keyed = keys.setdefault((where, resolved[reference]), site)
        if pinned is not site:
            yield SameAccount(pinned, site, pinned=True)
        elif keyed is not site:
            yield SameAccount(keyed, site, pinned=False)


def find_duplicates(accounts: Sequence[DesiredAccount], reach: IdentityResolver) -> Iterator[Conflict]:
    """Yield accounts of different names that are one account, each at the later one. No message has a key."""
    for found in find_same_accounts(accounts, reach):
        first, second = found.first, found.second
        place = f"{first.source}:{first.line}"
        advice = Message("describe the account once, or split it: write the same `account:` in both documents")
        if found.pinned:
            told = Message(
                "account {name!r} pins the same account_id as {name2!r} at {place}: {advice}",
                name=second.name,
                name2=first.name,
                place=place,
                advice=advice,
            )
        elif found.contradicting:
            told = Message(
                "account {name!r} has the API key of {name2!r} at {place}, but another account_id: a key "
                "belongs to one account, so correct the credentials or the account_id of one of them",
                name=second.name,
                name2=first.name,
                place=place,
            )
        else:
            told = Message(
                "account {name!r} has the API key of {name2!r} at {place}, so both are one account: {advice}, "
                "or give one of them other credentials",
                name=second.name,
                name2=first.name,
                place=place,
                advice=advice,
            )
        yield Conflict(Problem(second.source, second.line, 1, told), (*sources(second), *sources(first)))


def _plain(reference: SecretRef) -> SecretRef:
    """Return a reference whose path is written in one way only."""
    return reference if reference.file is None else SecretRef(file=str(PurePath(reference.file)))
