"""Accounts that are split over several documents: joining, refusals, and edits while a daemon runs."""

from hashlib import sha256

import pytest

from worker.config.desired import join, load, parse_file
from worker.daemon.last_good import LastGood
from worker.model.accounts import DesiredAccount, Group, SafetyOverride, SourceFile, Unmanaged
from worker.model.errors import DesiredStateError
from worker.model.ports import files, revision

A, B, C = "01000000001", "01000000002", "01000000003"
HEAD = "unmanaged: deactivate\n"


def document(*phones: str, keys: str = "", name: str | None = "main") -> str:
    """Return a document that lists numbers as ACTIVE."""
    name_line = "" if name is None else f"account: {name}\n"
    numbers = "".join(f"  {phone}: ACTIVE\n" for phone in phones) or "  {}\n"
    return f"version: 1\n{name_line}{keys}numbers:\n{numbers}"


def scheduled(phone: str, keys: str = "") -> str:
    """Return a document with one number that has a daily window."""
    window = '[{weekly: "daily 09:00-18:00", status: ACTIVE}]'
    return f"version: 1\naccount: main\n{keys}numbers:\n  {phone}: {{status: INACTIVE, schedule: {window}}}\n"


def load_account(*texts: str) -> DesiredAccount:
    """Return the account of files named a.yaml, b.yaml and so on."""
    (account,) = load((f"{chr(97 + index)}.yaml", text.encode()) for index, text in enumerate(texts)).accounts
    return account


def problems(*texts: str) -> list[str]:
    """Return the problems of the files."""
    with pytest.raises(DesiredStateError) as error:
        load((f"{chr(97 + index)}.yaml", text.encode()) for index, text in enumerate(texts))
    return list(map(str, error.value.problems))


def test_documents_with_the_same_written_name_are_joined() -> None:
    """Numbers have the order of the files and their own lines. The head has the keys of the account."""
    texts = [document(B), document(A, keys=f"{HEAD}safety: {{min_active: 2}}\n"), document(C)]
    account = load_account(*texts)
    assert (account.name, list(account.numbers), list(account.lines)) == ("main", [B, A, C], [4, 6, 4])
    assert (account.source, account.unmanaged) == ("b.yaml", Unmanaged.DEACTIVATE)
    assert account.safety == SafetyOverride(min_active=2)
    hashes = [sha256(text.encode()).hexdigest() for text in texts]
    assert account.sha256 == hashes[1]
    assert account.parts == (SourceFile("a.yaml", 1, hashes[0]), SourceFile("c.yaml", 1, hashes[2]))


def test_without_keys_the_first_document_is_the_head() -> None:
    """Documents of one file are joined too."""
    account = load_account(f"{document(A)}---\n{document(B)}", document(C))
    assert (account.source, account.line) == ("a.yaml", 1)
    assert [(part.source, part.line) for part in account.parts] == [("a.yaml", 6), ("b.yaml", 1)]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ((document(A), document(A)), "b.yaml:4:1: 01000000001 is a duplicate of a.yaml:4: keep one"),
        (
            (document(A, keys=HEAD), document(B, keys="groups: {}\nendpoint: solapi\n")),
            (
                "b.yaml:1:1: account 'main' is split, and only one of its documents may have account-level keys: move "
                "endpoint, groups to a.yaml:1, which has unmanaged"
            ),
        ),
        (
            (scheduled(A, "timezone: Europe/Berlin\n"), scheduled(B)),
            "b.yaml:1:1: timezone is missing here, and is Europe/Berlin at a.yaml:1: add `timezone: Europe/Berlin`",
        ),
        (
            (scheduled(A), scheduled(B, "timezone: Europe/Berlin\n")),
            (
                "b.yaml:1:1: timezone is Europe/Berlin here and Asia/Seoul at a.yaml:1: write the same in all "
                "documents of the account"
            ),
        ),
        (
            (document(A, keys=f"groups: {{g: {{members: [{A}, {C}]}}}}\n"), document(B)),
            (
                f"a.yaml:3:37: {C} is not in the files of this run: give all files of account 'main', for "
                "example with -f FOLDER; or list it, or remove it from the group"
            ),
        ),
    ],
)
def test_inconsistent_documents_of_an_account_are_refused(texts: tuple[str, ...], message: str) -> None:
    """The message names both locations."""
    assert problems(*texts) == [message]


@pytest.mark.parametrize("zone", ["", "timezone: Europe/Berlin\n"])
def test_document_without_schedules_inherits_the_time_zone(zone: str) -> None:
    account = load_account(scheduled(A, zone), document(B))
    assert (account.timezone == "Europe/Berlin") is bool(zone)
    assert list(account.schedules) == [A]


