"""Retries of forge requests: conditions, waits, and protection against duplicate items."""

import json
from pathlib import Path

import pytest

from tests.support.forges import REPOSITORY, TOKEN, Fault, Forge
from worker.cli.ci.github import GitHub
from worker.cli.ci.http import Api, Backoff, CiError, NotFound, backoff

NOW = 1_790_000_000.25
COMMENTS = f"/repos/{REPOSITORY}/issues/7/comments"


@pytest.mark.parametrize(
    ("code", "headers", "body", "expected"),
    [
        (403, {"Retry-After": "60"}, b"", Backoff("rate limit", 60, is_refusal=True)),
        (429, {"Retry-After": "7"}, b"", Backoff("rate limit", 7, is_refusal=True)),
        (403, {"Retry-After": "0"}, b"", Backoff("rate limit", 0, is_refusal=True)),
        (
            403,
            {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1790000030"},
            b"",
            Backoff("rate limit", 31, is_refusal=True),
        ),
        (
            429,
            {"RateLimit-Remaining": "0", "RateLimit-Reset": "1790000010"},
            b"",
            Backoff("rate limit", 11, is_refusal=True),
        ),
        (
            403,
            {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1789999999"},
            b"",
            Backoff("rate limit", 1, is_refusal=True),
        ),
        (403, {"x-ratelimit-remaining": "0"}, b"", Backoff("rate limit", 60, is_refusal=True)),
        (
            403,
            {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "soon"},
            b"",
            Backoff("rate limit", 60, is_refusal=True),
        ),
        (403, {}, b"You have exceeded a secondary rate limit", Backoff("rate limit", 60, is_refusal=True)),
        (429, {}, b"", Backoff("rate limit", 60, is_refusal=True)),
        (403, {}, b"Resource not accessible by integration", None),
        (403, {"x-ratelimit-remaining": "1", "x-ratelimit-reset": "1790000030"}, b"", None),
        (404, {"Retry-After": "60"}, b"rate limit", None),
        (401, {}, b"", None),
        (422, {}, b"", None),
        (499, {}, b"", None),
        (408, {}, b"", Backoff("server error", None, is_refusal=False)),
        (500, {}, b"", Backoff("server error", None, is_refusal=False)),
        (502, {}, b"", Backoff("server error", None, is_refusal=False)),
        (503, {"Retry-After": "3"}, b"", Backoff("server error", 3, is_refusal=False)),
        (504, {}, b"rate limit", Backoff("server error", None, is_refusal=False)),
        (520, {}, b"", Backoff("server error", None, is_refusal=False)),
    ],
)
def test_backoff_follows_status_headers_and_body(
    code: int, headers: dict[str, str], body: bytes, expected: Backoff | None
) -> None:
    """A 403 is a rate limit only if its headers or its message indicate one."""
    assert backoff(code, headers, body, NOW) == expected


class Waiting:
    """API client whose waits take no time. `seconds` lists them."""

    def __init__(self, forge: Forge) -> None:
        self.seconds: list[float] = []
        self.lines: list[str] = []
        headers = {"Authorization": f"Bearer {TOKEN}"}
        self.api = Api(forge.url, headers, sleep=self.seconds.append, wall=lambda: NOW, report=self.lines.append)


@pytest.fixture
def waiting(forge: Forge) -> Waiting:
    """Return an API client that does not wait."""
    return Waiting(forge)


def test_read_is_retried_after_errors_and_resets(forge: Forge, waiting: Waiting) -> None:
    """The wait doubles after each attempt, and each wait is reported with its reason."""
    forge.faults = [Fault("GET", "/comments", 502, {}), Fault("GET", "/comments"), Fault("GET", "/comments", 504, {})]
    assert list(waiting.api.pages(COMMENTS)) == []
    assert waiting.seconds == [1, 2, 4]
    assert waiting.lines[0] == f"GET {COMMENTS}: 502, server error; waiting 1 s before attempt 2 of 5"
    assert "no response" in waiting.lines[1]


def test_request_fails_after_five_attempts(forge: Forge, waiting: Waiting) -> None:
    forge.faults = [Fault("GET", "/comments", 500)] * 4
    assert waiting.api.get(COMMENTS, per_page="1", page="1") == []
    forge.faults = [Fault("GET", "/comments", 500)] * 5
    with pytest.raises(CiError, match="500, server error; gave up after 5 attempts: run the job again"):
        waiting.api.get(COMMENTS, per_page="1", page="1")
    assert len(forge.calls) == 10


def test_total_wait_is_limited_to_two_minutes(forge: Forge, waiting: Waiting) -> None:
    """A rate limit beyond the remaining time fails the command immediately."""
    forge.faults = [
        Fault("GET", "/comments", 403, {"Retry-After": "119"}),
        Fault("GET", "/comments", 403, {"Retry-After": "2"}),
    ]
    with pytest.raises(CiError, match="the next attempt would have to wait 2 s, longer than the 120 s"):
        waiting.api.get(COMMENTS)
    assert waiting.seconds == [119]


def test_wait_lasts_until_the_rate_limit_reset(forge: Forge, waiting: Waiting) -> None:
    """The reset is a Unix time."""
    limit = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(NOW) + 119)}
    forge.faults = [Fault("GET", "/comments", 403, limit)]
    assert list(waiting.api.pages(COMMENTS)) == []
    assert waiting.seconds == [120]


