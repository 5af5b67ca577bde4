"""Every two values of a command's options together, in a fleet with working and failing accounts.

The table is generated from the definitions of the commands: an option without values here fails. Each row runs on a
fresh copy of the fleet. `tests/support/fleet_model.py` gives its expected writes, output and exit status.
"""

import json
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from itertools import combinations, product
from pathlib import Path
from typing import Any, Final, NamedTuple

import click
import pytest

from tests.e2e.conftest import Command
from tests.e2e.fleet import Fleet
from tests.support.fleet_model import (
    LATER,
    WORLDS,
    Expected,
    Row,
    expect_apply,
    expect_calendar,
    expect_doctor,
    expect_export,
    expect_history,
    expect_import,
    expect_no_numbers,
    expect_plan,
    expect_rollback,
    expect_saved_plan,
    expect_show,
    expect_status,
    expect_watch,
    is_valid,
)
from tests.support.pairwise import pairwise
from worker.cli.main import senderid

Values = Mapping[str, tuple[str, ...]]
"""The arguments of each value of an option, by its name."""

_UP, _DOWN, _SWITCHED, _SHOP_UP, _SHOP_DOWN = (f"010000000{end}" for end in (11, 22, 33, 77, 88))


def _chosen(option: str, *choices: str) -> dict[str, tuple[str, ...]]:
    return {
        "": (),
        **{choice: tuple(part for phone in choice.split("+") for part in (option, phone)) for choice in choices},
    }


_COMMON: Final[Mapping[str, Values]] = {
    "world": dict.fromkeys(WORLDS, ()),
    "paths": {"folder": ("-f", "d"), "main": ("-f", "d/main.yaml"), "both": ("-f", "d/shop.yaml", "-f", "d/main.yaml")},
    "settings_path": {"usual": (), "strict": ("--settings", "strict.yaml")},
    "no_commands": {"": (), "none": ("--no-commands",)},
    "proxy": {"": (), "none": ("--proxy", "none"), "unused": ("--proxy", "http://127.0.0.1:9")},
    "accounts": {
        "all": (),
        "main": ("--account", "main"),
        "shop": ("--account", "shop"),
        "both": ("--account", "shop", "--account", "main"),
    },
    "only": _chosen("--only", _UP, f"{_DOWN}+{_SWITCHED}", f"{_SWITCHED}+{_SHOP_UP}", _SHOP_DOWN),
    "exclude": _chosen("--exclude", _UP, _DOWN, _SWITCHED, f"{_SHOP_UP}+{_SHOP_DOWN}"),
    "owners": {"": (), "sales": ("--owner", "SALES"), "both": ("--owner", "sales", "--owner", "Support")},
    "notes": {"": (), "desk": ("--note", "front desk")},
    "allow": _chosen("--allow", "max-deactivations", "min-active", "all"),
    "log_format": {"": (), "console": ("--log-format", "console"), "json": ("--log-format", "json")},
    "log_level": {"": (), "debug": ("--log-level", "debug"), "error": ("--log-level", "error")},
    "lang": {"": (), "ko": ("--lang", "ko")},
    "no_color": {"": (), "plain": ("--no-color",)},
}
_DOCUMENT: Final[Mapping[str, Values]] = {
    "output_format": {
        value: ("-o" if value == "json" else "--format", value) for value in ("text", "json", "markdown", "html")
    },
    "output": {"": (), "file": ("--output", "document")},
    "mask": {"": (), "masked": ("--mask", "010****5678")},
}
_REVIEWABLE: Final = {**_DOCUMENT, "show_all": {"": (), "all": ("--show-all",)}}
_MORE: Final[Mapping[str, Values]] = {"more": {"": (), "shop": ("d/shop.yaml",)}}
_METRICS: Final[Mapping[str, Values]] = {
    "metrics_file": {"": (), "file": ("--metrics-file", "metrics.prom")},
    "metrics_push": {"": (), "nowhere": ("--metrics-push", "http://127.0.0.1:9")},
}


class _CommandTable(NamedTuple):
    """The rows of one command: the values of its options, its arguments, and its expected result."""

    values: Mapping[str, Values]
    expected: Callable[[Row], Expected]
    command: str = ""
    alone: tuple[str, ...] = ()
    """Options each value of which also meets each world with all others at their usual values."""

    @property
    def usual(self) -> Row:
        return {key: next(iter(values)) for key, values in self.values.items()}

    def rows(self) -> Iterator[Row]:
        yield from pairwise({key: tuple(values) for key, values in self.values.items()}, _is_allowed)
        for option in self.alone:
            for world, value in product(self.values["world"], list(self.values[option])[1:]):
                yield {**self.usual, "world": world, option: value}


