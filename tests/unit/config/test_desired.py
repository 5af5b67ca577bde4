"""Desired-state files, and the problems of invalid ones."""

import gc
from hashlib import sha256
from pathlib import Path

import pytest

from worker.config.desired import DesiredState, load, parse_file
from worker.model.accounts import Desired, DesiredAccount, Group, InUseOverride, SafetyOverride, Status, Unmanaged
from worker.model.credentials import CredentialsRef, SecretRef
from worker.model.errors import DesiredStateError, Problem
from worker.model.suspension import Maintenance, Suspend

ON = Desired(Status.ACTIVE)
OFF = Desired(Status.INACTIVE)
HEAD = "version: 1\nnumbers:\n"
SECRET = "NCSAYU7YDBXYORXC7PJQ5AAHHTQ8OYFS"


def load_texts(*texts: str) -> DesiredState:
    """Load files named a.yaml, b.yaml and so on."""
    return load((f"{chr(97 + index)}.yaml", text.encode()) for index, text in enumerate(texts))


def account(text: str) -> DesiredAccount:
    """Return the only account of a file a.yaml."""
    (only,) = load_texts(text).accounts
    return only


def refusal(*sources: tuple[str, bytes] | Problem) -> DesiredStateError:
    """Return the error with which the sources are refused."""
    with pytest.raises(DesiredStateError) as error:
        load(sources)
    return error.value


def problems(*texts: str) -> list[str]:
    """Return the formatted problems of files a.yaml, b.yaml and so on."""
    sources = [(f"{chr(97 + index)}.yaml", text.encode()) for index, text in enumerate(texts)]
    return [str(problem) for problem in refusal(*sources).problems]


def problem_of(text: str) -> str:
    """Return the only problem of a file, without the file name."""
    (problem,) = problems(text)
    assert problem.startswith("a.yaml:")
    return problem.removeprefix("a.yaml:")


FULL = """\
# 발신번호
version: 1
account: main
account_id: "12925149"
credentials:
  api_key: {env: MAIN_API_KEY}
  api_secret: {file: /run/secrets/main}
endpoint: coolsms
unmanaged: deactivate
safety: {max_deactivations: 50%, min_active: 3}
in_use: {enabled: true, hours: 7}
suspend: {reason: audit, by: Kim}
maintenance: {weekly: "Sun 02:00-04:00", reason: backup}
groups: {support: {members: [010-1234-5678]}}
timezone: Asia/Tokyo
numbers:
  010-1234-5678: ACTIVE
  02-312-4567: {status: inactive, note: old head office, owner: marketing, protected: true}
"""


def test_every_key_is_read() -> None:
    assert account(FULL) == DesiredAccount(
        name="main",
        source="a.yaml",
        numbers={
            "01012345678": ON,
            "023124567": Desired(Status.INACTIVE, note="old head office", owner="marketing", protected=True),
        },
        lines=account(FULL).lines,
        line=2,
        account_id="12925149",
        credentials=CredentialsRef(SecretRef(env="MAIN_API_KEY"), SecretRef(file="/run/secrets/main")),
        endpoint="coolsms",
        unmanaged=Unmanaged.DEACTIVATE,
        safety=SafetyOverride("50%", 3),
        in_use=InUseOverride(enabled=True, hours=7),
        suspend=Suspend("audit", "Kim"),
        maintenance=Maintenance("Sun 02:00-04:00", "backup"),
        groups=(Group("support", ("01012345678",), 1),),
        timezone="Asia/Tokyo",
        sha256=sha256(FULL.encode()).hexdigest(),
    )
    assert list(account(FULL).lines) == [17, 18]


def test_minimal_document_has_the_defaults() -> None:
    text = "version: 1\nnumbers: {}"
    assert account(text) == DesiredAccount(
        "a", "a.yaml", {}, account(text).lines, sha256=sha256(text.encode()).hexdigest()
    )


@pytest.mark.parametrize(
    ("source", "name"),
    [("x/main.yaml", "main"), ("x/main.old.yml", "main.old"), ("stdin", "stdin"), ("본사.yaml", "본사")],
)
def test_account_name_defaults_to_the_file_name(source: str, name: str) -> None:
    (only,) = load([(source, b"version: 1\nnumbers: {}")]).accounts
    assert only.name == name


def test_decomposed_file_name_gives_a_composed_account_name() -> None:
    (only,) = load([("\u1107\u1169\u11ab\u1109\u1161.yaml", b"version: 1\nnumbers: {}")]).accounts
    assert only.name == "본사"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("a\u202eb.yaml", "the file name has the invisible character U+202E"),
        ("a\udc80.yaml", "the file name has the invisible character U+DC80"),
        ("a" * 65 + ".yaml", "the file name is longer than 64 characters"),
    ],
)
def test_file_name_that_cannot_name_an_account_is_refused(source: str, words: str) -> None:
    """The file is valid if it sets `account`."""
    (problem,) = refusal((source, b"\nversion: 1\nnumbers: {}")).problems
    assert (problem.line, problem.column) == (2, 1)
    assert problem.message.startswith("write `account: NAME`: ")
    assert words in problem.message
    assert load([(source, b"version: 1\naccount: x\nnumbers: {}")]).accounts[0].name == "x"


@pytest.mark.parametrize(
    "written",
    ["01012345678", "010-1234-5678", "'010 1234 5678'", '"+82 10-1234-5678"', "+82 10-1234-5678", "(010) 1234-5678"],
)
@pytest.mark.parametrize(
    "form", ["numbers:\n  {}: ACTIVE\n", "numbers:\n- {{phone: {}, status: ACTIVE}}\n", "numbers: {{{}: ACTIVE}}"]
)
def test_number_is_normalized_in_mapping_and_list(written: str, form: str) -> None:
    assert account("version: 1\n" + form.format(written)).numbers == {"01012345678": ON}


def test_unquoted_number_is_not_parsed_as_octal() -> None:
    """YAML 1.1 defines 01000000000 as an octal integer."""
    assert account(HEAD + "  01000000000: ACTIVE\n  010-0000-0001: INACTIVE\n").numbers == {
        "01000000000": ON,
        "01000000001": OFF,
    }


