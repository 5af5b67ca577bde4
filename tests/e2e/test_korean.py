"""The command in Korean. Machine-readable documents equal the English ones."""

import json
import os
import pty
import re
from html import unescape
from shutil import rmtree
from typing import Any
from urllib.parse import quote
from urllib.request import Request, urlopen

import pytest

from tests.e2e.conftest import Command, Serve, Served
from worker.sandbox import SandboxAccount

A, B, C, D = "01000000001", "01000000002", "023124567", "15881234"

_FILE = f"version: 1\naccount: main\nnumbers:\n  {A}: ACTIVE\n  010-0000-0002: INACTIVE\n  02-312-4567: ACTIVE\n"
_OWN_TIME = re.compile(
    r'"(created_at|started_at|finished_at|timestamp|run_id|duration_ms|pid|intended_at|answered_at)": ?'
    r'("[^"]*"|[0-9.]+)|127\.0\.0\.1:[0-9]+|is [0-9]+ s (slow|fast)|x-ratelimit-[a-z]+: [0-9.]+'
)
"""What two runs need not have in common: times, ids, ports."""
NUMBERS = {A: "INACTIVE", B: "ACTIVE", C: "ACTIVE", D: "ACTIVE"}
FILES = {"config/desired/main.yaml": _FILE}


def _same(text: str) -> str:
    return _OWN_TIME.sub("…", text)


@pytest.fixture(autouse=True)
def no_language(command: Command) -> None:
    """Leave the language to the locale, including on the machines of `make environments`."""
    command.environment.pop("SENDERID_LANG", None)


@pytest.mark.parametrize(
    ("variables", "arguments", "korean"),
    [
        ({}, ("--lang", "ko", "plan"), True),
        ({}, ("plan", "--lang", "ko"), True),
        ({"LANG": "ko_KR.UTF-8"}, ("plan",), True),
        ({"LANG": "ko_KR.UTF-8", "LC_ALL": "C.UTF-8"}, ("plan",), False),
        ({"LANG": "ko_KR.UTF-8"}, ("plan", "--lang", "en"), False),
        ({"SENDERID_LANG": "ko"}, ("plan",), True),
        ({"LANG": "C.UTF-8"}, ("plan",), False),
    ],
)
def test_language_follows_option_variable_and_locale(
    command: Command, served: Served, variables: dict[str, str], arguments: tuple[str, ...], *, korean: bool
) -> None:
    command.environment |= variables
    result = command(*arguments)
    assert result.returncode == 0, result.stderr
    assert served.writes == []
    if korean:
        assert "+ 활성화    010-0000-0001  INACTIVE → ACTIVE" in result.stdout
        assert "- 비활성화  010-0000-0002  ACTIVE → INACTIVE" in result.stdout
        assert "파일에 ACTIVE로 적혀 있음" in result.stdout
        assert "계획: 활성화 예정 1건, 비활성화 예정 1건, 목록에 없음 1건. 변경 없음 1건." in result.stdout
    else:
        assert "Plan: 1 to activate, 1 to deactivate, 1 not listed. 1 unchanged." in result.stdout
        assert not re.search("[가-힣]", result.stdout)


def test_documents_and_log_lines_are_the_same_in_both_languages(command: Command, serve: Serve) -> None:
    outputs: dict[str, list[Any]] = {}
    for language in ("en", "ko"):
        account = SandboxAccount.of({A: "INACTIVE", B: "PENDING", C: "ACTIVE", D: "ACTIVE"}, account_id="7")
        served = serve(account)
        command.at(served.sandbox, account).environment |= {"SENDERID_LANG": language}
        rmtree(command.folder / "state", ignore_errors=True)
        command.write(
            "d.yaml", f"version: 1\nnumbers: {{{A}: ACTIVE, {B}: ACTIVE, {C}: ACTIVE, '023334444': ACTIVE}}\n"
        )
        runs = [
            command("plan", "-f", "d.yaml", "--format", "json", "--out", f"{language}.json", "--detailed-exitcode"),
            command("apply", "-f", "d.yaml", "--yes", "--format", "json"),
            command("drift", "-f", "d.yaml", "--format", "json"),
            command("doctor", "--format", "json"),
            command("history", "--format", "json"),
            command("schema", "plan"),
        ]
        outputs[language] = [(run.returncode, _same(run.stdout), _same(run.stderr)) for run in runs]
        outputs[language].append(
            json.loads((command.folder / f"{language}.json").read_text())["accounts"][0]["changes"]
        )
        assert runs[1].returncode == 3
    assert outputs["en"] == outputs["ko"]
    assert not re.search("[가-힣]", str(outputs["ko"]))


