"""Plans, their fingerprints and plan files, case by case."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import msgspec
import pytest

from worker.model.accounts import AccountMemory, Desired, DesiredAccount, Observed, ObservedAccount, Status
from worker.model.credentials import CredentialsRef, SecretRef
from worker.model.errors import ErrorInfo, PlanFileError
from worker.model.history import NumberRecord
from worker.model.plans import AccountPlan, Action, Cause, Change, Verdict, tally
from worker.model.results import Outcome
from worker.model.safety import Safety
from worker.plan.build import left_out_plan
from worker.plan.diff import Preconditions, add_causes, confirmed_statuses, diff, inverse, preconditions
from worker.plan.planfile import LeftOut, SavedAccount, SavedPlan, fingerprint
from worker.plan.planfile import seal as sealed
from worker.plan.planfile import unseal as unsealed

PHONE = "01012345678"
ON, OFF = Desired(Status.ACTIVE), Desired(Status.INACTIVE)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
UP = Change("0211", Action.ACTIVATE, "INACTIVE", "ACTIVE", "listed as ACTIVE")
DOWN = Change("0222", Action.DEACTIVATE, "ACTIVE", "INACTIVE", "listed as INACTIVE", note="old", owner="marketing")
GONE = Change("0233", Action.MISSING, None, "ACTIVE", "")


def observe(**statuses: str) -> dict[str, Observed]:
    """Return observed numbers; each key is `n` and the number."""
    return {name[1:]: Observed(name[1:], Status(status)) for name, status in statuses.items()}


def diff_one(desired: Desired, status: str | None) -> Change | None:
    """Return the change of one number, or None if it is unchanged."""
    changes = diff({PHONE: desired}, {} if status is None else {PHONE: Observed(PHONE, Status(status))})
    return changes[0] if changes else None


def account_plan(*changes: Change, name: str = "main", account_id: str | None = "12925149") -> AccountPlan:
    """Return the plan of an account with these changes."""
    return AccountPlan(account=name, account_id=account_id, counts=tally(Action, {}), changes=changes)


def saved_account(*changes: Change, name: str = "main") -> SavedAccount:
    """Return an account of a plan file."""
    credentials = CredentialsRef(SecretRef(env="MAIN_API_KEY"), SecretRef(file="/run/secrets/main"))
    desired = DesiredAccount(name, f"{name}.yaml", {}, [], credentials=credentials)
    return SavedAccount.of(desired, account_plan(*changes, name=name), endpoint="solapi", safety=Safety("20%", 2))


def plan_file() -> SavedPlan:
    """Return a plan of two writes and a missing number, created at noon."""
    return SavedPlan.of(
        [saved_account(UP, DOWN, GONE)],
        id="c0ffee",
        created_at="2026-03-01T12:00:00Z",
        version="1.0.0",
        allow=["min-active", "max-deactivations"],
    )


def reseal(edit: Callable[[Any], object]) -> bytes:
    """Return an edited plan file with a valid seal, as anyone who knows the format could create it."""
    document = json.loads(sealed(plan_file()))
    edit(document)
    plan = msgspec.convert(document | {"seal": ""}, type=SavedPlan)
    return msgspec.json.encode(document | {"seal": sha256(msgspec.json.encode(plan)).hexdigest()})


@pytest.mark.parametrize(
    ("desired", "status", "action"),
    [
        (Desired(Status.ACTIVE), "ACTIVE", None),
        (Desired(Status.INACTIVE), "INACTIVE", None),
        (Desired(Status.ACTIVE), "INACTIVE", Action.ACTIVATE),
        (Desired(Status.INACTIVE), "ACTIVE", Action.DEACTIVATE),
        (Desired(Status.ACTIVE), None, Action.MISSING),
        (Desired(Status.ACTIVE, protected=True), None, Action.MISSING),
        (Desired(Status.ACTIVE), "PENDING", Action.BLOCKED),
        (Desired(Status.INACTIVE), "FROZEN", Action.BLOCKED),
        (Desired(Status.ACTIVE, protected=True), "EXPIRED", Action.BLOCKED),
        (Desired(Status.EXPIRED, managed=False), "ACTIVE", Action.BLOCKED),
        (Desired(Status.ACTIVE, protected=True), "ACTIVE", None),
        (Desired(Status.ACTIVE, protected=True), "INACTIVE", Action.PROTECTED),
        (Desired(Status.INACTIVE, protected=True), "ACTIVE", Action.PROTECTED),
        (Desired(Status.ACTIVE, managed=False), "ACTIVE", Action.UNMANAGED),
        (Desired(Status("FROZEN"), managed=False), "FROZEN", Action.UNMANAGED),
        (Desired(Status.INACTIVE, managed=False), "INACTIVE", Action.UNMANAGED),
        (Desired(Status.INACTIVE, managed=False), "ACTIVE", Action.DEACTIVATE),
    ],
)
def test_desired_and_observed_status_decide_the_action(
    desired: Desired, status: str | None, action: Action | None
) -> None:
    """The change has both statuses."""
    change = diff_one(desired, status)
    if action is None:
        assert change is None
    else:
        assert change is not None
        assert (change.phone, change.action, change.observed, change.desired) == (PHONE, action, status, desired.status)


@pytest.mark.parametrize(
    ("desired", "status", "expected_words"),
    [
        (Desired(Status.ACTIVE), "INACTIVE", ["listed as ACTIVE"]),
        (Desired(Status.INACTIVE), "ACTIVE", ["listed as INACTIVE"]),
        (Desired(Status.INACTIVE, managed=False), "ACTIVE", ["not listed", "deactivate"]),
        (Desired(Status.ACTIVE), None, ["not registered", "register it"]),
        (Desired(Status.ACTIVE), "PENDING", ["PENDING", "documents", "ARS"]),
        (Desired(Status.ACTIVE), "BLOCKED", ["BLOCKED", "contact"]),
        (Desired(Status.ACTIVE), "DUPLICATED", ["DUPLICATED", "duplicate registration"]),
        (Desired(Status.ACTIVE), "EXPIRED", ["EXPIRED", "verify the number again"]),
        (Desired(Status.ACTIVE), "OVERLIMIT", ["OVERLIMIT", "higher limit"]),
        (Desired(Status.ACTIVE), "FROZEN", ["unknown", "console"]),
        (Desired(Status.PENDING), "ACTIVE", ["only ACTIVE and INACTIVE"]),
        (Desired(Status.ACTIVE, protected=True), "INACTIVE", ["protected", "by hand"]),
        (Desired(Status.ACTIVE, managed=False), "ACTIVE", ["not listed", "list it"]),
        (Desired(Status.EXPIRED, managed=False), "EXPIRED", ["not listed", "cannot be changed", "unmanaged to ignore"]),
    ],
)
def test_reason_names_cause_and_remedy(desired: Desired, status: str | None, expected_words: list[str]) -> None:
    change = diff_one(desired, status)
    assert change is not None
    assert [word for word in expected_words if word not in change.reason] == []


def test_reason_does_not_contain_an_unknown_status() -> None:
    """A status from the API is untrusted text and does not appear in the reason."""
    change = diff_one(Desired(Status.ACTIVE), "\x1b[31mFROZEN")
    assert change is not None
    assert "\x1b" not in change.reason


def test_change_has_note_and_owner() -> None:
    change = diff_one(Desired(Status.ACTIVE, note="old head office", owner="marketing"), "INACTIVE")
    assert change is not None
    assert (change.note, change.owner) == ("old head office", "marketing")


def test_changes_are_ordered_by_action_then_phone() -> None:
    """Activations come first, then deactivations, then changes that are only reported."""
    desired_numbers = {
        "0211": ON,
        "0299": OFF,
        "0288": Desired(Status.ACTIVE, managed=False),
        "0277": Desired(Status.ACTIVE, protected=True),
        "0266": ON,
        "0255": ON,
        "0244": OFF,
        "0233": ON,
        "0222": ON,
    }
    observed = observe(
        n0299="ACTIVE",
        n0288="ACTIVE",
        n0277="INACTIVE",
        n0255="PENDING",
        n0244="ACTIVE",
        n0233="INACTIVE",
        n0222="INACTIVE",
        n0211="ACTIVE",
    )
    changes = diff(desired_numbers, observed)
    assert [(change.action, change.phone) for change in changes] == [
        ("activate", "0222"),
        ("activate", "0233"),
        ("deactivate", "0244"),
        ("deactivate", "0299"),
        ("blocked", "0255"),
        ("missing", "0266"),
        ("protected", "0277"),
        ("unmanaged", "0288"),
    ]


def change(observed: str, desired: str, phone: str = PHONE) -> Change:
    """Return a change of a number that is out of sync."""
    return Change(phone, Action.ACTIVATE if desired == "ACTIVE" else Action.DEACTIVATE, observed, desired, "")


def test_number_without_a_recorded_write_has_no_cause() -> None:
    """A number that no run has written has no cause, whatever is recorded for other numbers."""
    unknown, known = change("INACTIVE", "ACTIVE", "0211"), change("INACTIVE", "ACTIVE", "0222")
    assert add_causes([unknown, known], ObservedAccount("1", {}), AccountMemory({"0222": Status.ACTIVE})) == (
        unknown,
        msgspec.structs.replace(known, cause=Cause.EXTERNAL_DRIFT),
    )


def test_since_is_set_for_external_changes_only() -> None:
    """`since` is the time of the last change, if the API reports one."""
    observed = ObservedAccount(
        "1", observe(n0211="INACTIVE", n0222="INACTIVE", n0233="INACTIVE"), updated=(86_400, 172_800, 0)
    )
    externally_changed, configured, unknown = (change("INACTIVE", "ACTIVE", phone) for phone in observed.numbers)
    memory = AccountMemory({"0211": Status.ACTIVE, "0222": Status.INACTIVE, "0233": Status.ACTIVE})
    assert [
        annotated.since for annotated in add_causes([externally_changed, configured, unknown], observed, memory)
    ] == [
        "1970-01-02T00:00:00Z",
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("desired", "status", "outcome"),
    [
        (ON, "ACTIVE", {PHONE: Status.ACTIVE}),
        (OFF, "INACTIVE", {}),
        (ON, "INACTIVE", {}),
        (OFF, "ACTIVE", {}),
        (ON, None, {}),
        (None, "ACTIVE", {}),
        (Desired(Status.ACTIVE, managed=False), "ACTIVE", {}),
    ],
)
def test_number_with_the_desired_status_is_confirmed(
    desired: Desired | None, status: str | None, outcome: dict[str, Status]
) -> None:
    """A number that has its desired status, although a run last wrote the other one, was confirmed externally."""
    desired_numbers = {} if desired is None else {PHONE: desired}
    observed = {} if status is None else {PHONE: Observed(PHONE, Status(status))}
    assert confirmed_statuses(desired_numbers, observed, AccountMemory({PHONE: Status.INACTIVE})) == outcome


def test_undesired_numbers_have_no_change() -> None:
    assert diff({}, observe(n0211="ACTIVE")) == ()


def test_fingerprint_is_stable() -> None:
    """The fingerprint of a given plan never changes, because approvals are compared across releases."""
    assert fingerprint([account_plan(UP, DOWN)]) == "cd3ea8fcc2d830c7e31472be1e7039846649b07e66420b394c538df0732efc3c"
    plans = [account_plan(UP), account_plan(DOWN, name="other")]
    assert (
        fingerprint(plans)
        == fingerprint(reversed(plans))
        == "b732f6142983fafd8fffbced46c5a77cf6fb8d2a8d6f5653b0358e39d9136c61"
    )


def test_accounts_without_writes_do_not_affect_the_fingerprint() -> None:
    assert fingerprint([account_plan(GONE), account_plan(name="other")]) == fingerprint([])
    assert fingerprint([account_plan(UP, GONE), account_plan(name="other")]) == fingerprint([account_plan(UP)])


@pytest.mark.parametrize(
    "plan",
    [
        account_plan(UP, name="other"),
        account_plan(UP, account_id="1"),
        account_plan(UP, account_id=None),
        account_plan(DOWN),
        account_plan(UP, DOWN),
        account_plan(msgspec.structs.replace(UP, phone="0212")),
    ],
)
def test_fingerprint_differs_for_different_plans(plan: AccountPlan) -> None:
    """Another account, account id, number or write gives another fingerprint."""
    assert fingerprint([plan]) != fingerprint([account_plan(UP)])


def test_fingerprint_depends_on_the_account_of_each_write() -> None:
    """The same writes on other accounts are another plan."""
    fingerprint_of_both = fingerprint([account_plan(UP, name="a"), account_plan(DOWN, name="b")])
    assert fingerprint_of_both != fingerprint([account_plan(DOWN, name="a"), account_plan(UP, name="b")])
    assert fingerprint_of_both != fingerprint([account_plan(UP, DOWN, name="a")])


@pytest.mark.parametrize("verdict", [Verdict.ERROR, Verdict.REFUSED])
def test_account_that_a_plan_file_leaves_out_is_a_plan_without_changes(verdict: Verdict) -> None:
    error = ErrorInfo("ServerError", "down")
    plan = left_out_plan(LeftOut("other", "7", verdict, error))
    assert (plan.account, plan.account_id, plan.verdict, plan.error) == ("other", "7", verdict, error)
    assert (plan.changes, set(plan.counts.values())) == ((), {0})


def test_saved_account_has_the_fingerprint_of_its_plan() -> None:
    assert fingerprint([saved_account(UP, DOWN)]) == fingerprint([account_plan(UP, DOWN)])


@pytest.mark.parametrize("status", ["PENDING", "FROZEN", None])
def test_changed_precondition_is_a_conflict(status: str | None) -> None:
    """A number that is gone or has a third status conflicts with its planned write."""
    observed = {} if status is None else observe(n0211=status)
    assert preconditions(account_plan(UP).writes, observed) == Preconditions(conflicts=(UP,))


def test_preconditions_separate_due_and_applied_writes() -> None:
    """A write is due if its number has the status of the plan, and already applied if it has the desired status."""
    observed = observe(n0211="INACTIVE", n0222="INACTIVE")
    assert preconditions(account_plan(UP, DOWN, GONE).writes, observed) == Preconditions(
        due_changes=(UP,), already_done=(DOWN,)
    )
    assert preconditions(saved_account(UP, DOWN).writes, observed) == Preconditions(
        due_changes=(UP,), already_done=(DOWN,)
    )


def test_plan_file_has_writes_and_impossible_changes_only() -> None:
    """Accounts without either are omitted."""
    unmanaged = Change("0244", Action.UNMANAGED, "ACTIVE", "ACTIVE", "")
    accounts = [
        saved_account(UP, GONE, unmanaged),
        saved_account(GONE, name="other"),
        saved_account(unmanaged, name="quiet"),
    ]
    plan = SavedPlan.of(accounts, id="1d", created_at="2026-03-01T12:00:00Z", version="1", allow=[])
    accounts_of_plan = [(account.account, account.changes, account.impossible) for account in plan.accounts]
    assert accounts_of_plan == [("main", (UP,), (GONE,)), ("other", (), (GONE,))]
    assert plan.fingerprint == fingerprint([account_plan(UP)])


def test_plan_file_has_the_revision() -> None:
    """A saved account has the hash of its file and the commit of its checkout, for the history."""
    desired = DesiredAccount("main", "main.yaml", {}, [], sha256="5e", commit="c0ffee")
    account = SavedAccount.of(desired, account_plan(UP), endpoint="solapi", safety=Safety())
    assert (account.sha256, account.commit) == ("5e", "c0ffee")


def test_plan_file_has_the_accounts_left_out() -> None:
    """Accounts that could not be planned are read back, so that an apply reports them too."""
    left_out = LeftOut("other", None, Verdict.ERROR, ErrorInfo("ServerError", "down"))
    plan = SavedPlan.of(
        [saved_account(UP)], [left_out], id="1d", created_at="2026-03-01T12:00:00Z", version="1", allow=[]
    )
    assert unsealed(sealed(plan), now=NOON).left_out == (left_out,)


def test_plan_file_is_readable_json() -> None:
    """A plan file is indented JSON with its creation, version, allowed rules, accounts and limits."""
    text = sealed(plan_file())
    document = json.loads(text)
    assert text == json.dumps(document, indent=2).encode() + b"\n"
    assert document.keys() == {
        *("schema", "id", "created_at", "version", "fingerprint", "allow", "accounts", "left_out", "seal")
    }
    assert document["schema"] == "senderid.saved-plan/v2"
    assert document["allow"] == ["max-deactivations", "min-active"]
    (account,) = document["accounts"]
    assert account.pop("changes")[1] == {
        "phone": "0222",
        "action": "deactivate",
        "observed": "ACTIVE",
        "desired": "INACTIVE",
        "reason": "listed as INACTIVE",
        "note": "old",
        "owner": "marketing",
        "cause": None,
        "since": None,
        "until": None,
    }
    assert account == {
        "account": "main",
        "account_id": "12925149",
        "source": "main.yaml",
        "endpoint": "solapi",
        "credentials": {
            "api_key": {"env": "MAIN_API_KEY", "file": None, "command": None},
            "api_secret": {"env": None, "file": "/run/secrets/main", "command": None},
        },
        "safety": {"max_deactivations": "20%", "min_active": 2, "pair_swaps": "warn"},
        "impossible": [
            {
                "phone": "0233",
                "action": "missing",
                "observed": None,
                "desired": "ACTIVE",
                "reason": "",
                "note": None,
                "owner": None,
                "cause": None,
                "since": None,
                "until": None,
            }
        ],
        "in_use": {"enabled": False, "hours": 24, "on_unknown": "hold"},
        "groups": [],
        "sha256": None,
        "commit": None,
        "parts": [],
    }


def test_plan_file_is_read_back_unchanged() -> None:
    assert unsealed(sealed(plan_file()), now=NOON) == plan_file()


def test_plan_file_may_be_reformatted() -> None:
    """White space and the order of keys may change, because the seal covers only the values."""
    document = json.loads(sealed(plan_file()))
    assert unsealed(json.dumps(dict(reversed(document.items()))).encode(), now=NOON) == plan_file()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"{}",
        b"[]",
        b"version: 1\n",
        b'{"schema": 1}',
        b'{"schema": "senderid.plan/v1"}',
        b'{"schema": "senderid.saved-plan/v2"}',
        b"\xff\xfe{}",
        b'{"schema": "\xff"}',
        b"\0",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        sealed(plan_file())[:-5],
        sealed(plan_file()).replace(b"2026-03-01T12", b"2026-03-01T99"),
        sealed(plan_file()).replace(b"0211", b"../"),
        sealed(plan_file()).replace(b'"source"', b'"api_secret": "x", "source"'),
    ],
)
def test_invalid_plan_file_is_refused(data: bytes) -> None:
    """The error says which command writes a plan file."""
    with pytest.raises(
        PlanFileError, match=r"^this is not a plan file: save a plan with plan --out, or pass desired state with -f$"
    ):
        unsealed(data, now=NOON)


@pytest.mark.parametrize(
    ("before", "new"),
    [(b"0211", b"0212"), (b'"20%"', b'"90%"'), (b"MAIN_API_KEY", b"EVIL"), (b'"old"', b'"new"'), (b"min-", b"max-")],
)
def test_changed_plan_file_is_refused(before: bytes, new: bytes) -> None:
    """Edited numbers, limits, references, notes or allowed rules are refused."""
    with pytest.raises(PlanFileError, match=r"^the plan file was changed after it was written; plan again$"):
        unsealed(sealed(plan_file()).replace(before, new), now=NOON)


@pytest.mark.parametrize("schema", ["senderid.saved-plan/v1", "senderid.saved-plan/v3", "senderid.saved-plan/\x1b[31m"])
def test_plan_file_of_another_version_is_refused(schema: str) -> None:
    """The error differs from that of an invalid file and does not repeat the untrusted version."""
    data = json.dumps(json.loads(sealed(plan_file())) | {"schema": schema, "novelty": 1}).encode()
    with pytest.raises(PlanFileError, match="unsupported plan file version") as caught:
        unsealed(data, now=NOON)
    assert schema not in str(caught.value)


@pytest.mark.parametrize(
    "edit",
    [
        lambda document: document["accounts"][0]["changes"][0].update(desired="EXPIRED"),
        lambda document: document["accounts"][0]["changes"][0].update(observed="PENDING"),
        lambda document: document["accounts"][0]["changes"][0].update(action="deactivate"),
        lambda document: document["accounts"][0]["changes"][0].update(phone="0211\n"),
        lambda document: document["accounts"][0]["changes"].append(document["accounts"][0]["changes"][0]),
        lambda document: document["accounts"][0].update(account_id=None),
        lambda document: document["accounts"][0]["impossible"][0].update(phone="0233\n"),
        lambda document: document["accounts"][0]["impossible"][0].update(action="activate"),
        lambda document: document.update(fingerprint=""),
    ],
)
def test_plan_file_with_impossible_writes_is_refused(edit: Callable[[Any], object]) -> None:
    """A file with a valid seal is refused if a write is inconsistent or the fingerprint does not match."""

    def with_fingerprint(document: Any) -> None:
        edit(document)
        if document["fingerprint"] and document["accounts"][0]["account_id"]:
            accounts = msgspec.convert(document["accounts"], type=tuple[SavedAccount, ...])
            document["fingerprint"] = fingerprint(accounts)

    with pytest.raises(
        PlanFileError, match=r"^the plan file has invalid writes, such as two of one number; plan again$"
    ):
        unsealed(reseal(with_fingerprint), now=NOON)


@pytest.mark.parametrize(
    "second",
    [
        {"account": "shop"},
        {"account": "shop", "endpoint": "https://REST.coolsms.co.kr/"},
        {"account_id": "7"},
    ],
)
def test_plan_file_with_duplicate_account_is_refused(second: dict[str, str]) -> None:
    """Two names of one account would be written twice; one name of two accounts would be reported as one."""
    data = reseal(lambda document: document["accounts"].append(document["accounts"][0] | second))
    with pytest.raises(PlanFileError, match=r"^the plan file has one account twice; plan again$"):
        unsealed(data, now=NOON)


@pytest.mark.parametrize(
    "second",
    [
        {"account_id": "7"},
        {"endpoint": "https://sms.example"},
        {"account_id": None, "changes": []},
    ],
)
def test_plan_file_may_have_several_accounts(second: dict[str, Any]) -> None:
    """Accounts with another id or platform, and accounts without an id and numbers, are accepted."""

    def edit(document: Any) -> None:
        document["accounts"].append(document["accounts"][0] | {"account": "shop"} | second)
        document["fingerprint"] = fingerprint(msgspec.convert(document["accounts"], type=tuple[SavedAccount, ...]))

    assert len(unsealed(reseal(edit), now=NOON).accounts) == 2


def test_resealed_plan_file_without_an_edit_is_accepted() -> None:
    assert unsealed(reseal(lambda _: None), now=NOON) == plan_file()


@pytest.mark.parametrize("seconds", [-300.0, 0.0, 86_400.0])
def test_plan_file_is_valid_for_a_day(seconds: float) -> None:
    """A plan is valid from its creation, with a tolerance of five minutes, until its maximum age."""
    assert unsealed(sealed(plan_file()), now=NOON + timedelta(seconds=seconds)) == plan_file()


def test_expired_plan_file_is_refused() -> None:
    """The error has the age and the limit, to the second."""
    with pytest.raises(
        PlanFileError,
        match=r"^the plan is 1 day, 0:06:00 old, and the limit is 1 day, 0:00:00; plan again$",
    ):
        unsealed(sealed(plan_file()), now=NOON + timedelta(hours=24.1))
    with pytest.raises(PlanFileError, match="1:00:00 old, and the limit is 0:01:00"):
        unsealed(sealed(plan_file()), now=NOON + timedelta(hours=1), max_age_seconds=60)


@pytest.mark.parametrize("seconds", [-301.0, 86_401.0])
def test_plan_file_is_refused_outside_its_validity(seconds: float) -> None:
    with pytest.raises(PlanFileError, match=r"in the future|and the limit is"):
        unsealed(sealed(plan_file()), now=NOON + timedelta(seconds=seconds))


def test_plan_file_of_the_future_is_refused() -> None:
    """The error has the difference in minutes."""
    with pytest.raises(
        PlanFileError, match=r"^the plan was created 600 minutes in the future; check the clocks of both hosts$"
    ):
        unsealed(sealed(plan_file()), now=NOON - timedelta(hours=10))


def number_record(
    phone: str, before: str | None, after: str | None, outcome: Outcome | None = Outcome.CHANGED
) -> NumberRecord:
    """Return the recorded outcome of a number."""
    return NumberRecord(phone=phone, action=None, desired=after, before=before, after=after, outcome=outcome)


def test_inverse_reverts_changed_numbers() -> None:
    """Each changed number returns from the status after the run to the one before it, activations first."""
    other_outcomes = [outcome for outcome in Outcome if outcome is not Outcome.CHANGED]
    numbers = [
        number_record("0213", "INACTIVE", "ACTIVE"),
        number_record("0212", "ACTIVE", "INACTIVE"),
        number_record("0211", "ACTIVE", "INACTIVE"),
        number_record("0219", "INACTIVE", None, None),
        *(number_record("0220", "INACTIVE", "ACTIVE", outcome) for outcome in other_outcomes),
    ]
    assert [(item.phone, item.action, item.observed, item.desired) for item in inverse(numbers, "run-1")] == [
        ("0211", Action.ACTIVATE, "INACTIVE", "ACTIVE"),
        ("0212", Action.ACTIVATE, "INACTIVE", "ACTIVE"),
        ("0213", Action.DEACTIVATE, "ACTIVE", "INACTIVE"),
    ]
    assert {change.reason for change in inverse(numbers, "run-1")} == {"as before run run-1"}


@pytest.mark.parametrize(
    ("written", "observed", "cause", "since"),
    [
        ("INACTIVE", "INACTIVE", Cause.CONFIG_CHANGE, None),
        ("ACTIVE", "INACTIVE", Cause.EXTERNAL_DRIFT, "2026-11-20T09:00:00Z"),
        ("INACTIVE", "PENDING", Cause.BOTH, "2026-11-20T09:00:00Z"),
        (None, "INACTIVE", None, None),
    ],
)
def test_cause_depends_on_the_last_write(
    written: str | None, observed: str, cause: Cause | None, since: str | None
) -> None:
    """The last write, the file and the observed status determine who changed a number, and when."""
    second = int(datetime(2026, 11, 20, 9, tzinfo=UTC).timestamp())
    account = ObservedAccount("1", {PHONE: Observed(PHONE, Status(observed))}, (second,))
    memory = AccountMemory({} if written is None else {PHONE: Status(written)})
    (change,) = add_causes([Change(PHONE, Action.ACTIVATE, observed, "ACTIVE", "")], account, memory)
    assert (change.cause, change.since) == (cause, since)