@pytest.mark.parametrize("status", ["ACTIVE", "active", "Active", "aCtIvE", "'ACTIVE'"])
@pytest.mark.parametrize("form", ["{}", "{{status: {}}}"])
def test_status_is_case_insensitive(status: str, form: str) -> None:
    assert account(f"{HEAD}  010-1234-5678: {form.format(status)}\n").numbers == {"01012345678": ON}


@pytest.mark.parametrize(
    ("status", "shown"),
    [
        ("yes", "'yes'"),
        ("on", "'on'"),
        ("true", "'true'"),
        ("1", "'1'"),
        ("ACTVE", "'ACTVE'"),
        ("PENDING", "'PENDING'"),
        ("\u0131nactive", "'\u0131nactive'"),
        ("null", "nothing"),
        ("~", "nothing"),
        ("''", "''"),
        ("'ACTIVE '", "'ACTIVE '"),
        ("[ACTIVE]", "a list"),
        ("A" * 99, f"'{'A' * 40}…'"),
    ],
)
def test_invalid_status_is_refused(status: str, shown: str) -> None:
    assert problem_of(f"{HEAD}  010-1234-5678: {status}\n") == f"3:18: status must be ACTIVE or INACTIVE, not {shown}"
    list_form = f"version: 1\nnumbers:\n- phone: 010-1234-5678\n  status: {status}\n"
    assert problem_of(list_form) == f"4:11: status must be ACTIVE or INACTIVE, not {shown}"


def test_missing_status_is_reported_after_the_colon() -> None:
    assert problem_of(HEAD + "  010-1234-5678:\n") == "3:17: status must be ACTIVE or INACTIVE, not nothing"
    assert problem_of(HEAD + "  010-1234-5678: {note: x}\n") == "3:18: missing status: write ACTIVE or INACTIVE"


@pytest.mark.parametrize(
    ("value", "protected"), [("true", True), ("True", True), ("'TRUE'", True), ("false", False), ("FALSE", False)]
)
def test_protected_is_read_in_any_letter_case(value: str, *, protected: bool) -> None:
    number = account(f"{HEAD}  112: {{status: ACTIVE, protected: {value}}}").numbers["112"]
    assert number == Desired(Status.ACTIVE, protected=protected)


@pytest.mark.parametrize(
    ("value", "shown"), [("maybe", "'maybe'"), ("yes", "'yes'"), ("1", "'1'"), ("", "nothing"), ("[true]", "a list")]
)
def test_invalid_protected_is_refused(value: str, shown: str) -> None:
    problem = problem_of(f"{HEAD}  010-1234-5678: {{status: ACTIVE, protected: {value}}}\n")
    assert problem.endswith(f": protected must be true or false, not {shown}")


def test_numbers_with_only_a_status_share_one_object() -> None:
    """This keeps a million numbers small in memory."""
    numbers = account(HEAD + "  112: ACTIVE\n  1335: {status: active}\n  02-120: aCTIVE\n").numbers
    assert numbers["112"] is numbers["1335"] is numbers["02120"]


@pytest.mark.parametrize(
    ("note", "expected"),
    [
        ("본사 대표번호", "본사 대표번호"),
        ("'  blanks  '", "blanks"),
        ('"two\\nlines\\tand a tab"', "two\nlines\tand a tab"),
        ("wide\u3000and\u00a0unbreakable", "wide\u3000and\u00a0unbreakable"),
        ("1_000", "1_000"),
    ],
)
def test_note_and_owner_are_read(note: str, expected: str) -> None:
    assert account(f"{HEAD}  112: {{status: ACTIVE, note: {note}, owner: {note}}}").numbers["112"] == Desired(
        Status.ACTIVE, expected, expected
    )


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("note: a", Desired(Status.ACTIVE, note="a")),
        ("owner: b", Desired(Status.ACTIVE, owner="b")),
        ("protected: true", Desired(Status.ACTIVE, protected=True)),
        ("protected: false", Desired(Status.ACTIVE)),
        ("owner: b, protected: true", Desired(Status.ACTIVE, owner="b", protected=True)),
    ],
)
def test_each_key_of_an_entry_is_optional(keys: str, expected: Desired) -> None:
    assert account(f"{HEAD}  112: {{status: ACTIVE, {keys}}}").numbers["112"] == expected


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ('"a\\x07b"', "has the invisible character U+0007: type it instead"),
        ("a\u202eb", "has the invisible character U+202E"),
        ("\U0001f469\u200d\U0001f4bb", "has the invisible character U+200D, which joins emoji: use single emoji"),
        ("a\u200bb", "has the invisible character U+200B"),
        ('"a\\nb\\x07"', "has the invisible character U+0007"),
        ("'  '", "is empty: give it a value or remove the line"),
        ("~", "is empty"),
        ("[a]", "must be text"),
        ("{a: b}", "must be text"),
        ("x" * 1001, "is longer than 1,000 characters: shorten it"),
    ],
)
@pytest.mark.parametrize("key", ["note", "owner"])
def test_invalid_note_or_owner_is_refused(key: str, value: str, words: str) -> None:
    problem = problem_of(f"{HEAD}  112:\n    status: ACTIVE\n    {key}: {value}\n")
    assert problem.startswith(f"5:{7 + len(key)}: {key} {words}")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("x" * 65, "is longer than 64 characters: shorten it"),
        ('"a\\e[31mb"', "has the invisible character U+001B"),
        ('"a\\0b"', "has the invisible character U+0000"),
        ("a\u202eb", "has the invisible character U+202E"),
        ("\U0001f469\u200d\U0001f4bb", "has the invisible character U+200D, which joins emoji: use single emoji"),
        ("a\u00a0b", "has the invisible character U+00A0"),
        ('"a\\nb"', "has more than one line: use one line"),
        ("[a]", "must be text"),
        ("''", "is empty: give it a value"),
        ("~", "is empty: give it a value"),
    ],
)
@pytest.mark.parametrize("key", ["account", "account_id"])
def test_invalid_account_name_is_refused(key: str, value: str, words: str) -> None:
    assert words in problem_of(f"version: 1\n{key}: {value}\nnumbers: {{}}\n")


