"""The pictures of the README are present, small, light and dark, and reproducible."""

import re
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser

from docs import pictures

ENGLISH: Final = {"page-light.png", "page-dark.png"}
ROOT: Final = Path(__file__).parents[2]
PNG: Final = b"\x89PNG\r\n\x1a\n"


def test_both_readmes_show_small_pictures_with_alternative_text() -> None:
    """The status page is shown in the language of the README."""
    stored = {picture.name for picture in pictures.PICTURES.iterdir()}
    korean = {name for name in stored if name.startswith("page-ko-")}
    for page, shown in (("README.md", stored - korean), ("README.ko.md", stored - ENGLISH)):
        text = (ROOT / page).read_text()
        assert set(re.findall(r"docs/pictures/([\w-]+\.png)", text)) == shown, page
        assert len(re.findall(r'<img [^>]*alt="[^"]{20,}"', text)) == len(shown) / 2
    for name in stored:
        assert name.replace("-light", "-dark") in stored
        data = (pictures.PICTURES / name).read_bytes()
        assert data.startswith(PNG)
        assert len(data) <= pictures.LARGEST


def test_terminal_picture_is_drawn(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pictures, "PICTURES", tmp_path)
    observed: list[str] = []
    typed = pictures.Stage.typed

    def record(stage: pictures.Stage, *arguments: str) -> str:
        observed.append(typed(stage, *arguments))
        return observed[-1]

    monkeypatch.setattr(pictures.Stage, "typed", record)
    with pictures.staged() as stage:
        pictures.terminal(stage, browser)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["terminal-dark.png", "terminal-light.png"]
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 2
    assert re.search(r"Type 'yes' to continue: yes\n(.|\n)*3 changed, 3 unchanged", observed[0])
    assert "\x1b[" in observed[0]
    assert capsys.readouterr().out.count("bytes") == 2


def test_failed_command_creates_no_picture() -> None:
    with pictures.staged() as stage, pytest.raises(pictures.Missing, match=r"no-such-form.*is not one of"):
        stage.run("plan", "-f", "accounts", "--format", "no-such-form")
