"""Log lines on their way out: what they look like, what is never in them, and that nothing stops a run."""

import asyncio
import errno
import json
import logging
import re
import sys
from collections import Counter
from datetime import UTC, datetime
from typing import Any, Literal

import pytest
from jsonschema import Draft202012Validator

from tests.support import virtual_time
from worker.model.accounts import Status
from worker.model.credentials import Credentials, Secret
from worker.model.plans import Action
from worker.model.redaction import Secrets
from worker.model.results import Outcome
from worker.render.json_schema import schema
from worker.telemetry import logs
from worker.telemetry.logs import Logger, Sink

CANARY = "K7canary0secret1of2thirty3two4chars"


class Stream:
    """Keeps what was written; `broken` raises instead."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.flushes = 0
        self.broken: Exception | None = None

    def write(self, data: bytes, /) -> None:
        """Keep bytes, or fail."""
        if self.broken is not None:
            raise self.broken
        self.writes.append(data)

    def flush(self) -> None:
        """Be counted."""
        self.flushes += 1

    @property
    def text(self) -> str:
        """Everything that was written."""
        return b"".join(self.writes).decode()


def logging_to(
    stream: Stream,
    *secrets: str,
    form: Literal["json", "console"] = "json",
    level: str = "debug",
    color: bool = False,
) -> Logger:
    """A log that flushes every line."""
    return logs.configure(
        format=form, level=level, sink=Sink(stream, patient=False), color=color, secrets=Secrets(secrets)
    )


def logged(*secrets: str, event: str = "event", **fields: Any) -> Any:
    """One line as a machine reads it."""
    stream = Stream()
    logging_to(stream, *secrets).info(event, **fields)
    assert stream.text.count("\n") == 1
    return json.loads(stream.text)


def raised(error: Exception) -> Exception:
    """The error, with a traceback whose frame has a secret among its locals."""
    local = CANARY
    try:
        raise error  # noqa: TRY301 - the frame with the secret is to be this one
    except Exception as caught:  # noqa: BLE001 - it is handed back
        assert local
        return caught


class Foreign:
    """An object whose every text gives a secret away."""

    def __repr__(self) -> str:
        return f"Foreign({CANARY})"

    __str__ = __repr__


def test_line_is_json_in_order() -> None:
    """A line is one JSON object that begins with time, level and event, then what was bound, then its own fields."""
    stream = Stream()
    log = logging_to(stream).bind(run_id="r", account="main")
    log.info(
        "number", phone="01012345678", action=Action.ACTIVATE, before=Status.INACTIVE, after=Status("FROZEN"),
        outcome=Outcome.CONFLICT, attempts=2, duration_ms=70, http_status=None, counts=Counter(changed=2),
    )  # fmt: skip
    assert stream.text.endswith('"counts":{"changed":2}}\n')
    line = json.loads(stream.text)
    assert list(line)[:5] == ["timestamp", "level", "event", "run_id", "account"]
    line.pop("timestamp")
    assert line == {
        "level": "info",
        "event": "number",
        "run_id": "r",
        "account": "main",
        "phone": "01012345678",
        "action": "activate",
        "before": "INACTIVE",
        "after": "FROZEN",
        "outcome": "conflict",
        "attempts": 2,
        "duration_ms": 70,
        "counts": {"changed": 2},
    }


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"phone": "0211", "action": Action.MISSING, "desired": Status.ACTIVE, "before": None},
        {"outcome": Outcome.FAILED, "http_status": 502, "error_code": "E", "error_message": "\ud800 failed"},
        {"accounts": 2, "numbers": 0, "active": 0, "counts": {Outcome.CHANGED: 1}, "duration_ms": 0.5},
        {"exc_info": raised(ValueError(CANARY))},
        {"account": "본사 😀", "fingerprint": "f" * 64, "salt": "x"},
    ],
)
def test_line_is_as_the_schema_says(fields: dict[str, Any]) -> None:
    """Whatever fields a line has, it is valid against the schema that is published."""
    Draft202012Validator(schema("log")).validate(logged(run_id="r", **fields))


def test_fields_that_are_none_are_left_out() -> None:
    """A field that does not apply is not there, rather than null; a false or empty one is."""
    assert logged(a=None, b=0, c="", d=False, e=[None]).keys() == {"timestamp", "level", "event", "b", "c", "d", "e"}


def test_time_and_level_are_the_logs_own() -> None:
    """No field takes the place of a line's time or level."""
    line = logged(timestamp="never", level=["loud"])
    assert line["level"] == "info"
    assert datetime.fromisoformat(line["timestamp"]).tzinfo is UTC


