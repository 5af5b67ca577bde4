"""JSON Schemas: they are valid, and agree with the documents that are written and the files that are loaded."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from jsonschema import Draft202012Validator

from tests.support import records
from tests.support.records import account_record, attempt, number_record, run_record
from worker.cli.commands import schema as schema_command
from worker.config import desired, settings
from worker.config.urls import ENDPOINTS
from worker.model.accounts import PairSwaps, Status, Unmanaged
from worker.model.credentials import CredentialsRef, SecretRef
from worker.model.errors import DesiredStateError, ErrorInfo, NumberError, Refusal, SettingsError
from worker.model.history import AttemptState, Ending
from worker.model.number_status import AccountStatus, NextStatus, NumberStatus, StatusReport
from worker.model.phones import normalise
from worker.model.plans import AccountPlan, Action, Change, Notice, NoticeKind, Plan, Verdict, tally
from worker.model.results import AccountResult, NumberResult, Outcome, Result, RunOutcome
from worker.model.times import DEFAULT_ZONE
from worker.render.json_document import encode
from worker.render.json_schema import NAMES, schema
from worker.render.log_lines import LogEvent

CONFIG = Path(__file__).parents[3] / "config"
SAMPLES = sorted(CONFIG.glob("desired/*.yaml"))


class CoreLoader(yaml.SafeLoader):
    """Load scalars as YAML 1.2 and most editors do: only booleans, null and decimal numbers are not text."""


CoreLoader.yaml_implicit_resolvers = {}
for tag, pattern, first in (
    ("bool", "^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("null", "^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("int", "^[-+]?[0-9]+$", "-+0123456789"),
    ("float", r"^[-+]?(?:[0-9]*\.[0-9]+|[0-9]+\.?)$", "-+0123456789."),
):
    CoreLoader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(pattern), first)
CoreLoader.add_constructor("tag:yaml.org,2002:int", lambda _, node: int(node.value))


def validation_errors(name: str, document: object) -> list[str]:
    """Return the messages of the errors that a schema reports in a document."""
    return [error.message for error in validator(name).iter_errors(document)]


@cache
def validator(name: str) -> Draft202012Validator:
    """Return the validator of a schema."""
    return Draft202012Validator(schema(name))


def load_yaml(text: str, loader: type[yaml.BaseLoader | yaml.SafeLoader]) -> Any:
    """Return a document whose keys are text, as in JSON."""
    return json.loads(json.dumps(yaml.load(text, Loader=loader)))  # noqa: S506 - loaders of plain values only


def plan() -> Any:
    """Return the document of a plan with every field set."""
    changes = (
        Change("01012345678", Action.ACTIVATE, Status.INACTIVE, Status.ACTIVE, "listed", "note", "owner"),
        Change("0211", Action.MISSING, None, "ACTIVE", "not registered"),
    )
    accounts = (
        AccountPlan(
            account="main",
            account_id="1",
            counts=tally(Action, {Action.ACTIVATE: 1}),
            changes=changes,
            notices=(Notice(NoticeKind.EXPIRING, "ends", "0211"), Notice(NoticeKind.LIMIT, "full")),
        ),
        AccountPlan(account="b", verdict=Verdict.ERROR, error=ErrorInfo("E", "text"), counts={}),
        AccountPlan(account="c", verdict=Verdict.REFUSED, refusals=(Refusal("min-active", "few"),), counts={}),
    )
    return json.loads(encode(Plan(created_at="2026-03-01T12:00:00.123Z", fingerprint="f", accounts=accounts)))


def status() -> Any:
    """Return the document of a status with every field set."""
    full = NumberStatus(
        phone="01012345678",
        observed="PENDING",
        desired="ACTIVE",
        differs=True,
        note="note",
        owner="owner",
        next=NextStatus("2026-12-01T00:00:00Z", None),
        expires_at="2026-12-31T00:00:00Z",
    )
    bare = NumberStatus(phone="0211", observed=None, desired=None, differs=False)
    accounts = (
        AccountStatus(account="main", account_id="1", total=2, numbers=(full, bare)),
        AccountStatus(account="b", error=ErrorInfo("E", "text")),
    )
    return json.loads(encode(StatusReport(created_at="2026-03-01T12:00:00.123Z", accounts=accounts)))


def result() -> Any:
    """Return the document of a result with every field set."""
    error = NumberError("ServerError", "the server failed", 502)
    numbers = tuple(
        NumberResult("0211", Action.DEACTIVATE, "INACTIVE", "ACTIVE", None, outcome, 2, error, 70)
        for outcome in Outcome
    )
    accounts = tuple(
        AccountResult(account="main", outcome=outcome, error=ErrorInfo("E", "t"), counts={}, numbers=numbers)
        for outcome in RunOutcome
    )
    document = Result(
        run_id="r",
        started_at="2026-03-01T12:00:00Z",
        finished_at="2026-03-01T12:00:00Z",
        outcome=RunOutcome.PARTIAL,
        accounts=accounts,
    )
    return json.loads(encode(document))


def history() -> Any:
    """Return the document of a history with every field set."""
    error = NumberError("ServerError", "the server failed", 502)
    numbers = [
        number_record(outcome=outcome, attempts=tuple(attempt(1, state, error=error) for state in AttemptState))
        for outcome in (None, *Outcome)
    ]
    credentials = CredentialsRef(SecretRef(env="KEY"), SecretRef(file="/run/secret"))
    accounts = [account_record(*numbers, outcome=ending, credentials=credentials) for ending in Ending]
    runs = run_record(*accounts, settings={"retry": {"attempts": 5}}), run_record(account_record(numbers=None))
    return json.loads(encode(records.history(*runs)))


def line(**fields: object) -> dict[str, object]:
    """Return a log line."""
    return {"timestamp": "2026-03-01T12:00:00.123Z", "level": "info", "event": "number", "run_id": "r"} | fields


def test_command_offers_every_schema() -> None:
    """It has the names once more, as importing those of the schemas takes long."""
    assert schema_command._NAMES == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_schema_is_valid(name: str) -> None:
    """A schema is valid for its draft, has a title and an id of its own, and is JSON."""
    document = schema(name)
    Draft202012Validator.check_schema(document)
    assert document["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    assert document["$id"] == f"urn:senderid:schema:{name}:v1"
    assert document["title"][0].isupper()
    Draft202012Validator.check_schema(json.loads(encode(document)))


@pytest.mark.parametrize("name", NAMES)
def test_descriptions_have_no_source_indentation(name: str) -> None:
    """Editors show the descriptions, some of which come from docstrings."""
    descriptions = re.findall(r'"description": "((?:[^"\\]|\\.)*)"', json.dumps(schema(name)))
    assert len(descriptions) > 3
    assert [text for text in descriptions if "  " in text] == []


@pytest.mark.parametrize("name", NAMES)
def test_descriptions_name_existing_environment_variables(name: str) -> None:
    assert set(re.findall(r"\bSOLAPI_\w+", json.dumps(schema(name)))) <= {"SOLAPI_API_KEY", "SOLAPI_API_SECRET"}


@pytest.mark.parametrize("name", NAMES)
def test_patterns_are_portable(name: str) -> None:
    """No pattern uses syntax that only Python's regular expressions have."""
    patterns = re.findall(r'"pattern": "((?:[^"\\]|\\.)*)"', json.dumps(schema(name)))
    assert [pattern for pattern in patterns if re.search(r"\(\?[^:=!]|\\[AZz]", json.loads(f'"{pattern}"'))] == []


