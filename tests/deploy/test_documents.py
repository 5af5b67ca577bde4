"""The commands and files in the documentation of deployment."""

import re
import shlex
import shutil
import subprocess
from itertools import takewhile
from pathlib import Path
from typing import Final

import pytest
import yaml

from tests.deploy.commands import DEPLOY, ROOT, parse_command
from worker.config import desired

PAGE: Final = (ROOT / "docs/how-to/deployment.md").read_text()


def _blocks(language: str) -> list[str]:
    matches = re.findall(rf"^( *)```{language}\n(.*?)^\1```", PAGE, re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", text, flags=re.MULTILINE) for indent, text in matches]


def _arguments(line: str) -> list[str] | None:
    """Return the arguments that a shell line gives to the command, or None if it runs another program."""
    words = shlex.split(line.replace("…", ""), comments=True)
    starts = [
        index + 1
        for index, word in enumerate(words)
        if word.rpartition("/")[2] == "senderid" or word.startswith("senderid:") or words[index - 1 : index] == ["--rm"]
    ]
    if not starts:
        return None
    remaining = words[starts[-1] :]
    return list(takewhile(lambda word: word not in {"&&", "|", ">", ";"}, remaining)) or None


def _commands() -> list[list[str]]:
    lines = "\n".join(_blocks("sh")).replace("\\\n", " ").splitlines()
    arguments = [_arguments(line) for line in lines if "docker build" not in line and "venv" not in line]
    named = re.findall(r'bash_command="senderid ([^"]+)"', PAGE)
    actual = [
        argument
        for argument in arguments
        if argument and argument[0] in {"plan", "apply", "export", "history", "doctor", "demo"}
    ]
    return actual + [shlex.split(line) for line in named]


@pytest.mark.parametrize("arguments", _commands(), ids=" ".join)
def test_commands_of_the_page_are_valid(arguments: list[str]) -> None:
    assert parse_command(arguments)["verb"] == arguments[0]


def test_page_shows_every_command_of_a_deployment() -> None:
    assert {"plan", "apply", "export", "history", "doctor", "demo"} <= {command[0] for command in _commands()}


def test_credentials_of_the_page_are_references() -> None:
    (block,) = [text for text in _blocks("yaml") if re.search("^ *credentials:", text, re.MULTILINE)]
    loaded = desired.load([("main.yaml", f"version: 1\n{block}numbers: {{}}\n".encode())])
    assert loaded.accounts[0].credentials is not None


def test_overlay_of_the_page_replaces_image_and_files(tmp_path: Path) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    (block,) = [text for text in _blocks("yaml") if "kind: Kustomization" in text]
    shutil.copytree(DEPLOY / "kubernetes", tmp_path / "kubernetes")
    (tmp_path / "kustomization.yaml").write_text(block)
    (tmp_path / "main.yaml").write_text("version: 1\nnumbers: {}\n")
    result = subprocess.run(  # noqa: S603 - found above
        [kubectl, "kustomize", str(tmp_path)], capture_output=True, text=True, check=False, timeout=60
    )
    assert (result.returncode, result.stderr) == (0, "")
    objects = {(item["kind"], item["metadata"]["name"]): item for item in yaml.safe_load_all(result.stdout)}
    (container,) = objects["Deployment", "senderid-watch"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.example.com/sms/senderid:0.1.0"
    assert objects["ConfigMap", "senderid-accounts"]["data"] == {"main.yaml": "version: 1\nnumbers: {}\n"}


def test_page_names_every_file_of_the_deployment() -> None:
    tree = DEPLOY / "kubernetes"
    folders = [path.parent.relative_to(tree).as_posix() for path in tree.rglob("kustomization.yaml")]
    assert len(folders) >= 6
    files = ["deploy/compose.yaml", "deploy/cron/senderid", "deploy/docker/Dockerfile", "deploy/docker/runtime.lock"]
    units = [path.name for path in (DEPLOY / "systemd").iterdir()]
    paths = [*folders, *files, *(unit for unit in units if unit != "senderid-apply.service")]
    assert [name for name in paths if name not in PAGE] == []
