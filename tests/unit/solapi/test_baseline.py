"""When a read is repeated before it is accepted, and what the client does with the second read."""

from collections import Counter

import pytest

from tests.support.daemon import Daemon, account, desired_account
from tests.support.loopback import Loopback, run
from worker.config.settings import Retry
from worker.model.accounts import Observed, ObservedAccount, Status
from worker.model.errors import ServerError
from worker.model.results import Requests
from worker.sandbox import Fault, SandboxAccount
from worker.solapi.baseline import Baseline

PHONES = [f"010{index:08}" for index in range(10)]


def _observed(count: int) -> ObservedAccount:
    return ObservedAccount("1", {phone: Observed(phone, Status.ACTIVE) for phone in PHONES[:count]})


def _account(count: int = 10) -> SandboxAccount:
    return SandboxAccount.of(dict.fromkeys(PHONES[:count], "ACTIVE"))


def test_first_read_with_every_listed_number_is_accepted() -> None:
    """The first read can only be compared with the file."""
    baseline = Baseline()
    assert baseline.reread_reason(_observed(2), PHONES[:2]) is None
    assert (baseline.registered, baseline.absent) == (2, frozenset())


def test_missing_listed_number_is_doubted_until_confirmed() -> None:
    """A loss that a second read confirmed is not read again. A number that returned and is lost again is."""
    baseline = Baseline()
    assert baseline.reread_reason(_observed(8), PHONES) == "listed numbers that are not registered: 2"
    assert baseline.registered is None
    baseline.confirm(_observed(8), PHONES)
    assert baseline.absent == set(PHONES[8:])
    assert baseline.reread_reason(_observed(8), PHONES) is None
    assert baseline.reread_reason(_observed(7), PHONES) == "listed numbers that are not registered: 1"
    assert baseline.reread_reason(_observed(9), PHONES) is None
    assert baseline.absent == {PHONES[9]}
    assert baseline.reread_reason(_observed(8), PHONES) == "listed numbers that are not registered: 1"


@pytest.mark.parametrize(
    ("before", "after", "doubted"), [(10, 7, False), (10, 6, True), (3, 2, True), (4, 3, False), (1, 0, True)]
)
def test_loss_of_exactly_30_percent_is_accepted(before: int, after: int, *, doubted: bool) -> None:
    """A larger loss is read again, compared with the previous read or with the count of earlier runs."""
    reason = f"registered numbers fell from {before} to {after}" if doubted else None
    baseline = Baseline()
    assert baseline.reread_reason(_observed(before), ()) is None
    assert baseline.reread_reason(_observed(after), ()) == reason
    assert baseline.registered == (before if doubted else after)
    assert Baseline().last_run_mismatch(after, before) == reason


def test_consecutive_small_losses_are_accepted() -> None:
    """A read is compared with the previous one only. Growth is accepted."""
    baseline = Baseline()
    assert [baseline.reread_reason(_observed(count), ()) for count in (10, 7, 5, 4, 3, 10)] == [None] * 6


def test_confirmed_loss_is_the_new_baseline() -> None:
    """A confirmed read becomes the baseline, however many numbers it contains."""
    baseline = Baseline()
    baseline.reread_reason(_observed(10), ())
    baseline.confirm(_observed(2), ())
    assert baseline.reread_reason(_observed(2), ()) is None
    assert baseline.reread_reason(_observed(1), ()) is not None


def test_count_of_earlier_runs_is_used_once() -> None:
    """Later reads are compared with the first or the confirmed read of this process."""
    baseline = Baseline()
    assert baseline.last_run_mismatch(7, None) is None
    assert baseline.last_run_mismatch(1, 10) is None
    confirmed = Baseline()
    confirmed.confirm(_observed(1), ())
    assert confirmed.last_run_mismatch(1, 10) is None


@pytest.mark.parametrize("is_verification", [False, True])
def test_shrunken_response_is_read_again(*, is_verification: bool) -> None:
    """The second response is used, both requests are counted, and the log gives the reason."""

    async def scenario() -> None:
        async with Loopback(_account()) as loopback:
            client = loopback.reader(listed=PHONES)
            loopback.sandbox.script(None, "GET", [Fault.SHRUNKEN])
            assert len((await client.observe(is_verification=is_verification)).numbers) == 10
            assert client.requests == Requests(2, 0, 0)
            assert loopback.log.lines == [("account.reread", {"reason": "listed numbers that are not registered: 5"})]

    run(scenario())


def test_response_that_shrinks_twice_is_accepted() -> None:
    """There is no third read, and a confirmed loss is not read again by this or another client of the account."""

    async def scenario() -> None:
        async with Loopback(_account()) as loopback:
            baseline = Baseline()
            client = loopback.reader(listed=PHONES, baseline=baseline)
            loopback.sandbox.script(None, "GET", [Fault.SHRUNKEN] * 4)
            assert len((await client.observe()).numbers) == 5
            assert len((await client.observe()).numbers) == 5
            assert len((await loopback.reader(listed=PHONES, baseline=baseline).observe()).numbers) == 5
            assert len(loopback.sandbox.wire) == 4
            assert len((await loopback.reader(baseline=baseline).observe()).numbers) == 10

    run(scenario())


