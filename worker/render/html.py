"""Renderer of HTML from templates, which escape all values.

A report is self-contained: it loads no resources, and its Content-Security-Policy allows no scripts but its own.
"""

from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from worker.model.phones import hyphenated
from worker.render.i18n import current_language, gettext, ngettext, translate
from worker.render.terminal import safe

__all__ = ["asset", "inline_asset", "render"]


def render(template: str, **values: Any) -> str:
    """Return a template of `worker/render/templates`, rendered with `values`.

    All values are escaped. In a template, `{{ text | plain }}` also replaces control characters and bidirectional
    overrides, and `{{ text | translate | plain }}` translates a `Message` first.
    """
    return _environment().get_template(template).render(lang=current_language(), **values)


@cache
def asset(name: str) -> bytes:
    """Return the bytes of a style sheet or a script of `worker/render/templates`."""
    return files("worker.render").joinpath("templates", name).read_bytes()


def inline_asset(name: str) -> tuple[Markup, str]:
    """Return an asset to embed in a document, and the hash that allows it in a Content-Security-Policy."""
    data = asset(name)
    # a packaged file, not untrusted text: it needs no escaping
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
    environment.filters |= {"plain": safe, "hyphenated": hyphenated, "translate": translate}
    return environment
