"""Whether numbers are in use: what is asked over real sockets, what the answers come to, and what is not known."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.loopback import EPOCH, Loopback, now, run, runtime
from worker.config.settings import RateLimit, Retry
from worker.model.accounts import NumberUse
from worker.model.errors import AccountRejected, Interrupted, Refusal, ServerError
from worker.model.plans import AccountPlan, Action, Change, NoticeKind, Verdict, tally
from worker.model.safety import InUse
from worker.plan.holds import hold_as_approved
from worker.reconcile.in_use import guard_plan
from worker.sandbox import Fault, SandboxAccount
from worker.solapi.in_use import Fetch, read_number_use
from worker.solapi.limiter import Quota

A, B, C = "01012345678", "0212345678", "0311234567"
NOW = datetime.fromtimestamp(EPOCH, UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
_FORBIDDEN = "Forbidden: "


def _account() -> SandboxAccount:
    return SandboxAccount.of({A: "ACTIVE", B: "ACTIVE", C: "ACTIVE"})


def _usage(
    account: SandboxAccount, *phones: str, hours: int = 24, faults: tuple[Fault | None, ...] = ()
) -> tuple[NumberUse, list[Any]]:
    """What a reader finds out, and the requests that it took."""

    async def scenario() -> tuple[NumberUse, list[Any]]:
        async with Loopback(account) as loopback:
            loopback.sandbox.script(None, "GET", faults)
            reader = loopback.reader(retry=Retry(attempts=2, base_seconds=0.01))
            usage = await reader.usage(phones, hours)
            assert reader.requests.reads == len(loopback.sandbox.wire)
            return usage, loopback.sandbox.wire

    return run(scenario())


def test_numbers_that_are_not_used_are_known_not_to_be() -> None:
    """The groups are asked for once, then each number once, with the hours in UTC; nothing is in use or unknown."""
    usage, wire = _usage(_account(), A, B)
    assert usage == NumberUse()
    assert [request.path for request in wire] == ["/messages/v4/groups", "/messages/v4/list", "/messages/v4/list"]
    assert wire[0].query == {"criteria": "scheduledDate", "cond": "gte", "value": _text(NOW - MINUTE), "limit": "500"}
    since, until = _text(NOW - 24 * HOUR), _text(NOW + MINUTE)
    assert [request.query for request in wire[1:]] == [
        {"from": phone, "dateType": "UPDATED", "startDate": since, "endDate": until, "limit": "1"} for phone in (A, B)
    ]


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize(("ago", "found"), [(1, True), (24, True), (25, False)])
def test_what_was_sent_in_the_hours_before_is_in_use(ago: int, *, found: bool) -> None:
    """A message within the hours, their first second included, says so with its time; an older one does not."""
    account = _account()
    account.add_sent(A, NOW - ago * HOUR)
    usage, _ = _usage(account, A, B)
    when = (NOW - ago * HOUR).strftime("%Y-%m-%d %H:%M UTC")
    reason = f"it has sent messages in the last 24 hours, one of them on {when}"
    assert usage == NumberUse({A: reason} if found else {})


def test_nothing_falls_between_what_was_sent_and_what_is_ahead() -> None:
    """A message of this second is in use, whether it is listed as just sent or as just due."""
    account = _account()
    account.add_sent(A, NOW + timedelta(seconds=0.9))
    account.add_scheduled(NOW - timedelta(seconds=0.9), B)
    usage, _ = _usage(account, A, B, C)
    assert set(usage.in_use) == {A, B}


def test_what_is_scheduled_is_in_use_and_asked_about_no_more() -> None:
    """The senders of a group that is ahead are in use; one that is over, or was before, says nothing."""
    account = _account()
    account.add_scheduled(NOW + HOUR, "0299999999", A)
    account.add_scheduled(NOW + 2 * HOUR, B, status="FAILED")
    account.add_scheduled(NOW - HOUR, C)
    usage, wire = _usage(account, A, B, C)
    when = (NOW + HOUR).strftime("%Y-%m-%d %H:%M UTC")
    assert usage == NumberUse({A: f"it is the sender of messages scheduled for {when}: wait until they are sent"})
    assert [request.query["from"] for request in wire if request.path == "/messages/v4/list"] == [B, C]
    assert sum(request.path.endswith("/messages") for request in wire) == 1


@pytest.mark.parametrize(
    ("status", "sends"),
    [
        *(("PENDING", True), ("SENDING", True), ("SCHEDULED", True), ("NEW_STATUS", True)),
        *(("COMPLETE", False), ("FAILED", False), ("DELETED", False)),
    ],
)
def test_group_that_is_ahead_sends_unless_it_has_ended(status: str, *, sends: bool) -> None:
    """A status that the worker does not know holds the number, too."""
    account = _account()
    account.add_scheduled(NOW + HOUR, A, status=status)
    usage, _ = _usage(account, A)
    assert (A in usage.in_use) == sends


def test_long_groups_are_read_page_by_page() -> None:
    """A sender that stands on the third page is found; where all are found, no further page is read."""
    account = _account()
    account.add_scheduled(NOW + HOUR, *["0299999999"] * 1200, A, *["0299999999"] * 1200)
    usage, wire = _usage(account, A)
    assert set(usage.in_use) == {A}
    assert [request.query.get("startKey") is not None for request in wire] == [False, False, True, True]


def test_number_beyond_the_last_page_read_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A number that is not among the scheduled messages read is unknown, unless it has sent."""
    monkeypatch.setattr("worker.solapi.in_use._PAGES", 3)
    account = _account()
    account.add_scheduled(NOW + HOUR, *["0299999999"] * 2_000)
    account.add_sent(B, NOW - HOUR)
    usage, wire = _usage(account, A, B)
    assert (set(usage.in_use), set(usage.unknown)) == ({B}, {A})
    assert usage.why == "more than 1,500 messages are scheduled, which is the limit of this check"
    assert len(wire) == 5


