"""Exported files: they desire the observed status of an account and nothing else."""

from textwrap import dedent

import pytest

from worker.config.desired import load
from worker.model.accounts import Desired, Observed, ObservedAccount, Status, Unmanaged
from worker.model.plans import Action
from worker.plan.diff import diff
from worker.plan.policy import adopt
from worker.render.desired_yaml import desired_yaml, listed_yaml


def account(*numbers: tuple[str, str], account_id: str | None = "12925149") -> ObservedAccount:
    """Return an account with these numbers and statuses."""
    return ObservedAccount(account_id, {phone: Observed(phone, Status(status)) for phone, status in numbers})


def test_export_lists_numbers_in_order() -> None:
    """Numbers are sorted by their digits and hyphenated. Numbers that cannot be listed are comments."""
    observed = account(
        ("15881234", "ACTIVE"),
        ("01012345678", "ACTIVE"),
        ("023124567", "INACTIVE"),
        ("01033334444", "PENDING"),
        ("821012345678", "ACTIVE"),
        ("050712345678", "INACTIVE"),
        ("01044445555", "FROZEN\n  0211: ACTIVE"),
    )
    assert desired_yaml(observed, name="main", endpoint="solapi") == dedent("""\
        # yaml-language-server: $schema=senderid.schema.json
        version: 1
        account: "main"
        account_id: "12925149"
        endpoint: "solapi"
        unmanaged: report  # report registered numbers that are not listed here
        numbers:
          "010-1234-5678": ACTIVE
          "02-312-4567": INACTIVE
          "0507-1234-5678": INACTIVE
          "1588-1234": ACTIVE

        # Also registered, but cannot be listed:
        #   010-3333-4444: PENDING
        #   010-4444-5555: FROZEN   0211: ACTIVE
        #   821012345678: ACTIVE
        """)


def test_listed_numbers_keep_their_order_and_fields() -> None:
    """The file has the status, the note, the owner and the protection of each number."""
    numbers = {
        "0212345678": Desired(Status.ACTIVE),
        "01012345678": Desired(Status.INACTIVE, note="front desk", owner="sales", protected=True),
    }
    assert listed_yaml(numbers, name="main").partition("numbers:")[2] == (
        """
  "02-1234-5678": ACTIVE
  "010-1234-5678": {status: INACTIVE, note: "front desk", owner: "sales", protected: true}
"""
    )
    assert listed_yaml({}, name="main").endswith("\nnumbers: {}\n")


def test_account_without_numbers_is_exported_with_an_empty_mapping() -> None:
    """The file desires nothing."""
    text = desired_yaml(account(account_id=None), name="main")
    assert text == dedent("""\
        # yaml-language-server: $schema=senderid.schema.json
        version: 1
        account: "main"
        unmanaged: report  # report registered numbers that are not listed here
        numbers: {}
        """)
    assert load([("main.yaml", text.encode())]).accounts[0].numbers == {}


def test_exported_file_has_an_empty_plan() -> None:
    """The file loads, and its plan has no write and reports only unlisted numbers."""
    observed = account(("01012345678", "ACTIVE"), ("023124567", "INACTIVE"), ("0311234567", "EXPIRED"))
    (desired,) = load([("x.yaml", desired_yaml(observed, name="main").encode())]).accounts
    assert desired.numbers == {"01012345678": Desired(Status.ACTIVE), "023124567": Desired(Status.INACTIVE)}
    assert desired.account_id == observed.account_id
    assert desired.unmanaged is Unmanaged.REPORT
    changes = diff(adopt(desired, observed), observed.numbers)
    assert [change.action for change in changes] == [Action.UNMANAGED]
    assert [change.phone for change in changes] == ["0311234567"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("main", "main"),
        ("본사", "본사"),
        ('say "hi" \\ there', 'say "hi" \\ there'),
        ("true", "true"),
        ("# no comment", "# no comment"),
        ("가" * 64, "가" * 64),
        ("n" * 65, "n" * 64),
        ("  main ", "main"),
        ("a\nb: c", "a b: c"),
        ("\x1b[31m\u202e\ud800", "\ufffd[31m\ufffd\ufffd"),
        ("", "file-stem"),
        (" \n ", "file-stem"),
    ],
)
def test_exported_name_can_be_loaded(name: str, expected: str) -> None:
    """A valid name is kept; any other name is corrected or omitted."""
    text = desired_yaml(account(), name=name)
    assert load([("file-stem.yaml", text.encode())]).accounts[0].name == expected


@pytest.mark.parametrize(
    ("account_id", "expected"),
    [
        ("12925149", "12925149"),
        ("007", "007"),
        ("a" * 64, "a" * 64),
        ("a" * 65, None),
        (" 1", None),
        ("1\n2", None),
        ("\ud800", None),
        ("", None),
        (None, None),
    ],
)
def test_account_id_is_exported_unchanged_or_omitted(account_id: str | None, expected: str | None) -> None:
    """An id that a file cannot hold is omitted, because a corrected id would be another account."""
    text = desired_yaml(account(account_id=account_id), name="main")
    assert load([("main.yaml", text.encode())]).accounts[0].account_id == expected


def test_long_endpoint_is_not_truncated() -> None:
    url = "https://api.example.com/" + "path/" * 50
    text = desired_yaml(account(), name="main", endpoint=url)
    assert load([("main.yaml", text.encode())]).accounts[0].endpoint == url


def test_comment_is_one_short_line() -> None:
    """This holds for any status or number that the API returns."""
    hostile = "\u2028\x85\r" + "x" * 10_000
    text = desired_yaml(account((hostile, hostile)), name="main")
    assert text.splitlines()[-1].startswith("#   ")
    assert max(map(len, text.splitlines())) < 250
