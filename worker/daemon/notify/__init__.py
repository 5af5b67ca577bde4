"""Notifications of state changes, and their delivery to channels."""
