"""Detection of one account under two names: pins, API keys, endpoints, and files outside of the run."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from worker.cli.document_conflicts import DocumentChecks
from worker.config import files
from worker.config.desired import IdentityResolver, load, read_names
from worker.config.desired.names import DocumentName
from worker.config.files import yaml_files_below
from worker.config.urls import platform_of
from worker.daemon.last_good import LastGood
from worker.model.errors import DesiredStateError


def identity_resolver(keys: Mapping[str, str] | None = None, endpoint: str = "solapi") -> IdentityResolver:
    """Return a resolver that finds API keys by the names of variables and files."""
    known_keys = keys or {}
    return IdentityResolver(endpoint, lambda reference: known_keys.get(reference.env or reference.file or ""))


def document(name: str, key: str | None = None, more: str = "") -> str:
    """Return a document without numbers. Its API key is in a variable, or in a file if *key* contains a slash."""
    kind = "file" if key is not None and "/" in key else "env"
    credentials = (
        "" if key is None else f"credentials: {{api_key: {{{kind}: {key}}}, api_secret: {{env: {name.upper()}_S}}}}\n"
    )
    return f"version: 1\naccount: {name}\n{credentials}{more}numbers: {{}}\n"


def problems_of(*texts: str, keys: Mapping[str, str] | None = None, endpoint: str = "solapi") -> list[str]:
    """Return the problems of documents of one file."""
    try:
        load([("f.yaml", "---\n".join(texts).encode())], DocumentChecks(identity_resolver(keys, endpoint)))
    except DesiredStateError as error:
        return list(map(str, error.problems))
    return []


def pin(number: str, more: str = "") -> str:
    """Return the lines of a pin."""
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
        (document("a", "ONE", pin("7")), document("b", "TWO", pin("7")), None),
        (document("a", "ONE", pin("7")), document("b", "ONE", pin("8")), None),
    ],
)
def test_one_account_under_two_names_is_refused(first: str, second: str, keys: Mapping[str, str] | None) -> None:
    """Keys are compared by value, or by reference if unresolved. Both locations are named; no key is."""
    (message,) = problems_of(first, second, keys=keys)
    location = f"f.yaml:{first.count(chr(10)) + 2}:1: account 'b' "
    assert message.startswith(location)
    assert "'a' at f.yaml:1" in message
    assert "NCS1" not in message


@pytest.mark.parametrize(
    ("first", "second", "keys"),
    [
        (document("a", "ONE"), document("b", "TWO"), None),
        (document("a", "ONE"), document("b", "TWO"), {"ONE": "NCS1", "TWO": "NCS2"}),
        (document("a", "ONE"), document("b", "TWO"), {"ONE": "NCS1"}),
        (document("a", "K"), document("b", "K", "endpoint: https://sms.example\n"), None),
        (document("a", "A", pin("7")), document("b", "B", pin("7", "endpoint: https://sms.example\n")), None),
        (document("a", "A", pin("7")), document("b", "B", pin("8")), None),
    ],
)
def test_different_accounts_are_not_refused(first: str, second: str, keys: Mapping[str, str] | None) -> None:
    assert problems_of(first, second, keys=keys) == []


def test_document_without_endpoint_uses_the_endpoint_of_the_settings() -> None:
    url = "https://sms.example"
    pair = document("a", "K"), document("b", "K", f"endpoint: {url}/\n")
    assert problems_of(*pair) == []
    assert len(problems_of(*pair, endpoint=url)) == 1


def test_advice_depends_on_the_pins() -> None:
    """An account may be split. One key with two pins is a mistake."""
    (without_pins,) = problems_of(document("a", "K"), document("b", "K"))
    assert "write the same `account:` in both documents" in without_pins
    (different_pins,) = problems_of(document("a", "K", pin("7")), document("b", "K", pin("8")))
    assert different_pins.endswith(
        "account 'b' has the API key of 'a' at f.yaml:1, but another account_id: a key belongs to one account, so "
        "correct the credentials or the account_id of one of them"
    )


def test_parts_of_a_split_account_are_one_account() -> None:
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
def test_equivalent_urls_are_one_platform(text: str, expected: str) -> None:
    """Case of the host, default ports, trailing dots and slashes do not matter. Paths and other ports do."""
    assert platform_of(text) == expected


def test_new_file_for_a_watched_account_is_invalid() -> None:
    """The existing file stays in effect. A key of its own makes the new file valid."""
    state = LastGood(DocumentChecks(identity_resolver({"X": "NCS1", "Y": "NCS1", "Z": "NCS2"})))
    state.load([("z.yaml", document("z", "X").encode())])
    changes = state.take([("a.yaml", document("a", "Y").encode()), ("z.yaml", None)])
    assert list(changes.problems) == ["a.yaml"]
    assert [account.name for account in state.accounts] == ["z"]
    changes = state.take([("a.yaml", document("a", "Z").encode()), ("z.yaml", None)])
    assert changes.fixed_files == ("a.yaml",)
    assert [account.name for account in state.accounts] == ["a", "z"]


def test_rotation_to_the_key_of_another_account_does_not_invalidate_files() -> None:
    """No file changed, so each stays valid. The API read detects the conflict."""
    keys = {"X": "NCS1", "Y": "NCS2", "Z": "NCS3"}
    state = LastGood(DocumentChecks(identity_resolver(keys)))
    state.load([("x.yaml", document("x", "X").encode()), ("y.yaml", document("y", "Y").encode())])
    keys["Y"] = "NCS1"
    changes = state.take([("x.yaml", None), ("y.yaml", None), ("z.yaml", document("z", "Z").encode())])
    assert changes.changed_accounts == {"z"}
    assert not changes.problems


def write_file(path: Path, text: str) -> str:
    """Write a file and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def completeness_problems(*paths: str) -> list[str]:
    """Return the messages for a run of these files."""
    try:
        load([(path, Path(path).read_bytes()) for path in paths], DocumentChecks(identity_resolver()))
    except DesiredStateError as error:
        return [problem.message for problem in error.problems]
    return []


