"""The documentation of metrics matches the code: the page, the alert rules, the dashboard."""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from worker.config.settings import RateLimit
from worker.model.accounts import Status
from worker.model.errors import ServerError
from worker.model.plans import AccountPlan, Action, tally
from worker.solapi.limiter import Quota
from worker.telemetry.fleet_metrics import FleetMetrics
from worker.telemetry.metrics import Metrics

ROOT: Final = Path(__file__).parents[3]
PROMETHEUS: Final = ROOT / "deploy" / "prometheus"


@cache
def families() -> dict[str, tuple[str, frozenset[str]]]:
    """Return every metric by its query name, with its type and its labels."""
    metrics = Metrics()
    FleetMetrics(metrics.registry)
    metrics.count_plan(AccountPlan(account="main", counts=tally(Action, {})), {Status.ACTIVE: 1})
    metrics.set_suspensions({"main": 1.0})
    metrics.record_request("GET", 0.1, 200)
    metrics.record_retry(ServerError("down"))
    metrics.set_quotas([Quota(RateLimit(), clock=lambda: 0.0)])
    return {
        f"{family.name}_total" if family.type == "counter" else family.name: (
            family.type,
            frozenset(label for sample in family.samples for label in sample.labels) - {"le"},
        )
        for family in metrics.registry.collect()
    }


def rows() -> Iterator[tuple[str, str, frozenset[str]]]:
    """Return the table of the page: name, type, labels."""
    for line in (ROOT / "docs/how-to/metrics.md").read_text().splitlines():
        row = re.fullmatch(r"\| `(senderid_\w+)` \| (\w+) \|([^|]*)\|[^|]+\|", line)
        if row:
            yield row[1], row[2], frozenset(re.findall(r"`(\w+)`", row[3]))


def test_page_lists_every_metric() -> None:
    """Each metric has one row with its type and labels, and each row has a metric."""
    table = list(rows())
    assert len({name for name, _, _ in table}) == len(table)
    assert {name: (type_, labels) for name, type_, labels in table} == families()


def names_in(expression: str) -> set[str]:
    """Return the metrics in a query. A histogram may be queried by any of its series."""
    names = set(re.findall(r"\bsenderid_\w+", expression))
    return {re.sub(r"_(bucket|count|sum)$", "", name) if name not in families() else name for name in names}


def problems(expression: str) -> list[str]:
    """Return the errors in a query: unknown metrics and labels, and unbalanced brackets."""
    known = families()
    errors = [f"no metric {name}" for name in names_in(expression) - set(known)]
    for name, matchers in re.findall(r"\b(senderid_\w+)\{([^}]*)\}", expression):
        labels = known.get(re.sub(r"_(bucket|count|sum)$", "", name), known.get(name, ("", frozenset())))[1]
        used = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", re.sub(r'"[^"]*"', '""', matchers)))
        errors += [f"no label {label} of {name}" for label in used - labels]
    by = {label for labels in re.findall(r"\bby \(([^)]*)\)", expression) for label in re.findall(r"\w+", labels)}
    of_any = {label for name in names_in(expression) & set(known) for label in known[name][1]} | {"le"}
    errors += [f"no label {label} of any" for label in by - of_any]
    text = re.sub(r'"[^"]*"', '""', expression)
    errors += [
        f"{opened} does not close" for opened, closed in ("()", "[]", "{}") if text.count(opened) != text.count(closed)
    ]
    return errors


def rules() -> list[dict[str, Any]]:
    """Return the alert rules."""
    document = yaml.safe_load((PROMETHEUS / "rules.yml").read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_every_alert_queries_existing_metrics(rule: dict[str, Any]) -> None:
    """The labels exist too. The annotations of the alert say what happened and what to do."""
    assert problems(rule["expr"]) == []
    assert names_in(rule["expr"])
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert all(rule["annotations"][text] for text in ("summary", "description"))
    texts = " ".join(rule["annotations"].values())
    of_any = {label for name in names_in(rule["expr"]) for label in families()[name][1]}
    assert set(re.findall(r"\$labels\.(\w+)", texts)) <= of_any


def test_every_alert_has_a_promtool_test() -> None:
    """The test says when the alert fires. The page names each alert and no other."""
    cases = yaml.safe_load((PROMETHEUS / "rules-test.yml").read_text())["tests"]
    fired = {case["alertname"] for test in cases for case in test["alert_rule_test"] if case.get("exp_alerts")}
    alerts = [rule["alert"] for rule in rules()]
    assert len(set(alerts)) == len(alerts)
    assert fired == set(alerts)
    page = (ROOT / "docs/how-to/metrics.md").read_text()
    assert re.findall(r"^\| `(Senderid\w+)` \|", page, re.MULTILINE) == alerts


def test_promtool_tests_use_existing_metrics() -> None:
    """A test of an alert uses series that the worker publishes."""
    cases = yaml.safe_load((PROMETHEUS / "rules-test.yml").read_text())["tests"]
    for series in (fed["series"] for test in cases for fed in test["input_series"]):
        assert problems(series) == [], series


def dashboard() -> dict[str, Any]:
    """Return the dashboard."""
    read: dict[str, Any] = json.loads((ROOT / "deploy" / "grafana" / "senderid.json").read_text())
    return read


@pytest.mark.parametrize("panel", dashboard()["panels"], ids=lambda panel: panel["title"])
def test_every_panel_queries_existing_metrics(panel: dict[str, Any]) -> None:
    """The metrics and labels come from the data source that the viewer selected."""
    assert panel["targets"]
    for target in panel["targets"]:
        assert problems(target["expr"]) == []
        assert names_in(target["expr"])
        assert target["datasource"] == panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        labels = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        assert labels <= {label for name in names_in(target["expr"]) for label in families()[name][1]}
    assert panel["description"]


def test_dashboard_is_consistent() -> None:
    """Panels have unique ids and do not overlap, and the data source is a variable."""
    board = dashboard()
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for at in (panel["gridPos"] for panel in panels)
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
    variables = {variable["name"]: variable for variable in board["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(board))) - {"__all"}
    assert used == set(variables)
    assert problems(re.sub(r"label_values\((\w+), (\w+)\)", r'\1{\2=""}', variables["account"]["query"])) == []


@pytest.mark.parametrize(
    "expression",
    [
        "senderid_nothing > 0",
        'senderid_numbers{acount="x"}',
        "sum by (nobody) (senderid_numbers)",
        "sum(senderid_numbers",
    ],
)
def test_query_for_an_unknown_metric_is_detected(expression: str) -> None:
    """The check above can fail."""
    assert len(problems(expression)) == 1
