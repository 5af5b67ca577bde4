"""Rendering of values as text, Markdown, HTML, JSON and YAML. Foreign text is made harmless here."""