@pytest.mark.parametrize("name", ["x" * 64, "본사 (서울)", "' a '", "../x"])
def test_account_name_is_any_printable_text_up_to_64_characters(name: str) -> None:
    result = account(f"version: 1\naccount: {name}\naccount_id: {name}\nnumbers: {{}}\n")
    assert result.name == result.account_id == name.strip("' ")


def test_duplicate_number_names_both_lines() -> None:
    text = HEAD + "  010-1234-5678: ACTIVE\n  +82 10 1234 5678: INACTIVE\n  '01012345678': ACTIVE\n"
    assert problems(text) == [
        "a.yaml:4:3: 01012345678 is a duplicate of line 3: keep one",
        "a.yaml:5:3: 01012345678 is a duplicate of line 3: keep one",
    ]


def test_duplicate_number_in_a_list_is_reported_at_its_phone() -> None:
    text = (
        "version: 1\nnumbers:\n- {phone: 010-1234-5678, status: ACTIVE}\n- status: ACTIVE\n  phone: 82 10 1234 5678\n"
    )
    assert problem_of(text) == "5:10: 01012345678 is a duplicate of line 3: keep one"


def test_duplicate_of_an_invalid_entry_is_reported() -> None:
    assert problems(HEAD + "  010-1234-5678: oops\n  01012345678: ACTIVE\n") == [
        "a.yaml:3:18: status must be ACTIVE or INACTIVE, not 'oops'",
        "a.yaml:4:3: 01012345678 is a duplicate of line 3: keep one",
    ]


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("../x", "'../x': character '/'"),
        ('"%2e%2e"', "'%2e%2e': character '%'"),
        ('"10-1234-5678\\n"', "'10-1234-5678\\n': missing leading 0"),
        ('"\\e[31m010"', "'\\x1b[31m010': invisible character U+001B"),
        ("15881234.0", "a spreadsheet converted this number to a decimal: write 15881234"),
        ("15881234.", "a spreadsheet converted this number to a decimal: write 15881234"),
        ("10-1234-5678", "write 01012345678"),
        ("<<", "'<<': merge keys (<<) are not allowed: write the numbers out"),
        ("''", "'': no number: write one such as 010-1234-5678"),
        ("1" * 1000, f"'{'1' * 40}…': 1000 digits"),
    ],
)
def test_invalid_number_is_refused(written: str, words: str) -> None:
    problem = problem_of(f"{HEAD}  {written}: ACTIVE\n")
    assert problem.startswith("3:3: ")
    assert words in problem
    assert problem.isprintable()


@pytest.mark.parametrize("key", ["[a, b]", "{a: b}", "{{ .Values.phone }}"])
def test_number_that_is_not_text_is_refused(key: str) -> None:
    """Unrendered templates leave lists and mappings."""
    text = f"{HEAD}  {key}: {{a: [b]}}\n  oops: ACTIVE\n"
    first, second = problems(text)
    assert first == "a.yaml:3:3: expected a number, such as 010-1234-5678"
    assert second.startswith("a.yaml:4:3: 'oops': ")


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("010-1234-5678", "3:3: an entry must be {phone: …, status: …}, not '010-1234-5678'"),
        ("[]", "3:3: an entry must be {phone: …, status: …}, not a list"),
        ("", "3:2: an entry must be {phone: …, status: …}, not nothing"),
        ("{status: ACTIVE}", "3:3: missing phone: write a number such as 010-1234-5678"),
        ("{phone: , status: ACTIVE}", "3:11: missing phone"),
        ("{phone: [112], status: ACTIVE}", "3:11: missing phone"),
        ("{phone: 112}", "3:3: missing status: write ACTIVE or INACTIVE"),
        ("{phone: 112, status: ACTIVE, stats: x}", "3:32: unknown key 'stats'; did you mean 'status'?"),
        ("{phone: 112, phone: 113, status: ACTIVE}", "3:16: phone is a duplicate of line 3: keep one"),
    ],
)
def test_invalid_list_entry_is_refused(entry: str, words: str) -> None:
    assert problem_of(f"version: 1\nnumbers:\n- {entry}\n").startswith(words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "version: 1\nnumbers:\n",
            (
                "2:9: numbers must be indented lines such as `010-1234-5678: ACTIVE`, with a space after the colon, "
                "or a list of {phone: …, status: …}; {} for none$"
            ),
        ),
        ("version: 1\nnumbers: 112\n", "2:10: numbers must be indented lines"),
        (
            "version: 1\nnumbers:\n  010-1234-5678:ACTIVE\n",
            "3:3: numbers must be indented lines .*a space after the colon",
        ),
        ("version: 1\n", "1:1: missing numbers: write `numbers: {}` if there are none"),
        ("# a\n\nnumbers: {}\n", "3:1: missing version: write `version: 1`"),
        ("version: 2\nnumbers: {}\n", "1:10: version 2 needs a newer senderid"),
        (f"version: {'9' * 9000}\nnumbers: {{}}\n", "1:10: version 999999999 needs a newer senderid$"),
        ("version: 1.0\nnumbers: {}\n", "1:10: version must be 1"),
        ("version: [1]\nnumbers: {}\n", "1:10: version must be 1"),
        ("version:\nnumbers: {}\n", "1:9: version must be 1"),
        ("version: \u0661\nnumbers: {}\n", "1:10: version must be 1"),
        ("version: 1\nversion: 1\nnumbers: {}\n", "2:1: version is a duplicate of line 1: keep one"),
        ("version: 1\nnumbers: {}\nacount: a\n", "3:1: unknown key 'acount'; did you mean 'account'"),
        ("version: 1\nnumbers: {}\n[a]: b\n", "3:1: expected a key: one of version, account"),
        ("version: 1\nnumbers: {}\n<<: {a: b}\n", "3:1: merge keys \\(<<\\) are not allowed"),
        ("version: 1\nnumbers: {}\napi_secret: hunter2\n", "3:1: unknown key 'api_secret'; use one of version"),
        (
            "version: 1\nnumbers: {}\nunmanaged: delete\n",
            "3:12: invalid unmanaged 'delete'; use one of report, ignore",
        ),
        ("version: 1\nnumbers: {}\nunmanaged: Report\n", "3:12: invalid unmanaged 'Report'; did you mean 'report'"),
        ("version: 1\nnumbers: {}\nunmanaged: [a]\n", "3:12: invalid unmanaged a list"),
        ("version: 1\nnumbers: {}\nunmanaged:\n", "3:11: invalid unmanaged nothing"),
        ("hello\n", "1:1: expected a mapping with version and numbers"),
        ("- a\n- {b: [c]}\n", "1:1: expected a mapping with version and numbers"),
        ("''\n", "1:1: the document is empty"),
        ("", "1:1: the file is empty: write version and numbers"),
        (" \n\n", "1:1: the file is empty"),
        ("# nothing\n# here\n", "1:1: the file is empty"),
        ("---\n", "1:1: the document is empty: write version and numbers, or remove its ---"),
    ],
)
def test_invalid_document_has_one_problem(text: str, words: str) -> None:
    (problem,) = problems(text)
    with pytest.raises(DesiredStateError, match=f"^a.yaml:{words}"):
        load_texts(text)
    assert problem.isprintable()


