"""One account under two names, as far as it is known offline: pins, API keys, endpoints, and files left out."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from worker.cli.document_conflicts import DocumentChecks
from worker.config import files
from worker.config.desired import IdentityResolver, load, read_names
from worker.config.files import yaml_files_below
from worker.config.urls import platform_of
from worker.daemon.last_good import LastGood
from worker.model.errors import DesiredStateError


def reach(keys: Mapping[str, str] | None = None, endpoint: str = "solapi") -> IdentityResolver:
    """Where API keys are found by the names of variables and files."""
    found = keys or {}
    return IdentityResolver(endpoint, lambda reference: found.get(reference.env or reference.file or ""))


def document(name: str, key: str | None = None, more: str = "") -> str:
    """A document without numbers, whose API key is in a variable, or in a file if the name has a slash."""
    kind = "file" if key is not None and "/" in key else "env"
    where = (
        "" if key is None else f"credentials: {{api_key: {{{kind}: {key}}}, api_secret: {{env: {name.upper()}_S}}}}\n"
    )
    return f"version: 1\naccount: {name}\n{where}{more}numbers: {{}}\n"


def problems_of(*texts: str, keys: Mapping[str, str] | None = None, endpoint: str = "solapi") -> list[str]:
    """What is wrong with documents of one file."""
    try:
        load([("f.yaml", "---\n".join(texts).encode())], DocumentChecks(reach(keys, endpoint)))
    except DesiredStateError as error:
        return list(map(str, error.problems))
    return []


def pinned(number: str, more: str = "") -> str:
    """The lines of a pin."""
    return f'account_id: "{number}"\n{more}'


@pytest.mark.parametrize(
    ("first", "second", "keys"),
    [
        (document("a"), document("b"), None),
        (document("a"), document("b", "SOLAPI_API_KEY"), None),
        (document("a", "KEY"), document("b", "KEY"), None),
        (document("a", "/k/./key"), document("b", "/k/key"), None),
        (document("a", "ONE"), document("b", "TWO"), {"ONE": "NCS1", "TWO": "NCS1"}),
        (document("a"), document("b", "/k/key"), {"SOLAPI_API_KEY": "NCS1", "/k/key": "NCS1"}),
        (document("a", "K", "endpoint: solapi\n"), document("b", "K", "endpoint: coolsms-rest\n"), None),
        (document("a", "K"), document("b", "K", "endpoint: https://API.solapi.com:443/\n"), None),
        (document("a", "ONE", pinned("7")), document("b", "TWO", pinned("7")), None),
        (document("a", "ONE", pinned("7")), document("b", "ONE", pinned("8")), None),
    ],
)
def test_one_account_under_two_names_is_refused(first: str, second: str, keys: Mapping[str, str] | None) -> None:
    """By value, by reference where there is no value, and by pin; both places are named, and nothing of a key."""
    (message,) = problems_of(first, second, keys=keys)
    place = f"f.yaml:{first.count(chr(10)) + 2}:1: account 'b' "
    assert message.startswith(place)
    assert "'a' at f.yaml:1" in message
    assert "NCS1" not in message


@pytest.mark.parametrize(
    ("first", "second", "keys"),
    [
        (document("a", "ONE"), document("b", "TWO"), None),
        (document("a", "ONE"), document("b", "TWO"), {"ONE": "NCS1", "TWO": "NCS2"}),
        (document("a", "ONE"), document("b", "TWO"), {"ONE": "NCS1"}),
        (document("a", "K"), document("b", "K", "endpoint: https://sms.example\n"), None),
        (document("a", "A", pinned("7")), document("b", "B", pinned("7", "endpoint: https://sms.example\n")), None),
        (document("a", "A", pinned("7")), document("b", "B", pinned("8")), None),
    ],
)
def test_different_accounts_are_not_refused(first: str, second: str, keys: Mapping[str, str] | None) -> None:
    """Other keys, other pins, and the same ones on another platform."""
    assert problems_of(first, second, keys=keys) == []


def test_the_settings_endpoint_is_that_of_documents_without_one() -> None:
    """A document that names the platform of the settings is on the same one."""
    url = "https://sms.example"
    pair = document("a", "K"), document("b", "K", f"endpoint: {url}/\n")
    assert problems_of(*pair) == []
    assert len(problems_of(*pair, endpoint=url)) == 1


def test_the_advice_is_to_split_or_to_correct() -> None:
    """One account may be split; a key with two pins is a mistake."""
    (split,) = problems_of(document("a", "K"), document("b", "K"))
    assert "write the same `account:` in both documents" in split
    (wrong,) = problems_of(document("a", "K", pinned("7")), document("b", "K", pinned("8")))
    assert wrong.endswith(
        "account 'b' has the API key of 'a' at f.yaml:1, but another account_id: a key belongs to one account, so "
        "correct the credentials or the account_id of one of them"
    )


def test_parts_of_a_split_account_are_no_two_accounts() -> None:
    """Documents of one written name are one account with one key."""
    assert problems_of(document("a", "K"), document("a")) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("solapi", "vendor"),
        ("coolsms-rest", "vendor"),
        ("https://REST.coolsms.co.kr./", "vendor"),
        ("https://api.solapi.com:443", "vendor"),
        ("https://api.solapi.com:8443", "https://api.solapi.com:8443"),
        ("https://api.solapi.com/proxy", "https://api.solapi.com/proxy"),
        ("https://SMS.example/A/", "https://sms.example/A"),
        ("http://127.0.0.1:80", "http://127.0.0.1"),
        ("http://[::1]:8080/", "http://127.0.0.1:8080"),
        ("http://LOCALHOST:8080", "http://127.0.0.1:8080"),
        ("https://[2001:db8::1]:8080/", "https://[2001:db8::1]:8080"),
        ("nowhere", "nowhere"),
    ],
)
def test_one_platform_has_one_name(text: str, expected: str) -> None:
    """Letter case of hosts, default ports, trailing dots and slashes make no other platform; paths and ports do."""
    assert platform_of(text) == expected


def test_a_fresh_file_of_the_same_account_is_broken_in_a_daemon() -> None:
    """What was there first stays; once the newcomer has a key of its own it counts."""
    state = LastGood(DocumentChecks(reach({"X": "NCS1", "Y": "NCS1", "Z": "NCS2"})))
    state.begin([("z.yaml", document("z", "X").encode())])
    news = state.take([("a.yaml", document("a", "Y").encode()), ("z.yaml", None)])
    assert list(news.problems) == ["a.yaml"]
    assert [account.name for account in state.accounts] == ["z"]
    news = state.take([("a.yaml", document("a", "Z").encode()), ("z.yaml", None)])
    assert news.fixed_files == ("a.yaml",)
    assert [account.name for account in state.accounts] == ["a", "z"]


def test_keys_that_become_one_while_files_stay_break_no_file() -> None:
    """A secret is rotated to another account's: no file brought that, so each counts; the API's answer shows it."""
    keys = {"X": "NCS1", "Y": "NCS2", "Z": "NCS3"}
    state = LastGood(DocumentChecks(reach(keys)))
    state.begin([("x.yaml", document("x", "X").encode()), ("y.yaml", document("y", "Y").encode())])
    keys["Y"] = "NCS1"
    news = state.take([("x.yaml", None), ("y.yaml", None), ("z.yaml", document("z", "Z").encode())])
    assert news.changed_accounts == {"z"}
    assert not news.problems


def wrote(path: Path, text: str) -> str:
    """The name of a file with this in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def incomplete(*paths: str) -> list[str]:
    """What is wrong with a run of these files."""
    try:
        load([(path, Path(path).read_bytes()) for path in paths], DocumentChecks(reach()))
    except DesiredStateError as error:
        return [problem.message for problem in error.problems]
    return []


