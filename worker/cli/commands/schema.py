"""`senderid schema`: print JSON Schemas."""

import click

from worker.cli.exit_status import ExitStatus

__all__ = ["command"]

_NAMES = (
    "desired",
    "shared",
    "settings",
    "plan",
    "result",
    "history",
    "calendar",
    "status",
    "page",
    "fleet",
    "doctor",
    "log",
)


@click.command("schema")
@click.argument("name", metavar="[NAME]", required=False, type=click.Choice(_NAMES))
def command(name: str | None) -> int:
    """Print the JSON Schema of a document: desired, shared, settings, plan, result, history, calendar, status, page,
    fleet, doctor or log.

    desired is the schema of desired-state files, and shared that of senderid.yaml, which has the defaults of a folder.
    Without a name, print all schemas in one object, by name.
    """
    from worker.cli.output import emit
    from worker.render import json_document
    from worker.render.json_schema import schema

    emit(json_document.encode(schema(name) if name else {schema_name: schema(schema_name) for schema_name in _NAMES}))
    return ExitStatus.OK
