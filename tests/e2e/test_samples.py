"""Samples in the documentation: each is run, loaded or checked, or gives a reason why not."""

import json
import os
import pty
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
import pytest
import yaml
from jsonschema import Draft202012Validator

from tests.e2e.conftest import Serve
from tests.support.samples import PAGES, ROOT, Sample, matches, samples, steps
from worker.config import desired
from worker.config.settings import load
from worker.render.json_schema import NAMES, schema
from worker.sandbox import SandboxAccount, generate

ALL: Final = [(page, sample) for page in PAGES for sample in samples(page.read_text())]
RUN: Final = sorted({page for page, sample in ALL if sample.mark == "run"})
PORT: Final = "8421"
"""The port that pages have the sandbox listen on; a free one takes its place here."""
EXAMPLE: Final = "20261124T090012Z-a1b2c3"
"""The run that pages speak of; the newest one takes its place here."""
SEED: Final = 3
SHELLS: Final = {"sh", "console"}
PATIENCE: Final = 120


def name(value: object) -> str:
    """Return the id of a page or a sample."""
    return str(value.relative_to(ROOT)) if isinstance(value, Path) else f"{getattr(value, 'line', value)}"


def samples_in(*languages: str) -> list[tuple[Path, Sample]]:
    """Return the samples in some languages, except those marked `skip`."""
    return [(page, sample) for page, sample in ALL if sample.language in languages and sample.mark != "skip"]


def test_every_sample_is_marked() -> None:
    untried = [
        f"{name(page)}:{sample.line}: {sample.language or 'no language'}"
        for page, sample in ALL
        if not (
            (sample.mark == "skip" and sample.remark)
            or (sample.mark == "run" and sample.language in SHELLS)
            or (sample.mark == "" and sample.language in {"yaml", "json"})
        )
    ]
    assert len(ALL) > 20
    assert untried == []


@pytest.mark.parametrize(("page", "sample"), samples_in("yaml"), ids=name)
def test_yaml_samples_load(page: Path, sample: Sample) -> None:
    """A document with a version is desired state, any other is settings."""
    if "version:" in sample.text:
        assert desired.load([(f"{page.name}.yaml", sample.text.encode())]).accounts
    else:
        assert load((f"{page.name}.yaml", sample.text.encode()), {}, {}) != load(None, {}, {})


@pytest.mark.parametrize(
    ("page", "sample"), [pair for pair in ALL if pair[1].text.startswith("# accounts/senderid.yaml")], ids=name
)
def test_shared_samples_load(page: Path, sample: Sample) -> None:
    """The file senderid.yaml describes no account."""
    assert desired.parse_file(str(page.with_name("senderid.yaml")), sample.text.encode()) == ()
    numbers = ("a.yaml", b"version: 1\ndefaults: {schedule: office-hours}\nnumbers: [010-1234-5678]\n")
    (account,) = desired.load([numbers], shared_files=lambda _: ("senderid.yaml", sample.text.encode())).accounts
    assert account.schedules


@pytest.mark.parametrize(("page", "sample"), samples_in("json"), ids=name)
def test_json_samples_match_their_schemas(page: Path, sample: Sample) -> None:
    del page
    documents = {f"senderid.{name}/v1": name for name in NAMES}
    for document in [json.loads(sample.text)] if "schema" in sample.text else map(json.loads, sample.text.splitlines()):
        kind = documents[document["schema"]] if "schema" in document else "log"
        Draft202012Validator(schema(kind)).validate(document)


@pytest.mark.parametrize("page", RUN, ids=name)
def test_command_samples_print_the_output_shown(page: Path, tmp_path: Path, serve: Serve, quick: Path) -> None:
    """One shell runs all commands of a page in order."""
    commands = [sample for sample in samples(page.read_text()) if sample.mark == "run"]
    account = generate(6, seed=SEED)
    served = serve(account)
    shell = Shell(tmp_path, quick, served.sandbox.url, account)
    if "mkdir accounts" not in page.read_text():
        shell.run([BEGUN])
    printed = iter(shell.run(commands))
    for sample in commands:
        for step in steps(sample):
            real = next(printed)
            assert "Traceback" not in real, real
            if step.output is not None:
                location = f"{name(page)}:{sample.line}"
                assert matches(step.output, real), f"{location}: $ {step.command}\n{real}\n--- is not\n{step.output}"


