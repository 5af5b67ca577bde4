"""The status page over real sockets: content, access, and clients that stall."""

import json
import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
from jsonschema import Draft202012Validator

from tests.support.ledgers import NUMBERS, account_read, daemon_record, database_at, file_account, recorded_read
from tests.support.pages import AT, FIRST, record_run, request, serve_pages
from worker.config.desired import load
from worker.ledger.history import run_record
from worker.ledger.reads import save
from worker.model.accounts import DesiredAccount
from worker.model.reads import Attention, DaemonRecord, HealthStatus, NumberState
from worker.model.status_page import DaemonState, QuotaUse
from worker.render import report
from worker.render.json_schema import schema
from worker.web import site, views

TOKEN = "a-token-of-24-characters"
HOSTILE = "<script>alert(1)</script>\u202e\x1b[31m\"'&{{ 7*7 }}../.."
UNREAD = "https://api.solapi.com None"
PHONES = [f"010{number:08}" for number in range(120)]


def follow_next_links(url: str, page: str) -> list[str]:
    """Return a page and all pages after it, by their next links."""
    pages = []
    while page:
        pages.append(request(url, page).body)
        next_link = re.search(r'href="([^"]*)" rel="next"', pages[-1])
        page = next_link[1].replace("&amp;", "&") if next_link else ""
    return pages


def test_every_page_is_served_before_the_first_run(tmp_path: Path) -> None:
    """Without a ledger the pages are empty, and no ledger is created."""
    with serve_pages(tmp_path / "none" / "ledger.db") as url:
        for path in ("/", "/runs", "/search", "/calendar", "/quota"):
            response = request(url, path)
            assert (response.status, response.headers["content-type"]) == (200, "text/html; charset=utf-8"), path
        assert "has no accounts yet" in request(url).body
        assert (request(url, "/healthz").body, request(url, "/readyz").body) == ("ok\n", "ok\n")
    assert not (tmp_path / "none").exists()


def test_declined_run_is_cancelled(tmp_path: Path) -> None:
    """The account is not shown as refused, and does not need attention."""
    record_run(tmp_path, "main", outcome="refused", bad="not_attempted", message="Cancelled.", code="Declined")
    with serve_pages(tmp_path / "ledger.db") as url:
        for path in ("/", "/runs", f"/runs/{FIRST}", "/accounts/main", "/search?q=2026"):
            page = request(url, path).body
            assert "cancelled" in page, path
            assert ">refused<" not in page, path
        (run,) = json.loads(request(url, "/runs.json").body)["content"]["runs"]
    assert (run["outcome"], run["declined"]) == ("refused", True)


def test_every_link_leads_to_a_page(tmp_path: Path) -> None:
    """Numbers that need attention are on the first page."""
    record_run(tmp_path, "good", "bad", phones=PHONES[:3], outcome="partial", bad="failed", message="not registered")
    with serve_pages(tmp_path / "ledger.db") as url:
        visited, pending = set(), ["/"]
        while pending:
            path = pending.pop()
            visited.add(path)
            response = request(url, path)
            assert response.status == 200, path
            links = re.findall(r'href="(/[^"#]*)"', response.body)
            pending += {link.replace("&amp;", "&") for link in links} - visited - set(pending)
        assert {"/quota", f"/runs/{FIRST}", f"/numbers/{PHONES[0]}"} <= visited
        assert "2 of 2 accounts need attention" in request(url).body
        assert "not registered" in request(url, f"/runs/{FIRST}?show=needing").body


def test_unreadable_accounts_have_pages_of_their_own(tmp_path: Path) -> None:
    """Failed accounts are rows of their own. Each has its own runs, also those that could read it."""
    record_run(tmp_path, "c")
    for number in range(12):
        run = f"20261124T01{number:04}Z-000002"
        record_run(
            tmp_path, "a & b", "b", "c", run=run, outcome="failed", key=UNREAD, phones=(), message=f"no {number}"
        )
    with serve_pages(tmp_path / "ledger.db") as url:
        home = request(url).body
        assert "3 of 3 accounts need attention" in home
        assert home.count('<th scope="row">') == 3
        for name, link, count in (("a &amp; b", "a%20%26%20b", 2), ("b", "b", 2), ("c", "c", 3)):
            first, second = follow_next_links(url, f"/accounts/{link}")
            assert f"<h1><bdi>{name}</bdi></h1>" in first
            assert len(re.findall("entry=", first)) == 10
            assert len(re.findall("entry=", second)) == count
        moved = request(url, "/accounts/" + quote("https://api.solapi.com c", safe=""))
        assert (moved.status, moved.headers["location"]) == (302, "/accounts/c")
        assert request(url, "/accounts/" + quote(UNREAD, safe="")).status == 302
        assert request(url, "/accounts/nowhere").status == 404
    record_run(tmp_path, "c", run="20261125T000000Z-000001", at="2026-11-25T00:00:00.000Z")
    with serve_pages(tmp_path / "ledger.db") as url:
        assert "2 of 3 accounts need attention" in request(url).body


