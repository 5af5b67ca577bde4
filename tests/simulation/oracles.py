"""Properties that hold in every world, computed from the model's history and the ledger's rows, never from a log.

Each oracle yields its violations as sentences that start with its number in the list of promises.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise, product
from typing import Final

from tests.simulation.history import Request, ResponseKind
from tests.simulation.ledger_oracles import (
    attempts_are_requests,
    every_number_has_one_outcome,
    nothing_is_left_open,
)
from tests.simulation.runs import Life, accepted_reads, lives
from tests.simulation.scenario import DRY_KINDS
from tests.simulation.thresholds import enough_stay_active, thresholds_hold
from tests.simulation.verdicts import options_narrow_every_run, own_writes_are_not_reported_as_external
from tests.simulation.world import World
from worker.model.accounts import Status, Unmanaged
from worker.model.plans import Action
from worker.model.results import Outcome

__all__ = ["ORACLES", "judge", "violations"]

_GRACE: Final = 0.1
"""Seconds before a write is sent in which a read comes too late: its intent is on the way to the disk."""
_WRITABLE: Final = frozenset({"ACTIVE", "INACTIVE"})

Oracle = Callable[[World, list[Life]], Iterator[str]]


def violations(world: World) -> list[str]:
    """Return all violations of a world."""
    observed = lives(world)
    return [
        *world.violations,
        *(f"{name}: {violation}" for name, oracle in ORACLES for violation in oracle(world, observed)),
    ]


def judge(world: World) -> None:
    """Add the violations that the oracles find to the world."""
    world.violations = violations(world)


def _writes_are_desired(world: World, runs: list[Life]) -> Iterator[str]:
    """A write has the status of the file, for a listed number that differed at the last read."""
    del world
    for life in runs:
        for put in life.puts:
            reads = [read for read in life.reads if read.ended is not None and read.ended.order < put.sent.order]
            recent = [read for read in reads if read.ended is not None and read.ended.at > put.sent.at - _GRACE]
            reads = accepted_reads(reads)
            recent = [read for read in recent if read in reads]
            candidates = (reads[-len(recent) - 1 :] if recent else reads[-1:]) or []
            desired = life.desired_status(put.phone)
            if put.requested != desired:
                yield f"{life.name} requests {put.requested} for {put.phone}, but the file desires {desired}"
            elif put.phone not in life.approved:
                yield f"{life.name} writes {put.phone}, which is not in its plan"
            elif not any(_different(read, put) for read in candidates):
                yield f"{life.name} requests {put.requested} for {put.phone}, but no read shows the other status"


def _different(read: Request, put: Request) -> bool:
    return read.visible.get(put.phone) in _WRITABLE - {put.requested}


def _ambiguous_write_is_settled_by_a_read(world: World, runs: list[Life]) -> Iterator[str]:
    """After an ambiguous write, the account is read before the number is written again."""
    del world
    for life in runs:
        for puts in life.by_phone.values():
            for first, second in pairwise(puts):
                if first.response_kind is ResponseKind.AMBIGUOUS and not any(
                    first.ended is not None
                    and read.sent.order > first.ended.order
                    and read.sent.order < second.sent.order
                    for read in life.reads
                ):
                    yield f"{life.name} writes {first.phone} again without a read after an ambiguous response"


def _quota_holds(world: World, runs: list[Life]) -> Iterator[str]:
    """No sliding window at the server contains more requests than the quota, including retries and reads."""
    quota = world.scenario.settings.rate_limit
    for life in runs:
        kinds = (("writes", quota.writes), ("reads", quota.reads))
        for key, (kind, capacity) in product({request.key for request in life.requests}, kinds):
            times = sorted(
                request.arrived.at
                for request in life.requests
                if request.arrived is not None and request.key == key and request.writes == (kind == "writes")
            )
            for first, last in zip(times, times[capacity:], strict=False):
                if last - first < quota.per_seconds - 1e-6:
                    yield f"{life.name} has {capacity + 1} {kind} arrive in {last - first:.3f} seconds"


def _pauses_are_followed(world: World, runs: list[Life]) -> Iterator[str]:
    """After a 429, no request leaves until the given time, except those whose intent was already stored."""
    del world
    for life in runs:
        for limited in life.requests:
            if not limited.hold or limited.ended is None or limited.status != 429:
                continue
            until = limited.ended.at + limited.hold - 1e-6
            for request in life.requests:
                if request.key == limited.key and limited.ended.at + _GRACE < request.sent.at < until:
                    yield f"{life.name} sends at {request.sent.at:.3f}, held until {until:.3f}"


def _signatures_are_used_once(world: World, runs: list[Life]) -> Iterator[str]:
    del runs
    observed: set[str] = set()
    for request in world.history.requests:
        if request.header in observed:
            yield f"{request.run} uses a signature again"
        observed.add(request.header)


def _changed_was_observed(world: World, runs: list[Life]) -> Iterator[str]:
    """A number is `changed` only if it was written and the server then had the new status."""
    del world
    for life in runs:
        for number in life.results:
            if number.outcome != "changed":
                continue
            puts = life.by_phone.get(number.phone, [])
            last = life.reads[-1] if life.reads else None
            if not puts:
                yield f"{life.name} reports {number.phone} as changed, but did not write it"
            elif last is None or last.sent.order < puts[-1].sent.order:
                yield f"{life.name} reports {number.phone} as changed without a read after its last write"
            elif (status := (last.account_at_response or {}).get(number.phone)) != puts[-1].requested:
                yield f"{life.name} reports {number.phone} as changed, but its status was {status}"


def _external_changes_stay(world: World, runs: list[Life]) -> Iterator[str]:
    """A run does not overwrite an external change that one of its reads showed."""
    del world
    for life in runs:
        for phone, puts in life.by_phone.items():
            external = _first_external_change(life, phone, puts)
            if external is None or external.ended is None:
                continue
            for put in puts:
                if put.sent.order > external.ended.order and put.sent.at > external.ended.at + _GRACE:
                    yield f"{life.name} writes {phone} after a read showed an external change"


def _first_external_change(life: Life, phone: str, puts: list[Request]) -> Request | None:
    """Return the first read that shows a change of a number which the run cannot have made."""
    previous = life.approved.get(phone)
    possible = {previous}
    result = False
    for read in accepted_reads(life.reads_since_approval):
        assert read.arrived is not None
        if phone in read.omitted:
            continue
        output = read.visible.get(phone)
        if any(put.sent.order < read.arrived.order for put in puts):
            possible.add(puts[0].requested)
        if output not in possible or (result and output == previous):
            return read
        result = output == puts[0].requested
    return None


def _dry_runs_write_nothing(world: World, runs: list[Life]) -> Iterator[str]:
    del world
    for life in runs:
        if life.record.script.kind in DRY_KINDS and life.puts:
            yield f"{life.name} is a dry run and writes {life.puts[0].phone}"


def _converged_account_is_not_written(world: World, runs: list[Life]) -> Iterator[str]:
    """A run over a converged account writes nothing and reports that."""
    del world
    for life in runs:
        if life.record.stage != "again":
            continue
        if life.puts:
            yield f"{life.name} finds the desired state and writes {life.puts[0].phone}"
        if life.record.result is None or life.record.result.outcome not in {"converged", "partial"}:
            yield f"{life.name} has nothing to write and ends {life.record.result and life.record.result.outcome}"


def _converges(world: World, runs: list[Life]) -> Iterator[str]:
    """Once faults stop, one run makes every possible number as desired, in time."""
    del world
    for life in runs:
        record = life.record
        if record.stage != "converge":
            continue
        for phone, status in record.numbers.items():
            expected = life.desired_status(phone)
            if expected is not None and status in _WRITABLE and status != expected:
                yield f"{life.name} leaves {phone} {status}, not {expected}"
        if record.ended is None or record.ended.at - record.started.at > record.script.deadline:
            yield f"{life.name} takes too long"
        if record.result is None or record.result.outcome not in {"converged", "partial"}:
            yield f"{life.name} ends {record.result and record.result.outcome}"


def _one_write_at_a_time(world: World, runs: list[Life]) -> Iterator[str]:
    del world
    for life in runs:
        for phone, puts in life.by_phone.items():
            for first, second in pairwise(puts):
                if first.ended is None or first.ended.order > second.sent.order:
                    yield f"{life.name} has two writes of {phone} in flight"


def _one_writer_at_a_time(world: World, runs: list[Life]) -> Iterator[str]:
    """Two runs never interleave their writes to an account."""
    del world
    spans = sorted((life.puts[0].sent.order, life.puts[-1].sent.order, life.name) for life in runs if life.puts)
    for first, second in pairwise(spans):
        if second[0] < first[1]:
            yield f"{first[2]} and {second[2]} interleave their writes"


def _refusals_are_final(world: World, runs: list[Life]) -> Iterator[str]:
    """A permanently refused write is not sent again."""
    del world
    for life in runs:
        for puts in life.by_phone.values():
            if any(put.response_kind is ResponseKind.REFUSED for put in puts[:-1]):
                yield f"{life.name} writes {puts[0].phone} again after it was refused"


def _only_account_documents_count(world: World, runs: list[Life]) -> Iterator[str]:
    """A number is `missing` only if a valid account document did not contain it."""
    del world
    for life in runs:
        plan = life.record.plan
        planned = () if plan is None else (change.phone for change in plan.changes if change.action is Action.MISSING)
        # a saved plan that is not applied reports the state observed when it was created
        is_observed = life.record.saved is None or bool(life.puts)
        reported = (number.phone for number in life.results if is_observed and number.outcome is Outcome.MISSING)
        for phone in {*planned, *reported}:
            if all(phone in (read.account_at_response or {}) for read in life.reads):
                yield f"{life.name} reports {phone} as missing, but no response lacks it"


def _one_account_has_one_document(world: World, runs: list[Life]) -> Iterator[str]:
    """A run that reads one account for two documents writes for neither and reports both."""
    del world
    for life in runs:
        if not life.record.script.twin:
            continue
        if life.puts:
            yield f"{life.name} writes {life.puts[0].phone} of an account that is described twice"
        codes = [result.error and result.error.code for result in (life.record.result, life.record.twin) if result]
        if codes != ["DuplicateAccount", "DuplicateAccount"]:
            yield f"{life.name} ends {codes} for an account that is described twice"


def _plan_is_applied_once(world: World, runs: list[Life]) -> Iterator[str]:
    """The writes of one plan file belong to one run, and do not follow writes of another run to the same numbers."""
    del world
    ends = {life.name: life.record.ended for life in runs}
    applied_by: dict[str, str] = {}
    for life in runs:
        plan = life.record.plan_file
        if plan is None or not life.puts:
            continue
        first = applied_by.setdefault(plan.id, life.name)
        if first != life.name:
            yield f"{life.name} writes {life.puts[0].phone} of the plan that {first} applied"
        since = ends[plan.id]
        for other in runs:
            between = [
                put
                for put in other.puts
                if since is not None and since.order < put.sent.order < life.puts[0].sent.order
            ]
            if other is not life and any(put.phone in life.approved for put in between):
                yield f"{life.name} applies a plan after {other.name} wrote one of its numbers"


def _saved_plan_follows_its_file(world: World, runs: list[Life]) -> Iterator[str]:
    """A saved plan that is compared with its file writes only what the file desires now."""
    del world
    for life in runs:
        for put in life.puts if life.record.script.compared else ():
            listed = life.file.numbers.get(put.phone)
            adopted = Status.INACTIVE if life.file.unmanaged is Unmanaged.DEACTIVATE else None
            desired = adopted if listed is None else None if listed.protected else listed.status
            if put.requested != desired:
                yield f"{life.name} requests {put.requested} for {put.phone}, but the plan's file desires {desired}"


ORACLES: Final[tuple[tuple[str, Oracle], ...]] = (
    ("1", _writes_are_desired),
    ("1", _ambiguous_write_is_settled_by_a_read),
    ("3", thresholds_hold),
    ("3", enough_stay_active),
    ("4", _quota_holds),
    ("4", _pauses_are_followed),
    ("5", _signatures_are_used_once),
    ("6", _changed_was_observed),
    ("7", _external_changes_stay),
    ("7", _refusals_are_final),
    ("8", _dry_runs_write_nothing),
    ("9", _converged_account_is_not_written),
    ("10", _converges),
    ("11", every_number_has_one_outcome),
    ("11", nothing_is_left_open),
    ("12", _one_write_at_a_time),
    ("12", _one_writer_at_a_time),
    ("13", attempts_are_requests),
    ("14", _only_account_documents_count),
    ("15", _one_account_has_one_document),
    ("16", _plan_is_applied_once),
    ("17", _saved_plan_follows_its_file),
    ("18", own_writes_are_not_reported_as_external),
    ("19", options_narrow_every_run),
)
"""The oracles by number. The world itself checks oracle 2 when a write is sent."""
