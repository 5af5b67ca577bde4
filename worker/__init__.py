"""Reconcile registered SMS sender numbers with a desired-state file."""

__version__ = "0.1.0"
