"""Last valid version of desired-state files that become invalid or conflict."""

import pytest

from worker.daemon.last_good import FileChanges, LastGood
from worker.model.errors import DesiredStateError, Problem

A, B = "01000000001", "01000000002"


def _file(*active: str, more: str = "") -> bytes:
    numbers = "".join(f"  {phone}: ACTIVE\n" for phone in active) or "  {}\n"
    return f"version: 1\n{more}numbers:\n{numbers}".encode()


def _start_state(**files: bytes) -> LastGood:
    state = LastGood()
    assert state.load([(f"{name}.yaml", data) for name, data in files.items()]) == ()
    return state


def _phones(state: LastGood) -> dict[str, list[str]]:
    return {account.name: list(account.numbers) for account in state.accounts}


def test_first_read_reports_all_problems() -> None:
    with pytest.raises(DesiredStateError) as error:
        LastGood().load([("a.yaml", b"version: 1\n"), Problem("b.yaml", 1, 1, "cannot be read")])
    assert len(error.value.problems) == 2


def test_unchanged_files_do_not_change_accounts() -> None:
    """Files count as unchanged by their times or their bytes."""
    state = _start_state(a=_file(A), b=_file(B))
    original = state.accounts
    assert state.take([("a.yaml", None), ("b.yaml", _file(B))]) == FileChanges()
    assert all(old is new for old, new in zip(original, state.accounts, strict=True))


def test_changed_file_changes_only_its_accounts() -> None:
    state = _start_state(a=_file(A), b=_file(B))
    changes = state.take([("a.yaml", _file("0212345678")), ("b.yaml", None)])
    assert changes == FileChanges(changed_accounts=frozenset({"a"}))
    assert _phones(state) == {"a": ["0212345678"], "b": [B]}


def test_invalid_file_keeps_its_last_valid_version() -> None:
    """Each invalid text is reported once."""
    state = _start_state(a=_file(A), b=_file(B))
    broken = b"version: 1\nnumbers:\n  01000000001: XACTIVE\n"
    changes = state.take([("a.yaml", broken), ("b.yaml", None)])
    assert list(changes.problems) == ["a.yaml"]
    assert changes.changed_accounts == frozenset()
    assert _phones(state) == {"a": [A], "b": [B]}
    assert state.take([("a.yaml", None), ("b.yaml", None)]) == FileChanges()
    assert list(state.broken) == ["a.yaml"]
    assert list(state.take([("a.yaml", broken + b"  1: x\n"), ("b.yaml", None)]).problems) == ["a.yaml"]
    changes = state.take([("a.yaml", _file(A, more="unmanaged: ignore\n")), ("b.yaml", None)])
    assert changes == FileChanges(fixed_files=("a.yaml",), changed_accounts=frozenset({"a"}))
    assert state.broken == {}


def test_invalid_file_that_is_reverted_is_fixed() -> None:
    state = _start_state(a=_file(A))
    assert state.take([("a.yaml", b"version: 2\n")]).problems
    assert state.take([("a.yaml", _file(A))]).fixed_files == ("a.yaml",)
    assert _phones(state) == {"a": [A]}


def test_deleted_invalid_file_is_reported_as_removed_and_not_as_fixed() -> None:
    state = _start_state(a=_file(A), b=_file(B))
    assert state.take([("a.yaml", b"version: 2\n"), ("b.yaml", None)]).problems
    assert state.take([("b.yaml", None)]) == FileChanges(removed_files=("a.yaml",), removed_accounts=frozenset({"a"}))
    assert (state.broken, _phones(state)) == ({}, {"b": [B]})
    assert state.take([("b.yaml", None)]) == FileChanges()


def test_unreadable_file_is_not_a_deleted_file() -> None:
    """An unreadable folder keeps the accounts of its files."""
    state = _start_state(**{"d/a": _file(A), "d/b": _file(B)})
    changes = state.take([Problem("d", 1, 1, "the folder cannot be read")])
    assert list(changes.problems) == ["d"]
    assert changes.removed_files == ()
    assert _phones(state) == {"d/a.yaml"[2:-5]: [A], "b": [B]}
    changes = state.take([Problem("d/a.yaml", 1, 1, "cannot be read"), ("d/b.yaml", _file(B))])
    assert (list(changes.problems), changes.fixed_files, changes.removed_files) == (["d/a.yaml"], ("d",), ())
    assert state.take([("d/a.yaml", _file(A)), ("d/b.yaml", None)]).fixed_files == ("d/a.yaml",)
    assert _phones(state) == {"a": [A], "b": [B]}


def test_deleted_file_removes_its_accounts_until_it_is_restored() -> None:
    state = _start_state(a=_file(A), b=_file(B))
    changes = state.take([("a.yaml", None)])
    assert changes == FileChanges(removed_files=("b.yaml",), removed_accounts=frozenset({"b"}))
    assert _phones(state) == {"a": [A]}
    assert state.take([("a.yaml", None), ("b.yaml", _file(B))]).changed_accounts == {"b"}