def test_schedules_of_all_documents_are_joined() -> None:
    account = load_account(*(scheduled(phone, "timezone: Europe/Berlin\n") for phone in (A, B)))
    assert {schedule.timezone for schedule in account.schedules.values()} == {"Europe/Berlin"}
    assert list(account.schedules) == [A, B]


def test_first_entry_of_a_duplicate_number_is_used() -> None:
    """A refused account can still be described, with one line for each number."""
    accounts = join([*parse_file("a.yaml", document(A).encode()), *parse_file("b.yaml", document(B, A).encode())])
    assert [(list(account.numbers), list(account.lines)) for account in accounts] == [([A, B], [4, 4])]


def test_group_members_may_be_in_any_document() -> None:
    account = load_account(document(A, keys=f"groups: {{g: {{members: [{A}, {B}]}}}}\n"), document(B))
    assert account.groups == (Group("g", (A, B)),)


def test_document_named_by_its_file_is_not_joined() -> None:
    start = "main.yaml:1:1: account 'main' is also described at a.yaml:1: if one account is split across files, "
    with pytest.raises(DesiredStateError) as error:
        load([("a.yaml", document(A).encode()), ("main.yaml", document(B, name=None).encode())])
    assert [str(problem).startswith(start) for problem in error.value.problems] == [True]


def test_files_and_revision_of_a_split_account() -> None:
    """The revision hashes the hashes of all files."""
    account = load_account(f"{document(A)}---\n{document(B)}", document(C))
    assert [file.source for file in files(account)] == ["a.yaml", "b.yaml"]
    all_files = revision(account)
    assert (all_files.source, all_files.commit) == ("a.yaml, b.yaml", None)
    assert all_files.sha256 == sha256("".join(file.sha256 or "" for file in files(account)).encode()).hexdigest()
    single = load_account(document(A))
    assert revision(single) == SourceFile("a.yaml", 1, single.sha256)


@pytest.mark.parametrize(
    ("commits", "expected"),
    [
        (("c1", "c1"), "c1"),
        (("c1", "c1-dirty"), "c1-dirty"),
        (("c1-dirty", None), "c1-dirty"),
        (("c1", "c2"), None),
        (("c1", None), None),
        ((None, None), None),
    ],
)
def test_commit_is_set_only_if_all_files_have_the_same(
    commits: tuple[str | None, str | None], expected: str | None
) -> None:
    """A dirty commit takes precedence."""
    account = DesiredAccount("m", "a.yaml", {}, (), commit=commits[0], parts=(SourceFile("b.yaml", commit=commits[1]),))
    assert revision(account) == SourceFile("a.yaml, b.yaml", 1, sha256(b"").hexdigest(), expected)


def start_state(**texts: str) -> LastGood:
    """Return the files of a daemon that started."""
    state = LastGood()
    state.load((f"{name}.yaml", text.encode()) for name, text in texts.items())
    return state


def phones(state: LastGood) -> dict[str, list[str]]:
    """Return the numbers of each account."""
    return {account.name: list(account.numbers) for account in state.accounts}


def test_changed_part_changes_only_its_account() -> None:
    """Without a change, the account is the same object."""
    state = start_state(a=document(A, keys=HEAD), b=document(B), c=document(C, name="other"))
    original = state.accounts
    assert not state.take([("a.yaml", None), ("b.yaml", None), ("c.yaml", None)]).changed_accounts
    assert all(old is new for old, new in zip(original, state.accounts, strict=True))
    changes = state.take([("a.yaml", None), ("b.yaml", document(B, "01000000009").encode()), ("c.yaml", None)])
    assert changes.changed_accounts == {"main"}
    assert phones(state) == {"main": [A, B, "01000000009"], "other": [C]}


def test_invalid_part_keeps_its_last_valid_version() -> None:
    state = start_state(a=document(A), b=document(B))
    assert list(state.take([("a.yaml", document(A, C).encode()), ("b.yaml", b"version: 2\n")]).problems) == ["b.yaml"]
    assert phones(state) == {"main": [A, C, B]}


def test_deleted_part_removes_its_numbers() -> None:
    state = start_state(a=document(A, keys=HEAD), b=document(B))
    changes = state.take([("a.yaml", None)])
    assert (changes.removed_files, set(changes.changed_accounts), changes.problems) == (("b.yaml",), {"main"}, {})
    assert phones(state) == {"main": [A]}


