"""Requests to GitHub and GitLab, and which comments, issues and plans are trusted, without sockets."""

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath
from typing import Any

import pytest

from worker.cli.ci.github import GitHub
from worker.cli.ci.gitlab import GitLab
from worker.cli.ci.http import MAX_ITEMS, CiError, NotFound

HEAD, MERGE = "a" * 40, "b" * 40
HUB = {"GITHUB_REPOSITORY": "acme/numbers", "GITHUB_SHA": MERGE}
LAB = {"CI_PROJECT_ID": "77", "CI_API_V4_URL": "https://git.example/api/v4", "CI_COMMIT_SHA": MERGE}
ROOT = {GitHub: "/repos/acme/numbers", GitLab: "/projects/77"}
MARKER = "<!-- senderid plan main -->"


class Api:
    """API that returns a response for each path. `sent` lists the method, path and fields of each write."""

    def __init__(self, responses: dict[str, Any]) -> None:
        self.responses = responses
        self.sent: list[tuple[str, str, dict[str, Any]]] = []
        self.queries: list[tuple[str, dict[str, str]]] = []
        self.appearing: list[Any] | None = None

    def get(self, path: str, /, **query: str) -> Any:
        """Return the response, or raise NotFound."""
        self.queries.append((path, query))
        if path not in self.responses:
            raise NotFound(path)
        return self.responses[path]

    def pages(self, path: str, /, **query: str) -> Iterator[Any]:
        """Yield the items of the response."""
        yield from self.get(path, **query)

    def download(self, path: str, accept: str = "*/*", **query: str) -> bytes:
        """Return the body of the response."""
        data: bytes = self.get(path, accept=accept, **query)
        return data

    def create(self, path: str, find: Callable[[], Any], **fields: Any) -> Any:
        """Record the item and return it. With `appearing`, the response is lost and the list contains these items."""
        self.sent.append(("POST", path, fields))
        if self.appearing is None:
            return {"id": 5}
        self.responses[path] = self.appearing
        item = find()
        assert item
        return item

    def replace(self, method: str, path: str, **fields: Any) -> None:
        """Record the fields."""
        self.sent.append((method, path, fields))

    def delete(self, path: str) -> None:
        """Record the path."""
        self.sent.append(("DELETE", path, {}))


def make_forge(kind: type[GitHub] | type[GitLab], responses: dict[str, Any], **environment: str) -> tuple[Any, Api]:
    """Return a forge and its API. The paths of *responses* are relative to the repository."""
    forge = kind((HUB if kind is GitHub else LAB) | environment, "t0ken")
    root = ROOT[kind]
    api = Api({path if path == "/user" else f"{root}{path}": response for path, response in responses.items()})
    forge._api = api  # type: ignore[assignment]
    return forge, api


def hub_item(**fields: Any) -> dict[str, Any]:
    """Return a comment or an issue by the workflow's user."""
    return {
        "id": 1,
        "number": 3,
        "user": {"login": "github-actions[bot]"},
        "body": f"{MARKER} x",
        "state": "open",
    } | fields


def lab_item(**fields: Any) -> dict[str, Any]:
    """Return a note or an issue by the token's user."""
    return {
        "id": 1,
        "iid": 3,
        "author": {"id": 5},
        "body": f"{MARKER} x",
        "description": MARKER,
        "state": "opened",
    } | fields


@pytest.mark.parametrize(
    ("kind", "environment", "expected"),
    [
        (
            GitHub,
            {},
            ("https://api.github.com", {"Authorization": "Bearer t0ken", "X-GitHub-Api-Version": "2022-11-28"}),
        ),
        (GitHub, {"GITHUB_API_URL": "https://ghe.example/api/"}, ("https://ghe.example/api", {})),
        (GitLab, {}, ("https://git.example/api/v4", {"PRIVATE-TOKEN": "t0ken"})),
    ],
)
def test_token_is_sent_to_the_api_of_the_job(
    kind: type[GitHub] | type[GitLab], environment: dict[str, str], expected: tuple[str, dict[str, str]]
) -> None:
    api = kind((HUB if kind is GitHub else LAB) | environment, "t0ken")._api
    assert (api._base, api._headers | expected[1]) == (expected[0], api._headers)


