"""Properties of every daemon, computed from the model, the files and the accepted notifications.

The oracles continue the numbers of `oracles.py`.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from tests.simulation.history import Request
from tests.simulation.watch_world import CHANNELS, GRACE, PassRecord, WatchWorld
from worker.config.channels import Event
from worker.config.settings import RateLimit
from worker.model.results import RunOutcome
from worker.plan.policy import Selection

__all__ = ["WATCH_ORACLES", "judge_watch"]

_LATE: Final = 1.0
"""Seconds after an edge, or after the pass that it falls into, in which a pass must start."""
_STOP_SECONDS: Final = 60.0
"""Seconds that a daemon may take to stop: in-flight requests, verification reads and deliveries."""
_EXACT: Final = 0.001
"""Seconds: the resolution of timers."""
_WRITABLE: Final = frozenset({"ACTIVE", "INACTIVE"})

Oracle = Callable[[WatchWorld], Iterator[str]]


def judge_watch(world: WatchWorld) -> None:
    """Add the violations that the oracles find to the world."""
    world.violations += (f"{name}: {actual}" for name, oracle in WATCH_ORACLES for actual in oracle(world))


def _edges_are_acted_on(world: WatchWorld) -> Iterator[str]:
    """Each edge of a file has a pass over its account immediately, or right after the pass in progress."""
    for life in world.lives:
        passes = [record for record in world.passes if record.life is life]
        for account in world.scenario.accounts:
            for edge in _edges(world, account.name):
                under_way = next(
                    (record for record in passes if record.began.at < edge - _EXACT and edge <= _end(record)), None
                )
                bound = _LATE + (edge if under_way is None else _end(under_way))
                if edge <= life.started.at or life.stopped is None or life.stopped.at <= bound:
                    continue
                current = [record for record in passes if edge - _EXACT <= record.began.at <= bound]
                # a pass that waits for its quota at the signal sends nothing
                if not any(_requests(world, record, account.name) or _is_interrupted(record) for record in current):
                    yield f"no pass reads {account.name} within {bound - edge:.3f} s of its edge at {edge:.3f}"


def _edges(world: WatchWorld, account: str) -> Iterator[float]:
    """Yield the edges of each version that is in force at the first read after them.

    An edge between two reads of the files, the second of which finds a new version, is due at the second read.
    """
    versions = world.versions[account]
    for (since, version), (until, _) in zip(versions, [*versions[1:], (float("inf"), None)], strict=True):
        original = bisect_left(world.file_reads, since) - 1
        for edge in sorted(version.edges()):
            read = bisect_left(world.file_reads, edge - _EXACT)
            if read < len(world.file_reads) and since <= world.file_reads[read] < until:
                if since < edge:
                    yield edge
                elif original >= 0 and world.file_reads[original] < edge:
                    yield since


def _calm_passes_converge(world: WatchWorld) -> Iterator[str]:
    """After an undisturbed pass, and at the end, every account is as its file desires."""
    for record in world.passes:
        if record.result is None or record.disk_failed or _is_interrupted(record):
            continue
        for observed in record.result.accounts:
            name = observed.plan.account
            reads = [read for read in _requests(world, record, name) if read.account_at_response is not None]
            if reads and not (name in record.suspended or observed.plan.refusals or _is_disturbed(world, record, name)):
                last = max(reads, key=lambda read: read.sent.order)
                yield from (
                    f"{record.name} leaves {wrong}" for wrong in _differences(world, record, name, last.visible)
                )
    last_pass = world.passes[-1]
    if last_pass.result is None or _is_interrupted(last_pass):
        return
    for name, version in last_pass.good.items():
        if name not in last_pass.suspended and not version.refused:
            numbers = world.apis[name].numbers
            yield from (f"the end leaves {wrong}" for wrong in _differences(world, last_pass, name, numbers))


def _is_disturbed(world: WatchWorld, record: PassRecord, name: str) -> bool:
    assert record.ended is not None
    phones = world.apis[name].numbers
    edited = any(
        edit.phone in phones and record.began.order < edit.moment.order < record.ended.order
        for edit in world.history.edits
    )
    return edited or any(request.fault != "none" for request in _requests(world, record, name))


def _differences(world: WatchWorld, record: PassRecord, name: str, numbers: dict[str, str]) -> Iterator[str]:
    for phone, listed in record.good[name].numbers.items():
        desired = listed.at(record.began.at + _EXACT)
        status = numbers.get(phone)
        edges = {edge for start, end, _ in listed.windows for edge in (start, end)}
        expired = any(record.began.at - _EXACT < edge < _end(record) + _EXACT for edge in edges)
        if not _is_selected(world, phone) or status not in _WRITABLE or expired:
            continue
        if status != desired:
            yield f"{phone} {status}, not {desired}"


def _writes_are_desired(world: WatchWorld) -> Iterator[str]:
    """A write has the status that the last valid file desires, and a recent read shows the number with another one."""
    for record, name, put in _writes(world):
        listed = record.good[name].numbers.get(put.phone)
        if listed is None or put.requested not in {listed.at(put.sent.at - GRACE), listed.at(put.sent.at + _EXACT)}:
            yield f"{record.name} requests {put.requested} for {put.phone}, but the file lists {listed}"
        elif put.requested not in {listed.at(record.began.at - _EXACT), listed.at(record.began.at + _EXACT)}:
            yield f"{record.name} requests {put.requested} for {put.phone}, which was not desired at its start"
        earlier = [request for request in _requests(world, record, name) if request.sent.order < put.sent.order]
        reads = [read.visible for read in earlier if read.account_at_response is not None]
        if all(output.get(put.phone) == put.requested for output in reads[-2:]):
            yield f"{record.name} writes {put.phone}, which its reads show as desired"


def _writes_are_allowed(world: WatchWorld) -> Iterator[str]:
    """No suspended account is written, and no unselected number is written or reported."""
    for record, name, put in _writes(world):
        if name in record.suspended:
            yield f"{record.name} writes {put.phone} of a suspended account"
        if not _is_selected(world, put.phone):
            yield f"{record.name} writes {put.phone}, which is not selected"
    for record in world.passes:
        plans = () if record.result is None else (observed.plan for observed in record.result.accounts)
        for phone in sorted({change.phone for plan in plans for change in plan.changes}):
            if not _is_selected(world, phone):
                yield f"{record.name} plans {phone}, which is not selected"


def _writes(world: WatchWorld) -> Iterator[tuple[PassRecord, str, Request]]:
    for record in world.passes:
        for name in world.apis:
            yield from ((record, name, request) for request in _requests(world, record, name) if request.writes)


def _quota_holds_across_passes(world: WatchWorld) -> Iterator[str]:
    """No sliding window at the server contains more requests of a daemon than the quotas in force around it."""
    spare = 2 * (max(quota.per_seconds for _, quota in world.quotas) + 20.0)
    for life in world.lives:
        for account, writes in (
            (account.name, writes) for account in world.scenario.accounts for writes in (True, False)
        ):
            arrivals = sorted(
                request.arrived.at
                for record in world.passes
                if record.life is life
                for request in _requests(world, record, account)
                if request.arrived is not None and request.writes == writes
            )
            for index, first in enumerate(arrivals):
                quotas = _quotas(world, first - spare, first + spare)
                capacity = max(quota.writes if writes else quota.reads for quota in quotas)
                seconds = min(quota.per_seconds for quota in quotas)
                if index + capacity < len(arrivals) and arrivals[index + capacity] - first < seconds - 1e-6:
                    duration = arrivals[index + capacity] - first
                    yield f"{account} receives {capacity + 1} requests in {duration:.3f} seconds"


def _quotas(world: WatchWorld, start: float, end: float) -> list[RateLimit]:
    following = [*(since for since, _ in world.quotas[1:]), float("inf")]
    return [
        quota for (since, quota), until in zip(world.quotas, following, strict=True) if since <= end and until >= start
    ]


def _notifications_arrive_once(world: WatchWorld) -> Iterator[str]:
    """Each notification is in one accepted message, or is counted once as undelivered."""
    for life in world.lives:
        titles = [f"{news.account}: {news.title}" if news.account else str(news.title) for _, news in life.news]
        for channel in CHANNELS:
            messages = life.delivered.get(channel.name, [])
            lost = life.undelivered.get(channel.name, 0)
            count = sum(int(message.title) for message in messages)
            if count + lost != len(titles):
                yield f"{channel.name} receives {count} of {len(titles)} notifications, {lost} are undelivered"
            lines = Counter(line for message in messages for line in message.body.splitlines())
            for title, expected in Counter(titles).items():
                if lines[title] > expected:
                    yield f"{channel.name} receives {title!r} {lines[title]} times, but it happened {expected} times"


def _notifications_are_true(world: WatchWorld) -> Iterator[str]:
    """The start and the end of a state alternate, even over restarts, and the last one is true at the end."""
    standing: dict[tuple[Event, str], bool] = {}
    for life in world.lives:
        for _, news in life.news:
            if news.event in {Event.FAILING, Event.SUSPENDED, Event.FILE}:
                source = str(news.title).partition(" ")[0] if news.event is Event.FILE else ""
                key = (news.event, news.account or source)
                if standing.get(key, False) == (not news.is_end):
                    yield f"{key} {'ends' if news.is_end else 'starts'} twice"
                standing[key] = not news.is_end
    last = world.passes[-1]
    for account in world.scenario.accounts:
        messages = standing.get((Event.SUSPENDED, account.name), False)
        if messages != (account.name in last.suspended):
            yield f"{account.name} is {'' if messages else 'not '}reported as suspended at the end"
        if standing.get((Event.FAILING, account.name), False):
            yield f"{account.name} is reported as failing at the end"
    if broken := [key for key, standing_now in standing.items() if key[0] is Event.FILE and standing_now]:
        yield f"{broken} are reported as invalid at the end"
    yield from _writes_are_reported(world)


def _writes_are_reported(world: WatchWorld) -> Iterator[str]:
    """Each undisturbed pass with writes is reported once per account."""
    for record in world.passes:
        reported = Counter(
            news.account
            for _, news in record.life.news
            if news.event is Event.CHANGED and f"(run {record.name})" in news.title
        )
        for account in world.scenario.accounts if record.result is not None else ():
            wrote = any(request.effect for request in _requests(world, record, account.name))
            if not _is_disturbed(world, record, account.name) and reported[account.name] != wrote:
                yield f"{record.name} writes to {account.name}, which is reported {reported[account.name]} times"


def _states_are_recorded(world: WatchWorld) -> Iterator[str]:
    """The ledger contains each account's state that needs attention, even after a disk failure."""
    recorded = {
        row["account"]: row["outcome"]
        for row in world.rows("SELECT account, outcome FROM entries WHERE outcome IS NOT NULL ORDER BY id")
    }
    for account in world.scenario.accounts:
        reads = [
            (observed.outcome, account.name in record.suspended)
            for record in world.passes
            if record.result is not None
            for observed in record.result.accounts
            if observed.plan.account == account.name
        ]
        outcome, is_suspended = reads[-1]
        needs_attention = outcome in {RunOutcome.REFUSED, RunOutcome.PARTIAL}
        if needs_attention and not is_suspended and recorded.get(account.name) != outcome:
            yield f"{account.name} is {outcome}, but the ledger has {recorded.get(account.name)}"


