"""The ledger's rows: how a read settles open attempts, what is remembered of an account, what is deleted."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.support.ledgers import became, clock, planned, seen, started, subject
from worker.ledger import retention, writes
from worker.ledger.group_commit import Answer
from worker.ledger.records import CRASHED, AttemptState
from worker.ledger.schema import connect
from worker.model.accounts import AccountMemory, Status
from worker.model.errors import NumberError
from worker.model.plans import AccountPlan
from worker.model.results import AccountResult, Outcome, RunOutcome

A, B, C = "0100001", "0100002", "0100003"
NAMES = {"main": None}
ON, OFF = "ACTIVE", "INACTIVE"
KEY = "vendor 1"


class Book:
    """A ledger, written to as runs do, each step at a time of its own."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.now = clock()
        self.runs = 0

    def begin(self, plan: AccountPlan, key: str = KEY) -> int:
        """A run's entry."""
        self.runs += 1
        run = started(f"r{self.runs}", started_at=self.now())
        writes.add_run(self.connection, run)
        return writes.add_entry(self.connection, run.id, subject(key), plan, fingerprint="f", now=self.now())

    def sent(self, entry: int, *phones: str, asked: str = OFF, number: int = 1) -> None:
        """Intents of requests."""
        writes.intend(self.connection, [(entry, phone, number, asked) for phone in phones], self.now())

    def answer(self, entry: int, phone: str, state: AttemptState, *error: object, number: int = 1) -> None:
        """Record the answer to a request; the error is status, code and message."""
        status, code, message = error or (None, None, None)
        writes.answer(self.connection, [(entry, phone, number, state, status, code, message)], self.now())  # type: ignore[list-item]

    def finish(self, entry: int, result: AccountResult, confirmed: dict[str, Status] | None = None) -> None:
        """An entry's end and its run's."""
        writes.finish_entry(self.connection, entry, result, confirmed or {}, self.now())
        writes.finish_run(self.connection, f"r{self.runs}", result.outcome, self.now())

    def settle(self, key: str = KEY, **statuses: str) -> None:
        """Settle open attempts by a read of the account."""
        writes.settle(self.connection, key, seen(**statuses).numbers, self.now())

    def recall(self, key: str = KEY) -> AccountMemory:
        """What is remembered."""
        return writes.recall(self.connection, key)

    def all(self, query: str) -> list[tuple[object, ...]]:
        """Rows."""
        return self.connection.execute(query).fetchall()

    def states(self, entry: int) -> dict[object, object]:
        """The last state of each phone."""
        return dict(
            self.connection.execute("SELECT phone, state FROM attempts WHERE entry = ? ORDER BY number", (entry,))
        )

    def outcomes(self, entry: int) -> dict[str, tuple[object, ...]]:
        """Outcome, after, attempts and the error's code of each phone."""
        query = "SELECT phone, outcome, after, attempts, error_code FROM outcomes WHERE entry = ?"
        return {phone: tuple(rest) for phone, *rest in self.connection.execute(query, (entry,))}


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    """An empty ledger."""
    with closing(connect(tmp_path / "ledger.db", program="0", now=clock())) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        yield Book(connection)


