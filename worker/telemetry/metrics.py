"""The Prometheus metrics of a process, in a separate registry that is rendered on request.

docs/how-to/metrics.md describes every metric. A test compares that page with this module.
"""

import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from worker import __version__
from worker.model.accounts import Status
from worker.model.errors import ApiError
from worker.model.plans import AccountPlan
from worker.model.results import AccountResult, Outcome, RunOutcome
from worker.telemetry.account_metrics import (
    ACTIONS,
    CAUSES,
    NOTICES,
    REST,
    STATUSES,
    AccountCounts,
    count_plan,
    count_result,
    limit_accounts,
)

__all__ = ["Metrics", "QuotaUsage", "WindowUsage"]

_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0)
"""Upper bounds of the buckets of request durations, in seconds, up to the default time limit of a request."""

_METHODS: Final = {"GET": "read", "PUT": "write"}
_RATE_LIMITED: Final = 429
_LAST_GOOD: Final = "senderid_last_good_pass_timestamp_seconds"
_last_good_line: Final = re.compile(rf"^{_LAST_GOOD} ([0-9.]+(?:e\+[0-9]+)?)$", re.MULTILINE | re.ASCII)
"""Matches the line of the metric `_LAST_GOOD` in the text format."""

# the creation times of counters would double the output, and nothing uses them
disable_created_metrics()  # type: ignore[no-untyped-call] # the library has no types there


class WindowUsage(Protocol):
    """A request window that reports its limit and current use, such as `worker.solapi.limiter.Window`."""

    capacity: int
    seconds: float

    @property
    def used(self) -> int:
        """The count of slots in use."""
        ...


class QuotaUsage(Protocol):
    """The request windows of one API key, such as `worker.solapi.limiter.Quota`."""

    @property
    def reads(self) -> WindowUsage:
        """The window of reads."""
        ...

    @property
    def writes(self) -> WindowUsage:
        """The window of writes."""
        ...