def test_timestamps_are_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """A timestamp is UTC to the millisecond with Z, each second's as the clock says, the epoch's first included."""
    stream = Stream()
    log = logging_to(stream)
    ticks = [0, 999_999, 1_000_000, 1_000_000_000, 1_772_366_400_123_999_999, 1_772_366_400_999_000_000]
    clock = iter(ticks)
    monkeypatch.setattr("worker.telemetry.logs.time.time_ns", lambda: next(clock))
    for _ in ticks:
        log.info("tick")
    assert [json.loads(line)["timestamp"] for line in stream.text.splitlines()] == [
        "1970-01-01T00:00:00.000Z",
        "1970-01-01T00:00:00.000Z",
        "1970-01-01T00:00:00.001Z",
        "1970-01-01T00:00:01.000Z",
        "2026-03-01T12:00:00.123Z",
        "2026-03-01T12:00:00.999Z",
    ]


def test_timestamp_is_now() -> None:
    """A line carries the time at which it was written."""
    before = datetime.now(UTC).replace(microsecond=0)
    assert before <= datetime.fromisoformat(logged()["timestamp"]) <= datetime.now(UTC)


@pytest.mark.parametrize(
    ("level", "written"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_levels_filter(level: str, written: list[str]) -> None:
    """Lines below the level are not written, and each line says its own."""
    stream = Stream()
    log = logging_to(stream, level=level)
    for each in (log.debug, log.info, log.warning, log.error):
        each("event")
    assert [json.loads(line)["level"] for line in stream.text.splitlines()] == written


def test_binding_leaves_the_log_alone() -> None:
    """What is bound is on the lines of the new log, and not on those of the old one."""
    stream = Stream()
    log = logging_to(stream)
    log.bind(account="main")
    log.info("event")
    assert "account" not in json.loads(stream.text)


HIDING: list[dict[str, Any]] = [
    {"error_message": f"cannot use {CANARY}!"},
    {"error_message": CANARY},
    {"nested": {"deep": [{"list": (CANARY, {CANARY})}]}},
    {"nested": {CANARY: 1}},
    {"nested": {Foreign(): 1, (CANARY,): 2}},
    {CANARY: "a field's name"},
    {"exc_info": raised(RuntimeError(CANARY))},
    {"exc_info": raised(RuntimeError(Foreign()))},
    {"value": Foreign()},
    {"value": [Foreign()]},
    {"value": RuntimeError(CANARY)},
    {"value": Credentials("key", Secret(CANARY))},
    {"value": CANARY.encode()},
    {"value": frozenset([CANARY])},
    {"surrogate": "\ud800", "value": CANARY},
    {"api_secret": CANARY},
    {"Authorization": CANARY},
    {"nested": {"API-Secret": CANARY, "apiSecret": [CANARY]}},
]


@pytest.mark.parametrize("fields", HIDING)
@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize("secrets", [[CANARY], [CANARY[:9], CANARY, ""], [CANARY, CANARY[9:]]])
def test_secrets_are_nowhere(fields: dict[str, Any], form: Literal["json", "console"], secrets: list[str]) -> None:
    """A known secret is in no line, wherever a field hides it, also where another one is a part of it."""
    stream = Stream()
    log = logging_to(stream, *secrets, form=form)
    log.bind(**fields).error(f"event {CANARY}", **fields)
    assert stream.text.count("\n") == 1
    for length in range(8, len(CANARY)):
        assert CANARY[:length] not in stream.text
        assert CANARY[-length:] not in stream.text


SIGNED = f"HMAC-SHA256 apiKey=NCSKEY, date=2026-03-01T12:00:00Z, salt={CANARY}, signature={CANARY}{CANARY}"


@pytest.mark.parametrize(
    "text",
    [
        SIGNED,
        f"Authorization: {SIGNED}",
        f"refused: authorization={SIGNED}",
        f"{{'Authorization': '{SIGNED}', 'Accept': '*/*'}}",
        f'{{"Authentication": "{SIGNED}"}}',
        f"<CIMultiDictProxy('Authorization': '{SIGNED}')>",
        json.dumps(json.dumps({"Authorization": SIGNED})),
        f"Authorization: Bearer {CANARY}\r\nAccept: */*",
        f"signature={CANARY}",
        f"SALT = {CANARY}; next",
        f"?salt={CANARY}&x=1",
        f"'salt': '{CANARY}', 'signature': \"{CANARY} {CANARY}\"",
        json.dumps({"error": json.dumps({"signature": CANARY, "salt": CANARY})}),
        f"my_signature:{CANARY}",
        f"signature={CANARY[:12]}",
    ],
)
def test_parts_of_a_header_are_nowhere(text: str) -> None:
    """A salt, a signature or a whole header in any text is taken out without being known as a secret."""
    line = json.dumps(logged(event=text, error_message=text, nested={"list": [text], text: 1}))
    assert CANARY[:12] not in line
    assert "[removed]" in line


@pytest.mark.parametrize(
    "text",
    [
        "the signature is wrong",
        "the API says: no salt",
        "basalt = stone",
        "salt",
        "designature=1",
        "authorization failed",
    ],
)
def test_sentences_are_left_alone(text: str) -> None:
    """A message that speaks of a signature without giving one is not changed."""
    assert logged(error_message=text)["error_message"] == text


def test_header_is_removed_from_its_own_line_only() -> None:
    """What follows a header on other lines of a text stays."""
    assert (
        logged(error_message="Authorization: x y\nAccept: z")["error_message"] == "Authorization=[removed]\nAccept: z"
    )


@pytest.mark.parametrize("name", ["salt", "Signature", "AUTHORIZATION", "authentication", "secret", "api_secret"])
def test_forbidden_fields_are_left_out(name: str) -> None:
    """A field of a forbidden name is not there, at the top or within a value, in any letter case, every time."""
    stream = Stream()
    log = logging_to(stream)
    for _ in range(2):
        log.info("event", **{name: "x"}, nested={name: "x", "kept": 1})
    for line in map(json.loads, stream.text.splitlines()):
        assert line.keys() == {"timestamp", "level", "event", "nested"}
        assert line["nested"] == {"kept": 1}


def test_secrets_are_learnt_on_the_way() -> None:
    """A secret that becomes known while the log is in use is taken out from then on, in names of fields too."""
    stream = Stream()
    known = Secrets()
    log = logs.configure(format="json", level="info", sink=Sink(stream, patient=False), color=False, secrets=known)
    fields = {CANARY: CANARY}
    log.info("before", **fields)
    known.add(CANARY)
    log.info("after", **fields)
    before, after = stream.text.splitlines()
    assert before.count(CANARY) == 2
    assert json.loads(after)["[removed]"] == "[removed]"


def test_short_secret_is_taken_out_of_short_texts() -> None:
    """Texts are short enough to be let through only if they are shorter than every secret."""
    assert logged("abcd", value="xabcdx")["value"] == "x[removed]x"
    assert logged("abcd", value="abcd")["value"] == "[removed]"


def test_many_names_of_fields() -> None:
    """Names without end cost no memory without end, and are all written."""
    stream = Stream()
    log = logging_to(stream)
    for number in range(3000):
        log.info("event", **{f"field_{number}": "value"})
    assert all(f'"field_{number}":"value"' in stream.text for number in range(3000))
    cleaner = next(each for each in vars(log)["_processors"] if hasattr(each, "_names"))
    assert len(cleaner._names) <= 1000


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (2**63 - 1, 2**63 - 1),
        (2**63, str(2**63)),
        (-(2**80), str(-(2**80))),
        pytest.param(10**5000, "int", id="huge"),
        (True, True),
        (1.5, 1.5),
        (float("nan"), None),
        (b"bytes", "bytes"),
        (object(), "object"),
        (datetime(2026, 3, 1, tzinfo=UTC), "datetime"),
        ({1: 2, None: 3}, {"1": 2, "None": 3}),
        pytest.param({2**70: 1, 10**5000: 2}, {str(2**70): 1, "int": 2}, id="huge keys"),
        ((1, {2}), [1, [2]]),
        ("\ud800x", "\ufffdx"),
        (["\udfff", 7, None], ["\ufffd", 7, None]),
    ],
)
def test_any_value_can_be_logged(value: object, written: object) -> None:
    """Whatever a field is, a line comes of it that any reader of JSON takes."""
    assert logged(value=value)["value"] == written