def test_unknown_key_with_a_long_value_is_one_problem() -> None:
    """The rest of the file is checked."""
    numbers = "".join(f"  010-1234-{n:04}: ACTIVE\n" for n in range(3000))
    assert problems(f"version: 1\nnumbrs:\n{numbers}acount: main\n") == [
        "a.yaml:1:1: missing numbers: write `numbers: {}` if there are none",
        "a.yaml:2:1: unknown key 'numbrs'; did you mean 'numbers'?",
        "a.yaml:3003:1: unknown key 'acount'; did you mean 'account'?",
    ]


def test_second_numbers_key_is_a_duplicate() -> None:
    numbers = "".join(f"  010-1234-{n:04}: ACTIVE\n" for n in range(2000))
    assert problem_of(f"version: 1\nnumbers:\n{numbers}numbers:\n{numbers}") == (
        "2003:1: numbers is a duplicate of line 2: keep one"
    )


def test_value_with_too_many_items_is_one_problem() -> None:
    assert problem_of(f"version: 1\nsafety: [{'a,' * 2000}]\nnumbers: {{}}\n").startswith(
        "2:9: more than 1,000 values in one entry"
    )


def test_entry_with_too_many_items_is_one_problem() -> None:
    assert problem_of(f"{HEAD}  112: [{'a,' * 2000}]\n").startswith("3:8: more than 1,000 values in one entry")


def test_problems_of_all_files_are_reported_in_order() -> None:
    """Sources that could not be read are included."""
    unread = Problem("c.yaml", 1, 1, "cannot be read: No such file or directory")
    error = refusal(
        ("a.yaml", b"version: 1\nacount: main\nnumbers:\n  oops: ACTIVE\n  112: yes\n  1335: {nte: x}\n"),
        unread,
        ("b.yaml", b"numbers: []\nversion: 1\n\tx"),
    )
    assert [(problem.source, problem.line, problem.column) for problem in error.problems] == [
        ("a.yaml", 2, 1),
        ("a.yaml", 4, 3),
        ("a.yaml", 5, 8),
        ("a.yaml", 6, 9),
        ("a.yaml", 6, 10),
        ("c.yaml", 1, 1),
        ("b.yaml", 3, 1),
    ]
    assert str(error).splitlines() == [str(problem) for problem in error.problems]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_locations_are_right_for_every_line_end(end: str) -> None:
    assert problem_of(f"version: 1{end}numbers:{end}  112: ACTIVE{end}  x: ACTIVE{end}").startswith("4:3: 'x'")
    assert list(account(f"version: 1{end}numbers:{end}  112: ACTIVE{end}").lines) == [3]


@pytest.mark.parametrize(
    "data",
    [
        "version: 1\nnumbers: {}\n".encode("utf-16"),
        b"version: 1\nnumbers: {}\0\n",
        b"version: 1\nnumbers: {\xe9}\n",
        b"[" * 6000,
        b"version: 1\nnumbers: {112: &a ACTIVE}\n",
        b"version: 1\nnumbers: {112: *a}\n",
        b"version: 1\nnumbers: {!!str 112: ACTIVE}\n",
        b"version: 1\nnumbers: {112: " + b"A" * 1_000_000 + b"}\n",
        b"version: 1\nnumbers:\n\t112: ACTIVE\n",
    ],
    ids=["utf-16", "nul", "latin-1", "depth", "anchor", "alias", "tag", "length", "tab"],
)
def test_unparsable_file_is_one_problem_and_others_are_checked(data: bytes) -> None:
    error = refusal(("a.yaml", data), ("b.yaml", b"version: 7\nnumbers: {}\n"))
    first, second = error.problems
    assert first.source == "a.yaml"
    assert str(second) == "b.yaml:1:10: version 7 needs a newer senderid"


def test_byte_order_mark_is_ignored() -> None:
    assert load([("a.yaml", b"\xef\xbb\xbfversion: 1\nnumbers: {112: ACTIVE}\n")]).accounts[0].numbers == {"112": ON}


def test_json_document_is_read() -> None:
    assert account('{\n\t"version": 1,\n\t"numbers": {"010-1234-5678": "ACTIVE"}}').numbers == {"01012345678": ON}


def test_each_document_of_a_file_is_an_account() -> None:
    accounts = load_texts("version: 1\naccount: x\nnumbers: {}\n---\nversion: 1\naccount: y\nnumbers: {}\n").accounts
    assert [(account.name, account.line) for account in accounts] == [("x", 1), ("y", 5)]


