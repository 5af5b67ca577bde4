"""Settings: defaults, sources, and the problems of invalid values."""

from pathlib import Path

import pytest

from worker.config.settings import (
    CanarySettings,
    LedgerSettings,
    LogSettings,
    MetricsSettings,
    RateLimit,
    Retry,
    SafetySettings,
    Settings,
    Timeout,
    WebSettings,
    load,
    threshold,
)
from worker.config.urls import ENDPOINTS, parse_endpoint
from worker.model.credentials import SecretRef
from worker.model.errors import SettingsError


def load_text(text: str | bytes) -> Settings:
    """Return the settings of a file w.yaml."""
    return load(("w.yaml", text if isinstance(text, bytes) else text.encode()), {}, {})


def load_variables(**variables: str) -> Settings:
    """Return the settings of environment variables. Their names omit SENDERID_."""
    return load(None, {f"SENDERID_{name}": value for name, value in variables.items()}, {})


def problems(text: str | bytes | None = None, **variables: str) -> list[str]:
    """Return the problems of a file w.yaml and of variables. Their names omit SENDERID_."""
    source = None if text is None else ("w.yaml", text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SettingsError) as error:
        load(source, {f"SENDERID_{name}": value for name, value in variables.items()}, {})
    return [str(problem) for problem in error.value.problems]


def test_settings_have_the_documented_defaults() -> None:
    assert load(None, {}, {}) == Settings(
        endpoint="solapi",
        rate_limit=RateLimit(writes=80, reads=16, per_seconds=5.0),
        concurrency=16,
        accounts_concurrency=16,
        retry=Retry(attempts=5, base_seconds=0.5, cap_seconds=20.0),
        deadline_seconds=900.0,
        timeout=Timeout(connect_seconds=5.0, total_seconds=20.0),
        safety=SafetySettings(max_deactivations="30%", min_active=1, pair_swaps="warn", fleet_wide="50%"),
        canary=CanarySettings(accounts=0, max_failed="10%"),
        ledger=LedgerSettings(path=None),
        log=LogSettings(format="auto", level="info"),
        metrics=MetricsSettings(accounts=200, push_url=None, job="senderid"),
        web=WebSettings(token_file=None),
    )


def test_sample_settings_file_has_the_defaults() -> None:
    path = Path(__file__).parents[3] / "config" / "worker.yaml"
    assert load_text(path.read_bytes()) == Settings()


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "~\n", "{}\n", b"\xef\xbb\xbf{}"])
def test_empty_file_has_the_defaults(text: str | bytes) -> None:
    assert load_text(text) == Settings()


def test_variables_without_the_prefix_are_ignored() -> None:
    assert (
        load(None, {"SENDERID": "x", "XSENDERID_ENDPOINT": "x", "senderid_endpoint": "x", "PATH": "/bin"}, {})
        == Settings()
    )


def test_option_overrides_environment_and_file() -> None:
    source = ("w.yaml", b"rate_limit: {writes: 1, reads: 1, per_seconds: 1}\nconcurrency: 1\n")
    environment = {"SENDERID_RATE_LIMIT__WRITES": "2", "SENDERID_RATE_LIMIT__READS": "2"}
    assert load(source, environment, {"rate_limit.writes": 3}) == Settings(
        rate_limit=RateLimit(writes=3, reads=2, per_seconds=1.0), concurrency=1
    )


