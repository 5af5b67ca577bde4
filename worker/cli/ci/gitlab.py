"""Client of GitLab: notes on a merge request, issues, and reviewed plans."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import PurePath
from typing import Any, Final
from urllib.parse import quote

from worker.cli.ci.http import MAX_ITEMS, Api, CiError, NotFound

__all__ = ["GitLab"]

_JOB: Final = "senderid-plan"


class GitLab:
    """The GitLab project that a pipeline runs for.

    Only notes and issues by the token's user are read, edited or deleted: these steps created them.
    """

    def __init__(self, environment: Mapping[str, str], token: str) -> None:
        self._environment = environment
        self._project = environment["CI_PROJECT_ID"]
        self._api = Api(environment["CI_API_V4_URL"], {"PRIVATE-TOKEN": token})
        self._root = f"/projects/{self._project}"

    @property
    def request(self) -> int | None:
        """The merge request that the pipeline runs for; None if there is none."""
        number = self._environment.get("CI_MERGE_REQUEST_IID", "")
        return int(number) if number.isascii() and number.isdigit() else None

    @property
    def commit(self) -> str:
        """The commit that the pipeline runs for."""
        return self._environment["CI_COMMIT_SHA"]

    @property
    def branch(self) -> str | None:
        """The branch that the pipeline runs for; None if there is none."""
        return self._environment.get("CI_COMMIT_BRANCH")

    def comments(self, request: int, marker: str) -> list[tuple[int, str]]:
        """Return id and text of each own note that starts with a marker."""
        return self._notes(f"{self._root}/merge_requests/{request}/notes", marker)

    def add_comment(self, request: int, key: str, body: str) -> int:
        """Create a note, and return its id. Its text must start with `key`, which must be unique."""
        return self._add_note(f"{self._root}/merge_requests/{request}/notes", key, body)

    def edit_comment(self, request: int, number: int, body: str) -> None:
        """Replace the text of a note."""
        self._api.replace("PUT", f"{self._root}/merge_requests/{request}/notes/{number}", body=body)

    def delete_comment(self, request: int, number: int) -> None:
        """Delete a note."""
        self._api.delete(f"{self._root}/merge_requests/{request}/notes/{number}")

    def open_issue(self, marker: str, title: str, body: str) -> str:
        """Create, update or reopen the issue whose text starts with a marker."""
        issue = self._issue(marker)
        if issue is None:
            self._api.create(f"{self._root}/issues", lambda: self._issue(marker), title=title, description=body)
            return "created"
        is_reopened = issue["state"] != "opened"
        event = {"state_event": "reopen"} if is_reopened else {}
        self._api.replace("PUT", f"{self._root}/issues/{issue['iid']}", title=title, description=body, **event)
        return "opened again" if is_reopened else "updated"

    def close_issue(self, marker: str, remark: str) -> str:
        """Comment on the issue whose text starts with a marker, and close it, if it is open."""
        issue = self._issue(marker)
        if issue is None or issue["state"] != "opened":
            return "not open"
        self._add_note(f"{self._root}/issues/{issue['iid']}/notes", remark, remark)
        self._api.replace("PUT", f"{self._root}/issues/{issue['iid']}", state_event="close")
        return "closed"

    def reviewed_plan(self, name: str) -> tuple[int, bytes]:
        """Return the number of the commit's merged merge request, and the plan that its last pipeline stored.

        The plan is the artifact file `name`. Pipelines of forks run in other projects. Only a pipeline of this project,
        at the head of the merge request, is trusted.
        """
        requests = [
            request
            for request in self._api.pages(f"{self._root}/repository/commits/{self.commit}/merge_requests")
            if request["state"] == "merged"
            and self.commit in {request.get("merge_commit_sha"), request.get("squash_commit_sha"), request.get("sha")}
        ]
        if len(requests) != 1:
            raise CiError(
                f"commit {self.commit[:12]} is not the merge of one merge request: there is no reviewed plan; "
                "review a new plan, then apply from the files by hand"
            )
        number, head = requests[0]["iid"], requests[0]["sha"]
        pipelines = [
            pipeline["id"]
            for pipeline in self._api.pages(f"{self._root}/merge_requests/{number}/pipelines")
            if pipeline["sha"] == head and str(pipeline["project_id"]) == self._project
        ]
        for pipeline in sorted(pipelines, reverse=True):
            for job in self._api.pages(f"{self._root}/pipelines/{pipeline}/jobs"):
                if job["name"] == _JOB and job["status"] == "success":
                    return number, self._api.download(f"{self._root}/jobs/{job['id']}/artifacts/{name}")
        raise CiError(
            f"merge request {number} has no plan of its last commit {head[:12]}: "
            "run its plan again, or review a new plan and apply from the files by hand"
        )

    def head(self, branch: str) -> str:
        """Return the id of the newest commit of a branch."""
        return str(self._api.get(f"{self._root}/repository/branches/{quote(branch, safe='')}")["commit"]["id"])

    def file(self, path: str, commit: str) -> bytes | None:
        """Return the bytes of a file in a commit; None if it does not exist."""
        try:
            return self._api.download(f"{self._root}/repository/files/{quote(path, safe='')}/raw", ref=commit)
        except NotFound:
            return None

    def blobs(self, commit: str, folder: PurePath) -> dict[PurePath, str]:
        """Return the files of a commit in a folder, with their git blob ids."""
        query = {"ref": commit, "recursive": "true"} | ({"path": folder.as_posix()} if folder.parts else {})
        try:
            entries = list(self._api.pages(f"{self._root}/repository/tree", **query))
        except NotFound:
            return {}
        if len(entries) >= MAX_ITEMS:
            raise CiError(f"{folder} has more files than this job reads: apply from the files by hand")
        return {PurePath(entry["path"]): entry["id"] for entry in entries if entry["type"] == "blob"}

    def _notes(self, path: str, marker: str) -> list[tuple[int, str]]:
        return [
            (note["id"], note["body"])
            for note in self._api.pages(path)
            if note["author"]["id"] == self._user and note["body"].startswith(marker)
        ]

    def _add_note(self, path: str, key: str, body: str) -> int:
        def find() -> dict[str, int] | None:
            return next(({"id": number} for number, _ in self._notes(path, key)), None)

        return int(self._api.create(path, find, body=body)["id"])

    @cached_property
    def _user(self) -> object:
        return self._api.get("/user")["id"]

    def _issue(self, marker: str) -> dict[str, Any] | None:
        """Return the own issue whose text starts with a marker: the open one, otherwise the newest closed one."""
        issues = [
            issue
            for issue in self._api.pages(f"{self._root}/issues", scope="created_by_me", state="all")
            if (issue["description"] or "").startswith(marker)
        ]
        return max(issues, key=lambda issue: (issue["state"] == "opened", issue["iid"]), default=None)
