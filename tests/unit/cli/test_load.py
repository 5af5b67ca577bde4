"""Inputs of a run: settings, accounts, selections, rules and credentials."""

import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unicodedata import normalize

import pytest

from worker.cli.credentials import CredentialsResolver, FixedCredentials
from worker.cli.load import load_accounts, load_settings, parse_rules, parse_selection
from worker.cli.options import Common
from worker.config.settings import RateLimit, Settings
from worker.model.accounts import Desired, DesiredAccount, Status
from worker.model.credentials import Credentials, CredentialsRef, Secret, SecretRef
from worker.model.errors import CredentialsMissing, DesiredStateError, SettingsError, UsageError
from worker.plan.policy import Selection
from worker.plan.safety import ALLOW_ALL, RULES

SECRET = "hunter2hunter2"


@pytest.fixture(autouse=True)
def _clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Change to an empty folder and remove the variables of senderid."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("SENDERID_", "SOLAPI_"))]:
        monkeypatch.delenv(name)


def account_document(key: str) -> str:
    """Return a document without numbers whose credentials use the variable *key*."""
    return f"version: 1\ncredentials: {{api_key: {{env: {key}}}, api_secret: {{env: SECRET}}}}\nnumbers: {{}}\n"


def write_file(name: str, data: str | bytes) -> str:
    """Write a file and return its name."""
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return name


def account_with(name: str, *phones: str) -> DesiredAccount:
    """Return an account that lists these numbers."""
    return DesiredAccount(name, f"{name}.yaml", dict.fromkeys(phones, Desired(Status.ACTIVE)), range(len(phones)))


def settings_error(path: str | None) -> str:
    """Return the message with which the settings are refused."""
    with pytest.raises(SettingsError) as error:
        load_settings(path, {})
    return str(error.value)


def test_settings_default_without_a_file() -> None:
    assert load_settings(None, {}) == Settings()


def test_default_settings_file_is_read() -> None:
    """A named file replaces config/worker.yaml."""
    write_file("config/worker.yaml", "concurrency: 3")
    assert load_settings(None, {}).concurrency == 3
    assert load_settings(write_file("other.yaml", "accounts_concurrency: 4"), {}) == Settings(accounts_concurrency=4)


def test_option_overrides_environment_and_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """An option that is None was not given."""
    write_file("config/worker.yaml", "rate_limit: {writes: 1, reads: 1, per_seconds: 1}")
    monkeypatch.setenv("SENDERID_RATE_LIMIT__WRITES", "2")
    monkeypatch.setenv("SENDERID_RATE_LIMIT__READS", "2")
    settings = load_settings(None, {"rate_limit.writes": 3, "rate_limit.reads": None})
    assert settings == Settings(rate_limit=RateLimit(3, 2, 1.0))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("missing.yaml", "missing.yaml:1:1: cannot be read: No such file or directory"),
        ("", "'':1:1: the path is empty: give a file"),
        (".", ".:1:1: cannot be read: Is a directory"),
        ("/dev/zero", "/dev/zero:1:1: not a regular file: give a file"),
    ],
)
def test_unreadable_settings_file_is_refused(path: str, message: str) -> None:
    assert settings_error(path) == message


def test_dangling_default_settings_file_is_refused() -> None:
    Path("config").mkdir()
    Path("config/worker.yaml").symlink_to("nowhere")
    assert settings_error(None) == "config/worker.yaml:1:1: cannot be read: No such file or directory"


def test_settings_from_a_fifo_are_refused() -> None:
    os.mkfifo("pipe")
    assert settings_error("pipe") == "pipe:1:1: not a regular file: give a file"


def test_accounts_default_to_config_desired() -> None:
    write_file("config/desired/a.yaml", "version: 1\nnumbers: {}")
    write_file("config/desired/b.yaml", account_document("B"))
    assert [account.name for account in load_accounts(Settings(), [])] == ["a", "b"]


def test_missing_default_folder_is_refused_with_advice() -> None:
    with pytest.raises(
        DesiredStateError, match=r"^config/desired:1:1: .*: give files with -f, or start with `senderid in"
    ):
        load_accounts(Settings(), [])


def test_accounts_are_read_from_the_named_files_only() -> None:
    """The problems of all files are reported."""
    write_file("config/desired/a.yaml", "version: 1\nnumbers: {}")
    assert [
        account.name for account in load_accounts(Settings(), [write_file("b.yaml", "version: 1\nnumbers: {}")])
    ] == ["b"]
    with pytest.raises(DesiredStateError) as error:
        load_accounts(Settings(), [write_file("c.yaml", "numbers: {}"), "none.yaml"])
    assert [problem.source for problem in error.value.problems] == ["c.yaml", "none.yaml"]


def test_accounts_are_selected_by_name_in_file_order() -> None:
    for name in "abc":
        write_file(f"d/{name}.yaml", account_document(name.upper()))
    assert [account.name for account in load_accounts(Settings(), ["d"], ["c", "a", "c"])] == ["a", "c"]


