"""The status page over real sockets: content, access, and clients that stall."""

import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support.pages import FIRST, record_run, request, serve_pages
from worker.config.desired import load
from worker.model.accounts import DesiredAccount
from worker.model.status_page import AttentionItem, DaemonState, LastRead, QuotaUse
from worker.web import site

TOKEN = "a-token-of-24-characters"
HOSTILE = "<script>alert(1)</script>\u202e\x1b[31m\"'&{{ 7*7 }}../.."
PHONES = [f"010{number:08}" for number in range(120)]


def following(url: str, page: str) -> list[str]:
    """The pages that follow a page, by its links onward."""
    found = []
    while page:
        found.append(request(url, page).body)
        onward = re.search(r'href="([^"]*)" rel="next"', found[-1])
        page = onward[1].replace("&amp;", "&") if onward else ""
    return found


def test_every_page_is_there_before_the_first_run(tmp_path: Path) -> None:
    """Without a ledger pages say that there is nothing yet; none is made by looking."""
    with serve_pages(tmp_path / "none" / "ledger.db") as url:
        for path in ("/", "/runs", "/numbers", "/transitions", "/quota"):
            answer = request(url, path)
            assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8"), path
        assert "has no accounts yet" in request(url).body
        assert (request(url, "/healthz").body, request(url, "/readyz").body) == ("ok\n", "ok\n")
    assert not (tmp_path / "none").exists()


def test_accounts_runs_and_numbers_lead_to_each_other(tmp_path: Path) -> None:
    """Each link of each page leads to a page, and what needs attention is on the first one."""
    record_run(tmp_path, "good", "bad", phones=PHONES[:3], outcome="partial", bad="failed", message="not registered")
    with serve_pages(tmp_path / "ledger.db") as url:
        seen, todo = set(), ["/"]
        while todo:
            path = todo.pop()
            seen.add(path)
            answer = request(url, path)
            assert answer.status == 200, path
            links = re.findall(r'href="(/[^"#]*)"', answer.body)
            todo += {link.replace("&amp;", "&") for link in links} - seen - set(todo)
        assert {"/quota", f"/runs/{FIRST}", f"/numbers/{PHONES[0]}"} <= seen
        assert "<b>2</b> <span>need attention</span>" in request(url).body
        assert "not registered" in request(url, f"/runs/{FIRST}?show=needing").body


def test_accounts_that_could_not_be_read_have_pages_of_their_own(tmp_path: Path) -> None:
    """Three that failed are three rows, and each leads to its own runs, and to what it was when it could be read."""
    record_run(tmp_path, "c")
    for number in range(12):
        run = f"20261124T01{number:04}Z-000002"
        record_run(
            tmp_path, "a & b", "b", "c", run=run, outcome="failed", key="vendor None", phones=(), message=f"no {number}"
        )
    with serve_pages(tmp_path / "ledger.db") as url:
        home = request(url).body
        links = [link.replace("&amp;", "&") for link in re.findall(r'href="(/accounts/vendor[^"]*)"', home)]
        assert len(links) == 3
        for name, link in zip(("a &amp; b", "b", "c"), links, strict=True):
            first, second = following(url, link)
            assert f"<h1><bdi>{name}</bdi></h1>" in first
            assert (first.count("<bdi>no 11</bdi>"), len(re.findall("entry=", first))) == (1, 10)
            assert len(re.findall("entry=", second)) == 2
            assert ("Last successful read" in first) is False
        assert request(url, "/accounts/vendor%20None").status == 404
    record_run(tmp_path, "c", key="vendor 7", run="20261123T000000Z-000001")
    record_run(tmp_path, "c", key="vendor None", run="20261125T000000Z-000001", outcome="failed", phones=())
    with serve_pages(tmp_path / "ledger.db") as url:
        assert 'href="/accounts/vendor%207"' in request(url, links[2]).body
        assert "/accounts/vendor%207" not in request(url).body


def test_a_number_has_a_page_with_a_history_and_without(tmp_path: Path) -> None:
    """Both are shown, by digits and by form."""
    record_run(tmp_path, "main")
    with serve_pages(tmp_path / "ledger.db") as url:
        for path in ("/numbers/01000000001", "/numbers/010-0000-0001", "/numbers?q=010-0000-0001"):
            page = request(url, path)
            assert (page.status, "<title>010-0000-0001" in page.body, "verified" in page.body) == (200, True, True)
        for path in ("/numbers/01000000009", "/numbers?q=010-0000-0009", "/numbers/0211"):
            page = request(url, path)
            assert (page.status, "No run in the ledger has this number." in page.body) == (200, True)
        for path in ("/numbers/x", "/numbers/1234567890123", "/numbers/%EF%BC%91%EF%BC%91%EF%BC%92%EF%BC%93"):
            assert request(url, path).status == 404