def test_apply_is_korean(command: Command, serve: Serve) -> None:
    account = SandboxAccount.of({A: "INACTIVE", B: "PENDING"})
    served = serve(account)
    command.at(served.sandbox, account).environment["LANG"] = "ko_KR.UTF-8"
    command.write("d.yaml", f"version: 1\nnumbers: {{{A}: ACTIVE, {B}: ACTIVE, {C}: ACTIVE}}\n")
    result = command("apply", "-y", "-f", "d.yaml")
    assert result.returncode == 3
    assert "일부 완료: 변경됨 1건, 차단 1건, 미등록 1건. " in result.stdout
    assert "PENDING: 서비스 제공사가 서류나 ARS 인증을 심사 중입니다." in result.stdout.replace("\n            ", " ")
    assert "이 계정에 등록되어 있지 않습니다." in result.stdout
    lines = [json.loads(line) for line in result.stderr.splitlines()]
    assert {line["outcome"] for line in lines if line["event"] == "number"} == {"changed", "blocked", "missing"}
    assert not re.search("[가-힣]", result.stderr)
    history = command("history")
    assert "일부 완료" in history.stdout
    (run,) = json.loads(command("history", "--format", "json").stdout)["runs"]
    assert "Missing: 이 계정에 등록되어 있지 않습니다." in command("history", run["run_id"]).stdout


def test_refusal_is_korean_and_names_the_option(command: Command, serve: Serve) -> None:
    phones = [f"0100000{n:04}" for n in range(20)]
    account = SandboxAccount.of(dict.fromkeys(phones, "ACTIVE"))
    served = serve(account)
    command.at(served.sandbox, account).write(
        "d.yaml", "version: 1\nnumbers:\n" + "".join(f"  {phone}: INACTIVE\n" for phone in phones[:9])
    )
    result = command("apply", "-y", "-f", "d.yaml", "--lang", "ko")
    assert result.returncode == 4
    output = " ".join(result.stdout.split())
    assert "max-deactivations 규칙에 따라 거부: ACTIVE 번호 20개 중 9개가 비활성화됩니다." in output
    assert "--allow max-deactivations" in output
    assert served.writes == []


@pytest.mark.parametrize(
    ("input_line", "is_confirmed"), [(b"yes\n", True), ("예\n".encode(), False), ("네\n".encode(), False)]
)
def test_only_yes_confirms_in_korean(
    command: Command, served: Served, input_line: bytes, *, is_confirmed: bool
) -> None:
    command.environment["SENDERID_LANG"] = "ko"
    master, slave = pty.openpty()
    try:
        with command.popen("apply", stdin=slave) as process:
            os.write(master, input_line)
            out, err = process.communicate(timeout=60)
    finally:
        os.close(slave)
        os.close(master)
    assert "계속하려면 'yes'를 입력하십시오: " in err
    assert process.returncode == (0 if is_confirmed else 4)
    assert len(served.writes) == (2 if is_confirmed else 0)
    assert ("아무것도 변경하지 않았습니다" in " ".join(out.split())) == (not is_confirmed)


def test_problems_of_files_are_korean(command: Command) -> None:
    command.environment["LC_ALL"] = "ko_KR.UTF-8"
    command.write(
        "d.yaml",
        'version: 1\nacount: x\nnumbers:\n  010-1234-567: ACTIVE\n  "02-123\\e[2J\\u202E": ACTIVE\n  15881234: ON\n',
    )
    result = command("validate", "-f", "d.yaml")
    assert result.returncode == 65
    *problems, closing = result.stderr.splitlines()
    assert closing == "문제 3건. 아무것도 전송하지 않았습니다."
    assert all(re.match(r"d\.yaml:\d+:\d+: .*[가-힣]", problem) for problem in problems)
    assert result.stderr.replace("\n", "").isprintable()
    assert command("validate", "-f", "d.yaml", "--lang", "en").returncode == 65
    command.write("d.yaml", _FILE)
    assert command("validate", "-f", "d.yaml").stdout == "이상 없음: 계정 1개, 번호 3개.\n"


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (("--help",), 0, "사용법: senderid [OPTIONS]"),
        (("plan", "--help"), 0, "원하는 상태를 계정과 비교하여"),
        (("plan", "--nope"), 64, "오류: '--nope': 그런 옵션이 없습니다."),
        (("plna",), 64, "도움말: 'senderid --help'"),
        (("watch", "--every", "3x"), 64, "'--every'의 값이 잘못되었습니다: '3x': 기간이 아닙니다."),
        (("apply", "nosuch.json"), 65, "senderid: nosuch.json: 읽을 수 없습니다: 파일이나 폴더가 없습니다"),
        (("plan", "-f", "nosuch"), 65, "nosuch:1:1: 읽을 수 없습니다: 파일이나 폴더가 없습니다"),
        (("plan", "--at", "then"), 65, "config/desired:1:1: 여기에 그런 폴더가 없습니다."),
        (("apply", "--max-age", "1h"), 64, "senderid: --max-age는 저장된 계획에만 사용합니다"),
        (("history",), 0, "아직 원장이 없습니다."),
        (("--version",), 0, "senderid "),
    ],
)
def test_help_and_usage_errors_are_korean(command: Command, arguments: tuple[str, ...], status: int, text: str) -> None:
    assert command(*arguments).returncode == status
    command.environment["LANG"] = "ko_KR.UTF-8"
    result = command(*arguments)
    assert result.returncode == status
    assert text in result.stdout + result.stderr


