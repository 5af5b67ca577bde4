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
"""Maximum count of rows of one kind, or accounts, that are shown in full. Of more, a sample and a count are shown."""


class CountView(Struct, frozen=True):
    """The count of numbers with an action or outcome, and the count of accounts that have such numbers."""

    mark: Mark
    numbers: int
    accounts: int


class Share(Struct, frozen=True):
    """The ACTIVE numbers of an account, and the numbers that its plan activates and deactivates, as counts."""

    active: int
    activated: int
    deactivated: int

    @property
    def after(self) -> int:
        """The count of ACTIVE numbers after the plan."""
        return self.active + self.activated - self.deactivated

    @property
    def percent(self) -> int:
        """The percentage of ACTIVE numbers that are deactivated, rounded.

        It is 0 or 100 only if no number or every number is deactivated.
        """
        if self.deactivated in {0, self.active}:
            return 100 if self.deactivated else 0
        return min(max(round(100 * self.deactivated / self.active), 1), 99)


class NumberRow(Struct, frozen=True, kw_only=True):
    """The row of one number.

    `status` describes its current and its new status, and `reason` explains the mark. `cause` says which change made
    the number differ from the desired state; `external` is the same text, but empty if only the file changed. `tries`
    counts requests, and `attempts` are the requests that the ledger recorded.
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
    """The numbers with the same action or outcome, for the same reason.

    `advice` says what happened and what to do. It is None if the rows have errors of their own.
    """

    mark: Mark
    advice: str | None
    rows: Sequence[NumberRow]


class AccountView(Struct, frozen=True, kw_only=True):
    """The view of one account.

    `mark` is the mark of its verdict or its ending. `brief` is the text of the mark, followed by the counts. `groups`
    returns the rows of the account, and `size` is the number of rows. Accounts with equal `content` have the same rows.
    `attention_count` is the count of numbers that need attention. `provenance` describes the source, the endpoint, the
    credentials and the limits.
    """

    name: str
    id: str | None
    mark: Mark
    brief: str
    counts: Mapping[str, int]
    attention_count: int
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
        """Return True if the account, or any of its numbers, needs attention."""
        return bool(self.attention_count) or self.mark.tone != "good"


class DocumentView(Struct, frozen=True, kw_only=True):
    """The view of a plan, a result or a run.

    `verdict` is a sentence, `remarks` are further sentences with their tones, and `ending` is the mark of a run's
    outcome. `accounts` are the accounts with something to show, the most serious first. `unread` are the accounts that
    could not be planned, and `quiet` are the names of all other accounts. `attention` lists what an operator must do,
    and `notices` what is worth knowing. `drift` is True for a plan that contains drift only.
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
    drift: bool = False

    @property
    def quiet_title(self) -> str:
        """The count of accounts without changes, as a sentence without a full stop; empty if there are none."""
        if not self.quiet or len(self.quiet) + len(self.accounts) + len(self.unread) == 1:
            return ""
        # with drift only, the files of these accounts may still have changes to apply
        number = len(self.quiet)
        if self.drift:
            text = ngettext("{count} account has no drift", "{count} accounts have no drift", number)
        else:
            text = ngettext("{count} account is as desired", "{count} accounts are as desired", number)
        return text.format(count=f"{number:,}")


def count_views(counts: Mapping[str, int], accounts: Iterable[Mapping[K, int]]) -> list[CountView]:
    """Return the counts that are not 0, in display order, each with the count of accounts that contribute to it."""
    key_sets = [{name for name, number in counts.items() if number} for counts in accounts]
    return [
        CountView(
            mark_of(key),
            counts[key],
            sum(key in keys for keys in key_sets),
        )
        for key in sorted(counts, key=rank)
        if counts[key]
    ]


def status_text(observed: str | None, desired: str | None) -> str:
    """Return the text of an observed status that no write changes, with the desired status if it differs."""
    if observed is None:
        return _("not registered")
    if desired in {observed, None}:
        return observed
    return _("{observed}, not {desired}").format(observed=observed, desired=desired)