_LOG: Final = {key: _COMMON[key] for key in ("log_format", "log_level", "lang")}
_SETTINGS: Final = {key: _COMMON[key] for key in ("settings_path", "no_commands", "proxy")}
_COLOR: Final = {"no_color": _COMMON["no_color"]}
_NOT_GIVEN: Final[Values] = {"": ()}
_RUN: Final = "RUN"
"""Stands for the id of the first run."""
_DRY: Final[Mapping[str, Values]] = {"dry_run": {"": (), "dry": ("--dry-run",)}}
_WRITING: Final[Mapping[str, Values]] = {
    "yes": {"yes": ("--yes",)},
    "lock_timeout": {"": (), "none": ("--lock-timeout", "0s")},
}
_CANARY: Final[Mapping[str, Values]] = {"canary": {"": (), "one": ("--canary", "1"), "none": ("--canary", "0")}}
_DESIRED: Final[Mapping[str, Values]] = {
    "name": {"": (), "named": ("--account", "named")},
    "output": _DOCUMENT["output"],
    "schema": {"": (), "path": ("--schema", "schema.json")},
    "force": {"": (), "force": ("--force",)},
    "lang": _COMMON["lang"],
}

_COMMANDS: Final = {
    "plan": _CommandTable(
        {
            **_COMMON,
            **_REVIEWABLE,
            **_METRICS,
            **_MORE,
            "out": {"": (), "file": ("--out", "new.json")},
            "detailed_exitcode": {"": (), "detailed": ("--detailed-exitcode",)},
            "at": {"": (), "later": ("--at", LATER)},
        },
        expect_plan,
        alone=("at",),
    ),
    "drift": _CommandTable(
        {**_COMMON, **_REVIEWABLE, **_METRICS, **_MORE}, lambda row: expect_plan(row, is_drift=True)
    ),
    "status": _CommandTable(
        {
            **{key: values for key, values in _COMMON.items() if key != "allow"},
            **_DOCUMENT,
            **_MORE,
            "output_format": {value: ("-o", value) for value in ("text", "json", "csv")},
            "differs": {"": (), "differs": ("--differs",)},
            "observed": {"": (), "waiting": ("--observed", "pending", "--observed", "missing")},
            "expires_within": {"": (), "month": ("--expires-within", "30d")},
            "explain": _NOT_GIVEN,
        },
        expect_status,
        alone=("differs", "observed"),
    ),
    "apply": _CommandTable(
        {
            **_COMMON,
            **_REVIEWABLE,
            **_METRICS,
            **_WRITING,
            **_CANARY,
            **_DRY,
            **dict.fromkeys(("planfile", "folder", "no_files", "max_age"), _NOT_GIVEN),
        },
        expect_apply,
        alone=("canary", "settings_path"),
    ),
    "apply PLANFILE": _CommandTable(
        {
            **_COMMON,
            **_REVIEWABLE,
            **_METRICS,
            **_WRITING,
            **_CANARY,
            **dict.fromkeys(("paths", "accounts", "only", "exclude", "owners", "notes"), _NOT_GIVEN),
            **_DRY,
            "files": {"same": (), "reverted": (), "moved": ()},
            "planfile": {"saved": ("saved.json",)},
            "yes": {"": (), "yes": ("--yes",)},
            "folder": {"": (), "moved": ("--files", "elsewhere")},
            "no_files": {"": (), "none": ("--no-files",)},
            "max_age": {"": (), "hour": ("--max-age", "1h")},
        },
        expect_saved_plan,
        "apply",
        alone=("canary", "files", "dry_run"),
    ),
    "show": _CommandTable(
        {
            "world": {"calm": (), "stuck": (), "unreadable": ()},
            "planfile": {"saved": ("saved.json",)},
            **_REVIEWABLE,
            **_COLOR,
            "lang": _COMMON["lang"],
        },
        expect_show,
    ),
    "rollback": _CommandTable(
        {
            "world": _COMMON["world"],
            **_SETTINGS,
            "allow": _COMMON["allow"],
            **_LOG,
            **_COLOR,
            **_REVIEWABLE,
            **_WRITING,
            **_DRY,
            "run": {"first": (_RUN,)},
        },
        expect_rollback,
    ),
    "watch": _CommandTable(
        {
            **_COMMON,
            **_MORE,
            **_DRY,
            "log_level": {"": (), "debug": ("--log-level", "debug")},
            "log_format": {"": (), "json": ("--log-format", "json")},
            "every": {"": (), "hour": ("--every", "1h")},
            "cron": {"": (), "january": ("--cron", "0 0 1 1 *")},
            "timezone": {"": (), "utc": ("--timezone", "UTC")},
            "jitter": {"": (), "second": ("--jitter", "1s")},
            "listen": {"": (), "free": ("--listen", "127.0.0.1:0")},
            "token_file": _NOT_GIVEN,
        },
        expect_watch,
    ),
    "history": _CommandTable(
        {
            "world": {"calm": (), "stuck": ()},
            "run": {"": (), "first": (_RUN,)},
            "account": {"": (), "main": ("--account", "main"), "shop": ("--account", "shop")},
            "phone": _chosen("--phone", _UP, _SHOP_DOWN),
            "since": {"": (), "day": ("--since", "24h")},
            "outcome": {"": (), "converged": ("--outcome", "converged")},
            "limit": {"": (), "all": ("--limit", "0")},
            "age": _NOT_GIVEN,
            **_SETTINGS,
            **_REVIEWABLE,
            **_COLOR,
            "lang": _COMMON["lang"],
        },
        expect_history,
    ),
    "calendar": _CommandTable(
        {
            "world": {"calm": ()},
            **{key: _COMMON[key] for key in ("paths", "accounts", "lang", "no_color")},
            **_SETTINGS,
            **_MORE,
            "days": {"": (), "years": ("--days", "3660")},
            "start": {"": (), "later": ("--from", "2039-12-25")},
            "output_format": {value: ("--format", value) for value in ("text", "json", "icalendar")},
            "output": _DOCUMENT["output"],
        },
        expect_calendar,
    ),
    "validate": _CommandTable(
        {
            "world": {"calm": (), "stuck": ()},
            **{key: _COMMON[key] for key in ("paths", "lang")},
            **_SETTINGS,
            **_MORE,
            "mask": _DOCUMENT["mask"],
        },
        expect_no_numbers,
    ),
    "export": _CommandTable({"world": _COMMON["world"], **_SETTINGS, **_LOG, **_DESIRED}, expect_export),
    "import": _CommandTable(
        {
            "world": {"calm": ()},
            **_DESIRED,
            "path": {"table": ("numbers.csv",)},
            "kind": {"": (), "csv": ("--from", "csv")},
            "skipped": {"": (), "more": ("--skip-column", "more")},
            "encoding": {"": (), "utf-8": ("--encoding", "utf-8")},
        },
        expect_import,
    ),
    "doctor": _CommandTable(
        {
            "world": {"calm": (), "stuck": (), "edited": ()},
            **dict.fromkeys(("paths", "accounts", "more"), _NOT_GIVEN),
            **_SETTINGS,
            **_LOG,
            **_COLOR,
            "output_format": {value: ("--format", value) for value in ("text", "json")},
            "output": _DOCUMENT["output"],
        },
        expect_no_numbers,
    ),
    "doctor -f": _CommandTable(
        {
            "world": {"calm": (), "stuck": (), "edited": (), "unreadable": ()},
            **{key: _COMMON[key] for key in ("paths", "accounts")},
            **_MORE,
            **_SETTINGS,
            **_LOG,
            **_COLOR,
            "output_format": {value: ("--format", value) for value in ("text", "json")},
            "output": _DOCUMENT["output"],
        },
        expect_doctor,
        "doctor",
    ),
}
_ELSEWHERE: Final = {
    "init": "folder accounts forge lang",
    "serve": "listen token_file paths settings_path no_commands proxy lang",
    "schema": "name lang",
    "sandbox": "port numbers state faults api_key api_secret rate_limit seed lang",
    "demo": "seed no_color lang",
    "completion": "shell lang",
    "fleet": "lang",
    "fleet init": "settings_path no_commands proxy lang",
    "fleet publish": "paths settings_path no_commands proxy allow canary mask lang",
    "fleet worker": "settings_path no_commands proxy every listen token_file mask log_format log_level no_color lang",
    "fleet status": "settings_path no_commands proxy output_format output no_color lang",
    "fleet pause": "reason settings_path no_commands proxy lang",
    "fleet resume": "allow settings_path no_commands proxy lang",
    "ledger": "lang",
    "ledger copy": "source target settings_path no_commands proxy lang",
    "notify": "lang",
    "notify test": "names settings_path no_commands proxy lang",
}
"""Commands that read no account, with their options: they have tests of their own."""


