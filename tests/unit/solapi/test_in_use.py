"""The usage check: its requests over real sockets, how responses are interpreted, and what stays unknown."""

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
from worker.solapi.in_use import Body, Fetch, read_number_use
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
    """Return the result of a reader's usage check, and the requests that it took."""

    async def scenario() -> tuple[NumberUse, list[Any]]:
        async with Loopback(account) as loopback:
            loopback.sandbox.script(None, "GET", faults)
            reader = loopback.reader(retry=Retry(attempts=2, base_seconds=0.01))
            usage = await reader.usage(phones, hours)
            assert reader.requests.reads == len(loopback.sandbox.wire)
            return usage, loopback.sandbox.wire

    return run(scenario())


def test_unused_numbers_are_known_to_be_unused() -> None:
    """Groups are queried once, then each number once, with times in UTC. Nothing is in use or unknown."""
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


@pytest.mark.parametrize(("ago", "is_in_use"), [(1, True), (24, True), (25, False)])
def test_sender_of_a_recent_message_is_in_use(ago: int, *, is_in_use: bool) -> None:
    """A message within the hours, including their first second, gives the reason with its time.

    An older one does not count.
    """
    account = _account()
    account.add_sent(A, NOW - ago * HOUR)
    usage, _ = _usage(account, A, B)
    sent_at = (NOW - ago * HOUR).strftime("%Y-%m-%d %H:%M UTC")
    reason = f"it has sent messages in the last 24 hours, one of them at {sent_at}"
    assert usage == NumberUse({A: reason} if is_in_use else {})


def test_message_of_the_current_second_is_in_use() -> None:
    """The message counts whether it is listed as sent or as scheduled."""
    account = _account()
    account.add_sent(A, NOW + timedelta(seconds=0.9))
    account.add_scheduled(NOW - timedelta(seconds=0.9), B)
    usage, _ = _usage(account, A, B, C)
    assert set(usage.in_use) == {A, B}


def test_sender_of_a_scheduled_message_is_in_use() -> None:
    """The senders of a future group are in use and not queried again.

    A group that ended or is in the past does not count.
    """
    account = _account()
    account.add_scheduled(NOW + HOUR, "0299999999", A)
    account.add_scheduled(NOW + 2 * HOUR, B, status="FAILED")
    account.add_scheduled(NOW - HOUR, C)
    usage, wire = _usage(account, A, B, C)
    due = (NOW + HOUR).strftime("%Y-%m-%d %H:%M UTC")
    assert usage == NumberUse({A: f"it is the sender of messages scheduled for {due}: wait until they are sent"})
    assert [request.query["from"] for request in wire if request.path == "/messages/v4/list"] == [B, C]
    assert sum(request.path.endswith("/messages") for request in wire) == 1


@pytest.mark.parametrize(
    ("status", "sends"),
    [
        *(("PENDING", True), ("SENDING", True), ("SCHEDULED", True), ("NEW_STATUS", True)),
        *(("COMPLETE", False), ("FAILED", False), ("DELETED", False)),
    ],
)
def test_scheduled_group_counts_unless_it_ended(status: str, *, sends: bool) -> None:
    """A group with an unknown status counts too."""
    account = _account()
    account.add_scheduled(NOW + HOUR, A, status=status)
    usage, _ = _usage(account, A)
    assert (A in usage.in_use) == sends


def test_long_groups_are_read_page_by_page() -> None:
    """A sender on the third page is found. Once all numbers are found, no further page is read."""
    account = _account()
    account.add_scheduled(NOW + HOUR, *["0299999999"] * 1200, A, *["0299999999"] * 1200)
    usage, wire = _usage(account, A)
    assert set(usage.in_use) == {A}
    assert [request.query.get("startKey") is not None for request in wire] == [False, False, True, True]


