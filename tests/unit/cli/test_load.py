"""What a run starts from: settings, accounts, selections, rules and credentials."""

import io
import os
import sys
from pathlib import Path

import pytest

from worker.cli.credentials import CredentialsResolver, FixedCredentials
from worker.cli.load import load_accounts, load_settings, parse_rules, parse_selection
from worker.config.settings import RateLimit, Settings
from worker.model.accounts import Desired, DesiredAccount, Status
from worker.model.credentials import Credentials, CredentialsRef, Secret, SecretRef
from worker.model.errors import CredentialsMissing, DesiredStateError, SettingsError, UsageError
from worker.plan.policy import Selection
from worker.plan.safety import ALLOW_ALL, RULES

SECRET = "hunter2hunter2"


@pytest.fixture(autouse=True)
def _nothing_around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder to stand in, and no variables that mean anything here."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("SENDERID_", "SOLAPI_"))]:
        monkeypatch.delenv(name)


def owned(key: str) -> str:
    """A document without numbers, with credentials of its own."""
    return f"version: 1\ncredentials: {{api_key: {{env: {key}}}, api_secret: {{env: SECRET}}}}\nnumbers: {{}}\n"


def wrote(name: str, data: str | bytes) -> str:
    """The name of a file with this in it."""
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return name


def listing(name: str, *phones: str) -> DesiredAccount:
    """An account that lists these numbers."""
    return DesiredAccount(name, f"{name}.yaml", dict.fromkeys(phones, Desired(Status.ACTIVE)), range(len(phones)))


def refused(path: str | None) -> str:
    """Why settings are refused."""
    with pytest.raises(SettingsError) as error:
        load_settings(path, {})
    return str(error.value)


def test_settings_need_no_file() -> None:
    """Without a settings file the defaults hold."""
    assert load_settings(None, {}) == Settings()


def test_default_settings_file_is_read() -> None:
    """config/worker.yaml is read where it exists, and another one instead of it where that is named."""
    wrote("config/worker.yaml", "concurrency: 3")
    assert load_settings(None, {}).concurrency == 3
    assert load_settings(wrote("other.yaml", "accounts_concurrency: 4"), {}) == Settings(accounts_concurrency=4)


def test_settings_come_from_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Options that were given win over the environment and the environment over the file; None is not given."""
    wrote("config/worker.yaml", "rate_limit: {writes: 1, reads: 1, per_seconds: 1}")
    monkeypatch.setenv("SENDERID_RATE_LIMIT__WRITES", "2")
    monkeypatch.setenv("SENDERID_RATE_LIMIT__READS", "2")
    found = load_settings(None, {"rate_limit.writes": 3, "rate_limit.reads": None})
    assert found == Settings(rate_limit=RateLimit(3, 2, 1.0))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("missing.yaml", "missing.yaml:1:1: cannot be read: No such file or directory"),
        ("", "'':1:1: the path is empty: give a file"),
        (".", ".:1:1: cannot be read: Is a directory"),
        ("/dev/zero", "/dev/zero:1:1: not a regular file: give a file"),
    ],
)
def test_settings_file_that_cannot_be_read(path: str, message: str) -> None:
    """A settings file that was named and cannot be read is an error, and does not become the defaults."""
    assert refused(path) == message


def test_default_settings_file_that_leads_nowhere() -> None:
    """A default settings file that is there and cannot be read is an error too."""
    Path("config").mkdir()
    Path("config/worker.yaml").symlink_to("nowhere")
    assert refused(None) == "config/worker.yaml:1:1: cannot be read: No such file or directory"


def test_settings_file_that_would_never_end() -> None:
    """A FIFO in place of the settings is refused at once."""
    os.mkfifo("pipe")
    assert refused("pipe") == "pipe:1:1: not a regular file: give a file"


def test_accounts_of_the_default_folder() -> None:
    """Without -f the accounts of config/desired are read."""
    wrote("config/desired/a.yaml", "version: 1\nnumbers: {}")
    wrote("config/desired/b.yaml", owned("B"))
    assert [account.name for account in load_accounts(Settings(), [])] == ["a", "b"]


def test_no_default_folder() -> None:
    """Without config/desired the message says how to start."""
    with pytest.raises(
        DesiredStateError, match=r"^config/desired:1:1: .*: give files with -f, or start with `senderid ex"
    ):
        load_accounts(Settings(), [])


def test_accounts_of_files() -> None:
    """With -f nothing else is read, and every problem of every file is reported."""
    wrote("config/desired/a.yaml", "version: 1\nnumbers: {}")
    assert [account.name for account in load_accounts(Settings(), [wrote("b.yaml", "version: 1\nnumbers: {}")])] == [
        "b"
    ]
    with pytest.raises(DesiredStateError) as error:
        load_accounts(Settings(), [wrote("c.yaml", "numbers: {}"), "none.yaml"])
    assert [problem.source for problem in error.value.problems] == ["c.yaml", "none.yaml"]


def test_accounts_by_name() -> None:
    """Only the accounts that were asked for are given, in the order of the files."""
    for name in "abc":
        wrote(f"d/{name}.yaml", owned(name.upper()))
    assert [account.name for account in load_accounts(Settings(), ["d"], ["c", "a", "c"])] == ["a", "c"]


def test_korean_accounts_by_name() -> None:
    """A Korean name is found in whatever form a system keeps or types it."""
    wrote("본사.yaml", "version: 1\nnumbers: {}")
    parts = "\u1107\u1169\u11ab\u1109\u1161"
    assert [account.name for account in load_accounts(Settings(), ["본사.yaml"], [parts])] == ["본사"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["man"], "no file has an account 'man'; did you mean 'main'?"),
        (["zzz"], "no file has an account 'zzz'; there are 'main', 'shop'"),
        (["man", "main", "zzz"], "no file has an account 'man'; .*; no file has an account 'zzz'"),
        (["\x1b[31m"], r"no file has an account '\\x1b\[31m'"),
    ],
)
def test_unknown_accounts(names: list[str], message: str) -> None:
    """Each unknown account is reported, with the closest name."""
    wrote("d/main.yaml", "version: 1\nnumbers: {}")
    wrote("d/shop.yaml", owned("SHOP"))
    with pytest.raises(UsageError, match=message):
        load_accounts(Settings(), ["d"], names)


def test_unknown_account_among_many() -> None:
    """A message does not list a whole fleet."""
    wrote("fleet.yaml", "".join(f"---\naccount: shop-{n}\n{owned(f'KEY{n}')}" for n in range(50)))
    with pytest.raises(UsageError) as error:
        load_accounts(Settings(), ["fleet.yaml"], ["zzz"])
    assert str(error.value) == "no file has an account 'zzz'"


def test_warnings_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """Warnings name their place on stderr, and do not stop a run."""
    assert load_accounts(Settings(), [wrote("a.yaml", "version: 1\nnumbers: {011-123-4567: ACTIVE}")])
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("a.yaml:2:11: warning: '011-123-4567': 011 is a mobile prefix of the 2G networks")


def test_accounts_of_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    """`-` is the standard input of the process."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"version: 1\nnumbers: {112: ACTIVE}")))
    (account,) = load_accounts(Settings(), ["-"])
    assert (account.name, account.source, list(account.numbers)) == ("stdin", "stdin", ["112"])


