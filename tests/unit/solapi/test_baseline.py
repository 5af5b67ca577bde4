"""Which reads are repeated before they are believed, and what the client makes of the second one."""

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


def _seen(count: int) -> ObservedAccount:
    return ObservedAccount("1", {phone: Observed(phone, Status.ACTIVE) for phone in PHONES[:count]})


def _account(count: int = 10) -> SandboxAccount:
    return SandboxAccount.of(dict.fromkeys(PHONES[:count], "ACTIVE"))


def test_a_read_with_every_listed_number_is_believed() -> None:
    """The first read has nothing to be compared with but the file."""
    baseline = Baseline()
    assert baseline.reread_reason(_seen(2), PHONES[:2]) is None
    assert (baseline.registered, baseline.absent) == (2, frozenset())


def test_a_listed_number_that_is_not_registered_is_doubted_until_it_is_confirmed() -> None:
    """What a second read confirmed is not read again; a number that came back and is lost again is."""
    baseline = Baseline()
    assert baseline.reread_reason(_seen(8), PHONES) == "listed numbers that are not registered: 2"
    assert baseline.registered is None
    baseline.confirm(_seen(8), PHONES)
    assert baseline.absent == set(PHONES[8:])
    assert baseline.reread_reason(_seen(8), PHONES) is None
    assert baseline.reread_reason(_seen(7), PHONES) == "listed numbers that are not registered: 1"
    assert baseline.reread_reason(_seen(9), PHONES) is None
    assert baseline.absent == {PHONES[9]}
    assert baseline.reread_reason(_seen(8), PHONES) == "listed numbers that are not registered: 1"


@pytest.mark.parametrize(
    ("before", "after", "doubted"), [(10, 7, False), (10, 6, True), (3, 2, True), (4, 3, False), (1, 0, True)]
)
def test_exactly_30_percent_less_is_believed(before: int, after: int, *, doubted: bool) -> None:
    """More than that is a reason to read again: against the read before, and against what earlier runs remember."""
    reason = f"registered numbers fell from {before} to {after}" if doubted else None
    baseline = Baseline()
    assert baseline.reread_reason(_seen(before), ()) is None
    assert baseline.reread_reason(_seen(after), ()) == reason
    assert baseline.registered == (before if doubted else after)
    assert Baseline().recall(after, before) == reason


def test_many_small_losses_are_each_believed() -> None:
    """A read is compared with the one before it, whatever came before that; growth is no reason."""
    baseline = Baseline()
    assert [baseline.reread_reason(_seen(count), ()) for count in (10, 7, 5, 4, 3, 10)] == [None] * 6


def test_a_confirmed_loss_is_what_later_reads_are_compared_with() -> None:
    """The second read counts, whatever it shows."""
    baseline = Baseline()
    baseline.reread_reason(_seen(10), ())
    baseline.confirm(_seen(2), ())
    assert baseline.reread_reason(_seen(2), ()) is None
    assert baseline.reread_reason(_seen(1), ()) is not None


def test_what_earlier_runs_remember_counts_once() -> None:
    """After the first read of a process its own reads count, and after a second read what it confirmed does."""
    baseline = Baseline()
    assert baseline.recall(7, None) is None
    assert baseline.recall(1, 10) is None
    confirmed = Baseline()
    confirmed.confirm(_seen(1), ())
    assert confirmed.recall(1, 10) is None


@pytest.mark.parametrize("closing", [False, True])
def test_a_reply_that_is_shrunken_once_is_read_again(*, closing: bool) -> None:
    """The second reply counts, both are requests, and the log says why."""

    async def scenario() -> None:
        async with Loopback(_account()) as loopback:
            client = loopback.reader(listed=PHONES)
            loopback.sandbox.script(None, "GET", [Fault.SHRUNKEN])
            assert len((await client.observe(closing=closing)).numbers) == 10
            assert client.requests == Requests(2, 0, 0)
            assert loopback.log.lines == [("account.reread", {"reason": "listed numbers that are not registered: 5"})]

    run(scenario())