def test_desired_schema_matches_enums_and_defaults() -> None:
    """The packaged file repeats the values of enums and constants."""
    desired_schema = schema("desired")
    properties, status = desired_schema["properties"], desired_schema["$defs"]["status"]["anyOf"][0]
    assert status["enum"] == [Status.ACTIVE, Status.INACTIVE]
    assert properties["endpoint"]["anyOf"][0]["enum"] == list(ENDPOINTS)
    assert properties["unmanaged"]["enum"] == list(Unmanaged)
    assert properties["unmanaged"]["default"] == Unmanaged.REPORT
    assert properties["safety"]["properties"]["pair_swaps"]["enum"] == list(get_args(PairSwaps))
    assert properties["timezone"]["default"] == DEFAULT_ZONE


def test_unknown_schema_raises_key_error() -> None:
    with pytest.raises(KeyError):
        schema("histories")


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
@pytest.mark.parametrize("loader", [yaml.SafeLoader, CoreLoader, yaml.BaseLoader])
def test_sample_of_desired_state_is_valid(path: Path, loader: type[yaml.SafeLoader]) -> None:
    """Each sample is valid, whether scalars are loaded as numbers or as text."""
    assert validation_errors("desired", load_yaml(path.read_text(encoding="utf-8"), loader)) == []


