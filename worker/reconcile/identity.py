"""Identity of accounts: the platform of the API and the vendor's account id. Names in files are not part of it."""

from collections.abc import Mapping
from hashlib import sha256
from itertools import islice
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from worker.config.settings import Settings
from worker.config.urls import platform_of
from worker.ledger import Subject
from worker.model.accounts import DesiredAccount, SafetyOverride
from worker.model.credentials import CredentialsRef
from worker.model.errors import DuplicateAccount
from worker.model.fleet import LANES
from worker.model.messages import Message
from worker.model.plans import AccountPlan
from worker.model.ports import DescribedAccount, revision
from worker.model.safety import InUse, Safety
from worker.plan.build import Draft, Terms
from worker.plan.planfile import LeftOut, SavedAccount
from worker.plan.safety import effective_safety, effective_use

__all__ = ["Identities", "duplicate_error", "key", "lane", "left_out_subject", "planned_subject", "saved_subject"]


_MAX_NAMES: Final = 10
"""Maximum count of names of an account that a message lists."""


class _Identity(Struct, frozen=True):
    """The identity of an account, as a read found it.

    `location` is the file and line that describe the account. `reach` is the endpoint, the credentials and the pinned
    account id with which it was read.
    """

    key: str
    account_id: str
    location: str
    reach: tuple[str | None, CredentialsRef | None, str | None]


def _reach(desired: DesiredAccount) -> tuple[str | None, CredentialsRef | None, str | None]:
    return desired.endpoint, desired.credentials, desired.account_id


class Identities:
    """The known identities of accounts, by name, to find names that describe the same account."""

    def __init__(self) -> None:
        self._by_name: dict[str, _Identity] = {}
        self._names: dict[str, dict[str, None]] = {}

    def learn(self, desired: DesiredAccount, plan: AccountPlan, default: str) -> None:
        """Record the identity of an account from its plan.

        `default` is the endpoint of an account that sets none. An account that could not be read keeps its identity
        if its endpoint, credentials and pinned account id have not changed.
        """
        identity_before = self._by_name.get(desired.name)
        if plan.error is not None and identity_before is not None and identity_before.reach == _reach(desired):
            return
        self.forget(desired.name)
        if plan.error is None and plan.account_id is not None:
            self._add(desired, plan.account_id, default)

    def _add(self, desired: DesiredAccount, account_id: str, default: str) -> None:
        location = f"{desired.source}:{desired.line}"
        identity = _Identity(key(desired.endpoint or default, account_id), account_id, location, _reach(desired))
        self._by_name[desired.name] = identity
        self._names.setdefault(identity.key, {})[desired.name] = None

    def recall(self, desired: DesiredAccount, name: str, default: str) -> None:
        """Record that an earlier run found the account to be the same as `name`, unless its identity is known."""
        same = self._by_name.get(name)
        if same is None or desired.name in self._by_name or desired.account_id not in {None, same.account_id}:
            return
        if key(desired.endpoint or default, same.account_id) == same.key:
            self._add(desired, same.account_id, default)

    def forget(self, name: str) -> None:
        """Forget the identity of an account."""
        identity = self._by_name.pop(name, None)
        if identity is not None:
            names = self._names[identity.key]
            del names[name]
            if not names:
                del self._names[identity.key]

    def duplicate(self, name: str) -> DuplicateAccount | None:
        """Return an error that lists all names of the account; None if it has only one name."""
        identity = self._by_name.get(name)
        names = () if identity is None else tuple(self._names[identity.key])
        if len(names) < 2:  # noqa: PLR2004 - one is the account itself
            return None
        return duplicate_error({name: self._by_name[name].location for name in names})


def duplicate_error(locations: Mapping[str, str]) -> DuplicateAccount:
    """Return the error of an account that has several names, each with the location that describes it."""
    places = tuple(
        Message("{name!r} ({location})", name=name, location=location)
        for name, location in islice(locations.items(), _MAX_NAMES)
    )
    return DuplicateAccount(
        Message(
            "{count} names describe one account ({places}), so nothing was written to it: describe it once, or "
            "write the same `account:` in each document to split it",
            count=len(locations),
            places=places,
        )
    )


def key(endpoint: str, account_id: str | None) -> str:
    """Return the key that identifies an account in all runs and files: its platform and its id."""
    return f"{platform_of(endpoint)} {account_id}"


def lane(endpoint: str, api_key: str) -> int:
    """Return the lane of an API key, from 0 to 1,023. One process at a time writes to the accounts of a lane."""
    return int.from_bytes(sha256(f"{platform_of(endpoint)} {api_key}".encode()).digest()[:8]) % LANES


def planned_subject(desired: DesiredAccount, draft: Draft, terms: Terms, default: str) -> Subject:
    """Return the ledger's record of the account of a plan."""
    safety, in_use = effective_safety(terms.safety, desired.safety), effective_use(terms.in_use, desired.in_use)
    subject = _subject(desired, draft.plan, safety, in_use, desired.endpoint or default)
    return replace(subject, registered=draft.registered_count)


def saved_subject(account: SavedAccount) -> Subject:
    """Return the ledger's record of an account of a saved plan."""
    return _subject(account, account, account.safety, account.in_use, account.endpoint)


def left_out_subject(account: LeftOut, source: str, settings: Settings) -> Subject:
    """Return the ledger's record of an account that the plan file `source` leaves out.

    The record has no account id, as the plan file does not say which endpoint the id belongs to.
    """
    return Subject(
        key=key(settings.endpoint, None),
        account=account.account,
        account_id=None,
        endpoint=settings.endpoint,
        credentials=None,
        safety=effective_safety(settings.safety, SafetyOverride()),
        source=source,
    )


def _subject(
    account: DescribedAccount, plan: AccountPlan | SavedAccount, safety: Safety, in_use: InUse, endpoint: str
) -> Subject:
    files = revision(account)
    return Subject(
        key=key(endpoint, plan.account_id),
        account=plan.account,
        account_id=plan.account_id,
        endpoint=endpoint,
        credentials=account.credentials,
        safety=safety,
        in_use=in_use,
        groups=account.groups,
        source=files.source,
        sha256=files.sha256,
        commit=files.commit,
    )