def test_long_lists_are_paged_whole(tmp_path: Path) -> None:
    """By their links onward every account and every number comes once; searches narrow them."""
    names = [f"shop {number:03}" for number in range(230)]
    record_run(tmp_path, *names)
    record_run(tmp_path, "big", run="20261124T010000Z-000002", phones=PHONES)
    with serve_pages(tmp_path / "ledger.db") as url:
        accounts = following(url, "/?q=shop")
        assert len(accounts) == 3
        assert [name for page in accounts for name in re.findall(r"<bdi>(shop \d+)</bdi>", page)] == names
        assert "1 account, as of" in request(url, "/?q=BIG").body
        big = "/accounts/" + quote("https://api.solapi.com big", safe="")
        numbers = [phone for page in following(url, big) for phone in re.findall(r"/numbers/(\d+)", page)]
        assert numbers == PHONES
        assert set(re.findall(r"/numbers/(\d+)", request(url, big + "?q=010-0000-011").body)) == set(PHONES[110:])
        noted_ = following(
            url, re.findall(r'href="([^"]*entry=\d+)"', request(url, big).body)[-1].replace("&amp;", "&")
        )
        assert [phone for page in noted_ for phone in re.findall(r"/numbers/(\d+)", page)] == PHONES
        assert len(following(url, f"/runs/{FIRST}")) == 3
        for number in range(60):
            record_run(tmp_path, "big", run=f"20261125T000000Z-{number:06}")
        assert len(following(url, "/runs")) == 2
        assert len(following(url, f"/numbers/{PHONES[1]}")) == 6
        assert len(following(url, "/?show=needing")) == 1


def test_hostile_texts_are_shown_and_do_nothing(tmp_path: Path) -> None:
    """Markup is escaped, marks that turn a text around are taken out, and such an account has a page of its own."""
    record_run(tmp_path, HOSTILE, outcome="failed", bad="failed", message=HOSTILE * 50)
    with serve_pages(tmp_path / "ledger.db") as url:
        home = request(url).body
        found = re.search(r'href="(/accounts/[^"]*)"', home)
        assert found is not None
        run = re.findall(r'href="(/runs/[^"]*entry[^"]*)"', request(url, found[1]).body)[0].replace("&amp;", "&")
        for path in (
            "/",
            found[1],
            run,
            "/runs",
            "/numbers/01000000001",
            f"/?q={quote(HOSTILE)}",
            f"/numbers?q={quote(HOSTILE)}",
        ):
            answer = request(url, path)
            assert answer.status == 200, path
            assert "<script>alert" not in answer.body
            assert not {"\u202e", "\x1b"} & set(answer.body)
            assert "49" not in re.sub(r"[0-9a-f]{16}", "", answer.body)


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/accounts",
        "/accounts/x",
        "//x/runs",
        "/runs/",
        "/accounts/%2e%2e%2f",
        "/runs/x",
        f"/runs/{FIRST}?entry=77",
        "/assets/x/style.css",
        "/metrics",
    ],
)
def test_there_is_nothing_else(tmp_path: Path, path: str) -> None:
    """404, as a page with what to do."""
    record_run(tmp_path, "main")
    with serve_pages(tmp_path / "ledger.db") as url:
        answer = request(url, path)
        assert (answer.status, "Page not found" in answer.body) == (404, True)


@pytest.mark.parametrize("path", ["/numbers/%ff", "/?q=%ff", "/?" + "&".join("a=b" for _ in range(99))])
def test_what_is_no_address_is_refused(tmp_path: Path, path: str) -> None:
    """400, and nothing is asked of the ledger."""
    with serve_pages(tmp_path / "ledger.db") as url:
        assert request(url, path).status == 400


def test_every_page_has_a_strict_policy(tmp_path: Path) -> None:
    """No page has an inline script or style, and nothing is cached but assets by their hash."""
    record_run(tmp_path, "main", bad="failed")
    with serve_pages(tmp_path / "ledger.db") as url:
        for path in ("/", "/quota", "/nothing"):
            answer = request(url, path)
            policy = answer.headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'")
            assert "unsafe" not in policy
            assert "form-action 'self'" in policy
            assert "frame-ancestors 'none'" in policy
            assert answer.headers["cache-control"] == "no-store"
            assert not re.search(r"<script(?! src)|<style|\son\w+=|\sstyle=|https?://(?!api\.solapi)", answer.body)
        for asset in re.findall(r'(?:href|src)="(/assets/[^"]*)"', request(url).body):
            found = request(url, asset)
            assert (found.status, "immutable" in found.headers["cache-control"]) == (200, True)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_can_be_changed(tmp_path: Path, method: str) -> None:
    """Pages are for GET and HEAD; only the login form is sent."""
    with serve_pages(tmp_path / "ledger.db") as url:
        assert request(url, "/", method).headers["allow"] == "GET, HEAD"
        assert request(url, "/", "HEAD").body == ""