@pytest.mark.parametrize("state", [AttemptState.INTENT, AttemptState.OK, AttemptState.AMBIGUOUS])
@pytest.mark.parametrize(
    ("read", "becomes", "outcome", "after", "code"),
    [
        ({"n0100001": OFF}, AttemptState.VERIFIED, Outcome.CHANGED, OFF, None),
        ({"n0100001": ON}, AttemptState.LOST, Outcome.FAILED, ON, "Crashed"),
        ({"n0100001": "BLOCKED"}, AttemptState.CONFLICT, Outcome.CONFLICT, "BLOCKED", "Conflict"),
        ({}, AttemptState.CONFLICT, Outcome.CONFLICT, None, "Conflict"),
    ],
)
def test_a_read_settles_what_a_killed_run_left_open(  # noqa: PLR0917 - a table
    book: Book,
    state: AttemptState,
    read: dict[str, str],
    becomes: AttemptState,
    outcome: Outcome,
    after: str | None,
    code: str | None,
) -> None:
    """However far a request had come, the read decides it, and its number has that outcome."""
    entry = book.begin(planned(A, B))
    book.sent(entry, A)
    if state is not AttemptState.INTENT:
        book.answer(entry, A, state)
    assert book.recall().unsettled
    book.settle(n0100002=ON, **read)
    assert book.states(entry) == {A: becomes}
    assert book.outcomes(entry) == {A: (outcome, after, 1, code), B: (Outcome.NOT_ATTEMPTED, ON, 0, "Crashed")}
    assert book.all("SELECT outcome, settled, writes, finished_at IS NULL FROM entries") == [(CRASHED, 1, 1, 0)]
    assert book.all("SELECT outcome, finished_at IS NULL FROM runs") == [(CRASHED, 0)]
    assert book.recall().written == ({A: OFF} if becomes is AttemptState.VERIFIED else {})
    assert not book.recall().unsettled
    rest = book.all("SELECT * FROM attempts"), book.all("SELECT * FROM outcomes"), book.all("SELECT * FROM entries")
    book.settle(n0100001="PENDING", n0100002="PENDING")
    assert rest == (
        book.all("SELECT * FROM attempts"),
        book.all("SELECT * FROM outcomes"),
        book.all("SELECT * FROM entries"),
    )


@pytest.mark.parametrize(
    ("read", "outcome", "after"),
    [
        ({"n0100001": ON}, Outcome.FAILED, ON),
        ({"n0100001": "PENDING"}, Outcome.FAILED, "PENDING"),
        ({}, Outcome.FAILED, None),
        ({"n0100001": OFF}, Outcome.UNCHANGED, OFF),
    ],
)
def test_what_was_refused_before_the_run_died_stays_refused(
    book: Book, read: dict[str, str], outcome: Outcome, after: str | None
) -> None:
    """The number failed with the API's last word, unless it is as desired by other hands than ours."""
    entry = book.begin(planned(A))
    book.sent(entry, A)
    book.answer(entry, A, AttemptState.REJECTED, 429, "TooManyRequests", "slow down")
    book.sent(entry, A, number=2)
    book.answer(entry, A, AttemptState.REJECTED, 409, "FailedToUpdate", "not now", number=2)
    book.settle(**read)
    assert book.states(entry) == {A: AttemptState.REJECTED}
    assert book.outcomes(entry) == {A: (outcome, after, 2, "FailedToUpdate")}
    assert book.all("SELECT http_status, error_message FROM outcomes") == [(409, "not now")]
    assert book.recall() == AccountMemory(names=NAMES)


def test_all_attempts_of_a_number_are_settled_by_its_read(book: Book) -> None:
    """An ambiguous attempt and its retry become the same; a refused one stays."""
    entry = book.begin(planned(A))
    for number, state in enumerate((AttemptState.AMBIGUOUS, AttemptState.REJECTED, None), 1):
        book.sent(entry, A, number=number)
        if state is not None:
            book.answer(entry, A, state, number=number)
    book.settle(n0100001=OFF)
    assert book.all("SELECT number, state FROM attempts") == [
        (1, AttemptState.VERIFIED),
        (2, AttemptState.REJECTED),
        (3, AttemptState.VERIFIED),
    ]
    assert book.outcomes(entry) == {A: (Outcome.CHANGED, OFF, 3, None)}