def test_accounts_of_two_platforms_with_one_name_are_told_apart(tmp_path: Path) -> None:
    record_run(tmp_path, "main", phones=PHONES[:1])
    record_run(tmp_path, "main", run="20261124T000100Z-000002", key="vendor 7", phones=PHONES[1:2])
    with serve_pages(tmp_path / "ledger.db") as url:
        links = sorted(set(re.findall(r'href="(/accounts/main[^"]*)"', request(url).body)))
        assert links == ["/accounts/main?platform=https%3A%2F%2Fapi.solapi.com", "/accounts/main?platform=vendor"]
        for link, phone in zip(links, PHONES, strict=False):
            page = request(url, link).body
            assert "Another account has this name" in page
            assert set(re.findall(r"/numbers/(\d+)", page)) == {phone}


def test_report_of_a_run_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is the report of `senderid history`. For a large run, the page names that command instead."""
    record_run(tmp_path, "main", phones=PHONES[:3], outcome="partial", bad="failed", message="not registered")
    with serve_pages(tmp_path / "ledger.db") as url:
        assert f'href="/runs/{FIRST}/report.html" download' in request(url, f"/runs/{FIRST}").body
        response = request(url, f"/runs/{FIRST}/report.html")
        assert response.headers["content-disposition"] == f'attachment; filename="{FIRST}.html"'
        with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
            assert response.body == report.run(run_record(connection, FIRST))
        for path in ("/runs/none/report.html", f"/accounts/{FIRST}/report.html", f"/runs/{FIRST}/x/report.html"):
            assert request(url, path).status == 404
        monkeypatch.setattr(views, "_REPORT_NUMBERS", 2)
        large = request(url, f"/runs/{FIRST}/report.html")
        assert large.status == 413
        assert f"senderid history {FIRST} --format html" in large.body


def test_commands_and_ids_can_be_copied(tmp_path: Path) -> None:
    """A script shows the buttons. The text is complete without it."""
    record_run(tmp_path, "main")
    with serve_pages(tmp_path / "ledger.db") as url:
        page = request(url, f"/runs/{FIRST}").body
    assert re.findall(r'<code class="copied">(.*?)</code> <button type="button" class="copy"', page)[0] == FIRST


def test_number_has_a_page_with_and_without_history(tmp_path: Path) -> None:
    """The number may have hyphens. Its older address with a query leads to the search."""
    record_run(tmp_path, "main")
    with serve_pages(tmp_path / "ledger.db") as url:
        for path in ("/numbers/01000000001", "/numbers/010-0000-0001"):
            page = request(url, path)
            assert (page.status, "<title>010-0000-0001" in page.body, "verified" in page.body) == (200, True, True)
        for path in ("/numbers/01000000009", "/numbers/0211"):
            page = request(url, path)
            assert (page.status, "No run in the ledger has this number." in page.body) == (200, True)
        for path in ("/numbers/x", "/numbers/1234567890123", "/numbers/%EF%BC%91%EF%BC%91%EF%BC%92%EF%BC%93"):
            assert request(url, path).status == 404
        for path, location in (("/numbers?q=010-1", "/search?q=010-1"), ("/transitions", "/calendar")):
            moved = request(url, path)
            assert (moved.status, moved.headers["location"]) == (302, location)


def test_long_lists_are_paged_completely(tmp_path: Path) -> None:
    """Each account and each number is listed once over all pages. Searches narrow the lists."""
    names = [f"shop {number:03}" for number in range(230)]
    record_run(tmp_path, *names)
    record_run(tmp_path, "big", run="20261124T010000Z-000002", phones=PHONES)
    with serve_pages(tmp_path / "ledger.db") as url:
        accounts = follow_next_links(url, "/?q=shop")
        assert len(accounts) == 3
        assert [name for page in accounts for name in re.findall(r"<bdi>(shop \d+)</bdi>", page)] == names
        assert "1 account, as of" in request(url, "/?q=BIG").body
        account_path = "/accounts/big"
        numbers = [
            phone for page in follow_next_links(url, account_path) for phone in re.findall(r"/numbers/(\d+)", page)
        ]
        assert numbers == PHONES
        assert set(re.findall(r"/numbers/(\d+)", request(url, account_path + "?q=010-0000-011").body)) == set(
            PHONES[110:]
        )
        entry_pages = follow_next_links(
            url, re.findall(r'href="([^"]*entry=\d+)"', request(url, account_path).body)[-1].replace("&amp;", "&")
        )
        assert [phone for page in entry_pages for phone in re.findall(r"/numbers/(\d+)", page)] == PHONES
        assert len(follow_next_links(url, f"/runs/{FIRST}")) == 3
        for number in range(60):
            record_run(tmp_path, "big", run=f"20261125T000000Z-{number:06}")
        assert len(follow_next_links(url, "/runs")) == 2
        assert len(follow_next_links(url, f"/numbers/{PHONES[1]}")) == 6
        assert len(follow_next_links(url, "/?show=failed")) == 1


def test_next_pages_keep_the_filter(tmp_path: Path) -> None:
    """Searches and choices hold on every page of a list, and only the position changes."""
    names = [f"shop {number:03}" for number in range(230)]
    path = tmp_path / "ledger.db"
    record_run(tmp_path, *names, outcome="partial")
    phones = [*PHONES, *(f"011{number:08}" for number in range(150)), *(f"012{number:08}" for number in range(30))]
    record_run(tmp_path, "big", run="20261124T010000Z-000002", phones=phones)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE outcomes SET outcome = 'failed' WHERE phone LIKE '0100000010_'")
        connection.execute("UPDATE outcomes SET outcome = 'failed' WHERE phone LIKE '011%'")
        (entry,) = connection.execute("SELECT max(id) FROM entries").fetchone()
    account = "big"
    with serve_pages(path) as url:
        for page, query, section, count in (
            ("/", {"q": "shop", "show": "out_of_sync", "sort": "-name"}, "accounts", 230),
            (f"/runs/{FIRST}", {"show": "needing"}, "accounts", 230),
            (f"/accounts/{account}", {"q": "01100000"}, "lines", 150),
            ("/runs/20261124T010000Z-000002", {"entry": str(entry), "show": "needing"}, "numbers", 160),
            ("/runs/20261124T010000Z-000002", {"entry": str(entry), "q": "011"}, "numbers", 150),
        ):
            pages = follow_next_links(url, f"{page}?{urlencode(query)}")
            lists = [page.partition(f'id="{section}"')[2].partition("</table>")[0] for page in pages]
            items = [re.findall(r'<th scope="row"><a href="([^"]*)"', html) for html in lists]
            assert [len(links) for links in items] == [100] * (count // 100) + [count % 100], (page, query)
            assert len({item for links in items for item in links}) == count, (page, query)


def test_hostile_text_is_escaped(tmp_path: Path) -> None:
    """Markup is escaped, bidirectional characters are removed, and an account with such a name has its own page."""
    record_run(tmp_path, HOSTILE, outcome="failed", bad="failed", message=HOSTILE * 50)
    with serve_pages(tmp_path / "ledger.db") as url:
        home = request(url).body
        account_link = re.search(r'href="(/accounts/[^"]*)"', home)
        assert account_link is not None
        run = re.findall(r'href="(/runs/[^"]*entry[^"]*)"', request(url, account_link[1]).body)[0].replace("&amp;", "&")
        for path in (
            "/",
            account_link[1],
            run,
            "/runs",
            "/numbers/01000000001",
            f"/?q={quote(HOSTILE)}",
            f"/search?q={quote(HOSTILE)}",
        ):
            response = request(url, path)
            assert response.status == 200, path
            assert "<script>alert" not in response.body
            assert not {"\u202e", "\x1b"} & set(response.body)
            assert "49" not in re.sub(r"[0-9a-f]{16}", "", response.body)


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
def test_unknown_path_is_not_found(tmp_path: Path, path: str) -> None:
    """The page says what to do."""
    record_run(tmp_path, "main")
    with serve_pages(tmp_path / "ledger.db") as url:
        response = request(url, path)
        assert (response.status, "Page not found" in response.body) == (404, True)


@pytest.mark.parametrize("path", ["/numbers/%ff", "/?q=%ff", "/?" + "&".join("a=b" for _ in range(99))])
def test_invalid_address_is_refused(tmp_path: Path, path: str) -> None:
    """The status is 400."""
    with serve_pages(tmp_path / "ledger.db") as url:
        assert request(url, path).status == 400


def test_every_page_has_a_strict_security_policy(tmp_path: Path) -> None:
    """Pages have no inline script or style. Only assets, which have their hash in the URL, are cached."""
    record_run(tmp_path, "main", bad="failed")
    with serve_pages(tmp_path / "ledger.db") as url:
        for path in ("/", "/quota", "/nothing"):
            response = request(url, path)
            policy = response.headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'")
            assert "unsafe" not in policy
            assert "form-action 'self'" in policy
            assert "frame-ancestors 'none'" in policy
            assert response.headers["cache-control"] == "no-store"
            assert not re.search(r"<script(?! src)|<style|\son\w+=|\sstyle=|https?://(?!api\.solapi)", response.body)
        for asset in re.findall(r'(?:href|src)="(/assets/[^"]*)"', request(url).body):
            asset_response = request(url, asset)
            assert (asset_response.status, "immutable" in asset_response.headers["cache-control"]) == (200, True)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_methods_other_than_get_and_head_are_refused(tmp_path: Path, method: str) -> None:
    """Only the login form is sent by POST."""
    with serve_pages(tmp_path / "ledger.db") as url:
        assert request(url, "/", method).headers["allow"] == "GET, HEAD"
        assert request(url, "/", "HEAD").body == ""


def test_rebound_host_is_denied(tmp_path: Path) -> None:
    """DNS rebinding: the status is 421, without ledger content or events."""
    record_run(tmp_path, "secret-name")
    with serve_pages(tmp_path / "ledger.db") as url:
        for path in ("/", "/events", "/accounts/x"):
            response = request(url, path, Host="evil.example")
            assert (response.status, "secret-name" in response.body) == (421, False)


def test_token_is_required_if_configured(tmp_path: Path) -> None:
    """The form sets a session that scripts cannot read. Programs send the token. No response contains it."""
    record_run(tmp_path, "main")
    with serve_pages(tmp_path / "ledger.db", TOKEN) as url:
        for path in ("/", "/events", "/quota", "/nothing"):
            assert (request(url, path).status, "main</bdi>" in request(url, path).body) == (401, False)
        assert request(url, "/healthz").status == 200
        assert request(url, f"/?token={TOKEN}").status == 401
        assert "main</bdi>" in request(url, Authorization=f"Bearer {TOKEN}", Host="pages.example").body
        rejected = request(url, "/login", "POST", "token=x")
        assert 'role="alert">Wrong token.' in rejected.body
        assert 'role="alert"' not in request(url).body
        assert (rejected.status, "set-cookie" in rejected.headers) == (401, False)
        accepted = request(url, "/login", "POST", f"token={TOKEN}")
        assert (accepted.status, accepted.headers["location"]) == (303, "/")
        cookie = accepted.headers["set-cookie"]
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
def test_get_neither_logs_in_nor_out(tmp_path: Path, method: str, path: str) -> None:
    """A token in a URL would appear in histories and logs, and another site could end a session by a link."""
    with serve_pages(tmp_path / "ledger.db", TOKEN) as url:
        response = request(url, path, method)
        assert (response.status, "set-cookie" in response.headers) == (401, False)


@pytest.mark.parametrize(
    ("next_page", "target"),
    [
        ("/accounts/a?q=1", "/accounts/a?q=1"),
        ("", "/"),
        ("//evil.example/", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("/a\r\nSet-Cookie: x", "/"),
        ("/" + "x" * 2000, "/"),
    ],
)
def test_login_leads_to_the_requested_page_of_this_server(tmp_path: Path, next_page: str, target: str) -> None:
    with serve_pages(tmp_path / "ledger.db", TOKEN) as url:
        form = request(url, "/accounts/a?q=1&x=%22").body
        assert 'name="next" value="/accounts/a?q=1&amp;x=%22"' in form
        response = request(url, "/login", "POST", urlencode({"token": TOKEN, "next": next_page}))
        assert (response.status, response.headers["location"]) == (303, target)
        wrong = request(url, "/login", "POST", urlencode({"token": "x", "next": next_page}))
        assert f'name="next" value="{target}"' in wrong.body


def test_error_pages_keep_the_navigation(tmp_path: Path) -> None:
    """Clients without access see no links."""
    with serve_pages(tmp_path / "ledger.db") as url:
        assert 'href="/calendar"' in request(url, "/nothing").body
        assert 'href="/calendar"' not in request(url, Host="evil.example").body
    with serve_pages(tmp_path / "ledger.db", TOKEN) as url:
        assert 'href="/calendar"' not in request(url, "/nothing").body


def test_wrong_tokens_are_limited(tmp_path: Path) -> None:
    """After ten wrong tokens the status is 429 with Retry-After. Programs with the token are served."""
    with serve_pages(tmp_path / "ledger.db", TOKEN) as url:
        assert [request(url, "/login", "POST", "token=x").status for _ in range(11)] == [401] * 10 + [429]
        assert request(url, "/login", "POST", f"token={TOKEN}").headers["retry-after"] == "60"
        assert request(url, Authorization="Bearer x").status == 429
        assert request(url, Authorization=f"Bearer {TOKEN}").status == 200


def test_unreadable_or_slow_ledger_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The status is 503 with what to do, and the next request may succeed."""
    record_run(tmp_path, "main")
    path = tmp_path / "ledger.db"
    with serve_pages(path) as url:
        monkeypatch.setattr(site, "_SECONDS", 0.0)
        monkeypatch.setattr("worker.ledger.sqlite._STEPS", 1)
        timed_out = request(url)
        assert (timed_out.status, timed_out.headers["retry-after"]) == (503, "5")
        monkeypatch.undo()
        assert request(url).status == 200
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"x" * 200)
    with serve_pages(broken) as url:
        response = request(url)
        assert (response.status, "ledger.path in the settings" in response.body) == (503, True)


