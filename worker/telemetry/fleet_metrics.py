"""The Prometheus metrics of a fleet's worker."""

from prometheus_client import CollectorRegistry, Counter, Gauge

__all__ = ["FleetMetrics"]


class FleetMetrics:
    """The metrics of the worker of a fleet, in the registry of its other metrics."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, description: str) -> Gauge:
            return Gauge(f"senderid_fleet_{name}", description, registry=registry)

        self._lanes = gauge("lanes_held", "Lanes leased by this worker.")
        self._workers = gauge("workers", "Live workers of the fleet, as this worker sees them.")
        self._due = gauge("due_accounts", "Accounts of the whole fleet that are due and wait for a worker.")
        self._oldest = gauge("oldest_due_seconds", "Seconds for which the oldest due account of the fleet has waited.")
        self._lag = gauge("publish_lag_seconds", "Seconds for which the oldest published change has waited.")
        self._taken_over = Counter(
            "senderid_fleet_takeovers", "Lanes that this worker freed after another one died.", registry=registry
        )
        self._accounts = Counter(
            "senderid_fleet_reconciled_accounts", "Accounts that this worker has reconciled.", registry=registry
        )

    def record_balance(self, lanes: int, workers: int, taken_over: int) -> None:
        """Record the lanes of this worker, the live workers, and the lanes of workers that died."""
        self._lanes.set(lanes)
        self._workers.set(workers)
        self._taken_over.inc(taken_over)

    def record_queue(self, due: int, oldest_seconds: float, publish_lag_seconds: float) -> None:
        """Record the due accounts of the fleet, and for how many seconds the oldest one and the oldest change wait."""
        self._due.set(due)
        self._oldest.set(oldest_seconds)
        self._lag.set(publish_lag_seconds)

    def record_accounts(self, count: int) -> None:
        """Record reconciled accounts."""
        self._accounts.inc(count)
