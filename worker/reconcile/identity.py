"""The identity of accounts: the API's platform and the vendor's id, whatever name a file gives them."""

from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from worker.config.urls import platform_of
from worker.ledger import Subject
from worker.model.accounts import DesiredAccount
from worker.model.credentials import CredentialsRef
from worker.model.errors import DuplicateAccount
from worker.model.messages import Message
from worker.model.plans import AccountPlan
from worker.model.ports import DescribedAccount, revision
from worker.model.safety import InUse, Safety
from worker.plan.build import Draft, Terms
from worker.plan.diff import Planned
from worker.plan.planfile import SavedAccount
from worker.plan.safety import effective_safety, effective_use

__all__ = ["Identities", "key", "planned", "saved"]


_NAMED: Final = 10
"""Names of an account that a message lists."""


class _Identity(Struct, frozen=True):
    """The identity of an account, where it is described, and how it was reached then."""

    key: str
    account_id: str
    place: str
    reach: tuple[str | None, CredentialsRef | None, str | None]


def _reach(desired: DesiredAccount) -> tuple[str | None, CredentialsRef | None, str | None]:
    return desired.endpoint, desired.credentials, desired.account_id


class Identities:
    """The identities of accounts by name. It finds names that are the same account."""

    def __init__(self) -> None:
        self._known: dict[str, _Identity] = {}
        self._names: dict[str, dict[str, None]] = {}

    def learn(self, desired: DesiredAccount, plan: AccountPlan, default: str) -> None:
        """Note the identity of an account by its plan; `default` is the endpoint of accounts that name none.

        An account that could not be read keeps its identity as long as it is reached in the same way.
        """
        before = self._known.get(desired.name)
        if plan.error is not None and before is not None and before.reach == _reach(desired):
            return
        self.forget(desired.name)
        if plan.error is None and plan.account_id is not None:
            self._note(desired, plan.account_id, default)

    def _note(self, desired: DesiredAccount, account_id: str, default: str) -> None:
        place = f"{desired.source}:{desired.line}"
        identity = _Identity(key(desired.endpoint or default, account_id), account_id, place, _reach(desired))
        self._known[desired.name] = identity
        self._names.setdefault(identity.key, {})[desired.name] = None

    def recall(self, desired: DesiredAccount, name: str, default: str) -> None:
        """Note that an account is the same as `name`, by what earlier runs noted, unless its identity is known."""
        same = self._known.get(name)
        if same is None or desired.name in self._known or desired.account_id not in {None, same.account_id}:
            return
        if key(desired.endpoint or default, same.account_id) == same.key:
            self._note(desired, same.account_id, default)

    def forget(self, name: str) -> None:
        """Forget the identity of an account."""
        identity = self._known.pop(name, None)
        if identity is not None:
            names = self._names[identity.key]
            del names[name]
            if not names:
                del self._names[identity.key]

    def duplicate(self, name: str) -> DuplicateAccount | None:
        """Return an error that names all documents of the account if others are the same account, otherwise None."""
        identity = self._known.get(name)
        names = () if identity is None else tuple(self._names[identity.key])
        if len(names) < 2:  # noqa: PLR2004 - one is the account itself
            return None
        places = tuple(
            Message("{name!r} ({location})", name=name, location=self._known[name].place) for name in names[:_NAMED]
        )
        message = Message(
            "{count} names are one account: {places}: nothing was written to it. Describe it once, or split it: write "
            "the same `account:` in each document",
            count=len(names),
            places=places,
        )
        return DuplicateAccount(message)


def key(endpoint: str, account_id: str | None) -> str:
    """Return the key of an account over all runs and files."""
    return f"{platform_of(endpoint)} {account_id}"


def planned(desired: DesiredAccount, drawn: Draft, terms: Terms, default: str) -> Subject:
    """Return the account of a plan as the ledger notes it."""
    safety, in_use = effective_safety(terms.safety, desired.safety), effective_use(terms.in_use, desired.in_use)
    return replace(_subject(desired, drawn.plan, safety, in_use, default), registered=drawn.registered)


def saved(account: SavedAccount, default: str) -> Subject:
    """Return the account of a saved plan as the ledger notes it."""
    return _subject(account, account, account.safety, account.in_use, default)


def _subject(account: DescribedAccount, seen: Planned, safety: Safety, in_use: InUse, default: str) -> Subject:
    described = revision(account)
    return Subject(
        key=key(account.endpoint or default, seen.account_id),
        account=seen.account,
        account_id=seen.account_id,
        endpoint=account.endpoint or default,
        credentials=account.credentials,
        safety=safety,
        in_use=in_use,
        groups=account.groups,
        source=described.source,
        sha256=described.sha256,
        commit=described.commit,
    )
