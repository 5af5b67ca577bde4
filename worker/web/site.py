"""HTTP handler of the status pages: access control, routing, assets and event streams."""

import asyncio
import contextvars
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from hashlib import sha256
from re import ASCII, fullmatch
from threading import Lock
from typing import Final
from urllib.parse import parse_qsl, unquote

from aiohttp import web

from worker.ledger import Database
from worker.ledger.database import Connection
from worker.ledger.status_page import empty_ledger
from worker.model.accounts import DesiredAccount
from worker.model.errors import LedgerError
from worker.model.status_page import DaemonState, Liveness, UpcomingChange, UpcomingChanges
from worker.model.times import format_utc
from worker.render import json_document, status_pages
from worker.render.html import asset
from worker.render.i18n import LANGUAGES, choose_language, language_of, translate
from worker.render.i18n import gettext as _
from worker.render.view.calendar import CALENDAR_DAYS
from worker.web import views
from worker.web.auth import COOKIE, Access, Denied, TooManyAttempts
from worker.web.next_changes import NextChanges
from worker.web.server import METHOD_NOT_ALLOWED, HttpResponse
from worker.web.sse import EventStreams

__all__ = ["StatusPages"]

_POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_HTML: Final = "text/html; charset=utf-8"
_JSON: Final = "application/json"
_JSON_SUFFIX: Final = ".json"
_CALENDAR: Final = "text/calendar; charset=utf-8"
_SECONDS: Final = 2.0
"""Time limit in seconds for reading the ledger for a page."""
_THREADS: Final = 2
_ASSETS: Final = {
    "style.css": "text/css; charset=utf-8",
    "page/page.css": "text/css; charset=utf-8",
    "early.js": "text/javascript; charset=utf-8",
    "copy.js": "text/javascript; charset=utf-8",
    "page/page.js": "text/javascript; charset=utf-8",
    "page/icon.svg": "image/svg+xml",
}
_OWN_ADDRESS: Final = r"/(?![/\\])[\x21-\x5b\x5d-\x7e]{0,1024}"
"""Regular expression of an address on this server: a path, with a query or without."""
_WITHOUT_ACCESS: Final = frozenset({403, 421, 429})
"""HTTP statuses of clients that may not see pages, so that a message has no links to them."""
_FORM: Final = 4096
"""Maximum size in bytes of a submitted login form."""
_PARTS: Final = 64
"""Maximum count of parameters of a query string."""
_NOT_KNOWN: Final = Liveness()
_TURNS: Final = 200


