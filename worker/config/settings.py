"""Settings of a run: every key with its unit and default, and the loader that merges all sources.

Precedence, highest first: option, environment variable (`SENDERID_…`, nested keys joined with `__`), settings file,
default. The module reads neither the environment nor files; callers pass in the content of both.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Final, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct, structs

from worker.config import channels, yaml_reader
from worker.config.channels import Notify
from worker.config.fields import HOST_CAP, read_optional_secret_ref, read_text
from worker.config.urls import is_host_pattern, parse_endpoint, parse_gateway, parse_ledger_url, parse_proxy
from worker.model.credentials import SecretRef
from worker.model.errors import Problem, SettingsError
from worker.model.messages import Message
from worker.model.safety import COUNT_CAP, Health, InUse, Safety
from worker.model.suspension import Maintenance, Suspend, parse_until
from worker.model.times import parse_weekly

__all__ = [
    "CanarySettings",
    "LedgerSettings",
    "LogSettings",
    "MetricsSettings",
    "NetworkSettings",
    "RateLimit",
    "Retry",
    "SafetySettings",
    "SecretsSettings",
    "Settings",
    "Timeout",
    "load",
    "resolve_limit",
    "threshold",
]

S = TypeVar("S", bound=Struct)

_PREFIX: Final = "SENDERID_"
_LANGUAGE: Final = "SENDERID_LANG"
"""The variable of the language. It is not a setting, because the language is needed before settings are read."""
_KIT: Final = frozenset(
    {"SENDERID_KIT_ALLOW", "SENDERID_KIT_FILES", "SENDERID_KIT_IMAGE", "SENDERID_KIT_MASK", "SENDERID_KIT_TOKEN"}
)
"""The variables of the GitLab template. They are not settings."""
_SERVICE_LINK: Final = re.compile(
    r"SENDERID(_[A-Z0-9]+)*_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9]+)*|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)
"""Matches the variables that Kubernetes sets in a pod for a service named `senderid` or `senderid-…`."""
_HOUR: Final = 3600
_YEAR: Final = 365 * 24 * _HOUR


_SHARES: Final = frozenset({"max_deactivations", "fleet_wide", "max_failed"})
"""The settings whose value is a count or a percentage."""
_WHOLE: Final = 100
"""The whole, in percent."""
_SHARE: Final = Message("a whole number of 0 or more, or a percentage such as 30%")


def _read_hosts(reader: yaml_reader.Reader, node: yaml_reader.Node) -> tuple[str, ...]:
    """Return a list of hosts, domains and networks. Problems are added to the reader."""
    if not isinstance(node, yaml_reader.Sequence):
        reader.problem(node, Message("no_proxy must be a list of hosts, domains and networks, or [] for none"))
        return ()
    hosts = [read_text(reader, item, Message("a host"), HOST_CAP) for item in node.items]
    for item, host in zip(node.items, hosts, strict=True):
        if host is not None and not is_host_pattern(host):
            message = Message(
                "invalid host {host}: write a name such as api.example.com, a domain such as .internal, or a network "
                "such as 10.0.0.0/8",
                host=yaml_reader.quote(host),
            )
            reader.problem(item, message)
    return tuple(filter(None, hosts))


_READERS: Final[dict[str, Callable[[yaml_reader.Reader, yaml_reader.Node], object]]] = {
    "channels": channels.read_channels,
    "no_proxy": _read_hosts,
    "password": lambda reader, node: read_optional_secret_ref(reader, node, "password"),
    "proxy_credentials": lambda reader, node: read_optional_secret_ref(reader, node, "proxy_credentials"),
}
"""The settings whose value is a list or a reference, each with its reader. Environment variables cannot set them."""


class RateLimit(Struct, frozen=True, forbid_unknown_fields=True):
    """Maximum count of requests in a sliding window, per API key.

    The vendor allows about 100 writes and 20 reads in 5 seconds. The defaults leave a fifth of each to other programs
    that use the account.
    """

    writes: Annotated[int, Meta(ge=1, le=COUNT_CAP, description="Writes in one window.")] = 80
    reads: Annotated[int, Meta(ge=1, le=COUNT_CAP, description="Reads in one window.")] = 16
    per_seconds: Annotated[float, Meta(gt=0, le=_HOUR, description="Length of the window, seconds.")] = 5.0


class Retry(Struct, frozen=True, forbid_unknown_fields=True):
    """Retries of one request. The wait before a retry is random, from 0 to an upper bound (full jitter)."""

    attempts: Annotated[int, Meta(ge=1, le=20, description="Tries of one request, the first included.")] = 5
    base_seconds: Annotated[
        float, Meta(gt=0, le=_HOUR, description="Upper bound of the first wait, seconds; it doubles with each retry.")
    ] = 0.5
    cap_seconds: Annotated[float, Meta(gt=0, le=_HOUR, description="Upper bound of every wait, seconds.")] = 20.0


class Timeout(Struct, frozen=True, forbid_unknown_fields=True):
    """Time limits of one attempt of a request."""

    connect_seconds: Annotated[float, Meta(gt=0, le=_HOUR, description="Time to connect, TLS included, seconds.")] = 5.0
    total_seconds: Annotated[
        float, Meta(gt=0, le=_HOUR, description="Time until the whole response is read, seconds.")
    ] = 20.0


class SafetySettings(Safety, frozen=True, forbid_unknown_fields=True):
    """Limits on the plans of a run. A desired-state file may override all but `fleet_wide` for its account.

    `fleet_wide` applies to all accounts together, so plan files and the ledger do not store it.
    """

    fleet_wide: Annotated[
        int | str,
        Meta(
            description="Activations, or deactivations, allowed in one run over two or more accounts: a number, or a "
            "percentage of all their numbers."
        ),
    ] = "50%"


class CanarySettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Canary accounts, which `senderid apply` writes first. If they fail, it does not start the other accounts."""

    accounts: Annotated[
        int, Meta(ge=0, le=COUNT_CAP, description="Accounts with changes that are written first. 0: no canary.")
    ] = 0
    max_failed: Annotated[
        int | str,
        Meta(description="Numbers of the canary that may fail: a number, or a percentage of those to write."),
    ] = "10%"


class LedgerSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The ledger: the location and maximum size of the records of runs."""

    path: Annotated[
        str | None, Meta(description="A file; its folder also has the locks. Null: the XDG state folder.")
    ] = None
    url: Annotated[
        str | None,
        Meta(
            description="A PostgreSQL database that several hosts share, postgresql://USER@HOST/DATABASE?sslmode="
            "verify-full. It replaces the file. Null: none."
        ),
    ] = None
    password: Annotated[
        SecretRef | None,
        Meta(description="Reference to the password for url. Null: as of libpq, PGPASSWORD or the password file."),
    ] = None
    max_megabytes: Annotated[
        int, Meta(ge=1, le=COUNT_CAP, description="Beyond this size the oldest runs are deleted.")
    ] = 1024


class SecretsSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Secrets that a command prints, as in `{command: [pass, show, coolsms/key]}`."""

    commands: Annotated[
        bool, Meta(description="Whether such commands are run. false: an account that needs one is an error.")
    ] = True
    timeout_seconds: Annotated[float, Meta(gt=0, le=300, description="Time for one command, seconds.")] = 10.0


class NetworkSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The way to the API. The environment's proxies are not used."""

    proxy: Annotated[
        str | None, Meta(description="An HTTP proxy for all accounts, such as http://proxy.internal:3128. Null: none.")
    ] = None
    proxy_credentials: Annotated[
        SecretRef | None, Meta(description="Reference to USER:PASSWORD for the proxy. Null: none.")
    ] = None
    no_proxy: Annotated[
        tuple[str, ...],
        Meta(description="Hosts, domains with their hosts, and networks that are reached without the proxy."),
    ] = ()
    ca_file: Annotated[
        str | None,
        Meta(description="A PEM file with certificate authorities to trust besides the system's. Null: none."),
    ] = None


class LogSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The log on stderr."""

    format: Annotated[
        Literal["auto", "json", "console"], Meta(description="auto: console on a terminal, JSON elsewhere.")
    ] = "auto"
    level: Annotated[Literal["debug", "info", "warning", "error"], Meta(description="Lowest level written.")] = "info"


class MetricsSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Metrics for Prometheus, and the push gateway."""

    accounts: Annotated[
        int, Meta(ge=0, le=10_000, description="Accounts with metrics of their own; the others are summed up.")
    ] = 200
    push_url: Annotated[
        str | None, Meta(description="A push gateway that plan, apply and drift push to when they end. Null: none.")
    ] = None
    job: Annotated[str, Meta(max_length=64, description="Job label at the push gateway.")] = "senderid"


class WebSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Access to the status page."""

    token_file: Annotated[
        str | None,
        Meta(
            description="A file with the token of the status page, 16 characters or more. Null: no token, and only "
            "this machine has access."
        ),
    ] = None


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """All settings of a run."""

    endpoint: Annotated[
        str, Meta(description="solapi, solapi-static, coolsms, coolsms-rest, or a URL; for accounts that name none.")
    ] = "solapi"
    rate_limit: RateLimit = RateLimit()
    concurrency: Annotated[int, Meta(ge=1, le=1000, description="Concurrent requests per account.")] = 16
    accounts_concurrency: Annotated[int, Meta(ge=1, le=1000, description="Concurrent accounts.")] = 16
    retry: Retry = Retry()
    deadline_seconds: Annotated[
        float, Meta(gt=0, le=_YEAR, description="Time limit for the writes of one account, seconds.")
    ] = 900.0
    timeout: Timeout = Timeout()
    network: NetworkSettings = NetworkSettings()
    safety: SafetySettings = SafetySettings()
    canary: CanarySettings = CanarySettings()
    in_use: InUse = InUse()
    health: Health = Health()
    ledger: LedgerSettings = LedgerSettings()
    secrets: SecretsSettings = SecretsSettings()
    log: LogSettings = LogSettings()
    notify: Notify = Notify()
    metrics: MetricsSettings = MetricsSettings()
    web: WebSettings = WebSettings()
    suspend: Suspend = Suspend()
    maintenance: Maintenance = Maintenance()


_match_percentage: Final = re.compile(r"(?P<number>[0-9]{1,9})(?P<percent> *%)?").fullmatch


def resolve_limit(name: str, value: int | str, total: int, *, minimum: int = 0) -> int:
    """Return how many of `total` numbers the limit `name` with the setting `value` allows.

    A percentage of `total` is rounded down, but is at least `minimum`. A plain number is returned unchanged.

    Raises:
        ValueError: the value is neither a whole number from 0 to 999,999,999 nor a percentage from 0% to 100%.
    """
    match = _match_percentage(str(value).strip())
    if match is None or (match["percent"] and int(match["number"]) > _WHOLE):
        actual = yaml_reader.quote(str(value)) if value else Message("nothing")
        raise ValueError(Message("{name} must be {expected}, not {actual}", name=name, expected=_SHARE, actual=actual))
    number = int(match["number"])
    return max(minimum, total * number // _WHOLE) if match["percent"] else number


def threshold(value: int | str, active: int) -> int:
    """Return how many deactivations `max_deactivations` allows on an account with `active` ACTIVE numbers.

    A percentage of `active` is rounded down, but is at least 2, so that small accounts stay manageable. A plain number
    is returned unchanged.

    Raises:
        ValueError: the value is neither a whole number from 0 to 999,999,999 nor a percentage from 0% to 100%.
    """
    return resolve_limit("max_deactivations", value, active, minimum=2)


def load(source: tuple[str, bytes] | None, environment: Mapping[str, str], options: Mapping[str, object]) -> Settings:
    """Return the settings in force, merged from all sources.

    `source` is the name and the bytes of the settings file; None without a file. Only variables of `environment` that
    start with `SENDERID_` are read. The keys of `options` are dotted names, such as `safety.min_active`.

    Raises:
        SettingsError: the file or the environment has problems. The error lists all of them.
    """
    problems: list[Problem] = []
    values: dict[tuple[str, ...], object] = {}
    omitted_count = 0
    if source is not None:
        reader = yaml_reader.Reader(source[0])
        values |= _of_file(reader, source[1])
        problems += sorted(reader.problems)
        omitted_count = reader.omitted_count
    values |= _of_environment(environment, problems)
    values |= {tuple(name.split(".")): value for name, value in options.items()}
    if problems:
        raise SettingsError(problems, omitted_count)
    return _build(Settings, (), values)


def _of_file(reader: yaml_reader.Reader, data: bytes) -> dict[tuple[str, ...], object]:
    source = reader.source
    values: dict[tuple[str, ...], object] = {}
    roots: list[yaml_reader.Node] = []
    try:
        stream = yaml_reader.parse_events(source, yaml_reader.decode(source, data))
        for event in stream:
            if yaml_reader.is_value_start(event):
                roots.append(yaml_reader.compose(source, event, stream))
            elif roots and yaml_reader.is_document_start(event):
                message = Message("settings must be one document: move everything into the first and remove this ---")
                reader.problem(yaml_reader.Node(event.start_mark), message)
    except yaml_reader.YamlError as error:
        reader.report(error.problem)
        return values
    for root in roots[:1]:
        if isinstance(root, yaml_reader.Mapping):
            values |= _walk(reader, Settings, (), root)
        elif not (isinstance(root, yaml_reader.Scalar) and root.is_null):
            actual = yaml_reader.describe(root)
            reader.problem(root, Message("settings must be a mapping of names to values, not {actual}", actual=actual))
    return values


def _walk(
    reader: yaml_reader.Reader, section: type[Struct], path: tuple[str, ...], node: yaml_reader.Mapping
) -> dict[tuple[str, ...], object]:
    fields = {field.name: field for field in structs.fields(section)}
    values: dict[tuple[str, ...], object] = {}
    for name, value in reader.fields(node, fields).items():
        if _is_section(fields[name].type):
            if isinstance(value, yaml_reader.Mapping):
                values |= _walk(reader, fields[name].type, (*path, name), value)
            else:
                message = Message(
                    "{name} must be a mapping of {keys}, not {actual}",
                    name=name,
                    keys=tuple(field.name for field in structs.fields(fields[name].type)),
                    actual=yaml_reader.describe(value),
                )
                reader.problem(value, message)
            continue
        if name in _READERS:
            values[*path, name] = _READERS[name](reader, value)
            continue
        actual = yaml_reader.describe(value)
        if not isinstance(value, yaml_reader.Scalar):
            reader.problem(value, _mismatch(fields[name], actual))
            continue
        try:
            values[*path, name] = _convert_setting(fields[name], None if value.is_null else value.text, actual)
        except ValueError as error:
            reader.problem(value, str(error))
    return values


def _of_environment(environment: Mapping[str, str], problems: list[Problem]) -> dict[tuple[str, ...], object]:
    leaves = dict(_leaves(Settings, ()))
    names = {_PREFIX + "__".join(path).upper(): path for path in leaves}
    known_names = [*names, *sorted(_KIT)]
    values: dict[tuple[str, ...], object] = {}
    for variable in sorted(environment):
        if not variable.startswith(_PREFIX) or variable == _LANGUAGE or variable in _KIT:
            continue
        location = f"environment variable {variable}"
        path = names.get(variable)
        if path is None:
            if not _SERVICE_LINK.fullmatch(variable):
                hint = yaml_reader.suggest(variable.upper(), known_names)
                problems.append(Problem(location, 1, 1, Message("unknown setting{hint}", hint=hint)))
            continue
        text = environment[variable].strip()
        try:
            values[path] = _convert_setting(leaves[path], text, yaml_reader.quote(text) if text else Message("nothing"))
        except ValueError as error:
            problems.append(Problem(location, 1, 1, str(error)))
    return values


def _leaves(section: type[Struct], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], structs.FieldInfo]]:
    for field in structs.fields(section):
        if _is_section(field.type):
            yield from _leaves(field.type, (*path, field.name))
        elif field.name not in _READERS:
            yield (*path, field.name), field


def _is_section(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Struct)


def _convert_setting(field: structs.FieldInfo, text: str | None, actual: str) -> object:
    """Return the value of one setting. `text` is its text, None for null; `actual` describes the text in messages.

    Raises:
        ValueError: the text is not a valid value of the setting.
    """
    if text is not None and (not text or "\0" in text):
        raise ValueError(_mismatch(field, actual))
    try:
        value: object = msgspec.convert(text, type=field.type, strict=False)
    except msgspec.ValidationError:
        raise ValueError(_mismatch(field, actual)) from None
    if field.name == "endpoint":
        parse_endpoint(str(value))
    if field.name in _SHARES:
        resolve_limit(field.name, str(value), 0)
    if field.name == "push_url" and value is not None:
        parse_gateway(str(value))
    if field.name == "proxy" and value is not None:
        return parse_proxy(str(value))
    if field.name == "url" and value is not None:
        parse_ledger_url(str(value))
    if field.name == "until" and value is not None:
        parse_until(str(value))
    if field.name == "weekly" and value is not None:
        parse_weekly(str(value))
    return value


def _mismatch(field: structs.FieldInfo, actual: str) -> Message:
    """Return the message for a value of the wrong type or range. It names the allowed values."""
    from msgspec import inspect  # noqa: PLC0415 - for mistakes only

    type_ = inspect.type_info(field.type)
    match type_.type if isinstance(type_, inspect.Metadata) else type_:
        case inspect.IntType(ge=lower, le=upper):
            expected = Message("a whole number from {minimum} to {maximum:,}", minimum=lower or 0, maximum=upper or 0)
        case inspect.FloatType(le=upper):
            expected = Message("a number of seconds above 0 and up to {maximum:,}", maximum=upper or 0)
        case inspect.BoolType():
            expected = Message("true or false")
        case inspect.LiteralType(values=words):
            expected = Message("one of {values}", values=tuple(map(str, words)))
        case inspect.UnionType(types=(inspect.IntType(), *_)):
            expected = _SHARE
        case _:
            expected = Message("text")
    return Message("{name} must be {expected}, not {actual}", name=field.name, expected=expected, actual=actual)


def _build(section: type[S], path: tuple[str, ...], values: Mapping[tuple[str, ...], object]) -> S:
    fields: dict[str, object] = {}
    for field in structs.fields(section):
        if _is_section(field.type):
            fields[field.name] = _build(field.type, (*path, field.name), values)
        elif (*path, field.name) in values:
            fields[field.name] = values[*path, field.name]
    return section(**fields)
