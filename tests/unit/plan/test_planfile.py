"""The content of plan files."""

from datetime import UTC, datetime

import msgspec
import pytest

from worker.model.accounts import DesiredAccount, Group, SourceFile
from worker.model.credentials import CredentialsRef, SecretRef
from worker.model.errors import PlanFileError
from worker.model.messages import Message
from worker.model.plans import AccountPlan, Action, Change
from worker.model.safety import InUse, Safety
from worker.plan.planfile import SavedAccount, SavedPlan, seal, unseal

_NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
_ON = Change("01012345678", Action.ACTIVATE, "INACTIVE", "ACTIVE", Message("listed"))
_OFF = Change("0212345678", Action.DEACTIVATE, "ACTIVE", "INACTIVE", "listed")
_BLOCKED = Change("0311234567", Action.BLOCKED, "PENDING", "ACTIVE", "PENDING")
_PROTECTED = Change("0411234567", Action.PROTECTED, "INACTIVE", "ACTIVE", "protected")
_CREDENTIALS = CredentialsRef(SecretRef(env="KEY"), SecretRef(env="SECRET"))
_DESIRED = DesiredAccount(
    "main",
    "main.yaml",
    {},
    (),
    credentials=_CREDENTIALS,
    groups=(Group("support", ("0212345678",), 1),),
    sha256="ab",
    commit="cd",
    parts=(SourceFile("part.yaml", 1, "ef", "cd"),),
)


def _saved_account(*changes: Change) -> SavedAccount:
    counts = {Action.DEACTIVATE: 1} if _OFF in changes else {}
    plan = AccountPlan(account="main", account_id="7", counts=counts, changes=changes)
    safety, in_use = Safety(3, 1), InUse(enabled=True, hours=7)
    return SavedAccount.of(_DESIRED, plan, endpoint="solapi", safety=safety, in_use=in_use)


def _plan(*accounts: SavedAccount) -> SavedPlan:
    created_at = "2026-12-01T11:00:00Z"
    return SavedPlan.of(accounts, id="p", created_at=created_at, version="1", allow=["min-active"])


def test_saved_account_has_the_limits_in_force_and_the_revision_of_its_files() -> None:
    assert _saved_account(_ON, _BLOCKED) == SavedAccount(
        account="main",
        account_id="7",
        source="main.yaml",
        endpoint="solapi",
        credentials=_CREDENTIALS,
        safety=Safety(3, 1),
        changes=(_ON,),
        impossible=(_BLOCKED,),
        in_use=InUse(enabled=True, hours=7),
        groups=_DESIRED.groups,
        sha256="ab",
        commit="cd",
        parts=_DESIRED.parts,
    )


@pytest.mark.parametrize(("changes", "impossible"), [((_ON, _PROTECTED), ()), ((_OFF, _PROTECTED), (_PROTECTED,))])
def test_protected_numbers_are_saved_only_beside_deactivations(
    changes: tuple[Change, ...], impossible: tuple[Change, ...]
) -> None:
    """Only the rule for swaps needs them."""
    assert _saved_account(*changes).impossible == impossible


@pytest.mark.parametrize("changes", [(_ON,), (_OFF, _PROTECTED), (_ON, _OFF, _BLOCKED)])
def test_sealed_plan_is_read_back(changes: tuple[Change, ...]) -> None:
    """A plan file is indented JSON, so that a review can show a difference by line."""
    plan = _plan(_saved_account(*changes))
    data = seal(plan)
    assert data.startswith(b'{\n  "schema": ')
    assert data.endswith(b'"\n}\n')
    assert unseal(data, now=_NOW) == plan


def test_plan_of_another_version_is_refused() -> None:
    document = msgspec.json.decode(seal(_plan(_saved_account(_ON))))
    data = msgspec.json.encode(document | {"schema": f"{document['schema']}9"})
    with pytest.raises(PlanFileError) as error:
        unseal(data, now=_NOW)
    assert str(error.value) == (
        f"unsupported plan file version: this senderid supports {document['schema']}; apply the plan with the senderid "
        "that created it, or plan again"
    )