INT = "must be a whole number from"
SECONDS = "must be a number of seconds above 0 and up to"
SHARE = "must be a whole number of 0 or more, or a percentage such as 30%"
GATEWAY = "push_url must be the URL of a push gateway"
NEITHER = "is neither a known name nor an https URL"
WRONG = {
    "CONCURRENCY": (f"concurrency {INT} 1 to 1,000", ["0", "-1", "1001", "1.5", "abc", "nan", "\u0663", "1_0"]),
    "ACCOUNTS_CONCURRENCY": (f"accounts_concurrency {INT} 1 to 1,000", ["0", "1001", "true"]),
    "RATE_LIMIT__WRITES": (f"writes {INT} 1 to 999,999,999", ["0", "-80", "1e9", "9" * 30, "9" * 5000]),
    "RATE_LIMIT__READS": (f"reads {INT} 1 to 999,999,999", ["0", "0x10", "010", "+5", "1,5"]),
    "RATE_LIMIT__PER_SECONDS": (f"per_seconds {SECONDS} 3,600", ["0", "-1", "nan", ".nan", "inf", "1e400", "5s"]),
    "RETRY__ATTEMPTS": (f"attempts {INT} 1 to 20", ["0", "21"]),
    "RETRY__BASE_SECONDS": (f"base_seconds {SECONDS} 3,600", ["0", "3601"]),
    "RETRY__CAP_SECONDS": (f"cap_seconds {SECONDS} 3,600", ["0", "-inf"]),
    "DEADLINE_SECONDS": (f"deadline_seconds {SECONDS} 31,536,000", ["0", "1e9", "15m"]),
    "TIMEOUT__CONNECT_SECONDS": (f"connect_seconds {SECONDS} 3,600", ["0", "1e5"]),
    "TIMEOUT__TOTAL_SECONDS": (f"total_seconds {SECONDS} 3,600", ["0", "NaN"]),
    "SAFETY__MIN_ACTIVE": (f"min_active {INT} 0 to 999,999,999", ["-1", "50%", "9" * 10, "0.5"]),
    "SAFETY__MAX_DEACTIVATIONS": (
        f"max_deactivations {SHARE}",
        ["-1", "101%", "12.5%", "lots", "9" * 10, "9" * 5000, "9" * 5000 + "%", "'%'", "1e3"],
    ),
    "SAFETY__PAIR_SWAPS": ("pair_swaps must be one of hold, warn", ["HOLD", "off", "true"]),
    "SAFETY__FLEET_WIDE": (f"fleet_wide {SHARE}", ["-1", "101%", "half"]),
    "CANARY__ACCOUNTS": (f"accounts {INT} 0 to 999,999,999", ["-1", "10%", "all"]),
    "CANARY__MAX_FAILED": (f"max_failed {SHARE}", ["-1", "101%", "none", "0.1"]),
    "METRICS__ACCOUNTS": (f"accounts {INT} 0 to 10,000", ["-1", "10001"]),
    "METRICS__PUSH_URL": (GATEWAY, ["gateway:9091", "ftp://x"]),
    "METRICS__JOB": ("job must be text", ["x" * 65]),
    "LOG__LEVEL": ("level must be one of debug, error, info, warning", ["INFO", "trace", "x" * 5000]),
    "LOG__FORMAT": ("format must be one of auto, console, json", ["text", "1"]),
    "ENDPOINT": (NEITHER, ["solap", "ftp://x", "16"]),
}


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [(variable, value, words) for variable, (words, values) in WRONG.items() for value in values],
    ids=lambda text: text[:30],
)
def test_invalid_value_is_reported_in_file_and_environment(variable: str, value: str, words: str) -> None:
    (problem,) = problems(**{variable: value})
    assert problem.startswith(f"environment variable SENDERID_{variable}:1:1: ")
    *sections, name = variable.lower().split("__")
    head = "".join(f"{section}:\n  " for section in sections)
    (file_problem,) = problems(f"{head}{name}: {value}\n")
    column = len(name) + 3 + 2 * len(sections)
    assert file_problem.startswith(f"w.yaml:{len(sections) + 1}:{column}: ")
    for error in (problem, file_problem):
        assert words in error
        assert len(error) < 300


@pytest.mark.parametrize("value", ["[1]", "{a: 1}", "", "~", "''"])
@pytest.mark.parametrize("name", ["concurrency", "deadline_seconds", "endpoint"])
def test_value_that_is_not_a_scalar_is_refused(name: str, value: str) -> None:
    (problem,) = problems(f"{name}: {value}\n")
    assert f"{name} must be " in problem


@pytest.mark.parametrize(
    "variable", ["CONCURRENCY", "ENDPOINT", "LOG__LEVEL", "LEDGER__PATH", "SAFETY__MAX_DEACTIVATIONS"]
)
@pytest.mark.parametrize("value", ["", " "])
def test_empty_variable_is_refused(variable: str, value: str) -> None:
    (problem,) = problems(**{variable: value})
    assert problem.endswith(", not nothing")


