"""GitHub: one comment on a pull request, one issue, and the plan that was reviewed before a merge."""

import json
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote
from zipfile import BadZipFile, ZipFile

from worker.forge.api import Api, Failed

__all__ = ["GitHub"]

_BOT: Final = "github-actions[bot]"
"""Whose comments are those of a workflow's own token."""
_PLAN_CAP: Final = 256 << 20
"""Bytes of a saved plan."""


class GitHub:
    """The repository that a workflow runs for. `author` is whose comments and issues count as ours."""

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
        """The pull request that the workflow runs for; None where it is for none."""
        event = self._environment.get("GITHUB_EVENT_PATH")
        told = json.loads(Path(event).read_bytes()) if event else {}
        number = told.get("pull_request", {}).get("number")
        return number if isinstance(number, int) else None

    @property
    def commit(self) -> str:
        """The commit that the workflow runs for."""
        return self._environment["GITHUB_SHA"]

    def comment(self, request: int, marker: str, body: str) -> str:
        """Create the comment that begins with a marker, or bring it up to date; what was done."""
        for each in self._api.pages(f"{self._root}/issues/{request}/comments"):
            if self._ours(each, marker):
                if each["body"] == body:
                    return "unchanged"
                self._api.send("PATCH", f"{self._root}/issues/comments/{each['id']}", body=body)
                return "updated"
        self._api.send("POST", f"{self._root}/issues/{request}/comments", body=body)
        return "created"

    def open_issue(self, marker: str, title: str, body: str) -> str:
        """Have one issue that begins with a marker open: bring it up to date, open it again or create it."""
        found = self._issue(marker)
        if found is None:
            self._api.send("POST", f"{self._root}/issues", title=title, body=body)
            return "created"
        self._api.send("PATCH", f"{self._root}/issues/{found['number']}", title=title, body=body, state="open")
        return "updated" if found["state"] == "open" else "opened again"

    def close_issue(self, marker: str, remark: str) -> str:
        """Close the issue that begins with a marker, where it is open."""
        found = self._issue(marker)
        if found is None or found["state"] != "open":
            return "not open"
        self._api.send("POST", f"{self._root}/issues/{found['number']}/comments", body=remark)
        self._api.send("PATCH", f"{self._root}/issues/{found['number']}", state="closed", state_reason="completed")
        return "closed"

    def reviewed_plan(self, name: str) -> tuple[int, bytes]:
        """The merged pull request of the commit, and the plan that its last run kept as an artifact of this name.

        Runs of forks keep artifacts in this repository too: only one of its own branches counts, and of that very head.
        """
        merged = [
            pull
            for pull in self._api.pages(f"{self._root}/commits/{quote(self.commit)}/pulls")
            if pull.get("merged_at") and pull.get("merge_commit_sha") == self.commit
        ]
        if len(merged) != 1:
            raise Failed(
                f"commit {self.commit[:12]} is not the merge of one pull request: there is no reviewed plan; "
                "look at a plan of what is there now, then apply from the files by hand"
            )
        number, head = merged[0]["number"], merged[0]["head"]["sha"]
        kept = [each for each in self._artifacts(f"{name}-{head}") if self._trusted(each, head)]
        if not kept:
            raise Failed(
                f"pull request {number} has no plan of its last commit {head[:12]}, or it has expired: "
                "run its plan again, or look at a plan of what is there now and apply from the files by hand"
            )
        newest = max(kept, key=lambda each: (each["created_at"], each["id"]))
        return number, _only_file(self._api.download(f"{self._root}/actions/artifacts/{newest['id']}/zip"))

    def _ours(self, each: Mapping[str, Any], marker: str) -> bool:
        return (each.get("user") or {}).get("login") == self.author and _begins(each.get("body"), marker)

    def _issue(self, marker: str) -> dict[str, Any] | None:
        """The issue that is open, or else the newest of those that were."""
        found = [
            each
            for each in self._api.pages(f"{self._root}/issues", state="all", creator=self.author)
            if "pull_request" not in each and self._ours(each, marker)
        ]
        return max(found, key=lambda each: (each["state"] == "open", each["number"]), default=None)

    def _artifacts(self, name: str) -> list[dict[str, Any]]:
        answer = self._api.get(f"{self._root}/actions/artifacts", name=name, per_page="100")
        return [each for each in answer["artifacts"] if each["name"] == name and not each["expired"]]

    def _trusted(self, artifact: Mapping[str, Any], head: str) -> bool:
        run = artifact.get("workflow_run") or {}
        own = run.get("repository_id")
        return own is not None and run.get("head_repository_id") == own and run.get("head_sha") == head


def _begins(body: object, marker: str) -> bool:
    return isinstance(body, str) and body.startswith(marker)


def _only_file(archive: bytes) -> bytes:
    try:
        with ZipFile(BytesIO(archive)) as opened:
            (entry,) = opened.infolist()
            if entry.file_size <= _PLAN_CAP:
                return opened.read(entry)
    except (BadZipFile, ValueError, NotImplementedError, RuntimeError):
        pass
    raise Failed("the plan's artifact is no archive of one plan: run the pull request's plan again")
