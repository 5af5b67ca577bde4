"""Pages in Chromium, at the widths of phones and desktops, with and without JavaScript."""

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

_CHROMIUM: Final = os.environ.get("CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"))), None
)
_FLAGS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_SIZES: Final = {"phone": (390, 844), "tablet": (820, 1180), "desktop": (1440, 900)}

_MILLISECONDS: Final = 20_000
"""Patience with a page; a loaded machine needs some of it."""

Opened = Callable[..., "Visit"]


class Visit:
    """One page, with its requests, errors and dialogs."""

    def __init__(self, page: Page, *, scripts: bool) -> None:
        page.set_default_timeout(_MILLISECONDS)
        self.page = page
        self._scripts = scripts
        self.requests: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on(
            "console",
            lambda message: self.complaints.append(message.text) if message.type in {"error", "warning"} else None,
        )
        page.on("dialog", self._opened)

    def _opened(self, dialog: Any) -> None:
        self.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def violations(self) -> list[str]:
        """Return the violations that axe-core finds in the current page. It needs scripts."""
        assert self._scripts
        actual = Axe().run(self.page, options={"resultTypes": ["violations"]})
        return [
            f"{found['id']} ({found['impact']}): {found['help']}: {[node['target'] for node in found['nodes'][:5]]}"
            for found in actual.response["violations"]
        ]

    def overflows(self) -> bool:
        """Return True if the page scrolls sideways."""
        wider = self.page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
        assert isinstance(wider, bool)
        return wider


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start one Chromium for the tests of a module. None of them is async, because Playwright runs its own loop."""
    if _CHROMIUM is None:
        pytest.skip("there is no Chromium (`make browser` installs one, or name it in CHROMIUM)")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=_CHROMIUM, args=list(_FLAGS))
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Opened]:
    """Open a URL: `visit(url, size="phone", dark=True, scripts=False, language="ko")`."""
    contexts = []

    def open_page(
        url: str, *, size: str = "desktop", dark: bool = False, scripts: bool = True, language: str = "en-GB"
    ) -> Visit:
        width, height = _SIZES[size]
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            java_script_enabled=scripts,
            locale=language,
        )
        contexts.append(context)
        visited = Visit(context.new_page(), scripts=scripts)
        visited.page.goto(url)
        return visited

    yield open_page
    for context in contexts:
        context.close()