def test_empty_document_is_refused() -> None:
    assert problems("version: 1\nnumbers: {}\n---\n") == [
        "a.yaml:3:1: the document is empty: write version and numbers, or remove its ---"
    ]


def test_two_documents_with_one_implicit_name_are_refused() -> None:
    """The message names both locations."""
    advice = (
        "a.yaml:1: if one account is split across files, use the same `account:` in both; otherwise change one of them"
    )
    assert problems("version: 1\nnumbers: {}\n---\nversion: 1\nnumbers: {}\n") == [
        f"a.yaml:4:1: account 'a' is also described at {advice}"
    ]
    assert problems("version: 1\naccount: b\nnumbers: {}\n", "\nversion: 1\nnumbers: {}\n") == [
        f"b.yaml:2:1: account 'b' is also described at {advice}"
    ]


def test_number_active_in_two_accounts_is_refused() -> None:
    """A number may be INACTIVE in one of them."""
    first = HEAD + "  010-1234-5678: ACTIVE\n"
    assert problems(first, HEAD + "  112: INACTIVE\n  01012345678: ACTIVE\n") == [
        "b.yaml:4:1: 01012345678 is ACTIVE in 'b' and in 'a' (a.yaml:3): it can be ACTIVE in one account only"
    ]
    assert len(load_texts(first, HEAD + "  01012345678: INACTIVE\n").accounts) == 2
    assert len(load_texts(HEAD + "  01012345678: INACTIVE\n", first).accounts) == 2


def test_no_sources_are_refused() -> None:
    assert [str(problem) for problem in refusal().problems] == ["desired state:1:1: no file to read"]


def test_unusual_number_is_a_warning() -> None:
    state = load_texts(HEAD + "  112: ACTIVE\n  011-123-4567: ACTIVE\n  02-1588-1234: ACTIVE\n")
    assert [(warning.source, warning.line, warning.column) for warning in state.warnings] == [
        ("a.yaml", 4, 3),
        ("a.yaml", 5, 3),
    ]
    assert state.warnings[0].message.startswith("'011-123-4567': 011 is a mobile prefix of the 2G networks")
    assert list(state.accounts[0].numbers) == ["112", "0111234567", "0215881234"]


def test_implausible_number_is_a_warning() -> None:
    """The API alone knows whether a number is registered."""
    state = load([("a.yaml", f"{HEAD}  0507-1234-5678: ACTIVE\n  '010-1234-567': INACTIVE\n".encode())])
    assert list(state.accounts[0].numbers) == ["050712345678", "0101234567"]
    forwarding, short = state.warnings
    assert str(forwarding).startswith("a.yaml:3:3: '0507-1234-5678': 050 numbers forward calls")
    assert str(short).startswith("a.yaml:4:3: '010-1234-567': 010 numbers have 11 digits, this one has 10")
    assert short.message.endswith("; a plan refuses it unless it is registered")


def test_unusual_number_after_many_plain_ones_is_a_warning() -> None:
    state = load_texts(HEAD + "".join(f"  010-1234-{n:04}: ACTIVE\n" for n in range(2500)) + "  011-123-4567: ACTIVE\n")
    assert [warning.line for warning in state.warnings] == [2503]


def test_warnings_are_limited() -> None:
    state = load_texts(HEAD + "".join(f"  011-123-{n:04}: ACTIVE\n" for n in range(2500)))
    assert len(state.accounts[0].numbers) == 2500
    assert len(state.warnings) == 2000


@pytest.mark.parametrize(
    ("safety", "expected"),
    [
        ("{}", SafetyOverride()),
        ("{max_deactivations: 5}", SafetyOverride(5, None)),
        ("{max_deactivations: 0, min_active: 0}", SafetyOverride(0, 0)),
        ("{min_active: 1, max_deactivations: 2}", SafetyOverride(2, 1)),
        ("{max_deactivations: 100%}", SafetyOverride("100%", None)),
        ("{max_deactivations: '30 %'}", SafetyOverride("30 %", None)),
        ("{min_active: 999999999}", SafetyOverride(None, 999_999_999)),
        ("{pair_swaps: hold}", SafetyOverride(pair_swaps="hold")),
        ("{pair_swaps: 'warn', min_active: 1}", SafetyOverride(None, 1, "warn")),
    ],
)
def test_safety_overrides_are_read(safety: str, expected: SafetyOverride) -> None:
    assert account(f"version: 1\nsafety: {safety}\nnumbers: {{}}\n").safety == expected


@pytest.mark.parametrize(
    "value", ["lots", "-5", "130%", "12.5%", "1e3", "9" * 10, "9" * 9000, "9" * 9000 + "%", "", "[1]", "'%'"]
)
def test_invalid_max_deactivations_is_refused(value: str) -> None:
    problem = problem_of(f"version: 1\nsafety:\n  max_deactivations: {value}\nnumbers: {{}}\n")
    assert problem.startswith("3:2")
    assert "max_deactivations must be a whole number of 0 or more, or a percentage such as 30%, not " in problem
    assert len(problem) < 200


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("all", "'all'"),
        ("-1", "'-1'"),
        ("0.5", "'0.5'"),
        ("50%", "'50%'"),
        ("9" * 10, "'9999999999'"),
        ("9" * 9000, f"'{'9' * 40}…'"),
        ("", "nothing"),
        ("[1]", "a list"),
        ("٣", "'٣'"),
    ],
)
def test_invalid_min_active_is_refused(value: str, shown: str) -> None:
    problem = problem_of(f"version: 1\nsafety:\n  min_active: {value}\nnumbers: {{}}\n")
    assert problem.startswith("3:1")
    assert problem.endswith(f" min_active must be a whole number from 0 to 999,999,999, not {shown}")
    assert len(problem) < 200


