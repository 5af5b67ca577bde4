"""Log lines: their format, the secrets they must not contain, and failures of the stream."""

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
    """Stream that keeps what was written. With `broken` it raises that error instead."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.flushes = 0
        self.broken: Exception | None = None

    def write(self, data: bytes, /) -> None:
        """Keep bytes, or raise."""
        if self.broken is not None:
            raise self.broken
        self.writes.append(data)

    def flush(self) -> None:
        """Count the call."""
        self.flushes += 1

    @property
    def text(self) -> str:
        """Return everything that was written."""
        return b"".join(self.writes).decode()


def log_to(
    stream: Stream,
    *secrets: str,
    log_format: Literal["json", "console"] = "json",
    level: str = "debug",
    color: bool = False,
) -> Logger:
    """Return a log that flushes every line."""
    return logs.configure(
        format=log_format, level=level, sink=Sink(stream, is_buffered=False), color=color, secrets=Secrets(secrets)
    )


def logged(*secrets: str, event: str = "event", **fields: Any) -> Any:
    """Return one line parsed from JSON."""
    stream = Stream()
    log_to(stream, *secrets).info(event, **fields)
    assert stream.text.count("\n") == 1
    return json.loads(stream.text)


def raised(error: Exception) -> Exception:
    """Return the error with a traceback whose frame has a secret among its locals."""
    local = CANARY
    try:
        raise error  # noqa: TRY301 - the frame with the secret is to be this one
    except Exception as caught:  # noqa: BLE001 - it is handed back
        assert local
        return caught


class Foreign:
    """An object whose every text contains a secret."""

    def __repr__(self) -> str:
        return f"Foreign({CANARY})"

    __str__ = __repr__


def test_line_is_json_in_order() -> None:
    """A line is one JSON object: time, level and event, then bound fields, then its own fields."""
    stream = Stream()
    log = log_to(stream).bind(run_id="r", account="main")
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
def test_line_is_valid_against_the_schema(fields: dict[str, Any]) -> None:
    """Lines with any fields match the published schema."""
    Draft202012Validator(schema("log")).validate(logged(run_id="r", **fields))


def test_none_fields_are_omitted() -> None:
    """A false or empty field is kept."""
    assert logged(a=None, b=0, c="", d=False, e=[None]).keys() == {"timestamp", "level", "event", "b", "c", "d", "e"}


def test_fields_cannot_replace_time_and_level() -> None:
    line = logged(timestamp="never", level=["loud"])
    assert line["level"] == "info"
    assert datetime.fromisoformat(line["timestamp"]).tzinfo is UTC


def test_timestamps_are_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """A timestamp is UTC with milliseconds and Z, including the first second of the epoch."""
    stream = Stream()
    log = log_to(stream)
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


def test_timestamp_is_the_current_time() -> None:
    started_at = datetime.now(UTC).replace(microsecond=0)
    assert started_at <= datetime.fromisoformat(logged()["timestamp"]) <= datetime.now(UTC)


@pytest.mark.parametrize(
    ("level", "written"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_lines_below_the_level_are_dropped(level: str, written: list[str]) -> None:
    """Each line contains its level."""
    stream = Stream()
    log = log_to(stream, level=level)
    for method in (log.debug, log.info, log.warning, log.error):
        method("event")
    assert [json.loads(line)["level"] for line in stream.text.splitlines()] == written


def test_bound_fields_do_not_change_the_original_log() -> None:
    stream = Stream()
    log = log_to(stream)
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
@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize("secrets", [[CANARY], [CANARY[:9], CANARY, ""], [CANARY, CANARY[9:]]])
def test_secrets_are_removed_from_all_fields(
    fields: dict[str, Any], log_format: Literal["json", "console"], secrets: list[str]
) -> None:
    """A known secret appears in no line, at any depth of a field, even if it contains another secret."""
    stream = Stream()
    log = log_to(stream, *secrets, log_format=log_format)
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
def test_parts_of_a_credentials_header_are_removed(text: str) -> None:
    """A salt, a signature or a whole header in any text is removed without being a known secret."""
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
def test_sentence_about_a_signature_is_unchanged(text: str) -> None:
    assert logged(error_message=text)["error_message"] == text


def test_header_is_removed_from_its_own_line_only() -> None:
    """Text on other lines is kept."""
    assert (
        logged(error_message="Authorization: x y\nAccept: z")["error_message"] == "Authorization=[removed]\nAccept: z"
    )


@pytest.mark.parametrize("name", ["salt", "Signature", "AUTHORIZATION", "authentication", "secret", "api_secret"])
def test_forbidden_fields_are_omitted(name: str) -> None:
    """A field with a forbidden name is omitted, at the top or inside a value, in any letter case."""
    stream = Stream()
    log = log_to(stream)
    for _ in range(2):
        log.info("event", **{name: "x"}, nested={name: "x", "kept": 1})
    for line in map(json.loads, stream.text.splitlines()):
        assert line.keys() == {"timestamp", "level", "event", "nested"}
        assert line["nested"] == {"kept": 1}


def test_secret_added_later_is_removed() -> None:
    """A secret that becomes known while the log is in use is removed from then on, including from field names."""
    stream = Stream()
    known = Secrets()
    log = logs.configure(format="json", level="info", sink=Sink(stream, is_buffered=False), color=False, secrets=known)
    fields = {CANARY: CANARY}
    log.info("before", **fields)
    known.add(CANARY)
    log.info("after", **fields)
    previous, current = stream.text.splitlines()
    assert previous.count(CANARY) == 2
    assert json.loads(current)["[removed]"] == "[removed]"


def test_short_secret_is_removed_from_short_texts() -> None:
    """Texts skip the check only if they are shorter than every secret."""
    assert logged("abcd", value="xabcdx")["value"] == "x[removed]x"
    assert logged("abcd", value="abcd")["value"] == "[removed]"


def test_cache_of_field_names_is_limited() -> None:
    """An unlimited number of names costs limited memory, and all lines are written."""
    stream = Stream()
    log = log_to(stream)
    for number in range(3000):
        log.info("event", **{f"field_{number}": "value"})
    assert all(f'"field_{number}":"value"' in stream.text for number in range(3000))
    cleaner = next(processor for processor in vars(log)["_processors"] if hasattr(processor, "_names"))
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
    """Every value is logged as valid JSON."""
    assert logged(value=value)["value"] == written


def test_recursive_value_is_cut() -> None:
    """A value that contains itself, or is nested too deeply, is cut."""
    endless: dict[str, Any] = {}
    endless["self"] = [endless]
    assert json.dumps(logged(value=endless)).count("self") == 4
    deep: list[Any] = []
    for _ in range(sys.getrecursionlimit() * 2):
        deep = [deep]
    assert json.dumps(logged(value=deep)).count("list") == 1


def test_subclasses_of_text_and_numbers_are_logged_as_plain() -> None:
    """A string subclass of a library raises no error, the first time and later."""
    text, number, share = type("Text", (str,), {}), type("Number", (int,), {}), type("Share", (float,), {})
    stream = Stream()
    log = log_to(stream)
    for _ in range(2):
        log.info("event", error_code=text("Odd"), attempts=number(2), counts=[share(0.5), text("x")])
    for line in map(json.loads, stream.text.splitlines()):
        assert (line["error_code"], line["attempts"], line["counts"]) == ("Odd", 2, [0.5, "x"])


def test_invalid_unicode_is_repaired() -> None:
    """Numbers in other fields stay numbers."""
    line = logged(error_message="\udcff", http_status=502, counts={"\ud800": 1})
    assert (line["error_message"], line["http_status"], line["counts"]) == ("\ufffd", 502, {"\ufffd": 1})


def test_line_breaks_in_texts_are_escaped() -> None:
    """Readers that split lines at U+2028 or U+0085 also get one line."""
    stream = Stream()
    log_to(stream).info("event", error_message="a\nb\r\u2028c\x85d\x1b\u202e")
    assert len(stream.text.splitlines()) == 1
    assert stream.text.rstrip("\n").isprintable()
    assert json.loads(stream.text)["error_message"] == "a\nb\r\u2028c\x85d\x1b\u202e"


def test_exception_is_logged_by_type_and_location() -> None:
    """The line gives its type and where it was raised, but not its text."""
    line = logged(exc_info=raised(ZeroDivisionError("text")))
    assert line["error_code"] == "ZeroDivisionError"
    assert re.fullmatch(r".*/test_logs\.py:\d+ raised", line["raised_at"][-1])
    assert "text" not in json.dumps(line)


def test_explicit_code_wins_over_the_exceptions_code() -> None:
    assert logged(exc_info=raised(KeyError()), error_code="Bug")["error_code"] == "Bug"


def test_exc_info_without_an_exception_is_ignored() -> None:
    assert logged(exc_info=True).keys() == {"timestamp", "level", "event"}


def test_warnings_of_libraries_are_log_lines_without_secrets() -> None:
    stream = Stream()

    async def fail() -> None:
        asyncio.get_running_loop().call_soon(int, f"signed with {CANARY}")
        await asyncio.sleep(0)

    with logs.libraries_log_to(log_to(stream, CANARY)):
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


def test_console_lines_are_short() -> None:
    """Console lines are coloured if configured, and routine lines are omitted."""
    stream = Stream()
    log = log_to(stream, log_format="console", level="info", color=True)
    log.info("run.started", accounts=1)
    assert stream.writes == []
    log.warning("account.failed", account="main", error_code="E")
    assert re.fullmatch(
        r"\d\d:\d\d:\d\dZ \x1b\[33mwarning\x1b\[0m main         \x1b\[1maccount\.failed\x1b\[0m E:\n", stream.text
    )


def test_console_shows_every_line_at_debug_level() -> None:
    stream = Stream()
    log_to(stream, log_format="console", level="debug").info("run.started", accounts=1)
    assert stream.text.endswith(" run.started accounts=1\n")


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(9, "closed"), ValueError("closed file")])
def test_broken_stream_is_abandoned_silently(error: Exception) -> None:
    """The run continues, and nothing more is written to the stream."""
    stream = Stream()
    log = log_to(stream)
    log.info("first")
    stream.broken = error
    log.info("second")
    log.error("third")
    stream.broken = None
    log.error("fourth")
    assert [json.loads(line)["event"] for line in stream.text.splitlines()] == ["first"]


def test_log_resumes_when_the_disk_has_space_again() -> None:
    """Lines during the full disk are lost."""
    stream = Stream()
    log = log_to(stream)
    stream.broken = OSError(errno.ENOSPC, "no space")
    log.error("lost")
    stream.broken = None
    log.error("kept")
    assert [json.loads(line)["event"] for line in stream.text.splitlines()] == ["kept"]


def test_broken_stream_does_not_keep_lines() -> None:
    """Lines for an abandoned stream take no memory."""
    stream = Stream()
    stream.broken = OSError()
    sink = Sink(stream, is_buffered=False)
    sink.info(b"line\n")
    sink.info(b"line\n")
    assert (sink._lines, sink._size) == ([], 0)


def test_unbuffered_sink_writes_every_line_immediately() -> None:
    stream = Stream()
    sink = Sink(stream, is_buffered=False)
    for line in (b"a\n", b"b\n"):
        sink.debug(line)
    assert (stream.writes, stream.flushes) == ([b"a\n", b"b\n"], 2)


def test_buffered_sink_without_a_loop_writes_immediately() -> None:
    """Without an event loop no timer would write the line later."""
    stream = Stream()
    Sink(stream, is_buffered=True).info(b"a\n")
    assert stream.writes == [b"a\n"]


def test_buffered_sink_writes_after_a_fifth_of_a_second() -> None:
    """On a loop, lines are written together a fifth of a second after the first of them."""
    stream = Stream()
    sink = Sink(stream, is_buffered=True)

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


def test_buffered_sink_writes_when_full() -> None:
    """A full buffer is written immediately, and its timer is cancelled."""
    stream = Stream()
    sink = Sink(stream, is_buffered=True)
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
def test_buffered_sink_writes_warnings_immediately(method: str) -> None:
    """A warning writes the buffered lines in order."""
    stream = Stream()
    sink = Sink(stream, is_buffered=True)

    async def work() -> None:
        sink.info(b"a\n")
        getattr(sink, method)(b"b\n")
        assert stream.writes == [b"a\nb\n"]
        await asyncio.sleep(1)

    virtual_time.run(work())
    assert stream.flushes == 1


def test_flush_writes_buffered_lines() -> None:
    """A flush of an empty buffer writes nothing."""
    stream = Stream()
    sink = Sink(stream, is_buffered=True)

    async def work() -> None:
        sink.info(b"a\n")

    virtual_time.run(work())
    assert stream.writes == []
    sink.flush()
    sink.flush()
    assert (stream.writes, stream.flushes) == ([b"a\n"], 1)


def test_buffered_sink_stays_buffered_on_a_second_loop() -> None:
    """A sink that was flushed after one loop buffers again on the next one."""
    stream = Stream()
    sink = Sink(stream, is_buffered=True)

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


def test_short_secret_is_kept_in_names() -> None:
    """A secret of a few letters is part of many words. Programs read events, field names, level and time."""
    line = logged(
        "ho", "e", "1", "info", event="phone.info", phone="01012345678", error_message="here", counts={"phone": 1}
    )
    assert {"timestamp", "level", "event", "phone", "error_message", "counts"} == line.keys()
    assert (line["event"], line["level"], line["counts"]) == ("phone.info", "info", {"phone": 1})
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["timestamp"])
    assert (line["phone"], line["error_message"]) == ("0[removed]0[removed]2345678", "h[removed]r[removed]")


@pytest.mark.parametrize(("secret", "shown"), [("abcdefg", "abcdefg"), ("abcdefgh", "[removed]")])
def test_secret_of_eight_characters_is_removed_from_names(secret: str, shown: str) -> None:
    """No name of the worker contains eight characters of a secret by chance, but an external name may."""
    line = logged(secret, event=f"x.{secret}", **{f"{secret}.y": {secret: 1}, "value": secret})
    assert line["event"] == f"x.{shown}"
    assert line[f"{shown}.y"] == {shown: 1}
    assert line["value"] == "[removed]"
