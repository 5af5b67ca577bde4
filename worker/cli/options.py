"""Options shared by several commands, and their values."""

from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import click
from msgspec import Struct, structs

from worker.cli import complete
from worker.cli.defaults import DEFAULT_FILES, DEFAULT_SETTINGS, OVERRIDES
from worker.config.files import STDERR, STDOUT
from worker.model.errors import UsageError
from worker.model.messages import Message
from worker.render.i18n import gettext as _
from worker.render.i18n import translate

if TYPE_CHECKING:
    from worker.render.masking import Mask

__all__ = [
    "DURATION",
    "FORMS",
    "Common",
    "OutputOptions",
    "account_files",
    "address",
    "allow",
    "allow_fleet_wide",
    "canary",
    "common",
    "desired_output",
    "document",
    "files",
    "listing",
    "lock_timeout",
    "logging",
    "masked_logs",
    "more_files",
    "out",
    "output",
    "refuse_overwrite",
    "reviewable",
    "route_text_output",
    "schema_reference",
    "selected",
    "settings",
    "token",
    "watch_options",
]

Function = TypeVar("Function", bound=Callable[..., Any])
Decorator = Callable[[Function], Function]


_DIGITS: Final = 6
"""Maximum count of digits of the number in a duration."""


def _all(*decorators: Callable[[Any], Any]) -> Callable[[Function], Function]:
    def decorate(function: Function) -> Function:
        return reduce(lambda result, decorator: decorator(result), reversed(decorators), function)

    return decorate