@pytest.mark.parametrize(
    ("safety", "words"),
    [
        ("30%", "2:9: safety must be a mapping of max_deactivations, min_active, pair_swaps"),
        ("{pair_swap: hold}", "2:10: unknown key 'pair_swap'; did you mean 'pair_swaps'?"),
        ("{pair_swaps: block}", "2:22: pair_swaps must be warn or hold, not 'block'"),
        ("{pair_swaps: HOLD}", "2:22: pair_swaps must be warn or hold, not 'HOLD'"),
        ("{pair_swaps: }", "2:22: pair_swaps must be warn or hold, not nothing"),
        ("{pair_swaps: [hold]}", "2:22: pair_swaps must be warn or hold, not a list"),
        ("{min_activ: 1}", "2:10: unknown key 'min_activ'; did you mean 'min_active'?"),
    ],
)
def test_invalid_safety_is_refused(safety: str, words: str) -> None:
    assert problem_of(f"version: 1\nsafety: {safety}\nnumbers: {{}}\n") == words


@pytest.mark.parametrize(
    ("guard", "expected"),
    [
        ("{}", InUseOverride()),
        ("{hours: 72}", InUseOverride(hours=72)),
        ("{hours: 8784, on_unknown: allow}", InUseOverride(hours=8784, on_unknown="allow")),
        ("{enabled: FALSE}", InUseOverride(enabled=False)),
        ("{enabled: 'true', hours: ' 1 ', on_unknown: hold}", InUseOverride(hours=1, on_unknown="hold")),
    ],
)
def test_in_use_overrides_are_read(guard: str, expected: InUseOverride) -> None:
    """Omitted keys keep the values of the settings."""
    assert account(f"version: 1\nin_use: {guard}\nnumbers: {{}}\n").in_use == expected


@pytest.mark.parametrize(
    ("guard", "words"),
    [
        ("72", "2:9: in_use must be a mapping such as {hours: 72}, not '72'"),
        ("{hours: 0}", "2:17: hours must be a whole number from 1 to 8,784, not '0'"),
        ("{hours: 8785}", "2:17: hours must be a whole number from 1 to 8,784, not '8785'"),
        ("{hours: 99999}", "2:17: hours must be a whole number from 1 to 8,784, not '99999'"),
        ("{hours: ٣}", "2:17: hours must be a whole number from 1 to 8,784, not '٣'"),
        ("{hours: [1]}", "2:17: hours must be a whole number from 1 to 8,784, not a list"),
        ("{enabled: yes}", "2:19: enabled must be true or false, not 'yes'"),
        ("{on_unknown: ask}", "2:22: on_unknown must be hold or allow, not 'ask'"),
        ("{hour: 1}", "2:10: unknown key 'hour'; did you mean 'hours'?"),
    ],
)
def test_invalid_in_use_is_refused(guard: str, words: str) -> None:
    assert problem_of(f"version: 1\nin_use: {guard}\nnumbers: {{}}\n") == words


@pytest.mark.parametrize(
    "endpoint", ["solapi", "coolsms-rest", "https://example.com/api/", "http://127.0.0.1:8080", "http://localhost:1"]
)
def test_endpoint_is_read_unchanged(endpoint: str) -> None:
    assert account(f"version: 1\nendpoint: {endpoint}\nnumbers: {{}}\n").endpoint == endpoint


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        ("http://example.com", "is plain http: use https"),
        ("https://user:hunter2@example.com", "an endpoint must not have a user, password"),
        ("solap", "did you mean 'solapi'?"),
        ("", "endpoint is empty"),
        ("[a]", "endpoint must be text"),
        ("https://" + "a" * 1000, "endpoint is longer than 1,000 characters"),
    ],
)
def test_invalid_endpoint_is_refused_without_its_password(endpoint: str, words: str) -> None:
    problem = problem_of(f"version: 1\nendpoint: {endpoint}\nnumbers: {{}}\n")
    assert problem.startswith("2:1")
    assert words in problem
    assert "hunter2" not in problem


@pytest.mark.parametrize(
    "credentials",
    [
        f"{SECRET}",
        f"{{api_key: {{env: A}}, api_secret: {SECRET}}}",
        f"{{api_key: {SECRET}, api_secret: {{env: A}}}}",
        f"{{api_key: {{env: A}}, api_secret: [{SECRET}]}}",
        f"{{api_key: {{env: A}}, api_secret: {{value: {SECRET}}}}}",
        f"{{api_key: {{env: A}}, api_secret: {{{SECRET}: }}}}",
        f"{{api_key: {{env: A}}, api_secret: {{env: {SECRET}}}}}",
        f"{{api_key: {{env: A}}, api_secret: {{file: {SECRET}}}}}",
        f"{{api_key: {{env: A}}, api_secret: {{env: '{SECRET} '}}}}",
        f"{{api_key: {{env: A}}, api_secret: {{env: 'a {SECRET}'}}}}",
        f"{{api_key: {{env: A}}, {SECRET}: {{env: A}}}}",
        f"{{api_key: {{env: A}}, api_secret: {{env: [{SECRET}]}}}}",
        f"{{api_key: {{env: A}}, api_secret: {{env: A, {SECRET}: B}}}}",
        f"{{api_key: {{env: A}}, api_secret: &{SECRET} a}}",
        f"{{api_key: {{env: A}}, api_secret: !{SECRET} a}}",
        f"{{api_key: {{env: A}}, api_secret: *{SECRET}}}",
        f"{{api_key: {{env: A}}, api_secret: '{SECRET}",
        f"{{api_key: {{env: A}}, api_secret: @{SECRET}}}",
        f"{{api_key: {{env: A}}, api_secret: {SECRET * 400}}}",
        f"{{api_key: {{env: A}}, api_secret: {{command: {SECRET}}}}}",
        f"{{api_key: {{env: A}}, api_secret: {{command: [echo, {SECRET}]}}}}",
        f"{{api_key: {{env: A}}, api_secret: {{command: [echo {SECRET}]}}}}",
        f"{{api_key: {{env: A}}, api_secret: {{command: {{echo: {SECRET}}}}}}}",
    ],
)
def test_literal_secrets_are_refused_and_not_repeated(credentials: str) -> None:
    error = refusal(("a.yaml", f"version: 1\ncredentials: {credentials}\nnumbers: {{}}\n".encode()))
    assert SECRET[:8] not in str(error)
    assert {problem.line for problem in error.problems} <= {2, 4}