def test_a_reply_that_is_shrunken_twice_is_believed() -> None:
    """There is no third read, and none of what is confirmed, by this client or another one of the account."""

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


def test_a_read_after_a_doubted_one_is_doubted_if_it_lost_more() -> None:
    """What both of them lack is no reason to read again, and what only the later one lacks is."""
    assert Baseline.loss(_seen(8), _seen(8), PHONES) is None
    assert Baseline.loss(_seen(8), _seen(10), PHONES) is None
    assert Baseline.loss(_seen(8), _seen(7), PHONES) == "listed numbers that are not registered: 1"
    assert Baseline.loss(_seen(10), _seen(7), ()) is None
    assert Baseline.loss(_seen(10), _seen(6), ()) == "registered numbers fell from 10 to 6"


def test_a_shrunken_reply_does_not_confirm_a_whole_one() -> None:
    """One listed number is really not registered; the reply that should confirm it lost others, and is read again."""

    async def scenario() -> None:
        async with Loopback(_account(9)) as loopback:
            client = loopback.reader(listed=PHONES)
            loopback.sandbox.script(None, "GET", [None, Fault.SHRUNKEN])
            assert sorted((await client.observe()).numbers) == PHONES[:9]
            assert client.requests == Requests(3, 0, 0)

    run(scenario())


def test_an_account_that_loses_numbers_at_every_read_is_believed_in_the_end() -> None:
    """Four reads follow the first one at most."""

    async def scenario() -> None:
        async with Loopback(_account()) as loopback:
            client = loopback.reader(listed=PHONES)
            loopback.account.remove(PHONES[9])
            loopback.log.on_line = lambda _: loopback.account.remove(next(iter(loopback.account.numbers)))
            assert sorted((await client.observe()).numbers) == PHONES[4:9]
            assert client.requests == Requests(5, 0, 0)

    run(scenario())


def test_an_unlisted_number_may_go() -> None:
    """A user removes two of ten numbers that no file lists: one read."""

    async def scenario() -> None:
        async with Loopback(_account()) as loopback:
            client = loopback.reader(listed=PHONES[:8])
            await client.observe()
            for phone in PHONES[8:]:
                loopback.account.remove(phone)
            assert len((await client.observe()).numbers) == 8
            assert client.requests == Requests(2, 0, 0)

    run(scenario())


def test_a_second_read_that_fails_makes_the_read_fail() -> None:
    """The first reply is not believed because there is no second one."""

    async def scenario() -> None:
        async with Loopback(_account()) as loopback:
            client = loopback.reader(listed=PHONES, retry=Retry(attempts=1))
            loopback.sandbox.script(None, "GET", [Fault.SHRUNKEN, Fault.HTML])
            with pytest.raises(ServerError, match="HTML page"):
                await client.observe()
            assert len((await client.observe()).numbers) == 10

    run(scenario())


def test_a_remembered_count_has_the_first_read_repeated() -> None:
    """What the ledger knows is compared once with the first read; the second reply counts."""

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


def test_a_missing_number_is_read_again_once_until_it_comes_back() -> None:
    """Later passes believe what a second read has confirmed; a number that is lost once more is read again."""

    async def scenario() -> None:
        found = account(n01000000001="ACTIVE", n01000000002="ACTIVE")
        gone = found.numbers["01000000002"]
        daemon = Daemon([found], [desired_account(found)])
        found.remove(gone.phone)

        def come_back() -> None:
            found.numbers[gone.phone] = gone
            found.switch(gone.phone, "ACTIVE")

        await daemon.live(2000, (700, come_back), (1300, lambda: found.remove(gone.phone)))
        reads = Counter(round(at) for at, _ in daemon.wire.reads)
        assert reads == {0: 2, 300: 1, 600: 1, 900: 1, 1200: 1, 1500: 2, 1800: 1}
        assert len(daemon.tape.of("account.reread")) == 2

    run(scenario())
