"""The command line `python -m worker.cli.ci`, for the jobs of pipelines."""

import hashlib
import json
import os
import re
import secrets
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

import click

from worker.cli.ci.annotations import annotations
from worker.cli.ci.claims import JOB, Claim, sent_nothing
from worker.cli.ci.github import GitHub
from worker.cli.ci.gitlab import GitLab
from worker.cli.ci.http import CiError, PlanRefused
from worker.cli.ci.verify import any_changed, in_repository, is_superseded, mismatch
from worker.model.errors import PlanFileError
from worker.plan.planfile import SavedPlan, unseal

__all__ = ["main"]

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Pattern of a name that is valid in an HTML comment, as a file name and as an artifact name."""
_USAGE: Final = 64
"""The exit status of a usage error, as in `senderid`. Click's default, 2, would mean that changes are pending."""
_ANY_AGE: Final = 1e9
"""Maximum age of a plan in seconds. It is unlimited, as `senderid apply` checks the age."""
_BODY: Final = 65_500
"""Maximum length in characters of a comment. GitHub accepts 65,536."""
_CLAIMED: Final = (
    "### Applying the reviewed plan\n\n[This job]({job}) applies the plan, and its result will replace this comment. "
    "If that does not happen, the job died: create a new plan and apply it."
)


def _check_name(_ctx: click.Context, param: click.Parameter, name: str) -> str:
    if not _NAME.fullmatch(name):
        raise click.BadParameter("letters, digits, dots, hyphens and underscores, at most 64", param=param)
    return name


def _check_url(_ctx: click.Context, param: click.Parameter, url: str) -> str:
    if not JOB.fullmatch(url):
        raise click.BadParameter("a URL of http or https, without spaces", param=param)
    return url