@pytest.mark.parametrize(
    ("event", "number"),
    [
        ({"pull_request": {"number": 7}}, 7),
        ({"pull_request": {"number": "7"}}, None),
        ({"before": "x"}, None),
        (None, None),
    ],
)
def test_pull_request_number_is_read_from_the_event(
    event: dict[str, Any] | None, number: int | None, tmp_path: Path
) -> None:
    path = tmp_path / "event.json"
    path.write_text(json.dumps(event))
    assert make_forge(GitHub, {}, **({} if event is None else {"GITHUB_EVENT_PATH": str(path)}))[0].request == number


@pytest.mark.parametrize(("text", "number"), [("7", 7), ("", None), ("x", None), ("\u0667", None), ("-7", None)])
def test_merge_request_number_is_read_from_the_environment(text: str, number: int | None) -> None:
    assert make_forge(GitLab, {}, CI_MERGE_REQUEST_IID=text)[0].request == number
    assert make_forge(GitLab, {})[0].request is None


def test_commit_and_branch_are_read_from_the_environment() -> None:
    """A tag is not a branch."""
    github, _ = make_forge(GitHub, {}, GITHUB_REF_NAME="main", GITHUB_REF_TYPE="branch")
    assert (github.commit, github.branch) == (MERGE, "main")
    assert make_forge(GitHub, {}, GITHUB_REF_NAME="v1", GITHUB_REF_TYPE="tag")[0].branch is None
    gitlab, _ = make_forge(GitLab, {}, CI_COMMIT_BRANCH="main")
    assert (gitlab.commit, gitlab.branch) == (MERGE, "main")
    assert make_forge(GitLab, {})[0].branch is None


HUB_FOREIGN = [
    hub_item(user={"login": "mallory"}),
    hub_item(user=None),
    hub_item(body=f" {MARKER}"),
    hub_item(body=None),
]
LAB_FOREIGN = [lab_item(author={"id": 6}), lab_item(body=f" {MARKER}")]


@pytest.mark.parametrize(
    ("kind", "path", "items"),
    [
        (GitHub, "/issues/7/comments", [*HUB_FOREIGN, hub_item(id=8), hub_item(id=9)]),
        (GitLab, "/merge_requests/7/notes", [*LAB_FOREIGN, lab_item(id=8), lab_item(id=9)]),
    ],
)
def test_only_comments_with_own_author_and_marker_are_trusted(
    kind: type[GitHub] | type[GitLab], path: str, items: list[dict[str, Any]]
) -> None:
    """Any user can write the marker."""
    forge, api = make_forge(kind, {path: items, "/user": {"id": 5}})
    assert forge.comments(7, MARKER) == [(8, f"{MARKER} x"), (9, f"{MARKER} x")]
    assert forge.add_comment(7, MARKER, f"{MARKER} y") == 5
    api.appearing = items
    assert forge.add_comment(7, MARKER, f"{MARKER} y") == 8
    assert api.sent == [("POST", f"{ROOT[kind]}{path}", {"body": f"{MARKER} y"})] * 2


def test_trusted_author_is_configurable() -> None:
    forge, _ = make_forge(
        GitHub,
        {"/issues/7/comments": [hub_item(), hub_item(id=2, user={"login": "app[bot]"})]},
        FORGE_AUTHOR="app[bot]",
    )
    assert [number for number, _ in forge.comments(7, MARKER)] == [2]
    assert make_forge(GitHub, {}, FORGE_AUTHOR="")[0].author == "github-actions[bot]"


@pytest.mark.parametrize(
    ("kind", "method", "path"),
    [(GitHub, "PATCH", "/issues/comments/8"), (GitLab, "PUT", "/merge_requests/7/notes/8")],
)
def test_comment_is_edited_and_deleted(kind: type[GitHub] | type[GitLab], method: str, path: str) -> None:
    forge, api = make_forge(kind, {})
    forge.edit_comment(7, 8, "text")
    forge.delete_comment(7, 8)
    assert api.sent == [(method, f"{ROOT[kind]}{path}", {"body": "text"}), ("DELETE", f"{ROOT[kind]}{path}", {})]


HUB_OTHERS = [*HUB_FOREIGN, hub_item(number=99, pull_request={})]
LAB_OTHERS = [lab_item(iid=99, description=None), lab_item(iid=98, description=f" {MARKER}")]


