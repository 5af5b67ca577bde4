"""Every two values of a command's options, together, in a fleet where things go right and wrong.

The table is generated from the commands' own definitions: an option without values here fails. Each row runs on a fresh
copy of one fleet, and `tests/support/fleet_model.py` says what it may write and show, and its exit status.
"""

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple

import click
import pytest
from filelock import FileLock

from tests.e2e.conftest import Command, Served
from tests.support.fleet_model import (
    FAILING,
    LATER,
    LOST,
    WORLDS,
    Expected,
    Number,
    Row,
    is_valid,
    of_apply,
    of_plan,
    selected,
)
from tests.support.pairwise import pairwise
from worker.cli.main import senderid
from worker.sandbox import Fault, Sandbox, SandboxAccount, SandboxNumber
from worker.sandbox.faults import Faults

Values = Mapping[str, tuple[str, ...]]
"""The arguments of each value of an option, by its name."""

_UP, _DOWN, _SWITCHED, _SHOP_UP, _SHOP_DOWN = (f"010000000{end}" for end in (11, 22, 33, 77, 88))


def _chosen(option: str, *choices: str) -> dict[str, tuple[str, ...]]:
    return {"": (), **{each: tuple(part for phone in each.split("+") for part in (option, phone)) for each in choices}}


_COMMON: Final[Mapping[str, Values]] = {
    "world": dict.fromkeys(WORLDS, ()),
    "paths": {"folder": ("-f", "d"), "main": ("-f", "d/main.yaml"), "both": ("-f", "d/shop.yaml", "-f", "d/main.yaml")},
    "settings_path": {"usual": (), "strict": ("--settings", "strict.yaml")},
    "accounts": {
        "all": (),
        "main": ("--account", "main"),
        "shop": ("--account", "shop"),
        "both": ("--account", "shop", "--account", "main"),
    },
    "only": _chosen("--only", _UP, f"{_DOWN}+{_SWITCHED}", f"{_SWITCHED}+{_SHOP_UP}", _SHOP_DOWN),
    "exclude": _chosen("--exclude", _UP, _DOWN, _SWITCHED, f"{_SHOP_UP}+{_SHOP_DOWN}"),
    "allow": _chosen("--allow", "max-deactivations", "min-active", "all"),
    "log_format": {"": (), "console": ("--log-format", "console"), "json": ("--log-format", "json")},
    "log_level": {"": (), "debug": ("--log-level", "debug"), "error": ("--log-level", "error")},
    "lang": {"": (), "ko": ("--lang", "ko")},
    "no_color": {"": (), "plain": ("--no-color",)},
}
_DOCUMENT: Final[Mapping[str, Values]] = {
    "form": {form: ("--format", form) for form in ("text", "json", "markdown", "html")},
    "output": {"": (), "file": ("--output", "document")},
    "mask": {"": (), "masked": ("--mask", "010****5678")},
}
_METRICS: Final[Mapping[str, Values]] = {
    "metrics_file": {"": (), "file": ("--metrics-file", "metrics.prom")},
    "metrics_push": {"": (), "nowhere": ("--metrics-push", "http://127.0.0.1:9")},
}


class _Place(NamedTuple):
    """Where a command has its place in the table: its values, its verb, and what must come of a row."""

    values: Mapping[str, Values]
    expected: Callable[[Row], Expected]
    first: tuple[str, ...] = ()


_PLACES: Final = {
    "plan": _Place(
        {
            **_COMMON,
            **_DOCUMENT,
            **_METRICS,
            "out": {"": (), "file": ("--out", "saved.json")},
            "detailed_exitcode": {"": (), "detailed": ("--detailed-exitcode",)},
            "at": {"": (), "later": ("--at", LATER)},
        },
        of_plan,
    ),
    "drift": _Place({**_COMMON, **_DOCUMENT, **_METRICS}, lambda row: of_plan(row, is_drift=True)),
    "apply": _Place(
        {
            **_COMMON,
            **_DOCUMENT,
            **_METRICS,
            "yes": {"yes": ("--yes",)},
            "dry_run": {"": (), "dry": ("--dry-run",)},
            "canary": {"": (), "one": ("--canary", "1"), "none": ("--canary", "0")},
            "lock_timeout": {"": (), "none": ("--lock-timeout", "0s")},
            "planfile": {"": ()},
            "folder": {"": ()},
            "no_files": {"": ()},
            "max_age": {"": ()},
        },
        of_apply,
    ),
}


def _is_allowed(row: Row) -> bool:
    return is_valid(row) and not (row.get("at") == "later" and row.get("out") == "file")


def _rows() -> Iterator[Any]:
    for name, place in _PLACES.items():
        for number, row in enumerate(
            pairwise({key: tuple(values) for key, values in place.values.items()}, _is_allowed)
        ):
            given = " ".join(
                f"{key}={value}" for key, value in row.items() if value not in {"", "all", "usual", "folder"}
            )
            yield pytest.param(name, row, id=f"{name}-{number}: {given}")


def test_every_option_has_a_place() -> None:
    for name, place in _PLACES.items():
        command = senderid.get_command(click.Context(senderid), name)
        assert command is not None
        assert {param.name for param in command.params} == place.values.keys() - {"world"}, name