def test_blanks_around_variables_are_stripped() -> None:
    assert load_variables(CONCURRENCY=" 5\n", ENDPOINT=" coolsms ", LOG__LEVEL="debug ") == Settings(
        concurrency=5, endpoint="coolsms", log=LogSettings(level="debug")
    )


@pytest.mark.parametrize(
    ("text", "path"), [("/var/lib/x", "/var/lib/x"), ("~", None), ("null", None), ("", None), ("'~'", "~")]
)
def test_ledger_path_is_text_or_null(text: str, path: str | None) -> None:
    assert load_text(f"ledger: {{path: {text}}}").ledger.path == path


@pytest.mark.parametrize("text", ["''", '"a\\0b"', "[a]"])
def test_invalid_ledger_path_is_refused(text: str) -> None:
    assert problems(f"ledger: {{path: {text}}}")[0].startswith("w.yaml:1:16: path must be text, not ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rate_limt: {writes: 1}", "1:1: unknown key 'rate_limt'; did you mean 'rate_limit'?"),
        ("rate_limit: {wrties: 1}", "1:14: unknown key 'wrties'; did you mean 'writes'?"),
        ("rate_limit.writes: 5", "1:1: unknown key 'rate_limit.writes'; did you mean 'rate_limit'?"),
        ("Concurrency: 5", "1:1: unknown key 'Concurrency'; did you mean 'concurrency'?"),
        ("rate_limit: 5", "1:13: rate_limit must be a mapping of writes, reads, per_seconds, not '5'"),
        ("rate_limit:", "1:12: rate_limit must be a mapping of writes, reads, per_seconds, not nothing"),
        ("concurrency: 1\nconcurrency: 2", "2:1: concurrency is a duplicate of line 1: keep one"),
        ("hello", "1:1: settings must be a mapping of names to values, not 'hello'"),
        ("- a", "1:1: settings must be a mapping of names to values, not a list"),
        ("{}\n---\n{}", "2:1: settings must be one document: move everything into the first and remove this ---"),
        ("concurrency: &a 1", "1:14: anchors (&name) are not allowed: write each value where it is used"),
        ("concurrency:\n\t1", "2:1: invalid YAML: tab in the indentation; use spaces"),
        (b"concurrency: \xff", "1:14: invalid UTF-8: save the file as UTF-8"),
        (b"[" * 900, "1:9: nested deeper than 8 levels: check for an extra bracket"),
        ("[" + "a," * 2000, "1:1: more than 1,000 values in one entry: check the indentation"),
    ],
)
def test_invalid_settings_file_is_reported_at_its_location(text: str | bytes, message: str) -> None:
    assert problems(text) == [f"w.yaml:{message}"]


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        ("ENDPONT", "; did you mean 'SENDERID_ENDPOINT'?"),
        ("Endpoint", "; did you mean 'SENDERID_ENDPOINT'?"),
        ("RATE_LIMIT_WRITES", "; did you mean 'SENDERID_RATE_LIMIT__WRITES'?"),
        ("RATE_LIMIT__WRITE", "; did you mean 'SENDERID_RATE_LIMIT__WRITES'?"),
        ("API_SECRET", "; did you mean 'SENDERID_"),
        ("KIT_FILE", "; did you mean 'SENDERID_KIT_FILES'?"),
        ("kit_files", "; did you mean 'SENDERID_KIT_FILES'?"),
        ("TOKEN", "; did you mean 'SENDERID_KIT_TOKEN'?"),
    ],
)
def test_unknown_variable_is_refused_with_a_suggestion(variable: str, message: str) -> None:
    """The value of the variable may be secret and is not repeated."""
    (problem,) = problems(**{variable: "hunter2"})
    assert problem.startswith(f"environment variable SENDERID_{variable}:1:1: unknown setting{message}")
    assert "hunter2" not in problem


@pytest.mark.parametrize("variable", ["ALLOW", "FILES", "IMAGE", "MASK", "TOKEN"])
def test_variables_of_the_gitlab_template_are_ignored(variable: str) -> None:
    assert load(None, {f"SENDERID_KIT_{variable}": "hunter2"}, {}) == Settings()