def test_missing_part_is_refused_with_unmanaged_deactivate(tmp_path: Path) -> None:
    """The numbers of the missing part would be deactivated. A run of both files is valid."""
    head = write_file(tmp_path / "head.yaml", document("main", more="unmanaged: deactivate\n"))
    part = write_file(tmp_path / "part.yml", document("other", "K") + "---\n" + document("main"))
    (message,) = completeness_problems(head)
    assert message == (
        f"{part}:7 also describes account 'main' but is not part of this run, so its numbers would be deactivated "
        f"as unmanaged: give the folder, -f {tmp_path}"
    )
    assert completeness_problems(head, part) == []
    assert completeness_problems(f"{tmp_path}/./head.yaml", part) == []


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
def test_files_of_other_accounts_are_not_missing_parts(tmp_path: Path, name: str, text: str) -> None:
    head = write_file(tmp_path / "head.yaml", document("main", more="unmanaged: deactivate\n"))
    write_file(tmp_path / name, text)
    assert completeness_problems(head) == []


@pytest.mark.parametrize(
    ("head", "part", "text"),
    [
        ("head.yaml", "sub/part.yaml", document("main")),
        ("sub/head.yaml", "part.yaml", document("main")),
        ("head.yaml", "main.yaml", "version: 1\nnumbers: {}\n"),
        ("head.yaml", "part.yaml", "version: 1\nnumbers: {\naccount: 'main' # x\n"),
    ],
)
def test_missing_part_is_found_in_folders_below_and_above(tmp_path: Path, head: str, part: str, text: str) -> None:
    """An invalid file is found too if it has a name before the error."""
    (tmp_path / "d" / "sub").mkdir(parents=True)
    head_path = write_file(tmp_path / "d" / head, document("main", more="unmanaged: deactivate\n"))
    write_file(tmp_path / "d" / part, text)
    (message,) = completeness_problems(head_path)
    assert message.endswith(f"give the folder, -f {tmp_path / 'd'}")


