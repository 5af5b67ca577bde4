"""Defaults and named schedules, of a document and of the file that a folder shares."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from worker.config import files
from worker.config.desired import load, parse_file
from worker.model.accounts import Desired, DesiredAccount, SourceFile, Status, WeeklyWindow
from worker.model.errors import DesiredStateError, Problem
from worker.model.times import parse_weekly

A, B, C = "01000000001", "01000000002", "01000000003"
ON, OFF = Desired(Status.ACTIVE), Desired(Status.INACTIVE)
OFFICE = '[{weekly: "Mon-Fri 09:00-18:00", status: ACTIVE}]'
WINDOW = WeeklyWindow(Status.ACTIVE, "Mon-Fri 09:00-18:00", parse_weekly("Mon-Fri 09:00-18:00"))
CONTRADICTORY = '[{weekly: "Mon 09:00-18:00", status: ACTIVE}, {weekly: "Mon 10:00-11:00", status: INACTIVE}]'


class _Shared:
    """Shared files by the name of the file that they are for."""

    def __init__(self, **texts: str) -> None:
        self.files = {f"{folder}/senderid.yaml": text.encode() for folder, text in texts.items()}
        self.count = 0

    def __call__(self, source: str) -> tuple[str, bytes] | None:
        self.count += 1
        name = str(Path(source).with_name("senderid.yaml"))
        return (name, self.files[name]) if name in self.files else None


def _account(text: str, shared: str | None = None) -> DesiredAccount:
    shared_files = _Shared() if shared is None else _Shared(d=f"version: 1\n{shared}")
    (account,) = load([("d/a.yaml", f"version: 1\n{text}".encode())], shared_files=shared_files).accounts
    return account


def _numbers(text: str, shared: str | None = None) -> Mapping[str, Desired]:
    return _account(text, shared).numbers


def _problems(text: str, shared: str | None = None) -> list[str]:
    with pytest.raises(DesiredStateError) as raised:
        _account(text, shared)
    return [str(problem) for problem in raised.value.problems]


_DEFAULTS_ONLY = "a file of this name has only the defaults of its folder: rename it if it describes an account"


@pytest.mark.parametrize(
    "numbers", [f"{{{A}: , {B}: {{}}}}", f"{{{A}: ~, {B}: {{status: ACTIVE}}}}", f"[{A}, {{phone: {B}}}]"]
)
def test_default_status_completes_entries(numbers: str) -> None:
    assert _numbers(f"defaults: {{status: ACTIVE}}\nnumbers: {numbers}\n") == {A: ON, B: ON}


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("INACTIVE", Desired(Status.INACTIVE, "n", "o", protected=True)),
        ("{note: x}", Desired(Status.ACTIVE, "x", "o", protected=True)),
        ("{owner: x, status: inactive}", Desired(Status.INACTIVE, "n", "x", protected=True)),
        ("{protected: false}", Desired(Status.ACTIVE, "n", "o")),
    ],
)
def test_entry_takes_precedence_over_defaults(entry: str, expected: Desired) -> None:
    defaults = "{status: Active, note: n, owner: o, protected: true}"
    assert _numbers(f"defaults: {defaults}\nnumbers: {{{A}: {entry}}}\n") == {A: expected}


def test_document_takes_precedence_over_its_folder() -> None:
    account = _account(
        f"defaults: {{owner: b, protected: false}}\nnumbers: {{{A}: , {B}: INACTIVE}}\n",
        "defaults: {status: ACTIVE, owner: a, note: n, protected: true}\n",
    )
    assert account.numbers == {A: Desired(Status.ACTIVE, "n", "b"), B: Desired(Status.INACTIVE, "n", "b")}


def test_numbers_by_default_share_instances() -> None:
    """A million numbers take little memory."""
    account = _account(
        f"defaults: {{owner: o, schedule: {OFFICE}}}\nnumbers: {{{A}: ACTIVE, {B}: active, {C}: {{status: ACTIVE}}}}\n"
    )
    assert len(set(map(id, account.numbers.values()))) == 1
    assert len(set(map(id, account.schedules.values()))) == 1


@pytest.mark.parametrize("shared", [None, f"schedules: {{office: {OFFICE}}}\n"])
def test_schedule_is_used_by_its_name(shared: str | None) -> None:
    head = "" if shared else f"schedules: {{office: {OFFICE}}}\n"
    numbers = f"{{{A}: {{status: INACTIVE, schedule: office}}, {B}: {{schedule: ' office '}}}}"
    account = _account(f"{head}timezone: UTC\nnumbers: {numbers}\n", shared)
    assert {
        phone: (schedule.base_status, schedule.weekly, schedule.timezone)
        for phone, schedule in account.schedules.items()
    } == {
        A: (Status.INACTIVE, (WINDOW,), "UTC"),
        B: (None, (WINDOW,), "UTC"),
    }


@pytest.mark.parametrize("schedule", ["office", OFFICE])
def test_default_schedule_applies_unless_an_entry_has_its_own(schedule: str) -> None:
    account = _account(
        f"schedules: {{office: {OFFICE}, night: [{{weekly: 'daily 22:00-06:00', status: ACTIVE}}]}}\n"
        f"defaults: {{schedule: {schedule}}}\n"
        f"numbers: {{{A}: INACTIVE, {B}: {{status: ACTIVE, until: 2026-12-01}}, {C}: {{schedule: night}}, "
        "01000000004: {schedule: none, status: ACTIVE}, 01000000005: }\n"
    )
    assert account.schedules[A].base_status is Status.INACTIVE
    assert account.schedules[A].weekly == (WINDOW,)
    assert (len(account.schedules[B].dated), account.schedules[B].weekly) == (1, ())
    assert account.schedules[C].weekly[0].text == "daily 22:00-06:00"
    assert "01000000004" not in account.schedules
    assert account.schedules["01000000005"].base_status is None


def test_document_can_drop_the_schedule_of_its_folder() -> None:
    text = f"defaults: {{schedule: none}}\nnumbers: {{{A}: ACTIVE}}\n"
    account = _account(text, f"defaults: {{schedule: {OFFICE}}}\n")
    assert (account.numbers, account.schedules) == ({A: ON}, {})


def test_status_by_default_applies_outside_the_windows() -> None:
    account = _account(f"defaults: {{status: INACTIVE}}\nnumbers: {{{A}: {{schedule: {OFFICE}}}}}\n")
    assert account.schedules[A].base_status is Status.INACTIVE


def test_shared_file_is_a_part_of_its_accounts() -> None:
    """Hashes, plan files and the ledger contain the revision of the shared file too."""
    shared_files = _Shared(d="version: 1\n", e="version: 1\n")
    text = "version: 1\naccount: {}\nnumbers: {{{}: ACTIVE}}\n"
    sources = [("d/a.yaml", "x", A), ("d/b.yaml", "y", B), ("e/b.yaml", "y", C), ("f/c.yaml", "z", "01000000004")]
    accounts = load([(name, text.format(*rest).encode()) for name, *rest in sources], None, shared_files).accounts
    names = {account.name: [part.source for part in account.parts] for account in accounts}
    assert names == {"x": ["d/senderid.yaml"], "y": ["e/b.yaml", "d/senderid.yaml", "e/senderid.yaml"], "z": []}
    (digest,) = {part.sha256 for account in accounts for part in account.parts if part.source == "d/senderid.yaml"}
    assert accounts[0].parts == (SourceFile("d/senderid.yaml", 1, digest),)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("defaults: {state: ACTIVE}", "2:12: unknown key 'state'; did you mean 'status'?"),
        ("defaults: [a]", "2:11: defaults must be a mapping such as {status: ACTIVE, owner: sales}"),
        ("defaults: {status: maybe}", "2:20: status must be ACTIVE or INACTIVE, not 'maybe'"),
        ("defaults: {protected: 1}", "2:23: protected must be true or false, not '1'"),
        ("defaults: {note: ''}", "2:18: note is empty: give it a value or remove the line"),
        ("defaults: {schedule: x}", "2:22: unknown schedule 'x'; define it under schedules"),
        ("defaults: {schedule: {}}", "2:22: schedule must be a list of windows, or the name of a schedule: "),
        ("defaults: {until: 2026-12-01}", "2:12: unknown key 'until'; use one of status, note, owner, protected, sch"),
        ("schedules: []", "2:12: schedules must be a mapping of names to lists of windows"),
        ("schedules: {a: b}", "2:16: schedule must be a list of windows, or the name of a schedule: "),
        ("schedules: {none: x}", "2:13: a schedule needs a name, such as office-hours; none means no schedule"),
        ("schedules: {'': x}", "2:13: a schedule needs a name, such as office-hours; none means no schedule"),
        ("schedules: {[]: x}", "2:13: a schedule needs a name, such as office-hours; none means no schedule"),
        (f"schedules: {{{'x' * 65}: x}}", "2:13: the schedule name is longer than 64 characters: shorten it"),
        (f"schedules: {{a: {OFFICE}, a: {OFFICE}}}", "2:67: schedule 'a' is a duplicate of line 2: keep one"),
        (f"schedules: {{a: {CONTRADICTORY}}}", "2:62: the window overlaps the one on line 2"),
        (f"defaults: {{schedule: {CONTRADICTORY}}}", "2:68: the window overlaps the one on line 2"),
    ],
)
def test_problem_is_at_its_place_once(text: str, problem: str) -> None:
    """A file that a folder shares has the same rules. Numbers that use the defaults do not repeat the problem."""
    numbers = f"numbers: {{{A}: ACTIVE, {B}: ACTIVE}}\n"
    (in_document,) = _problems(f"{text}\n{numbers}")
    assert in_document.startswith(f"d/a.yaml:{problem}")
    (in_folder,) = _problems(numbers, f"{text}\n")
    assert in_folder.startswith(f"d/senderid.yaml:{problem}")


def test_schedule_with_problems_is_reported_once_for_all_its_users() -> None:
    text = (
        f"schedules: {{a: {CONTRADICTORY}}}\nnumbers: {{{A}: {{schedule: a}}, {B}: {{schedule: a, status: ACTIVE}}}}\n"
    )
    assert len(_problems(text)) == 1
    text = f"schedules: {{a: x}}\nnumbers: {{{A}: {{schedule: a}}}}\n"
    assert len(_problems(text)) == 1


def test_unknown_schedule_of_a_number_has_a_suggestion() -> None:
    (problem,) = _problems(f"schedules: {{office: {OFFICE}}}\nnumbers: {{{A}: {{schedule: offce}}}}\n")
    assert problem == "d/a.yaml:3:35: unknown schedule 'offce'; did you mean 'office'?"


def test_schedule_of_document_and_folder_need_different_names() -> None:
    (problem,) = _problems(
        f"schedules: {{a: {OFFICE}}}\nnumbers: {{}}\n", f"defaults: {{}}\nschedules:\n  a: {OFFICE}\n"
    )
    assert problem == "d/a.yaml:2:13: schedule 'a' is a duplicate of d/senderid.yaml:4: rename one of them"


@pytest.mark.parametrize("key", ["defaults: {owner: x}", f"schedules: {{a: {OFFICE}}}"])
def test_defaults_come_before_the_numbers(key: str) -> None:
    (problem,) = _problems(f"numbers: {{{A}: ACTIVE}}\n{key}\n")
    assert problem == f"d/a.yaml:3:1: {key.partition(':')[0]} must come before numbers: move it up"


@pytest.mark.parametrize("entry", ["", "{}", "{owner: x}", "{until: 2026-12-01}", "{schedule: none}"])
@pytest.mark.parametrize("defaults", ["{}", "{owner: x}"])
def test_status_is_missing_without_a_default(entry: str, defaults: str) -> None:
    (problem,) = _problems(f"defaults: {defaults}\nnumbers:\n  {A}: {entry}\n")
    assert "status" in problem


def test_list_of_digits_needs_a_default() -> None:
    (problem,) = _problems(f"defaults: {{owner: x}}\nnumbers: [{A}]\n")
    assert "an entry must be {phone: …, status: …}" in problem
    (problem,) = _problems("defaults: {status: ACTIVE}\nnumbers: [~]\n")
    assert "an entry must be" in problem


@pytest.mark.parametrize(
    ("shared", "problem"),
    [
        ("", "1:1: the file is empty: write version and defaults"),
        ("defaults: {}\n", "1:1: missing version: write `version: 1`"),
        ("version: 2\n", "1:10: version 2 needs a newer senderid"),
        ("version: 1\nnumbers: {}\n", f"2:1: {_DEFAULTS_ONLY}"),
        ("version: 1\naccount: main\nnumbers: {}\n", f"2:1: {_DEFAULTS_ONLY}"),
        ("version: 1\ntimezone: UTC\n", "2:1: unknown key 'timezone'; use one of version, defaults, schedules"),
        ("- version\n", "1:1: expected a mapping with version, and defaults or schedules"),
        ("version: 1\n---\nversion: 1\n", "2:1: a second document: senderid.yaml may contain only one"),
        ("version: [1\n", "2:1: invalid YAML: "),
        ("version: &a 1\n", "1:10: anchors"),
    ],
)
def test_invalid_shared_file_is_reported_once(shared: str, problem: str) -> None:
    sources = [(f"d/{phone}.yaml", f"version: 1\nnumbers: {{{phone}: ACTIVE}}\n".encode()) for phone in (A, B)]
    sources.append(("d/senderid.yaml", shared.encode()))
    with pytest.raises(DesiredStateError) as raised:
        load(sources, shared_files=_Shared(d=shared))
    (message,) = map(str, raised.value.problems)
    assert message.startswith(f"d/senderid.yaml:{problem}")
    for source in (sources[0], sources[-1]):
        with pytest.raises(DesiredStateError, match=r"senderid\.yaml"):
            parse_file(*source, _Shared(d=shared))


def test_unreadable_shared_file_is_a_problem_of_its_folder() -> None:
    problem = Problem("d/senderid.yaml", 1, 1, "cannot be read")
    sources = [("d/a.yaml", b"version: 1\nnumbers: {}\n"), ("d/b.yaml", b"version: 1\nnumbers: {}\n")]
    with pytest.raises(DesiredStateError) as raised:
        load(sources, shared_files=lambda _: problem)
    assert list(raised.value.problems) == [problem]


def test_shared_file_alone_is_not_an_account() -> None:
    with pytest.raises(DesiredStateError) as raised:
        load([("d/senderid.yaml", b"version: 1\n")])
    assert [str(problem) for problem in raised.value.problems] == [
        "d/senderid.yaml:1:1: no account: this file has only the defaults of its folder"
    ]
    assert parse_file("d/senderid.yaml", b"version: 1\n") == ()


def test_shared_file_is_read_from_the_folder_of_a_file(tmp_path: Path) -> None:
    """A shared file applies to its folder, not to folders below it. It is not a desired-state file."""
    (tmp_path / "below").mkdir()
    (tmp_path / "senderid.yaml").write_text("version: 1\ndefaults: {owner: x}\n")
    for name, phone in (("a.yaml", A), ("below/b.yaml", B)):
        (tmp_path / name).write_text(f"version: 1\nnumbers: {{{phone}: ACTIVE}}\n")
    shared_files = files.SharedFiles()
    for paths in ([str(tmp_path)], [str(tmp_path / "a.yaml"), str(tmp_path / "below" / "b.yaml")]):
        accounts = load(files.read(paths, lambda _: b""), shared_files=shared_files).accounts
        assert [account.numbers for account in accounts] == [{A: Desired(Status.ACTIVE, owner="x")}, {B: ON}]
    assert files.yaml_files(tmp_path) == [str(tmp_path / "a.yaml")]
    assert shared_files(files.STDIN) is None
    assert shared_files(str(tmp_path / "other.yaml")) == (
        str(tmp_path / "senderid.yaml"),
        b"version: 1\ndefaults: {owner: x}\n",
    )


def test_shared_file_that_is_a_folder_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "senderid.yaml").mkdir()
    shared_file = files.SharedFiles()(str(tmp_path / "a.yaml"))
    assert isinstance(shared_file, Problem)
    assert "Is a directory" in shared_file.message