def test_closed_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process without standard input, as daemons start them, can read files and gets an error for `-`."""
    monkeypatch.setattr(sys, "stdin", None)
    assert load_accounts(Settings(), [wrote("a.yaml", "version: 1\nnumbers: {}")])
    with pytest.raises(DesiredStateError, match=r"^stdin:1:1: cannot be read: Bad file descriptor"):
        load_accounts(Settings(), ["-"])


def test_selection_in_any_spelling() -> None:
    """Numbers are selected in any spelling; those to be left out need not be listed."""
    accounts = [listing("a", "01012345678"), listing("b", "023124567")]
    assert parse_selection(["010-1234-5678", "+82 2 312 4567"], ["112"], accounts) == Selection(
        frozenset({"01012345678", "023124567"}), frozenset({"112"})
    )
    assert parse_selection([], [], []) == Selection()


@pytest.mark.parametrize(
    ("only", "exclude", "message"),
    [
        (["02-312-4567"], [], "--only 023124567: no file lists this number"),
        (["../x"], [], "--only '../x': character '/'"),
        ([""], [], "--only '': no number: write one such as 010-1234-5678"),
        ([], ["10-1234-5678"], "--exclude '10-1234-5678': missing leading 0, .*: write 01012345678"),
        ([], ["\x1b"], r"--exclude '\\x1b': invisible character U\+001B"),
    ],
)
def test_wrong_selection(only: list[str], exclude: list[str], message: str) -> None:
    """A number that is invalid or not listed is reported with its option."""
    with pytest.raises(UsageError, match=f"^{message}"):
        parse_selection(only, exclude, [listing("a", "01012345678")])


def test_rules() -> None:
    """Every safety rule may be allowed, one by one and all together."""
    assert parse_rules([]) == frozenset()
    assert parse_rules([*RULES, ALLOW_ALL, ALLOW_ALL]) == {*RULES, "all"}


@pytest.mark.parametrize("name", ["max_deactivations", "ALL", "", "\x1b"])
def test_unknown_rule(name: str) -> None:
    """An unknown rule is reported with the list of rules."""
    with pytest.raises(UsageError) as error:
        parse_rules(["all", name])
    assert str(error.value) == (
        f"--allow {name!r}: there is no such rule; there are max-deactivations, min-active, fleet-wide, "
        "in-use, replay, all"
    )


def reference(secret: SecretRef) -> CredentialsRef:
    """References to a key in the environment and to this secret."""
    return CredentialsRef(SecretRef(env="KEY"), secret)


@pytest.mark.parametrize("text", ["hunter2hunter2", "hunter2hunter2\n", " hunter2hunter2\r\n", "\ufeffhunter2hunter2"])
def test_credentials_of_files(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file may end its secret with a line end, or begin it with a byte-order mark, as editors do."""
    monkeypatch.setenv("KEY", "NCS1")
    found = CredentialsResolver()(reference(SecretRef(file=wrote("secret", text))))
    assert found == Credentials("NCS1", Secret(SECRET))