@pytest.mark.parametrize(
    ("before", "after", "listed", "reason"),
    [
        (8, 8, PHONES, None),
        (8, 10, PHONES, None),
        (8, 7, PHONES, "listed numbers that are not registered: 1"),
        (10, 7, PHONES[:0], None),
        (10, 6, PHONES[:0], "registered numbers fell from 10 to 6"),
    ],
)
def test_read_is_compared_with_the_doubted_read_before_it(
    before: int, after: int, listed: list[str], reason: str | None
) -> None:
    """Numbers missing from both reads cause no further read; numbers missing only from the later one do."""
    baseline = Baseline()
    assert baseline.reread_reason(_observed(before), [*PHONES, "0311234567"]) is not None
    assert baseline.reread_reason(_observed(after), listed) == reason


def test_shrunken_second_read_is_read_again() -> None:
    """One listed number is not registered. The second read lost other numbers, so it is repeated."""

    async def scenario() -> None:
        async with Loopback(_account(9)) as loopback:
            client = loopback.reader(listed=PHONES)
            loopback.sandbox.script(None, "GET", [None, Fault.SHRUNKEN])
            assert sorted((await client.observe()).numbers) == PHONES[:9]
            assert client.requests == Requests(3, 0, 0)

    run(scenario())


def test_at_most_four_reads_follow_the_first() -> None:
    """An account that loses numbers at every read is accepted in the end."""

    async def scenario() -> None:
        async with Loopback(_account()) as loopback:
            client = loopback.reader(listed=PHONES)
            loopback.account.remove(PHONES[9])
            loopback.log.on_line = lambda _: loopback.account.remove(next(iter(loopback.account.numbers)))
            assert sorted((await client.observe()).numbers) == PHONES[4:9]
            assert client.requests == Requests(5, 0, 0)

    run(scenario())


def test_loss_of_unlisted_numbers_takes_one_read() -> None:
    """A user removes two of ten numbers that no file lists."""

    async def scenario() -> None:
        async with Loopback(_account()) as loopback:
            client = loopback.reader(listed=PHONES[:8])
            await client.observe()
            for phone in PHONES[8:]:
                loopback.account.remove(phone)
            assert len((await client.observe()).numbers) == 8
            assert client.requests == Requests(2, 0, 0)

    run(scenario())


def test_failed_second_read_fails_the_read() -> None:
    """The first response is not accepted without a second one."""

    async def scenario() -> None:
        async with Loopback(_account()) as loopback:
            client = loopback.reader(listed=PHONES, retry=Retry(attempts=1))
            loopback.sandbox.script(None, "GET", [Fault.SHRUNKEN, Fault.HTML])
            with pytest.raises(ServerError, match="HTML page"):
                await client.observe()
            assert len((await client.observe()).numbers) == 10

    run(scenario())


def test_loss_is_confirmed_by_the_next_read_even_if_the_second_read_failed() -> None:
    """Two responses in a row lack the same numbers, with a failed request between them."""

    async def scenario() -> None:
        async with Loopback(_account()) as loopback:
            client = loopback.reader(listed=PHONES, retry=Retry(attempts=1))
            loopback.account.remove(PHONES[9])
            loopback.sandbox.script(None, "GET", [None, Fault.HTML])
            with pytest.raises(ServerError, match="HTML page"):
                await client.observe()
            assert len((await client.observe()).numbers) == 9
            assert client.requests.reads == 3

    run(scenario())


def test_first_read_below_the_ledgers_count_is_repeated() -> None:
    """The count of the ledger is compared once with the first read. The second response is used."""

    async def scenario() -> None:
        async with Loopback(_account()) as loopback:
            client = loopback.reader()
            loopback.sandbox.script(None, "GET", [Fault.SHRUNKEN])
            observed = await client.confirm(await client.observe(), 8)
            assert len(observed.numbers) == 10
            assert await client.confirm(observed, 100) is observed
            assert client.requests == Requests(2, 0, 0)
            assert loopback.log.lines == [("account.reread", {"reason": "registered numbers fell from 8 to 5"})]

    run(scenario())


def test_missing_number_is_read_again_once_until_it_returns() -> None:
    """Later passes accept a confirmed loss. A number that is lost once more is read again."""

    async def scenario() -> None:
        served = account(n01000000001="ACTIVE", n01000000002="ACTIVE")
        gone = served.numbers["01000000002"]
        daemon = Daemon([served], [desired_account(served)])
        served.remove(gone.phone)

        def restore() -> None:
            served.numbers[gone.phone] = gone
            served.switch(gone.phone, "ACTIVE")

        await daemon.run_for(2000, (700, restore), (1300, lambda: served.remove(gone.phone)))
        reads = Counter(round(at) for at, _ in daemon.wire.reads)
        assert reads == {0: 2, 300: 1, 600: 1, 900: 1, 1200: 1, 1500: 2, 1800: 1}
        assert len(daemon.log.of("account.reread")) == 2

    run(scenario())
