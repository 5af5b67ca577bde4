"""`senderid demo`: plan, apply and verify on an embedded sandbox."""

import time
from collections import Counter
from typing import TYPE_CHECKING, Final

import click

from worker.cli.exit_status import ExitStatus
from worker.cli.output import TextStyle
from worker.model.results import Outcome
from worker.render.i18n import gettext as _

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.cli.runner import Session
    from worker.model.plans import Plan
    from worker.model.results import AccountResult
    from worker.plan.build import Draft
    from worker.sandbox import Sandbox, SandboxAccount

__all__ = ["command"]

_NUMBERS: Final = 24
_SEED: Final = 7
_HEAD: Final = 8
"""Lines of the desired-state file that the demo shows."""


@click.command("demo")
@click.option("--seed", type=int, default=_SEED, help="Seed for the generated phone numbers and faults.")
@click.option("--no-color", is_flag=True, help="Disable colour, as the environment variable NO_COLOR does.")
def command(*, seed: int, no_color: bool) -> int:
    """Plan, apply despite faults and verify on a simulated API, within seconds. No account is needed."""
    from worker.cli import runner
    from worker.cli.credentials import FixedCredentials
    from worker.config.settings import LogSettings, RateLimit, Retry, Settings, Timeout
    from worker.model.credentials import Credentials, Secret
    from worker.sandbox import Sandbox, generate

    account = generate(_NUMBERS, seed=seed)
    settings = Settings(
        rate_limit=RateLimit(writes=100, reads=20),
        retry=Retry(attempts=8, base_seconds=0.1, cap_seconds=1.0),
        timeout=Timeout(connect_seconds=1.0, total_seconds=1.5),
        log=LogSettings(level="error"),
    )

    async def verb(run: "Session") -> int:
        async with Sandbox([account], faults="flaky", seed=seed) as sandbox:
            return await _run_demo(run, sandbox, account, TextStyle.of(no_color=no_color))

    credentials = Credentials(account.api_key, Secret(account.api_secret))
    return runner.run(verb, settings, resolver=FixedCredentials(credentials), no_color=no_color)


async def _run_demo(run: "Session", sandbox: "Sandbox", account: "SandboxAccount", style: "TextStyle") -> int:
    from worker.cli.output import emit
    from worker.config import desired
    from worker.model.results import RunOutcome
    from worker.plan.build import Terms
    from worker.render import text

    start = time.monotonic()
    introduction = _(
        "A simulated API listens at {url}, with an account of {count} numbers.\n"
        "It checks signatures, clocks and quotas like the real one, and it is unreliable on purpose."
    )
    emit(introduction.format(url=sandbox.url, count=len(account.numbers)) + "\n")
    text_of_file = _desired_text(account, sandbox.url)
    _chapter(_("1. The desired state, in a file:"))
    head = text_of_file.splitlines()
    more_text = _("… {count} more lines").format(count=len(head) - _HEAD)
    emit("".join(f"     {line}\n" for line in [*head[:_HEAD], f"  {more_text}"]))

    accounts = desired.load([("demo.yaml", text_of_file.encode())]).accounts
    _chapter(_("2. senderid plan: what would change"))
    drafts = await run.fleet.plan(accounts, Terms())
    emit(text.plan(_document(drafts), color=style.color, width=style.width))

    _chapter(_("3. senderid apply: apply the changes despite injected faults"))
    results = await run.fleet.apply(accounts, drafts, Terms(), run.progress)
    result = run.result(results)
    emit(text.result(result, color=style.color, width=style.width))

    _chapter(_("4. senderid plan, again"))
    second_drafts = await run.fleet.plan(accounts, Terms())
    emit(text.plan(_document(second_drafts), color=style.color, width=style.width))

    emit(
        _proof(
            sandbox,
            results,
            pending=sum(len(draft.plan.writes) for draft in second_drafts),
            seconds=time.monotonic() - start,
        )
    )
    has_converged = result.outcome is RunOutcome.CONVERGED and not any(
        draft.plan.writes or draft.error for draft in second_drafts
    )
    return ExitStatus.OK if has_converged else ExitStatus.UNCONVERGED


def _chapter(title: str) -> None:
    from worker.cli.output import emit

    emit(f"\n{title}\n\n")


def _desired_text(account: "SandboxAccount", url: str) -> str:
    """Return a desired-state file that activates the INACTIVE numbers and deactivates two ACTIVE ones."""
    from worker.model.accounts import Status
    from worker.model.phones import hyphenated

    lines = ["version: 1", "account: demo", f"endpoint: {url}", "numbers:"]
    deactivations_left = 2
    for phone, status in account.statuses.items():
        desired = Status.ACTIVE
        if status == Status.ACTIVE and deactivations_left:
            desired, deactivations_left = Status.INACTIVE, deactivations_left - 1
        lines.append(f"  {hyphenated(phone)}: {desired}")
    return "\n".join(lines) + "\n"


def _document(drafts: "Sequence[Draft]") -> "Plan":
    from worker.cli.planning import plan_document

    return plan_document(drafts)


def _proof(sandbox: "Sandbox", results: "Sequence[AccountResult]", *, pending: int, seconds: float) -> str:
    """Return a text that compares the counts of the simulated API with the counts of the worker."""
    wire = sandbox.wire
    writes = [request for request in wire if request.method == "PUT"]
    signatures = {request.signature for request in wire}
    faults = Counter(request.fault.name.lower() for request in wire if request.fault is not None)
    fault_counts = ", ".join(f"{name} {count}" for name, count in faults.most_common()) or _("none")
    reported_writes = sum(result.requests.writes for result in results)
    reported_changes = sum(result.counts[Outcome.CHANGED] for result in results)
    switched_count = len({request.phone for request in writes if request.is_applied})
    proof = _(
        "Verified by the counts of the sandbox API, not of the worker:\n"
        "  - {requests} requests arrived, {faults} of them had an injected fault ({fault_counts});\n"
        "  - {signatures} different signatures: no request was sent twice without the worker's knowledge;\n"
        "  - {writes} writes arrived, the worker reports {reported_writes};\n"
        "  - {switched} numbers were switched, {changed} are reported as changed, each confirmed by a later read;\n"
        "  - {pending} changes are pending now."
    ).format(
        requests=len(wire),
        faults=sum(faults.values()),
        fault_counts=fault_counts,
        signatures=len(signatures),
        writes=len(writes),
        reported_writes=reported_writes,
        switched=switched_count,
        changed=reported_changes,
        pending=pending,
    )
    further = _(
        "The demo took {seconds} s. Next steps:\n"
        "  senderid sandbox           run this simulated API yourself\n"
        "  senderid export            write the numbers of your account to a file (SOLAPI_API_KEY, SOLAPI_API_SECRET)\n"
        "  senderid --help            list all commands; see also README.md"
    ).format(seconds=f"{seconds:.1f}")
    return f"\n{proof}\n\n{further}\n"
