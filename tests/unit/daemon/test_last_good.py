"""Desired state that outlives broken files, and files that stop to agree."""

import pytest

from worker.daemon.last_good import FileChanges, LastGood
from worker.model.errors import DesiredStateError, Problem

A, B = "01000000001", "01000000002"


def _file(*active: str, more: str = "") -> bytes:
    numbers = "".join(f"  {phone}: ACTIVE\n" for phone in active) or "  {}\n"
    return f"version: 1\n{more}numbers:\n{numbers}".encode()


def _begun(**files: bytes) -> LastGood:
    state = LastGood()
    assert state.begin([(f"{name}.yaml", data) for name, data in files.items()]) == ()
    return state


def _phones(state: LastGood) -> dict[str, list[str]]:
    return {account.name: list(account.numbers) for account in state.accounts}


def test_first_read_is_strict() -> None:
    """Any mistake at the start is an error with all problems, as for any command."""
    with pytest.raises(DesiredStateError) as caught:
        LastGood().begin([("a.yaml", b"version: 1\n"), Problem("b.yaml", 1, 1, "cannot be read")])
    assert len(caught.value.problems) == 2


def test_nothing_new_is_no_news() -> None:
    """Files that are as they were, by their times or by their bytes, bring nothing, and accounts stay as they are."""
    state = _begun(a=_file(A), b=_file(B))
    before = state.accounts
    assert state.take([("a.yaml", None), ("b.yaml", _file(B))]) == FileChanges()
    assert all(one is other for one, other in zip(before, state.accounts, strict=True))


def test_a_changed_file_changes_its_accounts_only() -> None:
    """Another text is read; who is in other files is not said to have changed."""
    state = _begun(a=_file(A), b=_file(B))
    news = state.take([("a.yaml", _file("0212345678")), ("b.yaml", None)])
    assert news == FileChanges(changed_accounts=frozenset({"a"}))
    assert _phones(state) == {"a": ["0212345678"], "b": [B]}


def test_broken_file_keeps_its_last_valid_version() -> None:
    """Each broken text is reported once, the accounts stay, and the fixed file counts."""
    state = _begun(a=_file(A), b=_file(B))
    broken = b"version: 1\nnumbers:\n  01000000001: XACTIVE\n"
    news = state.take([("a.yaml", broken), ("b.yaml", None)])
    assert list(news.problems) == ["a.yaml"]
    assert news.changed_accounts == frozenset()
    assert _phones(state) == {"a": [A], "b": [B]}
    assert state.take([("a.yaml", None), ("b.yaml", None)]) == FileChanges()
    assert list(state.broken) == ["a.yaml"]
    assert list(state.take([("a.yaml", broken + b"  1: x\n"), ("b.yaml", None)]).problems) == ["a.yaml"]
    news = state.take([("a.yaml", _file(A, more="unmanaged: ignore\n")), ("b.yaml", None)])
    assert news == FileChanges(fixed_files=("a.yaml",), changed_accounts=frozenset({"a"}))
    assert state.broken == {}


def test_broken_file_that_is_reverted_is_fixed() -> None:
    """The old text is valid again, which is reported."""
    state = _begun(a=_file(A))
    assert state.take([("a.yaml", b"version: 2\n")]).problems
    assert state.take([("a.yaml", _file(A))]).fixed_files == ("a.yaml",)
    assert _phones(state) == {"a": [A]}


def test_broken_file_that_is_deleted_is_removed_and_not_fixed() -> None:
    """It is reported once, by the change that happened; no trace of it stays."""
    state = _begun(a=_file(A), b=_file(B))
    assert state.take([("a.yaml", b"version: 2\n"), ("b.yaml", None)]).problems
    assert state.take([("b.yaml", None)]) == FileChanges(removed_files=("a.yaml",), removed_accounts=frozenset({"a"}))
    assert (state.broken, _phones(state)) == ({}, {"b": [B]})
    assert state.take([("b.yaml", None)]) == FileChanges()