def test_a_value_that_holds_itself_ends() -> None:
    """A value that contains itself, or is nested too deep to be written, is cut."""
    endless: dict[str, Any] = {}
    endless["self"] = [endless]
    assert json.dumps(logged(value=endless)).count("self") == 4
    deep: list[Any] = []
    for _ in range(sys.getrecursionlimit() * 2):
        deep = [deep]
    assert json.dumps(logged(value=deep)).count("list") == 1


def test_texts_and_numbers_of_a_class_of_their_own_are_plain_ones() -> None:
    """A text of a library's own class ends no run, neither the first time nor once its field is known."""
    text, number, share = type("Text", (str,), {}), type("Number", (int,), {}), type("Share", (float,), {})
    stream = Stream()
    log = logging_to(stream)
    for _ in range(2):
        log.info("event", error_code=text("Odd"), attempts=number(2), counts=[share(0.5), text("x")])
    for line in map(json.loads, stream.text.splitlines()):
        assert (line["error_code"], line["attempts"], line["counts"]) == ("Odd", 2, [0.5, "x"])


def test_surrogates_spoil_no_other_field() -> None:
    """A text that is not valid Unicode is repaired, and numbers beside it stay numbers."""
    line = logged(error_message="\udcff", http_status=502, counts={"\ud800": 1})
    assert (line["error_message"], line["http_status"], line["counts"]) == ("\ufffd", 502, {"\ufffd": 1})