class StatusPages:
    """HTTP handler of the pages of a ledger.

    `live` returns the state of the daemon; None without a daemon. `desired` returns the accounts of the desired-state
    files; it is None without files. `now` returns the current aware time.
    """

    def __init__(
        self,
        ledger: Database,
        access: Access,
        *,
        live: Callable[[], DaemonState | None] = lambda: None,
        desired: Callable[[], Sequence[DesiredAccount]] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._ledger = ledger
        self._access = access
        self._live = live
        self._desired = desired
        self._now = now
        self._is_checked = False
        self._next_changes = NextChanges()
        self._lock = Lock()
        self._snapshot: tuple[str, views.Snapshot] | None = None
        # separate threads, so that the daemon's writes to the ledger do not wait for readers
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="page")
        self.events = EventStreams(ledger.state)

    def close(self) -> None:
        """End all event streams, and shut down the threads."""
        self.events.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def respond(
        self, request: web.BaseRequest, headers: dict[str, str], last: Callable[[float], None]
    ) -> HttpResponse | web.StreamResponse:
        """Return the response to a request.

        `headers` are the headers of every response, and may be changed. `last` sets the remaining lifetime of the
        connection in seconds.
        """
        path, _mark, query = request.raw_path.partition("?")
        as_json = path.endswith(_JSON_SUFFIX) or _prefers_json(request.headers.get("Accept", ""))
        choose_language(LANGUAGES[0] if as_json else _language(request.headers.get("Accept-Language", "")))
        headers["Content-Security-Policy"] = _POLICY
        # the raw path, as an encoded slash must not separate its parts
        is_login = path in {"/login", "/logout"} and request.method == "POST"
        if request.method not in {"GET", "HEAD"} and not is_login:
            return METHOD_NOT_ALLOWED
        for name, kind in _ASSETS.items():
            if path == _url(name):
                return HttpResponse(200, asset(name), kind, {"Cache-Control": "public, max-age=31536000, immutable"})
        try:
            if is_login:
                return await self._entrance(request, path)
            denied = self._access.deny(
                request.headers.get("Host", ""),
                request.headers.get("Authorization"),
                request.cookies.get(COOKIE),
                request.remote or "",
            )
        except TooManyAttempts:
            return self._message(
                429, _("Too many wrong tokens"), _("Wait a minute, then try again."), {"Retry-After": "60"}
            )
        if denied is not None:
            return self._denied(denied, request.raw_path)
        if path == "/events":
            if request.method == "HEAD":
                return HttpResponse(200, b"", "text/event-stream")
            if self.events.is_full:
                return HttpResponse(
                    503, b"too many event streams are open; try again later\n", headers={"Retry-After": "60"}
                )
            return await self.events.stream(request, headers, last)
        return await self._page(path.removesuffix(_JSON_SUFFIX), query, as_json=as_json)

    async def _entrance(self, request: web.BaseRequest, path: str) -> HttpResponse:
        # the header may be forged, but that only affects the client's own cookie
        is_https = request.headers.get("X-Forwarded-Proto", "").partition(",")[0].strip().lower() == "https"
        only = "HttpOnly; SameSite=Strict; Secure" if is_https else "HttpOnly; SameSite=Strict"
        no_cookie = f"{COOKIE}=; Path=/; Max-Age=0; {only}"
        if path == "/logout" or not self._access.requires_token:
            return HttpResponse(303, b"", headers={"Location": "/", "Set-Cookie": no_cookie})
        body = b""
        while len(body) <= _FORM and (data := await request.content.read(_FORM)):
            body += data
        try:
            form = dict(parse_qsl(body[:_FORM].decode("ascii"), max_num_fields=2))
        except ValueError:
            form = {}
        # an address of another site must not come from a form
        target = form.get("next", "")
        target = target if fullmatch(_OWN_ADDRESS, target, ASCII) else "/"
        session = self._access.login(form.get("token", ""), request.remote or "")
        if session is None:
            return self._login(_("Wrong token."), target, is_error=True)
        cookie = f"{COOKIE}={session}; Path=/; Max-Age=43200; {only}"
        return HttpResponse(303, b"", headers={"Location": target, "Set-Cookie": cookie})

    def _denied(self, denial: Denied, target: str) -> HttpResponse:
        match denial:
            case Denied.HOST:
                return self._message(
                    421,
                    _("Unknown host name"),
                    _("Open the page as 127.0.0.1 or localhost, or set a token with --token-file."),
                )
            case Denied.NO_TOKEN:
                return self._message(
                    403,
                    _("Token required"),
                    _(
                        "Other machines need a token: write one to a file and set --token-file or web.token_file. "
                        "Or listen on 127.0.0.1."
                    ),
                )
            case Denied.LOGIN:
                return self._login(_("Enter the token of this status page."), target)

    def _login(self, text: str, target: str, *, is_error: bool = False) -> HttpResponse:
        """Return the login form. After it, the browser opens the requested page."""
        page = status_pages.message(self._frame("", None), _("Log in"), text, next_page=target, is_error=is_error)
        return HttpResponse(401, page.encode(), _HTML, {"WWW-Authenticate": "Bearer"})

    def _message(self, code: int, title: str, text: str, headers: dict[str, str] | None = None) -> HttpResponse:
        page = status_pages.message(self._frame("", None), title, text, with_navigation=code not in _WITHOUT_ACCESS)
        return HttpResponse(code, page.encode(), _HTML, headers or {})

    async def _page(self, path: str, query: str, *, as_json: bool) -> HttpResponse:
        loop = asyncio.get_running_loop()
        version = await loop.run_in_executor(self._threads, self.events.version)
        try:
            page_request = views.PageRequest(
                path=_parts(path),
                query=dict(parse_qsl(query, max_num_fields=_PARTS, errors="strict")),
                now=self._now(),
                live=self._live(),
                snapshot=partial(self._snapshot_of, version),
                coming=self._upcoming,
                files=self._files,
            )
        except ValueError:
            return self._message(400, _("Invalid address"), _("Start from the first page: /"))
        context = contextvars.copy_context()
        build = partial(self._build, page_request, version, as_json=as_json)
        return await loop.run_in_executor(self._threads, lambda: context.run(build))

    def _build(self, page_request: views.PageRequest, version: str, *, as_json: bool) -> HttpResponse:
        """Return the response with a page. It blocks and runs in a thread."""
        try:
            if page_request.path == ("calendar.ics",):
                return HttpResponse(200, views.calendar_file(page_request), _CALENDAR)
            with (
                self._ledger.read(skip_check=self._is_checked, seconds=_SECONDS) as ledger_connection,
                ExitStack() as stack,
            ):
                self._is_checked = True
                connection = (
                    stack.enter_context(closing(empty_ledger())) if ledger_connection is None else ledger_connection
                )
                if page_request.path[2:] == ("report.html",):
                    return _report(page_request.path[1], views.run_report(connection, page_request))
                page = views.build_page(connection, page_request)
        except views.Moved as moved:
            return HttpResponse(302, b"", headers={"Location": moved.url})
        except views.PageNotFound:
            return self._message(404, _("Page not found"), _("The page may belong to a deleted run. Start at /"))
        except views.ReportTooLarge as large:
            text = _("Write it to a file: senderid history {run} --format html --output report.html")
            return self._message(413, _("The report is too large for this page"), text.format(run=large.run_id))
        except TimeoutError:
            return self._message(
                503,
                _("Reading the ledger timed out"),
                _("Try again later. If it happens again, delete old runs with history --prune-older-than."),
                {"Retry-After": "5"},
            )
        except LedgerError as error:
            text = translate(str(error))
            text = f"{text[:1].upper()}{text[1:]}."
            return self._message(503, _("The ledger cannot be read"), text, {"Retry-After": "5"})
        if as_json:
            document = status_pages.PageDocument(
                at=format_utc(page_request.now), daemon=page.liveness, content=page.body
            )
            return HttpResponse(200, json_document.encode(document), _JSON)
        frame = self._frame(page.here, page_request.live, version, page.liveness)
        return HttpResponse(200, status_pages.page(frame, page.body).encode(errors="replace"), _HTML)

    def _frame(
        self, here: str, live: DaemonState | None, version: str = "", liveness: Liveness = _NOT_KNOWN
    ) -> status_pages.Frame:
        return status_pages.Frame(
            here=here,
            liveness=liveness,
            made_at=format_utc(self._now()),
            ledger=self._ledger.title,
            assets={name: _url(name) for name in _ASSETS},
            live=live,
            requires_token=self._access.requires_token,
            version=version,
        )

    def _snapshot_of(self, version: str, connection: Connection) -> views.Snapshot:
        """Return the states of accounts. They are read again once the version of the data changes."""
        if self._snapshot is None or self._snapshot[0] != version:
            self._snapshot = version, views.read_snapshot(connection)
        return self._snapshot[1]

    def _files(self) -> Sequence[DesiredAccount] | None:
        """Return the accounts of the files; None without files. It runs in a thread."""
        if self._desired is None:
            return None
        with self._lock:
            return self._desired()

    def _upcoming(self) -> UpcomingChanges | None:
        """Return the next scheduled changes; None without files. It runs in a thread."""
        if self._desired is None:
            return None
        now = self._now()
        with self._lock:
            changes = self._next_changes.next(self._desired(), now, days=CALENDAR_DAYS, limit=_TURNS + 1)
        upcoming = tuple(
            UpcomingChange(
                format_utc(change.when), change.account, change.before, change.after, change.count, change.why
            )
            for change in changes[:_TURNS]
        )
        return UpcomingChanges(format_utc(now + timedelta(CALENDAR_DAYS)), upcoming, more=len(changes) > _TURNS)