def test_korean_account_name_matches_in_nfd() -> None:
    write_file("본사.yaml", "version: 1\nnumbers: {}")
    decomposed = "\u1107\u1169\u11ab\u1109\u1161"
    assert [account.name for account in load_accounts(Settings(), ["본사.yaml"], [decomposed])] == ["본사"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["man"], "no file has an account 'man'; did you mean 'main'?"),
        (["zzz"], "no file has an account 'zzz'; the accounts are 'main', 'shop'"),
        (["man", "main", "zzz"], "no file has an account 'man'; .*; no file has an account 'zzz'"),
        (["\x1b[31m"], r"no file has an account '\\x1b\[31m'"),
    ],
)
def test_unknown_account_is_refused_with_suggestion(names: list[str], message: str) -> None:
    write_file("d/main.yaml", "version: 1\nnumbers: {}")
    write_file("d/shop.yaml", account_document("SHOP"))
    with pytest.raises(UsageError, match=message):
        load_accounts(Settings(), ["d"], names)


def test_unknown_account_does_not_list_a_large_fleet() -> None:
    write_file("fleet.yaml", "".join(f"---\naccount: shop-{n}\n{account_document(f'KEY{n}')}" for n in range(50)))
    with pytest.raises(UsageError) as error:
        load_accounts(Settings(), ["fleet.yaml"], ["zzz"])
    assert str(error.value) == "no file has an account 'zzz'"


def test_warnings_are_written_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert load_accounts(Settings(), [write_file("a.yaml", "version: 1\nnumbers: {011-123-4567: ACTIVE}")])
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("a.yaml:2:11: warning: '011-123-4567': 011 is a mobile prefix of the 2G networks")


def test_dash_reads_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"version: 1\nnumbers: {112: ACTIVE}")))
    (account,) = load_accounts(Settings(), ["-"])
    assert (account.name, account.source, list(account.numbers)) == ("stdin", "stdin", ["112"])


def test_closed_stdin_is_an_error_only_for_dash(monkeypatch: pytest.MonkeyPatch) -> None:
    """Daemons may start without standard input."""
    monkeypatch.setattr(sys, "stdin", None)
    assert load_accounts(Settings(), [write_file("a.yaml", "version: 1\nnumbers: {}")])
    with pytest.raises(DesiredStateError, match=r"^stdin:1:1: cannot be read: Bad file descriptor"):
        load_accounts(Settings(), ["-"])


def selection_options(**values: Sequence[str]) -> Common:
    """Return the options of a command that selects numbers."""
    selected: dict[str, Any] = {name: tuple(value) for name, value in values.items()}
    return Common(
        output_format="text",
        output=None,
        no_color=True,
        settings_path=None,
        log_format=None,
        log_level=None,
        **selected,
    )


def described(name: str, phone: str, *, owner: str | None = None, note: str | None = None) -> DesiredAccount:
    """Return an account that lists one number with an owner or a note."""
    return DesiredAccount(name, f"{name}.yaml", {phone: Desired(Status.ACTIVE, note, owner)}, [1])


def test_selected_numbers_are_normalized() -> None:
    """Excluded numbers need not be listed."""
    accounts = [account_with("a", "01012345678"), account_with("b", "023124567")]
    options = selection_options(only=["010-1234-5678", "+82 2 312 4567"], exclude=["112"])
    assert parse_selection(options, accounts) == Selection(frozenset({"01012345678", "023124567"}), frozenset({"112"}))
    assert parse_selection(selection_options(), []) == Selection()


def test_owners_and_notes_are_folded() -> None:
    """Letter case, white space and the form of Hangul do not matter."""
    accounts = [described("a", "01012345678", owner="영업  Team", note="Front\tDesk 1")]
    options = selection_options(owners=[normalize("NFD", "영업 TEAM ")], notes=["front desk"])
    assert parse_selection(options, accounts) == Selection(
        owners=frozenset({"영업 team"}), notes=frozenset({"front desk"})
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"only": ["02-312-4567"]}, "--only 023124567: no file lists this number$"),
        (
            {"only": ["02-312-4568"]},
            "--only 023124568: account 'b' lists this number, but --account does not select that account",
        ),
        ({"only": ["../x"]}, "--only '../x': character '/'"),
        ({"only": [""]}, "--only '': no number: write one such as 010-1234-5678"),
        ({"exclude": ["10-1234-5678"]}, "--exclude '10-1234-5678': missing leading 0, .*: write 01012345678"),
        ({"exclude": ["\x1b"]}, r"--exclude '\\x1b': invisible character U\+001B"),
        ({"owners": ["marketting"]}, "--owner 'marketting': no listed number has this owner; did you mean 'Marketing'"),
        ({"owners": ["Marketing", "x"]}, "--owner 'x': no listed number has this owner$"),
        ({"owners": [" "]}, "--owner ' ': no listed number has this owner$"),
        ({"owners": ["other"]}, "--owner 'other': no listed number has this owner$"),
        ({"notes": ["back"]}, "--note 'back': no listed number has this text in its note"),
        ({"notes": [" "]}, "--note ' ': no listed number has this text in its note"),
    ],
)
def test_invalid_or_unlisted_selection_is_refused(values: dict[str, list[str]], message: str) -> None:
    accounts = [described("a", "01012345678", owner="Marketing", note="front desk"), account_with("c", "112")]
    others = [account_with("d", "113"), described("b", "023124568", owner="other", note="back")]
    with pytest.raises(UsageError, match=f"^{message}"):
        parse_selection(selection_options(**values), accounts, others)


