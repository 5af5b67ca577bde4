"""Generate the reference from the code while the site is built, as Markdown.

A page of `docs/reference/` is plain Markdown with a comment such as `<!-- reference: commands -->` where a part goes.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from inspect import cleandoc
from types import MappingProxyType
from typing import Final

import click

from docs._ext.shapes import fields, leaves, settings, shape
from docs._ext.writing import code, prose, table
from worker.cli.exit_status import ExitStatus
from worker.cli.main import senderid
from worker.config.settings import RateLimit, Settings
from worker.model.accounts import Status
from worker.model.errors import ServerError
from worker.model.plans import AccountPlan, Action, tally
from worker.render.log_lines import LogEvent
from worker.solapi.limiter import Quota
from worker.telemetry.fleet_metrics import FleetMetrics
from worker.telemetry.metrics import Metrics

__all__ = ["PARTS", "STATUSES", "fill"]

STATUSES: Final = MappingProxyType(
    {
        ExitStatus.OK: "converged, or nothing to do; a plan was made",
        ExitStatus.ERROR: (
            "an error that is not one number's: credentials, network, wrong account, one account under two names, "
            "local state"
        ),
        ExitStatus.PENDING: "`plan --detailed-exitcode`: changes are pending; `drift`: something drifted",
        ExitStatus.UNCONVERGED: "some numbers did not converge: failed, blocked, missing, held, conflict",
        ExitStatus.REFUSED: "refused by a safety rule, or cancelled at the prompt: nothing was written",
        ExitStatus.BUSY: "another run has the lease of the account",
        ExitStatus.USAGE: "usage error: nothing was sent",
        ExitStatus.INVALID: (
            "invalid desired state (also one account under two names), settings or plan file: nothing was sent"
        ),
        ExitStatus.SIGHUP: "stopped by SIGHUP (a lost connection), like SIGINT; `watch` reloads instead",
        ExitStatus.SIGINT: "stopped by SIGINT (Ctrl-C), after requests in flight were finished and verified",
        ExitStatus.SIGTERM: "stopped by SIGTERM, like SIGINT",
    }
)
"""The meaning of each exit status. A test compares the keys with the code."""

_ENVIRONMENT: Final = (
    ("SOLAPI_API_KEY", "the API key of accounts whose file names no other"),
    ("SOLAPI_API_SECRET", "the secret of that key"),
    ("XDG_STATE_HOME", "the absolute path of the folder for the ledger, unless `ledger.path` is set"),
    (
        "PGPASSWORD",
        "the password for `ledger.url`, unless `ledger.password` is set; other variables of libpq apply too",
    ),
    ("SENDERID_LANG", "the language of messages, `en` or `ko`; `--lang` overrides it"),
    ("LC_ALL", "the language, if `SENDERID_LANG` is not set"),
    ("LC_MESSAGES", "the language, if neither of these is set"),
    ("LANG", "the language, if none of these is set"),
    ("FORGE_TOKEN", "for `python -m worker.cli.ci` in pipelines: the token for comments, issues and artifacts"),
    (
        "SENDERID_KIT_FILES",
        "not a setting: the folder of the files in the [GitLab template](../how-to/gitops.md#gitlab)",
    ),
    ("SENDERID_KIT_IMAGE", "in that template: the image of its jobs"),
    ("SENDERID_KIT_MASK", "in that template: how numbers are shown"),
    ("SENDERID_KIT_ALLOW", "in that template: safety rules to allow, separated by spaces"),
    ("SENDERID_KIT_TOKEN", "in that template: the token for notes and issues"),
    (
        "FORGE_AUTHOR",
        "for `python -m worker.cli.ci` on GitHub: the user whose comments and issues belong to the pipelines",
    ),
    ("GITLAB_CI", "set by GitLab: selects GitLab for `python -m worker.cli.ci`"),
    ("SSL_CERT_FILE", "a file with trusted authorities; the message of a TLS error names a file that does not exist"),
    ("SSLKEYLOGFILE", "a file for the keys of TLS sessions; one that cannot be written is ignored, with a warning"),
    ("NO_COLOR", "set to anything: no colours"),
    ("TERM", "`dumb`: no colours"),
    ("NOTIFY_SOCKET", "set by systemd: the socket for readiness, reloads and stops of `senderid watch`"),
    ("WATCHDOG_USEC", "set by systemd: the interval of the watchdog"),
    ("WATCHDOG_PID", "set by systemd: the process of the watchdog"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "a collector that receives [traces](../how-to/metrics.md#traces)"),
    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "a collector for traces only"),
    ("OTEL_SDK_DISABLED", "`true`: no traces"),
    ("OTEL_TRACES_EXPORTER", "`none`: no traces"),
)

_MARKER: Final = re.compile(r"^<!-- reference: ([a-z]+)(?: ([a-z]+))? -->$", re.MULTILINE)


def fill(page: str) -> str:
    """Replace each marker of a page by that part of the reference.

    Raises:
        KeyError: a marker names no part.
    """
    return _MARKER.sub(lambda found: PARTS[found[1]](*filter(None, [found[2]])), page)


def commands() -> str:
    """Return every command with its usage, help, arguments and options."""
    context = click.Context(senderid, info_name="senderid")
    return "\n\n".join(_verbs(senderid, context))


def _verbs(group: click.Group, context: click.Context) -> Iterator[str]:
    for name in group.list_commands(context):
        verb = group.get_command(context, name)
        assert verb is not None  # noqa: S101 - the group listed it
        inner = click.Context(verb, info_name=name, parent=context)
        yield _verb(verb, inner)
        if isinstance(verb, click.Group):
            yield from _verbs(verb, inner)


def _verb(verb: click.Command, context: click.Context) -> str:
    usage = " ".join([context.command_path, *verb.collect_usage_pieces(context)])
    parts = [f"## {context.command_path}", f"```text\n{usage}\n```", _paragraphs(verb.help or "")]
    options = [each for each in verb.params if isinstance(each, click.Option)]
    if options:
        rows = ((_spelling(each, context), prose(each.help or ""), _given(each)) for each in options)
        parts.append(table(("option", "meaning", "values, default"), rows))
    return "\n\n".join(filter(None, parts))


def _spelling(option: click.Option, context: click.Context) -> str:
    names = [*option.opts, *option.secondary_opts]
    value = "" if option.is_flag or option.count else f" {option.make_metavar(context)}"
    if isinstance(option.type, click.Choice) and not option.metavar:
        value = f" {option.name}".upper()
    return ", ".join(code(f"{name}{value if name == names[-1] else ''}") for name in names)


def _given(option: click.Option) -> str:
    said = []
    if isinstance(option.type, click.Choice):
        said.append(", ".join(code(str(choice)) for choice in option.type.choices))
    if option.multiple:
        said.append("repeatable")
    if option.required:
        said.append("required")
    default = option.default
    if not option.is_flag and isinstance(default, str | int | float) and not isinstance(default, bool):
        said.append(f"default {code(f'{default:g}' if isinstance(default, float) else str(default))}")
    return "; ".join(said)


def _paragraphs(text: str) -> str:
    """Return the help of a command; a paragraph marked as preformatted for click stays so."""
    found = []
    for paragraph in cleandoc(text).split("\n\n"):
        if paragraph.startswith("\b"):
            found.append(f"```text\n{paragraph.lstrip(chr(8)).strip(chr(10))}\n```")
        else:
            found.append(prose(" ".join(paragraph.split())))
    return "\n\n".join(found)


def environment() -> str:
    """Return every environment variable: external ones, and one for each setting."""
    variables = [(code(name), meaning) for name, meaning in _ENVIRONMENT]
    variables += [
        (code("SENDERID_" + "__".join(path).upper()), f"[{'.'.join(path)}](settings.md)")
        for path, _ in leaves(Settings, ())
    ]
    return table(("variable", "meaning"), variables)


def statuses() -> str:
    """Return every exit status."""
    return table(("exit status", "meaning"), ((code(str(status.value)), STATUSES[status]) for status in ExitStatus))


def events() -> str:
    """Return every event of the log by its name."""
    return "\n".join(f"- {code(event.value)}" for event in LogEvent)


def metrics() -> str:
    """Return every metric with its type, labels and help, as a scraper reads them."""
    found = Metrics()
    # a metric with labels appears only once it has a value
    found.count_plan(AccountPlan(account="main", counts=tally(Action, {})), {Status.ACTIVE: 1})
    found.set_suspensions({"main": 1.0})
    found.record_request("GET", 0.1, 200)
    found.record_retry(ServerError("down"))
    found.set_quotas([Quota(RateLimit(), clock=lambda: 0.0)])
    FleetMetrics(found.registry)
    rows = []
    for family in found.registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = sorted({label for sample in family.samples for label in sample.labels} - {"le"})
        rows.append((code(name), family.type, ", ".join(map(code, labels)), prose(family.documentation)))
    return table(("metric", "type", "labels", "meaning"), sorted(rows))


PARTS: Final[Mapping[str, Callable[..., str]]] = MappingProxyType(
    {
        "commands": commands,
        "settings": settings,
        "environment": environment,
        "statuses": statuses,
        "fields": fields,
        "events": events,
        "metrics": metrics,
        "schema": shape,
    }
)
"""Parts by the name in a marker; `schema` takes the name of a schema."""