def test_line_is_one_for_every_reader() -> None:
    """No text ends a line early, not even for those who end lines at U+2028 or U+0085."""
    stream = Stream()
    logging_to(stream).info("event", error_message="a\nb\r\u2028c\x85d\x1b\u202e")
    assert len(stream.text.splitlines()) == 1
    assert stream.text.rstrip("\n").isprintable()
    assert json.loads(stream.text)["error_message"] == "a\nb\r\u2028c\x85d\x1b\u202e"


def test_exception_is_logged_by_type_and_place() -> None:
    """It gives its type and where it was raised, and nothing of its text."""
    line = logged(exc_info=raised(ZeroDivisionError("text")))
    assert line["error_code"] == "ZeroDivisionError"
    assert re.fullmatch(r".*/test_logs\.py:\d+ raised", line["raised_at"][-1])
    assert "text" not in json.dumps(line)


def test_given_code_wins_over_the_exceptions() -> None:
    """A code that is given beside an exception is the one in the line."""
    assert logged(exc_info=raised(KeyError()), error_code="Bug")["error_code"] == "Bug"


def test_what_is_no_exception_adds_nothing() -> None:
    """A flag in the place of an exception is dropped."""
    assert logged(exc_info=True).keys() == {"timestamp", "level", "event"}


def test_warnings_of_libraries_are_log_lines_without_secrets() -> None:
    stream = Stream()

    async def fail() -> None:
        asyncio.get_running_loop().call_soon(int, f"signed with {CANARY}")
        await asyncio.sleep(0)

    with logs.libraries_log_to(logging_to(stream, CANARY)):
        logging.getLogger("quiet").info("not logged")
        asyncio.run(fail())
    logging.getLogger("late").error("not logged")
    (line,) = stream.text.splitlines()
    logged = json.loads(line)
    Draft202012Validator(schema("log")).validate(logged | {"run_id": "20261124T090012Z-a1b2c3"})
    assert (logged["level"], logged["event"], logged["library"]) == ("error", "library", "asyncio")
    assert logged["message"].startswith("Exception in callback ")
    assert logged["error_code"] == "ValueError"
    assert CANARY not in line


def test_console_lines_are_for_people() -> None:
    """On a console lines are short, coloured if configured, and without the routine ones."""
    stream = Stream()
    log = logging_to(stream, form="console", level="info", color=True)
    log.info("run.started", accounts=1)
    assert stream.writes == []
    log.warning("account.failed", account="main", error_code="E")
    assert re.fullmatch(
        r"\d\d:\d\d:\d\dZ \x1b\[33mwarning\x1b\[0m main         \x1b\[1maccount\.failed\x1b\[0m E:\n", stream.text
    )


def test_console_shows_everything_when_debugging() -> None:
    """At the level debug no line is left out."""
    stream = Stream()
    logging_to(stream, form="console", level="debug").info("run.started", accounts=1)
    assert stream.text.endswith(" run.started accounts=1\n")


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(9, "closed"), ValueError("closed file")])
def test_broken_stream_stops_nothing(error: Exception) -> None:
    """A stream that fails is given up silently, and nothing is written to it any more."""
    stream = Stream()
    log = logging_to(stream)
    log.info("first")
    stream.broken = error
    log.info("second")
    log.error("third")
    stream.broken = None
    log.error("fourth")
    assert [json.loads(line)["event"] for line in stream.text.splitlines()] == ["first"]


def test_a_disk_that_has_room_again_takes_lines_again() -> None:
    """What a full disk took is lost, and a daemon's log goes on once there is room."""
    stream = Stream()
    log = logging_to(stream)
    stream.broken = OSError(errno.ENOSPC, "no space")
    log.error("lost")
    stream.broken = None
    log.error("kept")
    assert [json.loads(line)["event"] for line in stream.text.splitlines()] == ["kept"]


def test_broken_stream_keeps_no_lines() -> None:
    """Lines for a stream that was given up take no memory."""
    stream = Stream()
    stream.broken = OSError()
    sink = Sink(stream, patient=False)
    sink.info(b"line\n")
    sink.info(b"line\n")
    assert (sink._lines, sink._size) == ([], 0)


