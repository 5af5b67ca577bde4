"""Accounts that are split over several documents: detection of conflicts, and the join of the documents.

Documents describe the same account if all of them have its name under `account:`.
"""

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

from msgspec import Struct
from msgspec.structs import replace

from worker.model.accounts import (
    Acknowledgement,
    Desired,
    DesiredAccount,
    Schedule,
    SourceFile,
    Status,
    matches_pattern,
)
from worker.model.errors import Problem
from worker.model.messages import Message, PhoneNumber
from worker.model.schedule import is_ever_desired

__all__ = ["AccountDocument", "Conflict", "GroupMember", "find_conflicts", "group_by_account", "join"]


class GroupMember(Struct, frozen=True):
    """A member of a group: its digits, and its position in the file."""

    phone: str
    line: int
    column: int


class AccountDocument(Struct, frozen=True):
    """One document of an account.

    `is_named` is True if the document has the key `account`, and `zoned` if it has `timezone`. `keys` are its
    account-level keys. `unlisted` are the members of its groups that the document itself does not list.
    `ignored_lines` maps the patterns of ignored numbers to their lines.
    """

    account: DesiredAccount
    is_named: bool
    keys: tuple[str, ...] = ()
    zoned: bool = False
    unlisted: tuple[GroupMember, ...] = ()
    ignored_lines: Mapping[str, int] = {}

    @property
    def location(self) -> str:
        """The file and the line of the document."""
        return f"{self.account.source}:{self.account.line}"


class Conflict(Struct, frozen=True):
    """A problem between documents, with the names of the files that may have caused it."""

    problem: Problem
    sources: tuple[str, ...]


def group_by_account(documents: Iterable[AccountDocument]) -> dict[str, list[AccountDocument]]:
    """Return the documents by the name of their account. They keep their order."""
    groups: dict[str, list[AccountDocument]] = {}
    for document in documents:
        groups.setdefault(document.account.name, []).append(document)
    return groups


def join(documents: Iterable[AccountDocument]) -> list[DesiredAccount]:
    """Return the accounts that the documents describe, in the order of the first document of each.

    The account-level values are those of the head: the document that has account-level keys or, if none has any, the
    first document. If a number is listed twice, the first entry counts; `find_conflicts` reports the second.
    """
    return [_join(documents_of_account) for documents_of_account in group_by_account(documents).values()]


def find_conflicts(documents: Sequence[AccountDocument]) -> Iterator[Conflict]:
    """Yield the conflicts between documents. The position of a conflict is in the later document.

    A conflict is a disagreement between documents of one account, or a number that is ACTIVE in two accounts.
    """
    accounts = group_by_account(documents)
    for documents_of_account in accounts.values():
        sources = tuple(dict.fromkeys(document.account.source for document in documents_of_account))
        for problem in _disagreements(documents_of_account):
            yield Conflict(problem, sources)
    if len(accounts) > 1:
        yield from _active_twice(documents)


def _head(documents: Sequence[AccountDocument]) -> AccountDocument:
    return next((document for document in documents if document.keys), documents[0])


def _join(documents: Sequence[AccountDocument]) -> DesiredAccount:
    head = _head(documents)
    if len(documents) == 1:
        return head.account
    numbers: dict[str, Desired] = {}
    schedules: dict[str, Schedule] = {}
    acknowledgements: dict[str, Acknowledgement] = {}
    elsewhere: dict[str, str] = {}
    lines = array("I")
    for document in documents:
        for phone, desired, line in document.account.numbers_with_lines():
            if phone not in numbers:
                numbers[phone] = desired
                lines.append(line)
                if document is not head:
                    elsewhere[phone] = document.account.source
        for phone, schedule in document.account.schedules.items():
            schedules.setdefault(phone, schedule)
        for phone, acknowledgement in document.account.acknowledgements.items():
            acknowledgements.setdefault(phone, acknowledgement)
    other_parts = [document.account for document in documents if document is not head]
    parts = [SourceFile(other.source, other.line, other.sha256, other.commit) for other in other_parts]
    # a file with defaults is shared by documents
    shared = {part.source: part for account in (head.account, *other_parts) for part in account.parts}
    return replace(
        head.account,
        numbers=numbers,
        lines=lines,
        schedules=schedules,
        acknowledgements=acknowledgements,
        elsewhere=elsewhere,
        parts=(*parts, *shared.values()),
    )