def test_head_named_by_its_file_requires_parts_of_its_folder(tmp_path: Path) -> None:
    head = write_file(tmp_path / "main.yaml", "version: 1\nunmanaged: deactivate\nnumbers: {}\n")
    assert completeness_problems(head) == []
    write_file(tmp_path / "part.yaml", document("main"))
    assert len(completeness_problems(head)) == 1


def test_missing_part_is_found_anywhere_in_the_default_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sibling folders belong together only there. The working directory is not searched."""
    monkeypatch.chdir(tmp_path)
    text = document("main", more="unmanaged: deactivate\n")
    for folder in ("config/desired", "d"):
        write_file(Path(folder, "x/head.yaml"), text)
        write_file(Path(folder, "y/part.yaml"), document("main"))
    (message,) = completeness_problems("config/desired/x/head.yaml")
    assert message.endswith("give the folder, -f config/desired")
    assert completeness_problems("d/x/head.yaml") == []
    assert completeness_problems(write_file(Path("head.yaml"), text)) == []


def test_folder_is_walked_once_for_all_its_accounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fleet has thousands of folders in the default folder."""
    monkeypatch.chdir(tmp_path)
    keys = "unmanaged: deactivate\n"
    paths = [
        write_file(Path(f"config/desired/{name}/f.yaml"), document(name, name.upper(), keys))
        for name in ("a", "b", "c")
    ]
    folders: list[Path] = []

    def walk(folder: Path) -> list[str]:
        folders.append(folder)
        return yaml_files_below(folder)

    monkeypatch.setattr(files, "yaml_files_below", walk)
    assert completeness_problems(*paths) == []
    assert folders == [Path("config/desired")]


def test_part_without_its_head_is_refused(tmp_path: Path) -> None:
    """Without its head it would use the default credentials. Two documents without keys are not refused."""
    part = write_file(tmp_path / "part.yaml", document("main"))
    other_part = write_file(tmp_path / "other.yaml", document("main"))
    assert completeness_problems(part) == []
    head = write_file(tmp_path / "head.yaml", document("main", "K"))
    assert completeness_problems(part) == [
        (
            f"the account-level keys of account 'main' are at {head}:2, which is not part of this run: "
            f"give the folder, -f {tmp_path}"
        )
    ]
    assert completeness_problems(head) == [], "nothing that it does not list is written"
    assert completeness_problems(head, part, other_part) == []


def test_names_are_read_from_invalid_files() -> None:
    text = (
        document("a", "K")
        + "---\n- x\n---\n? [account]\n: b\n---\naccount: [c]\n"
        + "---\naccount: c\nendpoint: x\nnumbers: *x\n---\naccount: d\n"
    )
    assert [
        (document.name, document.line, document.has_account_keys) for document in read_names("f.yaml", text.encode())
    ] == [
        ("a", 2, True),
        ("c", 13, True),
        ("d", 17, True),
    ]
    assert read_names("f.yaml", b"\xff\xfe") == []


def test_document_with_only_numbers_has_the_name_of_its_file() -> None:
    text = "version: 1\nnumbers: {}\n---\nendpoint: coolsms\nnumbers: {}\n---\nversion: 1\n---\n[x]\n"
    assert read_names("x/team.yaml", text.encode()) == [
        DocumentName("team", 1, has_account_keys=False, is_named=False),
        DocumentName("team", 4, has_account_keys=True, is_named=False),
    ]


def test_key_value_never_equals_a_reference() -> None:
    assert problems_of(document("a", "ONE"), document("b", "TWO"), keys={"ONE": "TWO"}) == []