def test_impatient_sink_flushes_every_line() -> None:
    """On a terminal every line is there at once."""
    stream = Stream()
    sink = Sink(stream, patient=False)
    for line in (b"a\n", b"b\n"):
        sink.debug(line)
    assert (stream.writes, stream.flushes) == ([b"a\n", b"b\n"], 2)


def test_patient_sink_without_a_loop_waits_for_nothing() -> None:
    """Where no event loop would come back to a line it is written at once."""
    stream = Stream()
    Sink(stream, patient=True).info(b"a\n")
    assert stream.writes == [b"a\n"]


def test_patient_sink_writes_on_time() -> None:
    """On a loop lines are written together, a fifth of a second after the first of them, and so are later ones."""
    stream = Stream()
    sink = Sink(stream, patient=True)

    async def work() -> None:
        sink.info(b"a\n")
        await asyncio.sleep(0.15)
        sink.info(b"b\n")
        await asyncio.sleep(0.04)
        assert stream.writes == []
        await asyncio.sleep(0.02)
        assert stream.writes == [b"a\nb\n"]
        await asyncio.sleep(60)
        sink.info(b"c\n")
        await asyncio.sleep(0.21)

    virtual_time.run(work())
    assert (stream.writes, stream.flushes) == ([b"a\nb\n", b"c\n"], 2)


def test_patient_sink_writes_when_full() -> None:
    """More lines than fit are written at once, and what is due is not due any more."""
    stream = Stream()
    sink = Sink(stream, patient=True)
    line = b"x" * 1023 + b"\n"

    async def work() -> None:
        for _ in range(64):
            sink.info(line)
        assert stream.writes == []
        sink.info(line)
        assert stream.writes == [line * 65]
        await asyncio.sleep(1)

    virtual_time.run(work())
    assert stream.flushes == 1


@pytest.mark.parametrize("method", ["warning", "error", "critical"])
def test_patient_sink_writes_warnings_at_once(method: str) -> None:
    """A warning takes what waits with it, in order, and waits for nothing."""
    stream = Stream()
    sink = Sink(stream, patient=True)

    async def work() -> None:
        sink.info(b"a\n")
        getattr(sink, method)(b"b\n")
        assert stream.writes == [b"a\nb\n"]
        await asyncio.sleep(1)

    virtual_time.run(work())
    assert stream.flushes == 1


def test_flush_hands_on_what_waits() -> None:
    """At the end of a run what waits is written; without anything that waits nothing is."""
    stream = Stream()
    sink = Sink(stream, patient=True)

    async def work() -> None:
        sink.info(b"a\n")

    virtual_time.run(work())
    assert stream.writes == []
    sink.flush()
    sink.flush()
    assert (stream.writes, stream.flushes) == ([b"a\n"], 1)


def test_patient_sink_stays_patient_on_a_second_loop() -> None:
    """A sink that was flushed after one loop waits again on the next one."""
    stream = Stream()
    sink = Sink(stream, patient=True)

    async def work() -> None:
        sink.info(b"a\n")
        await asyncio.sleep(0.1)
        assert stream.writes == []

    virtual_time.run(work())
    sink.flush()
    stream.writes.clear()
    virtual_time.run(work())
    sink.flush()
    assert stream.writes == [b"a\n"]


def test_a_short_secret_leaves_names_whole() -> None:
    """A secret of a few letters is part of many words: events, names of fields, level and time are read by programs."""
    line = logged(
        "ho", "e", "1", "info", event="phone.info", phone="01012345678", error_message="here", counts={"phone": 1}
    )
    assert {"timestamp", "level", "event", "phone", "error_message", "counts"} == line.keys()
    assert (line["event"], line["level"], line["counts"]) == ("phone.info", "info", {"phone": 1})
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["timestamp"])
    assert (line["phone"], line["error_message"]) == ("0[removed]0[removed]2345678", "h[removed]r[removed]")


@pytest.mark.parametrize(("secret", "shown"), [("abcdefg", "abcdefg"), ("abcdefgh", "[removed]")])
def test_a_secret_of_eight_characters_is_taken_out_of_names_too(secret: str, shown: str) -> None:
    """From eight characters on none of our own words contains it by chance, and a foreign name might."""
    line = logged(secret, event=f"x.{secret}", **{f"{secret}.y": {secret: 1}, "value": secret})
    assert line["event"] == f"x.{shown}"
    assert line[f"{shown}.y"] == {shown: 1}
    assert line["value"] == "[removed]"
