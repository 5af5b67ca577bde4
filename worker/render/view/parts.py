"""The parts of the views of plans, results and runs."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, TypeVar

from msgspec import Struct

from worker.model.history import Attempt
from worker.model.results import Requests
from worker.render.i18n import gettext as _
from worker.render.i18n import ngettext
from worker.render.marks import Mark, Tone, mark_of, rank
from worker.render.view.attention import AttentionGroup

__all__ = [
    "MANY",
    "AccountView",
    "CountView",
    "DocumentView",
    "NumberGroup",
    "NumberRow",
    "Share",
    "count_views",
    "status_text",
]

K = TypeVar("K", bound=str)

MANY: Final = 20
"""Most rows of one kind, or accounts, that are shown completely; more are shown as a sample and a count."""


class CountView(Struct, frozen=True):
    """The count of numbers with an action or outcome, and of the accounts that have them."""

    mark: Mark
    numbers: int
    accounts: int


class Share(Struct, frozen=True):
    """The counts of ACTIVE numbers of an account, and of those that its plan activates and deactivates."""

    active: int
    activated: int
    deactivated: int

    @property
    def after(self) -> int:
        """The count of ACTIVE numbers after the plan."""
        return self.active + self.activated - self.deactivated

    @property
    def percent(self) -> int:
        """The percentage of ACTIVE numbers that are deactivated, rounded up: one of a thousand is not 0 %."""
        return -(-100 * self.deactivated // self.active) if self.active else 0


class NumberRow(Struct, frozen=True, kw_only=True):
    """One number. `status` says what it has or gets, `reason` why, `cause` who made it differ from the desired state.

    `external` is `cause` unless the file alone changed. `tries` counts requests, `attempts` are those of the ledger.
    """

    phone: str
    mark: Mark
    status: str = ""
    needs_attention: bool = False
    reason: str = ""
    cause: str = ""
    external: str = ""
    until: str = ""
    note: str = ""
    owner: str = ""
    error: str = ""
    tries: int = 0
    attempts: tuple[Attempt, ...] = ()
    duration_ms: int = 0


class NumberGroup(Struct, frozen=True):
    """Numbers with the same action or outcome, for the same reason.

    `advice` says what happened and what to do; where it is None, each row says it for itself.
    """

    mark: Mark
    advice: str | None
    rows: Sequence[NumberRow]


class AccountView(Struct, frozen=True, kw_only=True):
    """One account. `mark` is its verdict or its ending, `brief` the same in a phrase with its counts.

    `groups` builds its rows, `size` of them; accounts with equal `content` have the same rows. `stuck` is how many of
    its numbers need attention. `provenance` says how the account was reached and by which rules.
    """

    name: str
    id: str | None
    mark: Mark
    brief: str
    counts: Mapping[str, int]
    stuck: int
    size: int
    content: object
    groups: Callable[[], Sequence[NumberGroup]]
    error: str = ""
    refusals: Sequence[AttentionGroup] = ()
    notices: Sequence[AttentionGroup] = ()
    requests: Requests = Requests()
    provenance: tuple[str, ...] = ()
    share: Share | None = None

    @property
    def needs_attention(self) -> bool:
        """Return True if it needs attention."""
        return bool(self.stuck) or self.mark.tone != "good"


class DocumentView(Struct, frozen=True, kw_only=True):
    """A plan, a result or a run. `verdict` is a sentence, `remarks` are others with their tones; `ending` is a run's.

    `accounts` are those with something to show, the most serious first, `unread` those that could not be planned, and
    `quiet` the names of all others. `attention` is what an operator must do, `notices` what is worth knowing.
    """

    title: str
    tone: Tone
    verdict: str
    ending: Mark | None = None
    remarks: Sequence[tuple[Tone, str]] = ()
    counts: Sequence[CountView] = ()
    accounts: Sequence[AccountView] = ()
    unread: Sequence[AccountView] = ()
    quiet: Sequence[str] = ()
    attention: Sequence[AttentionGroup] = ()
    notices: Sequence[AttentionGroup] = ()

    @property
    def quiet_text(self) -> str:
        """The sentence on several accounts as desired, with a place for their `{names}`; empty if there is none."""
        if not self.quiet or len(self.quiet) + len(self.accounts) + len(self.unread) == 1:
            return ""
        number = len(self.quiet)
        text = ngettext("{count} account is as desired: {names}", "{count} accounts are as desired: {names}", number)
        return text.replace("{count}", f"{number:,}")


def count_views(counts: Mapping[str, int], accounts: Iterable[Mapping[K, int]]) -> list[CountView]:
    """Return the counts of a document that are not 0, in order, each with the count of its accounts."""
    each = [{name for name, number in counts.items() if number} for counts in accounts]
    return [
        CountView(
            mark_of(key),
            counts[key],
            sum(key in names for names in each),
        )
        for key in sorted(counts, key=rank)
        if counts[key]
    ]


def status_text(observed: str | None, desired: str | None) -> str:
    """Return the text of a status that does not become the desired one, or that has no desired one."""
    if observed is None:
        return _("not registered")
    if desired in {observed, None}:
        return observed
    return _("{observed}, not {desired}").format(observed=observed, desired=desired)
