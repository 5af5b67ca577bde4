"""JSON Schemas of everything that is read and written.

Those of documents and settings come from the types themselves. Documents may gain fields, so unknown ones are allowed
there; in files that people write they are mistakes.
"""

from inspect import cleandoc
from typing import Any, Final, get_args

import msgspec
from msgspec import Struct

from worker.config.settings import Settings
from worker.config.urls import ENDPOINTS
from worker.model.accounts import PairSwaps, Status, Unmanaged
from worker.model.history import History
from worker.model.plans import Plan
from worker.model.results import Result
from worker.model.times import DEFAULT_ZONE
from worker.render.log_lines import LogLine
from worker.render.text.calendar import Calendar

__all__ = ["NAMES", "schema"]

NAMES: Final = ("desired", "settings", "plan", "result", "history", "calendar", "log")

_TITLES: Final = {
    "desired": "Desired state of the sender numbers of one account",
    "settings": "Settings of a run",
    "plan": "What it would take to bring accounts to their desired state",
    "result": "What became of every number in a run",
    "history": "What the ledger tells of runs",
    "calendar": "What comes due by the schedules of desired states",
    "log": "One log line",
}

_TYPES: Final[dict[str, type[Struct]]] = {
    "settings": Settings,
    "plan": Plan,
    "result": Result,
    "history": History,
    "calendar": Calendar,
    "log": LogLine,
}

_WRITTEN: Final = frozenset({"plan", "result", "history", "calendar"})
"""What is written by the worker alone, and always with every field."""

_LARGEST: Final = 999_999_999
_MOST_HOURS: Final = 8784
_HOURS_TEXT: Final = "^([1-9][0-9]{0,2}|[1-7][0-9]{3}|8[0-6][0-9]{2}|87[0-7][0-9]|878[0-4])$"
"""A number from 1 to those, where it is written as a text."""

_LITERAL: Final = "^([Nn][Cc][Ss][0-9A-Za-z]{13}|(?=.*[0-9])[0-9A-Za-z]{32}|.*://.*)$"
"""What looks like a key, a secret or a URL with one."""

_MOMENT: Final = (
    r"^(19[7-9]|2[0-9]{2})[0-9]-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2})?(Z|[+-][0-9]{2}:[0-9]{2})?)?$"
)
"""What may be a moment; `validate` knows which days there are."""

_DAY: Final = "([Mm][Oo][Nn]|[Tt][Uu][Ee]|[Ww][Ee][Dd]|[Tt][Hh][Uu]|[Ff][Rr][Ii]|[Ss][Aa][Tt]|[Ss][Uu][Nn])"
_DAYS: Final = f"({_DAY}( *- *{_DAY})?|[Dd][Aa][Ii][Ll][Yy])"
_TIMES: Final = "[0-9]{1,2}:[0-5][0-9] *- *[0-9]{1,2}:[0-5][0-9]"
_WEEKLY: Final = f"^ *{_DAYS}( *, *{_DAYS})* +{_TIMES}( *, *{_TIMES})* *$"

_PHONE_TEXT: Final = (
    r"^(?![-\u2010-\u2015\u2212][0-9])(?!([^.]*\.0*|.*\.0{0,3})$)"
    r"[0-9+().\- \u00a0\u2007\u2009\u202f\u3000\u2010-\u2015\u2212]{3,40}$"
)
"""Every spelling that could be a number, no minus before it and no decimal; `validate` knows which of them are."""


