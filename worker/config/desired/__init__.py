"""Desired-state files: YAML text to the accounts that it describes, with every problem of every file at its place."""

from worker.config.desired.fragments import Clash, Fragment, by_name, clashes, join
from worker.config.desired.identity import Duplicate, Reach, duplicates, same_account
from worker.config.desired.load import Check, Documents, Loaded, fragments, load, read
from worker.config.desired.names import Named, names

__all__ = [
    "Check",
    "Clash",
    "Documents",
    "Duplicate",
    "Fragment",
    "Loaded",
    "Named",
    "Reach",
    "by_name",
    "clashes",
    "duplicates",
    "fragments",
    "join",
    "load",
    "names",
    "read",
    "same_account",
]