def test_state_of_the_daemon_is_shown(tmp_path: Path) -> None:
    """The pages show the reads of the daemon, what needs attention, invalid files, quotas and upcoming changes."""
    record_run(tmp_path, "main", "calm")
    expiring = tuple(Attention("expiring", f"expires on day {day}", count=1, phones=(PHONES[1],)) for day in range(12))
    state = DaemonState(
        last_pass="2026-11-24T00:28:00Z",
        next_pass="2026-11-24T00:33:00Z",
        outcome="converged",
        ready="it rests",
        reads=(
            account_read("main", at="2026-11-24T00:28:00.000Z", needs=expiring, health=HealthStatus.NEEDS_ATTENTION),
            account_read("calm", at="2026-11-24T00:28:00.000Z"),
        ),
        broken={"a.yaml": "line 7 is wrong"},
        quotas=(QuotaUse(3, 80, 1, 16, 5.0),),
    )
    with serve_pages(tmp_path / "ledger.db", live=lambda: state, desired=lambda: [file_account("main")]) as url:
        home = request(url).body
        for words in (
            "1 of 1 accounts needs attention",
            "expires on day 0",
            "and 2 more",
            "Verify the number again",
            "it rests",
            "line 7 is wrong",
            "1 account of the ledger is not in the files",
            "No scheduled changes until",
            "2 min ago",
            "in 3 min",
        ):
            assert words in home, words
        assert "<bdi>calm</bdi>" in request(url, "/?show=others").body
        quota = request(url, "/quota").body
        assert "3 / 80" in quota
        assert "<rect" in quota
        assert '<meter min="0" max="80" value="3"' in quota
        assert "No scheduled changes until" in request(url, "/calendar").body
        assert "expires on day 0" in request(url, "/accounts/main").body
    starting = DaemonState(ready="the daemon is starting")
    with serve_pages(tmp_path / "ledger.db", live=lambda: starting) as url:
        assert "first pass has not ended yet" in request(url).body
        assert "No API key is in use yet" in request(url, "/quota").body


