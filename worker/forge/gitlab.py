"""GitLab: one note on a merge request, one issue, and the plan that was reviewed before a merge."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final

from worker.forge.api import Api, Failed

__all__ = ["GitLab"]

_JOB: Final = "senderid-plan"


class GitLab:
    """The project that a pipeline runs for. Notes and issues of the token's own user count as ours."""

    def __init__(self, environment: Mapping[str, str], token: str) -> None:
        self._environment = environment
        self._project = environment["CI_PROJECT_ID"]
        self._api = Api(environment["CI_API_V4_URL"], {"PRIVATE-TOKEN": token})
        self._root = f"/projects/{self._project}"

    @property
    def request(self) -> int | None:
        """The merge request that the pipeline runs for; None where it is for none."""
        number = self._environment.get("CI_MERGE_REQUEST_IID", "")
        return int(number) if number.isascii() and number.isdigit() else None

    @property
    def commit(self) -> str:
        """The commit that the pipeline runs for."""
        return self._environment["CI_COMMIT_SHA"]

    def comment(self, request: int, marker: str, body: str) -> str:
        """Create the note that begins with a marker, or bring it up to date; what was done."""
        notes = f"{self._root}/merge_requests/{request}/notes"
        for each in self._api.pages(notes):
            if each["author"]["id"] == self._user and each["body"].startswith(marker):
                if each["body"] == body:
                    return "unchanged"
                self._api.send("PUT", f"{notes}/{each['id']}", body=body)
                return "updated"
        self._api.send("POST", notes, body=body)
        return "created"

    def open_issue(self, marker: str, title: str, body: str) -> str:
        """Have one issue that begins with a marker open: bring it up to date, open it again or create it."""
        found = self._issue(marker)
        if found is None:
            self._api.send("POST", f"{self._root}/issues", title=title, description=body)
            return "created"
        again = found["state"] != "opened"
        event = {"state_event": "reopen"} if again else {}
        self._api.send("PUT", f"{self._root}/issues/{found['iid']}", title=title, description=body, **event)
        return "opened again" if again else "updated"

    def close_issue(self, marker: str, remark: str) -> str:
        """Close the issue that begins with a marker, where it is open."""
        found = self._issue(marker)
        if found is None or found["state"] != "opened":
            return "not open"
        self._api.send("POST", f"{self._root}/issues/{found['iid']}/notes", body=remark)
        self._api.send("PUT", f"{self._root}/issues/{found['iid']}", state_event="close")
        return "closed"

    def reviewed_plan(self, name: str) -> tuple[int, bytes]:
        """The merged merge request of the commit, and the file `name` that its last pipeline's plan kept.

        Pipelines of forks run in their own projects: only one of this project counts, and of that very head.
        """
        merged = [
            each
            for each in self._api.pages(f"{self._root}/repository/commits/{self.commit}/merge_requests")
            if each["state"] == "merged"
            and self.commit in {each.get("merge_commit_sha"), each.get("squash_commit_sha"), each.get("sha")}
        ]
        if len(merged) != 1:
            raise Failed(
                f"commit {self.commit[:12]} is not the merge of one merge request: there is no reviewed plan; "
                "look at a plan of what is there now, then apply from the files by hand"
            )
        number, head = merged[0]["iid"], merged[0]["sha"]
        pipelines = [
            each["id"]
            for each in self._api.pages(f"{self._root}/merge_requests/{number}/pipelines")
            if each["sha"] == head and str(each["project_id"]) == self._project
        ]
        for pipeline in sorted(pipelines, reverse=True):
            for job in self._api.pages(f"{self._root}/pipelines/{pipeline}/jobs"):
                if job["name"] == _JOB and job["status"] == "success":
                    return number, self._api.download(f"{self._root}/jobs/{job['id']}/artifacts/{name}")
        raise Failed(
            f"merge request {number} has no plan of its last commit {head[:12]}: "
            "run its plan again, or look at a plan of what is there now and apply from the files by hand"
        )

    @cached_property
    def _user(self) -> object:
        return self._api.get("/user")["id"]

    def _issue(self, marker: str) -> dict[str, Any] | None:
        """The issue that is open, or else the newest of those that were."""
        found = [
            each
            for each in self._api.pages(f"{self._root}/issues", scope="created_by_me", state="all")
            if (each["description"] or "").startswith(marker)
        ]
        return max(found, key=lambda each: (each["state"] == "opened", each["iid"]), default=None)
