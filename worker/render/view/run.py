"""The views of recorded runs: one run, and runs in a list."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import Any, Final

from worker.model.credentials import CredentialsRef, SecretRef
from worker.model.history import AccountRecord, Ending, RunRecord
from worker.model.messages import Message
from worker.model.results import Outcome
from worker.render.i18n import gettext as _
from worker.render.i18n import translate
from worker.render.marks import brief_counts, counts_text, ending_mark, mark_of, rank
from worker.render.view.attention import error_items, error_text, group_by
from worker.render.view.parts import AccountView, DocumentView, NumberGroup, count_views
from worker.render.view.result import attention_items, number_row

__all__ = ["endpoint_text", "flatten", "groups_of", "run_view", "seconds_between", "user_and_host"]

_UNFINISHED: Final = Message("The run is in progress or it crashed. The next apply to its account settles the rest.")
_HASH_COLUMNS: Final = 12
_NEED_ATTENTION: Final = frozenset(outcome for outcome in Outcome if outcome.needs_attention)


def run_view(run: RunRecord) -> DocumentView:
    """Return the view of one run of the ledger."""
    ending = ending_mark(run.outcome, [account.error for account in run.accounts])
    word = translate(ending.word).capitalize()
    return DocumentView(
        title=_("Run {run}").format(run=run.run_id),
        tone=ending.tone,
        ending=ending,
        verdict=f"{word}: {counts_text(run.counts)}.",
        remarks=[("warn", translate(_UNFINISHED))] if run.outcome is Ending.UNFINISHED else [],
        counts=count_views(run.counts, (account.counts for account in run.accounts)),
        accounts=[_account(account) for account in run.accounts],
        attention=[
            *error_items(((account.account, account.error) for account in run.accounts), _("Stopped")),
            *attention_items((account.account, account.error, account.numbers or ()) for account in run.accounts),
        ],
    )


def _account(account: AccountRecord) -> AccountView:
    mark = ending_mark(account.outcome, [account.error])
    numbers = account.numbers or ()
    provenance = tuple(_provenance(account))
    return AccountView(
        name=account.account,
        id=account.account_id,
        mark=mark,
        brief=f"{translate(mark.word)}, {brief_counts(account.counts)}",
        counts=account.counts,
        attention_count=sum(number for outcome, number in account.counts.items() if outcome in _NEED_ATTENTION),
        size=len(numbers),
        content=(numbers, provenance),
        groups=partial(groups_of, account),
        error="" if account.error is None else error_text(account.error),
        requests=account.requests,
        provenance=provenance,
    )


def groups_of(account: AccountRecord) -> list[NumberGroup]:
    """Return the numbers of an account in one run, grouped by outcome. Numbers without an outcome come first."""
    groups = group_by((number.outcome, number) for number in account.numbers or ())
    return [
        NumberGroup(mark_of(outcome), None, list(map(number_row, numbers_alike)))
        for outcome, numbers_alike in sorted(groups.items(), key=lambda item: rank(item[0]))
    ]


def _provenance(account: AccountRecord) -> Iterator[str]:
    revision = [f"sha256 {account.sha256[:_HASH_COLUMNS]}"] if account.sha256 else []
    revision += [f"commit {account.commit}"] if account.commit else []
    yield _("from {source}").format(source=account.source) + (f" ({', '.join(revision)})" if revision else "")
    yield endpoint_text(account)
    safety = account.safety
    limits = _("safety: max_deactivations {max_deactivations}, min_active {min_active}, pair_swaps {pair_swaps}")
    yield limits.format(
        max_deactivations=safety.max_deactivations, min_active=safety.min_active, pair_swaps=safety.pair_swaps
    )
    if account.fingerprint:
        yield _("plan {fingerprint}").format(fingerprint=account.fingerprint[:_HASH_COLUMNS])


def endpoint_text(account: AccountRecord) -> str:
    """Return a text with the endpoint and the credentials of an account."""
    text = _("at {endpoint}, with {credentials}")
    return text.format(endpoint=account.endpoint, credentials=_credentials(account.credentials))


def _credentials(reference: CredentialsRef | None) -> str:
    if reference is None:
        return _("the default credentials")
    text = _("credentials from {key} and {secret}")
    return text.format(key=_secret(reference.api_key), secret=_secret(reference.api_secret))


def _secret(reference: SecretRef) -> str:
    if reference.command is not None:
        return _("the command {program}").format(program=reference.command[0])
    return f"${reference.env}" if reference.env is not None else _("the file {path}").format(path=reference.file)


def flatten(settings: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield a text for each setting that has a value, with its dotted name."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}.")
        elif value is not None:
            yield f"{prefix}{name} {value}"


def user_and_host(run: RunRecord) -> str:
    """Return the user and the host of a run as text."""
    return f"{run.started_by}@{run.host}"


def seconds_between(start: str, end: str) -> float:
    """Return the seconds between two timestamps."""
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