def test_problems_of_file_and_environment_are_reported_in_order() -> None:
    messages = problems("log: {level: loud}\nrate_limit: {writes: 0}\nx: 1\n", RETRY__ATTEMPTS="0", ENDPOINT="x", X="1")
    assert [problem.split(": ")[0] for problem in messages] == [
        "w.yaml:1:14",
        "w.yaml:2:22",
        "w.yaml:3:1",
        "environment variable SENDERID_ENDPOINT:1:1",
        "environment variable SENDERID_RETRY__ATTEMPTS:1:1",
        "environment variable SENDERID_X:1:1",
    ]


def test_problems_are_limited() -> None:
    with pytest.raises(SettingsError) as error:
        load_text("--- 1\n" * 3001)
    assert (len(error.value.problems), error.value.omitted_count) == (1000, 2001)


@pytest.mark.parametrize("name", ENDPOINTS)
def test_named_endpoint_is_https(name: str) -> None:
    assert parse_endpoint(name).url.startswith("https://")
    assert load_variables(ENDPOINT=name).endpoint == name


def test_only_the_old_host_gets_both_headers() -> None:
    assert [name for name in ENDPOINTS if parse_endpoint(name).uses_both_headers] == ["coolsms-rest"]


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://example.com", "https://example.com"),
        ("https://example.com/api/", "https://example.com/api"),
        ("HTTPS://EXAMPLE.com:8443", "HTTPS://EXAMPLE.com:8443"),
        ("https://xn--3e0b707e.example", "https://xn--3e0b707e.example"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
        ("http://localhost:1", "http://localhost:1"),
        ("http://127.0.0.2", "http://127.0.0.2"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_endpoint_is_https_or_loopback_url(text: str, url: str) -> None:
    assert parse_endpoint(text).url == url
    assert not parse_endpoint(text).uses_both_headers


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("http://example.com", "is plain http: use https"),
        ("http://128.0.0.1", "is plain http"),
        ("http://0.0.0.0", "is plain http"),
        ("http://localhost.example.com", "is plain http"),
        ("http://127.0.0.1.example.com", "is plain http"),
        ("http://" + "a" * 63, "is plain http"),
        ("https://" + "a" * 64 + ".com", "has an invalid host or port"),
        ("https://a..com", "has an invalid host or port"),
        ("https://example.com:0", "has an invalid host or port"),
        ("https://", "is neither a known name nor an https URL"),
        ("//example.com", "is neither"),
        ("file:///etc/passwd", "is neither"),
        ("javascript:alert(1)", "is neither"),
        ("solap", "; did you mean 'solapi'?"),
        ("nowhere", "; use one of solapi, solapi-static, coolsms, coolsms-rest"),
        ("https://example.com:port", "is not a URL: port could not be cast"),
        ("https://example.com:99999", "is not a URL: port out of range"),
        ("https://[::1", "is not a URL: invalid IPv6 URL"),
        ("https://exa mple.com", "has characters that a URL cannot have"),
        ("https://example.com\\.evil.com", "has characters that a URL cannot have"),
        ("https://example.com/\x00", "has characters that a URL cannot have"),
        ("https://exa\nmple.com", "has characters that a URL cannot have"),
        ("https://ex\u0430mple.com", "write the host in its xn-- form"),
        ("https://example.com/?a=b", "must not have a user, password, query or fragment"),
        ("https://example.com/?", "must not have a user, password, query"),
        ("https://example.com/#", "must not have a user, password, query"),
        ("http://localhost\\@evil.com", "must not have a user, password"),
    ],
    ids=lambda text: text[:40],
)
def test_invalid_endpoint_is_refused_with_the_reason(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=r"endpoint") as error:
        parse_endpoint(text)
    assert words in str(error.value)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 250


@pytest.mark.parametrize(
    "text",
    [
        "https://user:hunter2@example.com",
        "http://user:hunter2@example.com",
        "https://user:hunter2@example.com:port",
        "https://[user:hunter2@example.com",
        "ftp://user:hunter2@example.com",
        "user:hunter2@example.com",
        "https://hunter2@example.com",
        "https://example.com/?token=hunter2",
        "https://example.com/#hunter2",
        "https://us er:hunter2@example.com",
    ],
)
def test_password_in_endpoint_is_not_repeated(text: str) -> None:
    for messages in (problems(ENDPOINT=text), problems(f"endpoint: '{text}'")):
        assert "hunter2" not in "".join(messages)
        assert "an endpoint must not have a user, password, query or fragment" in messages[0]


