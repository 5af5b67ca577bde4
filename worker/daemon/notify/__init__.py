"""Notifications of changes, and their delivery to channels."""
