"""Properties of random sets of documents: an account has one name, and a split account equals the whole one."""

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from worker.cli.document_conflicts import DocumentChecks
from worker.config.desired import IdentityResolver, load
from worker.config.urls import platform_of
from worker.model.errors import DesiredStateError

KEYS = {"ONE": "NCS1", "TWO": "NCS1", "THREE": "NCS2"}
"""Known variables: two of them contain the same key, and FOUR is not set."""

documents = st.tuples(
    st.sampled_from("abc"),
    st.sampled_from([None, "ONE", "TWO", "THREE", "FOUR"]),
    st.sampled_from([None, "7", "8"]),
    st.sampled_from([None, "coolsms", "https://sms.example", "https://SMS.example/"]),
)
phones = st.lists(st.integers(0, 99).map(lambda number: f"010123456{number:02}"), unique=True, max_size=12)


def text(name: str, key: str | None, pin: str | None, endpoint: str | None, *numbers: str) -> str:
    """Return a document."""
    lines = ["version: 1", f"account: {name}"]
    lines += [] if key is None else [f"credentials: {{api_key: {{env: {key}}}, api_secret: {{env: S}}}}"]
    lines += [] if pin is None else [f'account_id: "{pin}"']
    lines += [] if endpoint is None else [f"endpoint: {endpoint}"]
    lines += ["numbers:", *(f"  {phone}: ACTIVE" for phone in numbers)] if numbers else ["numbers: {}"]
    return "\n".join(lines) + "\n"


@given(st.lists(documents, max_size=4))
def test_loaded_accounts_are_distinct(found: Sequence[tuple[str, str | None, str | None, str | None]]) -> None:
    """No two loaded accounts share a platform and a pin, or a platform and a key, known or not."""
    files = [(f"{index}.yaml", text(*fields).encode()) for index, fields in enumerate(found)]
    try:
        accounts = load(
            files, DocumentChecks(IdentityResolver("solapi", lambda reference: KEYS.get(reference.env or "")))
        ).accounts
    except DesiredStateError:
        return
    platforms = [platform_of(account.endpoint or "solapi") for account in accounts]
    references = [account.credentials.api_key.env if account.credentials else "default" for account in accounts]
    keys = [(platform, KEYS.get(name or "", name)) for platform, name in zip(platforms, references, strict=True)]
    pins = [
        (platform, account.account_id)
        for platform, account in zip(platforms, accounts, strict=True)
        if account.account_id
    ]
    assert len(set(keys)) == len(keys)
    assert len(set(pins)) == len(pins)
    assert len({account.name for account in accounts}) == len(accounts)


@given(phones, st.lists(st.integers(0, 12), max_size=3), st.integers(0, 3))
def test_split_account_equals_the_whole_account(numbers: list[str], cuts: list[int], head: int) -> None:
    """The account is the same for any division of the numbers and any part with the keys."""
    edges = [0, *sorted(min(cut, len(numbers)) for cut in cuts), len(numbers)]
    parts = [numbers[start:end] for start, end in pairwise(edges)]
    head = min(head, len(parts) - 1)
    (complete,) = load([("whole.yaml", text("a", "ONE", "7", None, *numbers).encode())]).accounts
    files = (
        (
            f"{index}.yaml",
            (text("a", "ONE", "7", None, *part) if index == head else text("a", None, None, None, *part)).encode(),
        )
        for index, part in enumerate(parts)
    )
    (joined,) = load(files).accounts
    assert list(joined.numbers) == list(complete.numbers)
    assert {joined.source, *(part.source for part in joined.parts)} == {f"{index}.yaml" for index in range(len(parts))}
    assert joined.source == f"{head}.yaml"
    elsewhere = {phone for index, part in enumerate(parts) if index != head for phone in part}
    assert {
        phone for phone, (source, _) in joined.locations(joined.numbers).items() if source != joined.source
    } == elsewhere
    assert replace(joined, source="", lines=(), sha256=None, parts=(), elsewhere={}) == replace(
        complete, source="", lines=(), sha256=None, parts=()
    )
