"""References to secrets: resolved on first use, read again after `forget`, and always masked in logs."""

import sys
import time
from pathlib import Path

import pytest

from worker.cli.credentials import CredentialsResolver, _api_key, read_password
from worker.config.channels import Channel
from worker.config.settings import SecretsSettings
from worker.model.credentials import CredentialsRef, SecretRef
from worker.model.errors import CredentialsMissing

REFERENCE = CredentialsRef(SecretRef(env="KEY"), SecretRef(file="secret"))


@pytest.fixture(autouse=True)
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set an API key, an API secret and the URL of a channel."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KEY", "NCS1")
    monkeypatch.setenv("URL", "json://user:canary@host")
    Path("secret").write_text("first-secret\n")


def test_resolved_secrets_are_masked() -> None:
    """API secrets and channel URLs are secrets; API keys are not."""
    resolver = CredentialsResolver()
    assert resolver(REFERENCE).api_secret.reveal() == "first-secret"
    assert resolver.url(Channel("ops", SecretRef(env="URL"))) == "json://user:canary@host"
    assert set(resolver.secrets) == {"first-secret", "json://user:canary@host"}


def test_rotated_secret_is_read_after_forget_and_old_one_stays_masked() -> None:
    resolver = CredentialsResolver()
    resolver(REFERENCE)
    Path("secret").write_text("second-secret\n")
    assert resolver(REFERENCE).api_secret.reveal() == "first-secret"
    resolver.forget()
    assert resolver(REFERENCE).api_secret.reveal() == "second-secret"
    assert set(resolver.secrets) == {"first-secret", "second-secret"}


def _by_command(script: str, *arguments: str) -> CredentialsRef:
    return CredentialsRef(SecretRef(env="KEY"), SecretRef(command=(sys.executable, "-c", script, *arguments)))


_COUNTING = "import pathlib; f = pathlib.Path('runs'); f.write_text(f.read_text() + 'x' if f.exists() else 'x');"


def test_secret_is_what_a_command_prints() -> None:
    """No shell runs it: its arguments are passed unchanged."""
    resolver = CredentialsResolver()
    reference = _by_command("import sys; print(sys.argv[1])", "$HOME;canary-secret")
    assert resolver(reference).api_secret.reveal() == "$HOME;canary-secret"
    assert set(resolver.secrets) == {"$HOME;canary-secret"}


def test_command_has_the_environment_and_no_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_TOKEN", "from-vault")
    script = "import os, sys; print(os.environ['VAULT_TOKEN'] + sys.stdin.read())"
    assert CredentialsResolver()(_by_command(script)).api_secret.reveal() == "from-vault"


@pytest.mark.parametrize("ending", ["print('canary-secret')", "sys.exit(3)"])
def test_command_is_run_once_a_run(ending: str) -> None:
    """A command that fails, or that several accounts name, is not run again. `forget` starts the next run."""
    resolver = CredentialsResolver()
    secret = _by_command(f"import sys; {_COUNTING} {ending}").api_secret
    references = [CredentialsRef(SecretRef(env=name), secret) for name in ("KEY", "KEY", "URL")]
    for _ in range(2):
        for reference in references[:2]:
            try:
                resolver(reference)
            except CredentialsMissing:
                assert "exit" in ending
    assert Path("runs").read_text() == "x"
    resolver.forget()
    for reference in references[:1]:
        try:
            resolver(reference)
        except CredentialsMissing:
            assert "exit" in ending
    assert Path("runs").read_text() == "xx"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("import sys; print('canary'); print('canary', file=sys.stderr); sys.exit(3)", "ended with exit status 3"),
        ("pass", "printed nothing"),
        ("print(' ')", "printed nothing"),
        ("print('canary\\ncanary')", "has invalid characters"),
        ("print('canary' * 1000)", "is too long for a key"),
        ("import sys; sys.stdout.buffer.write(b'canary\\xff')", "is not UTF-8 text"),
        ("import time; print('canary', flush=True); time.sleep(60)", "did not end within 1 s"),
        ("import os, time; os.close(1); time.sleep(60)", "did not end within 1 s"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "ended with exit status -9"),
    ],
)
def test_command_without_a_secret_is_an_error_without_its_output(script: str, reason: str) -> None:
    start = time.monotonic()
    timeout = 1 if "sleep" in script else 60
    with pytest.raises(CredentialsMissing) as raised:
        CredentialsResolver(SecretsSettings(timeout_seconds=timeout))(_by_command(script))
    assert reason in str(raised.value)
    assert f"the command {sys.executable}" in str(raised.value)
    assert "canary" not in str(raised.value)
    assert time.monotonic() - start < 30


def test_endless_output_is_cut() -> None:
    with pytest.raises(CredentialsMissing, match="too long"):
        CredentialsResolver()(_by_command("while True: print('x' * 10_000)"))


def test_program_that_does_not_exist_is_named() -> None:
    with pytest.raises(CredentialsMissing, match="the command no-such-program: No such file or directory"):
        CredentialsResolver()(CredentialsRef(SecretRef(command=("no-such-program",)), SecretRef(env="KEY")))


def test_processes_of_a_command_do_not_outlive_it() -> None:
    """A helper that it leaves behind would keep its output open."""
    script = "import subprocess, sys; p = subprocess.Popen(['sleep', '60']); print(p.pid, 'x'); sys.exit(0)"
    with pytest.raises(CredentialsMissing, match="did not end within"):
        CredentialsResolver(SecretsSettings(timeout_seconds=1))(_by_command(script))
    script = "import subprocess; p = subprocess.Popen(['sleep', '60'], stdout=subprocess.DEVNULL); print(p.pid)"
    process = CredentialsResolver()(_by_command(script)).api_secret.reveal()
    assert _has_ended(process)


def _has_ended(process: str) -> bool:
    """Return True once a process has ended; zombies have."""
    for _ in range(1000):
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


def test_no_command_is_run_if_the_settings_forbid_it() -> None:
    reference = _by_command(_COUNTING)
    settings = SecretsSettings(commands=False)
    with pytest.raises(CredentialsMissing, match=r"commands are not run, by --no-commands or secrets\.commands"):
        CredentialsResolver(settings)(reference)
    with pytest.raises(CredentialsMissing, match="commands are not run"):
        read_password(reference.api_secret, settings)
    assert not Path("runs").exists()


def test_checks_of_files_run_no_command() -> None:
    """`validate` is offline and safe for any file."""
    assert _api_key(_by_command(_COUNTING).api_secret) is None
    assert not Path("runs").exists()


def test_password_of_the_ledger_may_come_from_a_command() -> None:
    reference = _by_command("print('from-vault')").api_secret
    assert read_password(reference, SecretsSettings()).reveal() == "from-vault"
