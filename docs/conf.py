"""Configuration of the documentation site: `make docs`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from worker import __version__

project = "senderid"
author = "senderid"
version = release = __version__
language = "en"

extensions = ["myst_parser", "docs._ext.site"]
exclude_patterns = ["_ext", "_static", "pictures"]
source_suffix = {".md": "markdown"}
myst_heading_anchors = 4
suppress_warnings = ["myst.header"]  # a changelog may begin anywhere

html_theme = "furo"
html_title = "senderid"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_show_copyright = False
html_permalinks_icon = "#"
html_theme_options = {
    "top_of_page_buttons": [],
    # colours that are light enough, or dark enough, to be read: WCAG's 4.5 to 1
    "light_css_variables": {"color-brand-primary": "#0b5cad", "color-brand-content": "#0b5cad"},
    "dark_css_variables": {"color-brand-primary": "#7ab7ff", "color-brand-content": "#7ab7ff"},
}
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"
