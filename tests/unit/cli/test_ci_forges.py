"""What jobs ask of GitHub and GitLab, and which comments, issues and plans they trust, without sockets."""

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath
from typing import Any

import pytest

from worker.cli.ci.github import GitHub
from worker.cli.ci.gitlab import GitLab
from worker.cli.ci.http import MOST_ITEMS, CiError, NotFound

HEAD, MERGE = "a" * 40, "b" * 40
HUB = {"GITHUB_REPOSITORY": "acme/numbers", "GITHUB_SHA": MERGE}
LAB = {"CI_PROJECT_ID": "77", "CI_API_V4_URL": "https://git.example/api/v4", "CI_COMMIT_SHA": MERGE}
ROOT = {GitHub: "/repos/acme/numbers", GitLab: "/projects/77"}
MARKER = "<!-- senderid plan main -->"


class Api:
    """Answers by path, without a network. `sent` has the method, path and fields of each write."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.sent: list[tuple[str, str, dict[str, Any]]] = []
        self.queries: list[tuple[str, dict[str, str]]] = []
        self.appearing: list[Any] | None = None

    def get(self, path: str, /, **query: str) -> Any:
        """Return the answer, or raise NotFound."""
        self.queries.append((path, query))
        if path not in self.answers:
            raise NotFound(path)
        return self.answers[path]

    def pages(self, path: str, /, **query: str) -> Iterator[Any]:
        """Yield the items of the answer."""
        yield from self.get(path, **query)

    def download(self, path: str, accept: str = "*/*", **query: str) -> bytes:
        """Return the answer."""
        data: bytes = self.get(path, accept=accept, **query)
        return data

    def create(self, path: str, find: Callable[[], Any], **fields: Any) -> Any:
        """Note the item, and return it. With `appearing`, its answer is lost, and the list has these items now."""
        self.sent.append(("POST", path, fields))
        if self.appearing is None:
            return {"id": 5}
        self.answers[path] = self.appearing
        found = find()
        assert found
        return found

    def replace(self, method: str, path: str, **fields: Any) -> None:
        """Note the fields."""
        self.sent.append((method, path, fields))

    def delete(self, path: str) -> None:
        """Note the path."""
        self.sent.append(("DELETE", path, {}))


def made(kind: type[GitHub] | type[GitLab], answers: dict[str, Any], **environment: str) -> tuple[Any, Api]:
    """Return a job of a forge, and its API, whose answers are below the repository."""
    forge = kind((HUB if kind is GitHub else LAB) | environment, "t0ken")
    root = ROOT[kind]
    api = Api({path if path == "/user" else f"{root}{path}": answer for path, answer in answers.items()})
    forge._api = api  # type: ignore[assignment]
    return forge, api


def hub(**more: Any) -> dict[str, Any]:
    """Return a comment or an issue of the workflow's own user."""
    return {
        "id": 1,
        "number": 3,
        "user": {"login": "github-actions[bot]"},
        "body": f"{MARKER} x",
        "state": "open",
    } | more