def test_a_file_that_cannot_be_read_is_not_a_deleted_one() -> None:
    """A file without permission, and a folder behind which it may be, leave its accounts in the watch."""
    state = _begun(**{"d/a": _file(A), "d/b": _file(B)})
    news = state.take([Problem("d", 1, 1, "the folder cannot be read")])
    assert list(news.problems) == ["d"]
    assert news.removed_files == ()
    assert _phones(state) == {"d/a.yaml"[2:-5]: [A], "b": [B]}
    news = state.take([Problem("d/a.yaml", 1, 1, "cannot be read"), ("d/b.yaml", _file(B))])
    assert (list(news.problems), news.fixed_files, news.removed_files) == (["d/a.yaml"], ("d",), ())
    assert state.take([("d/a.yaml", _file(A)), ("d/b.yaml", None)]).fixed_files == ("d/a.yaml",)
    assert _phones(state) == {"a": [A], "b": [B]}


def test_a_deleted_file_takes_its_accounts_along_and_may_come_back() -> None:
    """Its accounts leave and are named; the same text later is new."""
    state = _begun(a=_file(A), b=_file(B))
    news = state.take([("a.yaml", None)])
    assert news == FileChanges(removed_files=("b.yaml",), removed_accounts=frozenset({"b"}))
    assert _phones(state) == {"a": [A]}
    assert state.take([("a.yaml", None), ("b.yaml", _file(B))]).changed_accounts == {"b"}


def test_of_files_that_stop_to_agree_the_newcomer_is_broken() -> None:
    """A number cannot be ACTIVE in two accounts: the file that changed is broken until it agrees again."""
    state = _begun(a=_file(A), z=_file(B))
    news = state.take([("a.yaml", _file(A, B)), ("z.yaml", None)])
    assert list(news.problems) == ["a.yaml"], "although a is listed before z, z was there first"
    assert "it can be ACTIVE in one account only" in str(news.problems["a.yaml"])
    assert _phones(state) == {"a": [A], "z": [B]}
    assert state.take([("a.yaml", None), ("z.yaml", None)]) == FileChanges()
    news = state.take([("a.yaml", None), ("z.yaml", _file("0212345678"))])
    assert news == FileChanges(fixed_files=("a.yaml",), changed_accounts=frozenset({"a", "z"}))
    assert _phones(state) == {"a": [A, B], "z": ["0212345678"]}


def test_a_number_that_moves_between_files_is_no_clash() -> None:
    """Two files that change together are judged together."""
    state = _begun(a=_file(A), b=_file(B))
    news = state.take([("a.yaml", _file(B)), ("b.yaml", _file(A))])
    assert news == FileChanges(changed_accounts=frozenset({"a", "b"}))


def test_where_one_half_of_a_move_is_broken_the_other_waits() -> None:
    """The file that would take a number which its last good owner still has is broken too, until both are right."""
    state = _begun(a=_file(A), b=_file(B))
    assert set(state.take([("a.yaml", b"version: 1\n"), ("b.yaml", _file(A, B))]).problems) == {"a.yaml", "b.yaml"}
    assert _phones(state) == {"a": [A], "b": [B]}
    news = state.take([("a.yaml", _file("0212345678")), ("b.yaml", None)])
    assert set(news.fixed_files) == {"a.yaml", "b.yaml"}
    assert _phones(state) == {"a": ["0212345678"], "b": [A, B]}


def test_two_new_files_of_one_account_name_leave_the_first() -> None:
    """Of two that came together the later one is broken, and has no accounts."""
    state = _begun(a=_file(A))
    twice = [("b.yaml", _file(B, more="account: x\n")), ("x.yaml", _file("0212345678"))]
    news = state.take([("a.yaml", None), *twice])
    assert list(news.problems) == ["x.yaml"]
    assert _phones(state) == {"a": [A], "x": [B]}


@pytest.mark.parametrize(
    ("folder", "name"),
    [("c", "c/a.yaml"), ("./c", "c/a.yaml"), (".", "a.yaml"), ("/x/./y", "/x/y/z/a.yaml"), ("c/", "c/a.yaml")],
)
def test_a_folder_that_cannot_be_read_hides_its_files_however_it_is_spelled(folder: str, name: str) -> None:
    """Their accounts stay as they were; files beside it are not concerned."""
    state = LastGood()
    state.begin([(name, _file(A, more="account: a\n")), ("other/b.yaml", _file(B))])
    news = state.take([Problem(folder, 1, 1, "has no *.yaml or *.yml files"), ("other/b.yaml", None)])
    assert (news.removed_files, news.removed_accounts) == ((), frozenset())
    assert _phones(state) == {"a": [A], "b": [B]}
