"""`senderid apply`: plan, confirm, write and verify; or apply a saved plan."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from worker.cli import complete, load, options
from worker.cli.document_conflicts import documents_in
from worker.cli.metrics import RunMetrics, run_metrics
from worker.cli.planning import (
    is_interactive,
    notify,
    notifying_of_files,
    plan,
    plan_accounts,
    preview,
    review,
    run_and_report,
)
from worker.config import files as sources
from worker.model.errors import PlanFileError, UsageError, WorkerError
from worker.model.messages import Message

if TYPE_CHECKING:
    from worker.cli.runner import Session
    from worker.config.settings import Settings
    from worker.model.accounts import DesiredAccount
    from worker.model.plans import AccountPlan
    from worker.model.results import AccountResult
    from worker.plan.build import Draft, Terms
    from worker.plan.comparison import CurrentFiles
    from worker.plan.planfile import SavedPlan

__all__ = ["command"]


class _PlanFile(NamedTuple):
    """The options of a saved plan.

    `max_age` is in seconds; None means the default. `folder` is where its desired-state files are, if they have moved.
    If `is_compared` is True, the plan is compared with these files.
    """

    path: str
    max_age: float | None
    folder: str | None
    is_compared: bool


@click.command("apply")
@click.argument("planfile", required=False, shell_complete=complete.file)
@options.common
@click.option("-y", "--yes", is_flag=True, help="Skip the prompt. Required without a terminal.")
@click.option("--dry-run", is_flag=True, help="Show the plan only, and write nothing.")
@options.canary
@options.lock_timeout
@click.option(
    "--files",
    "folder",
    metavar="DIR",
    shell_complete=complete.file,
    help="Folder of a saved plan's desired-state files, if they moved. [as named in the plan]",
)
@click.option("--no-files", is_flag=True, help="Skip the comparison of a saved plan with its desired-state files.")
@click.option(
    "--max-age",
    type=options.DURATION,
    metavar="TIME",
    help="Maximum age of a saved plan: 90m, 24h, 7d. [24h]",
)
def command(
    *,
    planfile: str | None,
    yes: bool,
    dry_run: bool,
    lock_timeout: float,
    folder: str | None,
    no_files: bool,
    max_age: float | None,
    **common: Any,
) -> int:
    """Plan, confirm, write and verify. With PLANFILE, apply that saved plan without a prompt.

    Activations are written first. With `safety.pair_swaps: hold`, nothing is deactivated while an activation fails.

    A saved plan is applied once; `senderid show PLANFILE` shows it. A number whose desired state has changed since is a
    conflict and is not written.

    Exit status: 0 converged, 1 error, 3 some numbers did not converge, 4 refused, 5 another run has the lease of the
    account.
    """
    common_options = options.route_text_output(options.Common(**common))
    if planfile is not None:
        _check_unchanged(common_options)
        _check_folder(folder, no_files=no_files)
        file = _PlanFile(planfile, max_age, folder, is_compared=not no_files)
        return _apply_saved(file, common_options, dry_run=dry_run, lock_timeout=lock_timeout)
    if max_age is not None:
        raise UsageError(Message("--max-age requires a saved plan: senderid apply PLANFILE"))
    if folder is not None or no_files:
        raise UsageError(Message("--files and --no-files require a saved plan: senderid apply PLANFILE"))
    return plan(common_options) if dry_run else _apply(common_options, must_confirm=not yes, lock_timeout=lock_timeout)


def _apply(common: options.Common, *, must_confirm: bool, lock_timeout: float) -> int:
    if must_confirm and ("-" in common.paths or not is_interactive()):
        raise UsageError(
            Message("there is no terminal for the prompt: review the plan (senderid plan), then apply with --yes")
        )
    settings = load.load_settings(common.settings_path, common.overrides)
    with run_metrics(settings, common.metrics_file) as metering:
        return _apply_files(common, settings, metering, must_confirm=must_confirm, lock_timeout=lock_timeout)


def _apply_files(
    common: options.Common, settings: "Settings", metering: RunMetrics, *, must_confirm: bool, lock_timeout: float
) -> int:
    rules = load.parse_rules(common.allow)
    from worker.cli.ledger import LedgerOptions
    from worker.config.revision import with_commits

    with notifying_of_files(settings):
        accounts, others = load.load_with_others(settings, common.paths, common.accounts)
    desired = with_commits(accounts)
    selection = load.parse_selection(common, desired, others)

    from worker.plan.build import Terms

    terms = Terms.of(settings, selection, rules)
    plans: list[AccountPlan] = []

    async def apply_files(run: "Session") -> "list[AccountResult]":
        drafts = await plan_accounts(run, desired, terms, others)
        plans.extend(draft.plan for draft in drafts)
        decline_error = await review(run, drafts, common, must_confirm=must_confirm)
        return await _apply_drafts(run, desired, drafts, terms, decline_error)

    async def report(run: "Session", results: "list[AccountResult]") -> None:
        await notify(run, plans, results, "account")

    return run_and_report(
        apply_files,
        settings,
        common,
        LedgerOptions("apply", lock_timeout),
        metering=metering,
        report=None if common.selects_numbers else report,
    )


def _check_unchanged(common: options.Common) -> None:
    if any((common.paths, common.accounts, common.only, common.exclude, common.owners, common.notes)):
        raise UsageError(
            Message(
                "a saved plan is applied unchanged: -f, --account, --only, --exclude, --owner and --note cannot be "
                "combined with it"
            )
        )


def _check_folder(folder: str | None, *, no_files: bool) -> None:
    if folder is None:
        return
    if no_files:
        raise UsageError(Message("--files and --no-files cannot be combined"))
    if not os.path.isdir(folder):  # noqa: PTH112 - Path.is_dir raises where a name is too long
        raise UsageError(Message("--files {folder}: no such folder", folder=folder))


def _apply_saved(file: _PlanFile, common: options.Common, *, dry_run: bool, lock_timeout: float) -> int:
    settings = load.load_settings(common.settings_path, common.overrides)
    with run_metrics(settings, common.metrics_file) as metering:
        return _apply_file(file, common, settings, metering, dry_run=dry_run, lock_timeout=lock_timeout)


def _apply_file(
    file: _PlanFile,
    common: options.Common,
    settings: "Settings",
    metering: RunMetrics,
    *,
    dry_run: bool,
    lock_timeout: float,
) -> int:
    rules = load.parse_rules(common.allow)

    from worker.cli.ledger import LedgerOptions, ledger_database
    from worker.cli.plan_file import read_plan_file
    from worker.ledger.readonly import plan_use_reader
    from worker.model.accounts import PlanFile
    from worker.model.plans import AccountPlan
    from worker.plan.build import Draft, left_out_plan
    from worker.plan.safety import ALLOW_ALL, REPLAY

    saved_plan = read_plan_file(file.path, file.max_age)
    _check_endpoints(file.path, saved_plan, settings)
    _check_keys(file.path, saved_plan, settings)
    files = _CurrentFiles(saved_plan, settings, file.folder) if file.is_compared else None
    _check_commands(file.path, saved_plan, files)
    # a replay must be allowed by the options of this command: the plan cannot allow its own replay
    replays = not rules.isdisjoint({REPLAY, ALLOW_ALL})
    plan = None if replays else PlanFile(saved_plan.id, saved_plan.created_at)
    allow = rules | set(saved_plan.allow)

    async def read(run: "Session") -> "list[Draft]":
        run.log.info("run.started", accounts=len(saved_plan.accounts), fingerprint=saved_plan.fingerprint)
        earlier_run = None if plan is None else plan_use_reader(ledger_database(settings), plan)
        drafts = await run.fleet.preview_saved(saved_plan.accounts, allow, earlier_run=earlier_run, files=files)
        return [*drafts, *(Draft(left_out_plan(account), {}) for account in saved_plan.left_out)]

    async def apply_saved_plan(run: "Session") -> "list[AccountResult]":
        run.log.info("run.started", accounts=len(saved_plan.accounts), fingerprint=saved_plan.fingerprint)
        run.progress.start(sum(len(account.changes) for account in saved_plan.accounts))
        results = await run.fleet.apply_saved(saved_plan.accounts, allow, run.progress, plan=plan, files=files)
        return [*results, *await run.fleet.leave_out(saved_plan.left_out, file.path)]

    if dry_run:
        return preview(read, settings, common, metering=metering)

    async def report(run: "Session", results: "list[AccountResult]") -> None:
        plans = (
            AccountPlan(account=each.account, account_id=each.account_id, counts={}, changes=each.changes)
            for each in saved_plan.accounts
        )
        await notify(run, plans, results[: len(saved_plan.accounts)], "writes")

    ledger = LedgerOptions("apply PLANFILE", lock_timeout, saved_plan.id)
    return run_and_report(apply_saved_plan, settings, common, ledger, metering=metering, report=report)


def _check_endpoints(path: str, saved_plan: "SavedPlan", settings: "Settings") -> None:
    """Check the endpoints of a plan, as the author of a plan file must not choose where credentials are sent.

    Raises:
        PlanFileError: an endpoint is neither the vendor's nor that of the settings.
    """
    from worker.config.urls import parse_endpoint

    for account in saved_plan.accounts:
        try:
            endpoint = parse_endpoint(account.endpoint)
        except ValueError as error:
            raise PlanFileError(
                Message("{path}: account {account!r}: {error}", path=path, account=account.account, error=str(error))
            ) from None
        if not endpoint.is_known and endpoint != parse_endpoint(settings.endpoint):
            raise PlanFileError(
                Message(
                    "{path}: account {account!r} has the endpoint {url}, which is neither the vendor's nor that "
                    "of the settings: to allow it, set SENDERID_ENDPOINT to it",
                    path=path,
                    account=account.account,
                    url=endpoint.url,
                )
            )


def _check_commands(path: str, saved_plan: "SavedPlan", files: "_CurrentFiles | None") -> None:
    """Check the commands of a plan, as the author of a plan file must not choose which programs are run.

    Raises:
        PlanFileError: a command for a secret is not that of the current desired-state files.
    """
    for account in saved_plan.accounts:
        if account.credentials is None or not account.credentials.has_command:
            continue
        desired = None if files is None else files(account.account).desired
        if desired is None or desired.credentials != account.credentials:
            raise PlanFileError(
                Message(
                    "{path}: account {account!r} has credentials from a command that its desired-state file does not "
                    "name: plan again, and apply the plan with its files",
                    path=path,
                    account=account.account,
                )
            )


class _CurrentFiles:
    """Reader of the current desired-state files of a plan, which reads them again after changes."""

    def __init__(self, saved_plan: "SavedPlan", settings: "Settings", folder: str | None) -> None:
        """Read the files. `folder` is where they are if they have moved; None means the paths in the plan.

        Raises:
            DesiredStateError: a file is invalid. The error lists every problem.
        """
        from worker.config.desired import is_shared
        from worker.model.ports import sources as sources_of

        # a file with defaults is found beside the files that share it
        self._names = {
            account.account: tuple(name for name in sources_of(account) if not is_shared(name))
            for account in saved_plan.accounts
        }
        self._check = load.document_checks(settings.endpoint)
        self._folder = folder
        self._read()

    def __call__(self, account: str) -> "CurrentFiles":
        """Return the current files of the account that is named `account`.

        Raises:
            DesiredStateError: a changed file is invalid.
        """
        if self._read_versions(account) != self._versions[account]:
            self._read()
        return self._current[account]

    def _read(self) -> None:
        from worker.config import desired
        from worker.plan.comparison import CurrentFiles

        self._versions = {account: self._read_versions(account) for account in self._names}
        paths_to_read: dict[str, None] = {}
        missing_files: dict[str, tuple[str, ...]] = {}
        for account, names in self._names.items():
            paths = {name: sources.locate(name, self._folder) for name in names}
            paths_to_read |= dict.fromkeys(path for path in paths.values() if path is not None)
            missing_files[account] = tuple(
                name for name, path in paths.items() if path is None and name != sources.STDIN
            )
            paths_to_read |= dict.fromkeys(
                path for name in missing_files[account] for path in self._describing_files(name, account)
            )
        paths_by_identity: dict[sources.FileIdentity, str] = {}
        contents = (sources.read_file(path, paths_by_identity) for path in paths_to_read)
        shared_files = sources.SharedFiles()
        loaded_accounts = desired.load(contents, self._check, shared_files).accounts if paths_to_read else ()
        accounts = {account.name: account for account in loaded_accounts}
        self._current = {
            account: CurrentFiles(accounts.get(account), missing_files[account], from_stdin=sources.STDIN in names)
            for account, names in self._names.items()
        }

    def _describing_files(self, name: str, account: str) -> list[str]:
        """Return the files that describe an account in the folder of a missing file, as that may have been renamed."""
        folder = sources.locate(str(Path(name).parent), self._folder)
        paths = [] if folder is None else sources.yaml_files(Path(folder))
        return [
            path
            for path in paths
            if any(document.name == account and document.is_named for document in documents_in(path))
        ]

    def _read_versions(self, account: str) -> "list[sources.FileVersion | None]":
        paths = [sources.locate(name, self._folder) for name in self._names[account]]
        shared_paths = [None if path is None else str(sources.shared_path(path)) for path in paths]
        return [None if path is None else sources.read_version(path) for path in (*paths, *shared_paths)]


def _check_keys(path: str, saved_plan: "SavedPlan", settings: "Settings") -> None:
    """Check that accounts with different ids in the plan have different API keys in this environment.

    Raises:
        PlanFileError: two accounts have the same API key. The message names both.
    """
    from worker.config.desired import find_same_accounts

    for pair in find_same_accounts(saved_plan.accounts, load.document_checks(settings.endpoint).resolver):
        first, second = pair.first.account, pair.second.account
        raise PlanFileError(
            Message(
                "{path}: accounts {first!r} and {second!r} have the same API key, which belongs to one account: "
                "plan again",
                path=path,
                first=first,
                second=second,
            )
        )


async def _apply_drafts(
    run: "Session",
    desired: "Sequence[DesiredAccount]",
    drafts: "Sequence[Draft]",
    terms: "Terms",
    decline_error: WorkerError | None,
) -> "list[AccountResult]":
    if decline_error is not None:
        await run.record_reads(desired, drafts, [None] * len(drafts), terms)
        return await run.fleet.decline(desired, drafts, terms, decline_error)
    # `apply` plans for the current time: a transition that came due during the prompt makes the plan stale
    results = await run.fleet.apply(desired, drafts, terms, run.progress)
    await run.record_reads(desired, drafts, results, terms)
    return results