BEGUN: Final = Sample(
    "sh",
    "mkdir accounts\n"
    "senderid export --account main --output accounts/main.yaml\n"
    """sed -i.bak -e 's/"010-6472-3955": INACTIVE/"010-6472-3955": ACTIVE/' \\\n"""
    """  -e 's/"031-959-3747": ACTIVE/"031-959-3747": INACTIVE/' accounts/main.yaml\n"""
    "senderid apply -f accounts --yes\n",
    0,
    "run",
    "",
)
"""What the reader of a page has done before, in the tutorial, unless the page itself begins so."""


class Shell:
    """A shell with the command on its path and the sandbox in its environment."""

    def __init__(self, folder: Path, commands: Path, url: str, account: SandboxAccount) -> None:
        self._folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = str(probe.getsockname()[1])
        self._environment = {
            "PATH": f"{commands}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(folder),
            "XDG_STATE_HOME": str(folder / "state"),
            "LANG": "C.UTF-8",
            "SENDERID_ENDPOINT": url,
            "SENDERID_LOG__FORMAT": "console",
            "SOLAPI_API_KEY": account.api_key,
            "SOLAPI_API_SECRET": account.api_secret,
            **{key: value for key, value in os.environ.items() if key.startswith("COV")},
        }

    def run(self, commands: list[Sample]) -> list[str]:
        """Return the output of each command. A failed command whose output is not shown ends the shell."""
        mine, terminal = pty.openpty()
        os.write(mine, b"yes\n" * 9)
        script = "".join(self._typed(sample, os.ttyname(terminal)) for sample in commands)
        printed = self._folder / ".printed"
        with printed.open("w") as output:
            shell = subprocess.Popen(  # noqa: S603 - the commands are this project's own pages
                ["/bin/bash", "-c", script],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            status = shell.wait(PATIENCE)
        finally:
            # commands that the page left running in the background
            with suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
            os.close(mine)
            os.close(terminal)
        text = printed.read_text().replace(self._port, PORT)
        assert status == 0, text
        return text.split("\0")[1:]

    def _typed(self, sample: Sample, terminal: str) -> str:
        source = terminal if sample.remark == "yes" else "/dev/null"
        lines = []
        for step in steps(sample):
            command = step.command.replace(PORT, self._port).replace(EXAMPLE, '"$(newest)"')
            lines += ["printf '\\0'", "set -e" if step.output is None else "set +e", f"{{\n{command}\n}} < {source}"]
            if command.rstrip().endswith("&"):
                lines.append(f"until (exec 3<>/dev/tcp/127.0.0.1/{self._port}) 2>/dev/null; do :; done")
        return "\n".join([NEWEST, *lines, ""])


NEWEST: Final = (
    "newest() { senderid history --limit 1 --format json | "
    'python -c \'import json, sys; print(json.load(sys.stdin)["runs"][0]["run_id"])\'; }'
)


@pytest.mark.parametrize(
    ("shown", "real", "same"),
    [
        ("a\n", "a\n", True),
        ("a\n", "b\n", False),
        ("a …\n", "a 1.2 s\n", True),
        ("a\n…\nb\n", "a\n1\n2\nb\n", True),
        ("a\n…\nb\n", "a\n1\n2\n", False),
        ("a\n", "a\nb\n", False),
    ],
)
def test_comparison_detects_a_wrong_output(shown: str, real: str, *, same: bool) -> None:
    assert matches(shown, real) is same


def test_marks_belong_to_the_next_block() -> None:
    page = "<!-- run -->\n\ntext\n\n```sh\nfalse\n```\n\n1. step\n\n   <!-- skip: why -->\n   ```sh\n   x\n   ```\n"
    assert [(sample.mark, sample.remark, sample.line) for sample in samples(page)] == [("", "", 5), ("skip", "why", 12)]
    assert msgspec.structs.astuple(steps(Sample("console", "$ a\n> b\nc\n", 1, "run", ""))[0]) == ("a\nb", "c\n")
    assert yaml.safe_load(samples("```yaml\nversion: 1\n```\n")[0].text) == {"version": 1}