def test_demo_is_korean(command: Command) -> None:
    result = command("demo", "--lang", "ko")
    assert result.returncode == 0
    assert "1. 원하는 상태를 적은 파일:" in result.stdout
    assert "변경 사항이 없습니다. 번호 24개가 원하는 상태와 같습니다." in result.stdout
    assert "지금 남은 변경은 0건입니다." in result.stdout


def test_output_that_cannot_encode_korean_is_escaped(command: Command) -> None:
    command.environment |= {"SENDERID_LANG": "ko", "PYTHONIOENCODING": "latin-1"}
    command.write("d.yaml", _FILE)
    result = command("validate", "-f", "d.yaml")
    assert result.returncode == 0
    assert result.stdout.startswith(ascii("이상 없음").strip("'"))
    assert command("--help").returncode == 0


_ENGLISH = re.compile(r"(?<![\w/.-])[A-Za-z][a-z]+ [a-z]+ [a-z]+(?![\w.])")
"""Three English words on end."""


def _visible(page: str) -> str:
    return unescape(re.sub(r"<(style|script)>.*?</\1>|<[^>]*>", " ", page, flags=re.DOTALL))


@pytest.fixture
def troubled(serve: Serve, command: Command) -> None:
    """Serve an account with one change, one blocked and one missing number, in Korean."""
    account = SandboxAccount.of({A: "INACTIVE", B: "PENDING"})
    command.at(serve(account).sandbox, account).environment["SENDERID_LANG"] = "ko"
    command.write("d.yaml", f"version: 1\nnumbers: {{{A}: ACTIVE, {B}: ACTIVE, {C}: ACTIVE}}\n")


@pytest.mark.usefixtures("troubled")
def test_reports_and_markdown_have_no_english_sentence(command: Command) -> None:
    output = [
        command("plan", "-f", "d.yaml", "--format", output_format).stdout for output_format in ("html", "markdown")
    ]
    output += [
        command("apply", "-y", "-f", "d.yaml", "--format", output_format).stdout
        for output_format in ("html", "markdown")
    ]
    run = json.loads(command("history", "--format", "json").stdout)["runs"][-1]["run_id"]
    output += [command("history", run, "--format", output_format).stdout for output_format in ("html", "markdown")]
    for page in output:
        assert "서비스 제공사가 서류나 ARS 인증을 심사 중입니다." in page
        assert "이 계정에 등록되어 있지 않습니다." in page
        assert "일부 완료" in page or "활성화 예정 1건" in page
        assert _ENGLISH.findall(_visible(page)) == []
    for page in output[::2]:
        assert '<html lang="ko">' in page
        assert f'href="#what={quote("차단")}"' in page
        assert re.search(r'<span class="chip"[^>]*>(<span[^>]*>.</span> )?차단</span>', page)


@pytest.mark.usefixtures("troubled")
def test_status_page_follows_accept_language(command: Command) -> None:
    command("apply", "-y", "-f", "d.yaml")
    with command.popen("serve", "--listen", "127.0.0.1:0") as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            pages = {}
            for language in ("ko", "en"):
                request = Request(f"{url}/numbers/{B}", headers={"Accept-Language": language})  # noqa: S310 - ours
                with urlopen(request, timeout=20) as response:  # noqa: S310 - ours
                    pages[language] = _visible(response.read().decode())
        finally:
            process.terminate()
    assert "PENDING: 서비스 제공사가 서류나 ARS 인증을 심사 중입니다." in pages["ko"]
    assert _ENGLISH.findall(pages["ko"]) == []
    assert "PENDING: the vendor is still reviewing its documents" in pages["en"]
    assert _ENGLISH.findall(pages["en"])
    assert not re.search("[가-힣]", pages["en"])
