"""The text of `senderid fleet status` and of published revisions."""

from collections.abc import Iterator

from worker.model.fleet import FleetStatus, FleetWorkerStatus, Revision, RevisionState
from worker.render.i18n import gettext as _
from worker.render.i18n import translate
from worker.render.marks import count
from worker.render.terminal import safe

__all__ = ["published", "status"]


def published(revision: Revision) -> str:
    """Return the line about a revision that was published."""
    text = _("Revision {revision}: {accounts}, {numbers}; {changed} changed, {removed} removed.")
    line = text.format(
        revision=revision.revision,
        accounts=count(revision.accounts, "account"),
        numbers=count(revision.numbers, "number"),
        changed=f"{revision.changed:,}",
        removed=f"{revision.removed:,}",
    )
    return f"{line}\n" + "".join(f"{state_line}\n" for state_line in _state(revision))


def status(document: FleetStatus) -> str:
    """Return the status of a fleet as text."""
    return "".join(f"{line}\n" for line in _lines(document))


def _lines(document: FleetStatus) -> Iterator[str]:
    revision = document.revision
    if revision is None:
        yield _("No revision is published yet: run `senderid fleet publish`.")
    else:
        text = _("Revision {revision}, published {time} by {user} on {host}: {accounts}, {numbers}.")
        yield text.format(
            revision=revision.revision,
            time=revision.published_at,
            user=safe(revision.published_by),
            host=safe(revision.host),
            accounts=count(revision.accounts, "account"),
            numbers=count(revision.numbers, "number"),
        )
        yield from _state(revision)
    if document.canary is not None and document.canary.held:
        text = _(
            "The canary waits for accounts that are suspended or in a maintenance window: {accounts}. The other "
            "accounts follow when the suspension or the window ends. To continue now, publish a revision that does not "
            "suspend them."
        )
        yield text.format(accounts=", ".join(map(safe, document.canary.held)))
    queue = document.queue
    text = _(
        "Accounts: {due} due (the oldest for {seconds:.0f} s), {in_progress} in progress, {unsettled} not reconciled "
        "since their last change, {failing} failing, {crashed} after a crash, {held} with delayed writes."
    )
    yield text.format(
        due=f"{queue.due:,}",
        seconds=queue.oldest_due_seconds,
        in_progress=f"{queue.in_progress:,}",
        unsettled=f"{queue.unsettled:,}",
        failing=f"{queue.failing:,}",
        crashed=f"{queue.crashed:,}",
        held=f"{queue.held:,}",
    )
    lanes = document.lanes
    yield _("Lanes: {held} of {total} leased, {wanted} requested by other runs.").format(
        held=lanes.held, total=lanes.total, wanted=lanes.wanted
    )
    if not document.workers:
        yield _("No worker is running: start `senderid fleet worker`.")
    for worker in document.workers:
        yield _worker(worker)


def _state(revision: Revision) -> Iterator[str]:
    if revision.paused and revision.paused_by is not None:
        text = _("Paused by {user}: {reason}. Continue with `senderid fleet resume`.")
        yield text.format(user=safe(revision.paused_by), reason=safe(revision.reason or _("no reason given")))
    elif revision.paused:
        text = _("Paused: {reason}. Publish a corrected revision, or continue with `senderid fleet resume`.")
        yield text.format(reason=safe(translate(revision.reason or "")))
    elif revision.state is RevisionState.CANARY:
        yield _("Canary: {accounts} first; the other accounts follow if these succeed.").format(
            accounts=count(revision.canary, "account")
        )


def _worker(worker: FleetWorkerStatus) -> str:
    state = _("lost") if not worker.alive else _("draining") if worker.draining else _("running")
    text = _(
        "Worker {worker}: {state}, host {host}, process {pid}, since {time}, {lanes} lanes, {accounts} reconciled."
    )
    return text.format(
        worker=worker.worker,
        state=state,
        host=safe(worker.host),
        pid=worker.pid,
        time=worker.started_at,
        lanes=worker.lanes,
        accounts=count(worker.accounts, "account"),
    )