@pytest.mark.parametrize(
    ("kind", "items", "action", "sent"),
    [
        (GitHub, HUB_OTHERS, "created", ("POST", "/issues", {"title": "t", "body": "b"})),
        (
            GitHub,
            [*HUB_OTHERS, hub_item(number=9, state="closed"), hub_item(number=2), hub_item(number=3)],
            "updated",
            ("PATCH", "/issues/3", {"title": "t", "body": "b", "state": "open"}),
        ),
        (
            GitHub,
            [hub_item(number=9, state="closed"), hub_item(number=8, state="closed")],
            "opened again",
            ("PATCH", "/issues/9", {"title": "t", "body": "b", "state": "open"}),
        ),
        (GitLab, LAB_OTHERS, "created", ("POST", "/issues", {"title": "t", "description": "b"})),
        (
            GitLab,
            [*LAB_OTHERS, lab_item(iid=9, state="closed"), lab_item(iid=2), lab_item(iid=3)],
            "updated",
            ("PUT", "/issues/3", {"title": "t", "description": "b"}),
        ),
        (
            GitLab,
            [lab_item(iid=9, state="closed"), lab_item(iid=8, state="closed")],
            "opened again",
            ("PUT", "/issues/9", {"title": "t", "description": "b", "state_event": "reopen"}),
        ),
    ],
)
def test_open_issue_reuses_the_open_or_newest_closed_issue(
    kind: type[GitHub] | type[GitLab], items: list[Any], action: str, sent: tuple[str, str, dict[str, str]]
) -> None:
    forge, api = make_forge(kind, {"/issues": items})
    assert forge.open_issue(MARKER, "t", "b") == action
    assert api.sent == [(sent[0], f"{ROOT[kind]}{sent[1]}", sent[2])]
    expected = {"creator": "github-actions[bot]"} if kind is GitHub else {"scope": "created_by_me"}
    assert api.queries == [(f"{ROOT[kind]}/issues", {"state": "all"} | expected)]


@pytest.mark.parametrize(("kind", "item"), [(GitHub, hub_item()), (GitLab, lab_item())])
def test_issue_is_looked_up_after_a_lost_response(kind: type[GitHub] | type[GitLab], item: dict[str, Any]) -> None:
    forge, api = make_forge(kind, {"/issues": []})
    api.appearing = [item]
    assert forge.open_issue(MARKER, "t", "b") == "created"


@pytest.mark.parametrize(
    ("kind", "items", "sent"),
    [
        (
            GitHub,
            [hub_item(number=3)],
            [
                ("POST", "/issues/3/comments", {"body": "done"}),
                ("PATCH", "/issues/3", {"state": "closed", "state_reason": "completed"}),
            ],
        ),
        (
            GitLab,
            [lab_item(iid=3)],
            [("POST", "/issues/3/notes", {"body": "done"}), ("PUT", "/issues/3", {"state_event": "close"})],
        ),
        (GitHub, [hub_item(state="closed")], []),
        (GitLab, [lab_item(state="closed")], []),
        (GitHub, [], []),
        (GitLab, [], []),
    ],
)
def test_close_issue_comments_and_closes_only_an_open_issue(
    kind: type[GitHub] | type[GitLab], items: list[Any], sent: list[Any]
) -> None:
    forge, api = make_forge(kind, {"/issues": items})
    assert forge.close_issue(MARKER, "done") == ("closed" if sent else "not open")
    assert api.sent == [(method, f"{ROOT[kind]}{path}", fields) for method, path, fields in sent]


def pull(**fields: Any) -> dict[str, Any]:
    """Return the merged pull request of the commit."""
    return {"number": 7, "merged_at": "2026-11-25", "merge_commit_sha": MERGE, "head": {"sha": HEAD}} | fields


def artifact(number: int, created: str = "2026-11-25", **run: Any) -> dict[str, Any]:
    """Return a plan that a run on a branch of this repository stored."""
    return {
        "id": number,
        "name": f"plan-{HEAD}",
        "expired": False,
        "created_at": created,
        "workflow_run": {"repository_id": 1, "head_repository_id": 1, "head_sha": HEAD} | run,
    }