def test_number_removed_from_a_part_stays_while_another_part_is_invalid() -> None:
    """With `unmanaged: deactivate`, the invalid part may list the number now."""
    state = start_state(a=document(A, keys=HEAD), b=document(B, C))
    changes = state.take([("a.yaml", f"{document(A, C, keys=HEAD)}x: y\n".encode()), ("b.yaml", document(B).encode())])
    assert set(changes.problems) == {"a.yaml", "b.yaml"}
    assert (
        str(changes.problems["b.yaml"])
        == "b.yaml:1:1: account 'main' keeps 01000000003 until these files are valid: a.yaml"
    )
    assert phones(state) == {"main": [A, B, C]}
    changes = state.take([("a.yaml", document(A, C, keys=HEAD).encode()), ("b.yaml", None)])
    assert set(changes.fixed_files) == {"a.yaml", "b.yaml"}
    assert phones(state) == {"main": [A, C, B]}


def test_part_renamed_and_invalid_keeps_its_numbers() -> None:
    """The deleted file stays in effect until the new one is valid."""
    state = start_state(a=document(A, keys=HEAD), b=document(B))
    changes = state.take([("a.yaml", None), ("c.yaml", b"version: 2\n")])
    assert (set(changes.problems), changes.removed_files) == ({"b.yaml", "c.yaml"}, ())
    assert phones(state) == {"main": [A, B]}
    assert not state.take([("a.yaml", None), ("c.yaml", None)]).problems
    changes = state.take([("a.yaml", None), ("c.yaml", document(B).encode())])
    assert (changes.removed_files, changes.fixed_files, changes.problems) == (("b.yaml",), ("c.yaml",), {})
    assert phones(state) == {"main": [A, B]}


def test_restored_file_is_read_again() -> None:
    """This includes a file with identical bytes."""
    state = start_state(a=document(A, keys=HEAD), b=document(B))
    state.take([("a.yaml", None), ("c.yaml", b"version: 2\n")])
    changes = state.take([("a.yaml", None), ("b.yaml", document(B).encode())])
    assert (set(changes.fixed_files), state.broken) == ({"b.yaml"}, {})


def test_invalid_file_of_another_account_does_not_delay_removals() -> None:
    state = start_state(a=document(A, B, keys=HEAD), x=document(C, name="other"))
    state.take([("a.yaml", document(A, keys=HEAD).encode()), ("x.yaml", b"version: 2\n")])
    assert phones(state) == {"main": [A], "other": [C]}
    state = start_state(a=document(A, B))
    state.take([("a.yaml", document(A).encode()), ("new.yaml", b"version: 2\n")])
    assert phones(state) == {"main": [A]}


def test_deleted_head_stays_in_effect_while_parts_exist() -> None:
    """Without its head the account would use other credentials."""
    state = start_state(a=document(A, keys='account_id: "1"\n'), b=document(B))
    changes = state.take([("b.yaml", None)])
    assert str(changes.problems["a.yaml"]) == (
        "a.yaml:1:1: the file was deleted, and with it account_id of account 'main', which b.yaml:1 still describes: "
        "add the keys there, or delete that document too"
    )
    assert [(account.account_id, list(account.numbers)) for account in state.accounts] == [("1", [B, A])]
    assert state.take([]).removed_accounts == {"main"}


def test_deleted_part_stays_in_effect_while_a_group_names_its_number() -> None:
    state = start_state(a=document(A, keys=f"groups: {{g: {{members: [{A}, {B}]}}}}\n"), b=document(B))
    assert list(state.take([("a.yaml", None)]).problems) == ["b.yaml"]
    assert phones(state) == {"main": [A, B]}
    changes = state.take([("a.yaml", document(A).encode())])
    assert (changes.removed_files, changes.problems) == (("b.yaml",), {})
    assert phones(state) == {"main": [A]}


def test_part_that_removes_a_group_member_is_invalid() -> None:
    """The changed part is invalid although the problem is at a line of the head."""
    state = start_state(a=document(A, keys=f"groups: {{g: {{members: [{A}, {B}]}}}}\n"), b=document(B, C))
    changes = state.take([("a.yaml", None), ("b.yaml", document(C).encode())])
    assert list(changes.problems) == ["b.yaml"]
    assert str(changes.problems["b.yaml"]).startswith(f"a.yaml:3:37: {B} is not in the files")
    assert phones(state) == {"main": [A, B, C]}


def test_new_part_with_a_duplicate_number_is_invalid() -> None:
    """The existing part stays in effect."""
    state = start_state(b=document(B))
    changes = state.take([("a.yaml", document(B).encode()), ("b.yaml", None)])
    assert list(changes.problems) == ["a.yaml"]
    assert phones(state) == {"main": [B]}