def test_number_beyond_the_last_page_read_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A number that is not among the scheduled messages read is unknown, unless it sent a message recently."""
    monkeypatch.setattr("worker.solapi.in_use._PAGES", 3)
    account = _account()
    account.add_scheduled(NOW + HOUR, *["0299999999"] * 2_000)
    account.add_sent(B, NOW - HOUR)
    usage, wire = _usage(account, A, B)
    assert (set(usage.in_use), set(usage.unknown)) == ({B}, {A})
    assert usage.why == "more than 1,500 messages are scheduled, which is the limit of this check"
    assert len(wire) == 5


def test_usage_is_unknown_without_the_scope() -> None:
    """A key that may not read messages costs one request and does not end the account."""
    account = _account()
    account.mailbox.can_read_messages = False

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
def test_failed_usage_query_is_retried_and_then_unknown(fault: Fault) -> None:
    """One fault is retried. If it persists, the results so far count and the rest is unknown."""
    account = _account()
    account.add_sent(A, NOW - HOUR)
    assert set(_usage(account, A, B, faults=(fault,))[0].in_use) == {A}
    usage, _ = _usage(account, A, B, C, faults=(None, None, fault, fault))
    assert (set(usage.in_use), set(usage.unknown)) == ({A}, {B, C})
    assert usage.why


def test_usage_queries_keep_to_the_read_quota() -> None:
    """Queries about forty numbers exceed no window of the server, so none is refused."""
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


def test_stop_ends_the_usage_check() -> None:
    """A query that waits for a slot gets the reason of the stop, as every other read does."""

    async def scenario() -> None:
        async with Loopback(_account()) as loopback:
            reader = loopback.reader()
            reader.halt(Interrupted("stop"))
            with pytest.raises(Interrupted):
                await reader.usage([A], 24)
            assert not loopback.sandbox.wire

    run(scenario())


def _fetch_of(responses: dict[str, Any]) -> Fetch:
    async def fetch(query: str, decode: Callable[[bytearray], Any]) -> Any:
        response = responses[urlsplit(query).path]
        return decode(bytearray(response if isinstance(response, bytes) else json.dumps(response).encode()))

    return fetch


def _usage_of(**responses: Any) -> NumberUse:
    paths = {"/messages/v4/groups": responses.get("groups", {"groupList": {}})}
    paths["/messages/v4/list"] = responses.get("sent", {"messageList": {}})
    paths["/messages/v4/groups/G1/messages"] = responses.get("group", {"messageList": {}})
    return run(read_number_use(_fetch_of(paths), [A], NOW, 24))


@pytest.mark.parametrize(
    ("responses", "reason"),
    [
        ({"groups": {}}, "the response cannot be read"),
        ({"groups": {"groupList": {"../cash": {}}}}, "an invalid id"),
        ({"groups": {"groupList": {"G1": {"scheduledDate": 3}}}}, "the response cannot be read"),
        ({"groups": {"groupList": {"G1": {}}}, "group": b"[" * 100_000}, "the response cannot be read"),
        ({"sent": {"messages": []}}, "the response cannot be read"),
        ({"sent": {"messageList": {"M": {"from": B}}}}, "the messages of another number"),
        ({"sent": {"messageList": {"M": {}}}}, "the messages of another number"),
        *(
            ({"groups": {"groupList": {"G1": {}}}, "group": {"messageList": {"M": message}}}, "may be any")
            for message in ({}, {"from": None}, {"from": "somebody"})
        ),
    ],
)
def test_invalid_usage_response_is_unknown(responses: dict[str, Any], reason: str) -> None:
    """A response of another shape, of another number, or with an id unsafe in a URL never means "not in use"."""
    usage = _usage_of(**responses)
    assert (dict(usage.in_use), set(usage.unknown)) == ({}, {A})
    assert reason in usage.why


@pytest.mark.parametrize(
    ("responses", "reason"),
    [
        (
            {"sent": {"messageList": [{"from": A, "dateUpdated": "2027-01-15T08:00:00.000Z"}]}},
            "one of them at 2027-01-15 08:00 UTC",
        ),
        ({"sent": {"messageList": {"M": {"from": A}}}}, "it has sent messages in the last 24 hours"),
        ({"sent": {"messageList": {"M": {"from": A, "dateUpdated": "then"}}}}, "one of them at then"),
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
        (
            {"groups": {"groupList": {"G1": {}}}, "group": {"messageList": {"M": {"from": A}}, "nextKey": None}},
            "it is the sender of scheduled messages",
        ),
    ],
)
def test_lists_and_all_date_formats_are_accepted(responses: dict[str, Any], reason: str) -> None:
    """A list in place of an object and any date format still show that the number is in use."""
    assert reason in _usage_of(**responses).in_use[A]


def test_message_text_and_recipient_are_not_read() -> None:
    """The result contains only senders and dates, whether the number is in use or unknown."""
    message = {"from": A, "to": "01098765432", "text": "your code is 4711", "dateUpdated": "2027-01-15T08:00:00Z"}
    for sender in (A, B):
        text = repr(_usage_of(sent={"messageList": {"M": {**message, "from": sender}}}))
        assert "4711" not in text
        assert "01098765432" not in text


def test_endless_usage_response_is_unknown() -> None:
    """A body over the size limit is unknown and not queried again."""
    account = _account()
    usage, wire = _usage(account, A, faults=(Fault.BOMB,))
    assert usage.unknown == {A}
    assert "larger than 16 MiB" in usage.why
    assert len(wire) == 1


_PHONES = st.sets(st.from_regex("010[0-9]{4}", fullmatch=True), min_size=1, max_size=12)


@given(data=st.data(), phones=_PHONES)
def test_used_number_is_never_reported_unused(data: st.DataObject, phones: set[str]) -> None:
    """For any messages, schedules and refusals, no used number is reported as unused, and no unused number as used."""
    subsets = st.sets(st.sampled_from(sorted(phones)))
    sending, ahead = data.draw(subsets), data.draw(subsets)
    budget = data.draw(st.integers(0, len(phones) + 3))

    async def fetch(query: str, decode: Callable[[bytearray], Any]) -> Any:
        nonlocal budget
        budget -= 1
        if budget < 0:
            raise data.draw(st.sampled_from([AccountRejected("no"), ServerError("later")]))
        url = urlsplit(query)
        if url.path == "/messages/v4/list":
            asked_for = parse_qs(url.query)["from"][0]
            actual: dict[str, Any] = {"M": {"from": asked_for}} if asked_for in sending else {}
            return decode(bytearray(json.dumps({"messageList": actual}).encode()))
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
    """API with a preset usage that records the queried numbers."""

    def __init__(self, usage: NumberUse) -> None:
        self.result = usage
        self.usage_queries: list[tuple[tuple[str, ...], int]] = []

    async def usage(self, phones: Any, hours: int) -> NumberUse:
        """Return the preset usage."""
        self.usage_queries.append((tuple(phones), hours))
        return self.result


def _plan(*changes: Change, **more: Any) -> AccountPlan:
    counts = {action: sum(change.action is action for change in changes) for action in Action}
    return AccountPlan(account="main", counts=tally(Action, counts), changes=changes, **more)


_ON = InUse(enabled=True, hours=72)


def _asked(
    plan: AccountPlan, usage: NumberUse, guard: InUse = _ON, *allow: str
) -> tuple[AccountPlan, list[tuple[tuple[str, ...], int]]]:
    api = _Api(usage)
    return run(guard_plan(plan, api, guard, frozenset(allow))), api.usage_queries  # type: ignore[arg-type]


def test_number_in_use_is_held_with_a_reason() -> None:
    """The number is counted as held, not as a deactivation. The reason gives the use and how to release it."""
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
def test_unknown_use_is_one_notice_and_held_if_configured(fate: Any, held: int) -> None:
    """One notice per account gives the count and the reason. `on_unknown` decides whether the numbers are held."""
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
def test_usage_is_not_queried_when_it_cannot_matter(guard: InUse, allow: tuple[str, ...], more: dict[str, Any]) -> None:
    """If the guard is off, allowed, or the plan is refused, the plan is unchanged and costs no request."""
    plan = _plan(_change(A), **more)
    assert _asked(plan, NumberUse({A: "busy"}), guard, *allow) == (plan, [])


def test_plan_without_deactivations_does_not_send_queries() -> None:
    plan = _plan(_change(A, Action.ACTIVATE), _change(B, Action.BLOCKED))
    assert _asked(plan, NumberUse({A: "busy"})) == (plan, [])


def test_held_number_stays_held_in_later_plans() -> None:
    """A later plan of the account does not write a number that the approved plan held."""
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
    assert (usage.in_use, usage.unknown) == ({}, frozenset({A}))
    assert usage.why.startswith("ServerError: HTTP 503 with a web page instead of JSON")


def test_body_of_a_query_may_reach_its_limit_and_not_exceed_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.solapi.in_use._CAP_MIB", 1)
    body = Body()
    for _ in range(2):
        body.feed(bytes(1 << 19))
    with pytest.raises(AccountRejected, match=r"^the response is larger than 1 MiB$"):
        body.feed(b"x")