@pytest.mark.parametrize("loader", [yaml.SafeLoader, CoreLoader])
def test_sample_of_settings_is_valid_and_complete(loader: type[yaml.SafeLoader]) -> None:
    """The sample has every key of the schema."""
    document = load_yaml((CONFIG / "worker.yaml").read_text(encoding="utf-8"), loader)
    assert validation_errors("settings", document) == []
    assert document.keys() == schema("settings")["properties"].keys()


def test_samples_are_found() -> None:
    assert [path.name for path in SAMPLES] == ["campaigns.yaml", "main.yaml"]


DESIRED = [
    ("version: 1\nnumbers: {}", True),
    ("version: '1'\nnumbers: {}", True),
    ("version: 2\nnumbers: {}", False),
    ("numbers: {}", False),
    ("version: 1", False),
    ("version: 1\nnumbers:", False),
    ("version: 1\nnumbers: {}\nnumber: {}", False),
    ("version: 1\naccount: 본사\nnumbers: {}", True),
    ("version: 1\naccount: 2024\nnumbers: {}", True),
    ("version: 1\naccount: ''\nnumbers: {}", False),
    ("version: 1\naccount: [a]\nnumbers: {}", False),
    (f"version: 1\naccount: {'a' * 64}\nnumbers: {{}}", True),
    (f"version: 1\naccount: {'a' * 65}\nnumbers: {{}}", False),
    ("version: 1\naccount_id: 12925149\nnumbers: {}", True),
    ("version: 1\naccount_id: '12925149'\nnumbers: {}", True),
    (f"version: 1\naccount_id: {'a' * 65}\nnumbers: {{}}", False),
    ("version: 1\nendpoint: solapi\nnumbers: {}", True),
    ("version: 1\nendpoint: https://api.example.com/base\nnumbers: {}", True),
    ("version: 1\nendpoint: ftp://api.example.com\nnumbers: {}", False),
    ("version: 1\nendpoint: solapy\nnumbers: {}", False),
    ("version: 1\nunmanaged: deactivate\nnumbers: {}", True),
    ("version: 1\nunmanaged: delete\nnumbers: {}", False),
    ("version: 1\nsafety: {max_deactivations: 30%, min_active: 0}\nnumbers: {}", True),
    ("version: 1\nsafety: {max_deactivations: '5', min_active: '2'}\nnumbers: {}", True),
    ("version: 1\nsafety: {max_deactivations: 999999999}\nnumbers: {}", True),
    ("version: 1\nsafety: {max_deactivations: 1000000000}\nnumbers: {}", False),
    ("version: 1\nsafety: {max_deactivations: 5 percent}\nnumbers: {}", False),
    ("version: 1\nsafety: {max_deactivations: -1}\nnumbers: {}", False),
    ("version: 1\nsafety: {min_active: -1}\nnumbers: {}", False),
    ("version: 1\nsafety: {min_active: 30%}\nnumbers: {}", False),
    ("version: 1\nsafety: {min_activ: 1}\nnumbers: {}", False),
    ("version: 1\nsafety: {pair_swaps: hold}\nnumbers: {}", True),
    ("version: 1\nsafety: {pair_swaps: warn}\nnumbers: {}", True),
    ("version: 1\nsafety: {pair_swaps: 'off'}\nnumbers: {}", False),
    ("version: 1\nin_use: {}\nnumbers: {}", True),
    ("version: 1\nin_use: {enabled: False, hours: 8784, on_unknown: allow}\nnumbers: {}", True),
    ("version: 1\nin_use: {hours: '72'}\nnumbers: {}", True),
    ("version: 1\nin_use: {hours: 0}\nnumbers: {}", False),
    ("version: 1\nin_use: {hours: 8785}\nnumbers: {}", False),
    ("version: 1\nin_use: {on_unknown: ask}\nnumbers: {}", False),
    ("version: 1\nin_use: {enabled: yes}\nnumbers: {}", False),
    ("version: 1\nin_use: 72\nnumbers: {}", False),
    ("version: 1\nin_use: {hour: 72}\nnumbers: {}", False),
    ("version: 1\ncredentials: {api_key: {env: KEY}, api_secret: {file: /run/s}}\nnumbers: {}", True),
    ("version: 1\ncredentials: {api_key: {env: KEY}}\nnumbers: {}", False),
    ("version: 1\ncredentials: {api_key: {command: [pass, show, x]}, api_secret: {env: S}}\nnumbers: {}", True),
    ("version: 1\ncredentials: {api_key: {command: [pass, 1, true]}, api_secret: {env: S}}\nnumbers: {}", True),
    ("version: 1\ncredentials: {api_key: {command: []}, api_secret: {env: S}}\nnumbers: {}", False),
    ("version: 1\ncredentials: {api_key: {command: pass}, api_secret: {env: S}}\nnumbers: {}", False),
    (
        "version: 1\ncredentials: {api_key: {command: [pass, NCSAAAABBBBCCCC1]}, api_secret: {env: S}}\nnumbers: {}",
        False,
    ),
    ("version: 1\ncredentials: {api_key: {command: [pass, '']}, api_secret: {env: S}}\nnumbers: {}", False),
    ("version: 1\ndefaults: {status: ACTIVE, owner: x}\nnumbers: {010-1234-5678: , 010-1234-5679: {note: x}}", True),
    ("version: 1\ndefaults: {status: ACTIVE}\nnumbers: [010-1234-5678, {phone: 010-1234-5679}]", True),
    ("version: 1\nignore: [02-312-4567, '070 1234-*', 080*]\nnumbers: {}", True),
    ("version: 1\nignore: 070*\nnumbers: {}", False),
    ("version: 1\nignore: ['07*']\nnumbers: {}", False),
    ("version: 1\nignore: ['070*1']\nnumbers: {}", False),
    ("version: 1\ndefaults: {state: ACTIVE}\nnumbers: {}", False),
    ("version: 1\ndefaults: {schedule: []}\nnumbers: {}", False),
    (
        "version: 1\nschedules: {a: [{until: 2026-12-01, status: ACTIVE}]}\nnumbers: {010-1234-5678: {schedule: a}}",
        True,
    ),
    ("version: 1\nschedules: {none: [{weekly: 'Mon 09:00-18:00', status: ACTIVE}]}\nnumbers: {}", False),
    ("version: 1\nschedules: {a: {}}\nnumbers: {}", False),
    ("version: 1\nnumbers: {010-1234-5678: {schedule: none}}", False),
    ("version: 1\ncredentials: {api_key: {env: KEY}, api_secret: {env: S, file: /s}}\nnumbers: {}", False),
    ("version: 1\ncredentials: {api_key: {env: KEY}, api_secret: {}}\nnumbers: {}", False),
    ("version: 1\ncredentials: {api_key: NCSAAAABBBBCCCC1, api_secret: {env: S}}\nnumbers: {}", False),
    ("version: 1\ncredentials: {api_key: {env: NCSAAAABBBBCCCC1}, api_secret: {env: S}}\nnumbers: {}", False),
    ("version: 1\ncredentials: {api_key: {env: K}, api_secret: {file: /run/0a1b2c3d4e5f6a7b8c9d}}\nnumbers: {}", True),
    (f"version: 1\ncredentials: {{api_key: {{env: K}}, api_secret: {{file: {'0a1B' * 8}}}}}\nnumbers: {{}}", False),
    ("version: 1\ncredentials: {api_key: {env: ncsaaaabbbbcccc1}, api_secret: {env: S}}\nnumbers: {}", False),
    ("version: 1\ncredentials: {api_key: {env: $KEY}, api_secret: {env: S}}\nnumbers: {}", False),
    ("version: 1\ncredentials: {api_key: {value: x}, api_secret: {env: S}}\nnumbers: {}", False),
    ("version: 1\nnumbers: {010-1234-5678: ACTIVE, 02-312-4567: inactive, 1588-1234: Active}", True),
    ("version: 1\nnumbers: {010-1234-5678: PENDING}", False),
    ("version: 1\nnumbers: {010-1234-5678: {status: aCtIvE, note: 1, owner: true, protected: false}}", True),
    ("version: 1\nnumbers: {010-1234-5678: {status: ACTIVE, protected: 'True'}}", True),
    ("version: 1\nnumbers: {010-1234-5678: {status: ACTIVE, protected: maybe}}", False),
    (
        "version: 1\nnumbers: {112: {status: ACTIVE, acknowledge: {reason: 1, by: a, until: 2026-12-31}}}",
        True,
    ),
    (
        "version: 1\nnumbers: {112: {status: ACTIVE, acknowledge: {reason: x, until: 2026-12-31, observed: pending}}}",
        True,
    ),
    (
        "version: 1\nnumbers: {112: {status: ACTIVE, acknowledge: {reason: x, until: 2026-12-31, observed: X}}}",
        False,
    ),
    ("version: 1\nnumbers: {112: {status: ACTIVE, acknowledge: {reason: x}}}", False),
    ("version: 1\nnumbers: {112: {status: ACTIVE, acknowledge: {until: 2026-12-31}}}", False),
    ("version: 1\nnumbers: {112: {status: ACTIVE, acknowledge: {reason: x, until: soon}}}", False),
    (
        "version: 1\nnumbers: {112: {status: ACTIVE, acknowledge: {reason: x, until: 2026-12-31, who: y}}}",
        False,
    ),
    ("version: 1\nnumbers: {112: {status: ACTIVE, acknowledge: yes}}", False),
    (
        "version: 1\nnumbers: [{phone: 112, status: ACTIVE, acknowledge: {reason: x, until: 2026-12-31}}]",
        True,
    ),
    ("version: 1\nnumbers: {010-1234-5678: {status: ACTIVE, notes: x}}", False),
    ("version: 1\nnumbers: {010-1234-5678: {note: x}}", False),
    ("version: 1\nnumbers: {010-1234-5678: {status: ACTIVE, note: ''}}", False),
    ("version: 1\nnumbers: {phone: ACTIVE}", False),
    ("version: 1\nnumbers: {0507-1234-5678: ACTIVE, '0101234567': ACTIVE, 010.1234.0000: INACTIVE}", True),
    ("version: 1\nnumbers: {15881234.0: ACTIVE}", False),
    ("version: 1\nnumbers: {'15881234.': ACTIVE}", False),
    ("version: 1\nnumbers: {'1588.0000': ACTIVE}", False),
    ("version: 1\nnumbers: {010.1234.5678.00: ACTIVE}", False),
    ("version: 1\nnumbers: {'-112': ACTIVE}", False),
    ("version: 1\nnumbers: [{phone: '15881234.0', status: ACTIVE}]", False),
    (
        "version: 1\nnumbers: [{phone: +82 10-1234-5678, status: ACTIVE}, {phone: '01012345679', status: inactive}]",
        True,
    ),
    ("version: 1\nnumbers: [{phone: 01012345678}]", False),
    ("version: 1\nnumbers: [{status: ACTIVE}]", False),
    ("version: 1\nnumbers: [010-1234-5678]", False),
    ("version: 1\nnumbers: [{phone: 010-1234-5678, status: ACTIVE, state: x}]", False),
    ("- version", False),
    ("version: 1\ntimezone: Europe/Berlin\nnumbers: {}", True),
    ("version: 1\ntimezone: []\nnumbers: {}", False),
    ("version: 1\ntimezone: ''\nnumbers: {}", False),
    *(
        (f"version: 1\nnumbers: {{010-1234-5678: {entry}}}", is_valid)
        for entry, is_valid in (
            ("{status: ACTIVE, until: 2026-12-01, then: inactive, reason: moving}", True),
            ("{status: ACTIVE, until: 2026-12-01T09:00+09:00}", True),
            ("{status: ACTIVE, until: 2026-12-01 09:00:30}", True),
            ("{status: ACTIVE, until: tomorrow}", False),
            ("{status: ACTIVE, until: 1969-12-31}", False),
            ("{until: 2026-12-01, then: ACTIVE}", False),
            ("{status: ACTIVE, then: INACTIVE}", False),
            ("{status: ACTIVE, reason: moving}", False),
            ("{schedule: [{from: 2026-12-01, status: ACTIVE, reason: sale}]}", True),
            ("{status: ACTIVE, schedule: [{until: 2026-12-01, status: INACTIVE}]}", True),
            ("{schedule: [{from: 2026-12-01, until: 2026-12-02, status: ACTIVE}]}", True),
            ('{schedule: [{weekly: "mon - fri,SUN 9:00-12:00, 13:00-18:00", status: ACTIVE}]}', True),
            ('{schedule: [{weekly: "Daily 22:00-06:00", status: ACTIVE}]}', True),
            ('{schedule: [{weekly: "Monday 09:00-18:00", status: ACTIVE}]}', False),
            ('{schedule: [{weekly: "Mon 09:00", status: ACTIVE}]}', False),
            ('{schedule: [{weekly: "Mon 09:00-18:00"}]}', False),
            ('{schedule: [{weekly: "Mon 09:00-18:00", until: 2026-12-01, status: ACTIVE}]}', False),
            ("{schedule: [{status: ACTIVE}]}", False),
            ("{schedule: [{from: 2026-12-01, status: ACTIVE, note: x}]}", False),
            ("{schedule: []}", False),
            ("{schedule: {}}", False),
            ("{status: ACTIVE, until: 2026-12-01, schedule: [{from: 2026-12-01, status: ACTIVE}]}", False),
            ("{reason: x, schedule: [{from: 2026-12-01, status: ACTIVE}]}", False),
        )
    ),
    ("version: 1\nnumbers: [{phone: 010-1234-5678, schedule: [{from: 2026-12-01, status: ACTIVE}]}]", True),
]