@pytest.mark.parametrize(
    ("credentials", "words"),
    [
        (f"{{api_key: {{env: A}}, api_secret: {SECRET}}}", "never put a secret in this file: remove"),
        ("{api_key: {env: A}, api_secret: {value: x}}", "2:46: .*; never put a secret in this file"),
        (f"{{api_key: {{env: A}}, api_secret: {{env: {SECRET}}}}}", "looks like a secret, not a name"),
        (
            f"{{api_key: {{env: A}}, api_secret: {{command: [a, {SECRET}]}}}}",
            "2:60: looks like a secret, not an argument",
        ),
        ("{api_key: {env: A}, api_secret: {command: []}}", "2:56: command must be a list of the program and"),
        ("{api_key: {env: A}, api_secret: {command: pass}}", "2:56: command must be a list of the program and"),
        ("{api_key: {env: A}, api_secret: {command: [pass show x]}}", "2:56: command must be a list of the program"),
        ("{api_key: {env: A}, api_secret: {command: [a, '']}}", "2:60: an argument is empty"),
        ("{api_key: {env: A}, api_secret: {command: [a, [b]]}}", "2:60: an argument must be text"),
        (f"{{api_key: {{env: A}}, api_secret: {{command: [{'a, ' * 33}]}}}}", "2:56: command must be a list"),
        ("{api_key: {env: A}}", "2:14: credentials: missing api_secret: write api_secret: {env: NAME}"),
        ("{api_secret: {env: A}}", "2:14: credentials: missing api_key: write api_key: {env: NAME}"),
        (
            "{api_key: {env: A}, api_secret: {env: A, file: b}}",
            "2:46: api_secret must be a reference: either ",
        ),
        ("{api_key: {env: A}, api_secret: {}}", "2:46: api_secret must be a reference: either "),
        ("{api_key: {env: A}, api_secret: {env: }}", "2:52: env is empty"),
        (
            "{api_key: {env: A}, api_secret: {env: $B}}",
            r"2:52: env must be a variable name: .*, without \$ or spaces",
        ),
        ("{api_key: {env: A}, api_secret: {env: 1A}}", "2:52: env must be a variable name"),
        ('{api_key: {env: A}, api_secret: {file: "a\\0"}}', "2:53: file has the invisible character U\\+0000"),
        ("[a]", "2:14: credentials must be {api_key: {env: NAME}, api_secret: {env: NAME}}"),
        ("", "2:13: credentials must be {api_key"),
    ],
)
def test_invalid_credentials_are_refused(credentials: str, words: str) -> None:
    with pytest.raises(DesiredStateError, match=words):
        load_texts(f"version: 1\ncredentials: {credentials}\nnumbers: {{}}\n")


@pytest.mark.parametrize(
    "reference", ["{env: A}", "{env: my_key_of_account_12345}", "{file: ./a b.txt}", "{file: /run/0123456789abcdef}"]
)
def test_credentials_references_are_accepted(reference: str) -> None:
    assert account(
        f"version: 1\ncredentials: {{api_key: {{env: A}}, api_secret: {reference}}}\nnumbers: {{}}\n"
    ).credentials


def test_problems_of_each_file_are_limited() -> None:
    text = HEAD + "".join(f"  x{n}: ACTIVE\n" for n in range(3000)) + "  112: ACTIVE\n  112: ACTIVE\n"
    error = refusal(("a.yaml", text.encode()), ("b.yaml", b""))
    assert len(error.problems) == 1001
    assert error.omitted_count == 2001
    assert error.problems[999].line == 1002
    assert error.problems[1000].source == "b.yaml"
    assert str(error).endswith("\n… and 2,001 more")


def test_report_of_very_many_problems_is_limited() -> None:
    error = refusal(("a.yaml", (HEAD + "  x: ACTIVE\n" * 100_000).encode()))
    assert (len(error.problems), error.omitted_count) == (1000, 99_000)
    assert len(str(error)) < 200_000


def test_duplicates_are_limited() -> None:
    error = refusal(("a.yaml", (HEAD + "  112: ACTIVE\n" * 3001).encode()))
    assert (len(error.problems), error.omitted_count) == (1000, 2000)


def test_omitted_problems_of_all_files_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Problems of a file that is parsed alone are counted too."""
    monkeypatch.setattr("worker.config.yaml_reader.PROBLEM_CAP", 2)
    text = HEAD + "".join(f"  x{n}: ACTIVE\n" for n in range(5))
    error = refusal(("a.yaml", text.encode()), ("b.yaml", text.encode()))
    assert (len(error.problems), error.omitted_count) == (4, 6)
    with pytest.raises(DesiredStateError) as alone:
        parse_file("a.yaml", text.encode())
    assert (len(alone.value.problems), alone.value.omitted_count) == (2, 3)


def test_conflicts_between_accounts_are_limited() -> None:
    text = HEAD + "".join(f"  010-1234-{n:04}: ACTIVE\n" for n in range(1500))
    error = refusal(("a.yaml", text.encode()), ("b.yaml", text.encode()))
    assert (len(error.problems), error.omitted_count) == (1000, 500)


@pytest.mark.parametrize("enabled", [True, False])
def test_load_restores_the_garbage_collector(*, enabled: bool) -> None:
    """The state is restored after an error too."""
    original = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        load_texts(FULL)
        refusal(("a.yaml", b""))
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if original else gc.disable)()


def test_sample_files_are_valid() -> None:
    folder = Path(__file__).parents[3] / "config" / "desired"
    state = load((path.name, path.read_bytes()) for path in sorted(folder.glob("*.yaml")))
    assert state.accounts
    assert state.warnings == ()


GROUPS = """\
version: 1
account: main
groups:
  support: {{members: {members}, min_active: {min_active}}}
numbers:
  02-312-4567: ACTIVE
  010-1234-5678: INACTIVE