@pytest.fixture
def github(forge: Forge, waiting: Waiting, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> GitHub:
    """Return a job of a push that does not wait."""
    event = tmp_path / "event.json"
    event.write_text(json.dumps({"before": "d" * 40}))
    job = GitHub(
        {
            "GITHUB_REPOSITORY": REPOSITORY,
            "GITHUB_API_URL": forge.url,
            "GITHUB_EVENT_PATH": str(event),
            "GITHUB_SHA": "b" * 40,
        },
        TOKEN,
    )
    monkeypatch.setattr(job, "_api", waiting.api)
    return job


def test_complete_list_of_a_push_has_its_changed_files(forge: Forge, github: GitHub, tmp_path: Path) -> None:
    """A rename changes both paths.

    The result is None if the list may be incomplete (300 files), if the branch is new, or after a forced push.
    """
    forge.compared = [{"filename": "old/a.yaml", "previous_filename": "numbers/a.yaml"}]
    assert github.changed_files() == {"old/a.yaml", "numbers/a.yaml"}
    forge.compared = [{"filename": f"{number}"} for number in range(299)]
    assert len(github.changed_files() or ()) == 299
    forge.compared = [{"filename": f"{number}"} for number in range(300)]
    assert github.changed_files() is None
    forge.compared = []
    assert github.changed_files() == set()
    for forge.comparison in ("behind", "diverged"):
        assert github.changed_files() is None
    forge.faults = [Fault("GET", "b" * 40, 404, {})]
    assert github.changed_files() is None
    (tmp_path / "event.json").write_text(json.dumps({"before": "0" * 40}))
    assert github.changed_files() is None
    (tmp_path / "event.json").write_text("{}")
    assert github.changed_files() is None


@pytest.mark.parametrize("status", [None, 408, 500, 502, 503, 504, 520, 201])
@pytest.mark.parametrize("takes_effect", [True, False])
def test_comment_is_created_once(
    forge: Forge, waiting: Waiting, github: GitHub, status: int | None, *, takes_effect: bool
) -> None:
    """A POST without a usable response may have taken effect, so the comment is looked up before a retry."""
    forge.faults = [Fault("POST", "/comments", status, {}, takes_effect=takes_effect)]
    number = github.add_comment(7, "<!-- key -->", "<!-- key -->\ntext")
    assert [(comment["id"], comment["body"]) for comment in forge.comments] == [(number, "<!-- key -->\ntext")]
    assert len(forge.writes) == (1 if takes_effect else 2)
    assert waiting.seconds == [1]


def test_rate_limited_post_is_retried_without_lookup(forge: Forge, waiting: Waiting) -> None:
    """A rate-limited request creates nothing."""
    forge.faults = [Fault("POST", "/comments", 403, {"Retry-After": "9"})]
    assert waiting.api.create(COMMENTS, lambda: pytest.fail("looked up"), body="x")["id"]
    assert (waiting.seconds, [call[0] for call in forge.calls]) == ([9], ["POST", "POST"])


def test_post_fails_after_five_attempts_with_lookups(forge: Forge, waiting: Waiting) -> None:
    forge.faults = [Fault("POST", "/comments", 500, {})] * 6
    lookups: list[int] = []
    with pytest.raises(CiError, match="500, server error; gave up after 5 attempts: run the job again"):
        waiting.api.create(COMMENTS, lambda: lookups.append(1), body="x")
    assert waiting.seconds == [1, 2, 4, 8]
    assert (len(forge.writes), len(lookups)) == (5, 5)


def test_post_without_usable_response_honours_retry_after(forge: Forge, waiting: Waiting) -> None:
    forge.faults = [Fault("POST", "/comments", 503, {"Retry-After": "7"})]
    assert waiting.api.create(COMMENTS, lambda: None, body="x")["id"]
    assert waiting.seconds == [7]


def test_comment_created_by_the_last_attempt_is_found(forge: Forge, github: GitHub) -> None:
    """A claim that exists but is reported as failed would block the plan although nothing was written."""
    forge.faults = [Fault("POST", "/comments", 500, {})] * 4 + [Fault("POST", "/comments", takes_effect=True)]
    number = github.add_comment(7, "<!-- key -->", "<!-- key -->\ntext")
    assert [comment["id"] for comment in forge.comments] == [number]


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", "[" * 100_000, "<html>"])
def test_created_item_is_looked_up_after_unusable_response(forge: Forge, waiting: Waiting, text: str) -> None:
    """A gateway may respond to a POST with status 200 and an unrelated body."""
    forge.faults = [Fault("POST", "/comments", 200, {}, takes_effect=True, text=text)]
    assert waiting.api.create(COMMENTS, lambda: forge.comments[-1], body="x")["body"] == "x"
    assert (waiting.seconds, len(forge.writes)) == ([1], 1)


def test_403_without_rate_limit_is_missing_permission_and_not_retried(forge: Forge, waiting: Waiting) -> None:
    forge.faults = [Fault("GET", "/comments", 403, {})]
    with pytest.raises(CiError, match="403, the token lacks a permission: check the job's permissions"):
        waiting.api.get(COMMENTS)
    assert (waiting.seconds, len(forge.calls)) == ([], 1)


def test_404_raises_not_found_and_delete_ignores_it(forge: Forge, waiting: Waiting) -> None:
    with pytest.raises(NotFound):
        waiting.api.get("/nothing")
    waiting.api.delete("/nothing")
    assert waiting.seconds == []
    assert forge.comments == []


def test_download_is_retried_without_token_on_the_other_host(forge: Forge, waiting: Waiting) -> None:
    """A redirect leads to the archive of an artifact on another host."""
    forge.files[3] = b"plan"
    path = f"/repos/{REPOSITORY}/actions/artifacts/3/zip"
    forge.faults = [Fault("GET", "/zip", 503, {})]
    assert waiting.api.download(path).startswith(b"PK")
    assert waiting.seconds == [1]
    assert forge.tokens_elsewhere == [None]
