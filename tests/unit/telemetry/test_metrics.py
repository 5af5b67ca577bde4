"""Metrics of accounts, requests, quotas and runs, with their labels."""

from collections.abc import Mapping

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families

from tests.support import loopback
from tests.support.loopback import Loopback
from worker import __version__
from worker.config.settings import RateLimit
from worker.model.accounts import Status
from worker.model.errors import ApiError
from worker.model.plans import AccountPlan, Action, Verdict, tally
from worker.model.results import AccountResult, Outcome, RunOutcome
from worker.sandbox import SandboxAccount
from worker.sandbox.faults import Fault
from worker.solapi.limiter import Quota
from worker.telemetry.metrics import Metrics

NOW = 1_800_000_000.0
LAST_GOOD = "senderid_last_good_pass_timestamp_seconds"


def metrics(accounts: int = 200) -> Metrics:
    """Return metrics with a fixed clock."""
    return Metrics(accounts=accounts, wall=lambda: NOW)


def samples(of: Metrics) -> Mapping[tuple[str, ...], float]:
    """Return every sample by its name and the values of its labels in the order of their names."""
    families = text_string_to_metric_families(of.render()[0].decode())
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def plan(account: str, verdict: Verdict = Verdict.OK) -> AccountPlan:
    """Return a plan without changes, or an error in its place."""
    return AccountPlan(account=account, verdict=verdict, counts=tally(Action, {Action.UNCHANGED: 1}))


def test_series_of_a_removed_account_are_deleted() -> None:
    """All labels of a removed account vanish."""
    published = metrics()
    for name in ("a", "b"):
        published.count_plan(plan(name), {Status.ACTIVE: 1})
    published.set_accounts(["b", "c"])
    values = samples(published)
    assert not [key for key in values if "a" in key[1:]]
    assert values["senderid_numbers", "b", "ACTIVE"] == 1
    assert values["senderid_accounts",] == 1


def test_accounts_beyond_the_limit_are_summed() -> None:
    """A fleet of any size has a limited number of labels. A failing account has its name."""
    published = metrics(accounts=2)
    for number in range(500):
        published.count_plan(plan(f"a{number}", Verdict.ERROR if number == 77 else Verdict.OK), {Status.ACTIVE: 2})
    values = samples(published)
    assert {key[1] for key in values if key[0] == "senderid_account_failing"} == {"a77", "_other"}
    assert values["senderid_account_failing", "a77"] == 1
    assert values["senderid_numbers", "_other", "ACTIVE"] == 998
    assert values["senderid_accounts",] == 500


def test_account_names_are_escaped_in_labels() -> None:
    """Quotes, line breaks and Korean in an account name are preserved in both formats."""
    name = 'a"b\\n\n서울'
    published = metrics()
    published.count_plan(plan(name), {})
    assert samples(published)["senderid_account_failing", name] == 0
    families = list(open_families(published.render("application/openmetrics-text")[0].decode()))  # type: ignore[no-untyped-call] # the library has no types there
    assert name in {sample.labels.get("account") for family in families for sample in family.samples}


def test_format_follows_the_accept_header() -> None:
    """The plain format is the default."""
    published = metrics()
    assert published.render()[1].startswith("text/plain")
    body, content_type = published.render("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")
    assert samples(published)["senderid_build_info", __version__] == 1


def test_suspended_accounts_have_their_start() -> None:
    """Named accounts have their own start. The others have that of the longest suspension."""
    published = metrics(accounts=1)
    for name in ("a", "b", "c"):
        published.count_plan(plan(name, Verdict.ERROR if name == "a" else Verdict.OK), {})
    published.set_suspensions({"a": 5.0, "b": 9.0, "c": 7.0})
    values = samples(published)
    name = "senderid_account_suspended_since_timestamp_seconds"
    assert {key[1:]: value for key, value in values.items() if key[0] == name} == {("a",): 5.0, ("_other",): 7.0}
    published.set_suspensions({})
    assert name not in {key[0] for key in samples(published)}


def test_round_is_good_unless_every_account_fails() -> None:
    """One failing account does not hide that the others are checked."""
    published = metrics()
    assert samples(published)[LAST_GOOD,] == 0
    published.count_plan(plan("a", Verdict.ERROR), {})
    published.record_pass()
    assert samples(published)[LAST_GOOD,] == 0
    published.count_plan(plan("b"), {})
    published.record_pass()
    published.record_aborted_pass()
    values = samples(published)
    assert values[LAST_GOOD,] == NOW
    assert (values["senderid_passes_total",], values["senderid_failed_passes_total",]) == (3, 2)