@pytest.mark.parametrize(
    ("daemon", "words"),
    [
        (daemon_record(last_pass="2026-11-24T00:28:00.000Z", next_pass="2026-11-24T00:33:00.000Z"), "<b>Live</b>"),
        (daemon_record(), "The daemon is silent"),
        (daemon_record(ended_at="2026-11-24T00:11:00.000Z"), "The daemon has stopped"),
    ],
)
def test_daemon_that_is_not_alive_is_visible_on_every_page(tmp_path: Path, daemon: DaemonRecord, words: str) -> None:
    """A page without scripts, from the ledger alone, also shows it."""
    database = record_run(tmp_path, "main")
    save(database, [], daemon, program="0", now=lambda: AT)
    with serve_pages(tmp_path / "ledger.db") as url:
        for path in ("/", "/accounts/main", "/runs", "/calendar", "/quota", "/search", "/numbers/01000000001"):
            assert words in request(url, path).body, path


def test_account_lists_all_its_numbers(tmp_path: Path) -> None:
    """The numbers can be searched by digits, note and owner, and filtered by status, owner and difference."""
    database = record_run(tmp_path, "main")
    save(database, [recorded_read()], daemon_record(), program="0", now=lambda: AT)
    with serve_pages(tmp_path / "ledger.db") as url:
        page = request(url, "/accounts/main").body
        for words in ("Winter 50%", "marketing", "a.yaml:3", "All numbers of the account", "→ ACTIVE"):
            assert words in page, words
        for query, phones in (
            ("", [1, 2]),
            ("?q=winter", [1]),
            ("?q=SUPPORT", [2]),
            ("?q=0000-0002", [2]),
            ("?status=INACTIVE", []),
            ("?status=ACTIVE&owner=support", [2]),
            ("?differs=1", [2]),
            ("?q=nothing", []),
        ):
            table = request(url, f"/accounts/main{query}").body.partition('id="lines"')[2].partition("</table>")[0]
            assert re.findall(r"/numbers/0100000000(\d)", table) == [f"{number}" for number in phones], query


