"""Where the fields of a number come from."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.config.desired import load
from worker.config.desired.origins import read_origins
from worker.model.number_status import Origin

PHONE = "01012345678"
OFFICE = '[{weekly: "Mon-Fri 09:00-18:00", status: ACTIVE}]'
SHARED = b"version: 1\ndefaults:\n  owner: sales\n  schedule: office\nschedules:\n  office: " + OFFICE.encode() + b"\n"


def _origins(text: str, shared: bytes | None = None) -> dict[str, list[tuple[str, str, str, bool]]]:
    data = f"version: 1\n{text}".encode()

    def shared_files(_: str) -> tuple[str, bytes] | None:
        return None if shared is None else ("d/senderid.yaml", shared)

    load([("d/a.yaml", data)], shared_files=shared_files)
    return {
        account: [(each.field, each.value, each.location, each.by_default) for each in origins]
        for account, origins in read_origins("d/a.yaml", data, PHONE, shared_files).items()
    }


def test_schedule_comes_from_the_named_schedules_of_its_document() -> None:
    text = f"account: main\nschedules: {{office: {OFFICE}}}\nnumbers: {{{PHONE}: {{schedule: office}}}}\n"
    assert _origins(text) == {
        "main": [
            ("schedule", "office", "d/a.yaml:4", False),
            ("schedules.office", "windows", "d/a.yaml:3", False),
        ]
    }


@pytest.mark.parametrize("listed", [False, True])
def test_fields_come_from_entry_document_and_folder(listed: bool) -> None:  # noqa: FBT001 - as pytest passes it
    fields = "{status: INACTIVE, note: 'front  desk'}"
    entry = f"- {{phone: +82 10-1234-5678, {fields[1:]}" if listed else f"  010-1234-5678: {fields}"
    other = "- {phone: 02-312-4567, status: ACTIVE}" if listed else "  02-312-4567: ACTIVE"
    text = f"account: main\ndefaults: {{protected: true}}\nnumbers:\n{other}\n{entry}\n"
    assert _origins(text, SHARED) == {
        "main": [
            ("status", "INACTIVE", "d/a.yaml:6", False),
            ("owner", "sales", "d/senderid.yaml:3", True),
            ("note", "front desk", "d/a.yaml:6", False),
            ("protected", "true", "d/a.yaml:3", True),
            ("schedule", "office", "d/senderid.yaml:4", True),
            ("schedules.office", "windows", "d/senderid.yaml:6", False),
        ]
    }


@pytest.mark.parametrize(
    ("numbers", "fields"),
    [
        ("{010-1234-5678: ACTIVE}", [("status", "ACTIVE", "d/a.yaml:2", False)]),
        ("{02-312-4567: ACTIVE}", None),
        (
            "{010-1234-5678: {status: ACTIVE, until: 2026-12-01, then: INACTIVE, reason: sale}}",
            [
                ("status", "ACTIVE", "d/a.yaml:2", False),
                ("until", "2026-12-01", "d/a.yaml:2", False),
                ("then", "INACTIVE", "d/a.yaml:2", False),
                ("reason", "sale", "d/a.yaml:2", False),
            ],
        ),
        (f"{{010-1234-5678: {{schedule: {OFFICE}}}}}", [("schedule", "windows", "d/a.yaml:2", False)]),
    ],
)
def test_entry_has_its_fields_with_their_origins(numbers: str, fields: list[tuple[str, str, str, bool]] | None) -> None:
    assert _origins(f"numbers: {numbers}\n") == ({} if fields is None else {"a": fields})


def test_entry_with_its_own_schedule_lacks_the_default_one() -> None:
    """An entry with `until`, or with `schedule: none`, does not have it."""
    for entry, expected in (
        ("{status: ACTIVE, until: 2026-12-01}", "until"),
        ("{status: ACTIVE, schedule: none}", "none"),
    ):
        ((_, fields),) = _origins(f"numbers: {{010-1234-5678: {entry}}}\n", SHARED).items()
        assert not [field for field in fields if field[0].startswith("schedules.")]
        assert expected in {fields[-1][0], fields[-1][1]}


def test_entry_without_fields_has_those_by_default() -> None:
    text = "defaults: {status: ACTIVE}\nnumbers: [02-312-4567, 010-1234-5678]\n"
    assert _origins(text) == {"a": [("status", "ACTIVE", "d/a.yaml:2", True)]}


def test_each_document_has_its_account() -> None:
    text = "account: x\nnumbers: {010-1234-5678: ACTIVE}\n---\nversion: 1\n"
    text += "account: y\nnumbers: {010-1234-5678: INACTIVE}\n"
    assert {name: fields[0][1] for name, fields in _origins(text).items()} == {"x": "ACTIVE", "y": "INACTIVE"}


def test_scalar_in_place_of_numbers_is_skipped() -> None:
    assert read_origins("a.yaml", b"version: 1\nnumbers: ~\n", PHONE, lambda _: None) == {}


@given(
    st.dictionaries(
        st.sampled_from(["owner", "note"]), st.text("abc ", min_size=1).map(str.strip).filter(bool), max_size=2
    ),
    st.dictionaries(
        st.sampled_from(["owner", "note"]), st.text("xyz ", min_size=1).map(str.strip).filter(bool), max_size=2
    ),
)
def test_origins_have_the_values_in_force(defaults: dict[str, str], entry: dict[str, str]) -> None:
    def flow(fields: dict[str, str]) -> str:
        return ", ".join(f'{key}: "{value}"' for key, value in fields.items())

    head = f"version: 1\ndefaults: {{{flow(defaults)}}}\n"
    data = f"{head}numbers: {{{PHONE}: {{status: ACTIVE, {flow(entry)}}}}}\n".encode()
    (account,) = load([("a.yaml", data)]).accounts
    number = account.numbers[PHONE]
    origins: dict[str, Origin] = {each.field: each for each in read_origins("a.yaml", data, PHONE, lambda _: None)["a"]}
    for field in ("owner", "note"):
        value = getattr(number, field)
        assert (origins[field].value if field in origins else None) == (value and " ".join(value.split()))
        assert field not in origins or origins[field].by_default is (field not in entry)