@pytest.mark.parametrize(("text", "is_valid"), DESIRED)
@pytest.mark.parametrize("loader", [CoreLoader, yaml.BaseLoader])
def test_desired_schema_agrees_with_the_loader(text: str, loader: type[yaml.SafeLoader], *, is_valid: bool) -> None:
    """Editors show an error exactly if the worker rejects the file."""
    try:
        desired.load([("a.yaml", text.encode())])
        accepted = True
    except DesiredStateError:
        accepted = False
    assert accepted is is_valid
    assert (validation_errors("desired", load_yaml(text, loader)) == []) is is_valid


SHARED = [
    ("version: 1", True),
    ("version: 1\ndefaults: {status: ACTIVE, owner: x, schedule: none}", True),
    ("version: 1\nschedules: {a: [{weekly: 'Mon 09:00-18:00', status: ACTIVE}]}\ndefaults: {schedule: a}", True),
    ("defaults: {}", False),
    ("version: 1\nnumbers: {}", False),
    ("version: 1\ntimezone: UTC", False),
    ("version: 1\ndefaults: {protected: maybe}", False),
    ("version: 1\ndefaults: {acknowledge: {reason: x, until: 2026-12-31}}", False),
]


@pytest.mark.parametrize(("text", "is_valid"), SHARED)
@pytest.mark.parametrize("loader", [CoreLoader, yaml.BaseLoader])
def test_shared_schema_agrees_with_the_loader(text: str, loader: type[yaml.SafeLoader], *, is_valid: bool) -> None:
    try:
        desired.parse_file("senderid.yaml", text.encode())
        accepted = True
    except DesiredStateError:
        accepted = False
    assert accepted is is_valid
    assert (validation_errors("shared", load_yaml(text, loader)) == []) is is_valid


