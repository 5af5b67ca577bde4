"""JSON Schemas of everything that is read and written.

Those of documents and settings come from the types themselves. Documents may gain fields, so unknown ones are allowed
there; in files that people write they are mistakes.
"""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from worker.model import Action, Phone, Plan, Result, Timestamp, Unmanaged
from worker.settings import ENDPOINTS, Settings

__all__ = ["NAMES", "LogLine", "schema"]

NAMES: Final = ("desired", "settings", "plan", "result", "log")

Counts = dict[str, Annotated[int, Meta(ge=0)]]


class LogLine(Struct, omit_defaults=True, kw_only=True):
    """One line of the log. Beyond the first three, fields are there where they apply."""

    timestamp: Timestamp
    level: Literal["debug", "info", "warning", "error", "critical"]
    event: str
    run_id: str | None = None
    account: str | None = None
    phone: Phone | None = None
    action: Action | None = None
    desired: str | None = None
    before: str | None = None
    after: str | None = None
    outcome: (
        Annotated[str, Meta(description="Of a number, an account or the run; see the schema of the result.")] | None
    ) = None
    attempts: Annotated[int, Meta(ge=0)] | None = None
    duration_ms: Annotated[float, Meta(ge=0)] | None = None
    http_status: int | None = None
    error_code: str | None = None
    error_message: str | None = None
    counts: Counts | None = None
    accounts: int | None = None
    numbers: int | None = None
    active: int | None = None
    fingerprint: str | None = None


def schema(name: str) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of one of `NAMES`.

    Raises:
        KeyError: there is none of that name.
    """
    types = {"settings": Settings, "plan": Plan, "result": Result, "log": LogLine}
    made = _desired() if name == "desired" else msgspec.json.schema(types[name])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:senderid:schema:{name}:v1",
        **made,
    }


def _desired() -> dict[str, Any]:
    text = {"type": "string", "minLength": 1}
    status = {
        "description": "ACTIVE or INACTIVE, in any letter case.",
        "type": "string",
        "pattern": "^([Aa][Cc][Tt][Ii][Vv][Ee]|[Ii][Nn][Aa][Cc][Tt][Ii][Vv][Ee])$",
    }
    entry = {
        "status": {"$ref": "#/$defs/status"},
        "note": {**text, "maxLength": 1000, "description": "For people: shown in plans."},
        "owner": {**text, "maxLength": 1000, "description": "For people: who answers for the number."},
        "protected": {"type": "boolean", "description": "true: told when it differs, never written.", "default": False},
    }
    phone = {
        "description": "A Korean number in any spelling: 010-1234-5678, 02) 123 4567, +82 10-1234-5678.",
        "type": ["string", "integer"],
        "pattern": r"^[0-9+().\- \u00a0\u2010-\u2014\u2212]{3,40}$",
    }
    secret = {
        "description": "A reference, never the secret itself.",
        "type": "object",
        "properties": {"env": text, "file": text},
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }
    return {
        "title": "Desired state of the sender numbers of one account",
        "type": "object",
        "properties": {
            "version": {"const": 1},
            "account": {**text, "maxLength": 64, "description": "Name in logs and reports. Default: the file's stem."},
            "account_id": {
                "type": ["string", "integer"],
                "description": "Pins the account: an answer of any other one is an error.",
            },
            "credentials": {
                "type": "object",
                "description": "Default: SOLAPI_API_KEY and SOLAPI_API_SECRET of the environment.",
                "properties": {"api_key": {"$ref": "#/$defs/secret"}, "api_secret": {"$ref": "#/$defs/secret"}},
                "required": ["api_key", "api_secret"],
                "additionalProperties": False,
            },
            "endpoint": {
                "description": "Default: the settings' endpoint.",
                "anyOf": [{"enum": list(ENDPOINTS)}, {"type": "string", "pattern": "^https?://"}],
            },
            "unmanaged": {
                "enum": [each.value for each in Unmanaged],
                "default": Unmanaged.REPORT.value,
                "description": "What to do with numbers that are registered and not listed.",
            },
            "safety": {
                "type": "object",
                "description": "Thresholds of this account, in place of the settings' ones.",
                "properties": {
                    "max_deactivations": {
                        "anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^[0-9]+ ?%?$"}]
                    },
                    "min_active": {"type": "integer", "minimum": 0},
                },
                "additionalProperties": False,
            },
            "numbers": {
                "description": "Number to status, or a list of entries.",
                "anyOf": [
                    {
                        "type": "object",
                        "propertyNames": {"pattern": phone["pattern"]},
                        "additionalProperties": {"anyOf": [{"$ref": "#/$defs/status"}, {"$ref": "#/$defs/entry"}]},
                    },
                    {"type": "array", "items": {"$ref": "#/$defs/listed"}},
                ],
            },
        },
        "required": ["version", "numbers"],
        "additionalProperties": False,
        "$defs": {
            "status": status,
            "secret": secret,
            "entry": {"type": "object", "properties": entry, "required": ["status"], "additionalProperties": False},
            "listed": {
                "type": "object",
                "properties": {"phone": phone, **entry},
                "required": ["phone", "status"],
                "additionalProperties": False,
            },
        },
    }
