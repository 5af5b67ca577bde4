"""Desired-state files: YAML text to the accounts that it describes, with every problem of every file at its place."""

from worker.desired.files import Loaded, clashes, load

__all__ = ["Loaded", "clashes", "load"]