def test_page_and_filter_agree_on_the_numbers_out_of_sync(tmp_path: Path) -> None:
    """Acknowledged, protected and unmanaged numbers are in sync."""
    actions = ("acknowledged", "protected", "unmanaged")
    numbers = [NumberState(f"0100000000{index}", "ACTIVE", "INACTIVE", action) for index, action in enumerate(actions)]
    database = record_run(tmp_path, "main")
    save(database, [recorded_read(numbers=numbers)], daemon_record(), program="0", now=lambda: AT)
    with serve_pages(tmp_path / "ledger.db") as url:
        page, filtered = (request(url, f"/accounts/main{query}").body for query in ("", "?differs=1"))
        assert "/numbers/01000000000" in page
        assert "not in sync" not in page
        assert "/numbers/01000000000" not in filtered.partition('id="lines"')[2]


def test_account_of_the_files_is_shown_before_its_first_read(tmp_path: Path) -> None:
    account = file_account("new", *PHONES[:2])
    with serve_pages(tmp_path / "ledger.db", desired=lambda: [account]) as url:
        home = request(url).body
        assert "1 of 1 accounts has not been read" in home
        assert "never read" in home
        page = request(url, "/accounts/new").body
        assert "observed statuses are not known" in page
        assert "new.yaml:4" in page