def test_a_file_left_out_that_lists_numbers_of_the_account(tmp_path: Path) -> None:
    """With `unmanaged: deactivate` they would be deactivated: the folder is asked for, and a run of both is fine."""
    head = wrote(tmp_path / "head.yaml", document("main", more="unmanaged: deactivate\n"))
    part = wrote(tmp_path / "part.yml", document("other", "K") + "---\n" + document("main"))
    (message,) = incomplete(head)
    assert message == (
        f"{part}:7 also describes account 'main' but is not part of this run, so its numbers would be deactivated "
        f"as unmanaged: give the folder, -f {tmp_path}"
    )
    assert incomplete(head, part) == []
    assert incomplete(f"{tmp_path}/./head.yaml", part) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("sub/main.yaml", "version: 1\nnumbers: {}\n"),
        ("sub/head.yaml", document("main", "K")),
        ("sub/.part.yaml", document("main")),
        (".part.yaml", document("main")),
        ("part.txt", document("main")),
        ("part.yaml", document("else")),
        ("main.yaml", "version: 1\nendpoint: solapi\n"),
        ("part.yaml", "version: 1\n- account: main\n"),
        ("part.yaml", "version: 1\n# account: main\nnumbers: {\n"),
        ("part.yaml", "version: 1\nnumbers: {}\n"),
    ],
)
def test_what_is_no_part_of_the_account_is_no_reason(tmp_path: Path, name: str, text: str) -> None:
    """Another account in a folder below, hidden files, other endings and names, and what is no desired state."""
    head = wrote(tmp_path / "head.yaml", document("main", more="unmanaged: deactivate\n"))
    wrote(tmp_path / name, text)
    assert incomplete(head) == []


