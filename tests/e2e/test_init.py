"""`init` writes a working folder that validates, and never overwrites a file."""

import json
import os
import pty
from pathlib import Path

import pytest
import yaml

from tests.e2e.conftest import Command, Served
from worker.sandbox import SandboxAccount

ROOT = Path(__file__).parents[2]
TEMPLATES = ROOT / "worker/cli/templates"
A = "01000000001"
NUMBERS = {A: "ACTIVE"}
CONFIG = {"config/desired/main.yaml", "config/worker.yaml", ".gitignore"}


def _files(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("forge", "pipeline"),
    [
        ("none", set()),
        ("github", {f".github/workflows/senderid-{name}.yml" for name in ("apply", "drift", "plan")}),
        ("gitlab", {".gitlab-ci.yml", "senderid.gitlab-ci.yml"}),
    ],
)
def test_folder_of_a_forge_is_complete(command: Command, forge: str, pipeline: set[str]) -> None:
    result = command("init", "work", "--forge", forge)
    files = _files(command.folder / "work")
    assert (result.returncode, set(files)) == (0, CONFIG | pipeline)
    created = [line.split()[1] for line in result.stdout.splitlines() if line.startswith("created")]
    assert sorted(created) == sorted(f"work/{name}" for name in files)
    assert command("validate", "work/config/desired", "--settings", "work/config/worker.yaml").returncode == 0
    for name in pipeline:
        assert yaml.safe_load(files[name])


def test_steps_after_init_work(command: Command, served: Served, account: SandboxAccount) -> None:
    """`init` prints two of the steps, and the file that it writes names the third, the export."""
    output = command("init").stdout
    export = (command.folder / "config/desired/main.yaml").read_text().splitlines()[1].removeprefix("#   senderid ")
    steps = [line.split()[1:] for line in output.splitlines() if line.startswith("  senderid ")]
    assert [step[0] for step in steps] == ["doctor", "plan"]
    for arguments in (export.split(), *steps):
        assert command(*arguments).returncode == 0, arguments
    assert account.account_id in (command.folder / "config/desired/main.yaml").read_text()
    assert served.writes == []


@pytest.mark.parametrize(("folder", "steps"), [(".", []), ("work", ["cd work"]), ("my work", ["cd 'my work'"])])
def test_steps_begin_in_the_new_folder(command: Command, folder: str, steps: list[str]) -> None:
    lines = [line.strip() for line in command("init", folder).stdout.splitlines() if line.startswith("  ")]
    assert lines == [*steps, "senderid doctor -f config/desired", "senderid plan"]


def test_nothing_is_overwritten(command: Command) -> None:
    """A link is not followed either."""
    command.write(".gitignore", "mine")
    (command.folder / "config").mkdir()
    (command.folder / "config/worker.yaml").symlink_to("elsewhere.yaml")
    result = command("init", "--forge", "github")
    assert result.returncode == 0
    assert {line for line in result.stdout.splitlines() if line.startswith("kept")} == {
        "kept     config/worker.yaml: it exists",
        "kept     .gitignore: it exists",
    }
    before = _files(command.folder)
    assert before[".gitignore"] == "mine"
    assert not (command.folder / "config/elsewhere.yaml").exists()
    assert "created" not in command("init", "--forge", "github").stdout
    assert _files(command.folder) == before


def test_each_account_has_its_variables(command: Command) -> None:
    """Steps of the workflows get the variables too. Accounts whose names cannot be variables are numbered."""
    names = ["main", "shop-1", "본점", "shop.1"]
    arguments = [part for name in [*names, "main"] for part in ("--account", name)]
    assert command("init", *arguments, "--forge", "github").returncode == 0
    expected = ["MAIN", "SHOP_1", "ACCOUNT_3", "ACCOUNT_4"]
    for name, word in zip(names, expected, strict=True):
        document = yaml.safe_load((command.folder / f"config/desired/{name}.yaml").read_text())
        assert document["account"] == name
        assert document["credentials"] == {
            "api_key": {"env": f"{word}_API_KEY"},
            "api_secret": {"env": f"{word}_API_SECRET"},
        }
    for name in ("apply", "drift", "plan"):
        workflow = yaml.safe_load((command.folder / f".github/workflows/senderid-{name}.yml").read_text())
        steps = [step for job in workflow["jobs"].values() for step in job["steps"] if "env" in step]
        assert [list(step["env"]) for step in steps] == [
            [f"{word}_{part}" for word in expected for part in ("API_KEY", "API_SECRET")]
        ]
    assert command("validate").returncode == 0


@pytest.mark.parametrize("name", ["../main", ".hidden", "a b", "", "x" * 65])
def test_unusable_account_name_writes_nothing(command: Command, name: str) -> None:
    result = command("init", "work", "--account", name)
    assert (result.returncode, "use letters, digits" in result.stderr) == (64, True)
    assert not (command.folder / "work").exists()


def test_terminal_is_asked(command: Command) -> None:
    master, slave = pty.openpty()
    os.write(master, b"main, shop\nsubversion\ngitlab\n")
    process = command.popen("init", stdin=slave)
    output, _ = process.communicate(timeout=30)
    os.close(slave)
    os.close(master)
    assert process.returncode == 0
    assert {"config/desired/shop.yaml", ".gitlab-ci.yml"} <= _files(command.folder).keys()
    assert "created  config/desired/main.yaml" in output


def test_pipeline_files_are_those_of_deploy() -> None:
    """The package has copies, as an installation has no folder `deploy`."""
    workflows = {path.name: path.read_text() for path in (ROOT / "deploy/github/workflows").iterdir()}
    assert {path.name: path.read_text() for path in (TEMPLATES / "github").iterdir()} == workflows
    template = "gitlab/senderid.gitlab-ci.yml"
    assert (TEMPLATES / template).read_text() == (ROOT / "deploy" / template).read_text()


def test_files_have_no_secrets(command: Command, served: Served, account: SandboxAccount) -> None:
    del served
    assert command("init", "--forge", "github", "--account", "a", "--account", "b").returncode == 0
    text = json.dumps(_files(command.folder))
    assert account.api_key not in text
    assert account.api_secret not in text