def test_schema_accepts_every_spelling_of_a_number() -> None:
    """Each separator that the worker accepts between digits is accepted by the schema."""
    pattern = schema("desired")["properties"]["numbers"]["anyOf"][0]["propertyNames"]["pattern"]
    separators = []
    for char in map(chr, range(0x10000)):
        spelling = f"010{char}1234{char}5678"
        try:
            normalise(spelling)
        except ValueError:
            continue
        separators.append(char)
        assert re.search(pattern, spelling), ascii(char)
    assert {" ", "-", ".", "(", ")", "\u2013", "\u3000"} < set(separators)


@pytest.mark.parametrize(
    ("text", "is_valid"),
    [
        ("", True),
        ("endpoint: coolsms\nconcurrency: 4", True),
        ("safety: {max_deactivations: 10%}", True),
        ("in_use: {enabled: true, hours: 72, on_unknown: allow}", True),
        ("in_use: {enabled: perhaps}", False),
        ("in_use: {on_unknown: ask}", False),
        ("health: {expires_within_days: 0, limit_percent: 100}", True),
        ("health: {limit_percent: 101}", False),
        ("safety: {fleet_wide: 40%}\ncanary: {accounts: 3, max_failed: 5}", True),
        ("canary: {accounts: -1}", False),
        ("canary: {account: 3}", False),
        ("ledger: {path: null}", True),
        ("ledger: {path: /var/lib/senderid/ledger.db}", True),
        ("concurency: 4", False),
        ("concurrency: 0", False),
        ("concurrency: many", False),
        ("rate_limit: {writes: 80, write: 1}", False),
        ("rate_limit: 80", False),
        ("timeout: {total_seconds: 0}", False),
        ("log: {level: loud}", False),
        ("api_secret: 0a1b2c3d", False),
        ("notify: {channels: []}", True),
        ("notify: {channels: [{name: ops, url: {env: OPS_URL}}]}", True),
        (
            "notify: {channels: [{name: ops, url: {file: /x}, events: [drift], digest_seconds: 60, title: x}]}",
            True,
        ),
        ("notify: {channels: {}}", False),
        ("notify: {channels: [{name: ops}]}", False),
        ("notify: {channels: [{name: ops, url: slack://a/b/c}]}", False),
        ("notify: {channels: [{name: ops, url: {env: slack://a/b/c}}]}", False),
        ("notify: {channels: [{name: ops, url: {file: slack://a/b/c}}]}", False),
        ("notify: {channels: [{name: ops, url: {}}]}", False),
        ("notify: {channels: [{name: ops, url: {env: A, file: b}}]}", False),
        ("notify: {channels: [{name: ops, url: {env: A}, events: []}]}", False),
        ("notify: {channels: [{name: ops, url: {env: A}, events: [drfit]}]}", False),
        ("notify: {channels: [{name: ops, url: {env: A}, digest_seconds: -1}]}", False),
        ("notify: {channels: [{name: ops, url: {env: A}, colour: red}]}", False),
    ],
)
def test_settings_schema_agrees_with_the_loader(text: str, *, is_valid: bool) -> None:
    """Editors show an error exactly if the worker rejects the settings."""
    try:
        settings.load(("worker.yaml", text.encode()), {}, {})
        accepted = True
    except SettingsError:
        accepted = False
    assert accepted is is_valid
    assert (validation_errors("settings", load_yaml(text, CoreLoader) or {}) == []) is is_valid


