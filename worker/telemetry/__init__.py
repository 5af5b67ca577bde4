"""Logs, metrics, traces and the push gateway."""
