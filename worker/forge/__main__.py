"""The command line of `python -m worker.forge`, for the jobs of pipelines."""

import json
import os
import re
import sys
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Final

import click

from worker.errors import PlanFileError
from worker.forge.annotations import annotations
from worker.forge.api import Failed
from worker.forge.asked import unasked
from worker.forge.github import GitHub
from worker.forge.gitlab import GitLab
from worker.plan import unseal

__all__ = ["main"]

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""A name, as it stands in an HTML comment, a file's name and an artifact's."""
_ANY_AGE: Final = 1e9
"""Seconds: how old it may be is for `senderid apply` to say."""
_BODY: Final = 65_500
"""Characters of a comment: GitHub takes 65,536."""


def _named(_ctx: click.Context, param: click.Parameter, name: str) -> str:
    if not _NAME.fullmatch(name):
        raise click.BadParameter("letters, digits, dots, hyphens and underscores, at most 64", param=param)
    return name


_kind = click.option("--kind", default="plan", callback=_named, help="What is told: plan, apply or drift.")
_name = click.option("--name", default="senderid", callback=_named, help="Tells several uses in one repository apart.")
_body = click.option("--body", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A file of Markdown.")
_footer = click.option("--footer", default="", help="A line below it.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """What pipelines on GitHub and GitLab need besides senderid. The token is in FORGE_TOKEN."""


@main.command()
@_kind
@_name
@_body
@_footer
@click.option("--request", type=int, help="The pull or merge request. [the one of this job]")
def comment(*, kind: str, name: str, body: Path, footer: str, request: int | None) -> None:
    """Have one comment of that kind and name on a pull or merge request say what a file says."""
    forge = _forge()
    number = forge.request if request is None else request
    if number is None:
        raise Failed("this job is of no pull or merge request")
    click.echo(f"The comment was {forge.comment(number, _marker(kind, name), _page(kind, name, body, footer))}.")


@main.command()
@_kind
@_name
@_body
@_footer
@click.option("--title", help="The issue's title.")
@click.option("--close", "remark", metavar="REMARK", help="Close it, with this remark.")
def issue(*, kind: str, name: str, body: Path | None, footer: str, title: str | None, remark: str | None) -> None:
    """Have one issue of that kind and name be open and say what a file says, or be closed."""
    forge = _forge()
    if remark is not None:
        click.echo(f"The issue is {forge.close_issue(_marker(kind, name), remark)}.")
    elif title is None or body is None:
        raise click.UsageError("--title and --body, or --close")
    else:
        done = forge.open_issue(_marker(kind, name), title, _page(kind, name, body, footer))
        click.echo(f"The issue was {done}.")


@main.command()
def annotate() -> None:
    """Problems of files on standard input, `file:line:column: message`, as annotations of GitHub."""
    for line in annotations(sys.stdin):
        click.echo(line)


@main.command()
@click.argument("plan", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def describe(plan: Path) -> None:
    """Whether a saved plan has changes, and its fingerprint, as outputs of a step."""
    saved = json.loads(plan.read_bytes())
    click.echo(f"changes={str(any(account['changes'] for account in saved['accounts'])).lower()}")
    click.echo(f"fingerprint={saved['fingerprint']}")


@main.command("reviewed-plan")
@click.option("--name", required=True, callback=_named, help="What the plan's artifact is called, or its file.")
@click.option("--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="Where it goes.")
def reviewed_plan(name: str, output: Path) -> None:
    """Fetch the plan that was reviewed before this commit was merged; prints the request's number.

    It is refused where a file that it was made of is no longer the same: then it is not what was reviewed.
    """
    number, data = _forge().reviewed_plan(name)
    _check(data)
    with open(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:  # noqa: PTH123
        file.write(data)
    click.echo(number)


def _forge() -> GitHub | GitLab:
    token = os.environ.get("FORGE_TOKEN")
    if not token:
        raise Failed("there is no token: give the job one in FORGE_TOKEN")
    try:
        return GitLab(os.environ, token) if os.environ.get("GITLAB_CI") else GitHub(os.environ, token)
    except KeyError as missing:
        raise Failed(f"{missing.args[0]} is not set: this runs in jobs of GitHub and GitLab") from None


def _marker(kind: str, name: str) -> str:
    return f"<!-- senderid {kind} {name} -->"


def _page(kind: str, name: str, body: Path, footer: str) -> str:
    told = body.read_text(encoding="utf-8")
    page = f"{_marker(kind, name)}\n{told}" + (f"\n{footer}\n" if footer else "")
    if len(page) > _BODY:
        raise Failed(f"{body} has {len(page):,} characters: --format markdown keeps within what a comment takes")
    return page


def _check(data: bytes) -> None:
    """Whether the files that a plan was made of are still the same here, and ask for all that it writes."""
    try:
        saved = unseal(data, now=datetime.now(UTC), max_age_seconds=_ANY_AGE)
    except PlanFileError as error:
        raise Failed(f"the artifact is no plan that can be applied ({error}): run the request's plan again") from None
    for account in saved.accounts:
        try:
            made_of = Path(account.source).read_bytes()
        except (OSError, ValueError):
            made_of = b""
        if sha256(made_of).hexdigest() != account.sha256:
            raise Failed(
                f"{account.source!r} is not what the reviewed plan was made of: something else was merged meanwhile; "
                "look at a plan of what is there now, then apply from the files by hand"
            )
        reason = unasked(account, made_of)
        if reason is not None:
            raise Failed(
                f"the artifact is not the plan of {account.source!r} ({reason}): find out who made it, and apply "
                "from the files by hand"
            )


if __name__ == "__main__":
    try:
        main(prog_name="python -m worker.forge")
    except Failed as failed:
        click.echo(f"senderid: {failed}", err=True)
        sys.exit(1)
