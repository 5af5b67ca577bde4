"""Settings of a run: every key with its unit, default and reason.

Precedence: option, environment (`SENDERID_…`, nested with `__`), settings file, default. This module reads neither the
environment nor files: texts and mappings come in as arguments.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Final, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct, structs

from worker.config import channels, yaml_reader
from worker.config.channels import Notify
from worker.config.limits import resolve_limit
from worker.config.urls import parse_endpoint, parse_gateway
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
    "RateLimit",
    "Retry",
    "SafetySettings",
    "Settings",
    "Timeout",
    "load",
    "threshold",
]

S = TypeVar("S", bound=Struct)

_PREFIX: Final = "SENDERID_"
_LANGUAGE: Final = "SENDERID_LANG"
"""Is no setting: people are spoken to before there are any."""
_KIT: Final = frozenset(
    {"SENDERID_KIT_ALLOW", "SENDERID_KIT_FILES", "SENDERID_KIT_IMAGE", "SENDERID_KIT_MASK", "SENDERID_KIT_TOKEN"}
)
"""Variables of the GitLab template, which the command finds in its environment. They are not settings."""
_SERVICE_LINK: Final = re.compile(
    r"SENDERID(_[A-Z0-9]+)*_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9]+)*|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)
"""Variables that Kubernetes sets in every pod beside a service named `senderid` or `senderid-…`."""
_HOUR: Final = 3600
_YEAR: Final = 365 * 24 * _HOUR


_SHARES: Final = frozenset({"max_deactivations", "fleet_wide", "max_failed"})
"""Settings that are a number of numbers, or a percentage of them."""

_LISTS: Final[dict[str, Callable[[yaml_reader.Reader, yaml_reader.Node], object]]] = {
    "channels": channels.read_channels
}
"""Settings that are lists, which no environment variable holds, and what reads each."""


class RateLimit(Struct, frozen=True, forbid_unknown_fields=True):
    """Requests per sliding window and API key.

    The vendor's own limits are about 100 writes and 20 reads in 5 seconds; the defaults leave a fifth of each to the
    account's other programs.
    """

    writes: Annotated[int, Meta(ge=1, le=COUNT_CAP, description="Writes in one window.")] = 80
    reads: Annotated[int, Meta(ge=1, le=COUNT_CAP, description="Reads in one window.")] = 16
    per_seconds: Annotated[float, Meta(gt=0, le=_HOUR, description="Length of the window, seconds.")] = 5.0


class Retry(Struct, frozen=True, forbid_unknown_fields=True):
    """How often and how patiently one request is tried again. Waits have full jitter."""

    attempts: Annotated[int, Meta(ge=1, le=20, description="Tries of one request, the first included.")] = 5
    base_seconds: Annotated[
        float, Meta(gt=0, le=_HOUR, description="The first wait is at most this; each next one twice it.")
    ] = 0.5
    cap_seconds: Annotated[float, Meta(gt=0, le=_HOUR, description="No wait of ours is longer than this.")] = 20.0


class Timeout(Struct, frozen=True, forbid_unknown_fields=True):
    """How long one attempt may take."""

    connect_seconds: Annotated[
        float, Meta(gt=0, le=_HOUR, description="Until the connection stands, TLS included.")
    ] = 5.0
    total_seconds: Annotated[float, Meta(gt=0, le=_HOUR, description="Until the answer has been read whole.")] = 20.0


class SafetySettings(Safety, frozen=True, forbid_unknown_fields=True):
    """What the plans of a run may change; a desired-state file may set all but `fleet_wide` for its account.

    `fleet_wide` is of no single account, so it stays out of what plan files and the ledger keep of one.
    """

    fleet_wide: Annotated[
        int | str,
        Meta(
            description="Activations, or deactivations, that one run may hold over two or more accounts: a number, or "
            "a percentage of all their numbers."
        ),
    ] = "50%"


class CanarySettings(Struct, frozen=True, forbid_unknown_fields=True):
    """With how many accounts an apply begins; if those go wrong, the others are not begun with."""

    accounts: Annotated[
        int, Meta(ge=0, le=COUNT_CAP, description="Accounts with something to write that go first. 0: no canary.")
    ] = 0
    max_failed: Annotated[
        int | str,
        Meta(
            description="Numbers of theirs that may not become as planned: a number, or a percentage of those to write."
        ),
    ] = "10%"


class LedgerSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Where local state is kept."""

    path: Annotated[
        str | None, Meta(description="A file; its folder also holds the locks. Null: the XDG state folder.")
    ] = None
    max_megabytes: Annotated[
        int, Meta(ge=1, le=COUNT_CAP, description="The oldest runs are forgotten beyond this size.")
    ] = 1024


class LogSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """What goes to stderr."""

    format: Annotated[
        Literal["auto", "json", "console"], Meta(description="auto: console on a terminal, JSON elsewhere.")
    ] = "auto"
    level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="The lowest level that is written.")
    ] = "info"


class MetricsSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """What Prometheus is told of runs, and whom it is pushed to."""

    accounts: Annotated[
        int, Meta(ge=0, le=10_000, description="Accounts that are told by name; the others are told as one sum.")
    ] = 200
    push_url: Annotated[
        str | None, Meta(description="A push gateway that plan, apply and drift tell when they end. Null: none.")
    ] = None
    job: Annotated[str, Meta(max_length=64, description="The job that a push gateway keeps it under.")] = "senderid"


class WebSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Who may see the status page."""

    token_file: Annotated[
        str | None,
        Meta(
            description="A file with the token that the status page asks for, 16 characters or more. Null: no token, "
            "and the page is for this machine alone."
        ),
    ] = None


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """All settings of a run."""

    endpoint: Annotated[
        str, Meta(description="solapi, solapi-static, coolsms, coolsms-rest, or a URL; for accounts that name none.")
    ] = "solapi"
    rate_limit: RateLimit = RateLimit()
    concurrency: Annotated[int, Meta(ge=1, le=1000, description="Requests under way at once, per account.")] = 16
    accounts_concurrency: Annotated[int, Meta(ge=1, le=1000, description="Accounts under way at once.")] = 16
    retry: Retry = Retry()
    deadline_seconds: Annotated[
        float, Meta(gt=0, le=_YEAR, description="One account's time for its writes, seconds.")
    ] = 900.0
    timeout: Timeout = Timeout()
    safety: SafetySettings = SafetySettings()
    canary: CanarySettings = CanarySettings()
    in_use: InUse = InUse()
    health: Health = Health()
    ledger: LedgerSettings = LedgerSettings()
    log: LogSettings = LogSettings()
    notify: Notify = Notify()
    metrics: MetricsSettings = MetricsSettings()
    web: WebSettings = WebSettings()
    suspend: Suspend = Suspend()
    maintenance: Maintenance = Maintenance()


def threshold(value: int | str, active: int) -> int:
    """How many deactivations `max_deactivations` allows on an account with `active` ACTIVE numbers.

    A percentage is rounded down and never allows fewer than 2, so that small accounts stay manageable; a plain number
    is taken as it is.

    Raises:
        ValueError: when the value is neither a whole number from 0 to 999,999,999 nor a percentage from 0% to 100%.
    """
    return resolve_limit("max_deactivations", value, active, least=2)


def load(source: tuple[str, bytes] | None, environment: Mapping[str, str], options: Mapping[str, object]) -> Settings:
    """The settings in force.

    `source` is the settings file's name and bytes, None without one; `environment` may hold anything, `SENDERID_…`
    counts; `options` go by dotted names.

    Raises:
        SettingsError: with every problem of the three.
    """
    problems: list[Problem] = []
    values: dict[tuple[str, ...], object] = {}
    untold = 0
    if source is not None:
        reader = yaml_reader.Reader(source[0])
        values |= _of_file(reader, source[1])
        problems += sorted(reader.problems)
        untold = reader.untold
    values |= _of_environment(environment, problems)
    values |= {tuple(name.split(".")): value for name, value in options.items()}
    if problems:
        raise SettingsError(problems, untold)
    return _built(Settings, (), values)


def _of_file(reader: yaml_reader.Reader, data: bytes) -> dict[tuple[str, ...], object]:
    source = reader.source
    found: dict[tuple[str, ...], object] = {}
    roots: list[yaml_reader.Node] = []
    try:
        stream = yaml_reader.parse_events(source, yaml_reader.decode(source, data))
        for event in stream:
            if yaml_reader.is_value_start(event):
                roots.append(yaml_reader.compose(source, event, stream))
            elif roots and yaml_reader.is_document_start(event):
                told = Message("settings are one document: put everything into the first, and take this --- out")
                reader.problem(yaml_reader.Node(event.start_mark), told)
    except yaml_reader.YamlError as error:
        reader.tell(error.problem)
        return found
    for root in roots[:1]:
        if isinstance(root, yaml_reader.Mapping):
            found |= _walk(reader, Settings, (), root)
        elif not (isinstance(root, yaml_reader.Scalar) and root.null):
            reader.problem(
                root,
                Message(
                    "settings should be a mapping of names to values, not {given}",
                    given=yaml_reader.describe(root),
                ),
            )
    return found


def _walk(
    reader: yaml_reader.Reader, section: type[Struct], path: tuple[str, ...], node: yaml_reader.Mapping
) -> dict[tuple[str, ...], object]:
    fields = {field.name: field for field in structs.fields(section)}
    found: dict[tuple[str, ...], object] = {}
    for name, value in reader.fields(node, fields).items():
        if _is_section(fields[name].type):
            if isinstance(value, yaml_reader.Mapping):
                found |= _walk(reader, fields[name].type, (*path, name), value)
            else:
                names = ", ".join(field.name for field in structs.fields(fields[name].type))
                reader.problem(
                    value,
                    Message(
                        "{name} should be a mapping of {names}, not {given}",
                        name=name,
                        names=names,
                        given=yaml_reader.describe(value),
                    ),
                )
            continue
        if name in _LISTS:
            found[*path, name] = _LISTS[name](reader, value)
            continue
        given = yaml_reader.describe(value)
        if not isinstance(value, yaml_reader.Scalar):
            reader.problem(value, _instead(fields[name], given))
            continue
        try:
            found[*path, name] = _leaf(fields[name], None if value.null else value.text, given)
        except ValueError as error:
            reader.problem(value, str(error))
    return found


def _of_environment(environment: Mapping[str, str], problems: list[Problem]) -> dict[tuple[str, ...], object]:
    leaves = dict(_leaves(Settings, ()))
    names = {_PREFIX + "__".join(path).upper(): path for path in leaves}
    known = [*names, *sorted(_KIT)]
    found: dict[tuple[str, ...], object] = {}
    for variable in sorted(environment):
        if not variable.startswith(_PREFIX) or variable == _LANGUAGE or variable in _KIT:
            continue
        place = f"environment variable {variable}"
        path = names.get(variable)
        if path is None:
            if not _SERVICE_LINK.fullmatch(variable):
                told = Message("there is no such setting{hint}", hint=yaml_reader.suggest(variable.upper(), known))
                problems.append(Problem(place, 1, 1, told))
            continue
        text = environment[variable].strip()
        try:
            found[path] = _leaf(leaves[path], text, yaml_reader.quote(text) if text else "nothing")
        except ValueError as error:
            problems.append(Problem(place, 1, 1, str(error)))
    return found


def _leaves(section: type[Struct], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], structs.FieldInfo]]:
    for field in structs.fields(section):
        if _is_section(field.type):
            yield from _leaves(field.type, (*path, field.name))
        elif field.name not in _LISTS:
            yield (*path, field.name), field


def _is_section(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Struct)


def _leaf(field: structs.FieldInfo, text: str | None, given: str) -> object:
    """The value of one setting out of its text, None for null; `given` is that text as a message repeats it."""
    if text is not None and (not text or "\0" in text):
        raise ValueError(_instead(field, given))
    try:
        value: object = msgspec.convert(text, type=field.type, strict=False)
    except msgspec.ValidationError:
        raise ValueError(_instead(field, given)) from None
    if field.name == "endpoint":
        parse_endpoint(str(value))
    if field.name in _SHARES:
        resolve_limit(field.name, str(value), 0)
    if field.name == "push_url" and value is not None:
        parse_gateway(str(value))
    if field.name == "until" and value is not None:
        parse_until(str(value))
    if field.name == "weekly" and value is not None:
        parse_weekly(str(value))
    return value


def _instead(field: structs.FieldInfo, given: str) -> str:
    """What a setting should be, and what it is."""
    from msgspec import inspect  # noqa: PLC0415 - for mistakes only

    kind = inspect.type_info(field.type)
    match kind.type if isinstance(kind, inspect.Metadata) else kind:
        case inspect.IntType(ge=least, le=most):
            wanted = Message("a whole number from {least} to {most:,}", least=least or 0, most=most or 0)
        case inspect.FloatType(le=most):
            wanted = Message("a number of seconds above 0 and up to {most:,}", most=most or 0)
        case inspect.BoolType():
            wanted = Message("true or false")
        case inspect.LiteralType(values=words):
            wanted = Message("one of {words}", words=", ".join(map(str, words)))
        case inspect.UnionType(types=(inspect.IntType(), *_)):
            wanted = Message("a whole number of 0 or more, or a percentage such as 30%")
        case _:
            wanted = Message("a text")
    return Message("{name} should be {wanted}, not {given}", name=field.name, wanted=wanted, given=given)


def _built(section: type[S], path: tuple[str, ...], values: Mapping[tuple[str, ...], object]) -> S:
    given: dict[str, object] = {}
    for field in structs.fields(section):
        if _is_section(field.type):
            given[field.name] = _built(field.type, (*path, field.name), values)
        elif (*path, field.name) in values:
            given[field.name] = values[*path, field.name]
    return section(**given)