def test_without_the_scope_it_is_unknown() -> None:
    """A key that may not read messages costs one request, and is no end of the account."""
    account = _account()
    account.mailbox.readable = False

    async def scenario() -> None:
        async with Loopback(account) as loopback:
            reader = loopback.reader()
            usage = await reader.usage((A, B), 24)
            assert (dict(usage.in_use), set(usage.unknown)) == ({}, {A, B})
            assert usage.why.startswith(_FORBIDDEN)
            assert len(loopback.sandbox.wire) == 1
            assert len((await reader.observe()).numbers) == 3

    run(scenario())


@pytest.mark.parametrize(
    "fault",
    [
        Fault.HTML,
        Fault.GARBAGE,
        Fault.OTHER_JSON,
        Fault.INTERNAL_ERROR,
        Fault.RESET_BEFORE,
        Fault.NOT_GZIP,
        Fault.NO_CONTENT,
    ],
)
def test_what_fails_for_a_moment_is_asked_again_and_then_unknown(fault: Fault) -> None:
    """One fault is outlived; where it stays, what was found by then counts and the rest is unknown."""
    account = _account()
    account.add_sent(A, NOW - HOUR)
    assert set(_usage(account, A, B, faults=(fault,))[0].in_use) == {A}
    usage, _ = _usage(account, A, B, C, faults=(None, None, fault, fault))
    assert (set(usage.in_use), set(usage.unknown)) == ({A}, {B, C})
    assert usage.why


def test_the_quota_of_reads_is_kept() -> None:
    """Asking about forty numbers sends no more reads in any window than the server allows: none is refused."""
    phones = [f"0101234{n:04}" for n in range(40)]
    account = SandboxAccount.of(dict.fromkeys(phones, "ACTIVE"))

    async def scenario() -> None:
        async with Loopback(account, rate_limit=(100, 8)) as loopback:
            quota = Quota(RateLimit(reads=8, writes=100), clock=now)
            usage = await loopback.reader(quota=quota).usage(phones, 24)
            assert usage == NumberUse()
            assert [request.status for request in loopback.sandbox.wire] == [200] * 41
            assert now() >= 25

    run(scenario())


def test_a_stop_ends_the_asking() -> None:
    """A query that waits for its slot gets the reason of the stop, as every other read does."""

    async def scenario() -> None:
        async with Loopback(_account()) as loopback:
            reader = loopback.reader()
            reader.halt(Interrupted("stop"))
            with pytest.raises(Interrupted):
                await reader.usage([A], 24)
            assert not loopback.sandbox.wire

    run(scenario())


def _answering(answers: dict[str, Any]) -> Fetch:
    async def fetch(query: str, decode: Callable[[bytearray], Any]) -> Any:
        found = answers[urlsplit(query).path]
        return decode(bytearray(found if isinstance(found, bytes) else json.dumps(found).encode()))

    return fetch