def archive(*entries: str) -> bytes:
    """Return a ZIP file with these entries."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as opened:
        for entry in entries:
            opened.writestr(entry, "the plan")
    return data.getvalue()


def reviewed_plan(pulls: list[Any], artifacts: list[Any], data: bytes | None = None) -> tuple[int, bytes, str]:
    """Return the pull request, the reviewed plan and the number of its artifact."""
    responses = {
        f"/actions/artifacts/{number}/zip": archive("plan.json") if data is None else data for number in (1, 2)
    }
    responses |= {f"/commits/{MERGE}/pulls": pulls, "/actions/artifacts": {"artifacts": artifacts}}  # type: ignore[dict-item]
    forge, api = make_forge(GitHub, responses)
    number, plan = forge.reviewed_plan("plan")
    assert api.queries[1] == ("/repos/acme/numbers/actions/artifacts", {"name": f"plan-{HEAD}", "per_page": "100"})
    return number, plan, api.queries[-1][0].split("/")[-2]


FORK = [artifact(2, "2026-11-26", head_repository_id=2), artifact(2, "2026-11-26", head_sha="c" * 40)]
UNKNOWN = [artifact(2, repository_id=None, head_repository_id=None), artifact(2) | {"workflow_run": None}]
OTHER = [artifact(2) | {"expired": True}, artifact(2) | {"name": "plan"}]


@pytest.mark.parametrize(
    ("artifacts", "number"),
    [
        ([artifact(1)], "1"),
        ([artifact(1), *FORK, *UNKNOWN, *OTHER], "1"),
        ([artifact(2, "2026-11-26"), artifact(1)], "2"),
        ([artifact(1), artifact(2)], "2"),
        ([artifact(2), artifact(1, "2026-11-26")], "1"),
    ],
)
def test_reviewed_plan_is_newest_artifact_of_own_run_of_the_head(artifacts: list[Any], number: str) -> None:
    """Runs of forks store artifacts in this repository too."""
    pulls = [pull(number=6, merged_at=None), pull(number=5, merge_commit_sha=HEAD), pull()]
    assert reviewed_plan(pulls, artifacts) == (7, b"the plan", number)


@pytest.mark.parametrize(
    ("pulls", "artifacts", "problem"),
    [
        ([], [artifact(1)], f"commit {MERGE[:12]} is not the merge of one pull request"),
        ([pull(), pull(number=8)], [artifact(1)], "is not the merge of one pull request"),
        ([pull(merged_at=None)], [artifact(1)], "is not the merge of one pull request"),
        *(
            ([pull()], [artifact], f"pull request 7 has no plan of its last commit {HEAD[:12]}")
            for artifact in FORK + UNKNOWN + OTHER
        ),
    ],
)
def test_other_artifacts_are_refused(pulls: list[Any], artifacts: list[Any], problem: str) -> None:
    with pytest.raises(CiError, match=problem):
        reviewed_plan(pulls, artifacts)


@pytest.mark.parametrize("data", [b"", b"x", archive(), archive("a", "b")])
def test_artifact_must_be_an_archive_of_one_file(data: bytes) -> None:
    with pytest.raises(CiError, match="archive of one plan"):
        reviewed_plan([pull()], [artifact(1)], data)


def merged(**fields: Any) -> dict[str, Any]:
    """Return the merged merge request of the commit."""
    return {"iid": 7, "state": "merged", "merge_commit_sha": MERGE, "squash_commit_sha": None, "sha": HEAD} | fields


def pipeline(number: int, **fields: Any) -> dict[str, Any]:
    """Return a pipeline of this project for the head."""
    return {"id": number, "sha": HEAD, "project_id": 77} | fields


def job(number: int, **fields: Any) -> dict[str, Any]:
    """Return a job that stored a plan."""
    return {"id": number, "name": "senderid-plan", "status": "success"} | fields


@pytest.mark.parametrize(
    ("requests", "pipelines", "jobs", "expected"),
    [
        ([merged()], [pipeline(1)], {1: [job(4)]}, 4),
        ([merged(merge_commit_sha=None, squash_commit_sha=MERGE)], [pipeline(1)], {1: [job(4)]}, 4),
        ([merged(), merged(iid=6, state="opened")], [pipeline(1)], {1: [job(4)]}, 4),
        ([merged(), merged(iid=6, merge_commit_sha=HEAD)], [pipeline(1)], {1: [job(4)]}, 4),
        ([merged()], [pipeline(1), pipeline(2)], {1: [job(4)], 2: [job(5)]}, 5),
        ([merged()], [pipeline(1), pipeline(2)], {1: [job(4)], 2: [job(5, status="failed")]}, 4),
        ([merged()], [pipeline(1)], {1: [job(3, name="deploy"), job(4)]}, 4),
        ([merged()], [pipeline(1), pipeline(2, project_id=78)], {1: [job(4)], 2: [job(5)]}, 4),
        ([merged()], [pipeline(1), pipeline(2, sha=MERGE)], {1: [job(4)], 2: [job(5)]}, 4),
        ([], [pipeline(1)], {1: [job(4)]}, f"commit {MERGE[:12]} is not the merge of one merge request"),
        ([merged(), merged(iid=8)], [pipeline(1)], {1: [job(4)]}, "is not the merge of one merge request"),
        ([merged()], [], {}, f"merge request 7 has no plan of its last commit {HEAD[:12]}"),
        ([merged()], [pipeline(1)], {1: [job(4, status="failed")]}, "merge request 7 has no plan"),
    ],
)
def test_reviewed_plan_is_from_newest_own_pipeline_of_the_head(
    requests: list[Any], pipelines: list[Any], jobs: dict[int, list[Any]], expected: int | str
) -> None:
    """Pipelines of forks run in their own projects."""
    responses: dict[str, Any] = {f"/repository/commits/{MERGE}/merge_requests": requests}
    responses |= {f"/merge_requests/{number}/pipelines": pipelines for number in (7,)}
    responses |= {f"/pipelines/{number}/jobs": job for number, job in jobs.items()}
    responses |= {f"/jobs/{number}/artifacts/plan.json": b"%d" % number for number in range(3, 6)}
    forge, _ = make_forge(GitLab, responses)
    if isinstance(expected, str):
        with pytest.raises(CiError, match=expected):
            forge.reviewed_plan("plan.json")
    else:
        assert forge.reviewed_plan("plan.json") == (7, b"%d" % expected)


def test_reviewed_plan_of_a_fast_forward_merge() -> None:
    """The commit is the head of the merge request."""
    responses = {
        f"/repository/commits/{MERGE}/merge_requests": [{"iid": 7, "state": "merged", "sha": MERGE}],
        "/merge_requests/7/pipelines": [pipeline(1, sha=MERGE)],
        "/pipelines/1/jobs": [job(4)],
        "/jobs/4/artifacts/plan.json": b"plan",
    }
    assert make_forge(GitLab, responses)[0].reviewed_plan("plan.json") == (7, b"plan")


def test_head_and_files_of_a_branch_are_read() -> None:
    raw = {"accept": "application/vnd.github.raw+json", "ref": HEAD}
    for kind, branch, path, query in (
        (GitHub, "/branches/release%2F1", "/contents/a%20b/c.yaml", raw),
        (
            GitLab,
            "/repository/branches/release%2F1",
            "/repository/files/a%20b%2Fc.yaml/raw",
            {"accept": "*/*", "ref": HEAD},
        ),
    ):
        forge, api = make_forge(kind, {branch: {"commit": {"sha": HEAD, "id": HEAD}}, path: b"bytes"})
        assert forge.head("release/1") == HEAD
        assert forge.file("a b/c.yaml", HEAD) == b"bytes"
        assert api.queries[-1][1] == query
        assert forge.file("no.yaml", HEAD) is None


def test_blobs_lists_files_and_refuses_a_truncated_list() -> None:
    """Folders are not listed."""
    entries = [
        {"path": f"numbers/{name}", "type": kind, "sha": name, "id": name}
        for name, kind in (("a", "blob"), ("b", "tree"))
    ]
    github, api = make_forge(GitHub, {f"/git/trees/{HEAD}": {"tree": entries, "truncated": False}})
    assert github.blobs(HEAD, PurePath("numbers")) == {PurePath("numbers/a"): "a"}
    assert api.queries == [(f"{ROOT[GitHub]}/git/trees/{HEAD}", {"recursive": "1"})]
    with pytest.raises(CiError, match="more files than GitHub lists"):
        make_forge(GitHub, {f"/git/trees/{HEAD}": {"tree": entries, "truncated": True}})[0].blobs(
            HEAD, PurePath("numbers")
        )

    gitlab, api = make_forge(GitLab, {"/repository/tree": entries})
    assert gitlab.blobs(HEAD, PurePath("numbers/kr")) == {PurePath("numbers/a"): "a"}
    assert gitlab.blobs(HEAD, PurePath()) == {PurePath("numbers/a"): "a"}
    all_files = {"ref": HEAD, "recursive": "true"}
    assert [query for _, query in api.queries] == [all_files | {"path": "numbers/kr"}, all_files]
    assert make_forge(GitLab, {})[0].blobs(HEAD, PurePath("numbers")) == {}
    with pytest.raises(CiError, match="numbers has more files than this job reads"):
        make_forge(GitLab, {"/repository/tree": entries[:1] * MAX_ITEMS})[0].blobs(HEAD, PurePath("numbers"))
    assert make_forge(GitLab, {"/repository/tree": entries[:1] * (MAX_ITEMS - 1)})[0].blobs(HEAD, PurePath("numbers"))
