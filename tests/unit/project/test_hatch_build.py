"""Wheels contain the compiled catalogues, although git and the source do not."""

import subprocess
import sys
import zipfile
from gettext import GNUTranslations
from pathlib import Path
from shutil import copytree, ignore_patterns

from worker.model.messages import Message
from worker.render.i18n_catalog import Catalogue

ROOT = Path(__file__).parents[3]


def test_wheel_has_compiled_catalogues(tmp_path: Path) -> None:
    """A wheel built from a source without them has a usable catalogue for each language."""
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE", ".gitignore"):
        (source / name).write_bytes((ROOT / name).read_bytes())
    copytree(ROOT / "worker", source / "worker", ignore=ignore_patterns("*.mo", "__pycache__"))
    subprocess.run(  # noqa: S603 - constant command
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")],
        cwd=source,
        check=True,
        capture_output=True,
        timeout=120,
    )
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        assert {"worker/render/templates/base.html", "worker/render/schemas/desired.json"} <= set(names)
        with archive.open("worker/render/locale/ko/LC_MESSAGES/senderid.mo") as file:
            korean = GNUTranslations(file)
    assert korean.gettext("Notices") == "참고"
    catalogue = Catalogue.at(source / "worker/render/locale/ko/LC_MESSAGES/senderid.mo")
    assert catalogue is not None
    assert catalogue.message(Message("it is damaged")) == "손상되었습니다"