@pytest.mark.parametrize(
    ("read", "becomes"),
    [(OFF, AttemptState.VERIFIED), (ON, AttemptState.LOST), ("EXPIRED", AttemptState.CONFLICT)],
)
def test_a_read_settles_unverified_attempts_and_leaves_outcomes(book: Book, read: str, becomes: AttemptState) -> None:
    """An attempt without a verification read is settled later; the outcome that the run recorded stays."""
    entry = book.begin(planned(A))
    book.sent(entry, A)
    book.answer(entry, A, AttemptState.OK)
    book.finish(entry, became(planned(A), Outcome.UNVERIFIED, after=None))
    before = book.outcomes(entry), book.all("SELECT finished_at, outcome FROM entries")
    assert book.states(entry) == {A: AttemptState.OK}
    assert book.recall() == AccountMemory(unsettled=True, names=NAMES)
    book.settle(n0100001=read)
    assert book.states(entry) == {A: becomes}
    assert (book.outcomes(entry), book.all("SELECT finished_at, outcome FROM entries")) == before
    assert book.recall() == AccountMemory({A: Status(OFF)} if read == OFF else {}, names=NAMES)


@pytest.mark.parametrize(
    ("outcome", "after", "becomes"),
    [
        (Outcome.CHANGED, OFF, AttemptState.VERIFIED),
        (Outcome.CONFLICT, "BLOCKED", AttemptState.CONFLICT),
        (Outcome.FAILED, ON, AttemptState.LOST),
        (Outcome.UNVERIFIED, ON, AttemptState.LOST),
        (Outcome.UNVERIFIED, None, AttemptState.AMBIGUOUS),
    ],
)
def test_a_run_settles_what_its_own_read_has_shown(
    book: Book, outcome: Outcome, after: str | None, becomes: AttemptState
) -> None:
    """The verification read settles the entry's open attempts; without one they stay open."""
    entry = book.begin(planned(A))
    book.sent(entry, A)
    book.answer(entry, A, AttemptState.AMBIGUOUS)
    book.finish(entry, became(planned(A), outcome, after=after))
    assert book.states(entry) == {A: becomes}
    assert book.all("SELECT settled FROM entries") == [(becomes is not AttemptState.AMBIGUOUS,)]
    assert book.recall().written == ({A: OFF} if outcome is Outcome.CHANGED else {})


def test_a_lost_attempt_takes_no_credit_from_its_retry(book: Book) -> None:
    """An ambiguous write is sent again only after a read found the old status, so the last one took effect."""
    plan = planned(A, B)
    entry = book.begin(plan)
    book.sent(entry, A, B)
    book.answer(entry, A, AttemptState.AMBIGUOUS)
    book.answer(entry, B, AttemptState.AMBIGUOUS)
    book.sent(entry, A, B, number=2)
    book.answer(entry, A, AttemptState.OK, number=2)
    book.answer(entry, B, AttemptState.REJECTED, 400, "ValidationError", "no", number=2)
    result = became(plan, Outcome.CHANGED)
    book.finish(entry, replace(result, numbers=tuple(replace(number, attempts=2) for number in result.numbers)))
    assert book.all("SELECT phone, number, state FROM attempts ORDER BY phone, number") == [
        (A, 1, AttemptState.LOST),
        (A, 2, AttemptState.VERIFIED),
        (B, 1, AttemptState.VERIFIED),
        (B, 2, AttemptState.REJECTED),
    ]


def test_a_number_that_a_result_leaves_out_was_as_desired_without_us(book: Book) -> None:
    """Each planned number has an outcome when the entry ends, also one whose request never left."""
    entry = book.begin(planned(A, B))
    book.sent(entry, A, B)
    book.answer(entry, B, AttemptState.REJECTED, None, "ConnectionFailed", "refused")
    book.finish(entry, became(planned(A), Outcome.CHANGED))
    assert book.outcomes(entry) == {A: (Outcome.CHANGED, OFF, 1, None), B: (Outcome.UNCHANGED, OFF, 1, None)}
    assert book.recall().written == {A: OFF}