def _is_allowed(row: Row) -> bool:
    """Return False for option values that are wrong together."""
    return is_valid(row) and not (
        (row.get("at") and row.get("out"))
        or (row.get("folder") == "moved" and row.get("no_files"))
        or (row.get("cron") and row.get("every"))
        or (row.get("timezone") and (row.get("every") or row.get("cron") == ""))
        or (
            (row.get("run") or row.get("output_format") == "markdown")
            and any(map(row.get, ("since", "outcome", "limit")))
        )
        or (row.get("more") and row.get("paths", "main") != "main")
        or (row.get("run") == "" and row.get("output_format") == "markdown")
    )


def _rows() -> Iterator[Any]:
    for name, table in _COMMANDS.items():
        for number, row in enumerate(table.rows()):
            options = " ".join(f"{key}={value}" for key, value in row.items() if value != table.usual[key])
            yield pytest.param(name, row, id=f"{name}-{number}: {options}")


def _wrong() -> Iterator[Any]:
    """Yield rows of usual values except two, which are wrong together."""
    for name, table in _COMMANDS.items():
        for option, other in combinations(table.values, 2):
            for first, second in product(table.values[option], table.values[other]):
                if not _is_allowed({option: first, other: second}):
                    yield pytest.param(
                        name,
                        {**table.usual, option: first, other: second},
                        id=f"{name}: {option}={first} {other}={second}",
                    )


