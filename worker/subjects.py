"""By what the ledger knows an account: the API's platform and the vendor's id, whatever a file calls it."""

from msgspec.structs import replace

from worker.ledger import Subject
from worker.model import DesiredAccount
from worker.plan import Planned, SavedAccount
from worker.policy import effective_safety, effective_use
from worker.precautions import InUse
from worker.reconcile import Draft, Terms
from worker.settings import ENDPOINTS, Safety, endpoint
from worker.sites import Reachable, Revised

__all__ = ["key", "planned", "saved"]


def key(account: Reachable, account_id: str | None, default: str) -> str:
    """What names an account over all runs and files; `default` is the endpoint of those that name none."""
    named = account.endpoint or default
    try:
        where = endpoint(named)
    except ValueError:
        return f"{named} {account_id}"  # nothing will ever reach it
    # the vendor's hosts are one platform
    return f"{'vendor' if where in ENDPOINTS.values() else where.url} {account_id}"


def planned(desired: DesiredAccount, drawn: Draft, terms: Terms, default: str) -> Subject:
    """An account as its file describes it and its plan has seen it."""
    safety, in_use = effective_safety(terms.safety, desired.safety), effective_use(terms.in_use, desired.in_use)
    return replace(_subject(desired, drawn.plan, safety, in_use, default), registered=drawn.registered)


def saved(account: SavedAccount, default: str) -> Subject:
    """An account as a saved plan describes it."""
    return _subject(account, account, account.safety, account.in_use, default)


def _subject(account: Revised, seen: Planned, safety: Safety, in_use: InUse, default: str) -> Subject:
    return Subject(
        key=key(account, seen.account_id, default),
        account=seen.account,
        account_id=seen.account_id,
        endpoint=account.endpoint or default,
        credentials=account.credentials,
        safety=safety,
        in_use=in_use,
        groups=account.groups,
        source=account.source,
        sha256=account.sha256,
        commit=account.commit,
    )