def test_errors_are_kept_whole_whatever_is_in_them(book: Book) -> None:
    """Texts with NUL, lone surrogates, emoji and of great length stand in the ledger, as much of them as can be."""
    texts = ["a\0b", "\udc00é", "발신번호 😀", "x" * 500]
    phones = [f"010000{n}" for n in range(4)]
    entry = book.begin(planned(*phones))
    book.sent(entry, *phones)
    rows: list[Answer] = [
        (entry, phone, 1, AttemptState.REJECTED, 400, text, text) for phone, text in zip(phones, texts, strict=True)
    ]
    writes.answer(book.connection, rows, "now")
    kept = ["a\ufffdb", "\ufffdé", *texts[2:]]
    assert [text for (text,) in book.all("SELECT error_message FROM attempts ORDER BY phone")] == kept
    result = became(planned(*phones), Outcome.FAILED)
    numbers = [
        replace(number, error=NumberError(text, text)) for number, text in zip(result.numbers, texts, strict=True)
    ]
    book.finish(entry, replace(result, numbers=tuple(numbers)))
    assert book.all("SELECT error_code, error_message FROM outcomes ORDER BY phone") == list(
        zip(kept, kept, strict=True)
    )
    odd = replace(subject("vendor 2"), account="a\udcff", source="d/\udcff.yaml")
    writes.add_entry(book.connection, "r1", odd, planned(), fingerprint="", now="now")
    assert book.all("SELECT account, source FROM entries WHERE key = 'vendor 2'") == [("a\ufffd", "d/\ufffd.yaml")]


def test_what_was_written_last_is_remembered_for_each_account(book: Book) -> None:
    """A later run overwrites, a refused one does not, other hands are noted, and accounts do not mix."""
    for key in (KEY, "vendor 2"):
        entry = book.begin(planned(A, B), key)
        book.finish(entry, became(planned(A, B), Outcome.CHANGED))
    entry = book.begin(planned(A, desired=ON))
    book.finish(entry, became(planned(A, desired=ON), Outcome.CHANGED))
    entry = book.begin(planned(C))
    book.finish(entry, became(planned(C), Outcome.FAILED), {A: Status(ON), B: Status(ON)})
    assert book.recall().written == {A: ON, B: ON}
    assert book.recall("vendor 2").written == {A: OFF, B: OFF}
    assert book.recall("vendor 3") == AccountMemory()
    # what was known already stays that of the run that wrote it
    assert book.all("SELECT phone, run FROM written WHERE key = 'vendor 1'") == [(A, "r3"), (B, "r4")]


def _crash(book: Book, *phones: str, asked: str = OFF) -> int:
    entry = book.begin(planned(*phones, desired=asked))
    book.sent(entry, *phones, asked=asked)
    return entry


def _ended(book: Book, outcome: RunOutcome, *tried: str) -> None:
    plan = planned(*tried)
    entry = book.begin(plan)
    book.sent(entry, *tried)
    numbers = became(plan, Outcome.CHANGED)
    book.finish(entry, replace(numbers, outcome=outcome))


def test_what_runs_that_died_switched_off_is_spent_until_one_comes_to_its_end(book: Book) -> None:
    """It adds up over a chain of them, whatever was refused, declined or locked in between, settled or not."""
    _crash(book, A)
    assert book.recall().spent == {A}
    book.settle(n0100001=OFF)
    assert book.recall().spent == {A}
    for outcome in (RunOutcome.REFUSED, RunOutcome.LOCKED, RunOutcome.FAILED, RunOutcome.INTERRUPTED):
        _ended(book, outcome)
        assert book.recall().spent == {A}
    _crash(book, B)
    _crash(book, C, asked=ON)
    assert book.recall().spent == {A, B}
    book.settle(n0100002=OFF, n0100003=ON)
    assert book.recall().spent == {A, B}
    assert book.recall("vendor 2").spent == frozenset()


@pytest.mark.parametrize("outcome", list(RunOutcome))
def test_a_run_that_tried_and_ended_begins_a_new_count(book: Book, outcome: RunOutcome) -> None:
    """What comes after it is another plan, however it ended."""
    _crash(book, A)
    book.settle(n0100001=OFF)
    _ended(book, outcome, B)
    assert book.recall().spent == frozenset()
    _crash(book, C)
    assert book.recall().spent == {C}


