"""The requests of each run, sorted for the oracles."""

from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property

from tests.simulation.history import Request, ResponseKind
from tests.simulation.world import Record, World
from worker.model.accounts import DesiredAccount, Unmanaged
from worker.model.plans import Change, Verdict
from worker.model.results import NumberResult

__all__ = ["Life", "accepted_reads", "lives"]


class Life:
    """One run: its options and the requests that it sent."""

    def __init__(self, record: Record, world: World) -> None:
        self.record = record
        self.name = record.name
        self.requests = [request for request in world.history.requests if request.run == record.name]
        self.puts = [request for request in self.requests if request.writes]
        self.reads = [
            request
            for request in self.requests
            if not request.writes
            and request.account_at_response is not None
            and request.response_kind is ResponseKind.ACCEPTED
        ]
        self.file: DesiredAccount = world.scenario.files[record.script.file]
        self.by_phone: dict[str, list[Request]] = defaultdict(list)
        for put in self.puts:
            self.by_phone[put.phone].append(put)

    @property
    def results(self) -> tuple[NumberResult, ...]:
        """Return what the run reported about its numbers."""
        return () if self.record.result is None else self.record.result.numbers

    @cached_property
    def changes(self) -> tuple[Change, ...]:
        """Return the approved writes."""
        if self.record.saved is not None:
            return self.record.saved.changes
        plan = self.record.plan
        return () if plan is None or plan.verdict is not Verdict.OK else plan.writes

    @cached_property
    def approved(self) -> dict[str, str | None]:
        """Return the status of each written number that the approved plan observed."""
        return {change.phone: change.observed for change in self.changes}

    @cached_property
    def planning(self) -> Request | None:
        """Return the read before the first write, by which the plan was checked."""
        if not self.puts:
            return None
        return next((read for read in reversed(self.reads) if read.sent.order < self.puts[0].sent.order), None)

    @property
    def reads_since_approval(self) -> list[Request]:
        """Return the reads from the one by which the plan was checked."""
        first = self.planning
        return [] if first is None else self.reads[self.reads.index(first) :]

    def desired_status(self, phone: str) -> str | None:
        """Return the status that this run may write to a number, or None."""
        if self.record.saved is not None:
            return next((change.desired for change in self.record.saved.changes if change.phone == phone), None)
        selection = self.record.script.terms.selection
        if phone in selection.exclude or (selection.only and phone not in selection.only):
            return None
        desired = self.file.numbers.get(phone)
        if desired is not None:
            return None if desired.protected else desired.status
        return "INACTIVE" if self.file.unmanaged is Unmanaged.DEACTIVATE else None


def lives(world: World) -> list[Life]:
    """Return every run of a world in order of their starts."""
    return [Life(record, world) for record in world.records]


def accepted_reads(reads: Sequence[Request]) -> list[Request]:
    """Return the reads, except those that were the first to lack a number: the client repeats and discards them."""
    output = [read.visible.keys() for read in reads]
    return [read for read, now, previous in zip(reads, output, [set(), *output], strict=False) if now >= set(previous)]
