"""Renderers of documents as text, Markdown, HTML, JSON, YAML and iCalendar.

They escape untrusted text, such as names and error messages, for each format.
"""