class _Duration(click.ParamType[float]):
    """Option type of a duration in seconds, minutes, hours, days or weeks. Its value is in seconds."""

    name = "time"
    _units: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the seconds of a duration such as 90m."""
        if isinstance(value, int | float):
            return float(value)
        number, unit = value[:-1], value[-1:]
        if unit not in self._units or not (number.isascii() and number.isdigit()) or len(number) > _DIGITS:
            message = _("{text} is not a duration: use 30s, 90m, 24h, 7d or 4w")
            self.fail(message.format(text=repr(value)), param, ctx)
        return float(int(number) * self._units[unit])


DURATION: Final = _Duration()

files: Final = _all(
    click.option(
        "-f",
        "--file",
        "paths",
        metavar="PATH",
        multiple=True,
        shell_complete=complete.file,
        help=f"Desired state: a file, a folder searched for *.yaml and *.yml, or -. Repeatable. [{DEFAULT_FILES}]",
    ),
)

more_files: Final = click.argument("more", metavar="[PATH]...", nargs=-1, shell_complete=complete.file)
"""The paths of desired state without `-f`."""


def _no_commands(ctx: click.Context, _param: click.Parameter, value: bool) -> None:  # noqa: FBT001 - as click calls it
    if value:
        ctx.meta.setdefault(OVERRIDES, {})["secrets.commands"] = False


def _proxy(ctx: click.Context, param: click.Parameter, text: str | None) -> None:
    if text is None:
        return
    from worker.config.urls import parse_proxy

    try:
        proxy = None if text == "none" else parse_proxy(text)
    except ValueError as error:
        raise click.BadParameter(translate(str(error)), param=param) from None
    ctx.meta.setdefault(OVERRIDES, {})["network.proxy"] = proxy


settings: Final = _all(
    click.option(
        "--settings",
        "settings_path",
        metavar="PATH",
        shell_complete=complete.file,
        help=f"Settings file. [{DEFAULT_SETTINGS}, where it exists]",
    ),
    click.option(
        "--no-commands",
        is_flag=True,
        expose_value=False,
        callback=_no_commands,
        help="Do not run commands that files name for secrets. Use it for files from other users.",
    ),
    click.option(
        "--proxy",
        metavar="URL",
        expose_value=False,
        callback=_proxy,
        help="HTTP proxy to the API, such as http://proxy.internal:3128, or none. [network.proxy of the settings]",
    ),
)

_accounts: Final = _all(
    click.option(
        "--account",
        "accounts",
        metavar="NAME",
        multiple=True,
        shell_complete=complete.accounts,
        help="Only this account. Repeatable.",
    ),
)

_selection: Final = _all(
    click.option("--only", metavar="PHONE", multiple=True, help="Only this number. Repeatable."),
    click.option("--exclude", metavar="PHONE", multiple=True, help="All but this number. Repeatable."),
    click.option(
        "--owner",
        "owners",
        metavar="TEXT",
        multiple=True,
        shell_complete=complete.owners,
        help="Only listed numbers with this owner; case-insensitive. Repeatable.",
    ),
    click.option(
        "--note",
        "notes",
        metavar="TEXT",
        multiple=True,
        help="Only listed numbers whose note contains this text; case-insensitive. Repeatable.",
    ),
)

allow: Final = click.option(
    "--allow",
    metavar="RULE",
    multiple=True,
    shell_complete=complete.rules,
    help="Allow changes that this rule refuses or holds: max-deactivations, min-active, fleet-wide, in-use, "
    "replay or all. Repeatable.",
)

allow_fleet_wide: Final = click.option(
    "--allow",
    type=click.Choice(["fleet-wide"]),
    metavar="RULE",
    multiple=True,
    help="Turn off the rule fleet-wide for this revision.",
)


_STDOUT: Final = frozenset({STDOUT, "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"})
"""Values of an option that mean stdout. `./-` means a file with the name `-`."""


def _output(_ctx: click.Context, _param: click.Parameter, path: str | None) -> str | None:
    """Return the path of the file for the document; None if it goes to stdout, by default or by name."""
    return None if path in _STDOUT else path


def _extra(_ctx: click.Context, _param: click.Parameter, path: str | None) -> str | None:
    """Return the path of the file for an additional document; None without the option."""
    return STDOUT if path in _STDOUT else path


output: Final = click.option(
    "--output",
    metavar="FILE",
    callback=_output,
    shell_complete=complete.file,
    help="Write the document to a file instead of stdout. - is stdout.",
)

out: Final = click.option(
    "--out",
    metavar="PLANFILE",
    callback=_extra,
    shell_complete=complete.file,
    help="Save the plan for `senderid apply PLANFILE`. - is stdout; the text then goes to stderr.",
)


def _reviewable(ctx: click.Context, _param: click.Parameter, output_format: str) -> str:
    if output_format == "json" and ctx.params.get("mask"):
        raise click.UsageError(
            Message("--mask cannot be combined with --format json: JSON is for machines and has complete numbers")
        )
    return output_format


def _document(*forms: str) -> Decorator[Any]:
    return _all(
        click.option(
            "-o",
            "--format",
            "output_format",
            type=click.Choice(forms),
            default="text",
            callback=_reviewable,
            help="Output format. [text]",
        ),
        output,
        click.option("--no-color", is_flag=True, help="Disable colour, as the environment variable NO_COLOR does."),
    )


FORMS: Final = ("text", "json", "markdown", "html")
"""The output formats of plans, results and runs. `worker.cli.output` implements them."""

document: Final = _document("text", "json")


def _masking(_ctx: click.Context, param: click.Parameter, example: str | None) -> "Mask | None":
    if example is None:
        return None
    from worker.cli.masked_stderr import MaskedStream
    from worker.render.masking import Mask

    try:
        mask = Mask.of(example)
    except ValueError as error:
        raise click.BadParameter(str(error), param=param) from None
    # masked from now on, as an error of the command line itself may contain a phone number
    MaskedStream.install(mask)
    return mask


def _mask(*, is_exposed: bool) -> Decorator[Any]:
    return click.option(
        "--mask",
        metavar="EXAMPLE",
        callback=_masking,
        is_eager=True,
        expose_value=is_exposed,
        help="Mask digits of numbers in all output and logs, as in 010****5678.",
    )


masked_logs: Final = _mask(is_exposed=False)
"""The option `--mask` of a command that prints no document with phone numbers."""
listing: Final = _all(_document("text", "json", "csv"), _mask(is_exposed=True))
"""The output options of a command that lists numbers."""
reviewable: Final = _all(
    _document(*FORMS),
    click.option("--show-all", is_flag=True, help="List every account and number in text, however many there are."),
    _mask(is_exposed=True),
)
"""The output options of a command that prints a plan, a result or runs."""

desired_output: Final = _all(
    click.option("--account", "name", metavar="NAME", default="main", help="The account's name in the file. [main]"),
    click.option(
        "--output",
        metavar="FILE",
        callback=_output,
        shell_complete=complete.file,
        help="Write to a file instead of stdout, and its schema beside it. - is stdout.",
    ),
    click.option(
        "--schema",
        metavar="PATH",
        help="Schema reference for editors: a path beside the file, or a URL. [senderid.schema.json, written with "
        "--output]",
    ),
    click.option("--force", is_flag=True, help="Overwrite the file of --output."),
)
"""The options of a command that writes a desired-state file."""


def refuse_overwrite(output: str | None, *, force: bool) -> None:
    """Check that the output does not overwrite an existing file.

    Raises:
        UsageError: the file exists, and `force` is False.
    """
    from worker.config.files import is_special

    if output is not None and not force and not is_special(Path(output)) and Path(output).is_file():
        raise UsageError(
            Message(
                "--output {output}: the file exists; choose another, or overwrite it with --force",
                output=output,
            )
        )


def schema_reference(reference: str | None) -> str:
    """Return the schema reference that `--schema` sets, or the default."""
    from worker.render.desired_yaml import SCHEMA_FILE

    return SCHEMA_FILE if reference is None else reference


logging: Final = _all(
    click.option(
        "--log-format",
        type=click.Choice(["auto", "json", "console"]),
        help="Log lines on stderr. auto: console on a terminal, JSON elsewhere. [auto]",
    ),
    click.option(
        "--log-level",
        type=click.Choice(["debug", "info", "warning", "error"]),
        help="Minimum level of log lines. [info]",
    ),
)


class _Gateway(click.ParamType[str]):
    """Option type of the URL of a push gateway."""

    name = "url"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the URL. It is a usage error if the URL is not valid."""
        from worker.config.urls import parse_gateway

        try:
            return parse_gateway(value)
        except ValueError as error:
            self.fail(translate(str(error)), param, ctx)


