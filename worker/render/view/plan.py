"""The view of a plan."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import partial
from itertools import chain

from worker.model.messages import Message
from worker.model.plans import AccountPlan, Action, Cause, Change, Notice, Plan, Verdict
from worker.model.times import format_local, load_zone
from worker.render.i18n import gettext as _
from worker.render.i18n import ngettext, translate
from worker.render.marks import MARKS, VERDICTS, Tone, brief_counts, count, counts, mark_of, rank
from worker.render.view.attention import (
    AttentionGroup,
    error_items,
    error_text,
    group_by,
    notice_items,
    number_item,
    refusal_items,
    unshown_notices,
)
from worker.render.view.parts import (
    MANY,
    AccountView,
    DocumentView,
    NumberGroup,
    NumberRow,
    Share,
    count_views,
    status_text,
)

__all__ = ["merge_verdict", "plan_view"]


def plan_view(plan: Plan, *, drift: bool = False) -> DocumentView:
    """Return the view of a plan. With `drift`, the plan contains drift only."""
    readable_accounts = [account for account in plan.accounts if account.error is None]
    busy_accounts = sorted(
        filter(_is_noteworthy, readable_accounts), key=lambda account: (not account.refusals, -len(account.writes))
    )
    unread_accounts = [account for account in plan.accounts if account.error is not None]
    total = Counter[str]()
    for account in plan.accounts:
        total.update(account.counts)
    (_tone, verdict), *remarks = _sentences(plan, total, drift=drift)
    return DocumentView(
        title=_("Drift") if drift else _("Plan"),
        tone=_tone_of(plan.accounts, total),
        verdict=verdict,
        remarks=remarks,
        counts=count_views(total, (account.counts for account in plan.accounts)),
        accounts=[_account(account) for account in busy_accounts],
        unread=[_account(account) for account in unread_accounts],
        quiet=[account.account for account in readable_accounts if not _is_noteworthy(account)],
        attention=[
            *refusal_items((account.account, account.refusals) for account in busy_accounts),
            *error_items(((account.account, account.error) for account in unread_accounts), _("Could not be planned")),
            *_stuck(busy_accounts),
        ],
        notices=notice_items((account.account, notice) for account in busy_accounts for notice in _notices(account)),
        drift=drift,
    )


def _is_noteworthy(account: AccountPlan) -> bool:
    return bool(account.changes or account.refusals or account.notices)


def merge_verdict(view: DocumentView) -> str:
    """Return the sentence that says whether a change of the files may be merged; "" if it changes nothing."""
    if not view.accounts and not view.attention:
        return ""
    accounts = {name for item in view.attention if item.kind != "numbers" for name in item.accounts}
    numbers = sum(len(item.phones) for item in view.attention if item.kind == "numbers")
    if accounts:
        text = ngettext(
            "Blocked: {count} account cannot be applied.", "Blocked: {count} accounts cannot be applied.", len(accounts)
        )
        return text.format(count=f"{len(accounts):,}")
    if numbers:
        text = ngettext("Blocked: {count} number needs attention.", "Blocked: {count} numbers need attention.", numbers)
        return text.format(count=f"{numbers:,}")
    return _("Safe to merge.")


def _tone_of(accounts: Sequence[AccountPlan], total: Counter[str]) -> Tone:
    if any(account.verdict is not Verdict.OK for account in accounts):
        return "bad"
    if any(total[action] for action in Action if action.needs_attention):
        return "warn"
    return "info" if total[Action.ACTIVATE] or total[Action.DEACTIVATE] else "good"


def _account(account: AccountPlan) -> AccountView:
    mark = VERDICTS[account.verdict]
    counts_text = brief_counts(account.counts)
    return AccountView(
        name=account.account,
        id=account.account_id,
        mark=mark,
        brief=counts_text if account.verdict is Verdict.OK else f"{translate(mark.word)}, {counts_text}",
        counts=dict(account.counts.items()),
        attention_count=sum(number for action, number in account.counts.items() if action.needs_attention),
        size=len(account.changes),
        content=(account.changes, account.timezone),
        groups=partial(_groups, account),
        error="" if account.error is None else error_text(account.error),
        refusals=refusal_items([(account.account, account.refusals)]),
        notices=notice_items((account.account, notice) for notice in _notices(account)),
        share=_share(account),
    )


def _share(account: AccountPlan) -> Share | None:
    if account.active is None:
        return None
    return Share(account.active, account.counts.get(Action.ACTIVATE, 0), account.counts.get(Action.DEACTIVATE, 0))


def _groups(account: AccountPlan) -> list[NumberGroup]:
    groups = group_by(((change.action, change.reason), change) for change in account.changes)
    return [
        NumberGroup(mark_of(action), translate(reason), [_row(change, account.timezone) for change in changes_alike])
        for (action, reason), changes_alike in sorted(groups.items(), key=lambda item: rank(item[0][0]))
    ]


def _row(change: Change, timezone: str) -> NumberRow:
    writes = change.action.writes
    external = _external(change)
    return NumberRow(
        phone=change.phone,
        mark=mark_of(change.action),
        status=f"{change.observed} → {change.desired}" if writes else status_text(change.observed, change.desired),
        needs_attention=change.action.needs_attention,
        reason=translate(change.reason),
        cause=_("the file changed") if change.cause is Cause.CONFIG_CHANGE else external,
        external=external,
        until=_moment(change.until, timezone) if change.until else "",
        note=change.note or "",
        owner=change.owner or "",
    )


def _external(change: Change) -> str:
    """Return the text of an external change; empty if none is known."""
    if change.cause not in {Cause.EXTERNAL_DRIFT, Cause.BOTH}:
        return ""
    has_both = change.cause is Cause.BOTH
    if not change.since:
        return _("changed externally, and in the file") if has_both else _("changed externally")
    text = _("changed externally on {when}, and in the file") if has_both else _("changed externally on {when}")
    return text.format(when=f"{change.since[:10]} {change.since[11:16]} UTC")


def _moment(stamp: str, timezone: str) -> str:
    return format_local(datetime.fromisoformat(stamp), load_zone(timezone))


def _notices(account: AccountPlan) -> list[Notice]:
    return unshown_notices(
        account.notices, {change.phone for change in account.changes if change.action is Action.BLOCKED}
    )


def _stuck(accounts: Sequence[AccountPlan]) -> Iterator[AttentionGroup]:
    """Yield an item for each reason why numbers cannot be brought to their desired status by a write."""
    groups = group_by(
        ((change.action, change.reason), (account.account, change.phone))
        for account in accounts
        for change in account.changes
        if change.action.needs_attention
    )
    for action in MARKS:
        reasons = {translate(reason): numbers for (kind, reason), numbers in groups.items() if kind == action}
        if len(reasons) > MANY:
            text = _("{reason} There are {number:,} other reasons: see below.").format(
                reason=next(iter(reasons)), number=len(reasons) - 1
            )
            reasons = {text: list(chain.from_iterable(reasons.values()))}
        for text, numbers in reasons.items():
            yield number_item(mark_of(action), text, numbers)


def _sentences(plan: Plan, total: Counter[str], *, drift: bool) -> Iterator[tuple[Tone, str]]:
    """Yield the sentence that sums up a plan, then one for each obstacle, with their tones."""
    verdicts = Counter(account.verdict for account in plan.accounts)
    refusals, failures = verdicts[Verdict.REFUSED], verdicts[Verdict.ERROR]
    if failures and failures == len(plan.accounts):
        text = ngettext(
            "No plan: the account could not be planned.",
            "No plan: none of the {count} accounts could be planned.",
            failures,
        )
        yield "bad", text.format(count=f"{failures:,}")
        return
    yield "info", _total(total, drift=drift)
    if plan.at is not None:
        times = ", ".join(sorted({_moment(plan.at, account.timezone) for account in plan.accounts}))
        text = _("This is the plan for {when}; apply uses the current desired state.")
        yield "info", text.format(when=times)
    if refusals:
        if failures + refusals == len(plan.accounts):
            yield "bad", _("Refused: nothing will be written.")
        else:
            yield "bad", _("Refused: {accounts}.").format(accounts=count(refusals, "account"))
    if failures:
        yield "bad", _("Could not be planned: {accounts}.").format(accounts=count(failures, "account"))


def _total(total: Counter[str], *, drift: bool) -> str:
    other_counts = counts(
        (
            (total[Action.BLOCKED] + total[Action.MISSING], Message("cannot converge")),
            (total[Action.HELD], "held"),
            (total[Action.PROTECTED], "protected"),
            (total[Action.ACKNOWLEDGED], "acknowledged"),
            (total[Action.UNMANAGED], Message("not listed")),
        )
    )
    unchanged_count = total[Action.UNCHANGED]
    if not total.total():
        return _("No drift. There are no numbers.") if drift else _("No changes. There are no numbers.")
    if total[Action.ACTIVATE] or total[Action.DEACTIVATE]:
        text = _("{activations} to activate, {deactivations} to deactivate")
        writes = text.format(activations=f"{total[Action.ACTIVATE]:,}", deactivations=f"{total[Action.DEACTIVATE]:,}")
        template = _("Drift: {what}. {count} unchanged.") if drift else _("Plan: {what}. {count} unchanged.")
        return template.format(what=", ".join(filter(None, (writes, other_counts))), count=f"{unchanged_count:,}")
    as_desired = ngettext("{count} number is as desired.", "{count} numbers are as desired.", unchanged_count)
    if other_counts:
        only_known = drift and total.total() == unchanged_count + total[Action.ACKNOWLEDGED]
        drift_template = _("No drift: {what}.") if only_known else _("Drift: {what}.")
        template = drift_template if drift else _("No changes: {what}.")
    else:
        template = _("No drift.") if drift else _("No changes.")
    return f"{template.format(what=other_counts)} {as_desired.format(count=f'{unchanged_count:,}')}"
