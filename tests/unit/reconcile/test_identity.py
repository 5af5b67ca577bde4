"""The ledger's record of an account, and names that describe the same account."""

from msgspec.structs import replace

from worker.ledger import Subject
from worker.model.accounts import DesiredAccount, Group, InUseOverride, SafetyOverride
from worker.model.credentials import CredentialsRef, SecretRef
from worker.model.errors import ErrorInfo
from worker.model.plans import AccountPlan, Verdict
from worker.model.safety import InUse, Safety
from worker.plan.build import Draft, Terms
from worker.plan.planfile import SavedAccount
from worker.reconcile.identity import Identities, planned_subject, saved_subject

_CREDENTIALS = CredentialsRef(SecretRef(env="KEY"), SecretRef(env="SECRET"))
_SUBJECT = Subject(
    key="vendor 7",
    account="main",
    account_id="7",
    endpoint="solapi",
    credentials=_CREDENTIALS,
    safety=Safety(3, 1),
    in_use=InUse(enabled=True, hours=7),
    groups=(Group("support", ("0101234567",), 1),),
    source="main.yaml",
    sha256="ab",
    commit="cd",
)
_DESIRED = DesiredAccount(
    name="main",
    source="main.yaml",
    line=3,
    credentials=_CREDENTIALS,
    groups=_SUBJECT.groups,
    sha256="ab",
    commit="cd",
    numbers={},
    lines=(),
)
_PLAN = AccountPlan(account="main", account_id="7", counts={})
_UNREADABLE = AccountPlan(
    account="main", account_id=None, counts={}, verdict=Verdict.ERROR, error=ErrorInfo("ServerError", "down")
)


def test_record_of_a_planned_account_has_the_limits_in_force() -> None:
    terms = Terms(safety=_SUBJECT.safety, in_use=_SUBJECT.in_use)
    draft = Draft(_PLAN, {}, registered_count=12)
    assert planned_subject(_DESIRED, draft, terms, "solapi") == replace(_SUBJECT, registered=12)
    own = planned_subject(replace(_DESIRED, endpoint="https://a.example"), draft, terms, "solapi")
    assert own == replace(_SUBJECT, key="https://a.example 7", endpoint="https://a.example", registered=12)
    strict = replace(_DESIRED, safety=SafetyOverride(5, 2), in_use=InUseOverride(hours=9))
    limits = planned_subject(strict, draft, terms, "solapi")
    assert (limits.safety, limits.in_use) == (Safety(5, 2), InUse(enabled=True, hours=9))


def test_record_of_a_saved_account_has_its_own_limits() -> None:
    saved = SavedAccount(
        account="main",
        account_id="7",
        source="main.yaml",
        endpoint="solapi",
        credentials=_CREDENTIALS,
        safety=_SUBJECT.safety,
        in_use=_SUBJECT.in_use,
        groups=_SUBJECT.groups,
        changes=(),
        sha256="ab",
        commit="cd",
    )
    assert saved_subject(saved) == _SUBJECT


def _named(name: str, line: int = 1, account_id: str | None = None, endpoint: str | None = None) -> DesiredAccount:
    return DesiredAccount(
        name=name, source="all.yaml", line=line, account_id=account_id, endpoint=endpoint, numbers={}, lines=()
    )


def test_names_of_one_account_are_listed_with_their_locations() -> None:
    identities = Identities()
    first, second, third = (_named(name, line) for line, name in enumerate("abc", 1))
    identities.learn(first, _PLAN, "solapi")
    assert identities.duplicate("a") is None
    identities.learn(second, _PLAN, "coolsms")
    identities.learn(third, replace(_PLAN, account_id="8"), "solapi")
    error = (
        "2 names describe one account ('a' (all.yaml:1), 'b' (all.yaml:2)), so nothing was written to it: describe it "
        "once, or write the same `account:` in each document to split it"
    )
    assert [str(identities.duplicate(name)) for name in "abc"] == [error, error, "None"]
    assert identities.duplicate("unknown") is None
    identities.forget("b")
    identities.forget("unknown")
    assert identities.duplicate("a") is None


def test_accounts_without_a_known_id_are_not_one_account() -> None:
    """Neither an empty response nor an error has an id."""
    identities = Identities()
    for name, plan in (("a", replace(_PLAN, account_id=None)), ("b", replace(_PLAN, account_id=None))):
        identities.learn(_named(name), plan, "solapi")
    for name in "cd":
        identities.learn(_named(name), replace(_UNREADABLE, account_id="7"), "solapi")
    assert [identities.duplicate(name) for name in "abcd"] == [None] * 4


def test_unreadable_account_keeps_its_identity_until_it_is_described_otherwise() -> None:
    for other, is_kept in ((_named("b"), True), (_named("b", account_id="7"), False)):
        identities = Identities()
        identities.learn(_named("a"), _PLAN, "solapi")
        identities.learn(_named("b"), _PLAN, "solapi")
        identities.learn(other, _UNREADABLE, "solapi")
        assert (identities.duplicate("a") is not None) is is_kept


def test_earlier_run_links_a_name_to_an_account_of_the_same_platform_and_id() -> None:
    cases = [
        (_named("b"), True),
        (_named("b", account_id="7"), True),
        (_named("b", account_id="8"), False),
        (_named("b", endpoint="coolsms"), True),
        (_named("b", endpoint="https://a.example"), False),
    ]
    for other, is_same in cases:
        identities = Identities()
        identities.learn(_named("a"), _PLAN, "solapi")
        identities.recall(other, "a", "solapi")
        assert (identities.duplicate("b") is not None) is is_same, other


def test_known_identity_is_not_replaced_by_that_of_an_earlier_run() -> None:
    identities = Identities()
    identities.learn(_named("a"), _PLAN, "solapi")
    identities.learn(_named("b"), replace(_PLAN, account_id="8"), "solapi")
    identities.recall(_named("b"), "a", "solapi")
    identities.recall(_named("c"), "unknown", "solapi")
    assert [identities.duplicate(name) for name in "abc"] == [None, None, None]


def test_message_lists_at_most_ten_names() -> None:
    identities = Identities()
    for number in range(11):
        identities.learn(_named(f"n{number}"), _PLAN, "solapi")
    message = str(identities.duplicate("n0"))
    assert message.startswith("11 names describe one account (")
    assert "'n9'" in message
    assert "'n10'" not in message