def test_every_safety_rule_can_be_allowed() -> None:
    assert parse_rules([]) == frozenset()
    assert parse_rules([*RULES, ALLOW_ALL, ALLOW_ALL]) == {*RULES, "all"}


@pytest.mark.parametrize("name", ["max_deactivations", "ALL", "", "\x1b"])
def test_unknown_rule_is_refused_with_the_list_of_rules(name: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_rules(["all", name])
    assert str(error.value) == (
        f"--allow {name!r}: no such rule; use one of max-deactivations, min-active, fleet-wide, in-use, replay, all"
    )


def reference(secret: SecretRef) -> CredentialsRef:
    """Return credentials with a key from the environment and this secret."""
    return CredentialsRef(SecretRef(env="KEY"), secret)


@pytest.mark.parametrize("text", ["hunter2hunter2", "hunter2hunter2\n", " hunter2hunter2\r\n", "\ufeffhunter2hunter2"])
def test_secret_file_is_read_without_line_end_and_byte_order_mark(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "NCS1")
    credentials = CredentialsResolver()(reference(SecretRef(file=write_file("secret", text))))
    assert credentials == Credentials("NCS1", Secret(SECRET))


def test_credentials_from_the_environment_are_stripped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", " NCS1 ")
    monkeypatch.setenv("OTHER", f"{SECRET}\n")
    assert CredentialsResolver()(reference(SecretRef(env="OTHER"))) == Credentials("NCS1", Secret(SECRET))


def test_default_credentials_are_the_solapi_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOLAPI_API_KEY", "NCS1")
    monkeypatch.setenv("SOLAPI_API_SECRET", SECRET)
    resolver = CredentialsResolver()
    assert resolver(None) == Credentials("NCS1", Secret(SECRET))
    assert set(resolver.secrets) == {SECRET}


def test_secrets_are_resolved_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run keeps the credentials that it started with, and masks every secret that it resolved."""
    monkeypatch.setenv("KEY", "NCS1")
    resolver = CredentialsResolver()
    first = resolver(reference(SecretRef(file=write_file("a", SECRET))))
    write_file("a", "other")
    assert resolver(reference(SecretRef(file="a"))) is first
    resolver(reference(SecretRef(file=write_file("b", "third"))))
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
def test_invalid_secret_variable_is_named_without_its_value(
    value: str | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
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
def test_invalid_secret_file_is_named_without_its_content(
    data: bytes, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY", "NCS1")
    with pytest.raises(CredentialsMissing) as error:
        CredentialsResolver()(reference(SecretRef(file=write_file("secret", data))))
    assert message in str(error.value)
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    ("path", "message"), [("none", "No such file or directory"), (".", "Is a directory"), ("loop", "Too many levels")]
)
def test_unreadable_secret_file_is_named_with_the_reason(
    path: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("loop").symlink_to("loop")
    monkeypatch.setenv("KEY", "NCS1")
    with pytest.raises(CredentialsMissing, match=f"the API secret cannot be read: the file {path}: {message}"):
        CredentialsResolver()(reference(SecretRef(file=path)))


def test_missing_api_key_is_named() -> None:
    """A failed lookup adds no secret."""
    resolver = CredentialsResolver()
    with pytest.raises(CredentialsMissing, match="the API key is missing: the environment variable KEY is not set"):
        resolver(reference(SecretRef(env="OTHER")))
    assert not resolver.secrets


def test_fixed_credentials_ignore_references_and_mask_the_secret() -> None:
    known = FixedCredentials(Credentials("NCS1", Secret(SECRET)))
    assert known(None) is known(reference(SecretRef(env="NOWHERE")))
    assert set(known.secrets) == {SECRET}


def test_acknowledgement_that_has_ended_is_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    """The file is valid."""
    entry = "{status: ACTIVE, acknowledge: {reason: moved, until: 2020-01-31}}"
    (account,) = load_accounts(Settings(), [write_file("a.yaml", f"version: 1\nnumbers:\n  010-1234-5678: {entry}\n")])
    assert list(account.numbers) == ["01012345678"]
    assert "a.yaml:3:1: warning: " in (warning := capsys.readouterr().err)
    assert "acknowledgement ended at 2020-01-31 00:00 KST" in warning