def test_changed_file_that_conflicts_with_another_is_invalid() -> None:
    """A number cannot be ACTIVE in two accounts. The file is valid again when the conflict ends."""
    state = _start_state(a=_file(A), z=_file(B))
    changes = state.take([("a.yaml", _file(A, B)), ("z.yaml", None)])
    assert list(changes.problems) == ["a.yaml"], "although a is listed before z, z was there first"
    assert "it can be ACTIVE in one account only" in str(changes.problems["a.yaml"])
    assert _phones(state) == {"a": [A], "z": [B]}
    assert state.take([("a.yaml", None), ("z.yaml", None)]) == FileChanges()
    changes = state.take([("a.yaml", None), ("z.yaml", _file("0212345678"))])
    assert changes == FileChanges(fixed_files=("a.yaml",), changed_accounts=frozenset({"a", "z"}))
    assert _phones(state) == {"a": [A, B], "z": ["0212345678"]}


def test_number_moved_between_files_is_not_a_conflict() -> None:
    state = _start_state(a=_file(A), b=_file(B))
    changes = state.take([("a.yaml", _file(B)), ("b.yaml", _file(A))])
    assert changes == FileChanges(changed_accounts=frozenset({"a", "b"}))


def test_move_between_files_takes_effect_when_both_are_valid() -> None:
    state = _start_state(a=_file(A), b=_file(B))
    assert set(state.take([("a.yaml", b"version: 1\n"), ("b.yaml", _file(A, B))]).problems) == {"a.yaml", "b.yaml"}
    assert _phones(state) == {"a": [A], "b": [B]}
    changes = state.take([("a.yaml", _file("0212345678")), ("b.yaml", None)])
    assert set(changes.fixed_files) == {"a.yaml", "b.yaml"}
    assert _phones(state) == {"a": ["0212345678"], "b": [A, B]}


def test_second_of_two_new_files_for_one_account_is_invalid() -> None:
    state = _start_state(a=_file(A))
    duplicates = [("b.yaml", _file(B, more="account: x\n")), ("x.yaml", _file("0212345678"))]
    changes = state.take([("a.yaml", None), *duplicates])
    assert list(changes.problems) == ["x.yaml"]
    assert _phones(state) == {"a": [A], "x": [B]}


@pytest.mark.parametrize(
    ("folder", "name"),
    [("c", "c/a.yaml"), ("./c", "c/a.yaml"), (".", "a.yaml"), ("/x/./y", "/x/y/z/a.yaml"), ("c/", "c/a.yaml")],
)
def test_unreadable_folder_keeps_its_accounts_in_any_spelling(folder: str, name: str) -> None:
    state = LastGood()
    state.load([(name, _file(A, more="account: a\n")), ("other/b.yaml", _file(B))])
    changes = state.take([Problem(folder, 1, 1, "has no *.yaml or *.yml files"), ("other/b.yaml", None)])
    assert (changes.removed_files, changes.removed_accounts) == ((), frozenset())
    assert _phones(state) == {"a": [A], "b": [B]}


def _with_shared(shared: dict[str, bytes]) -> LastGood:
    """Return two files of a folder whose shared file is `shared["d/senderid.yaml"]`."""
    state = LastGood(shared_files=lambda _: next(iter(shared.items()), None))
    state.load([("d/a.yaml", _file(A)), ("d/b.yaml", _file(B))])
    return state


def test_changed_shared_file_changes_the_files_of_its_folder() -> None:
    shared = {"d/senderid.yaml": b"version: 1\n"}
    state = _with_shared(shared)
    files = [("d/a.yaml", _file(A)), ("d/b.yaml", _file(B))]
    assert state.take(files) == FileChanges()
    shared["d/senderid.yaml"] = b"version: 1\ndefaults: {protected: true}\n"
    assert state.take(files) == FileChanges(changed_accounts=frozenset({"a", "b"}))
    assert {number.protected for account in state.accounts for number in account.numbers.values()} == {True}
    shared.clear()
    assert state.take(files) == FileChanges(changed_accounts=frozenset({"a", "b"}))
    assert {number.protected for account in state.accounts for number in account.numbers.values()} == {False}


def test_invalid_shared_file_keeps_the_last_valid_version() -> None:
    """A protected number stays protected."""
    shared = {"d/senderid.yaml": b"version: 1\ndefaults: {protected: true}\n"}
    state = _with_shared(shared)
    files = [("d/a.yaml", _file(A)), ("d/b.yaml", _file(B))]
    shared["d/senderid.yaml"] = b"version: 1\ndefaults: {protected: maybe}\n"
    changes = state.take(files)
    assert sorted(changes.problems) == ["d/a.yaml", "d/b.yaml"]
    assert {problem.source for error in changes.problems.values() for problem in error.problems} == {"d/senderid.yaml"}
    assert {number.protected for account in state.accounts for number in account.numbers.values()} == {True}
    shared["d/senderid.yaml"] = b"version: 1\ndefaults: {protected: true}\n"
    assert state.take(files).fixed_files == ("d/a.yaml", "d/b.yaml")
    assert state.broken == {}


def test_unreadable_shared_file_keeps_the_last_valid_version() -> None:
    shared_files: list[tuple[str, bytes] | Problem | None] = [("d/senderid.yaml", b"version: 1\n")]
    state = LastGood(shared_files=lambda _: shared_files[0])
    state.load([("d/a.yaml", _file(A))])
    shared_files[0] = Problem("d/senderid.yaml", 1, 1, "cannot be read")
    assert list(state.take([("d/a.yaml", _file(A))]).problems) == ["d/a.yaml"]
    assert _phones(state) == {"a": [A]}
