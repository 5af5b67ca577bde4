"""Telemetry: logs, metrics, traces, and the client of the push gateway."""