def test_a_name_that_was_bound_anew_is_not_answered(tmp_path: Path) -> None:
    """421 with what to do, without ledger content or events."""
    record_run(tmp_path, "secret-name")
    with serve_pages(tmp_path / "ledger.db") as url:
        for path in ("/", "/events", "/accounts/x"):
            answer = request(url, path, Host="evil.example")
            assert (answer.status, "secret-name" in answer.body) == (421, False)


def test_with_a_token_nothing_is_shown_without_it(tmp_path: Path) -> None:
    """A form sets a session that scripts cannot read; programs send the token; it is in no answer; leaving ends it."""
    record_run(tmp_path, "main")
    with serve_pages(tmp_path / "ledger.db", TOKEN) as url:
        for path in ("/", "/events", "/quota", "/nothing"):
            assert (request(url, path).status, "main</bdi>" in request(url, path).body) == (401, False)
        assert request(url, "/healthz").status == 200
        assert request(url, f"/?token={TOKEN}").status == 401
        assert "main</bdi>" in request(url, Authorization=f"Bearer {TOKEN}", Host="pages.example").body
        wrong = request(url, "/login", "POST", "token=x")
        assert (wrong.status, "set-cookie" in wrong.headers) == (401, False)
        right = request(url, "/login", "POST", f"token={TOKEN}")
        assert (right.status, right.headers["location"]) == (303, "/")
        cookie = right.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert TOKEN not in cookie
        assert "Secure" not in cookie
        proxied = request(url, "/login", "POST", f"token={TOKEN}", X_Forwarded_Proto="https, http")
        assert "; Secure" in proxied.headers["set-cookie"]
        page = request(url, Cookie=cookie.partition(";")[0])
        assert "main</bdi>" in page.body
        assert "Log out" in page.body
        assert TOKEN not in page.body
        assert "Max-Age=0" in request(url, "/logout", "POST").headers["set-cookie"]
        for body in ("token=" + "x" * 10_000, "\xff\xfe", "", "a=1&b=2&c=3&token=x"):
            assert request(url, "/login", "POST", body).status in {401, 429}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", [f"/login?token={TOKEN}", "/login", "/logout"])
def test_a_link_neither_logs_in_nor_out(tmp_path: Path, method: str, path: str) -> None:
    """A token in an address would be in histories and logs, and a page of others could end a session."""
    with serve_pages(tmp_path / "ledger.db", TOKEN) as url:
        response = request(url, path, method)
        assert (response.status, "set-cookie" in response.headers) == (401, False)


def test_wrong_tokens_are_bounded(tmp_path: Path) -> None:
    """After ten wrong ones it is 429 with when to come again; programs that have the right one are not held up."""
    with serve_pages(tmp_path / "ledger.db", TOKEN) as url:
        assert [request(url, "/login", "POST", "token=x").status for _ in range(11)] == [401] * 10 + [429]
        assert request(url, "/login", "POST", f"token={TOKEN}").headers["retry-after"] == "60"
        assert request(url, Authorization="Bearer x").status == 429
        assert request(url, Authorization=f"Bearer {TOKEN}").status == 200


def test_unreadable_or_slow_ledger_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """503 with what to do, and the next request may succeed."""
    path = record_run(tmp_path, "main")
    with serve_pages(path) as url:
        monkeypatch.setattr(site, "_SECONDS", 0.0)
        monkeypatch.setattr("worker.ledger.readonly._STEPS", 1)
        slow = request(url)
        assert (slow.status, slow.headers["retry-after"]) == (503, "5")
        monkeypatch.undo()
        assert request(url).status == 200
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"x" * 200)
    with serve_pages(broken) as url:
        answer = request(url)
        assert (answer.status, "ledger.path in the settings" in answer.body) == (503, True)