@pytest.mark.parametrize(
    ("head", "part", "text"),
    [
        ("head.yaml", "sub/part.yaml", document("main")),
        ("sub/head.yaml", "part.yaml", document("main")),
        ("head.yaml", "main.yaml", "version: 1\nnumbers: {}\n"),
        ("head.yaml", "part.yaml", "version: 1\nnumbers: {\naccount: 'main' # x\n"),
    ],
)
def test_a_part_left_out_is_found_where_a_folder_would_bring_it(
    tmp_path: Path, head: str, part: str, text: str
) -> None:
    """In folders below and above, by the name of its file in the same folder, and if it is broken before its name."""
    (tmp_path / "d" / "sub").mkdir(parents=True)
    whole = wrote(tmp_path / "d" / head, document("main", more="unmanaged: deactivate\n"))
    wrote(tmp_path / "d" / part, text)
    (message,) = incomplete(whole)
    assert message.endswith(f"give the folder, -f {tmp_path / 'd'}")


def test_a_head_without_a_name_asks_for_the_parts_of_its_folder(tmp_path: Path) -> None:
    """A folder with both is refused; alone the head would deactivate the numbers of the part."""
    head = wrote(tmp_path / "main.yaml", "version: 1\nunmanaged: deactivate\nnumbers: {}\n")
    assert incomplete(head) == []
    wrote(tmp_path / "part.yaml", document("main"))
    assert len(incomplete(head)) == 1


def test_a_part_of_the_default_folder_is_found_anywhere_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders side by side belong together there, and not elsewhere; the working directory is not searched below."""
    monkeypatch.chdir(tmp_path)
    text = document("main", more="unmanaged: deactivate\n")
    for folder in ("config/desired", "d"):
        wrote(Path(folder, "x/head.yaml"), text)
        wrote(Path(folder, "y/part.yaml"), document("main"))
    (message,) = incomplete("config/desired/x/head.yaml")
    assert message.endswith("give the folder, -f config/desired")
    assert incomplete("d/x/head.yaml") == []
    assert incomplete(wrote(Path("head.yaml"), text)) == []


def test_a_folder_is_walked_once_for_all_accounts_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fleet has thousands of folders below the default one."""
    monkeypatch.chdir(tmp_path)
    more = "unmanaged: deactivate\n"
    paths = [
        wrote(Path(f"config/desired/{name}/f.yaml"), document(name, name.upper(), more)) for name in ("a", "b", "c")
    ]
    walked: list[Path] = []

    def walk(folder: Path) -> list[str]:
        walked.append(folder)
        return yaml_files_below(folder)

    monkeypatch.setattr(files, "yaml_files_below", walk)
    assert incomplete(*paths) == []
    assert walked == [Path("config/desired")]


def test_a_part_alone_is_refused_where_the_keys_are_elsewhere(tmp_path: Path) -> None:
    """Without its head the account would be reached with the default credentials; two plain files stay two."""
    part = wrote(tmp_path / "part.yaml", document("main"))
    other = wrote(tmp_path / "other.yaml", document("main"))
    assert incomplete(part) == []
    head = wrote(tmp_path / "head.yaml", document("main", "K"))
    assert incomplete(part) == [
        (
            f"the account-level keys of account 'main' are at {head}:2, which is not part of this run: "
            f"give the folder, -f {tmp_path}"
        )
    ]
    assert incomplete(head) == [], "nothing that it does not list is written"
    assert incomplete(head, part, other) == []


def test_names_of_documents_and_of_lines_after_what_is_not_yaml() -> None:
    """A file that is broken still says whose it is, in any line."""
    text = (
        document("a", "K")
        + "---\n- x\n---\n? [account]\n: b\n---\naccount: [c]\n"
        + "---\naccount: c\nendpoint: x\nnumbers: *x\n---\naccount: d\n"
    )
    assert [(each.name, each.line, each.head) for each in read_names("f.yaml", text.encode())] == [
        ("a", 2, True),
        ("c", 13, True),
        ("d", 17, True),
    ]
    assert read_names("f.yaml", b"\xff\xfe") == []


def test_a_reference_that_is_found_is_no_longer_a_reference() -> None:
    """A value never equals a reference of the same text."""
    assert problems_of(document("a", "ONE"), document("b", "TWO"), keys={"ONE": "TWO"}) == []