class _Fleet:
    """One sandbox, and the folder of a first run, for all rows."""

    def __init__(self, folder: Path, quick: Path) -> None:
        self.accounts = {
            "main": SandboxAccount.of({}),
            "shop": SandboxAccount.of({}, account_id="777", api_key="NCSSHOP", api_secret="shop-secret-0123456789"),
        }
        self.served = Served(Sandbox(tuple(self.accounts.values()), rate_limit=None))
        self.served.start()
        self._folder = folder
        self._quick = quick
        self._made: dict[str, Path] = {}

    def enter(self, folder: Path, world: str) -> Command:
        """Return the command in a folder that has the ledger of a first run, and put the accounts into a state."""
        self.served.sandbox._faults = Faults("calm", 0)  # what the last row left of its faults
        if world not in self._made:
            self._made[world] = self._folder / world
            self._make(self._command(self._made[world]), WORLDS[world])
        shutil.copytree(self._made[world], folder, dirs_exist_ok=True)
        self._set("seen", WORLDS[world])
        sandbox = self.served.sandbox
        sandbox.wire.clear()
        if world == "failing":
            sandbox.script(FAILING, "PUT", [Fault.NOT_WRITABLE])
        if world == "lost":
            sandbox.script(LOST, "PUT", [Fault.RESET_AFTER])
        command = self._command(folder)
        if world == "unreadable":
            command.environment["SHOP_SECRET"] = "another-secret-0123456789"
        return command

    def _command(self, folder: Path) -> Command:
        folder.mkdir(exist_ok=True)
        command = Command(folder, self._quick).at(self.served.sandbox, self.accounts["main"])
        command.unmeasured()
        command.environment |= {"SHOP_KEY": "NCSSHOP", "SHOP_SECRET": "shop-secret-0123456789"}
        return command

    def _make(self, command: Command, numbers: Mapping[str, Number]) -> None:
        for name, most in (("config/worker.yaml", 9), ("strict.yaml", 0)):
            command.write(name, f"safety: {{max_deactivations: {most}}}\nretry: {{base_seconds: 0.01}}\n")
        self._set("before", numbers)
        _write(command, "then", numbers)
        done = command("apply", "--yes", "-f", "d", "--format", "json")
        assert done.returncode == 0, done.stderr
        _write(command, "now", numbers)

    def _set(self, time: str, numbers: Mapping[str, Number]) -> None:
        for name, account in self.accounts.items():
            for phone in list(account.numbers):
                account.remove(phone)
            for phone, number in numbers.items():
                if number.account == name and (status := getattr(number, time)) is not None:
                    account.numbers[phone] = SandboxNumber(phone, status)
                    account.switch(phone, status)


def _write(command: Command, time: str, numbers: Mapping[str, Number]) -> None:
    for name, head in (
        ("main", ""),
        ("shop", "account: shop\ncredentials: {api_key: {env: SHOP_KEY}, api_secret: {env: SHOP_SECRET}}\n"),
    ):
        listed = [(phone, getattr(each, time)) for phone, each in numbers.items() if each.account == name]
        lines = "".join(f"  {phone}: {line}\n" for phone, line in listed if line is not None)
        command.write(f"d/{name}.yaml", f"version: 1\n{head}numbers:\n{lines}")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, quick: Path) -> Iterator[_Fleet]:
    made = _Fleet(tmp_path_factory.mktemp("fleet"), quick)
    yield made
    made.served.stop()


@pytest.mark.parametrize(("name", "row"), list(_rows()))
def test_row(fleet: _Fleet, tmp_path: Path, name: str, row: Row) -> None:
    place = _PLACES[name]
    command = fleet.enter(tmp_path, row["world"])
    with ExitStack() as held:
        if row["world"] == "locked":
            for path in (tmp_path / "state/senderid/locks").iterdir():
                held.enter_context(FileLock(path))
        done = command(name, *(part for key, value in row.items() for part in place.values[key][value]))
    expected = place.expected(row)
    assert done.returncode == expected.status, done.stderr
    assert frozenset(fleet.served.writes) == expected.writes
    document = (tmp_path / "document").read_text() if row["output"] == "file" else done.stdout
    _judge(row, document, expected, WORLDS[row["world"]])
    everything = done.stdout + done.stderr + document
    assert _numbers_in(everything, WORLDS[row["world"]]) <= selected(row) | expected.noted
    if row["mask"] == "masked":
        assert re.findall(r"010-?0000-?0\d{3}", everything) == []


def _judge(row: Row, document: str, expected: Expected, numbers: Mapping[str, Number]) -> None:
    if row["form"] == "json":
        parsed = json.loads(document)
        changes = [each for account in parsed["accounts"] for each in account.get("changes", account.get("numbers"))]
        listed = {change["phone"] for change in changes}
        assert listed == expected.listed
    else:
        shown = _numbers_in(document, numbers)
        assert expected.listed <= shown
        assert shown <= expected.listed | expected.noted


def _numbers_in(text: str, numbers: Mapping[str, Number]) -> frozenset[str]:
    """Return the numbers in a text, whole or masked, by their last four digits."""
    found = re.findall(r"010(?:0000|\*{4})(\d{4})(?!\d)", text.replace("-", ""))
    return frozenset(phone for phone in numbers if phone[-4:] in found)