def test_search_finds_accounts_numbers_and_runs(tmp_path: Path) -> None:
    database = record_run(tmp_path, "main", "other")
    save(database, [recorded_read()], daemon_record(), program="0", now=lambda: AT)
    with serve_pages(tmp_path / "ledger.db") as url:
        for text, link in (
            ("MAI", "/accounts/main"),
            ("winter", f"/numbers/{NUMBERS[0].phone}"),
            ("0000-0002", f"/numbers/{NUMBERS[1].phone}"),
            ("+82 10-0000-0001", f"/numbers/{NUMBERS[0].phone}"),
            ("010-9999-9999", "/numbers/01099999999"),
            ("20261124", f"/runs/{FIRST}"),
        ):
            assert f'href="{link}"' in request(url, f"/search?q={quote(text)}").body, text
        assert "Nothing found." in request(url, "/search?q=nowhere").body
        assert "Nothing found." not in request(url, "/search").body


def test_accounts_can_be_sorted_and_filtered_by_segment(tmp_path: Path) -> None:
    """The worst comes first. Each segment is a link with its count."""
    states = {"b": HealthStatus.HEALTHY, "c": HealthStatus.FAILED, "a": HealthStatus.NEEDS_ATTENTION}
    reads = [recorded_read(name, health=health, differing=len(name)) for name, health in states.items()]
    save(database_at(tmp_path), reads, daemon_record(), program="0", now=lambda: AT)
    with serve_pages(tmp_path / "ledger.db") as url:
        for query, names in (
            ("", "cab"),
            ("?sort=-state", "bac"),
            ("?sort=name", "abc"),
            ("?sort=-read", "cba"),
            ("?sort=numbers", "abc"),
            ("?sort=-differing", "cba"),
            ("?sort=unknown", "cab"),
            ("?show=failed", "c"),
            ("?show=in_sync", "b"),
            ("?show=suspended", ""),
        ):
            body = request(url, f"/{query}").body
            rows = re.findall(r'<th scope="row"><a href="/accounts/(\w)', body)
            assert "".join(rows) == names, query
            assert body.count('<a tabindex="-1" href="/accounts/') == len(names)


