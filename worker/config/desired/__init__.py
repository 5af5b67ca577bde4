"""Desired-state files: a parser of YAML into accounts, which reports every problem with its position."""

from worker.config.desired.fragments import AccountDocument, Conflict, find_conflicts, group_by_account, join
from worker.config.desired.identity import IdentityResolver, SameAccount, find_duplicates, find_same_accounts
from worker.config.desired.load import (
    Check,
    DesiredState,
    DocumentSet,
    SharedFiles,
    ended_acknowledgements,
    is_shared,
    load,
    parse_file,
    read_documents,
)
from worker.config.desired.names import DocumentName, read_names

__all__ = [
    "AccountDocument",
    "Check",
    "Conflict",
    "DesiredState",
    "DocumentName",
    "DocumentSet",
    "IdentityResolver",
    "SameAccount",
    "SharedFiles",
    "ended_acknowledgements",
    "find_conflicts",
    "find_duplicates",
    "find_same_accounts",
    "group_by_account",
    "is_shared",
    "join",
    "load",
    "parse_file",
    "read_documents",
    "read_names",
]
