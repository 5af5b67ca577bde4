"""Client of GitHub: comments on a pull request, issues, reviewed plans, and the files that a push changed."""

import json
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path, PurePath
from typing import Any, Final
from urllib.parse import quote
from zipfile import BadZipFile, ZipFile

from worker.cli.ci.http import Api, CiError, NotFound

__all__ = ["GitHub"]

_BOT: Final = "github-actions[bot]"
"""The author of comments that a workflow's own token creates."""
_FILES: Final = 300
"""Maximum count of changed files that GitHub lists in a comparison."""
_PLAN_CAP: Final = 256 << 20
"""Maximum size in bytes of a saved plan."""


class GitHub:
    """The GitHub repository that a workflow runs for.

    Only comments and issues by `author` are read, edited or deleted: these steps created them.
    """

    def __init__(self, environment: Mapping[str, str], token: str) -> None:
        self._environment = environment
        self.repository = environment["GITHUB_REPOSITORY"]
        self.author = environment.get("FORGE_AUTHOR") or _BOT
        self._api = Api(
            environment.get("GITHUB_API_URL") or "https://api.github.com",
            {"Authorization": f"Bearer {token}", "X-GitHub-Api-Version": "2022-11-28"},
        )
        self._root = f"/repos/{self.repository}"

    @property
    def request(self) -> int | None:
        """The pull request that the workflow runs for; None if there is none."""
        number = self._event.get("pull_request", {}).get("number")
        return number if isinstance(number, int) else None

    @property
    def commit(self) -> str:
        """The commit that the workflow runs for."""
        return self._environment["GITHUB_SHA"]

    @property
    def branch(self) -> str | None:
        """The branch that the workflow runs for; None for a tag."""
        return (
            self._environment.get("GITHUB_REF_NAME") if self._environment.get("GITHUB_REF_TYPE") == "branch" else None
        )

    def comments(self, request: int, marker: str) -> list[tuple[int, str]]:
        """Return id and text of each own comment that starts with a marker."""
        comments = self._api.pages(f"{self._root}/issues/{request}/comments")
        return [(comment["id"], comment["body"]) for comment in comments if self._is_own(comment, marker)]

    def add_comment(self, request: int, key: str, body: str) -> int:
        """Create a comment, and return its id. Its text must start with `key`, which must be unique."""

        def find() -> dict[str, int] | None:
            return next(({"id": number} for number, _ in self.comments(request, key)), None)

        created = self._api.create(f"{self._root}/issues/{request}/comments", find, body=body)
        return int(created["id"])

    def edit_comment(self, _request: int, number: int, body: str) -> None:
        """Replace the text of a comment."""
        self._api.replace("PATCH", f"{self._root}/issues/comments/{number}", body=body)

    def delete_comment(self, _request: int, number: int) -> None:
        """Delete a comment."""
        self._api.delete(f"{self._root}/issues/comments/{number}")

    def open_issue(self, marker: str, title: str, body: str) -> str:
        """Create, update or reopen the issue whose text starts with a marker."""
        issue = self._issue(marker)
        if issue is None:
            self._api.create(f"{self._root}/issues", lambda: self._issue(marker), title=title, body=body)
            return "created"
        self._api.replace("PATCH", f"{self._root}/issues/{issue['number']}", title=title, body=body, state="open")
        return "updated" if issue["state"] == "open" else "opened again"

    def close_issue(self, marker: str, remark: str) -> str:
        """Comment on the issue whose text starts with a marker, and close it, if it is open."""
        issue = self._issue(marker)
        if issue is None or issue["state"] != "open":
            return "not open"
        self.add_comment(issue["number"], remark, remark)
        self._api.replace("PATCH", f"{self._root}/issues/{issue['number']}", state="closed", state_reason="completed")
        return "closed"

    def reviewed_plan(self, name: str) -> tuple[int, bytes]:
        """Return the number of the commit's merged pull request, and the plan that its last run stored as an artifact.

        Runs for forks store artifacts in this repository, too. Only an artifact of a run for a branch of this
        repository, at the head of the pull request, is trusted.
        """
        pulls = [
            pull
            for pull in self._api.pages(f"{self._root}/commits/{quote(self.commit)}/pulls")
            if pull.get("merged_at") and pull.get("merge_commit_sha") == self.commit
        ]
        if len(pulls) != 1:
            raise CiError(
                f"commit {self.commit[:12]} is not the merge of one pull request: there is no reviewed plan; "
                "review a new plan, then apply from the files by hand"
            )
        number, head = pulls[0]["number"], pulls[0]["head"]["sha"]
        artifacts = [artifact for artifact in self._artifacts(f"{name}-{head}") if self._is_trusted(artifact, head)]
        if not artifacts:
            raise CiError(
                f"pull request {number} has no plan of its last commit {head[:12]}, or it has expired: "
                "run its plan again, or review a new plan and apply from the files by hand"
            )
        newest = max(artifacts, key=lambda artifact: (artifact["created_at"], artifact["id"]))
        return number, _only_file(self._api.download(f"{self._root}/actions/artifacts/{newest['id']}/zip"))

    def head(self, branch: str) -> str:
        """Return the id of the newest commit of a branch."""
        return str(self._api.get(f"{self._root}/branches/{quote(branch, safe='')}")["commit"]["sha"])

    def file(self, path: str, commit: str) -> bytes | None:
        """Return the bytes of a file in a commit; None if it does not exist."""
        try:
            return self._api.download(
                f"{self._root}/contents/{quote(path)}", accept="application/vnd.github.raw+json", ref=commit
            )
        except NotFound:
            return None

    def blobs(self, commit: str, _folder: PurePath) -> dict[PurePath, str]:
        """Return all files of a commit with their git blob ids. The folder is ignored."""
        tree = self._api.get(f"{self._root}/git/trees/{quote(commit)}", recursive="1")
        if tree["truncated"]:
            raise CiError("the repository has more files than GitHub lists: apply from the files by hand")
        return {PurePath(entry["path"]): entry["sha"] for entry in tree["tree"] if entry["type"] == "blob"}

    def changed_files(self) -> set[str] | None:
        """Return the files that the push of this workflow changed; None if GitHub does not list all of them."""
        commit_before = self._event.get("before")
        if not isinstance(commit_before, str) or not commit_before.strip("0"):
            return None
        try:
            comparison = self._api.get(f"{self._root}/compare/{quote(commit_before)}...{quote(self.commit)}")
        except NotFound:
            return None
        # after a forced push, the comparison starts at the common ancestor and omits reverted changes
        if comparison["status"] != "ahead":
            return None
        files = comparison["files"]
        names = {name for file in files for name in (file["filename"], file.get("previous_filename")) if name}
        return names if len(files) < _FILES else None

    @property
    def _event(self) -> dict[str, Any]:
        path = self._environment.get("GITHUB_EVENT_PATH")
        event: dict[str, Any] = json.loads(Path(path).read_bytes()) if path else {}
        return event

    def _is_own(self, comment: Mapping[str, Any], marker: str) -> bool:
        return (comment.get("user") or {}).get("login") == self.author and _starts_with(comment.get("body"), marker)

    def _issue(self, marker: str) -> dict[str, Any] | None:
        """Return the own issue whose text starts with a marker: the open one, otherwise the newest closed one."""
        issues = [
            issue
            for issue in self._api.pages(f"{self._root}/issues", state="all", creator=self.author)
            if "pull_request" not in issue and self._is_own(issue, marker)
        ]
        return max(issues, key=lambda issue: (issue["state"] == "open", issue["number"]), default=None)

    def _artifacts(self, name: str) -> list[dict[str, Any]]:
        response = self._api.get(f"{self._root}/actions/artifacts", name=name, per_page="100")
        return [artifact for artifact in response["artifacts"] if artifact["name"] == name and not artifact["expired"]]

    def _is_trusted(self, artifact: Mapping[str, Any], head: str) -> bool:
        run = artifact.get("workflow_run") or {}
        repository_id = run.get("repository_id")
        return (
            repository_id is not None and run.get("head_repository_id") == repository_id and run.get("head_sha") == head
        )


def _starts_with(body: object, marker: str) -> bool:
    return isinstance(body, str) and body.startswith(marker)


def _only_file(archive: bytes) -> bytes:
    try:
        with ZipFile(BytesIO(archive)) as archive_file:
            (entry,) = archive_file.infolist()
            if entry.file_size <= _PLAN_CAP:
                return archive_file.read(entry)
    except (BadZipFile, ValueError, NotImplementedError, RuntimeError):
        pass
    raise CiError("the plan's artifact is not an archive of one plan: run the pull request's plan again")
