"""Accounts that are split over several documents: what is joined, what is refused, and what a daemon makes of edits."""

from hashlib import sha256

import pytest

from worker.config.desired import join, load, parse_file
from worker.daemon.last_good import LastGood
from worker.model.accounts import DesiredAccount, Group, SafetyOverride, SourceFile, Unmanaged
from worker.model.errors import DesiredStateError
from worker.model.ports import files, revision

A, B, C = "01000000001", "01000000002", "01000000003"
HEAD = "unmanaged: deactivate\n"


def document(*phones: str, more: str = "", name: str | None = "main") -> str:
    """A document that lists numbers as ACTIVE."""
    named = "" if name is None else f"account: {name}\n"
    numbers = "".join(f"  {phone}: ACTIVE\n" for phone in phones) or "  {}\n"
    return f"version: 1\n{named}{more}numbers:\n{numbers}"


def scheduled(phone: str, more: str = "") -> str:
    """A document with one number that is ACTIVE in some hours."""
    window = '[{weekly: "daily 09:00-18:00", status: ACTIVE}]'
    return f"version: 1\naccount: main\n{more}numbers:\n  {phone}: {{status: INACTIVE, schedule: {window}}}\n"


def joined(*texts: str) -> DesiredAccount:
    """The account of some files, named a.yaml, b.yaml and so on."""
    (account,) = load((f"{chr(97 + index)}.yaml", text.encode()) for index, text in enumerate(texts)).accounts
    return account


def problems(*texts: str) -> list[str]:
    """What is wrong with the files."""
    with pytest.raises(DesiredStateError) as caught:
        load((f"{chr(97 + index)}.yaml", text.encode()) for index, text in enumerate(texts))
    return list(map(str, caught.value.problems))


def test_documents_of_one_written_name_are_one_account() -> None:
    """Numbers come in the order of the files, each with its own line, and the keys of the account from its head."""
    texts = [document(B), document(A, more=f"{HEAD}safety: {{min_active: 2}}\n"), document(C)]
    account = joined(*texts)
    assert (account.name, list(account.numbers), list(account.lines)) == ("main", [B, A, C], [4, 6, 4])
    assert (account.source, account.unmanaged) == ("b.yaml", Unmanaged.DEACTIVATE)
    assert account.safety == SafetyOverride(min_active=2)
    hashes = [sha256(text.encode()).hexdigest() for text in texts]
    assert account.sha256 == hashes[1]
    assert account.parts == (SourceFile("a.yaml", 1, hashes[0]), SourceFile("c.yaml", 1, hashes[2]))


def test_without_keys_the_first_document_is_the_head() -> None:
    """A split account needs no account-level key; documents of one file count alike."""
    account = joined(f"{document(A)}---\n{document(B)}", document(C))
    assert (account.source, account.line) == ("a.yaml", 1)
    assert [(part.source, part.line) for part in account.parts] == [("a.yaml", 6), ("b.yaml", 1)]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ((document(A), document(A)), "b.yaml:4:1: 01000000001 is a duplicate of a.yaml:4: keep one"),
        (
            (document(A, more=HEAD), document(B, more="groups: {}\nendpoint: solapi\n")),
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
            (document(A, more=f"groups: {{g: {{members: [{A}, {C}]}}}}\n"), document(B)),
            (
                f"a.yaml:3:37: {C} is not in the files of this run: give all files of account 'main', for "
                "example with -f FOLDER; or list it, or remove it from the group"
            ),
        ),
    ],
)
def test_what_documents_of_an_account_must_agree_on(texts: tuple[str, ...], message: str) -> None:
    """Each number once, one head, one time zone, and groups of listed numbers; both places are named."""
    assert problems(*texts) == [message]


@pytest.mark.parametrize("zone", ["", "timezone: Europe/Berlin\n"])
def test_a_document_without_schedules_takes_the_heads_time_zone(zone: str) -> None:
    """The zone is about times: a document without any need not repeat it."""
    account = joined(scheduled(A, zone), document(B))
    assert (account.timezone == "Europe/Berlin") is bool(zone)
    assert list(account.schedules) == [A]


def test_documents_of_one_time_zone_keep_all_schedules() -> None:
    """Schedules of all documents are the account's, by the clock that both write."""
    account = joined(*(scheduled(phone, "timezone: Europe/Berlin\n") for phone in (A, B)))
    assert {schedule.timezone for schedule in account.schedules.values()} == {"Europe/Berlin"}
    assert list(account.schedules) == [A, B]


