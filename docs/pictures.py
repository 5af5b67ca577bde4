"""Render the pictures of the README: real output of the command against the sandbox, in a browser, light and dark.

`make pictures` makes all of them anew; `python docs/pictures.py terminal report` some. It needs Chromium and fonts with
Korean letters (`make browser`).
"""

import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from io import StringIO
from pathlib import Path
from types import MappingProxyType
from typing import Final

from markdown_it import MarkdownIt
from playwright.sync_api import Browser, sync_playwright
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

PICTURES: Final = Path(__file__).with_name("pictures")
SENDERID: Final = str(Path(sys.executable).with_name("senderid"))
TEXT: Final = (760, 620)
PAGE: Final = (1100, 860)
"""Width and height of the window, for text and for desktop pages."""
LARGEST: Final = 150_000
"""Most bytes of a picture, for readers on phones."""
COLUMNS: Final = 78
SEED: Final = 3
URL: Final = re.compile(r"http://127\.0\.0\.1:\d+/?")

LIGHT: Final = TerminalTheme(
    (255, 255, 255),
    (36, 41, 47),
    [
        (36, 41, 47),
        (176, 29, 45),
        (17, 99, 41),
        (125, 78, 0),
        (9, 80, 174),
        (109, 53, 168),
        (10, 92, 106),
        (87, 96, 106),
    ],
)
DARK: Final = TerminalTheme(
    (13, 17, 23),
    (240, 246, 252),
    [
        (240, 246, 252),
        (255, 123, 114),
        (86, 211, 100),
        (227, 179, 65),
        (121, 192, 255),
        (210, 168, 255),
        (86, 212, 221),
    ],
)

FRAME: Final = """<!doctype html><meta charset="utf-8"><title>{title}</title><style>
:root {{ color-scheme: light dark; --line: light-dark(#d0d7de, #3d444d); }}
body {{ margin: 16px; font: 14px/1.5 system-ui, "Noto Sans", "DejaVu Sans", "Noto Sans CJK KR", sans-serif;
  color: light-dark(#1f2328, #f0f6fc); background: light-dark(#fff, #0d1117); }}
main {{ border: 1px solid var(--line); border-radius: 6px; overflow: hidden; }}
header {{ padding: 8px 16px; border-bottom: 1px solid var(--line); background: light-dark(#f6f8fa, #151b23); }}
article {{ padding: 8px 16px; }}
pre {{ margin: 0; padding: 16px; font: 13px/1.45 "DejaVu Sans Mono", "Noto Sans Mono CJK KR", monospace;
  color: {foreground}; background: {background}; }}
table {{ border-collapse: collapse; display: block; }} th, td {{ border: 1px solid var(--line); padding: 4px 12px; }}
code {{ font: 12px "DejaVu Sans Mono", "Noto Sans Mono CJK KR", monospace; padding: 2px 4px; border-radius: 6px;
  background: light-dark(#eff1f3, #262c36); }}
</style><main><header>{title}</header>{body}</main>"""


class Missing(Exception):
    """A requirement of a picture is missing."""