_metrics: Final = _all(
    click.option(
        "--metrics-file",
        metavar="FILE",
        callback=_extra,
        shell_complete=complete.file,
        help="Write metrics at the end, for the textfile collector of the Prometheus node exporter. With -, they go to "
        "stdout, and the text goes to stderr.",
    ),
    click.option(
        "--metrics-push",
        type=_Gateway(),
        metavar="URL",
        help="Push metrics to this Prometheus push gateway at the end.",
    ),
)

account_files: Final = _all(files, _accounts)
"""The options that select accounts of desired-state files."""
selected: Final = _all(files, settings, _accounts, _selection)
"""The options that select accounts and numbers of desired-state files."""

common: Final = _all(selected, allow, reviewable, _metrics, logging)
"""The common options of `plan`, `apply` and `drift`."""


watch_options: Final = _all(
    selected,
    allow,
    logging,
    click.option("--no-color", is_flag=True, help="Disable colour."),
)
"""The common options of `watch`, which prints no document."""

lock_timeout: Final = click.option(
    "--lock-timeout",
    type=DURATION,
    default=0.0,
    metavar="TIME",
    help="Time to wait for a lease that another run has: 30s, 5m. [no wait]",
)


canary: Final = click.option(
    "--canary",
    type=click.IntRange(min=0),
    metavar="N",
    help="Write to the first N accounts with changes, and to the others only if they succeed. 0: no canary. "
    "[canary.accounts of the settings]",
)


token: Final = click.option(
    "--token-file",
    metavar="PATH",
    help="File with the token that protects the pages. [web.token_file of the settings]",
)


class OutputOptions(Struct, frozen=True, kw_only=True):
    """The values of the output options.

    They are the format (an item of `FORMS`), the mask of phone numbers, the output file (None for stdout), and colour.
    With `show_all`, text lists every account and number.
    """

    output_format: str
    mask: "Mask | None" = None
    output: str | None
    no_color: bool
    show_all: bool = False


class Common(OutputOptions, frozen=True, kw_only=True):
    """The values of the options of `common`. A command may have only some of the options."""

    settings_path: str | None
    paths: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    canary: int | None = None
    log_format: str | None
    log_level: str | None
    metrics_file: str | None = None
    metrics_push: str | None = None
    token_file: str | None = None

    @classmethod
    def of(cls, *, more: tuple[str, ...] = (), paths: tuple[str, ...] = (), **values: Any) -> Self:
        """Return the values of the options of a command whose arguments `more` are paths, too."""
        return cls(paths=(*paths, *more), **values)

    @property
    def selects_numbers(self) -> bool:
        """Return True if the run is limited to some numbers."""
        return any((self.only, self.exclude, self.owners, self.notes))

    @property
    def overrides(self) -> dict[str, object]:
        """The values of settings that options override, by the settings' dotted names."""
        return {
            "canary.accounts": self.canary,
            "log.format": self.log_format,
            "log.level": self.log_level,
            "metrics.push_url": self.metrics_push,
            "web.token_file": self.token_file,
        }


def route_text_output(common: Common, out: str | None = None) -> Common:
    """Return the options with text output moved to stderr if a plan file or metrics go to stdout.

    `out` is the path of the plan file, if any.

    Raises:
        UsageError: two documents would go to stdout, or to the same file.
    """
    extras = {"--out": out, "--metrics-file": common.metrics_file}
    _refuse_one_file({**extras, "--output": common.output})
    names = [f"{name} -" for name, path in extras.items() if path == STDOUT]
    if common.output is None and common.output_format != "text":
        names.append(Message("--format {output_format}", output_format=common.output_format))
    if len(names) > 1:
        raise UsageError(
            Message(
                "{options} would put two documents on stdout: write one of them to a file",
                options=" and ".join(names),
            )
        )
    if names and common.output is None and common.output_format == "text":
        return structs.replace(common, output=STDERR)
    return common


def _refuse_one_file(paths: dict[str, str | None]) -> None:
    option_of_path: dict[Path, str] = {}
    for option, path in paths.items():
        if path is None or path in {STDOUT, STDERR} or (Path(path).exists() and not Path(path).is_file()):
            continue
        other_option = option_of_path.setdefault(Path(path).resolve(), option)
        if other_option != option:
            raise UsageError(
                Message(
                    "{other_option} and {option} name the same file: {path}",
                    other_option=other_option,
                    option=option,
                    path=path,
                )
            )


_PORTS: Final = 65_535


def address(text: str) -> tuple[str, int]:
    """Return host and port of a text such as 127.0.0.1:9464, :9464 or [::1]:9464.

    Raises:
        UsageError: the text is not an address.
    """
    from worker import web

    host, colon, port = text.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    digits = port.isascii() and port.isdigit() and len(port) <= len(str(_PORTS))
    if not colon or not digits or int(port) > _PORTS or host not in {bare, f"[{bare}]"} or ".." in bare:
        raise UsageError(
            Message("--listen {text!r}: write an address and a port, such as 127.0.0.1:9464 or :9464", text=text)
        )
    return bare or web.HOST, int(port)