def _disagreements(documents: Sequence[AccountDocument]) -> Iterator[Problem]:
    """Yield the disagreements between the documents of one account."""
    if len(documents) > 1:
        problems = list(_missing_names(documents))
        if problems:
            yield from problems
            return
        yield from _second_heads(documents)
        yield from _listed_twice(documents)
        yield from _other_zones(documents)
    for document in documents:
        if document.ignored_lines:
            yield from _listed_although_ignored(document, documents)
    numbers_by_document = [document.account.numbers for document in documents]
    for document in documents:
        for member in document.unlisted:
            if not any(member.phone in numbers for numbers in numbers_by_document):
                phone = PhoneNumber(member.phone)
                message = (
                    Message(
                        "{phone} is not in the files of this run: give all files of account {account!r}, for example "
                        "with -f FOLDER; or list it, or remove it from the group",
                        phone=phone,
                        account=document.account.name,
                    )
                    if document.is_named
                    else Message("{phone} is not under numbers: list it, or remove it from the group", phone=phone)
                )
                yield Problem(document.account.source, member.line, member.column, message)


def _listed_although_ignored(ignoring: AccountDocument, documents: Sequence[AccountDocument]) -> Iterator[Problem]:
    for document in documents:
        for phone, _, line in document.account.numbers_with_lines():
            for pattern, pattern_line in ignoring.ignored_lines.items():
                if matches_pattern(pattern, phone):
                    message = Message(
                        "{phone} is listed, and {location} ignores it: remove one of the two",
                        phone=PhoneNumber(phone),
                        location=f"{ignoring.account.source}:{pattern_line}",
                    )
                    yield Problem(document.account.source, line, 1, message)


def _missing_names(documents: Sequence[AccountDocument]) -> Iterator[Problem]:
    first = documents[0]
    for document in documents[1:]:
        if not (first.is_named and document.is_named):
            message = Message(
                "account {account!r} is also described at {location}: if one account is split across files, use the "
                "same `account:` in both; otherwise change one of them",
                account=document.account.name,
                location=first.location,
            )
            yield _at(document, message)


def _second_heads(documents: Sequence[AccountDocument]) -> Iterator[Problem]:
    head = _head(documents)
    for document in documents:
        if document.keys and document is not head:
            message = Message(
                "account {account!r} is split, and only one of its documents may have account-level keys: move {keys} "
                "to {location}, which has {head_keys}",
                account=head.account.name,
                keys=document.keys,
                location=head.location,
                head_keys=head.keys,
            )
            yield _at(document, message)


def _listed_twice(documents: Sequence[AccountDocument]) -> Iterator[Problem]:
    phones = set(chain.from_iterable(document.account.numbers for document in documents))
    if len(phones) == sum(len(document.account.numbers) for document in documents):
        return
    locations: dict[str, str] = {}
    for document in documents:
        source = document.account.source
        for phone, _, line in document.account.numbers_with_lines():
            location_here = f"{source}:{line}"
            location = locations.setdefault(phone, location_here)
            if location is not location_here:
                message = Message(
                    "{phone} is a duplicate of {location}: keep one", phone=PhoneNumber(phone), location=location
                )
                yield Problem(source, line, 1, message)


def _other_zones(documents: Sequence[AccountDocument]) -> Iterator[Problem]:
    head = _head(documents)
    timezone = head.account.timezone
    for document in documents:
        has_times = document.account.schedules or document.account.acknowledgements
        if not has_times or document.account.timezone == timezone:
            continue
        if document.zoned:
            message = Message(
                "timezone is {timezone} here and {other_timezone} at {location}: write the same in all documents "
                "of the account",
                timezone=document.account.timezone,
                other_timezone=timezone,
                location=head.location,
            )
        else:
            message = Message(
                "timezone is missing here, and is {timezone} at {location}: add `timezone: {timezone}`",
                timezone=timezone,
                location=head.location,
            )
        yield _at(document, message)


def _active_twice(documents: Sequence[AccountDocument]) -> Iterator[Conflict]:
    holders: dict[str, tuple[DesiredAccount, int]] = {}
    for document in documents:
        account = document.account
        for phone, desired, line in account.numbers_with_lines():
            schedule = account.schedules.get(phone)
            if not (desired.status is Status.ACTIVE if schedule is None else is_ever_desired(schedule, Status.ACTIVE)):
                continue
            first, first_line = holders.setdefault(phone, (account, line))
            if first.name != account.name:
                message = Message(
                    "{phone} is ACTIVE in {account!r} and in {other_account!r} ({location}): it can be ACTIVE in "
                    "one account only",
                    phone=PhoneNumber(phone),
                    account=account.name,
                    other_account=first.name,
                    location=f"{first.source}:{first_line}",
                )
                yield Conflict(Problem(account.source, line, 1, message), (account.source, first.source))


def _at(document: AccountDocument, message: Message) -> Problem:
    return Problem(document.account.source, document.account.line, 1, message)