_kind = click.option("--kind", default="plan", callback=_check_name, help="Kind of report: plan, apply or drift.")
_name = click.option(
    "--name", default="senderid", callback=_check_name, help="Name of this use, if a repository has several."
)
_body = click.option(
    "--body", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Markdown file with the text."
)
_footer = click.option("--footer", default="", help="Line to add below the text.")
_request = click.option("--request", type=int, required=True, help="Number of the pull or merge request.")
_files = click.option("--files", multiple=True, required=True, help="A desired-state file or folder.")
_job = click.option("--job", required=True, callback=_check_url, help="URL of this job.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Run the pipeline steps before and after senderid on GitHub and GitLab. The API token is read from FORGE_TOKEN."""


@main.command()
@_kind
@_name
@_body
@_footer
@click.option("--request", type=int, help="The pull or merge request. [the one of this job]")
def comment(*, kind: str, name: str, body: Path, footer: str, request: int | None) -> None:
    """Create or update the comment of a kind and name on a pull or merge request."""
    forge = _forge()
    number = forge.request if request is None else request
    if number is None:
        raise CiError("this job does not belong to a pull or merge request")
    marker = _marker(kind, name)
    page = _page(marker, body, footer)
    existing = next(iter(forge.comments(number, marker)), None)
    if existing is None:
        forge.add_comment(number, marker, page)
        change = "created"
    elif existing[1] == page:
        change = "unchanged"
    else:
        forge.edit_comment(number, existing[0], page)
        change = "updated"
    click.echo(f"The comment was {change}.")


@main.command()
@_kind
@_name
@_body
@_footer
@click.option("--title", help="The issue's title.")
@click.option("--close", "remark", metavar="REMARK", help="Close it, with this remark.")
def issue(*, kind: str, name: str, body: Path | None, footer: str, title: str | None, remark: str | None) -> None:
    """Open, update or close the issue of a kind and name."""
    forge = _forge()
    if remark is not None:
        click.echo(f"The issue is {forge.close_issue(_marker(kind, name), remark)}.")
    elif title is None or body is None:
        raise click.UsageError("use --title with --body, or --close")
    else:
        change = forge.open_issue(_marker(kind, name), title, _page(_marker(kind, name), body, footer))
        click.echo(f"The issue was {change}.")


@main.command()
def annotate() -> None:
    """Print the problems on standard input, `file:line:column: message`, as GitHub annotations."""
    for line in annotations(sys.stdin):
        click.echo(line)


@main.command()
@click.argument("plan", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def describe(plan: Path) -> None:
    """Print whether a saved plan has changes, and its fingerprint, as step outputs."""
    document = json.loads(plan.read_bytes())
    click.echo(f"changes={str(any(account['changes'] for account in document['accounts'])).lower()}")
    click.echo(f"fingerprint={document['fingerprint']}")


@main.command("reviewed-plan")
@click.option("--name", required=True, callback=_check_name, help="Name of the plan's artifact or file.")
@click.option("--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="File for the plan.")
@_files
def reviewed_plan(*, name: str, output: Path, files: tuple[str, ...]) -> None:
    """Fetch the plan that was reviewed before this commit was merged, and print the request's number.

    The plan is refused if it is not a plan of the desired-state files of this checkout. If a newer commit of the branch
    desires other statuses, it is refused with exit status 4.
    """
    forge = _forge()
    number, data = forge.reviewed_plan(name)
    saved_plan = _open_plan(data)
    for account in saved_plan.accounts:
        reason = mismatch(account, files, _bytes)
        if reason is not None:
            raise CiError(
                f"the artifact is not the plan of {account.source!r} ({reason}): plan again, or find out who "
                "created it and apply from the files by hand"
            )
    _refuse_superseded(forge, saved_plan, files)
    with open(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:  # noqa: PTH123
        file.write(data)
    click.echo(number)


@main.command()
@click.argument("plan", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_name
@_job
@_request
@click.option("--allow", multiple=True, help="A safety rule to allow: replay claims a plan again.")
def claim(*, plan: Path, name: str, job: str, request: int, allow: tuple[str, ...]) -> None:
    """Claim a saved plan for a job before it is applied, in a comment on the request, and print the comment's id.

    If another job has claimed the plan, the exit status is 4, and the plan must not be applied.
    """
    forge = _forge()
    own_claim = Claim(_open_plan(plan.read_bytes()).id, secrets.token_hex(8), job)
    marker = _marker("apply", name)
    is_replay = not {"replay", "all"}.isdisjoint(allow)

    def claims() -> list[tuple[int, Claim]]:
        numbered_claims = ((number, Claim.read(body)) for number, body in forge.comments(request, marker))
        return sorted(
            (number, candidate)
            for number, candidate in numbered_claims
            if candidate is not None and candidate.plan == own_claim.plan
        )

    if not is_replay:
        _refuse_claimed(claims())
    key = f"{marker}\n{_line(own_claim)}"
    number = forge.add_comment(request, key, f"{key}\n{_CLAIMED.format(job=job)}\n")
    # if two jobs have claimed the plan at the same time, the first comment counts
    current_claims = claims()
    if (number, own_claim) not in current_claims:
        _delete_claim(forge, request, number)
        raise CiError(
            "the claim of this plan is not among the comments of the token's user: check the token, and on GitHub the "
            "input author"
        )
    if not is_replay and current_claims[0] != (number, own_claim):
        _delete_claim(forge, request, number)
        _refuse_claimed(current_claims)
    click.echo(number)


@main.command()
@_name
@click.option("--body", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The result, as Markdown.")
@_footer
@_request
@click.option("--comment", "number", required=True, type=int, help="The comment's id, as claim printed it.")
@click.option("--log", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The apply's log, as JSON.")
@click.option("--status", required=True, type=int, help="The apply's exit status.")
def conclude(*, name: str, body: Path, footer: str, request: int, number: int, log: Path, status: int) -> None:
    """Replace the comment of a claim by the apply's result. The claim is released if no write was sent."""
    forge = _forge()
    marker = _marker("apply", name)
    own_claim = next(
        (Claim.read(text) for comment_number, text in forge.comments(request, marker) if comment_number == number), None
    )
    if own_claim is None:
        raise CiError(f"comment {number} with the claim is gone: this plan can be applied again")
    is_released = log.exists() and sent_nothing(log.read_text(encoding="utf-8", errors="replace").splitlines(), status)
    head = marker if is_released else f"{marker}\n{_line(own_claim)}"
    if body.exists() and body.stat().st_size:
        text = _page(head, body, footer)
    else:
        text = f"{head}\n`senderid apply` ended with exit status {status} and no result: see its log.\n\n{footer}\n"
    forge.edit_comment(request, number, text)
    claim_state = "released: no write was sent" if is_released else "kept: this plan is not applied again"
    click.echo(f"The comment has the result. The claim is {claim_state}.")


@main.command()
@_files
def changed(*, files: tuple[str, ...]) -> None:
    """Print whether the push of this workflow changed one of the files, true or false; GitHub only."""
    forge = _forge()
    if not isinstance(forge, GitHub):
        raise CiError("GitLab has rules:changes for this")
    names = forge.changed_files()
    click.echo(str(names is None or any_changed(names, files)).lower())


def _forge() -> GitHub | GitLab:
    token = os.environ.get("FORGE_TOKEN")
    if not token:
        raise CiError("no token: set FORGE_TOKEN")
    try:
        return GitLab(os.environ, token) if os.environ.get("GITLAB_CI") else GitHub(os.environ, token)
    except KeyError as missing:
        raise CiError(f"{missing.args[0]} is not set: run this in a job of GitHub or GitLab") from None


def _marker(kind: str, name: str) -> str:
    return f"<!-- senderid {kind} {name} -->"


def _delete_claim(forge: GitHub | GitLab, request: int, number: int) -> None:
    """Delete the comment of a claim whose plan will not be applied."""
    with suppress(CiError):
        forge.delete_comment(request, number)


def _refuse_claimed(claims: Sequence[tuple[int, Claim]]) -> None:
    if claims:
        raise PlanRefused(
            f"job {claims[0][1].job} has applied this plan, or crashed while applying it: plan again, or apply from "
            "the files by hand; to apply the plan again, allow replay"
        )


def _line(claim: Claim) -> str:
    try:
        return claim.line
    except ValueError:
        raise CiError("the plan's id or the job's URL is not valid in a claim: plan again") from None


def _page(head: str, body: Path, footer: str) -> str:
    text = body.read_text(encoding="utf-8")
    page = f"{head}\n{text}" + (f"\n{footer}\n" if footer else "")
    if len(page) > _BODY:
        raise CiError(f"{body} has {len(page):,} characters, and a comment at most {_BODY:,}: use --format markdown")
    return page


def _open_plan(data: bytes) -> SavedPlan:
    try:
        return unseal(data, now=datetime.now(UTC), max_age_seconds=_ANY_AGE)
    except PlanFileError as error:
        raise CiError(f"the artifact is not a valid plan ({error}): run the request's plan again") from None


def _bytes(source: str) -> bytes | None:
    try:
        return Path(source).read_bytes()
    except (OSError, ValueError):
        return None


def _refuse_superseded(forge: GitHub | GitLab, saved_plan: SavedPlan, roots: Sequence[str]) -> None:
    """Raise PlanRefused if a newer commit of the branch desires another status of a number that the plan writes."""
    branch = forge.branch
    newest = None if branch is None else forge.head(branch)
    if newest is None or newest == forge.commit:
        return

    def read_newer(source: str) -> bytes | None:
        path_in_repository = in_repository(source)
        return _bytes(source) if path_in_repository is None else forge.file(path_in_repository.as_posix(), newest)

    for account in saved_plan.accounts:
        if is_superseded(account, _bytes, read_newer, partial(_changed_since, forge, newest, roots)):
            raise PlanRefused(
                f"commit {newest[:12]} of {branch} desires other statuses than this plan writes to account "
                f"{account.account!r}: this job is superseded by that of the newer commit; if there is none, apply "
                "from the files by hand"
            )


def _changed_since(forge: GitHub | GitLab, newest: str, roots: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes of the newest commit's YAML files in `roots` that this checkout lacks or has changed."""
    for root in map(Path, roots):
        root_in_repository = in_repository(root)
        if root_in_repository is None or not root.is_dir():
            continue
        for path, blob in forge.blobs(newest, root_in_repository).items():
            if path.is_relative_to(root_in_repository) and path.suffix in {".yaml", ".yml"}:
                source = str(root / path.relative_to(root_in_repository))
                data = None if _blob(_bytes(source)) == blob else forge.file(path.as_posix(), newest)
                if data is not None:
                    yield source, data


def _blob(data: bytes | None) -> str | None:
    """Return the git blob id of the content of a file; None if there is no file."""
    if data is None:
        return None
    return hashlib.sha1(b"blob %d\0%b" % (len(data), data), usedforsecurity=False).hexdigest()


if __name__ == "__main__":
    try:
        main(prog_name="python -m worker.cli.ci", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(_USAGE)
    except CiError as failed:
        click.echo(f"senderid: {failed}", err=True)
        sys.exit(failed.status)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        click.echo(
            f"senderid: a response of the forge, or the environment of this job, is not as documented "
            f"({type(error).__name__}: {error}): run the job again",
            err=True,
        )
        sys.exit(CiError.status)
