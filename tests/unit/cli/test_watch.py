"""The options of `senderid watch` over a reload."""

from pathlib import Path
from typing import Any, cast

import pytest

from worker.cli import load
from worker.cli.commands.watch import _Daemon, _files, _terms
from worker.cli.options import Common
from worker.plan.policy import Selection

A, B = "01000000001", "01000000002"


def test_options_stay_in_force_over_a_reload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings change. The selection, the allowed rules and the overridden settings do not."""
    monkeypatch.chdir(tmp_path)
    Path("d").mkdir()
    for name, status in (("main", "ACTIVE"), ("shop", "INACTIVE")):
        keys = f"credentials: {{api_key: {{env: KEY_{name}}}, api_secret: {{env: SECRET_{name}}}}}"
        Path(f"d/{name}.yaml").write_text(f"version: 1\n{keys}\nnumbers: {{{A}: {status}, {B}: {status}}}\n")
    Path("worker.yaml").write_text("{safety: {max_deactivations: 1}, canary: {accounts: 2}, log: {level: info}}")
    common = Common(
        output_format="text",
        output=None,
        no_color=False,
        settings_path="worker.yaml",
        paths=("d",),
        accounts=("main",),
        only=(A, B),
        exclude=(B,),
        allow=("max-deactivations", "in-use"),
        canary=1,
        log_format=None,
        log_level="error",
    )
    settings = load.load_settings(common.settings_path, common.overrides)
    files = _files(common, settings)
    terms = _terms(common, settings, files)
    daemon = _Daemon(common, settings, terms, files, cast("Any", None))
    Path("worker.yaml").write_text("{safety: {max_deactivations: 7}, canary: {accounts: 3}, log: {level: debug}}")
    settings_after, terms_after = daemon._reread()
    assert [str(value.safety.max_deactivations) for value in (terms, terms_after)] == ["1", "7"]
    assert (settings_after.canary.accounts, settings_after.log.level) == (1, "error")
    assert terms_after.selection == Selection(frozenset({A, B}), frozenset({B}))
    assert terms_after.allow == {"max-deactivations", "in-use"}
    files.refresh(read_all=True)
    assert [account.name for account in files.accounts] == ["main"]
