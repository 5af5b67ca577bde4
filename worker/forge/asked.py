"""Whether a saved plan writes what the files ask for that it says it was made of: its seal proves nothing of that."""

from worker.desired import load
from worker.errors import DesiredStateError
from worker.model import DesiredAccount, Status, Unmanaged
from worker.plan import SavedAccount

__all__ = ["unasked"]


def unasked(account: SavedAccount, data: bytes) -> str | None:
    """What an account of a saved plan has that its file, whose bytes these are, does not ask for; None for nothing.

    Its thresholds may be those of settings that are not known here.
    """
    try:
        loaded = load([(account.source, data)]).accounts
    except DesiredStateError:
        return "its file is invalid"
    found = next((each for each in loaded if each.name == account.account), None)
    if found is None:
        return "its file has no such account"
    if found.account_id not in {None, account.account_id}:
        return "it is of another account than its file pins"
    if found.credentials != account.credentials or found.endpoint not in {None, account.endpoint}:
        return "it is reached otherwise than its file says"
    if found.groups != account.groups:
        return "its groups are not those of its file"
    if any(change.desired not in _asked(found, change.phone) for change in account.writes):
        return "its file does not ask for all that it writes"
    return None


def _asked(account: DesiredAccount, phone: str) -> set[Status]:
    """Every status that a file may ever ask for a number."""
    schedule = account.schedules.get(phone)
    desired = account.numbers.get(phone)
    if desired is None and schedule is None:
        return {Status.INACTIVE} if account.unmanaged is Unmanaged.DEACTIVATE else set()
    if desired is not None and desired.protected:
        return set()
    if schedule is None:
        return set() if desired is None else {desired.status}
    plain = set() if schedule.plain is None else {schedule.plain}
    return plain | {window.status for window in schedule.dated} | {window.status for window in schedule.weekly}
