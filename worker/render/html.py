"""HTML from templates: everything that is put into one is escaped, and made harmless first.

A document stands alone: it asks for nothing from outside, and carries a policy that lets nothing else run.
"""

from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any, Final, Literal

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from worker.model.phones import hyphenated
from worker.render.i18n import gettext, ngettext, spoken, translated
from worker.render.terminal import safe

__all__ = ["TONES", "Tone", "asset", "inlined", "render"]

Tone = Literal["good", "bad", "warn", "info", "quiet"]

TONES: Final[dict[str, Tone]] = {"green": "good", "red": "bad", "yellow": "warn", "cyan": "info", "dim": "quiet"}
"""The style sheet's tone for the style of a mark on a terminal."""


def render(template: str, **values: Any) -> str:
    """A template of `worker/render/templates`, filled in.

    Texts are escaped; `{{ text | plain }}` also takes out control characters and what turns a text around, and
    `{{ text | translated | plain }}` says a finished message in the language that is spoken.
    """
    return _environment().get_template(template).render(lang=spoken(), **values)


@cache
def asset(name: str) -> bytes:
    """A style sheet or a script of `worker/render/templates`, as it is."""
    return files("worker.render").joinpath("templates", name).read_bytes()


def inlined(name: str) -> tuple[Markup, str]:
    """An asset to stand within a document, and its source in a Content-Security-Policy."""
    data = asset(name)
    # its own bytes, not foreign text: nothing is to be escaped
    return Markup(data.decode()), f"'sha256-{b64encode(sha256(data).digest()).decode()}'"  # noqa: S704


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("worker.render"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        extensions=["jinja2.ext.i18n"],
    )
    environment.install_gettext_callables(gettext, ngettext, newstyle=True)  # type: ignore[attr-defined]
    environment.filters |= {"plain": safe, "hyphenated": hyphenated, "translated": translated}
    environment.globals["tones"] = TONES
    return environment
