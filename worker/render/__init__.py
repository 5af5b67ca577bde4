"""Renderers of documents as text, Markdown, HTML, JSON, YAML and iCalendar.

They escape foreign text, such as names and error messages, so that it is harmless in each format.
"""