"""


@pytest.mark.parametrize(
    ("members", "min_active", "group"),
    [
        ("[02-312-4567, +82 10-1234-5678]", "2", Group("support", ("023124567", "01012345678"), 2)),
        ("[01012345678]", "'1'", Group("support", ("01012345678",), 1)),
    ],
)
def test_groups_are_read(members: str, min_active: str, group: Group) -> None:
    assert account(GROUPS.format(members=members, min_active=min_active)).groups == (group,)


def test_group_min_active_defaults_to_one() -> None:
    """Groups may follow the numbers."""
    text = (
        "version: 1\nnumbers: {112: ACTIVE, 1335: ACTIVE}\ngroups: {a: {members: [112]}, b: {members: [1335, 112]}}\n"
    )
    assert account(text).groups == (Group("a", ("112",)), Group("b", ("1335", "112")))


@pytest.mark.parametrize(
    ("members", "min_active", "words"),
    [
        ("[]", "1", "4:22: members must be a list of numbers"),
        ("112", "1", "4:22: members must be a list of numbers"),
        ("[[112]]", "1", "4:23: expected a number, not a list"),
        ("[~]", "1", "4:23: expected a number, not nothing"),
        ("[help]", "1", "4:23: 'help': letter 'h'"),
        ("[010-9999-0000]", "1", "4:23: 01099990000 is not in the files of this run"),
        ("[02-312-4567, 023124567]", "1", "4:36: 023124567 is a duplicate of line 4: keep one"),
        ("[02-312-4567]", "2", "4:49: min_active must be a whole number from 1 to 1, the number of members"),
        ("[02-312-4567]", "0", "4:49: min_active must be a whole number"),
        (
            "[02-312-4567]",
            "[]",
            "4:49: min_active must be a whole number from 1 to 1, the number of members, not",
        ),
    ],
)
def test_invalid_group_is_refused(members: str, min_active: str, words: str) -> None:
    assert problem_of(GROUPS.format(members=members, min_active=min_active)).startswith(words)


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        ("3", "2:9: groups must be a mapping"),
        ("{a: 3}", "2:13: group 'a' must be {members"),
        ("{'': {members: [112]}}", "2:10: a group needs a name"),
        ("{[a]: {members: [112]}}", "2:10: a group needs a name"),
        (f"{{{'a' * 65}: {{members: [112]}}}}", "2:10: the group name is longer than 64"),
        ("{a: {members: [112]}, a: {members: [112]}}", "2:31: group 'a' is a duplicate of line 2"),
        ("{a: {members: [112], least: 1}}", "2:30: unknown key 'least'"),
        ("{a: {min_active: 1}}", "2:13: members must be a list of numbers"),
        ("{a: {members: [1335]}}", "2:24: 1335 is not under numbers: list it, or remove it from the group"),
    ],
)
def test_groups_of_another_shape_are_refused(groups: str, words: str) -> None:
    assert problem_of(f"version: 1\ngroups: {groups}\nnumbers: {{112: ACTIVE}}\n").startswith(words)


def test_every_invalid_member_of_a_group_is_reported() -> None:
    text = "version: 1\ngroups: {a: {members: [x, y]}}\nnumbers: {}\n"
    assert [problem.split(" ")[1] for problem in problems(text)] == ["'x':", "'y':"]


def test_messages_about_a_group_name_what_stands_there() -> None:
    text = "version: 1\ngroups: {a: 3, b: {members: [112], min_active: [1]}}\nnumbers: {112: ACTIVE}\n"
    assert problems(text) == [
        "a.yaml:2:13: group 'a' must be {members: […], min_active: 1}, not '3'",
        ("a.yaml:2:48: min_active must be a whole number from 1 to 1, the number of members, not a list"),
    ]


def test_ignored_numbers_are_read() -> None:
    text = f"{HEAD}  1588-1234: ACTIVE\nignore: [02-312-4567, '070 1234-*', 080*]\n"
    only = account(text)
    assert only.ignored == ("023124567", "0701234*", "080*")
    assert [only.ignores(phone) for phone in ("023124567", "07012345678", "0801234567", "07099999999")] == [
        *(True, True, True, False)
    ]


@pytest.mark.parametrize(
    ("patterns", "problem"),
    [
        ("070*", "2:9: ignore must be a list of numbers and of patterns such as 070-1234-*"),
        ("[07*]", "2:10: '07*': write the first digits with one * at the end, such as 070-1234-*; at least 3 digits"),
        ("['*']", "2:10: '*': write the first digits with one *"),
        ("['070*1']", "2:10: '070*1': write the first digits with one *"),
        ("['070**']", "2:10: '070**': write the first digits with one *"),
        ("[070a*]", "2:10: '070a*': write the first digits with one *"),
        ("[010-1234-567x]", "2:10: '010-1234-567x': letter 'x'"),
        ("[[a]]", "2:10: a list: no number"),
        ("[070*, 0-7-0*]", "2:16: '0-7-0*' is a duplicate of line 2: keep one"),
    ],
)
def test_invalid_pattern_of_ignored_numbers_is_refused(patterns: str, problem: str) -> None:
    assert problem_of(f"version: 1\nignore: {patterns}\nnumbers: {{}}\n").startswith(problem)


def test_number_both_listed_and_ignored_is_refused() -> None:
    """The two may be in different documents of the account."""
    head = "version: 1\naccount: a\n"
    sources = [
        ("a.yaml", f"{head}ignore: [070*]\nnumbers:\n  070-1234-5678: ACTIVE\n".encode()),
        ("b.yaml", f"{head}numbers: {{070-1234-5679: ACTIVE, 02-312-4567: ACTIVE}}\n".encode()),
    ]
    error = refusal(*sources)
    assert [str(problem) for problem in error.problems] == [
        "a.yaml:5:1: 07012345678 is listed, and a.yaml:3 ignores it: remove one of the two",
        "b.yaml:3:1: 07012345679 is listed, and a.yaml:3 ignores it: remove one of the two",
    ]