def lab(**more: Any) -> dict[str, Any]:
    """Return a note or an issue of the token's user."""
    return {
        "id": 1,
        "iid": 3,
        "author": {"id": 5},
        "body": f"{MARKER} x",
        "description": MARKER,
        "state": "opened",
    } | more


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
def test_token_goes_to_the_api_of_the_job(
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
def test_pull_request_of_a_workflow(event: dict[str, Any] | None, number: int | None, tmp_path: Path) -> None:
    path = tmp_path / "event.json"
    path.write_text(json.dumps(event))
    assert made(GitHub, {}, **({} if event is None else {"GITHUB_EVENT_PATH": str(path)}))[0].request == number


@pytest.mark.parametrize(("text", "number"), [("7", 7), ("", None), ("x", None), ("\u0667", None), ("-7", None)])
def test_merge_request_of_a_pipeline(text: str, number: int | None) -> None:
    assert made(GitLab, {}, CI_MERGE_REQUEST_IID=text)[0].request == number
    assert made(GitLab, {})[0].request is None


def test_commit_and_branch_of_the_job() -> None:
    """A tag is no branch."""
    github, _ = made(GitHub, {}, GITHUB_REF_NAME="main", GITHUB_REF_TYPE="branch")
    assert (github.commit, github.branch) == (MERGE, "main")
    assert made(GitHub, {}, GITHUB_REF_NAME="v1", GITHUB_REF_TYPE="tag")[0].branch is None
    gitlab, _ = made(GitLab, {}, CI_COMMIT_BRANCH="main")
    assert (gitlab.commit, gitlab.branch) == (MERGE, "main")
    assert made(GitLab, {})[0].branch is None


HUB_FOREIGN = [hub(user={"login": "mallory"}), hub(user=None), hub(body=f" {MARKER}"), hub(body=None)]
LAB_FOREIGN = [lab(author={"id": 6}), lab(body=f" {MARKER}")]


@pytest.mark.parametrize(
    ("kind", "path", "items"),
    [
        (GitHub, "/issues/7/comments", [*HUB_FOREIGN, hub(id=8), hub(id=9)]),
        (GitLab, "/merge_requests/7/notes", [*LAB_FOREIGN, lab(id=8), lab(id=9)]),
    ],
)
def test_comments_are_of_the_kit_if_user_and_first_line_say_so(
    kind: type[GitHub] | type[GitLab], path: str, items: list[dict[str, Any]]
) -> None:
    """Anyone may write the marker."""
    forge, api = made(kind, {path: items, "/user": {"id": 5}})
    assert forge.comments(7, MARKER) == [(8, f"{MARKER} x"), (9, f"{MARKER} x")]
    assert forge.add_comment(7, MARKER, f"{MARKER} y") == 5
    api.appearing = items
    assert forge.add_comment(7, MARKER, f"{MARKER} y") == 8
    assert api.sent == [("POST", f"{ROOT[kind]}{path}", {"body": f"{MARKER} y"})] * 2


def test_author_of_the_kit_can_be_named() -> None:
    forge, _ = made(
        GitHub, {"/issues/7/comments": [hub(), hub(id=2, user={"login": "app[bot]"})]}, FORGE_AUTHOR="app[bot]"
    )
    assert [number for number, _ in forge.comments(7, MARKER)] == [2]
    assert made(GitHub, {}, FORGE_AUTHOR="")[0].author == "github-actions[bot]"


@pytest.mark.parametrize(
    ("kind", "method", "path"),
    [(GitHub, "PATCH", "/issues/comments/8"), (GitLab, "PUT", "/merge_requests/7/notes/8")],
)
def test_a_comment_is_edited_and_deleted(kind: type[GitHub] | type[GitLab], method: str, path: str) -> None:
    forge, api = made(kind, {})
    forge.edit_comment(7, 8, "text")
    forge.delete_comment(7, 8)
    assert api.sent == [(method, f"{ROOT[kind]}{path}", {"body": "text"}), ("DELETE", f"{ROOT[kind]}{path}", {})]


HUB_OTHERS = [*HUB_FOREIGN, hub(number=99, pull_request={})]
LAB_OTHERS = [lab(iid=99, description=None), lab(iid=98, description=f" {MARKER}")]


@pytest.mark.parametrize(
    ("kind", "items", "done", "sent"),
    [
        (GitHub, HUB_OTHERS, "created", ("POST", "/issues", {"title": "t", "body": "b"})),
        (
            GitHub,
            [*HUB_OTHERS, hub(number=9, state="closed"), hub(number=2), hub(number=3)],
            "updated",
            ("PATCH", "/issues/3", {"title": "t", "body": "b", "state": "open"}),
        ),
        (
            GitHub,
            [hub(number=9, state="closed"), hub(number=8, state="closed")],
            "opened again",
            ("PATCH", "/issues/9", {"title": "t", "body": "b", "state": "open"}),
        ),
        (GitLab, LAB_OTHERS, "created", ("POST", "/issues", {"title": "t", "description": "b"})),
        (
            GitLab,
            [*LAB_OTHERS, lab(iid=9, state="closed"), lab(iid=2), lab(iid=3)],
            "updated",
            ("PUT", "/issues/3", {"title": "t", "description": "b"}),
        ),
        (
            GitLab,
            [lab(iid=9, state="closed"), lab(iid=8, state="closed")],
            "opened again",
            ("PUT", "/issues/9", {"title": "t", "description": "b", "state_event": "reopen"}),
        ),
    ],
)
def test_there_is_one_issue(
    kind: type[GitHub] | type[GitLab], items: list[Any], done: str, sent: tuple[str, str, dict[str, str]]
) -> None:
    """The open one, or else the newest closed one."""
    forge, api = made(kind, {"/issues": items})
    assert forge.open_issue(MARKER, "t", "b") == done
    assert api.sent == [(sent[0], f"{ROOT[kind]}{sent[1]}", sent[2])]
    expected = {"creator": "github-actions[bot]"} if kind is GitHub else {"scope": "created_by_me"}
    assert api.queries == [(f"{ROOT[kind]}/issues", {"state": "all"} | expected)]


@pytest.mark.parametrize(("kind", "item"), [(GitHub, hub()), (GitLab, lab())])
def test_an_issue_whose_answer_was_lost_is_found(kind: type[GitHub] | type[GitLab], item: dict[str, Any]) -> None:
    forge, api = made(kind, {"/issues": []})
    api.appearing = [item]
    assert forge.open_issue(MARKER, "t", "b") == "created"


@pytest.mark.parametrize(
    ("kind", "items", "sent"),
    [
        (
            GitHub,
            [hub(number=3)],
            [
                ("POST", "/issues/3/comments", {"body": "done"}),
                ("PATCH", "/issues/3", {"state": "closed", "state_reason": "completed"}),
            ],
        ),
        (
            GitLab,
            [lab(iid=3)],
            [("POST", "/issues/3/notes", {"body": "done"}), ("PUT", "/issues/3", {"state_event": "close"})],
        ),
        (GitHub, [hub(state="closed")], []),
        (GitLab, [lab(state="closed")], []),
        (GitHub, [], []),
        (GitLab, [], []),
    ],
)
def test_an_open_issue_is_closed(kind: type[GitHub] | type[GitLab], items: list[Any], sent: list[Any]) -> None:
    forge, api = made(kind, {"/issues": items})
    assert forge.close_issue(MARKER, "done") == ("closed" if sent else "not open")
    assert api.sent == [(method, f"{ROOT[kind]}{path}", fields) for method, path, fields in sent]


def pull(**more: Any) -> dict[str, Any]:
    """Return the merged pull request of the commit."""
    return {"number": 7, "merged_at": "2026-11-25", "merge_commit_sha": MERGE, "head": {"sha": HEAD}} | more


def artifact(number: int, created: str = "2026-11-25", **run: Any) -> dict[str, Any]:
    """Return a plan that a run of this repository's own branch kept."""
    return {
        "id": number,
        "name": f"plan-{HEAD}",
        "expired": False,
        "created_at": created,
        "workflow_run": {"repository_id": 1, "head_repository_id": 1, "head_sha": HEAD} | run,
    }


def archive(*entries: str) -> bytes:
    """Return a ZIP file of these entries."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as opened:
        for entry in entries:
            opened.writestr(entry, "the plan")
    return data.getvalue()


def reviewed(pulls: list[Any], artifacts: list[Any], kept: bytes | None = None) -> tuple[int, bytes, str]:
    """Return what GitHub has as the reviewed plan, with the number of its artifact."""
    answers = {f"/actions/artifacts/{number}/zip": archive("plan.json") if kept is None else kept for number in (1, 2)}
    answers |= {f"/commits/{MERGE}/pulls": pulls, "/actions/artifacts": {"artifacts": artifacts}}  # type: ignore[dict-item]
    forge, api = made(GitHub, answers)
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
def test_the_newest_artifact_of_an_own_run_of_the_head_is_the_plan(artifacts: list[Any], number: str) -> None:
    """Runs of forks keep artifacts in this repository too."""
    pulls = [pull(number=6, merged_at=None), pull(number=5, merge_commit_sha=HEAD), pull()]
    assert reviewed(pulls, artifacts) == (7, b"the plan", number)


@pytest.mark.parametrize(
    ("pulls", "artifacts", "problem"),
    [
        ([], [artifact(1)], f"commit {MERGE[:12]} is not the merge of one pull request"),
        ([pull(), pull(number=8)], [artifact(1)], "is not the merge of one pull request"),
        ([pull(merged_at=None)], [artifact(1)], "is not the merge of one pull request"),
        *(
            ([pull()], [each], f"pull request 7 has no plan of its last commit {HEAD[:12]}")
            for each in FORK + UNKNOWN + OTHER
        ),
    ],
)
def test_no_other_artifact_is_the_plan(pulls: list[Any], artifacts: list[Any], problem: str) -> None:
    with pytest.raises(CiError, match=problem):
        reviewed(pulls, artifacts)


@pytest.mark.parametrize("kept", [b"", b"x", archive(), archive("a", "b")])
def test_artifact_is_an_archive_of_one_file(kept: bytes) -> None:
    with pytest.raises(CiError, match="archive of one plan"):
        reviewed([pull()], [artifact(1)], kept)


def merged(**more: Any) -> dict[str, Any]:
    """Return the merged merge request of the commit."""
    return {"iid": 7, "state": "merged", "merge_commit_sha": MERGE, "squash_commit_sha": None, "sha": HEAD} | more


def pipeline(number: int, **more: Any) -> dict[str, Any]:
    """Return a pipeline of this project and of the head."""
    return {"id": number, "sha": HEAD, "project_id": 77} | more


def job(number: int, **more: Any) -> dict[str, Any]:
    """Return a job that kept a plan."""
    return {"id": number, "name": "senderid-plan", "status": "success"} | more


@pytest.mark.parametrize(
    ("requests", "pipelines", "jobs", "found"),
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
def test_newest_plan_of_an_own_pipeline_of_the_head(
    requests: list[Any], pipelines: list[Any], jobs: dict[int, list[Any]], found: int | str
) -> None:
    """Pipelines of forks run in their own projects."""
    answers: dict[str, Any] = {f"/repository/commits/{MERGE}/merge_requests": requests}
    answers |= {f"/merge_requests/{number}/pipelines": pipelines for number in (7,)}
    answers |= {f"/pipelines/{number}/jobs": each for number, each in jobs.items()}
    answers |= {f"/jobs/{number}/artifacts/plan.json": b"%d" % number for number in range(3, 6)}
    forge, _ = made(GitLab, answers)
    if isinstance(found, str):
        with pytest.raises(CiError, match=found):
            forge.reviewed_plan("plan.json")
    else:
        assert forge.reviewed_plan("plan.json") == (7, b"%d" % found)


def test_merge_request_of_a_fast_forward() -> None:
    """Its head is the commit."""
    answers = {
        f"/repository/commits/{MERGE}/merge_requests": [{"iid": 7, "state": "merged", "sha": MERGE}],
        "/merge_requests/7/pipelines": [pipeline(1, sha=MERGE)],
        "/pipelines/1/jobs": [job(4)],
        "/jobs/4/artifacts/plan.json": b"plan",
    }
    assert made(GitLab, answers)[0].reviewed_plan("plan.json") == (7, b"plan")


def test_newest_commit_and_file_of_a_branch() -> None:
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
        forge, api = made(kind, {branch: {"commit": {"sha": HEAD, "id": HEAD}}, path: b"bytes"})
        assert forge.head("release/1") == HEAD
        assert forge.file("a b/c.yaml", HEAD) == b"bytes"
        assert api.queries[-1][1] == query
        assert forge.file("no.yaml", HEAD) is None


def test_files_of_a_commit() -> None:
    """Folders are none. A list that may lack files is an error."""
    listed = [
        {"path": f"numbers/{name}", "type": kind, "sha": name, "id": name}
        for name, kind in (("a", "blob"), ("b", "tree"))
    ]
    github, api = made(GitHub, {f"/git/trees/{HEAD}": {"tree": listed, "truncated": False}})
    assert github.blobs(HEAD, PurePath("numbers")) == {PurePath("numbers/a"): "a"}
    assert api.queries == [(f"{ROOT[GitHub]}/git/trees/{HEAD}", {"recursive": "1"})]
    with pytest.raises(CiError, match="more files than GitHub lists"):
        made(GitHub, {f"/git/trees/{HEAD}": {"tree": listed, "truncated": True}})[0].blobs(HEAD, PurePath("numbers"))

    gitlab, api = made(GitLab, {"/repository/tree": listed})
    assert gitlab.blobs(HEAD, PurePath("numbers/kr")) == {PurePath("numbers/a"): "a"}
    assert gitlab.blobs(HEAD, PurePath()) == {PurePath("numbers/a"): "a"}
    whole = {"ref": HEAD, "recursive": "true"}
    assert [query for _, query in api.queries] == [whole | {"path": "numbers/kr"}, whole]
    assert made(GitLab, {})[0].blobs(HEAD, PurePath("numbers")) == {}
    with pytest.raises(CiError, match="numbers has more files than this job reads"):
        made(GitLab, {"/repository/tree": listed[:1] * MOST_ITEMS})[0].blobs(HEAD, PurePath("numbers"))
    assert made(GitLab, {"/repository/tree": listed[:1] * (MOST_ITEMS - 1)})[0].blobs(HEAD, PurePath("numbers"))
