"""The reference names each command, setting, variable, exit status, property and metric of the code."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
import pytest
from msgspec import structs

from docs._ext import reference, shapes, writing
from docs._ext.site import menu
from worker.cli.exit_status import ExitStatus
from worker.cli.main import senderid
from worker.config.channels import Channel
from worker.config.settings import Settings
from worker.model.plans import Action, Cause, NoticeKind, Verdict
from worker.model.results import Outcome, RunOutcome
from worker.plan.safety import RULES
from worker.render.json_schema import NAMES, schema
from worker.render.log_lines import LogEvent, LogLine

DOCS: Final = Path(__file__).parents[3] / "docs"
REFERENCE: Final = {page.stem: reference.fill(page.read_text()) for page in (DOCS / "reference").glob("*.md")}


def commands() -> Iterator[tuple[str, click.Command]]:
    """Yield each command with its full name."""

    def subcommands(group: click.Group, command_name: str) -> Iterator[tuple[str, click.Command]]:
        context = click.Context(group)
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            yield f"{command_name} {name}", command
            if isinstance(command, click.Group):
                yield from subcommands(command, f"{command_name} {name}")

    yield from subcommands(senderid, "senderid")


COMMANDS: Final = dict(commands())


def section(name: str, page: str) -> str:
    """Return the section of a page below a heading."""
    return page.split(f"\n## {name}\n", 1)[1].split("\n## ", 1)[0]


@pytest.mark.parametrize("command_name", COMMANDS)
def test_reference_has_every_command_with_its_options(command_name: str) -> None:
    """A command has a section with the spellings, choices and help of its options."""
    text = section(command_name, REFERENCE["commands"])
    for option in COMMANDS[command_name].params:
        if not isinstance(option, click.Option):
            assert option.name
            assert option.name.upper() in text or option.make_metavar(click.Context(COMMANDS[command_name])) in text
            continue
        for spelling in (*option.opts, *option.secondary_opts):
            assert re.search(rf"^\| .*`{spelling}\b.*\|$", text, re.MULTILINE), spelling
        assert writing.prose(option.help or "") in text
        assert option.help, option.name
        if isinstance(option.type, click.Choice):
            assert all(f"`{choice}`" in text for choice in option.type.choices)


def test_reference_has_every_setting_with_its_default() -> None:
    """A setting has a row with its meaning and default, and a scalar setting has a variable."""
    for path, field in shapes.leaves(Settings, ()):
        row = re.search(
            rf"^\| `{re.escape('.'.join(path))}` \| (.+) \| (.+) \| (.+) \|$", REFERENCE["settings"], re.MULTILINE
        )
        assert row, path
        assert row[1].strip(), f"{path} has no description"
        default = "null" if field.default is None else f"`{field.default}`"
        assert row[3].lower() == default.lower()
        assert f"`SENDERID_{'__'.join(path).upper()}`" in REFERENCE["environment"]
    for field in structs.fields(Channel):
        assert f"`notify.channels[].{field.name}`" in REFERENCE["settings"]


def test_reference_has_every_environment_variable() -> None:
    sources = [path.read_text() for path in (DOCS.parent / "worker").rglob("*.py")]
    read = {name for text in sources for name in re.findall(r"environ(?:\.get\(|\[)\"([A-Z_]+)\"(?!\] =)", text)}
    constant = r"\"((?:LC|OTEL|SENDERID|SOLAPI|XDG)_[A-Z_]+|LANG)\""
    read |= {name for text in sources for name in re.findall(constant, text)}
    assert {"SOLAPI_API_KEY", "OTEL_SDK_DISABLED"} <= read
    assert [name for name in read if f"`{name}`" not in REFERENCE["environment"]] == []


def test_reference_has_every_exit_status() -> None:
    """An exit status has a row here and in both READMEs."""
    assert set(reference.STATUSES) == set(ExitStatus)
    for status in ExitStatus:
        assert f"| `{status.value}` | {reference.STATUSES[status]} |" in REFERENCE["exit-statuses"]
        for page in DOCS.parent.glob("README*.md"):
            assert re.search(rf"^\| (\d+, )*{status.value}(, \d+)* \|", page.read_text(), re.MULTILINE), page.name


def test_every_value_of_plans_results_and_logs_is_explained() -> None:
    """Actions, causes, outcomes, rules, notices and events are explained in the reference."""
    text = (DOCS / "reference/outcomes.md").read_text()
    explained = set(re.findall(r"`([\w.-]+)`", "\n".join(re.findall(r"^\| (.+?) \|", text, re.MULTILINE))))
    prose = set(re.findall(r"`([\w.-]+)`", text))
    assert {*Action, *Cause, *Outcome, *NoticeKind, *LogEvent} - explained == set()
    assert {*RunOutcome, *Verdict, *RULES} - prose == set()


def test_every_event_and_field_of_the_log_is_listed() -> None:
    assert [event for event in LogEvent if f"- `{event.value}`" not in REFERENCE["log"]] == []
    assert [name for name in LogLine.__struct_fields__ if f"| `{name}` |" not in REFERENCE["log"]] == []


@pytest.mark.parametrize("name", [name for name in NAMES if name not in {"settings", "log"}])
def test_reference_has_every_property_of_a_document(name: str) -> None:
    """A property of the schema has a row."""

    def names(part: Any) -> Iterator[str]:
        if isinstance(part, dict):
            yield from part.get("properties", ())
            for inner in part.values():
                yield from names(inner)
        elif isinstance(part, list):
            for inner in part:
                yield from names(inner)

    text = shapes.shape(name)
    assert [
        property_name
        for property_name in names(schema(name))
        if not re.search(rf"^\| `([\w.*\[\]]+\.)?{property_name}` \|", text, re.MULTILINE)
    ] == []
    assert text in REFERENCE["documents"]


def test_reference_has_every_metric() -> None:
    """The how-to page about metrics has the same rows."""
    rows = re.findall(r"^\| `(senderid_\w+)` \|", REFERENCE["metrics"], re.MULTILINE)
    explained = re.findall(r"^\| `(senderid_\w+)` \|", (DOCS / "how-to/metrics.md").read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(explained)
    assert rows


def test_every_marker_is_replaced() -> None:
    """Each page of the reference has a generated part. An unknown part is an error."""
    for name, page in REFERENCE.items():
        assert "<!-- reference" not in page, name
        assert "\n| " in page, name
    with pytest.raises(KeyError):
        reference.fill("<!-- reference: nothing -->")


def test_navigation_has_every_page() -> None:
    """Each page is linked exactly once from the front page."""
    pages_in_navigation = re.findall(r"^([\w/-]+)$", menu((DOCS / "index.md").read_text()), re.MULTILINE)
    pages = [str(page.relative_to(DOCS).with_suffix("")) for page in DOCS.rglob("*.md") if page.name != "index.md"]
    assert sorted(pages_in_navigation) == sorted(pages)


def test_texts_of_the_code_are_escaped() -> None:
    """Code in backticks stays, and other Markdown markup is escaped."""
    assert writing.prose("say `a|b` to <b> *.yaml [x] $y") == r"say `a\|b` to \<b\> \*.yaml \[x\] \$y"
