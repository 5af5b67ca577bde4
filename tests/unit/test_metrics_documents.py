"""What is said about metrics outside of the code is so: the page, the alert rules, the dashboard."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from worker.documents import AccountPlan, Action, tally
from worker.errors import ServerError
from worker.metrics import Metrics
from worker.model import Status
from worker.settings import RateLimit
from worker.solapi.limiter import Quota

ROOT: Final = Path(__file__).parents[2]


def families() -> dict[str, tuple[str, frozenset[str]]]:
    """Every metric that there is, by the name under which it is asked for: its type and its labels."""
    metrics = Metrics()
    metrics.planned(AccountPlan(account="main", counts=tally(Action, {})), {Status.ACTIVE: 1})
    metrics.suspended({"main": 1.0})
    metrics.request("GET", 0.1, 200)
    metrics.retried(ServerError("down"))
    metrics.quotas([Quota(RateLimit(), clock=lambda: 0.0)])
    return {
        f"{family.name}_total" if family.type == "counter" else family.name: (
            family.type,
            frozenset(label for sample in family.samples for label in sample.labels) - {"le"},
        )
        for family in metrics.registry.collect()
    }


def rows() -> Iterator[tuple[str, str, frozenset[str]]]:
    """The table of the page: name, type, labels."""
    for line in (ROOT / "docs" / "metrics.md").read_text().splitlines():
        row = re.fullmatch(r"\| `(senderid_\w+)` \| (\w+) \|([^|]*)\|[^|]+\|", line)
        if row:
            yield row[1], row[2], frozenset(re.findall(r"`(\w+)`", row[3]))


def test_the_page_tells_every_metric() -> None:
    """Each metric has one row with its type and its labels, and each row has a metric."""
    told = list(rows())
    assert len({name for name, _, _ in told}) == len(told)
    assert {name: (type_, labels) for name, type_, labels in told} == families()