def test_credentials_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both halves may be variables, and blanks around them do not count."""
    monkeypatch.setenv("KEY", " NCS1 ")
    monkeypatch.setenv("OTHER", f"{SECRET}\n")
    assert CredentialsResolver()(reference(SecretRef(env="OTHER"))) == Credentials("NCS1", Secret(SECRET))


def test_default_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """An account without references uses SOLAPI_API_KEY and SOLAPI_API_SECRET."""
    monkeypatch.setenv("SOLAPI_API_KEY", "NCS1")
    monkeypatch.setenv("SOLAPI_API_SECRET", SECRET)
    resolver = CredentialsResolver()
    assert resolver(None) == Credentials("NCS1", Secret(SECRET))
    assert set(resolver.secrets) == {SECRET}


def test_secrets_are_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One run uses the credentials that it started with, and knows every secret that it has to mask."""
    monkeypatch.setenv("KEY", "NCS1")
    resolver = CredentialsResolver()
    first = resolver(reference(SecretRef(file=wrote("a", SECRET))))
    wrote("a", "other")
    assert resolver(reference(SecretRef(file="a"))) is first
    resolver(reference(SecretRef(file=wrote("b", "third"))))
    assert set(resolver.secrets) == {SECRET, "third"}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "the API secret is missing: the environment variable OTHER is not set"),
        ("", "the API secret is missing: the environment variable OTHER is empty"),
        (" \n", "the API secret is missing: the environment variable OTHER is empty"),
        (f'"{SECRET}"', "the API secret cannot be used: the environment variable OTHER has invalid characters"),
        (f"'{SECRET}'", "has invalid characters, such as quotes"),
        (f"{SECRET}, date=x", "has invalid characters"),
        (f"{SECRET}\n{SECRET}", "has invalid characters"),
        (f"{SECRET}\x07", "has invalid characters"),
        (f"{SECRET}한", "has invalid characters"),
    ],
)
def test_wrong_variables(value: str | None, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that is missing, empty or no possible secret is named, without its value."""
    monkeypatch.setenv("KEY", "NCS1")
    if value is not None:
        monkeypatch.setenv("OTHER", value)
    with pytest.raises(CredentialsMissing) as error:
        CredentialsResolver()(reference(SecretRef(env="OTHER")))
    assert message in str(error.value)
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the API secret is missing: the file secret is empty"),
        (b"\xff\xfeh\0u\0", "the API secret cannot be used: the file secret is not UTF-8 text"),
        (b"hunter2\xff", "is not UTF-8 text"),
        (b"hunter2\0", "has invalid characters"),
        (b"hunter2" * 1000, "the file secret is too long for a key"),
        (b"SOLAPI_API_SECRET=hunter2 # mine", "has invalid characters"),
    ],
)
def test_wrong_files(data: bytes, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that cannot hold a secret is named, without its content."""
    monkeypatch.setenv("KEY", "NCS1")
    with pytest.raises(CredentialsMissing) as error:
        CredentialsResolver()(reference(SecretRef(file=wrote("secret", data))))
    assert message in str(error.value)
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    ("path", "message"), [("none", "No such file or directory"), (".", "Is a directory"), ("loop", "Too many levels")]
)
def test_unreadable_files(path: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the file and the system's reason."""
    Path("loop").symlink_to("loop")
    monkeypatch.setenv("KEY", "NCS1")
    with pytest.raises(CredentialsMissing, match=f"the API secret cannot be read: the file {path}: {message}"):
        CredentialsResolver()(reference(SecretRef(file=path)))


def test_missing_key_is_reported_as_the_key() -> None:
    """The message names the missing half, and a failed lookup keeps nothing."""
    resolver = CredentialsResolver()
    with pytest.raises(CredentialsMissing, match="the API key is missing: the environment variable KEY is not set"):
        resolver(reference(SecretRef(env="OTHER")))
    assert not resolver.secrets


def test_known_credentials() -> None:
    """Credentials that are known are given for every reference, and their secret is hidden like any other."""
    known = FixedCredentials(Credentials("NCS1", Secret(SECRET)))
    assert known(None) is known(reference(SecretRef(env="NOWHERE")))
    assert set(known.secrets) == {SECRET}