def test_a_run_that_found_nothing_left_to_do_begins_a_new_count(book: Book) -> None:
    """A plan that is done to its last number is over, although the run that sees that sends nothing."""
    _crash(book, A)
    book.settle(n0100001=OFF)
    _ended(book, RunOutcome.CONVERGED)
    assert book.recall().spent == frozenset()


def test_requests_that_were_refused_are_not_spent(book: Book) -> None:
    """A refused request has deactivated nothing; a request that a read called lost may have arrived after the read."""
    entry = _crash(book, A, B, C)
    book.answer(entry, A, AttemptState.REJECTED, 400, "InvalidSenderId", "")
    assert book.recall().spent == {B, C}
    book.settle(n0100001=ON, n0100002=ON, n0100003="PENDING")
    assert book.recall().spent == {B, C}


def test_what_is_open_is_never_forgotten(book: Book) -> None:
    """Runs under way, runs that died and requests in doubt outlive any pruning; what was written does in any case."""
    _ended(book, RunOutcome.CONVERGED, A)
    _crash(book, B)
    entry = _crash(book, C)
    book.finish(entry, became(planned(C), Outcome.UNVERIFIED, after=None))
    assert retention.prune(book.connection, "9999") == 1
    assert book.all("SELECT id FROM runs") == [("r2",), ("r3",)]
    assert book.all("SELECT DISTINCT entry FROM attempts") == book.all("SELECT id FROM entries") == [(2,), (3,)]
    assert book.all("SELECT DISTINCT entry FROM outcomes") == [(2,), (3,)]
    assert book.recall().written == {A: OFF}
    book.settle(n0100002=OFF, n0100003=OFF)
    assert retention.prune(book.connection, "9999") == 2
    assert book.all("SELECT id FROM runs") == book.all("SELECT id FROM entries") == []
    assert book.all("SELECT phone FROM attempts") == book.all("SELECT phone FROM outcomes") == []
    assert book.recall().written == {A: OFF, B: OFF, C: OFF}


def test_what_counts_for_the_safety_rules_is_never_forgotten(book: Book) -> None:
    """A dead run outlives pruning and trimming until another has come to its end: no plan gains by a short memory."""
    _crash(book, A)
    book.settle(n0100001=OFF)
    _ended(book, RunOutcome.REFUSED)
    assert retention.prune(book.connection, "9999") == 1
    assert retention.trim(book.connection, 0, keep="r2") == 0
    assert book.all("SELECT id FROM runs") == [("r1",)]
    assert book.recall().spent == {A}
    _ended(book, RunOutcome.PARTIAL, B)
    assert retention.prune(book.connection, "9999") == 2


def test_pruning_forgets_what_ended_before_a_time(book: Book) -> None:
    """The time is that of the run's end, to the millisecond."""
    for phone in (A, B, C):
        _ended(book, RunOutcome.CONVERGED, phone)
    ((end,),) = book.all("SELECT finished_at FROM runs WHERE id = 'r2'")
    assert retention.prune(book.connection, str(end)) == 1
    assert book.all("SELECT id FROM runs") == [("r2",), ("r3",)]


def _bulk(book: Book, runs: int, numbers: int = 50) -> list[str]:
    phones = [f"010{n:08}" for n in range(numbers)]
    for _ in range(runs):
        _ended(book, RunOutcome.CONVERGED, *phones)
    return phones


