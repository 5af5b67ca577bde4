"""`senderid show`: show a saved plan, offline."""

from datetime import UTC, datetime, timedelta
from math import inf
from typing import TYPE_CHECKING

import click

from worker.cli import complete, options
from worker.cli.exit_status import ExitStatus
from worker.render.i18n import gettext as _

if TYPE_CHECKING:
    from worker.plan.planfile import SavedPlan
    from worker.render.masking import Mask

__all__ = ["command"]


@click.command("show")
@click.argument("planfile", shell_complete=complete.file)
@options.reviewable
def command(
    *, planfile: str, output_format: str, mask: "Mask | None", output: str | None, no_color: bool, show_all: bool
) -> int:
    """Show the changes that PLANFILE, written by `senderid plan --out`, would make. Reads no account.

    A plan that is too old to apply is shown too. To compare it with the accounts, use
    `senderid apply PLANFILE --dry-run`.

    Exit status 0, or 65 if the file is not a plan file or was changed.
    """
    from worker.cli import output as printing
    from worker.cli.plan_file import read_plan_file
    from worker.model.plans import Plan
    from worker.plan.build import as_plan, left_out_plan

    saved = read_plan_file(planfile, inf)
    document = Plan(
        created_at=saved.created_at,
        fingerprint=saved.fingerprint,
        accounts=(*map(as_plan, saved.accounts), *map(left_out_plan, saved.left_out)),
    )
    common = options.OutputOptions(
        output_format=output_format, mask=mask, output=output, no_color=no_color, show_all=show_all
    )
    printing.plan(document, common, text_below=_provenance(planfile, saved))
    return ExitStatus.OK


def _provenance(path: str, saved: "SavedPlan") -> str:
    """Return when and by which version the plan was made, until when it may be applied, and the rules it allows."""
    from worker.plan.planfile import MAX_AGE_SECONDS
    from worker.render.terminal import safe

    created = datetime.fromisoformat(saved.created_at)
    end = created + timedelta(seconds=MAX_AGE_SECONDS)
    lines = [
        _("Plan file {path}, created at {time} UTC by senderid {version}.").format(
            path=safe(path), time=f"{created:%Y-%m-%d %H:%M}", version=safe(saved.version)
        )
    ]
    if saved.allow:
        lines.append(_("The plan allows: {rules}.").format(rules=safe(", ".join(saved.allow))))
    if datetime.now(UTC) > end:
        lines.append(_("The plan is too old to apply: plan again, or see --max-age of apply."))
    else:
        lines.append(
            _("The plan can be applied until {time} UTC: senderid apply {path}").format(
                path=safe(path), time=f"{end:%Y-%m-%d %H:%M}"
            )
        )
    return "\n" + "\n".join(lines) + "\n"