def test_round_without_accounts_is_good() -> None:
    published = metrics()
    published.record_pass()
    assert samples(published)[LAST_GOOD,] == NOW


@pytest.mark.parametrize("before", [NOW - 5, 1.0, 1234567.25])
def test_last_good_round_survives_a_restart(before: float) -> None:
    """The time that an earlier process wrote is kept, so its age continues to grow."""
    earlier = Metrics(wall=lambda: before)
    earlier.record_pass()
    published = metrics()
    published.restore_last_pass(earlier.render()[0].decode())
    assert samples(published)[LAST_GOOD,] == before


@pytest.mark.parametrize(
    "text", ["", f"{LAST_GOOD} soon", f"{LAST_GOOD} 1.9e+09", f"{LAST_GOOD} -1", f"x{LAST_GOOD} 5"]
)
def test_invalid_metrics_file_is_ignored(text: str) -> None:
    """A file that is not a metrics file, or has a time in the future, is ignored."""
    published = metrics()
    published.restore_last_pass(text)
    assert samples(published)[LAST_GOOD,] == 0


def test_runs_and_numbers_are_counted_by_outcome() -> None:
    """Each run and each number has one outcome. Counters start at zero."""
    published = metrics()
    counts = tally(Outcome, {Outcome.CHANGED: 3, Outcome.CONFLICT: 1})
    published.count_result(AccountResult(account="a", outcome=RunOutcome.PARTIAL, counts=counts))
    published.record_run(RunOutcome.PARTIAL)
    values = samples(published)
    assert {key[1]: value for key, value in values.items() if key[0] == "senderid_number_outcomes_total"} == {
        outcome.value: counts[outcome] for outcome in Outcome
    }
    assert {key[1]: value for key, value in values.items() if key[0] == "senderid_runs_total"} == {
        outcome.value: float(outcome is RunOutcome.PARTIAL) for outcome in RunOutcome
    }


def test_gauges_of_the_daemon_have_their_last_values() -> None:
    published = metrics()
    published.set_interval(300)
    published.record_desired_state(is_valid=False)
    values = samples(published)
    assert (values["senderid_pass_interval_seconds",], values["senderid_desired_state_valid",]) == (300, 0)


def test_requests_are_counted_by_method_and_response() -> None:
    """Each attempt over a real socket is counted once, with its duration and result."""
    published = metrics()

    async def work() -> None:
        account = SandboxAccount.of({"01012345678": "INACTIVE"})
        async with Loopback(account) as served:
            served.transport.watcher = published
            served.sandbox.script(None, "GET", [Fault.UNAVAILABLE, Fault.RESET_BEFORE])
            await served.reader().observe()
            await served.write(served.writer(), "01012345678", Status.ACTIVE)

    loopback.run(work())
    values = samples(published)
    assert {key[1:]: value for key, value in values.items() if key[0] == "senderid_request_duration_seconds_count"} == {
        ("5xx", "read"): 1,
        ("none", "read"): 1,
        ("2xx", "read"): 1,
        ("2xx", "write"): 1,
    }
    assert {key[1:]: value for key, value in values.items() if key[0] == "senderid_retries_total"} == {
        ("ServerError",): 1,
        ("ConnectionFailed",): 1,
    }


@pytest.mark.parametrize(
    ("status", "label"), [(None, "none"), (200, "2xx"), (302, "3xx"), (404, "4xx"), (429, "429"), (503, "5xx")]
)
def test_responses_are_counted_by_status_class(status: int | None, label: str) -> None:
    """A 429 is counted separately."""
    published = metrics()
    published.record_request("PUT", 0.2, status)
    assert samples(published)["senderid_request_duration_seconds_count", label, "write"] == 1


def test_error_codes_of_the_api_are_not_labels() -> None:
    """A retry is counted by the type of its error. A server cannot create labels."""
    published = metrics()
    for code in ("A", "B", "C"):
        published.record_retry(ApiError("no", api_code=code))
    assert samples(published)["senderid_retries_total", "ApiError"] == 3


async def test_quota_is_published_without_its_key() -> None:
    """The use is read when the metrics are scraped."""
    published = metrics()
    quotas = {"NCS0123456789ABC": Quota(RateLimit(writes=8, reads=3), clock=lambda: 0.0)}
    published.set_quotas(quotas.values())
    await quotas["NCS0123456789ABC"].writes.acquire()
    values = samples(published)
    assert {key[1:]: value for key, value in values.items() if key[0] == "senderid_quota_used"} == {
        ("0", "read"): 0,
        ("0", "write"): 1,
    }
    assert values["senderid_quota_capacity", "0", "write"] == 8
    assert b"NCS" not in published.render()[0]