def schema(name: str) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of one of `NAMES`.

    Raises:
        KeyError: there is none of that name.
    """
    made = _desired() if name == "desired" else _of_type(_TYPES[name], complete=name in _WRITTEN)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"urn:senderid:schema:{name}:v1"}
    return {**head, **made, "title": _TITLES[name]}


def _of_type(type_: type[Struct], *, complete: bool) -> dict[str, Any]:
    (root,), parts = msgspec.json.schema_components([type_])
    made = parts.pop(root["$ref"].rpartition("/")[2])
    parts |= {"SecretRef": _secret()} if "SecretRef" in parts and not complete else {}
    for part in (made, *parts.values()):
        part["description"] = cleandoc(part["description"])
        if complete and "properties" in part:
            part["required"] = list(part["properties"])
    return {**made, "$defs": parts} if parts else made


def _desired() -> dict[str, Any]:
    # what YAML takes for a number or a flag is taken as the text that stands in the file, and quotes make no difference
    words = {"type": ["string", "number", "boolean"], "minLength": 1}
    whole = {"type": "integer", "minimum": 0, "maximum": _LARGEST}
    status = {
        "description": "ACTIVE or INACTIVE, in any letter case.",
        "anyOf": [
            {"enum": [Status.ACTIVE.value, Status.INACTIVE.value]},
            {"type": "string", "pattern": "^([Aa][Cc][Tt][Ii][Vv][Ee]|[Ii][Nn][Aa][Cc][Tt][Ii][Vv][Ee])$"},
        ],
    }
    flag = {
        "anyOf": [
            {"type": "boolean"},
            {"type": "string", "pattern": "^([Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee])$"},
        ]
    }
    entry = {
        "status": {"$ref": "#/$defs/status"},
        "note": {**words, "maxLength": 1000, "description": "For people: shown in plans."},
        "owner": {**words, "maxLength": 1000, "description": "For people: who answers for the number."},
        "protected": {**flag, "description": "true: told when it differs, never written.", "default": False},
    }
    moment = {
        "description": "A day or a time: 2026-12-01, 2026-12-01T09:00 by the file's time zone, 2026-12-01T09:00+09:00.",
        "type": "string",
        "pattern": _MOMENT,
    }
    reason = {**words, "maxLength": 1000, "description": "For people: why, shown in plans."}
    window = {
        "type": "object",
        "properties": {
            "from": {"$ref": "#/$defs/moment"},
            "until": {"$ref": "#/$defs/moment"},
            "weekly": {
                "description": "Days and times: Mon-Fri 09:00-18:00, or daily 22:00-06:00 over midnight.",
                "type": "string",
                "pattern": _WEEKLY,
                "maxLength": 200,
            },
            "status": {"$ref": "#/$defs/status"},
            "reason": reason,
        },
        "required": ["status"],
        "oneOf": [{"required": ["weekly"]}, {"anyOf": [{"required": ["from"]}, {"required": ["until"]}]}],
        "additionalProperties": False,
    }
    entry |= {
        "until": {"$ref": "#/$defs/moment", "description": "The status ends then, and `then` follows."},
        "then": {"$ref": "#/$defs/status", "description": "After `until`. Default: the number is left as it is."},
        "reason": reason,
        "schedule": {
            "description": "When the number should be what. Dated windows win over weekly ones, those over status.",
            "type": "array",
            "items": {"$ref": "#/$defs/window"},
            "minItems": 1,
        },
    }
    alone = dict.fromkeys(("until", "then", "reason"), False)
    timed = {
        "anyOf": [{"required": ["status"]}, {"required": ["schedule"]}],
        "dependentRequired": {"then": ["until"], "reason": ["until"], "until": ["status"]},
        "dependentSchemas": {"schedule": {"properties": alone}},
        "additionalProperties": False,
    }
    phone = {
        "description": "A Korean number in any spelling: 010-1234-5678, 02) 123 4567, +82 10-1234-5678.",
        "type": ["string", "integer"],
        "pattern": _PHONE_TEXT,
    }
    return {
        "description": "One YAML document is one account, or a part of one. Unknown keys are refused.",
        "type": "object",
        "properties": {
            "version": {"enum": [1, "1"], "description": "The version of this format."},
            "account": {
                **words,
                "maxLength": 64,
                "description": "Name in logs and reports. Documents of one name are one account. Default: file's stem.",
            },
            "account_id": {
                **words,
                "maxLength": 64,
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
                "description": "Limits of this account, in place of the settings' ones.",
                "properties": {
                    "max_deactivations": {"anyOf": [whole, {"type": "string", "pattern": "^ *[0-9]{1,9} *%? *$"}]},
                    "min_active": {"anyOf": [whole, {"type": "string", "pattern": "^[0-9]{1,9}$"}]},
                    "pair_swaps": {
                        "enum": list(get_args(PairSwaps)),
                        "description": "Deactivations while an activation of this account cannot be done.",
                    },
                },
                "additionalProperties": False,
            },
            "timezone": {
                "type": "string",
                "minLength": 1,
                "maxLength": 64,
                "default": DEFAULT_ZONE,
                "description": "IANA name of the zone by whose clock times without an offset are.",
            },
            "in_use": {
                "type": "object",
                "description": "Hold numbers of this account that send messages, in place of the settings' in_use.",
                "properties": {
                    "enabled": {**flag, "default": True},
                    "hours": {
                        "anyOf": [
                            {"type": "integer", "minimum": 1, "maximum": _MOST_HOURS},
                            {"type": "string", "pattern": _HOURS_TEXT},
                        ],
                        "description": "What sent messages so many hours ago is in use.",
                    },
                    "on_unknown": {"enum": ["hold", "allow"], "description": "What becomes of the others."},
                },
                "additionalProperties": False,
            },
            "groups": {
                "type": "object",
                "description": "Numbers that stand in for each other: no apply leaves one too few ACTIVE members.",
                "additionalProperties": {
                    "type": "object",
                    "properties": {
                        "members": {"type": "array", "items": phone, "minItems": 1, "description": "Listed numbers."},
                        "min_active": {
                            "anyOf": [{**whole, "minimum": 1}, {"type": "string", "pattern": "^[0-9]{1,9}$"}],
                            "default": 1,
                            "description": "Members that must be ACTIVE at any moment.",
                        },
                    },
                    "required": ["members"],
                    "additionalProperties": False,
                },
            },
            "maintenance": {
                "type": "object",
                "description": "Times of every week in which `senderid watch` looks and writes nothing.",
                "properties": {
                    "weekly": {**words, "maxLength": 200, "description": "Such as Sun 02:00-04:00."},
                    "reason": {**words, "maxLength": 1000, "description": "Why nothing is written then."},
                },
                "required": ["weekly"],
                "additionalProperties": False,
            },
            "suspend": {
                "type": "object",
                "description": "Keeps `senderid watch` from writing to this account.",
                "properties": {
                    "reason": {**words, "maxLength": 1000, "description": "Why."},
                    "by": {**words, "maxLength": 1000, "description": "Who wants it so."},
                    "until": {
                        "type": "string",
                        "pattern": "^ *[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9:]{5,8}(Z|[+-][0-9]{2}:[0-9]{2})?)? *$",
                        "description": "When it ends by itself: 2026-12-01 or 2026-12-01T09:00, Korean time.",
                    },
                },
                "additionalProperties": False,
                "minProperties": 1,
            },
            "numbers": {
                "description": "Number to status, or a list of entries.",
                "anyOf": [
                    {
                        "type": "object",
                        "propertyNames": {"pattern": _PHONE_TEXT},
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
            "secret": _secret(),
            "moment": moment,
            "window": window,
            "entry": {"type": "object", "properties": entry, **timed},
            "listed": {
                "type": "object",
                "properties": {"phone": phone, **entry},
                "required": ["phone"],
                **timed,
            },
        },
    }


def _secret() -> dict[str, Any]:
    reference = {"type": "string", "minLength": 1, "maxLength": 1000, "not": {"pattern": _LITERAL}}
    return {
        "description": "A reference, never the secret itself.",
        "type": "object",
        "properties": {
            "env": {**reference, "pattern": "^[A-Za-z_][A-Za-z0-9_]*$", "description": "Name of a variable."},
            "file": {**reference, "description": "Path of a file."},
        },
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }
