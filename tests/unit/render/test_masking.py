"""Masking of phone numbers, by an example, in documents, texts and log lines."""

import io
import json
import os
import sys

import msgspec
import pytest

from worker.cli.masked_stderr import MaskedStream
from worker.model.accounts import Group, Status
from worker.model.errors import ErrorInfo, NumberError, Refusal
from worker.model.history import AccountRecord, Attempt, AttemptState, Ending, NumberRecord, RunRecord
from worker.model.messages import Message, PhoneNumber, english
from worker.model.plans import AccountPlan, Action, Change, Notice, NoticeKind, Plan
from worker.model.results import AccountResult, NumberResult, Outcome, Result, RunOutcome
from worker.model.safety import Safety
from worker.plan.notices import with_swap_notice
from worker.render.masking import Mask

MASK = Mask.of("010****5678")
PHONE = "01012345678"
NOW = "2026-11-25T00:00:00Z"
TEXT = f"call {PHONE}, 010-1234-5678 or +82 10-1234-5678"
MASKED_TEXT = "call 010****5678, 010****5678 or 010****5678"


@pytest.mark.parametrize(
    ("example", "digits", "expected"),
    [
        ("010****5678", "01012345678", "010****5678"),
        ("010-****-5678", "01012345678", "010****5678"),
        ("010****5678", "0212345678", "02****5678"),
        ("010****5678", "023124567", "0****4567"),
        ("010****5678", "15881234", "****1234"),
        ("010****5678", "02120", "****0"),
        ("010****5678", "112", "***"),
        ("010****5678", "030312345678", "030*****5678"),
        ("*******5678", "01012345678", "*******5678"),
        ("0101*******", "01012345678", "0101*******"),
        ("***", "01012345678", "***********"),
    ],
)
def test_number_is_masked_like_the_example(example: str, digits: str, expected: str) -> None:
    """Shorter numbers show fewer digits, so that the same count is hidden; longer ones hide more."""
    assert Mask.of(example).number(digits) == expected


@pytest.mark.parametrize(
    "example", ["", "01012345678", "010*2345678", "010**345678", "a****", "0*1***", "0" * 9 + "****", "\uff10****"]
)
def test_invalid_mask_is_refused(example: str) -> None:
    """An example needs enough consecutive stars, a valid length, and only digits, hyphens and stars."""
    with pytest.raises(ValueError, match="010\\*\\*\\*\\*5678"):
        Mask.of(example)


@pytest.mark.parametrize(
    "written",
    [
        "01012345678",
        "010-1234-5678",
        "010 1234 5678",
        "010.1234.5678",
        "010_1234_5678",
        "010)1234-5678",
        "(010) 1234 - 5678",
        "010\u20111234\u20115678",
        "010\u200b1234\u200e5678",
        "+821012345678",
        "+82 10-1234-5678",
        "+82 (0)10 1234 5678",
        "0082 10 1234 5678",
        "82-10-1234-5678",
        "821012345678",
        "\uff10\uff11\uff10\uff11\uff12\uff13\uff14\uff15\uff16\uff17\uff18",
        "담당자01012345678로",
        "tel01012345678x",
        '":01012345678',
        "v1.01012345678",
    ],
)
def test_every_spelling_of_a_number_is_masked(written: str) -> None:
    """Four digits are hidden, and the text around the number stays."""
    masked = MASK.text(f"a {written} b")
    assert "1234" not in masked
    assert "\uff11\uff12" not in masked
    assert masked.count("*") == 4
    assert masked.startswith("a ")
    assert masked.endswith(" b")


@pytest.mark.parametrize("written", ["1588-1234", "15881234", "+82 1588-1234", "02-312-4567", "(02) 312-4567"])
def test_other_kinds_of_numbers_are_masked(written: str) -> None:
    """Nationwide and area numbers are masked too."""
    assert MASK.text(written).count("*") == 4


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-24 08:12:33.123",
        "2026-12-01T09:00:00Z",
        "Mon-Fri 09:00-18:00, Sat 10:00",
        "3 of 5 ACTIVE numbers (max_deactivations: 30%)",
        "1,500,000 numbers in 12.5 s",
        "20261125T002023Z-6e4789",
        "account 12925149",
        "",
    ],
)
def test_other_text_is_not_masked(text: str) -> None:
    """Dates, times, counts and ids are not taken for phone numbers."""
    assert MASK.text(text) == text


@pytest.mark.parametrize("prefix", ["2026-01-02 ", "09:00 ", "desk 02, ", "07 ", "02-312-4567/", "1588-1234 ", "3) "])
@pytest.mark.parametrize(
    "number", ["010-5885-0712", "010:5885:0712", "010    5885    0712", "82010-5885-0712", "010x5885x0712"]
)
def test_preceding_digits_do_not_prevent_masking(prefix: str, number: str) -> None:
    """A number that starts within another apparent number is masked, as is that one."""
    masked = MASK.text(f"{prefix}{number}")
    assert "5885" not in masked
    assert "312-4567" not in masked
    line = json.dumps({"phone": "112", "note": f"{prefix}{number}"}, separators=(",", ":"))
    assert "5885" not in MASK.line(line)
    assert json.loads(MASK.line(line))["phone"] == "***"


def test_several_numbers_of_a_text_are_masked() -> None:
    assert (
        MASK.text("010-1234-5678, 010-1234-5678 02-312-4567 1588-1234") == "010****5678, 010****5678 0****4567 ****1234"
    )


def test_masked_log_line_is_valid_json() -> None:
    """Texts and the phone are masked, and other numbers keep their type."""
    line = json.dumps(
        {
            "phone": "1335",
            "duration_ms": 16001234,
            "numbers": [1],
            "note": f'x":{PHONE}',
            "at": "2026-11-25T00:00:00.123Z",
        },
        separators=(",", ":"),
    )
    masked = json.loads(MASK.line(line))
    assert masked == {
        "phone": "****",
        "duration_ms": 16001234,
        "numbers": [1],
        "note": 'x":010****5678',
        "at": "2026-11-25T00:00:00.123Z",
    }
    assert MASK.line(f'12:00:00Z info 010-1234-5678 x":{PHONE}') == '12:00:00Z info 010****5678 x":010****5678'


def test_masked_plan_has_no_number_in_full() -> None:
    """All other values stay."""
    change = Change(PHONE, Action.DEACTIVATE, "ACTIVE", "INACTIVE", TEXT, TEXT, TEXT)
    short_number = Change("1335", Action.MISSING, None, "ACTIVE", "about 1335 and 13-35, not 21335, 1335 3x")
    account = AccountPlan(
        account=TEXT,
        account_id="12925149",
        refusals=(Refusal("min-active", TEXT),),
        error=ErrorInfo("Code", TEXT),
        counts={Action.DEACTIVATE: 1},
        changes=(change, short_number),
        notices=(Notice(NoticeKind.GROUP, TEXT, PHONE), Notice(NoticeKind.LIMIT, TEXT)),
    )
    plan = MASK.document(Plan(created_at=NOW, fingerprint="f", accounts=(account, AccountPlan(account="a", counts={}))))
    masked = plan.accounts[0]
    assert masked.changes[0] == Change(
        "010****5678", Action.DEACTIVATE, "ACTIVE", "INACTIVE", MASKED_TEXT, MASKED_TEXT, MASKED_TEXT
    )
    assert (masked.changes[1].phone, masked.changes[1].reason) == (
        "****",
        "about **** and ****, not 21335, **** 3x",
    )
    assert masked.notices == (
        Notice(NoticeKind.GROUP, MASKED_TEXT, "010****5678"),
        Notice(NoticeKind.LIMIT, MASKED_TEXT),
    )
    assert (masked.account, masked.account_id, masked.refusals) == (
        MASKED_TEXT,
        "12925149",
        (Refusal("min-active", MASKED_TEXT),),
    )
    assert masked.error == ErrorInfo("Code", MASKED_TEXT)
    assert plan.accounts[1] == AccountPlan(account="a", counts={})
    assert "1234" not in msgspec.json.encode(plan).decode()


def test_masked_result_has_no_number_in_full() -> None:
    number = NumberResult(
        PHONE, Action.ACTIVATE, "ACTIVE", TEXT, None, Outcome.FAILED, 2, NumberError("Code", TEXT, 400)
    )
    account = AccountResult(
        account=TEXT,
        outcome=RunOutcome.FAILED,
        error=ErrorInfo("Code", TEXT),
        refusals=(Refusal("min-active", TEXT),),
        counts={},
        numbers=(number,),
        notices=(Notice(NoticeKind.GROUP, TEXT, PHONE),),
    )
    masked = MASK.document(
        Result(run_id="r", started_at=NOW, finished_at=NOW, outcome=RunOutcome.FAILED, accounts=(account,))
    )
    assert masked.accounts[0].numbers == (
        NumberResult(
            "010****5678",
            Action.ACTIVATE,
            "ACTIVE",
            MASKED_TEXT,
            None,
            Outcome.FAILED,
            2,
            NumberError("Code", MASKED_TEXT, 400),
        ),
    )
    assert "1234" not in msgspec.json.encode(masked).decode()


def test_masked_run_has_no_number_in_full() -> None:
    """Settings and groups are masked too."""
    number = NumberRecord(
        phone=PHONE,
        action=Action.ACTIVATE,
        desired="ACTIVE",
        before=None,
        attempts=(Attempt(1, "ACTIVE", AttemptState.REJECTED, NOW, NOW, NumberError("Code", TEXT)),),
    )
    account = AccountRecord(
        account=TEXT,
        account_id=None,
        outcome=Ending.FAILED,
        started_at=NOW,
        finished_at=NOW,
        endpoint="solapi",
        safety=Safety(),
        groups=(Group(TEXT, (PHONE, "1335")),),
        source=f"{PHONE}.yaml",
        fingerprint="f",
        error=ErrorInfo("Code", TEXT),
        counts={},
        settled=True,
        numbers=(number,),
    )
    record = RunRecord(
        run_id="r",
        command=f"rollback {PHONE}",
        outcome=Ending.FAILED,
        started_at=NOW,
        started_by="me",
        host="here",
        pid=1,
        version="0",
        settings={"a": {"b": [TEXT, 15881234]}, "c": None},
        counts={},
        accounts=(account,),
    )
    masked = MASK.document(record)
    assert masked.settings == {"a": {"b": [MASKED_TEXT, 15881234]}, "c": None}
    assert masked.accounts[0].groups == (Group(MASKED_TEXT, ("010****5678", "****")),)
    assert masked.accounts[0].source == "010****5678.yaml"
    assert "12345678" not in msgspec.json.encode(masked).decode()
    bare_record = msgspec.structs.replace(
        record, settings=None, accounts=(msgspec.structs.replace(account, numbers=None),)
    )
    assert MASK.document(bare_record).accounts[0].numbers is None


def test_message_is_masked_by_its_parameters() -> None:
    """Phone numbers of any length are masked, untrusted text by pattern; counts and fixed words are not."""
    message = Message(
        "{phone} and {phones}: {note} ({count} of 112, {reason})",
        phone=PhoneNumber("112"),
        phones=(PhoneNumber(PHONE), PhoneNumber("1335")),
        note=TEXT,
        count=15881234,
        reason=Message("in {file}", file=f"{PHONE}.yaml"),
    )
    notice = Notice(NoticeKind.GROUP, message)
    masked = MASK.document(AccountPlan(account="a", counts={}, notices=(notice,))).notices[0].message
    assert masked == f"*** and 010****5678, ****: {MASKED_TEXT} (15881234 of 112, in 010****5678.yaml)"
    assert isinstance(masked, Message)
    assert masked.template == message.template
    assert isinstance(masked.parameters["phone"], PhoneNumber)


@pytest.mark.parametrize("status", [Status(TEXT), Status(f"{PHONE}_HELD")])
def test_unknown_status_is_masked_as_text(status: Status) -> None:
    """A status that this version does not know may be any text, in its field and in a message."""
    changes = (
        Change("15880000", Action.BLOCKED, status, Status.ACTIVE, "unknown status"),
        Change("15881111", Action.DEACTIVATE, Status.ACTIVE, Status.INACTIVE, "listed as INACTIVE"),
    )
    plan = with_swap_notice(AccountPlan(account="main", counts={}, changes=changes))
    assert PHONE in plan.notices[0].message
    masked = MASK.document(Plan(created_at=NOW, fingerprint="f", accounts=(plan,)))
    assert "1234" not in msgspec.json.encode(masked, enc_hook=english).decode()
    assert masked.accounts[0].changes[1].observed is Status.ACTIVE


def test_masked_terminal_is_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mask changes neither the format of the log nor its colours."""
    leader, terminal = os.openpty()
    with os.fdopen(leader, "rb"), os.fdopen(terminal, "w", encoding="utf-8") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        MaskedStream.install(MASK)
        assert (sys.stderr.isatty(), sys.stderr.fileno()) == (True, terminal)
        monkeypatch.undo()


def test_stderr_is_masked_by_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A number that arrives in parts is masked. A prompt without a newline is shown immediately. Other bytes stay."""
    output = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(output, encoding="utf-8"))
    MaskedStream.install(MASK)
    sys.stderr.buffer.write(b"see 0101234")
    assert output.getvalue() == b""
    sys.stderr.buffer.write(b"5678\n\xff\n")
    sys.stderr.write("Apply 01012345678? ")
    sys.stderr.flush()
    assert output.getvalue() == b"see 010****5678\n\xff\nApply 010****5678? "
    assert not sys.stderr.isatty()
    monkeypatch.setattr(sys, "stderr", None)
    MaskedStream.install(MASK)
    assert sys.stderr is None
