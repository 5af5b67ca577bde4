"""Notifications: what changed, and its way to channels."""
