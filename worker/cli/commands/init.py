"""`senderid init`: write a working folder with desired state, settings and the files of a pipeline."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import click

from worker.cli import complete
from worker.cli.defaults import DEFAULT_FILES, DEFAULT_SETTINGS
from worker.cli.exit_status import ExitStatus
from worker.cli.planning import is_interactive
from worker.model.errors import UsageError
from worker.model.messages import Message
from worker.render.i18n import gettext as _

__all__ = ["command"]

_FORGES: Final = ("github", "gitlab", "none")
_DEFAULT_ACCOUNT: Final = "main"
_FILE_NAME: Final = r"\w[\w.-]{0,63}"
_SECRETS_OF_STEPS: Final = r"( +)SOLAPI_API_KEY: \S+ secrets\.SOLAPI_API_KEY \S+\n +SOLAPI_API_SECRET: .*\n"
"""The lines of a workflow that pass the keys of an account to a step."""

_DESIRED: Final = """\
# The desired status of each number. {advice}
version: 1
account: {account}
{credentials}unmanaged: report            # registered numbers that are not listed: report, ignore or deactivate
numbers: {{}}
#  010-1234-5678: ACTIVE
#  02-312-4567: {{status: INACTIVE, note: old head office, owner: facilities}}
#  1588-1234: {{status: INACTIVE, schedule: [{{from: 2027-03-01, until: 2027-03-22, status: ACTIVE}}]}}
"""
_EXPORT: Final = """\
To write the current state of the account here:
#   senderid export --account {name} --output {path} --force"""
_COPY: Final = """\
To copy account_id and numbers of the current state, print it with
#   SOLAPI_API_KEY=${key} SOLAPI_API_SECRET=${secret} senderid export --account {name}"""
_CREDENTIALS: Final = """\
credentials:                 # the names of variables, never secrets
  api_key: {{env: {key}}}
  api_secret: {{env: {secret}}}
"""
_SETTINGS: Final = """\
# Settings; `senderid schema settings` has all of them. These are the defaults.
safety:
  max_deactivations: 30%
  min_active: 1
"""
_IGNORED: Final = """\
# secrets, and files with phone numbers that belong to one run
.env
*.env
/secrets/
/plan.json
*.plan.json
/result.json
"""
_GITLAB: Final = """\
include:
  - local: senderid.gitlab-ci.yml

variables:
  SENDERID_KIT_IMAGE: registry.example.com/your-group/senderid:0.1.0 # the image that you reviewed
"""


@click.command("init")
@click.argument("folder", metavar="[FOLDER]", default=".", shell_complete=complete.file)
@click.option("--account", "accounts", metavar="NAME", multiple=True, help="Name of an account. Repeatable. [main]")
@click.option("--forge", type=click.Choice(_FORGES), help="Where the pipeline runs. [none]")
def command(*, folder: str, accounts: tuple[str, ...], forge: str | None) -> int:
    """Write a desired-state file for each account, settings, .gitignore, and pipeline files for a forge to FOLDER.

    On a terminal, the command prompts for missing options. It never overwrites a file, and writes no secrets: the files
    name the environment variables of the keys.

    Exit status 0.
    """
    if is_interactive():
        accounts = accounts or _ask_accounts()
        forge = forge or click.prompt(_("Pipeline"), type=click.Choice(_FORGES), default="none", err=True)
    names = tuple(dict.fromkeys(accounts)) or (_DEFAULT_ACCOUNT,)
    _check_names(names)
    variables = dict(zip(names, _variables(names), strict=True))
    for path, text in _files(variables, forge or "none"):
        _write(Path(folder, path), text)
    click.echo(_next_steps(Path(folder), variables))
    return ExitStatus.OK


def _ask_accounts() -> tuple[str, ...]:
    text = click.prompt(_("Account names, separated by commas"), default=_DEFAULT_ACCOUNT, err=True)
    return tuple(filter(None, (name.strip() for name in text.split(","))))


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        if not re.fullmatch(_FILE_NAME, name):
            raise UsageError(
                Message("--account {name!r}: use letters, digits, dots, hyphens and underscores", name=name)
            )


def _variables(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the variables of the key and the secret of each account. A single account has the default ones."""
    if len(names) == 1:
        yield "SOLAPI_API_KEY", "SOLAPI_API_SECRET"
        return
    used_names: set[str] = set()
    for number, name in enumerate(names, 1):
        word = re.sub("[^A-Z0-9]+", "_", name.upper()).strip("_")
        if not word or word[0].isdigit() or word in used_names:
            word = f"ACCOUNT_{number}"
        used_names.add(word)
        yield f"{word}_API_KEY", f"{word}_API_SECRET"


def _files(variables: Mapping[str, tuple[str, str]], forge: str) -> Iterator[tuple[str, str]]:
    """Yield the path and the text of each file."""
    for name, (key, secret) in variables.items():
        path = f"{DEFAULT_FILES}/{name}.yaml"
        # an export has no credentials, so it replaces only a file with the default ones
        is_default = len(variables) == 1
        advice = (_EXPORT if is_default else _COPY).format(name=name, path=path, key=key, secret=secret)
        credentials = "" if is_default else _CREDENTIALS.format(key=key, secret=secret)
        account = json.dumps(name, ensure_ascii=False)
        yield path, _DESIRED.format(advice=advice, account=account, credentials=credentials)
    yield DEFAULT_SETTINGS, _SETTINGS
    yield ".gitignore", _IGNORED
    from importlib.resources import files

    templates = files("worker.cli").joinpath("templates")
    if forge == "github":
        for template in sorted(templates.joinpath("github").iterdir(), key=lambda each: each.name):
            yield f".github/workflows/{template.name}", _with_secrets(template.read_text("utf-8"), variables)
    if forge == "gitlab":
        yield ".gitlab-ci.yml", _GITLAB
        yield "senderid.gitlab-ci.yml", templates.joinpath("gitlab", "senderid.gitlab-ci.yml").read_text("utf-8")


def _with_secrets(workflow: str, variables: Mapping[str, tuple[str, str]]) -> str:
    """Return a workflow whose steps get the variables of all accounts."""
    names = [name for pair in variables.values() for name in pair]
    return re.sub(
        _SECRETS_OF_STEPS,
        lambda match: "".join(f"{match[1]}{name}: ${{{{ secrets.{name} }}}}\n" for name in names),
        workflow,
    )


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        click.echo(_("kept     {path}: it exists").format(path=path))
    else:
        click.echo(_("created  {path}").format(path=path))


def _next_steps(folder: Path, variables: Mapping[str, tuple[str, str]]) -> str:
    names = " ".join(f"{name}=…" for pair in variables.values() for name in pair)
    heading = _("Next, with the keys from the vendor's console in the environment ({names}):").format(names=names)
    change_folder = [] if folder == Path() else [f"cd {shlex.quote(str(folder))}"]
    commands = [*change_folder, f"senderid doctor -f {DEFAULT_FILES}", "senderid plan"]
    return "\n".join(("", heading, *(f"  {command}" for command in commands)))