def _report(run_id: str, page: str) -> HttpResponse:
    """Return a report as a file to save. It is not shown on this site, whose policy allows no script in a page."""
    name = "".join(char for char in run_id if char.isascii() and (char.isalnum() or char == "-"))
    return HttpResponse(
        200, page.encode(errors="replace"), _HTML, {"Content-Disposition": f'attachment; filename="{name}.html"'}
    )


@cache
def _url(name: str) -> str:
    """Return the URL of an asset. It contains the hash of the content, so that browsers can cache the asset forever."""
    return f"/assets/{sha256(asset(name)).hexdigest()[:16]}/{name.rpartition('/')[2]}"


def _parts(path: str) -> tuple[str, ...]:
    """Return the decoded parts of a path. An encoded slash does not separate them."""
    return () if path in {"/", "/index"} else tuple(unquote(part, errors="strict") for part in path.split("/")[1:])


def _prefers_json(header: str) -> bool:
    """Return True if an Accept header names JSON, and not HTML."""
    return "application/json" in header and "text/html" not in header


def _language(header: str) -> str:
    """Return the supported language that an Accept-Language header prefers; English by default."""
    languages = []
    for index, language in enumerate(header.split(",")[:20]):
        name, _semicolon, weight = language.strip().partition(";q=")
        try:
            languages.append((-float(weight or 1), index, name))
        except ValueError:
            continue
    return next(filter(None, (language_of(name) for weight, _place, name in sorted(languages) if weight)), LANGUAGES[0])
