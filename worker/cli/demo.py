"""`senderid demo`: the whole story on an embedded sandbox, no account needed."""

import time
from collections import Counter
from typing import TYPE_CHECKING, Final

import click

from worker.cli.status import ExitStatus
from worker.documents import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.cli.session import Page, Session
    from worker.documents import AccountResult, Plan
    from worker.reconcile import Draft
    from worker.sandbox import Sandbox, SandboxAccount

__all__ = ["command"]

_NUMBERS: Final = 24
_SEED: Final = 7
_HEAD: Final = 8
"""Lines of the desired state that are shown."""


@click.command("demo", short_help="Show the whole story, no account needed.")
@click.option("--seed", type=int, default=_SEED, help="Other numbers and other faults.")
@click.option("--no-color", is_flag=True, help="No colours; so does the environment variable NO_COLOR.")
def command(*, seed: int, no_color: bool) -> int:
    """Show the whole story in some seconds: a plan, an apply through faults, a proof. No account is needed."""
    from worker.cli import session
    from worker.cli.inputs import Known
    from worker.credentials import Credentials, Secret
    from worker.sandbox import Sandbox, generate
    from worker.settings import LogSettings, RateLimit, Retry, Settings, Timeout

    account = generate(_NUMBERS, seed=seed)
    settings = Settings(
        rate_limit=RateLimit(writes=100, reads=20),
        retry=Retry(attempts=8, base_seconds=0.1, cap_seconds=1.0),
        timeout=Timeout(connect_seconds=1.0, total_seconds=1.5),
        log=LogSettings(level="error"),
    )

    async def verb(run: "Session") -> int:
        async with Sandbox([account], faults="flaky", seed=seed) as sandbox:
            return await _story(run, sandbox, account, session.Page.of(no_color=no_color))

    credentials = Credentials(account.api_key, Secret(account.api_secret))
    return session.run(verb, settings, resolver=Known(credentials), no_color=no_color)


async def _story(run: "Session", sandbox: "Sandbox", account: "SandboxAccount", page: "Page") -> int:
    from worker import desired
    from worker.cli.session import emit
    from worker.documents import RunOutcome
    from worker.reconcile import Terms
    from worker.render import text

    began = time.monotonic()
    emit(f"A simulated API listens at {sandbox.url}, with an account of {len(account.numbers)} numbers.\n")
    emit("It checks signatures, clocks and quotas like the real one, and it is unreliable on purpose.\n")
    wanted = _wanted(account, sandbox.url)
    emit("\n1. What is wanted, in a file:\n\n")
    head = wanted.splitlines()
    emit("".join(f"     {line}\n" for line in [*head[:_HEAD], f"  … {len(head) - _HEAD} more lines"]))

    loaded = desired.load([("demo.yaml", wanted.encode())]).accounts
    emit("\n2. senderid plan: what would change\n\n")
    drafts = await run.fleet.plan(loaded, Terms())
    emit(text.plan(_document(drafts), color=page.color, width=page.width))

    emit("\n3. senderid apply: carried out, through everything that goes wrong on the way\n\n")
    results = await run.fleet.apply(loaded, drafts, Terms(), run.progress)
    result = run.result(results)
    emit(text.result(result, color=page.color, width=page.width))

    emit("\n4. senderid plan, once more\n\n")
    again = await run.fleet.plan(loaded, Terms())
    emit(text.plan(_document(again), color=page.color, width=page.width))

    emit(
        _proof(
            sandbox, results, pending=sum(len(draft.plan.writes) for draft in again), seconds=time.monotonic() - began
        )
    )
    settled = result.outcome is RunOutcome.CONVERGED and not any(draft.plan.writes or draft.error for draft in again)
    return ExitStatus.OK if settled else ExitStatus.UNCONVERGED


def _wanted(account: "SandboxAccount", url: str) -> str:
    """A desired state that switches a third of the numbers: those INACTIVE on, and some ACTIVE ones off."""
    from worker.model import Status
    from worker.render.numbers import hyphenated

    lines = ["version: 1", "account: demo", f"endpoint: {url}", "numbers:"]
    off = 2
    for phone, status in account.statuses.items():
        wanted = Status.ACTIVE
        if status == Status.ACTIVE and off:
            wanted, off = Status.INACTIVE, off - 1
        lines.append(f"  {hyphenated(phone)}: {wanted}")
    return "\n".join(lines) + "\n"


def _document(drafts: "Sequence[Draft]") -> "Plan":
    from worker.cli.plan import document

    return document(drafts)


def _proof(sandbox: "Sandbox", results: "Sequence[AccountResult]", *, pending: int, seconds: float) -> str:
    """What the simulated API saw, beside what the worker says."""
    wire = sandbox.wire
    writes = [request for request in wire if request.method == "PUT"]
    signatures = {request.signature for request in wire}
    faults = Counter(request.fault.name.lower() for request in wire if request.fault is not None)
    met = ", ".join(f"{name} {count}" for name, count in faults.most_common()) or "none"
    told = sum(result.requests.writes for result in results)
    changed = sum(result.counts[Outcome.CHANGED] for result in results)
    switched = len({request.phone for request in writes if request.applied})
    return (
        "\nWhat was proven, counted by the API and not by the worker:\n"
        f"  - {len(wire)} requests arrived, {sum(faults.values())} of them met a fault ({met});\n"
        f"  - {len(signatures)} different signatures: no attempt was sent twice behind the worker's back;\n"
        f"  - {len(writes)} writes arrived, the worker says {told};\n"
        f"  - {switched} numbers were switched, {changed} are called changed, each seen so by a look afterwards;\n"
        f"  - {pending} changes are pending now.\n"
        f"\nAll of that took {seconds:.1f} s. Where to go next:\n"
        "  senderid sandbox           this API, to try things on yourself\n"
        "  senderid export            a file of what your own account has (SOLAPI_API_KEY, SOLAPI_API_SECRET)\n"
        "  senderid --help            everything else, and README.md\n"
    )