def _inquired(**answers: Any) -> NumberUse:
    paths = {"/messages/v4/groups": answers.get("groups", {"groupList": {}})}
    paths["/messages/v4/list"] = answers.get("sent", {"messageList": {}})
    paths["/messages/v4/groups/G1/messages"] = answers.get("group", {"messageList": {}})
    return run(read_number_use(_answering(paths), [A], NOW, 24))


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        ({"groups": {}}, "the response cannot be read"),
        ({"groups": {"groupList": {"../cash": {}}}}, "an invalid id"),
        ({"groups": {"groupList": {"G1": {"scheduledDate": 3}}}}, "the response cannot be read"),
        ({"groups": {"groupList": {"G1": {}}}, "group": b"[" * 100_000}, "the response cannot be read"),
        ({"sent": {"messages": []}}, "the response cannot be read"),
        ({"sent": {"messageList": {"M": {"from": B}}}}, "of another number than requested"),
        ({"sent": {"messageList": {"M": {}}}}, "of another number than requested"),
        *(
            ({"groups": {"groupList": {"G1": {}}}, "group": {"messageList": {"M": message}}}, "may be any")
            for message in ({}, {"from": None}, {"from": "somebody"})
        ),
    ],
)
def test_what_does_not_answer_the_question_is_unknown(answers: dict[str, Any], why: str) -> None:
    """An answer of another shape, of another number, or with an id that could lead elsewhere is never a no."""
    usage = _inquired(**answers)
    assert (dict(usage.in_use), set(usage.unknown)) == ({}, {A})
    assert why in usage.why


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        (
            {"sent": {"messageList": [{"from": A, "dateUpdated": "2027-01-15T08:00:00.000Z"}]}},
            "on 2027-01-15 08:00 UTC",
        ),
        ({"sent": {"messageList": {"M": {"from": A}}}}, "on an unknown time"),
        ({"sent": {"messageList": {"M": {"from": A, "dateUpdated": "then"}}}}, "on then"),
        (
            {
                "groups": {"groupList": {"G1": {"scheduledDate": "2027-02-01T09:00:00+09:00"}}},
                "group": {"messageList": {"M": {"from": A}, "N": {"from": None}}, "nextKey": None},
            },
            "scheduled for 2027-02-01 00:00 UTC",
        ),
        (
            {
                "groups": {"groupList": {"G1": {"scheduledDate": "2027-02-01T09:00:00+09:00"}}},
                "group": {"messageList": {"M": {"from": f"+82 {A[1:3]}-{A[3:]}"}}, "nextKey": None},
            },
            "scheduled for 2027-02-01 00:00 UTC",
        ),
    ],
)
def test_lists_and_dates_are_read_as_they_may_come(answers: dict[str, Any], words: str) -> None:
    """A list in place of an object and any kind of date still show that the number is in use."""
    assert words in _inquired(**answers).in_use[A]


def test_what_is_read_of_a_message_is_its_sender_and_a_date() -> None:
    """What a message says and to whom is in nothing that is found out, whether the number is in use or unknown."""
    message = {"from": A, "to": "01098765432", "text": "your code is 4711", "dateUpdated": "2027-01-15T08:00:00Z"}
    for sender in (A, B):
        text = repr(_inquired(sent={"messageList": {"M": {**message, "from": sender}}}))
        assert "4711" not in text
        assert "01098765432" not in text


def test_an_endless_answer_is_cut_off() -> None:
    """A body beyond any answer's length is unknown, and is not asked for again."""
    account = _account()
    usage, wire = _usage(account, A, faults=(Fault.BOMB,))
    assert usage.unknown == {A}
    assert "longer than 16 MiB" in usage.why
    assert len(wire) == 1


_PHONES = st.sets(st.from_regex("010[0-9]{4}", fullmatch=True), min_size=1, max_size=12)


@given(data=st.data(), phones=_PHONES)
def test_every_number_is_in_use_unknown_or_neither(data: st.DataObject, phones: set[str]) -> None:
    """Whatever is sent, scheduled or refused: nothing in use is called unused, and nothing else is called in use."""
    subsets = st.sets(st.sampled_from(sorted(phones)))
    sending, ahead = data.draw(subsets), data.draw(subsets)
    left = data.draw(st.integers(0, len(phones) + 3))

    async def fetch(query: str, decode: Callable[[bytearray], Any]) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise data.draw(st.sampled_from([AccountRejected("no"), ServerError("later")]))
        url = urlsplit(query)
        if url.path == "/messages/v4/list":
            asked_for = parse_qs(url.query)["from"][0]
            found: dict[str, Any] = {"M": {"from": asked_for}} if asked_for in sending else {}
            return decode(bytearray(json.dumps({"messageList": found}).encode()))
        if url.path == "/messages/v4/groups":
            return decode(bytearray(b'{"groupList": {"G1": {}}}'))
        messages = [{"from": phone} for phone in sorted(ahead)]
        return decode(bytearray(json.dumps({"messageList": messages}).encode()))

    usage = run(read_number_use(fetch, sorted(phones), NOW, 24))
    used = sending | ahead
    assert set(usage.in_use) <= used
    assert used <= set(usage.in_use) | usage.unknown
    assert usage.unknown.isdisjoint(usage.in_use)
    assert usage.unknown <= phones
    assert bool(usage.why) >= bool(usage.unknown)