def test_what_a_daemon_knows_is_shown(tmp_path: Path) -> None:
    """Drift, what needs attention, the windows in use and the next changes."""
    record_run(tmp_path, "main", "calm", "unseen")
    live = DaemonState(
        last_pass="2026-11-24T00:20:00Z",
        outcome="converged",
        ready="it rests",
        seen=(LastRead("main", "2026-11-24T00:20:00Z", "ok", 2), LastRead("calm", "2026-11-24T00:20:00Z", "ok", 0)),
        needs=tuple(AttentionItem("expiring", "main", f"expires on day {day}", "01000000001") for day in range(30)),
        quotas=(QuotaUse(3, 80, 1, 16, 5.0),),
    )
    with serve_pages(tmp_path / "ledger.db", live=lambda: live, desired=list) as url:
        home = request(url).body
        for words in (
            "2 differ",
            "none</span>",
            "not known",
            "expires on day 0",
            "And 10 more",
            "it rests",
            "No scheduled changes in",
        ):
            assert words in home, words
        quota = request(url, "/quota").body
        assert "3 / 80" in quota
        assert "<rect" in quota
        assert "3 writes" in quota
        assert "No scheduled changes until" in request(url, "/transitions").body
        assert "expires on day 0" in request(url, "/accounts/" + quote("https://api.solapi.com main", safe="")).body
    early = DaemonState(ready="the daemon is starting")
    with serve_pages(tmp_path / "ledger.db", live=lambda: early) as url:
        assert "first pass has not ended yet" in request(url).body
        assert "No API key is in use yet" in request(url, "/quota").body


def test_next_changes_are_shown_with_their_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers that change together are one line, lines are limited, and files count as they are now."""
    accounts = _files("{weekly: 'Mon-Fri 09:00-18:00', status: INACTIVE, reason: night}")
    with serve_pages(tmp_path / "ledger.db", desired=lambda: accounts) as url:
        page = request(url, "/transitions").body
        assert page.count("ACTIVE → INACTIVE") == 10
        assert page.count('class="number">120</td>') == 20
        assert "2026-12-08" in page
        assert "night" in page
        assert "Later changes are not shown" not in page
        assert "night" in request(url).body
        monkeypatch.setattr(site, "_TURNS", 19)
        page = request(url, "/transitions").body
        assert (page.count(" → "), "Later changes are not shown" in page) == (19, True)
        accounts = _files(
            "{from: '2026-11-24T12:00:00', until: '2026-11-24T13:00:00', status: INACTIVE, reason: repair}"
        )
        assert "repair" in request(url).body


def _files(entry: str) -> Sequence[DesiredAccount]:
    numbers = "".join(f"  {phone}: {{status: ACTIVE, schedule: [{entry}]}}\n" for phone in PHONES)
    return load(iter([("main.yaml", f"version: 1\naccount: main\nnumbers:\n{numbers}".encode())])).accounts


def test_the_language_is_the_one_that_is_asked_for(tmp_path: Path) -> None:
    """By Accept-Language, with English for anything unsupported or invalid."""
    with serve_pages(tmp_path / "ledger.db") as url:
        for wish, language in (
            ("ko-KR,en;q=0.5", "ko"),
            ("en;q=0.1, ko;q=0.9", "ko"),
            ("fr, xx;q=z", "en"),
            ("ko;q=0", "en"),
        ):
            assert f'<html lang="{language}">' in request(url, Accept_Language=wish).body


@pytest.mark.parametrize("written", ["010-0000-0011", "+82 10-0000-0011", "0082 10 0000 0011", "(010) 0000.0011"])
def test_a_number_is_found_however_it_is_written(tmp_path: Path, written: str) -> None:
    """Whole numbers by their history and on their account."""
    record_run(tmp_path, "big", phones=PHONES)
    with serve_pages(tmp_path / "ledger.db") as url:
        assert "<title>010-0000-0011" in request(url, f"/numbers?q={quote(written)}").body
        big = request(url, "/accounts/" + quote("https://api.solapi.com big", safe="") + f"?q={quote(written)}").body
        assert set(re.findall(r"/numbers/(\d+)", big)) == {"01000000011"}


@pytest.mark.parametrize("written", ["010-0000-011", "+82 10 0000 011", "+82 (0)10 0000 011"])
def test_numbers_are_found_by_their_first_digits(tmp_path: Path, written: str) -> None:
    """Those of an account that begin so."""
    record_run(tmp_path, "big", phones=PHONES)
    with serve_pages(tmp_path / "ledger.db") as url:
        big = request(url, "/accounts/" + quote("https://api.solapi.com big", safe="") + f"?q={quote(written)}").body
        assert set(re.findall(r"/numbers/(\d+)", big)) == set(PHONES[110:])


def test_unfinished_run_is_shown_as_unfinished(tmp_path: Path) -> None:
    """Its accounts and numbers are unfinished, and not settled."""
    path = record_run(tmp_path, "main", outcome=None)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE outcomes SET outcome = NULL")
    with serve_pages(path) as url:
        assert "unsettled" in request(url).body
        assert "unfinished" in request(url, "/numbers/01000000001").body
