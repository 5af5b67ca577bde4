"""The documentation as a site: it builds without warnings, has no dead link, and is accessible."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[2]


class Links(HTMLParser):
    """The resources that a page loads, its links, and its anchors."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Sort the addresses of an element."""
        actual = {name: value or "" for name, value in attrs}
        if "id" in actual:
            self.places.add(actual["id"])
        if tag == "a":
            self.links += [actual["href"]] if "href" in actual else []
        else:
            named = [actual[name] for name in ("src", "href", "poster", "data") if name in actual]
            self.loads += named + [
                source.split()[0] for source in actual.get("srcset", "").split(",") if source.strip()
            ]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site as `make docs` does. Warnings and dead references are errors."""
    instance = tmp_path_factory.mktemp("site")
    built = subprocess.run(  # noqa: S603 - our own documentation
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-n", "-q", "-b", "html", "docs", str(instance)],
        cwd=ROOT,
        env=os.environ | {"LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert built.returncode == 0, built.stderr
    return instance


def outside(address: str) -> bool:
    """Return True if an address is on another host."""
    return urlsplit(address).netloc != ""


def test_site_loads_nothing_from_other_hosts(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 25
    for page in pages:
        assert [address for address in Links(page.read_text()).loads if outside(address)] == [], page.name
    for style in site.rglob("*.css"):
        text = style.read_text()
        assert [a for a in re.findall(r"url\(\s*['\"]?([^'\")]+)", text) if outside(a)] == [], style.name
        assert "@import" not in text


def test_site_has_no_dead_link(site: Path) -> None:
    pages = {page: Links(page.read_text()) for page in site.rglob("*.html")}
    for page, actual in pages.items():
        for address in filter(lambda link: not outside(link), actual.links):
            parts = urlsplit(address)
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            assert target.exists(), f"{page.name}: {address}"
            if parts.fragment and target in pages:
                assert unquote(parts.fragment) in pages[target].places, f"{page.name}: {address}"


def test_linked_project_files_are_copied(site: Path) -> None:
    page = site / "how-to" / "metrics.html"
    addresses = [address for address in Links(page.read_text()).links if address.endswith("rules.yml")]
    (copied,) = {(page.parent / address).read_text() for address in addresses}
    assert copied == (ROOT / "deploy/prometheus/rules.yml").read_text()


@pytest.mark.parametrize("name", ["index", "tutorial", "ko/tutorial", "reference/commands", "reference/outcomes"])
@pytest.mark.parametrize(("size", "dark"), [("phone", True), ("desktop", False)])
def test_site_is_accessible(site: Path, visit: Callable[..., Any], name: str, size: str, *, dark: bool) -> None:
    visited = visit((site / f"{name}.html").as_uri(), size=size, dark=dark)
    # axe-core reloads style sheets, which browsers refuse for files, so it runs last
    assert visited.complaints == []
    assert [request for request in visited.requests if not request.startswith("file:")] == []
    assert not visited.overflows()
    assert visited.violations() == []
    assert visited.page.locator("html").get_attribute("lang") == ("ko" if name.startswith("ko/") else "en")
