"""HTML reports of plan, drift, apply, rollback and history."""

import json

from tests.e2e.conftest import Command, Served
from tests.support.reports import ParsedReport
from worker.sandbox import Fault, SandboxAccount

A, B, C = "01000000001", "01000000002", "0212345678"
NUMBERS = {A: "INACTIVE", B: "ACTIVE", C: "ACTIVE"}
FILES = {
    "main.yaml": f"version: 1\naccount: main\nnumbers:\n  {A}: {{status: ACTIVE, note: 본사, owner: sales}}\n"
    f"  {B}: INACTIVE\n  {C}: ACTIVE\n"
}


def _report(command: Command, *arguments: str, status: int = 0) -> ParsedReport:
    """Parse the report that a command writes to a file."""
    result = command(*arguments, "--format", "html", "--output", "report.html")
    assert (result.returncode, result.stdout) == (status, ""), result.stderr
    page = (command.folder / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert page.endswith("</html>\n")
    return ParsedReport(page)


def test_plan_report(command: Command, served: Served) -> None:
    read = _report(command, "plan", "-f", "main.yaml")
    assert read.line("010-0000-0001")[2:4] == ["+ activate", "INACTIVE → ACTIVE"]
    assert read.line("010-0000-0001")[-2:] == ["본사", "sales"]
    assert read.line("% deactivated")[2].startswith("2 → 2")
    assert served.writes == []
    assert command("plan", "-f", "main.yaml", "--format", "html").stdout.startswith("<!doctype html>")


def test_refused_plan_report_names_the_option(command: Command, served: Served) -> None:
    command.write("off.yaml", f"version: 1\naccount: main\nnumbers: {{{B}: INACTIVE, {C}: INACTIVE}}\n")
    read = _report(command, "plan", "-f", "off.yaml", status=4)
    assert "Refused by min-active:" in read.visible
    assert "--allow min-active" in read.visible
    assert served.writes == []


def test_apply_and_run_reports(command: Command, served: Served) -> None:
    served.sandbox.script(A, "PUT", [Fault.UNAVAILABLE])
    read = _report(command, "apply", "-y", "-f", "main.yaml")
    assert "Converged: 2 changed" in read.visible
    assert read.line("010-0000-0001")[2] == "✓ changed"
    run_id = json.loads(command("history", "--format", "json").stdout)["runs"][0]["run_id"]
    assert f"senderid history {run_id} --format html" in read.visible

    read = _report(command, "history", run_id)
    (drawing,) = [element for element in read.named("svg") if element.get("role") == "img"]
    assert "3 writes" in str(drawing["aria-label"])
    assert "the quota is " in str(drawing["aria-label"])
    assert "1 retry" in str(drawing["aria-label"])
    assert "2. ACTIVE: verified" in read.visible
    assert read.line("010-0000-0002")[2] == "✓ changed"


def test_history_drift_and_rollback_reports(command: Command, served: Served, account: SandboxAccount) -> None:
    read = _report(command, "history")
    assert "0 runs." in read.visible
    assert command("apply", "-y", "-f", "main.yaml").returncode == 0
    run_id = json.loads(command("history", "--format", "json").stdout)["runs"][0]["run_id"]
    assert run_id in _report(command, "history").line(run_id)
    assert "1 run with this number." in _report(command, "history", "--phone", "010-0000-0001").visible
    account.switch(A, "INACTIVE")
    read = _report(command, "drift", "-f", "main.yaml", status=2)
    assert "changed externally on" in " ".join(read.line("010-0000-0001"))
    account.switch(A, "ACTIVE")
    assert "1 to activate" in _report(command, "rollback", run_id, "--dry-run").visible
    assert "2 changed" in _report(command, "rollback", run_id, "-y").visible
    assert len(served.writes) == 4
