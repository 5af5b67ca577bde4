"""Targets of documents: for every option that names a file, `-` is stdout and `./-` is a file."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.e2e.conftest import SENDERID, Command, Served

A, B = "01000000001", "01000000002"
NUMBERS = {A: "INACTIVE", B: "ACTIVE"}
FILES = {
    "d.yaml": f"version: 1\nnumbers: {{{A}: ACTIVE, {B}: ACTIVE}}\n",
    "t.csv": f"phone,status\n{A},ACTIVE\n",
}


def _export(command: Command) -> set[str]:
    return {path.name for path in command.folder.iterdir()} - {"d.yaml", "t.csv", "state"}


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize(
    ("arguments", "begins"),
    [
        (("export",), "# yaml-language-server"),
        (("import", "t.csv"), "# yaml-language-server"),
        (("plan", "-f", "d.yaml", "--format", "json"), "{"),
        (("drift", "-f", "d.yaml", "--format", "json"), "{"),
        (("apply", "-y", "-f", "d.yaml", "--format", "json"), "{"),
        (("doctor", "--format", "json"), "{"),
        (("calendar", "-f", "d.yaml", "--format", "json"), "{"),
        (("history", "--format", "json"), "{"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_output_dash_is_stdout(command: Command, arguments: tuple[str, ...], begins: str) -> None:
    result = command(*arguments, "--output", "-")
    assert (result.returncode in {0, 2}, result.stdout[: len(begins)]) == (True, begins)
    if begins.startswith("{"):
        json.loads(result.stdout)
    assert "schema" not in result.stderr
    assert _export(command) == set()


@pytest.mark.usefixtures("served")
def test_export_to_a_descriptor_does_not_write_a_schema(command: Command, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with (tmp_path / "out" / "x.yaml").open("w") as file:
        with command.popen("export", "--output", "/dev/stdout", stdout=file) as process:
            process.communicate(timeout=60)
        assert process.returncode == 0
        with command.popen("export", "--output", f"/dev/fd/{file.fileno()}", pass_fds=[file.fileno()]) as process:
            process.communicate(timeout=60)
        assert process.returncode == 0
    assert yaml.safe_load((tmp_path / "out" / "x.yaml").read_text())["version"] == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["x.yaml"]
    os.mkfifo(tmp_path / "out" / "pipe")
    reader = os.open(tmp_path / "out" / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    assert command("export", "--output", "out/pipe").returncode == 0
    assert b"version: 1" in os.read(reader, 4096)
    os.close(reader)
    assert command("export", "--output", "/dev/null").returncode == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"x.yaml", "pipe"}


@pytest.mark.usefixtures("served")
def test_dot_slash_dash_is_a_file(command: Command) -> None:
    result = command("plan", "-f", "d.yaml", "--format", "json", "--output", "./-", "--out", "./-p")
    assert (result.returncode, result.stdout, _export(command)) == (0, "", {"-", "-p"})
    assert json.loads((command.folder / "-").read_text())["schema"] == "senderid.plan/v1"


def test_out_dash_puts_the_text_on_stderr(command: Command, served: Served) -> None:
    result = command("plan", "-f", "d.yaml", "--out", "-")
    assert result.returncode == 0
    assert json.loads(result.stdout)["schema"].startswith("senderid.saved-plan/")
    assert "010-0000-0001" in result.stderr
    command.write("p.json", result.stdout)
    assert command("apply", "p.json").returncode == 0
    assert [phone for phone, _ in served.writes] == [A]


def test_metrics_dash_puts_the_text_on_stderr(command: Command, served: Served) -> None:
    for verb in (("plan",), ("drift",), ("apply", "-y")):
        result = command(*verb, "-f", "d.yaml", "--metrics-file", "-")
        assert result.returncode in {0, 2}
        assert result.stdout.startswith("# HELP")
        assert "010-0000-0001" in result.stderr
    assert len(served.writes) == 1
    result = command("plan", "-f", "d.yaml", "--metrics-file", "-", "--format", "json", "--output", "x.json")
    assert (result.returncode, result.stdout[:6], _export(command)) == (0, "# HELP", {"x.json"})


@pytest.mark.parametrize(
    "arguments",
    [
        ("plan", "-f", "d.yaml", "--out", "-", "--format", "json"),
        ("plan", "-f", "d.yaml", "--out", "-", "--format", "html", "--output", "-"),
        ("plan", "-f", "d.yaml", "--out", "-", "--metrics-file", "/dev/stdout"),
        ("plan", "-f", "d.yaml", "--metrics-file", "-", "--format", "markdown"),
        ("apply", "-y", "-f", "d.yaml", "--metrics-file", "-", "--format", "json"),
    ],
    ids=" ".join,
)
def test_two_documents_on_stdout_are_wrong_usage(command: Command, served: Served, arguments: tuple[str, ...]) -> None:
    result = command(*arguments)
    assert (result.returncode, result.stdout, served.sandbox.wire) == (64, "", [])
    assert " and " in result.stderr
    assert "would put two documents on stdout" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("plan", "-f", "d.yaml", "--out", "x.json", "--output", "./x.json"),
        ("plan", "-f", "d.yaml", "--out", "x.json", "--metrics-file", "x.json"),
        ("apply", "-y", "-f", "d.yaml", "--output", "link.json", "--metrics-file", "x.json"),
    ],
    ids=" ".join,
)
def test_two_documents_in_one_file_are_wrong_usage(
    command: Command, served: Served, arguments: tuple[str, ...]
) -> None:
    (command.folder / "link.json").symlink_to("x.json")
    result = command(*arguments)
    assert (result.returncode, result.stdout, served.sandbox.wire) == (64, "", [])
    assert "name the same file: " in result.stderr
    assert not (command.folder / "x.json").exists()


def test_two_documents_may_go_to_a_device(command: Command, served: Served) -> None:
    assert command("plan", "-f", "d.yaml", "--out", "/dev/null", "--output", "/dev/null").returncode == 0
    assert served.writes == []


@pytest.mark.usefixtures("served")
def test_output_to_stderr_keeps_its_log(command: Command, tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as log:
        result = subprocess.run(  # noqa: S603 - our own command
            [SENDERID, "plan", "-f", "d.yaml", "--format", "json", "--output", "/dev/stderr"],
            cwd=command.folder,
            env=command.environment,
            stdout=subprocess.PIPE,
            stderr=log,
            timeout=60,
            check=False,
        )
    lines = (tmp_path / "log").read_text().splitlines()
    assert (result.returncode, result.stdout) == (0, b"")
    assert any("run.started" in line for line in lines)
    assert any(line.startswith("{") for line in lines)
