"""GitHub and GitLab as far as pipelines use them: real sockets, pages of 100 items, checked tokens, and faults."""

import asyncio
import hashlib
import io
import threading
import zipfile
from collections.abc import Awaitable, Callable, Mapping
from itertools import count
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from aiohttp import web

__all__ = ["BOT", "TOKEN", "Fault", "Forge"]

TOKEN: Final = "ghs_t0ken"
BOT: Final = "github-actions[bot]"
REPOSITORY: Final = "acme/numbers"
PROJECT: Final = "77"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


_AT_ONCE: Final = MappingProxyType({"Retry-After": "0"})


class Fault(NamedTuple):
    """A fault of one request with this `method` and a path that ends with `path`.

    Without a `status` the connection is reset. With `takes_effect` the request is executed first. `text` is the body of
    the response.
    """

    method: str
    path: str
    status: int | None = None
    headers: Mapping[str, str] = _AT_ONCE
    takes_effect: bool = False
    text: str = "something went wrong"


class Forge:
    """A GitHub and a GitLab server on a loop and a thread of their own. Tests read and fill the lists.

    Each of `faults` happens once, in order. `rivals` are comments of the same user that are created right before the
    next comment. `compared` lists the files that a push changed, and `comparison` is the relation of its commits.
    `head` is the newest commit of every branch, `newer` its files by path, and `is_truncated` is True if the list of
    files is incomplete.
    """

    def __init__(self) -> None:
        self.comments: list[dict[str, Any]] = []
        self.issues: list[dict[str, Any]] = []
        self.pulls: list[dict[str, Any]] = []
        self.artifacts: list[dict[str, Any]] = []
        self.pipelines: list[dict[str, Any]] = []
        self.files: dict[int, bytes] = {}
        self.faults: list[Fault] = []
        self.rivals: list[str] = []
        self.head = "b" * 40
        self.newer: dict[str, bytes] = {}
        self.compared: list[dict[str, Any]] = []
        self.comparison = "ahead"
        self.is_truncated = False
        self._ids = count(1000)
        self.calls: list[tuple[str, str]] = []
        self.tokens_elsewhere: list[str | None] = []
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._runner: web.AppRunner | None = None

    def start(self) -> None:
        """Start the servers."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)

    def stop(self) -> None:
        """Stop the servers."""
        assert self._runner is not None
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    @property
    def writes(self) -> list[tuple[str, str]]:
        """Return the method and path of every request that is not a GET."""
        return [call for call in self.calls if call[0] != "GET"]

    async def _start(self) -> None:
        app = web.Application(middlewares=[self._check_request])
        hub, lab = f"/repos/{REPOSITORY}", f"/projects/{PROJECT}"
        app.add_routes(
            [
                web.get(hub + "/issues/{number}/comments", self._page(lambda: self.comments)),
                web.post(hub + "/issues/{number}/comments", self._create_comment),
                web.patch(hub + "/issues/comments/{id}", self._update_comment),
                web.delete(hub + "/issues/comments/{id}", self._delete_comment),
                web.get(hub + "/branches/{branch}", self._get_branch),
                web.get(hub + "/contents/{path:.+}", self._get_content),
                web.get(hub + "/compare/{range}", self._compare),
                web.get(hub + "/git/trees/{sha}", self._get_tree),
                web.get(hub + "/issues", self._page(lambda: self.issues)),
                web.post(hub + "/issues", self._create_issue),
                web.patch(hub + "/issues/{number}", self._update_issue),
                web.get(hub + "/commits/{sha}/pulls", self._page(lambda: self.pulls)),
                web.get(hub + "/actions/artifacts", self._list_artifacts),
                web.get(hub + "/actions/artifacts/{id}/zip", self._redirect_to_blob),
                web.get("/blob/{id}", self._get_blob),
                web.get("/user", self._get_user),
                web.get(lab + "/merge_requests/{number}/notes", self._page(lambda: self.comments)),
                web.post(lab + "/merge_requests/{number}/notes", self._create_comment),
                web.put(lab + "/merge_requests/{number}/notes/{id}", self._update_comment),
                web.delete(lab + "/merge_requests/{number}/notes/{id}", self._delete_comment),
                web.get(lab + "/repository/branches/{branch}", self._get_branch),
                web.get(lab + "/repository/files/{path}/raw", self._get_content),
                web.get(lab + "/repository/tree", self._list_tree),
                web.get(lab + "/issues/{number}/notes", self._page(list)),
                web.get(lab + "/issues", self._page(lambda: self.issues)),
                web.post(lab + "/issues", self._create_issue),
                web.put(lab + "/issues/{number}", self._update_issue),
                web.post(lab + "/issues/{number}/notes", self._create_issue_note),
                web.get(lab + "/repository/commits/{sha}/merge_requests", self._page(lambda: self.pulls)),
                web.get(lab + "/merge_requests/{number}/pipelines", self._page(lambda: self.pipelines)),
                web.get(lab + "/pipelines/{id}/jobs", self._list_jobs),
                web.get(lab + "/jobs/{id}/artifacts/{name}", self._get_artifact),
            ]
        )
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    @web.middleware
    async def _check_request(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        token = request.headers.get("Authorization") or request.headers.get("PRIVATE-TOKEN")
        if request.path.startswith("/blob/"):
            self.tokens_elsewhere.append(token)
            return await handler(request)
        if token not in {f"Bearer {TOKEN}", TOKEN}:
            return web.json_response({"message": "Bad credentials"}, status=401)
        self.calls.append((request.method, request.path))
        fault = next(
            (fault for fault in self.faults if fault.method == request.method and request.path.endswith(fault.path)),
            None,
        )
        if fault is None:
            return await handler(request)
        self.faults.remove(fault)
        if fault.takes_effect:
            await handler(request)
        if fault.status is None:
            assert request.transport is not None
            request.transport.abort()
        return web.Response(status=fault.status or 500, headers=fault.headers, text=fault.text)

    def _page(self, items: Callable[[], list[dict[str, Any]]]) -> Handler:
        async def handle(request: web.Request) -> web.Response:
            size, page = int(request.query["per_page"]), int(request.query["page"])
            return web.json_response(items()[(page - 1) * size : page * size])

        return handle

    async def _create_comment(self, request: web.Request) -> web.Response:
        body = (await request.json())["body"]
        assert len(body) <= 65_536
        for text in (*self.rivals, body):
            self.comments.append({"id": next(self._ids), "user": {"login": BOT}, "author": {"id": 5}, "body": text})
        self.rivals.clear()
        return web.json_response({"id": self.comments[-1]["id"]}, status=201)

    async def _delete_comment(self, request: web.Request) -> web.Response:
        self.comments[:] = [comment for comment in self.comments if str(comment["id"]) != request.match_info["id"]]
        return web.Response(status=204)

    async def _update_comment(self, request: web.Request) -> web.Response:
        (comment,) = [item for item in self.comments if str(item["id"]) == request.match_info["id"]]
        comment["body"] = (await request.json())["body"]
        return web.json_response({})

    async def _create_issue_note(self, _request: web.Request) -> web.Response:
        return web.json_response({"id": next(self._ids)}, status=201)

    async def _get_branch(self, _request: web.Request) -> web.Response:
        return web.json_response({"commit": {"sha": self.head, "id": self.head}})

    async def _get_content(self, request: web.Request) -> web.Response:
        assert request.query["ref"] == self.head
        data = self.newer.get(request.match_info["path"])
        return web.Response(status=404) if data is None else web.Response(body=data)

    def _blobs(self, folder: str = "") -> list[dict[str, Any]]:
        return [{"path": folder, "type": "tree", "id": "0", "sha": "0"}] + [
            {"path": path, "type": "blob", "id": blob, "sha": blob}
            for path, data in self.newer.items()
            if path.startswith(folder)
            for blob in [hashlib.sha1(b"blob %d\0%b" % (len(data), data)).hexdigest()]  # noqa: S324 - as git does
        ]

    async def _get_tree(self, request: web.Request) -> web.Response:
        assert (request.match_info["sha"], request.query["recursive"]) == (self.head, "1")
        return web.json_response({"tree": self._blobs(), "truncated": self.is_truncated})

    async def _list_tree(self, request: web.Request) -> web.StreamResponse:
        assert (request.query["ref"], request.query["recursive"]) == (self.head, "true")
        return await self._page(lambda: self._blobs(request.query.get("path", "")))(request)

    async def _compare(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": self.comparison, "files": self.compared})

    async def _create_issue(self, request: web.Request) -> web.Response:
        number = len(self.issues) + 1
        self.issues.append({"number": number, "iid": number, "user": {"login": BOT}, **await request.json()})
        state = "open" if "/repos/" in request.path else "opened"
        self.issues[-1]["state"] = state
        return web.json_response({"id": next(self._ids)}, status=201)

    async def _update_issue(self, request: web.Request) -> web.Response:
        (issue,) = [item for item in self.issues if str(item["number"]) == request.match_info["number"]]
        issue |= await request.json()
        event = issue.pop("state_event", None)
        if event:
            issue["state"] = {"reopen": "opened", "close": "closed"}[event]
        return web.json_response({})

    async def _list_artifacts(self, request: web.Request) -> web.Response:
        artifacts = [artifact for artifact in self.artifacts if artifact["name"] == request.query["name"]]
        return web.json_response({"total_count": len(artifacts), "artifacts": artifacts})

    async def _redirect_to_blob(self, request: web.Request) -> web.Response:
        raise web.HTTPFound(f"{self.url}/blob/{request.match_info['id']}")

    async def _get_blob(self, request: web.Request) -> web.Response:
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as zip_file:
            zip_file.writestr("plan.json", self.files[int(request.match_info["id"])])
        return web.Response(body=archive.getvalue())

    async def _get_user(self, _request: web.Request) -> web.Response:
        return web.json_response({"id": 5})

    async def _list_jobs(self, request: web.Request) -> web.Response:
        return web.json_response([{"id": int(request.match_info["id"]), "name": "senderid-plan", "status": "success"}])

    async def _get_artifact(self, request: web.Request) -> web.Response:
        return web.Response(body=self.files[int(request.match_info["id"])])