@pytest.mark.parametrize(
    ("value", "active", "allowed"),
    [
        ("30%", 100, 30),
        ("30 %", 100, 30),
        (" 30% ", 100, 30),
        ("30%", 19, 5),
        ("30%", 3, 2),
        ("0%", 1_000_000, 2),
        ("100%", 7, 7),
        ("100%", 0, 2),
        (0, 100, 0),
        ("0", 100, 0),
        (5, 1, 5),
        ("007", 1, 7),
        (999_999_999, 1, 999_999_999),
    ],
)
def test_percentage_is_rounded_down_to_at_least_two(value: int | str, active: int, allowed: int) -> None:
    """A plain number is unchanged."""
    assert threshold(value, active) == allowed


@pytest.mark.parametrize(
    "value", ["", "%", "-1", -1, "101%", "999%", "1.5%", "%30", "30%%", "٣%", "1 0", 10**9, True, "30\n%", "9" * 9000]
)
def test_invalid_threshold_is_refused(value: int | str) -> None:
    with pytest.raises(ValueError, match=r"^max_deactivations must be a whole number .* such as 30%, not ") as error:
        threshold(value, 10)
    assert len(str(error.value)) < 200


@pytest.mark.parametrize("value", ["16", "0", "30%", "100 %"])
def test_max_deactivations_has_one_format_in_all_sources(value: str) -> None:
    assert load_text(f"safety: {{max_deactivations: {value}}}").safety == SafetySettings(value)
    assert load_variables(SAFETY__MAX_DEACTIVATIONS=value).safety == SafetySettings(value)
    assert load(None, {}, {"safety.max_deactivations": value}).safety == SafetySettings(value)


@pytest.mark.parametrize(
    ("text", "known"),
    [
        *((name, True) for name in ENDPOINTS),
        ("http://127.0.0.1:1", True),
        ("https://[::1]", True),
        ("https://x.y", False),
    ],
)
def test_only_vendor_and_loopback_endpoints_are_known(text: str, known: bool) -> None:  # noqa: FBT001 - a case
    assert parse_endpoint(text).is_known is known


_SERVICE_LINKS = {
    "SENDERID_SERVICE_HOST": "10.0.0.7",
    "SENDERID_SERVICE_PORT": "9464",
    "SENDERID_SERVICE_PORT_HTTP": "9464",
    "SENDERID_SERVICE_PORT_HTTP_METRICS": "9464",
    "SENDERID_PORT": "tcp://10.0.0.7:9464",
    "SENDERID_PORT_9464_TCP": "tcp://10.0.0.7:9464",
    "SENDERID_PORT_9464_TCP_PROTO": "tcp",
    "SENDERID_PORT_9464_TCP_PORT": "9464",
    "SENDERID_PORT_9464_TCP_ADDR": "10.0.0.7",
    "SENDERID_PORT_53_UDP": "udp://10.0.0.7:53",
}


def test_kubernetes_service_links_are_ignored() -> None:
    """A service in the namespace may be named `senderid` or `senderid-status-page`."""
    status_page_links = {
        name.replace("SENDERID_", "SENDERID_STATUS_PAGE_", 1): value for name, value in _SERVICE_LINKS.items()
    }
    assert load(None, _SERVICE_LINKS | status_page_links, {}) == Settings()


@pytest.mark.parametrize(
    "variable",
    [
        "SENDERID_RATE_LIMIT__WRITE",
        "SENDERID_SERVICE_HOSTS",
        "SENDERID_SERVICE__PORT",
        "SENDERID_PORT_TCP",
        "SENDERID_PORT_9464",
        "SENDERID_PORT_9464_TCP_HOST",
        "SENDERID_METRICS__PORT",
        "SENDERID_service_host",
        "SENDERID__SERVICE_HOST",
    ],
)
def test_variable_that_resembles_a_service_link_is_refused(variable: str) -> None:
    with pytest.raises(SettingsError) as error:
        load(None, {variable: "1"}, {})
    assert [problem.source for problem in error.value.problems] == [f"environment variable {variable}"]


