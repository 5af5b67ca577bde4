"""`senderid export`: print the current state of an account as a desired-state file."""

import click

from worker.cli import load, options

__all__ = ["command"]


@click.command("export")
@options.settings
@options.desired_output
@options.logging
def command(
    *,
    settings_path: str | None,
    name: str,
    output: str | None,
    schema: str | None,
    force: bool,
    log_format: str | None,
    log_level: str | None,
) -> int:
    """Print the current state of the account of the default credentials as a desired-state file.

    A plan of the exported file has no changes. Credentials are read from SOLAPI_API_KEY and SOLAPI_API_SECRET.

    If a response lacks numbers that the --output file lists, or many numbers of the last run, the account is read
    again. An empty object never replaces a file that lists numbers, not even with --force.
    """
    options.refuse_overwrite(output, force=force)
    settings = load.load_settings(settings_path, {"log.format": log_format, "log.level": log_level})

    from worker.cli import runner, write_desired
    from worker.cli.exit_status import ExitStatus
    from worker.model.errors import ServerError
    from worker.reconcile.fleet import DefaultTarget
    from worker.render.desired_yaml import desired_yaml

    async def verb(run: runner.Session) -> int:
        observed = await run.fleet.read(DefaultTarget(listed=write_desired.listed_numbers(output)), run.log)
        if (refusal := write_desired.refusal(observed, output)) is not None:
            raise ServerError(refusal)
        schema_url = options.schema_reference(schema)
        write_desired.write(
            desired_yaml(observed, name=name, endpoint=settings.endpoint, schema=schema_url), output, schema
        )
        return ExitStatus.OK

    return runner.run(verb, settings, reads_ledger=True)
