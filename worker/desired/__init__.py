"""Desired-state files: YAML text to the accounts that it describes, with every problem of every file at its place."""

from worker.desired.files import Check, Documents, Loaded, fragments, load, read
from worker.desired.fragments import Clash, Fragment, by_name, clashes, join
from worker.desired.identity import Duplicate, Reach, duplicates, same_account
from worker.desired.names import Named, names

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