def _stops_in_order(world: WatchWorld) -> Iterator[str]:
    """After a signal no write starts, and the daemon ends in time. No request is sent outside a pass."""
    for life in world.lives:
        if life.stopped is None or life.ended is None:
            yield "a daemon does not end"
            continue
        if life.ended.at - life.stopped.at > _STOP_SECONDS:
            yield f"a daemon takes {life.ended.at - life.stopped.at:.1f} s to stop"
        passes = [record for record in world.passes if record.life is life]
        for record in passes:
            requests = [request for account in world.apis for request in _requests(world, record, account)]
            for request in requests:
                if request.writes and request.sent.at > life.stopped.at + GRACE:
                    yield f"{record.name} writes {request.phone} after the signal"
                if record.ended is not None and request.sent.order > record.ended.order:
                    yield f"{record.name} sends a request after its end"


def _requests(world: WatchWorld, record: PassRecord, account: str) -> list[Request]:
    return world.requests.get((record.name, account), [])


def _end(record: PassRecord) -> float:
    return float("inf") if record.ended is None else record.ended.at


def _is_interrupted(record: PassRecord) -> bool:
    return record.result is not None and record.result.outcome is RunOutcome.INTERRUPTED


def _is_selected(world: WatchWorld, phone: str) -> bool:
    selection: Selection = world.scenario.selection
    return phone not in selection.exclude and (not selection.only or phone in selection.only)


WATCH_ORACLES: Final[tuple[tuple[str, Oracle], ...]] = (
    ("20", _edges_are_acted_on),
    ("21", _calm_passes_converge),
    ("22", _writes_are_desired),
    ("22", _writes_are_allowed),
    ("23", _quota_holds_across_passes),
    ("24", _notifications_arrive_once),
    ("25", _notifications_are_true),
    ("26", _states_are_recorded),
    ("27", _stops_in_order),
)
