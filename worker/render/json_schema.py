"""JSON Schemas (draft 2020-12) of the files that the worker reads and of the documents that it writes.

The schema of the desired state is a packaged file; the others are generated from types. Schemas of documents allow
unknown fields, as later versions may add fields. Schemas of files reject unknown keys.
"""

import json
from importlib.resources import files
from inspect import cleandoc
from typing import Any, Final

import msgspec
from msgspec import Struct

from worker.config.settings import Settings
from worker.model.accounts import SHARED_FILE
from worker.model.diagnosis import Diagnosis
from worker.model.fleet import FleetStatus
from worker.model.history import History
from worker.model.number_status import StatusReport
from worker.model.plans import Plan
from worker.model.results import Result
from worker.render.log_lines import LogLine
from worker.render.status_pages import PageDocument
from worker.render.text.calendar import Calendar

__all__ = ["NAMES", "schema"]

_TITLES: Final = {
    "settings": "Settings of a run",
    "plan": "Changes that bring accounts to their desired state",
    "result": "Outcome of every number of a run",
    "history": "Runs of the ledger",
    "calendar": "Scheduled changes of desired states",
    "status": "Current state of every number",
    "page": "Data behind a page of the status page",
    "fleet": "Status of a fleet",
    "doctor": "Checks of the prerequisites of a run",
    "log": "One log line",
}

_TYPES: Final[dict[str, type[Struct]]] = {
    "settings": Settings,
    "plan": Plan,
    "result": Result,
    "history": History,
    "calendar": Calendar,
    "status": StatusReport,
    "page": PageDocument,
    "fleet": FleetStatus,
    "doctor": Diagnosis,
    "log": LogLine,
}

NAMES: Final = ("desired", "shared", *_TYPES)

_SHARED_PARTS: Final = ("defaults", "schedules", "schedule", "windows", "window", "moment", "status")
_WRITTEN: Final = frozenset({"plan", "result", "history", "calendar", "status", "page", "fleet", "doctor"})
"""Documents that the worker writes. Every field is always present, so that their schemas require all fields."""


def schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema of one of `NAMES`.

    Raises:
        KeyError: no schema has this name.
    """
    if name == "desired":
        return _desired()
    if name == "shared":
        return _shared()
    body = _of_type(_TYPES[name], complete=name in _WRITTEN)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"urn:senderid:schema:{name}:v1"}
    return {**head, **body, "title": _TITLES[name]}


def _desired() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(files("worker.render").joinpath("schemas", "desired.json").read_bytes())
    return data


def _shared() -> dict[str, Any]:
    """Return the schema of a file with shared defaults: the part of a desired-state file that is not of one account."""
    desired = _desired()
    return {
        "$schema": desired["$schema"],
        "$id": "urn:senderid:schema:shared:v1",
        "description": f"The file {SHARED_FILE}. Unknown keys are refused.",
        "type": "object",
        "properties": {name: desired["properties"][name] for name in ("version", "defaults", "schedules")},
        "required": ["version"],
        "additionalProperties": False,
        "$defs": {name: desired["$defs"][name] for name in _SHARED_PARTS},
        "title": "Defaults of the desired-state files of a folder",
    }


def _of_type(type_: type[Struct], *, complete: bool) -> dict[str, Any]:
    (root,), parts = msgspec.json.schema_components([type_])
    body = parts.pop(root["$ref"].rpartition("/")[2])
    if "SecretRef" in parts and not complete:
        # the packaged schema is stricter than the type: it rejects a plain secret where a reference is required
        parts["SecretRef"] = _desired()["$defs"]["secret"]
    for part in (body, *parts.values()):
        part["description"] = cleandoc(part["description"])
        if complete and "properties" in part:
            part["required"] = list(part["properties"])
    return {**body, "$defs": parts} if parts else body