class Stage:
    """A folder with desired state, and a sandbox that differs from it. Only times differ between runs."""

    def __init__(self, folder: Path, sandbox: dict[str, str]) -> None:
        self.folder = folder
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "USER": "kim",
            "XDG_STATE_HOME": str(folder / "state"),
            "LANG": "C.UTF-8",
            "TERM": "xterm-256color",
            "COLUMNS": str(COLUMNS),
            "SENDERID_ENDPOINT": sandbox["url"],
            "SENDERID_LOG__LEVEL": "error",
            "SOLAPI_API_KEY": sandbox["api_key"],
            "SOLAPI_API_SECRET": sandbox["api_secret"],
        }
        accounts = folder / "accounts"
        accounts.mkdir()
        file = accounts / "main.yaml"
        self.run("export", "--account", "main", "--output", str(file))
        # one to deactivate, two to activate; with notes
        changed = file.read_text()
        for number, entry in (
            ("010-6472-3955", "{status: ACTIVE, note: winter sale, owner: marketing}"),
            ("02-4366-0082", "{status: ACTIVE, note: customer centre, owner: support}"),
            ("031-959-3747", "{status: INACTIVE, note: old head office, owner: facilities}"),
        ):
            changed, count = re.subn(rf'("{number}"): \w+', rf"\1: {entry}", changed)
            if count != 1:
                raise Missing(f"the sandbox of seed {SEED} has no {number} any more: choose another one here")
        file.write_text(changed)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the command and leave it running, with stderr on its stdout."""
        return subprocess.Popen(
            [SENDERID, *arguments],
            cwd=self.folder,
            env=self.environment | {"SENDERID_LOG__LEVEL": "info"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str, environment: Mapping[str, str] = MappingProxyType({})) -> str:
        """Return what the command prints.

        Raises:
            Missing: it does not know these options, or fails.
        """
        done = subprocess.run(
            [SENDERID, *arguments],
            cwd=self.folder,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        if done.returncode:
            raise Missing(f"senderid {' '.join(arguments)}: exit status {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def typed(self, *arguments: str) -> str:
        """Return the output at a terminal whose user answers yes, with colours."""
        mine, terminal = pty.openpty()
        told, tells = os.pipe()
        process = subprocess.Popen(
            [SENDERID, *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=terminal,
            stdout=terminal,
            stderr=tells,  # no terminal, as a bar that moves is no picture
        )
        os.close(tells)
        seen, sources = "", [mine, told]
        while process.poll() is None or mine in select.select(sources, [], [], 0)[0]:
            for source in select.select(sources, [], [], 0.1)[0]:
                text = os.read(source, 65536).decode()
                seen += text
                if not text:
                    sources.remove(source)
                elif source == told:
                    os.write(mine, b"yes\n")
        for descriptor in (mine, terminal, told):
            os.close(descriptor)
        return seen.replace("\r\n", "\n")


@contextmanager
def staged() -> Iterator[Stage]:
    """Yield a stage, and close it."""
    with tempfile.TemporaryDirectory() as folder:
        sandbox = [SENDERID, "sandbox", "--numbers", "6", "--seed", str(SEED)]
        with subprocess.Popen(sandbox, stdout=subprocess.PIPE, text=True) as served:
            try:
                yield Stage(Path(folder), json.loads(next(_lines(served))))
            finally:
                served.terminate()


def _lines(process: subprocess.Popen[str]) -> Iterator[str]:
    return iter(process.stdout or ())


def terminal(stage: Stage, browser: Browser) -> None:
    """Render an apply at a terminal. Afterwards the sandbox is in the desired state."""
    seen = f"$ senderid apply -f accounts\n{stage.typed('apply', '-f', 'accounts').rstrip()}"
    for name, theme in (("light", LIGHT), ("dark", DARK)):
        console = Console(record=True, width=COLUMNS, file=StringIO())
        console.print(Text.from_ansi(seen))
        body = console.export_html(theme=theme, inline_styles=True, code_format="<pre>{code}</pre>")
        foreground, background = theme.foreground_color.hex, theme.background_color.hex
        page = FRAME.format(title="senderid", body=body, foreground=foreground, background=background)
        _shoot(browser, f"terminal-{name}", dark=name == "dark", content=page)


def comment(stage: Stage, browser: Browser) -> None:
    """Render the plan as a comment on a pull request."""
    markdown = stage.run("plan", "-f", "accounts", "--format", "markdown")
    body = f"<article>{MarkdownIt('gfm-like', {'html': True}).render(markdown)}</article>"
    page = FRAME.format(title="<b>senderid</b> commented", body=body, foreground="inherit", background="none")
    for name in ("light", "dark"):
        _shoot(browser, f"comment-{name}", dark=name == "dark", content=page)


def report(stage: Stage, browser: Browser) -> None:
    """Render the plan as a report."""
    file = stage.folder / "report.html"
    stage.run("plan", "-f", "accounts", "--format", "html", "--output", str(file))
    for name in ("light", "dark"):
        _shoot(browser, f"report-{name}", dark=name == "dark", url=file.as_uri())


CITIES: Final = ("busan", "daegu", "daejeon", "gwangju", "incheon", "jeju", "sejong", "seoul", "suwon", "ulsan")
OFFICE: Final = 'schedule: [{weekly: "Mon-Fri 09:00-18:00", status: ACTIVE, reason: office hours}]'
"""A schedule of one number of most accounts of the fleet."""


def page(stage: Stage, browser: Browser) -> None:
    """Render the status page of a daemon that keeps ten accounts in sync, in both languages.

    One account cannot be read, one has a missing and a held number, one is suspended.
    """
    with _fleet(stage) as folder, stage.start("watch", "-f", folder, "--listen", "127.0.0.1:0") as watching:
        try:
            url = None
            for line in _lines(watching):
                found = URL.search(line)
                url = url or (found[0] if found else None)
                if "watch.pass" in line:
                    break
            if url is None:
                raise Missing("senderid watch ends without saying where it listens")
            for language, suffix in (("en-GB", ""), ("ko", "-ko")):
                for name in ("light", "dark"):
                    _shoot(browser, f"page{suffix}-{name}", dark=name == "dark", url=url, language=language)
        finally:
            watching.terminate()


@contextmanager
def _fleet(stage: Stage) -> Iterator[str]:
    """Yield a folder with the files of ten accounts, each on a sandbox of its own. Most were changed by an apply."""
    folder = stage.folder / "fleet"
    folder.mkdir()
    with ExitStack() as stack:
        for index, city in enumerate(CITIES):
            command = [SENDERID, "sandbox", "--numbers", str(8 + 3 * index), "--seed", str(index)]
            served = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            stack.callback(served.terminate)
            sandbox = json.loads(next(_lines(served)))
            stage.environment |= {f"KEY_{city}": sandbox["api_key"], f"SECRET_{city}": sandbox["api_secret"]}
            keys = f"{{api_key: {{env: KEY_{city}}}, api_secret: {{env: SECRET_{city}}}}}"
            numbers = _numbers(stage, sandbox)
            lines = [f"version: 1\naccount: {city}\nendpoint: {sandbox['url']}\ncredentials: {keys}\n"]
            lines += ["suspend: {reason: move to the new office, by: kim}\n"] if city == "sejong" else []
            lines += [f"groups:\n  desk: {{min_active: 1, members: ['{numbers[0]}']}}\n"] if city == "gwangju" else []
            lines += ["unmanaged: ignore\nnumbers:\n"]
            lines += [f"  '{numbers[0]}': {'INACTIVE' if city == 'gwangju' else 'ACTIVE'}\n"]
            lines += [f"  '{numbers[1]}': {{status: INACTIVE, note: {city} desk, owner: support, {OFFICE}}}\n"]
            lines += (
                ["  '010-9999-9999': {status: ACTIVE, note: new line, owner: sales}\n"] if city == "gwangju" else []
            )
            (folder / f"{city}.yaml").write_text("".join(lines))
        stage.environment["SECRET_daegu"] = "old" * 11
        yield str(folder)


def _numbers(stage: Stage, sandbox: dict[str, str]) -> list[str]:
    """Return the numbers of a sandbox, the ACTIVE ones first."""
    environment = {
        "SENDERID_ENDPOINT": sandbox["url"],
        "SOLAPI_API_KEY": sandbox["api_key"],
        "SOLAPI_API_SECRET": sandbox["api_secret"],
    }
    file = stage.folder / "exported.yaml"
    stage.run("export", "--account", "any", "--output", str(file), environment=environment)
    numbers = re.findall(r'"?([\d-]+)"?: \{?(?:status: )?(ACTIVE|INACTIVE)', file.read_text())
    file.unlink()
    return [phone for phone, _status in sorted(numbers, key=lambda number: number[1])]


def _shoot(
    browser: Browser,
    name: str,
    *,
    dark: bool,
    content: str | None = None,
    url: str | None = None,
    language: str = "en-GB",
) -> None:
    width, height = PAGE if content is None else TEXT
    context = browser.new_context(
        viewport={"width": width, "height": height},
        device_scale_factor=1.0 if content is None else 1.5,
        color_scheme="dark" if dark else "light",
        locale=language,
        timezone_id="UTC",
    )
    try:
        shown = context.new_page()
        if content is not None:
            shown.set_content(content)
        else:
            shown.goto(str(url))
        made = shown.locator("main").screenshot() if content is not None else shown.screenshot()
    finally:
        context.close()
    if len(made) > LARGEST:
        raise Missing(f"{name}: {len(made):,} bytes are more than {LARGEST:,}: show less")
    (PICTURES / f"{name}.png").write_bytes(made)
    print(f"docs/pictures/{name}.png: {len(made):,} bytes")


ALL: Final = MappingProxyType({"terminal": terminal, "comment": comment, "report": report, "page": page})


def main(names: list[str]) -> int:
    """Render the named pictures, or all of them, and return the exit status."""
    drawn: dict[str, Callable[[Stage, Browser], None]] = {name: ALL[name] for name in names or ALL}
    installed = map(shutil.which, ("chromium-headless-shell", "chromium", "google-chrome"))
    chromium = os.environ.get("CHROMIUM") or next(filter(None, installed), None)
    if chromium is None:
        print("There is no Chromium: `make browser` installs one, or name it in CHROMIUM.", file=sys.stderr)
        return 1
    failed = False
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for name, draw in drawn.items():
            try:
                with staged() as stage:
                    draw(stage, browser)
            except Missing as error:
                failed = True
                print(f"{name}: {error}", file=sys.stderr)
        browser.close()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