def test_no_problem_of_the_environment_is_omitted() -> None:
    with pytest.raises(SettingsError) as error:
        load(None, {"SENDERID_CONCURRENCY": "many"}, {})
    assert error.value.omitted_count == 0


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://senderid@db.internal/senderid",
        "postgres://db.internal:6432/senderid?sslmode=verify-full&sslrootcert=/etc/ca.pem",
        "postgresql:///senderid?host=/run/postgresql",
        "postgresql://a@one:5432,two:5433/senderid?target_session_attrs=read-write",
    ],
)
def test_ledger_url_is_accepted(url: str) -> None:
    assert load_text(f"ledger: {{url: '{url}'}}").ledger.url == url
    assert load(None, {"SENDERID_LEDGER__URL": url}, {}).ledger.url == url


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://ann:hunter2@db/senderid", "url must not have a password"),
        ("postgresql://ann:@db/senderid", "url must not have a password"),
        ("postgresql://ann@db/senderid?password=hunter2", "url must not have a password"),
        ("postgresql://ann@db/senderid?sslpassword=hunter2", "url must not have a password"),
        ("mysql://ann@db/hunter2", "url must be the URL of a PostgreSQL database"),
        ("postgresql://db?sslmode=require#hunter2", "url must be the URL of a PostgreSQL database"),
        ("postgresql://db/a b?application_name=hunter2", "url must be the URL of a PostgreSQL database"),
        ("postgresql://db/a?sslmod=hunter2", "unknown option in url; did you mean 'sslmode'?"),
        ("postgresql://db/a?sslmode=hunter2", "sslmode in url must be one of disable, allow, prefer, require, verify-"),
        ("postgresql://[db/a?hunter2", "url must be the URL of a PostgreSQL database"),
    ],
)
def test_invalid_ledger_url_is_refused_without_repeating_it(url: str, message: str) -> None:
    (problem,) = problems(f"ledger: {{url: '{url}'}}")
    assert problem.startswith(f"w.yaml:1:15: {message}")
    with pytest.raises(SettingsError, match="environment variable SENDERID_LEDGER__URL") as refused:
        load(None, {"SENDERID_LEDGER__URL": url}, {})
    assert "hunter2" not in problem + str(refused.value)


@pytest.mark.parametrize(
    ("text", "reference"),
    [("null", None), ("{env: LEDGER}", SecretRef(env="LEDGER")), ("{file: /run/p}", SecretRef(file="/run/p"))],
)
def test_ledger_password_is_a_reference(text: str, reference: SecretRef | None) -> None:
    assert load_text(f"ledger: {{password: {text}}}").ledger.password == reference


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no_proxy: localhost", "w.yaml:1:21: no_proxy must be a list of hosts, domains and networks, or [] for none"),
        ("no_proxy: [.internal, 'a b']", "w.yaml:1:33: invalid host 'a b': write a name such as api.example.com"),
        ("proxy: gopher://proxy", "w.yaml:1:18: "),
    ],
)
def test_invalid_network_is_refused(text: str, message: str) -> None:
    (problem,) = problems(f"network: {{{text}}}")
    assert problem.startswith(message)


def test_network_is_loaded() -> None:
    network = load_text("network: {proxy: 'http://proxy:3128', no_proxy: [.internal, 10.0.0.0/8]}").network
    assert (network.proxy, network.no_proxy) == ("http://proxy:3128", (".internal", "10.0.0.0/8"))


def test_maintenance_has_days_and_times() -> None:
    assert load_text("maintenance: {weekly: 'Sun 02:00-04:00', reason: power}").maintenance.weekly == "Sun 02:00-04:00"
    (problem,) = problems("maintenance: {weekly: 'Sun 25:00-26:00'}")
    assert problem.startswith("w.yaml:1:")


def test_literal_ledger_password_is_refused_without_repeating_it() -> None:
    (problem,) = problems("ledger: {password: hunter2}")
    assert problem.startswith("w.yaml:1:20: password must be a reference")
    assert "hunter2" not in problem