def test_every_option_is_in_the_table() -> None:
    table_options = {
        f"{table.command or name}": table.values.keys() - {"world", "files"} for name, table in _COMMANDS.items()
    }
    table_options |= {name: set(options.split()) for name, options in _ELSEWHERE.items()}
    assert dict(_options(senderid)) == table_options


def _options(group: click.Group, path: str = "") -> Iterator[tuple[str, set[str | None]]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield path + name, {param.name for param in command.params}
        if isinstance(command, click.Group):
            yield from _options(command, f"{path}{name} ")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, quick: Path) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path_factory.mktemp("fleet"), quick)
    yield fleet
    fleet.served.stop()


@pytest.mark.parametrize(("name", "row"), list(_rows()))
def test_row_of_options_has_its_result(fleet: Fleet, tmp_path: Path, name: str, row: Row) -> None:
    result = _run(fleet, tmp_path, name, row)
    expected = _COMMANDS[name].expected(row)
    assert result.returncode == expected.status, result.stderr
    assert frozenset(fleet.served.writes) == expected.writes
    document = (tmp_path / "document").read_text() if row.get("output") else result.stdout
    if expected.listed is not None:
        _check(row, document, expected.listed, expected.noted)
    everything = result.stdout + result.stderr + document
    assert _numbers_in(everything) <= expected.within | expected.noted
    if row.get("mask"):
        assert re.findall(r"010-?0000-?0\d{3}", everything) == []


@pytest.mark.parametrize(("name", "row"), list(_wrong()))
def test_wrong_options_do_not_reach_an_account(fleet: Fleet, tmp_path: Path, name: str, row: Row) -> None:
    result = _run(fleet, tmp_path, name, row)
    # a file that is given twice is invalid desired state
    assert result.returncode == (65 if name == "validate" or row.get("more") else 64), result.stderr
    assert result.stdout == ""
    assert fleet.served.sandbox.wire == []


def _run(fleet: Fleet, folder: Path, name: str, row: Row) -> subprocess.CompletedProcess[str]:
    table = _COMMANDS[name]
    options = [part for key, value in row.items() for part in table.values[key][value]]
    with fleet.world(row["world"], folder, row.get("files", "same")) as command:
        arguments = [(folder / "run").read_text() if part == _RUN else part for part in options]
        run = _first_pass if name == "watch" else Command.__call__
        return run(command, table.command or name, *arguments)


def _first_pass(command: Command, *arguments: str) -> subprocess.CompletedProcess[str]:
    process = command.popen(*arguments)
    assert process.stderr is not None
    lines = []
    try:
        for line in process.stderr:
            lines.append(line)
            if '"event":"watch.pass"' in line:
                process.terminate()
        return subprocess.CompletedProcess(arguments, process.wait(20), process.communicate()[0], "".join(lines))
    finally:
        process.kill()


def _check(row: Row, document: str, listed: frozenset[str], noted: frozenset[str]) -> None:
    if row.get("output_format") == "json":
        assert set(_phones(json.loads(document))) == listed
    else:
        assert listed <= _numbers_in(document) <= listed | noted


def _phones(document: Any) -> Iterator[str]:
    """Yield the numbers of a JSON document, except those of notices."""
    if isinstance(document, dict):
        if "phone" in document:
            yield document["phone"]
        document = [value for key, value in document.items() if key != "notices"]
    if isinstance(document, list):
        for number in document:
            yield from _phones(number)


def _numbers_in(text: str) -> frozenset[str]:
    """Return the numbers in a text, complete or masked, by their last four digits."""
    endings = re.findall(r"010(?:0000|\*{4})(\d{4})(?!\d)", text.replace("-", ""))
    return frozenset(f"0100000{end}" for end in endings)