def test_of_a_number_in_two_documents_the_first_counts() -> None:
    """What is refused is still an account of which something can be said, with a line for each number."""
    found = join([*parse_file("a.yaml", document(A).encode()), *parse_file("b.yaml", document(B, A).encode())])
    assert [(list(account.numbers), list(account.lines)) for account in found] == [([A, B], [4, 4])]


def test_groups_may_have_numbers_of_any_document() -> None:
    """A member is listed if any document of the account lists it."""
    account = joined(document(A, more=f"groups: {{g: {{members: [{A}, {B}]}}}}\n"), document(B))
    assert account.groups == (Group("g", (A, B)),)


def test_a_name_of_a_file_is_not_on_purpose() -> None:
    """Documents are one account only if each of them writes the name."""
    start = "main.yaml:1:1: account 'main' is also described at a.yaml:1: write the same `account:` in both if they "
    with pytest.raises(DesiredStateError) as caught:
        load([("a.yaml", document(A).encode()), ("main.yaml", document(B, name=None).encode())])
    assert [str(problem).startswith(start) for problem in caught.value.problems] == [True]


def test_files_and_revision_of_a_split_account() -> None:
    """Each file is named once; the hash is over all hashes, a dirty commit wins, and different ones are none."""
    account = joined(f"{document(A)}---\n{document(B)}", document(C))
    assert [file.source for file in files(account)] == ["a.yaml", "b.yaml"]
    found = revision(account)
    assert (found.source, found.commit) == ("a.yaml, b.yaml", None)
    assert found.sha256 == sha256("".join(file.sha256 or "" for file in files(account)).encode()).hexdigest()
    alone = joined(document(A))
    assert revision(alone) == SourceFile("a.yaml", 1, alone.sha256)


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
def test_commit_of_a_split_account(commits: tuple[str | None, str | None], expected: str | None) -> None:
    """It says that all files are of one commit, or that one is not as in its commit."""
    account = DesiredAccount("m", "a.yaml", {}, (), commit=commits[0], parts=(SourceFile("b.yaml", commit=commits[1]),))
    assert revision(account).commit == expected


def begun(**texts: str) -> LastGood:
    """A daemon's files."""
    state = LastGood()
    state.begin((f"{name}.yaml", text.encode()) for name, text in texts.items())
    return state


def phones(state: LastGood) -> dict[str, list[str]]:
    """The numbers of each account."""
    return {account.name: list(account.numbers) for account in state.accounts}


def test_a_part_that_changes_changes_the_account_alone() -> None:
    """An edit of one part makes a new account of all parts; without one the account is the same object."""
    state = begun(a=document(A, more=HEAD), b=document(B), c=document(C, name="other"))
    before = state.accounts
    assert not state.take([("a.yaml", None), ("b.yaml", None), ("c.yaml", None)]).changed_accounts
    assert all(one is other for one, other in zip(before, state.accounts, strict=True))
    news = state.take([("a.yaml", None), ("b.yaml", document(B, "01000000009").encode()), ("c.yaml", None)])
    assert news.changed_accounts == {"main"}
    assert phones(state) == {"main": [A, B, "01000000009"], "other": [C]}


def test_a_broken_part_counts_as_it_was() -> None:
    """Its numbers stay, and other parts may change meanwhile."""
    state = begun(a=document(A), b=document(B))
    assert list(state.take([("a.yaml", document(A, C).encode()), ("b.yaml", b"version: 2\n")]).problems) == ["b.yaml"]
    assert phones(state) == {"main": [A, C, B]}


def test_a_part_that_goes_takes_its_numbers_along() -> None:
    """As if its lines were deleted."""
    state = begun(a=document(A, more=HEAD), b=document(B))
    news = state.take([("a.yaml", None)])
    assert (news.removed_files, set(news.changed_accounts), news.problems) == (("b.yaml",), {"main"}, {})
    assert phones(state) == {"main": [A]}


def test_a_number_on_its_way_to_a_broken_part_is_not_let_go() -> None:
    """Where unlisted numbers are deactivated, a part lists what it did until the part that may list it now is right."""
    state = begun(a=document(A, more=HEAD), b=document(B, C))
    news = state.take([("a.yaml", f"{document(A, C, more=HEAD)}x: y\n".encode()), ("b.yaml", document(B).encode())])
    assert set(news.problems) == {"a.yaml", "b.yaml"}
    assert (
        str(news.problems["b.yaml"])
        == "b.yaml:1:1: account 'main' keeps 01000000003 until these files are valid: a.yaml"
    )
    assert phones(state) == {"main": [A, B, C]}
    news = state.take([("a.yaml", document(A, C, more=HEAD).encode()), ("b.yaml", None)])
    assert set(news.fixed_files) == {"a.yaml", "b.yaml"}
    assert phones(state) == {"main": [A, C, B]}


