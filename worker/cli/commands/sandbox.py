"""`senderid sandbox`: serve the simulated API."""

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from worker.cli import signals
from worker.model.errors import UsageError
from worker.model.messages import Message, system_text

if TYPE_CHECKING:
    from worker.sandbox import SandboxAccount

__all__ = ["command"]

_NUMBERS = 20


@click.command("sandbox")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port; 0 chooses a free one. [0]")
@click.option(
    "--numbers", type=click.IntRange(0, 1_000_000), help=f"Number of phone numbers in the account. [{_NUMBERS}]"
)
@click.option("--state", metavar="FILE.json", help="Account document to start from, instead of --numbers.")
@click.option(
    "--faults", type=click.Choice(["calm", "flaky", "hostile"]), default="calm", help="Injected faults. [calm]"
)
@click.option("--api-key", metavar="K", help="[generated]")
@click.option("--api-secret", metavar="S", help="[generated]")
@click.option("--rate-limit", metavar="W/R", default="100/20", help="Maximum writes and reads per 5 seconds. [100/20]")
@click.option("--seed", type=int, default=0, help="Seed for the generated phone numbers and faults. [0]")
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
    """Serve a simulated sender-number API on 127.0.0.1 until a signal ends it.

    SIGHUP, SIGINT and SIGTERM end the process with exit status 129, 130 and 143.

    The simulated API checks signatures, clocks and rate limits like the real one. When it is ready, the command prints
    one JSON line with url, api_key and api_secret: set SENDERID_ENDPOINT, SOLAPI_API_KEY and SOLAPI_API_SECRET to these
    values. `accounts` in that line has the keys of every account.
    """
    if state is not None and numbers is not None:
        raise UsageError(Message("--state and --numbers cannot be combined"))
    limits = _rate_limit(rate_limit)
    accounts = _accounts(state, _NUMBERS if numbers is None else numbers, seed)
    for account in accounts[:1]:
        account.api_key = api_key or account.api_key
        account.api_secret = api_secret or account.api_secret

    from worker.sandbox import Sandbox

    async def serve() -> int:
        box = Sandbox(accounts, faults=faults, seed=seed, rate_limit=limits)
        with signals.stop_signal(asyncio.get_running_loop()) as exit_status:
            try:
                url = await box.start(port)
            except OSError as error:
                raise UsageError(
                    Message(
                        "cannot listen on --port {port}: {strerror}",
                        port=port,
                        strerror=system_text(error.strerror),
                    )
                ) from None
            keys = [
                {"account_id": account.account_id, "api_key": account.api_key, "api_secret": account.api_secret}
                for account in accounts
            ]
            first = {name: keys[0][name] for name in ("api_key", "api_secret")}
            click.echo(json.dumps({"url": url, **first, "accounts": keys}))
            try:
                return await exit_status
            finally:
                await box.stop()

    return asyncio.run(serve())


def _rate_limit(text: str) -> tuple[int, int]:
    writes, _, reads = text.partition("/")
    if not (writes.isdecimal() and reads.isdecimal() and int(writes) and int(reads)):
        raise UsageError(Message("--rate-limit {text!r}: use writes/reads, such as 100/20", text=text))
    return int(writes), int(reads)


def _accounts(state: str | None, numbers: int, seed: int) -> "list[SandboxAccount]":
    from worker.sandbox import generate, load_state

    if state is None:
        return [generate(numbers, seed=seed)]
    try:
        return load_state(Path(state).read_bytes())
    except OSError as error:
        raise UsageError(
            Message("--state {state}: cannot be read: {strerror}", state=state, strerror=system_text(error.strerror))
        ) from None
    except ValueError as error:
        raise UsageError(Message("--state {state}: {error}", state=state, error=str(error))) from None