class Metrics:
    """The metrics of a process, which implement `worker.model.ports.RequestObserver`.

    `accounts` is the maximum count of accounts shown by name, see `worker.telemetry.account_metrics.limit_accounts`.
    `wall` returns the Unix time in seconds.
    """

    def __init__(self, *, accounts: int = 200, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._figures = _Accounts(accounts)
        self._quotas = _Quotas()
        self._registry = CollectorRegistry()
        build = Gauge("senderid_build_info", "1, with the version of the worker.", ["version"], registry=self._registry)
        build.labels(__version__).set(1)
        self._requests = Histogram(
            "senderid_request_duration_seconds",
            "Time until the response to a request was read, by class of response.",
            ["method", "answer"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._retries = self._counter("senderid_retries", "Retried requests, by the previous error.", "reason")
        self._runs = self._counter("senderid_runs", "Runs that may write, by outcome.", "outcome")
        self._numbers = self._counter("senderid_number_outcomes", "Numbers of runs, by outcome.", "outcome")
        self._passes = Counter("senderid_passes", "Passes over the accounts.", registry=self._registry)
        self._failed_passes = Counter(
            "senderid_failed_passes",
            "Passes that ended early, or in which every account failed.",
            registry=self._registry,
        )
        self._last_good = Gauge(
            _LAST_GOOD,
            "Unix time of the last pass that did not fail; 0 before the first.",
            registry=self._registry,
        )
        self._last_good.set(0)
        self._interval = Gauge(
            "senderid_pass_interval_seconds",
            "Seconds between the starts of two passes; 0 if no timer starts them.",
            registry=self._registry,
        )
        self._valid = Gauge(
            "senderid_desired_state_valid",
            "1 if the desired-state files are valid, 0 if one of them is not.",
            registry=self._registry,
        )
        self._valid.set(1)
        for outcome in RunOutcome:
            self._runs.labels(outcome.value)
        for number_outcome in Outcome:
            self._numbers.labels(number_outcome.value)
        self._registry.register(self._figures)
        self._registry.register(self._quotas)

    def _counter(self, name: str, description: str, label: str) -> Counter:
        return Counter(name, description, [label], registry=self._registry)

    @property
    def registry(self) -> CollectorRegistry:
        """The registry of all metrics of this process."""
        return self._registry

    def record_request(self, method: str, seconds: float, status: int | None) -> None:
        """Record a finished request and its duration in seconds. `status` is None without a response."""
        self._requests.labels(_METHODS.get(method, "other"), _response_class(status)).observe(seconds)

    def record_retry(self, error: ApiError) -> None:
        """Record the retry of a request, labelled with the class of the error. The API's codes are unbounded."""
        self._retries.labels(type(error).__name__).inc()

    def set_accounts(self, names: Iterable[str]) -> None:
        """Set the managed accounts. Remove the metrics of all other accounts."""
        self._figures.keep(frozenset(names))

    def count_plan(self, plan: AccountPlan, statuses: Mapping[Status, int]) -> None:
        """Record the plan of an account. `statuses` are the counts of its numbers by status."""
        self._figures.count_plan(plan, statuses)

    def count_result(self, result: AccountResult) -> None:
        """Record the result of an account."""
        self._figures.count_result(result)
        for outcome, count in result.counts.items():
            self._numbers.labels(outcome.value).inc(count)

    def record_run(self, outcome: RunOutcome) -> None:
        """Record the end of a run that may write."""
        self._runs.labels(outcome.value).inc()

    def record_pass(self) -> None:
        """Record a finished pass over the accounts. It counts as failed if every account failed."""
        self._passes.inc()
        if self._figures.are_all_failing:
            self._failed_passes.inc()
        else:
            self._last_good.set(self._wall())

    def record_aborted_pass(self) -> None:
        """Record a pass over the accounts that ended early."""
        self._passes.inc()
        self._failed_passes.inc()

    def record_desired_state(self, *, is_valid: bool) -> None:
        """Record whether the desired-state files are valid."""
        self._valid.set(int(is_valid))

    def set_suspensions(self, since: Mapping[str, float]) -> None:
        """Set the suspended accounts, each with the start of its suspension as a Unix time in seconds."""
        self._figures.suspended = dict(since)

    def set_interval(self, seconds: float) -> None:
        """Set the interval between the starts of two passes, in seconds."""
        self._interval.set(seconds)

    def set_quotas(self, quotas: Collection[QuotaUsage]) -> None:
        """Set the quotas of the API keys in use. The metrics are read from them at each collection."""
        self._quotas.in_use = tuple(quotas)

    def restore_last_pass(self, text: str) -> None:
        """Restore the time of the last good pass from the rendered metrics of an earlier process.

        Do nothing if `text` does not contain such a time, or if the time is in the future.
        """
        match = _last_good_line.search(text)
        moment = float(match[1]) if match else 0.0
        if 0 < moment <= self._wall():
            self._last_good.set(moment)

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """Return the metrics and their content type, in the format that an HTTP Accept header requests."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type


class _Accounts(Collector):
    """A collector of the metrics of accounts. It builds them from the current counts, without removed accounts."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._figures: dict[str, AccountCounts] = {}
        self._plans: dict[str, AccountPlan] = {}
        self._cache: dict[str, AccountCounts] | None = None
        self.suspended: dict[str, float] = {}

    @property
    def are_all_failing(self) -> bool:
        return bool(self._figures) and all(figures.failing for figures in self._figures.values())

    def keep(self, names: Collection[str]) -> None:
        self._cache = None
        for name in self._figures.keys() - names:
            del self._figures[name]
            self._plans.pop(name, None)

    def count_plan(self, plan: AccountPlan, statuses: Mapping[Status, int]) -> None:
        self._cache = None
        self._plans[plan.account] = plan
        self._figures[plan.account] = count_plan(plan, statuses, self._figures.get(plan.account, AccountCounts()))

    def count_result(self, result: AccountResult) -> None:
        self._cache = None
        counts_before = self._figures.get(result.account, AccountCounts())
        self._figures[result.account] = count_result(self._plans.pop(result.account, None), result, counts_before)

    def collect(self) -> Iterator[Metric]:
        if self._cache is None:
            self._cache = limit_accounts(self._figures, self._limit)
        accounts = self._cache
        # an account that was never read has no counts, not even zeros
        with_counts = {account: figures for account, figures in accounts.items() if figures.actions}
        yield _gauge("senderid_accounts", "Managed accounts.", [], {(): len(self._figures)})
        yield _gauge(
            "senderid_numbers",
            "Registered numbers by status, from the last read and the changes verified since.",
            ["account", "status"],
            _by_label({account: figures.statuses for account, figures in with_counts.items()}, STATUSES),
        )
        yield _gauge(
            "senderid_planned_numbers",
            "Numbers by planned action.",
            ["account", "action"],
            _by_label({account: figures.actions for account, figures in with_counts.items()}, ACTIONS),
        )
        yield _gauge(
            "senderid_differing_numbers",
            "Numbers whose status differs from the desired state and is not acknowledged, by cause.",
            ["account", "cause"],
            _by_label({account: figures.causes for account, figures in with_counts.items()}, CAUSES),
        )
        yield _gauge(
            "senderid_notices",
            "Notices of the account, by kind.",
            ["account", "kind"],
            _by_label({account: figures.notices for account, figures in with_counts.items()}, NOTICES),
        )
        yield _gauge(
            "senderid_account_failing",
            "1 if the last read or run of the account failed; for _other, the number of such accounts.",
            ["account"],
            {(account,): figures.failing for account, figures in accounts.items()},
        )
        yield _gauge(
            "senderid_account_refused",
            "1 if a safety rule refuses the account's plan; for _other, the number of such accounts.",
            ["account"],
            {(account,): figures.refused for account, figures in accounts.items()},
        )
        suspended_since: dict[tuple[str, ...], float] = {}
        for account, moment in self.suspended.items():
            name = account if account in accounts else REST
            suspended_since[name,] = min(moment, suspended_since.get((name,), moment))
        yield _gauge(
            "senderid_account_suspended_since_timestamp_seconds",
            "Unix time since when writes to the account are suspended; for _other, the earliest.",
            ["account"],
            suspended_since,
        )


class _Quotas(Collector):
    """A collector of the metrics of quotas. The label of an API key is its position, never its text."""

    def __init__(self) -> None:
        self.in_use: tuple[QuotaUsage, ...] = ()

    def collect(self) -> Iterator[Metric]:
        windows = {
            (str(index), kind): window
            for index, quota in enumerate(self.in_use)
            for kind, window in (("read", quota.reads), ("write", quota.writes))
        }
        labels = ["key", "kind"]
        yield _gauge(
            "senderid_quota_used",
            "Requests that currently count against the quota of an API key.",
            labels,
            {key: window.used for key, window in windows.items()},
        )
        yield _gauge(
            "senderid_quota_capacity",
            "Requests that the quota of an API key allows in its window.",
            labels,
            {key: window.capacity for key, window in windows.items()},
        )


def _gauge(name: str, description: str, labels: Sequence[str], values: Mapping[tuple[str, ...], float]) -> Metric:
    family = GaugeMetricFamily(name, description, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _by_label(counts: Mapping[str, Mapping[str, int]], labels: Sequence[str]) -> dict[tuple[str, ...], float]:
    return {(account, label): of.get(label, 0) for account, of in counts.items() for label in labels}


def _response_class(status: int | None) -> str:
    if status is None:
        return "none"
    return "429" if status == _RATE_LIMITED else f"{status // 100}xx"