def test_next_changes_are_shown_with_their_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers that change together share a line, lines are limited, and the current files are used."""
    accounts = _files("{weekly: 'Mon-Fri 09:00-18:00', status: INACTIVE, reason: night}")
    with serve_pages(tmp_path / "ledger.db", desired=lambda: accounts) as url:
        page = request(url, "/calendar").body
        assert "Mon-Fri 09:00-18:00 INACTIVE" in page
        assert page.count("ACTIVE → INACTIVE") == 10
        assert page.count('class="number">120</td>') == 20
        assert "2026-12-08" in page
        assert "night" in page
        assert "Later changes are not shown" not in page
        assert "night" in request(url).body
        monkeypatch.setattr(site, "_TURNS", 19)
        page = request(url, "/calendar").body
        assert (page.count("ACTIVE →"), "Later changes are not shown" in page) == (19, True)
        monkeypatch.setattr(site, "_TURNS", 20)
        page = request(url, "/calendar").body
        assert (page.count("ACTIVE →"), "Later changes are not shown" in page) == (20, False)
        accounts = _files(
            "{from: '2026-11-24T12:00:00', until: '2026-11-24T13:00:00', status: INACTIVE, reason: repair}"
        )
        assert "repair" in request(url).body


def test_calendar_can_be_subscribed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The response is 404 without files, or without the extra for calendar files."""
    accounts = _files("{weekly: 'Mon-Fri 09:00-18:00', status: INACTIVE, reason: night}")
    with serve_pages(tmp_path / "ledger.db", desired=lambda: accounts) as url:
        response = request(url, "/calendar.ics?account=mai")
        assert (response.status, response.headers["content-type"]) == (200, "text/calendar; charset=utf-8")
        assert response.body.count("BEGIN:VEVENT") == 20 * len(PHONES)
        assert request(url, "/calendar.ics?account=other").body.count("BEGIN:VEVENT") == 0
        assert "No matching account has a schedule." in request(url, "/calendar?account=other").body
        monkeypatch.setattr("worker.web.views.find_spec", lambda _: None)
        assert request(url, "/calendar.ics").status == 404
        assert "calendar.ics" not in request(url, "/calendar").body
    with serve_pages(tmp_path / "ledger.db") as url:
        assert request(url, "/calendar.ics").status == 404


def test_data_behind_each_page_is_json(tmp_path: Path) -> None:
    """The JSON has the page's address with `.json`, or is requested with an Accept header. Its texts are English."""
    database = record_run(tmp_path, "main", outcome="partial", bad="failed", message="no")
    save(database, [recorded_read()], daemon_record(), program="0", now=lambda: AT)
    validator = Draft202012Validator(schema("page"))
    with serve_pages(tmp_path / "ledger.db", desired=lambda: [file_account("main")]) as url:
        for path in (
            "/index",
            "/accounts/main",
            "/runs",
            f"/runs/{FIRST}",
            "/numbers/01000000001",
            "/calendar",
            "/quota",
            "/search",
        ):
            response = request(url, f"{path}.json", Accept_Language="ko")
            assert (response.status, response.headers["content-type"]) == (200, "application/json"), path
            document = json.loads(response.body)
            assert list(validator.iter_errors(document)) == [], path
            other = request(url, path, Accept="application/json")
            assert json.loads(other.body)["content"] == document["content"]
        home = json.loads(request(url, Accept="application/json").body)
        assert home["schema"] == "senderid.page/v1"
        assert home["daemon"]["state"] == "silent"
        assert home["content"]["headline"] == "The account is in sync"
        assert [account["sync"] for account in home["content"]["accounts"]] == ["in_sync"]
        assert request(url, "/", Accept="text/html,application/json").headers["content-type"].startswith("text/html")
        assert request(url, "/nothing.json").status == 404