def _change(phone: str, action: Action = Action.DEACTIVATE) -> Change:
    return Change(phone, action, "ACTIVE", "INACTIVE", "listed as INACTIVE")


class _Api:
    """Give preset answers, and remember the numbers that it was asked about."""

    def __init__(self, usage: NumberUse) -> None:
        self.answer = usage
        self.asked: list[tuple[tuple[str, ...], int]] = []

    async def usage(self, phones: Any, hours: int) -> NumberUse:
        """Return the preset answer."""
        self.asked.append((tuple(phones), hours))
        return self.answer


def _plan(*changes: Change, **more: Any) -> AccountPlan:
    counts = {action: sum(change.action is action for change in changes) for action in Action}
    return AccountPlan(account="main", counts=tally(Action, counts), changes=changes, **more)


_ON = InUse(enabled=True, hours=72)


def _asked(
    plan: AccountPlan, usage: NumberUse, guard: InUse = _ON, *allow: str
) -> tuple[AccountPlan, list[tuple[tuple[str, ...], int]]]:
    api = _Api(usage)
    return run(guard_plan(plan, api, guard, frozenset(allow))), api.asked  # type: ignore[arg-type]


def test_a_number_in_use_is_held_with_why() -> None:
    """It is no deactivation any more, is counted as held, and the reason says what for and how to let it go."""
    plan, questions = _asked(_plan(_change(A), _change(B), _change(C, Action.HELD)), NumberUse({A: "it is busy"}))
    assert questions == [((A, B), 72)]
    assert [(change.phone, change.action) for change in plan.changes] == [
        (B, Action.DEACTIVATE),
        (A, Action.HELD),
        (C, Action.HELD),
    ]
    reasons = {change.phone: change.reason for change in plan.changes}
    assert reasons[A] == "in use: it is busy; to deactivate it anyway, add --allow in-use"
    assert (plan.counts[Action.DEACTIVATE], plan.counts[Action.HELD], plan.notices) == (1, 2, ())


@pytest.mark.parametrize(("fate", "held"), [("hold", 1), ("allow", 0)])
def test_unknown_use_is_noticed_once_and_held_if_configured(fate: Any, held: int) -> None:
    """One notice an account has the count and the reason; on_unknown decides whether they are held."""
    guard = InUse(enabled=True, on_unknown=fate)
    plan, _ = _asked(_plan(_change(A), _change(B)), NumberUse({}, frozenset({A}), "Forbidden: no"), guard)
    (notice,) = plan.notices
    assert (notice.kind, notice.phone) == (NoticeKind.IN_USE, None)
    assert "Forbidden: no" in notice.message
    assert plan.counts[Action.HELD] == held
    assert {change.phone for change in plan.changes if change.action is Action.HELD} == ({A} if held else set())


@pytest.mark.parametrize(
    ("guard", "allow", "more"),
    [
        (InUse(), (), {}),
        (_ON, ("in-use",), {}),
        (_ON, ("all",), {}),
        (_ON, (), {"verdict": Verdict.REFUSED, "refusals": (Refusal("min-active", "few"),)}),
    ],
)
def test_nothing_is_queried_where_no_answer_matters(guard: InUse, allow: tuple[str, ...], more: dict[str, Any]) -> None:
    """Off, allowed, or refused anyway: the plan is unchanged, and costs no request."""
    plan = _plan(_change(A), **more)
    assert _asked(plan, NumberUse({A: "busy"}), guard, *allow) == (plan, [])


def test_a_plan_without_deactivations_asks_nothing() -> None:
    plan = _plan(_change(A, Action.ACTIVATE), _change(B, Action.BLOCKED))
    assert _asked(plan, NumberUse({A: "busy"})) == (plan, [])


def test_what_a_plan_held_stays_held() -> None:
    """A later plan of the same account does not write what an approved one held, whatever it says by then."""
    held = _change(A, Action.HELD)
    assert [change.action for change in hold_as_approved((_change(A), _change(B)), (held, _change(B)))] == [
        Action.DEACTIVATE,
        Action.HELD,
    ]


def test_times_of_the_queries_are_by_the_clock_of_the_server() -> None:
    async def scenario() -> None:
        async with Loopback(_account()) as loopback:
            reader = loopback.reader(runtime=runtime(wall=lambda: EPOCH + now() - 3600))
            await reader.observe()
            await reader.usage([A], 24)
            groups = next(request for request in loopback.sandbox.wire if request.path == "/messages/v4/groups")
            assert groups.query["value"] == _text(NOW - MINUTE)

    run(scenario())


def test_failed_query_is_the_reason_why_the_use_is_unknown() -> None:
    usage, _ = _usage(_account(), A, faults=(Fault.UNAVAILABLE,) * 2)
    assert usage == NumberUse(unknown=frozenset({A}), why="ServerError: HTTP 503")