def test_a_part_that_is_renamed_and_broken_keeps_its_numbers() -> None:
    """A file that was never right may be any account's; the file that went counts until it is right, and once."""
    state = begun(a=document(A, more=HEAD), b=document(B))
    news = state.take([("a.yaml", None), ("c.yaml", b"version: 2\n")])
    assert (set(news.problems), news.removed_files) == ({"b.yaml", "c.yaml"}, ())
    assert phones(state) == {"main": [A, B]}
    assert not state.take([("a.yaml", None), ("c.yaml", None)]).problems
    news = state.take([("a.yaml", None), ("c.yaml", document(B).encode())])
    assert (news.removed_files, news.fixed_files, news.problems) == (("b.yaml",), ("c.yaml",), {})
    assert phones(state) == {"main": [A, B]}


def test_a_renamed_file_that_comes_back_is_right_again() -> None:
    """A file that counted although it was gone is read anew, also with the same bytes."""
    state = begun(a=document(A, more=HEAD), b=document(B))
    state.take([("a.yaml", None), ("c.yaml", b"version: 2\n")])
    news = state.take([("a.yaml", None), ("b.yaml", document(B).encode())])
    assert (set(news.fixed_files), state.broken) == ({"b.yaml"}, {})


def test_deleted_lines_do_not_wait_for_files_of_other_accounts() -> None:
    """A broken file of another account keeps nothing back, and neither does any without `deactivate`."""
    state = begun(a=document(A, B, more=HEAD), x=document(C, name="other"))
    state.take([("a.yaml", document(A, more=HEAD).encode()), ("x.yaml", b"version: 2\n")])
    assert phones(state) == {"main": [A], "other": [C]}
    state = begun(a=document(A, B))
    state.take([("a.yaml", document(A).encode()), ("new.yaml", b"version: 2\n")])
    assert phones(state) == {"main": [A]}


def test_keys_of_an_account_do_not_go_away_alone() -> None:
    """Without its head an account would be reached with other credentials: the head counts until the parts go too."""
    state = begun(a=document(A, more='account_id: "1"\n'), b=document(B))
    news = state.take([("b.yaml", None)])
    assert str(news.problems["a.yaml"]) == (
        "a.yaml:1:1: the file was deleted, and with it account_id of account 'main', which b.yaml:1 still describes: "
        "add the keys there, or delete that document too"
    )
    assert [(account.account_id, list(account.numbers)) for account in state.accounts] == [("1", [B, A])]
    assert state.take([]).removed_accounts == {"main"}


def test_a_group_keeps_a_part_that_goes() -> None:
    """A number that a group still names stays listed although its file is gone: the file that names it is not wrong."""
    state = begun(a=document(A, more=f"groups: {{g: {{members: [{A}, {B}]}}}}\n"), b=document(B))
    assert list(state.take([("a.yaml", None)]).problems) == ["b.yaml"]
    assert phones(state) == {"main": [A, B]}
    news = state.take([("a.yaml", document(A).encode())])
    assert (news.removed_files, news.problems) == (("b.yaml",), {})
    assert phones(state) == {"main": [A]}


def test_a_part_cannot_drop_what_the_head_groups() -> None:
    """The part that changed is the one that is broken, although the problem is at the head's line."""
    state = begun(a=document(A, more=f"groups: {{g: {{members: [{A}, {B}]}}}}\n"), b=document(B, C))
    news = state.take([("a.yaml", None), ("b.yaml", document(C).encode())])
    assert list(news.problems) == ["b.yaml"]
    assert str(news.problems["b.yaml"]).startswith(f"a.yaml:3:37: {B} is not in the files")
    assert phones(state) == {"main": [A, B, C]}


def test_a_part_that_comes_and_clashes_is_broken() -> None:
    """The newcomer lists a number that another part has: what was there first stays."""
    state = begun(b=document(B))
    news = state.take([("a.yaml", document(B).encode()), ("b.yaml", None)])
    assert list(news.problems) == ["a.yaml"]
    assert phones(state) == {"main": [B]}