def test_run_has_its_stages_and_links_to_its_rollback(tmp_path: Path) -> None:
    database = record_run(tmp_path, "main")
    second = "20261124T010000Z-000002"
    record_run(database, "main", run=second)
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection, connection:
        connection.execute("UPDATE runs SET command = ? WHERE id = ?", (f"rollback {FIRST}", second))
        connection.execute("UPDATE entries SET writes = 1")
        connection.execute(
            "INSERT INTO attempts SELECT entry, phone, 2, asked, state, '2026-11-24T00:00:03.000Z', answered_at, 429, "
            "NULL, NULL, NULL FROM attempts"
        )
    with serve_pages(tmp_path / "ledger.db") as url:
        page = request(url, f"/runs/{FIRST}").body
        for words in ("Apply by ann", "<b>Plan</b>", "<b>Verify</b>", f"senderid rollback {FIRST}", "Rolled back by"):
            assert words in page, words
        assert 'class="rejected"' in page
        assert f'href="/runs/{second}"' in page
        assert f'This run rolled back <a href="/runs/{FIRST}"' in request(url, f"/runs/{second}").body


def test_number_has_its_state_and_timeline_on_each_account(tmp_path: Path) -> None:
    database = record_run(tmp_path, "main", "other", at="2026-11-20T00:00:00.000Z")
    phone = "01000000001"
    numbers = [NumberState(phone, "ACTIVE", "INACTIVE", "activate", note="sale", owner="ops", source="a.yaml", line=3)]
    save(database, [recorded_read("main", numbers)], daemon_record(), program="0", now=lambda: AT)
    with serve_pages(tmp_path / "ledger.db") as url:
        page = request(url, f"/numbers/{phone}").body
        assert page.count('class="ribbon"') == 2
        for words in ("<b>INACTIVE</b>", "sale", "ops", "a.yaml", "changed elsewhere", 'class="outside"'):
            assert words in page, words


def test_quota_can_be_shown_for_one_account(tmp_path: Path) -> None:
    record_run(tmp_path, "main", "other", phones=PHONES[:3])
    with serve_pages(tmp_path / "ledger.db") as url:
        assert '<td class="number">6</td>' in request(url, "/quota").body
        assert '<td class="number">3</td>' in request(url, "/quota?account=main").body
        assert "No requests." in request(url, "/quota?account=nobody").body


def _files(entry: str) -> Sequence[DesiredAccount]:
    numbers = "".join(f"  {phone}: {{status: ACTIVE, schedule: [{entry}]}}\n" for phone in PHONES)
    return load(iter([("main.yaml", f"version: 1\naccount: main\nnumbers:\n{numbers}".encode())])).accounts


def test_language_is_selected_by_accept_language(tmp_path: Path) -> None:
    """English is used for unsupported or invalid languages."""
    with serve_pages(tmp_path / "ledger.db") as url:
        for requested, language in (
            ("ko-KR,en;q=0.5", "ko"),
            ("en;q=0.1, ko;q=0.9", "ko"),
            ("fr, xx;q=z", "en"),
            ("ko;q=0", "en"),
        ):
            assert f'<html lang="{language}">' in request(url, Accept_Language=requested).body


@pytest.mark.parametrize("spelling", ["010-0000-0011", "+82 10-0000-0011", "0082 10 0000 0011", "(010) 0000.0011"])
def test_number_is_found_in_every_spelling(tmp_path: Path, spelling: str) -> None:
    """The number is found by its history and on its account."""
    record_run(tmp_path, "big", phones=PHONES)
    with serve_pages(tmp_path / "ledger.db") as url:
        assert "/numbers/01000000011" in request(url, f"/search?q={quote(spelling)}").body
        account_page = request(url, f"/accounts/big?q={quote(spelling)}").body
        assert set(re.findall(r"/numbers/(\d+)", account_page)) == {"01000000011"}


@pytest.mark.parametrize("spelling", ["010-0000-011", "+82 10 0000 011", "+82 (0)10 0000 011"])
def test_numbers_are_found_by_their_first_digits(tmp_path: Path, spelling: str) -> None:
    record_run(tmp_path, "big", phones=PHONES)
    with serve_pages(tmp_path / "ledger.db") as url:
        account_page = request(url, f"/accounts/big?q={quote(spelling)}").body
        assert set(re.findall(r"/numbers/(\d+)", account_page)) == set(PHONES[110:])


def test_unfinished_run_is_shown_as_unfinished(tmp_path: Path) -> None:
    """The accounts and numbers of the run are unfinished and unsettled."""
    record_run(tmp_path, "main", outcome=None)
    path = tmp_path / "ledger.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE outcomes SET outcome = NULL")
    with serve_pages(path) as url:
        assert "1 of 1 accounts needs attention" in request(url).body
        assert "The run is in progress or it crashed." in request(url).body
        assert "unfinished" in request(url, "/numbers/01000000001").body