@pytest.mark.parametrize(
    ("name", "document"),
    [("plan", plan()), ("result", result()), ("history", history()), ("status", status()), ("log", line())],
)
def test_documents_match_their_schemas(name: str, document: Any) -> None:
    """Documents with every field are valid, and later versions may add fields."""
    assert validation_errors(name, document) == []
    assert validation_errors(name, document | {"new_in_later_versions": 1}) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["schema"], "senderid.plan/v2"),
        (["created_at"], "2026-03-01 12:00:00"),
        (["accounts"], None),
        (["accounts", 0, "verdict"], "fine"),
        (["accounts", 0, "counts", "activate"], -1),
        (["accounts", 0, "changes", 0, "phone"], "010-1234-5678"),
        (["accounts", 0, "changes", 0, "action"], "delete"),
        (["accounts", 0, "changes", 0, "desired"], None),
        (["accounts", 1, "error"], "text"),
        (["accounts", 2, "refusals", 0], "min-active"),
    ],
)
def test_invalid_plan_is_rejected(path: list[str | int], value: object) -> None:
    """A value that is not defined is invalid."""
    document: Any = plan()
    inner = document
    for step in path[:-1]:
        inner = inner[step]
    original = json.dumps(document)
    inner[path[-1]] = value
    assert validation_errors("plan", document) != []
    document = json.loads(original)
    assert validation_errors("plan", document) == []