def test_the_file_stays_within_its_bound(book: Book, tmp_path: Path) -> None:
    """The oldest runs are forgotten until the rest fits, the newest stay, and the disk has its pages back."""
    phones = _bulk(book, 60)
    book.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path = tmp_path / "ledger.db"
    most = path.stat().st_size // 3
    forgotten = retention.trim(book.connection, most, keep="r60")
    left = [run for (run,) in book.all("SELECT id FROM runs ORDER BY started_at")]
    assert left == [f"r{number}" for number in range(forgotten + 1, 61)]
    assert 10 < len(left) < 30
    book.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert path.stat().st_size <= most
    assert book.all("PRAGMA freelist_count") == [(0,)]
    assert book.recall().written == dict.fromkeys(phones, OFF)
    assert retention.trim(book.connection, most, keep="r60") == 0


def test_the_run_that_ends_is_kept_however_small_the_bound(book: Book) -> None:
    """What just happened can be read, and what is open is kept as well."""
    _bulk(book, 3)
    _crash(book, A)
    _bulk(book, 2)
    assert retention.trim(book.connection, 1, keep="r6") == 4
    assert book.all("SELECT id FROM runs") == [("r4",), ("r6",)]


def test_run_that_has_only_begun_is_kept(book: Book) -> None:
    """Another process has begun it and has no entry yet: to trim for this run must not take it away."""
    _bulk(book, 2)
    writes.add_run(book.connection, started("other", started_at="2000-01-01T00:00:00.000Z"))
    assert retention.trim(book.connection, 1, keep="r2") == 1
    assert book.all("SELECT id FROM runs ORDER BY id") == [("other",), ("r2",)]


def test_pruning_gives_pages_back(book: Book) -> None:
    """No empty page stays in the file."""
    _bulk(book, 20)
    (before,) = book.all("PRAGMA page_count")
    retention.prune(book.connection, "9999")
    (after,) = book.all("PRAGMA page_count")
    assert int(str(after[0])) < int(str(before[0])) / 2
    assert book.all("PRAGMA freelist_count") == [(0,)]


def _all_rows(book: Book) -> None:
    _crash(book, A, B)
    entry = book.begin(planned(C))
    book.sent(entry, C)
    book.answer(entry, C, AttemptState.REJECTED, 400, "x", "y")
    book.settle(n0100001=OFF, n0100002=ON, n0100003=ON)
    _ended(book, RunOutcome.PARTIAL, C)
    entry = book.begin(planned(C))
    book.finish(entry, became(planned(C), Outcome.CHANGED), {A: Status(ON)})
    book.recall()
    retention.trim(book.connection, 1, keep="r4")
    retention.prune(book.connection, "9999")


def test_no_statement_reads_a_large_table_from_end_to_end(book: Book) -> None:
    """Every statement finds its entries, attempts, outcomes and written statuses by an index."""
    statements: list[str] = []
    book.connection.set_trace_callback(statements.append)
    _all_rows(book)
    book.connection.set_trace_callback(None)
    large = ("entries", "attempts", "outcomes", "written")
    ours = [text for text in statements if text.lstrip().startswith(("SELECT", "INSERT", "UPDATE", "DELETE"))]
    assert len(set(ours)) > 30
    for text in ours:
        for _, _, _, detail in book.connection.execute(f"EXPLAIN QUERY PLAN {text}"):
            assert not any(detail.startswith(f"SCAN {table}") for table in large), (detail, text)


def test_recall_is_quick_however_long_the_history(book: Book) -> None:
    """With 100,000 attempts, all of runs that died, it takes less than a second; behind one that ended, a moment."""
    phones = [f"010{n:08}" for n in range(1000)]
    book.connection.execute("BEGIN")
    for _ in range(100):
        _crash(book, *phones)
    book.connection.execute("COMMIT")
    book.connection.execute("UPDATE entries SET outcome = ?, finished_at = 'then', settled = 1", (CRASHED,))
    began = time.perf_counter()
    assert len(book.recall().spent) == 1000
    assert time.perf_counter() - began < 1
    _ended(book, RunOutcome.CONVERGED, A)
    began = time.perf_counter()
    assert book.recall() == AccountMemory({A: Status(OFF)}, names=NAMES)
    assert time.perf_counter() - began < 0.1