@pytest.mark.parametrize(
    ("name", "path", "key"),
    [
        ("plan", [], "fingerprint"),
        ("plan", ["accounts", 0], "counts"),
        ("plan", ["accounts", 0, "changes", 0], "observed"),
        ("plan", ["accounts", 2, "refusals", 0], "rule"),
        ("result", [], "run_id"),
        ("result", ["accounts", 0], "requests"),
        ("result", ["accounts", 0, "requests"], "retries"),
        ("result", ["accounts", 0, "numbers", 0], "after"),
        ("result", ["accounts", 0, "numbers", 0, "error"], "http_status"),
        ("history", [], "total"),
        ("history", ["runs", 0], "outcome"),
        ("history", ["runs", 0, "accounts", 0], "sha256"),
        ("history", ["runs", 0, "accounts", 0, "numbers", 0], "attempts"),
        ("history", ["runs", 0, "accounts", 0, "numbers", 0, "attempts", 0], "state"),
        ("log", [], "timestamp"),
        ("log", [], "run_id"),
    ],
)
def test_misspelt_key_is_rejected(name: str, path: list[str | int], key: str) -> None:
    """A document without a key is invalid too, because every key is always written."""
    document: Any = {"plan": plan, "result": result, "history": history, "log": line}[name]()
    inner = document
    for step in path:
        inner = inner[step]
    inner[f"{key}s"] = inner.pop(key)
    assert validation_errors(name, document) != []


@pytest.mark.parametrize(
    "fields",
    [
        {"level": "fatal"},
        {"phone": "010-1234-5678"},
        {"action": "delete"},
        {"outcome": "fine"},
        {"attempts": "3"},
        {"duration_ms": -1},
        {"http_status": 42},
        {"account": None},
        {"counts": {"changed": -1}},
        {"timestamp": "2026-03-01T12:00:00+09:00"},
    ],
)
def test_invalid_log_line_is_rejected(fields: dict[str, object]) -> None:
    """Undefined values and nulls are invalid."""
    assert validation_errors("log", line(**fields)) != []


def test_log_schema_lists_the_events_as_examples() -> None:
    """Events of later versions are valid too."""
    assert schema("log")["properties"]["event"]["examples"] == [event.value for event in LogEvent]
    assert validation_errors("log", line(event="something.new")) == []
