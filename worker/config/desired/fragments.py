"""Accounts that are split over several documents: one document each is a fragment, and all of them are joined here.

Documents are one account where each of them writes the same name with `account:`.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from msgspec import Struct
from msgspec.structs import replace

from worker.model.accounts import Desired, DesiredAccount, Schedule, SourceFile, Status
from worker.model.errors import Problem
from worker.model.messages import Message, PhoneNumber
from worker.model.schedule import ever_wants

__all__ = ["AccountDocument", "Conflict", "GroupMember", "find_conflicts", "group_by_account", "join"]


class GroupMember(Struct, frozen=True):
    """A member of a group, by its digits, and where it is written."""

    phone: str
    line: int
    column: int


class AccountDocument(Struct, frozen=True):
    """One document of an account, as if it were all of it.

    `named` is True if the document writes the name with `account:`. `keys` are the keys of `account` that hold for the
    whole account and that the document writes; `zoned` is True if it writes `timezone`. `unlisted` are members of its
    groups that the document itself does not list.
    """

    account: DesiredAccount
    named: bool
    keys: tuple[str, ...] = ()
    zoned: bool = False
    unlisted: tuple[GroupMember, ...] = ()

    @property
    def place(self) -> str:
        """The file and the line of the document."""
        return f"{self.account.source}:{self.account.line}"


class Conflict(Struct, frozen=True):
    """Documents that contradict each other: the problem, and the names of the files that may have caused it."""

    problem: Problem
    sources: tuple[str, ...]


def group_by_account(fragments: Iterable[AccountDocument]) -> dict[str, list[AccountDocument]]:
    """Return the documents of each account by its name, in their order."""
    found: dict[str, list[AccountDocument]] = {}
    for fragment in fragments:
        found.setdefault(fragment.account.name, []).append(fragment)
    return found


def join(fragments: Iterable[AccountDocument]) -> list[DesiredAccount]:
    """Return the accounts that the documents describe, in the order of the first document of each.

    The account-level values are those of the head: the document that has any account-level key, or the first one. Of a
    number that is listed twice the first entry counts; `find_conflicts` reports it.
    """
    return [_joined(some) for some in group_by_account(fragments).values()]


def find_conflicts(fragments: Sequence[AccountDocument]) -> Iterator[Conflict]:
    """Yield what no two documents may say, each problem at the later document.

    That is: what the documents of one account do not agree on, and numbers that are to be ACTIVE in two accounts.
    """
    accounts = group_by_account(fragments)
    for some in accounts.values():
        sources = tuple(dict.fromkeys(fragment.account.source for fragment in some))
        for problem in _disagreements(some):
            yield Conflict(problem, sources)
    if len(accounts) > 1:
        yield from _active_twice(fragments)


def _head(fragments: Sequence[AccountDocument]) -> AccountDocument:
    return next((fragment for fragment in fragments if fragment.keys), fragments[0])


def _joined(fragments: Sequence[AccountDocument]) -> DesiredAccount:
    head = _head(fragments)
    if len(fragments) == 1:
        return head.account
    numbers: dict[str, Desired] = {}
    schedules: dict[str, Schedule] = {}
    elsewhere: dict[str, str] = {}
    lines = array("I")
    for fragment in fragments:
        for phone, desired, line in fragment.account.located():
            if phone not in numbers:
                numbers[phone] = desired
                lines.append(line)
                if fragment is not head:
                    elsewhere[phone] = fragment.account.source
        for phone, schedule in fragment.account.schedules.items():
            schedules.setdefault(phone, schedule)
    others = (fragment.account for fragment in fragments if fragment is not head)
    return replace(
        head.account,
        numbers=numbers,
        lines=lines,
        schedules=schedules,
        elsewhere=elsewhere,
        parts=tuple(SourceFile(each.source, each.line, each.sha256, each.commit) for each in others),
    )


def _disagreements(fragments: Sequence[AccountDocument]) -> Iterator[Problem]:
    """Yield the problems of one account's documents."""
    if len(fragments) > 1:
        unnamed = list(_unnamed(fragments))
        if unnamed:
            yield from unnamed
            return
        yield from _second_heads(fragments)
        yield from _listed_twice(fragments)
        yield from _other_zones(fragments)
    listed = [fragment.account.numbers for fragment in fragments]
    for fragment in fragments:
        for member in fragment.unlisted:
            if not any(member.phone in numbers for numbers in listed):
                told = (
                    Message(
                        "{phone} is not listed by the files of this run: give all files of account {name!r}, as -f "
                        "FOLDER does; or list it, or take it out of the group",
                        phone=PhoneNumber(member.phone),
                        name=fragment.account.name,
                    )
                    if fragment.named
                    else Message(
                        "{phone} is not listed under numbers: list it, or take it out of the group",
                        phone=PhoneNumber(member.phone),
                    )
                )
                yield Problem(fragment.account.source, member.line, member.column, told)


def _unnamed(fragments: Sequence[AccountDocument]) -> Iterator[Problem]:
    first = fragments[0]
    for fragment in fragments[1:]:
        if not (first.named and fragment.named):
            account = fragment.account
            told = Message(
                "account {name!r} is described here and at {place}: write another `account:` in one of them, or "
                "the same one in both if they are parts of one account",
                name=account.name,
                place=first.place,
            )
            yield _at(fragment, told)


def _second_heads(fragments: Sequence[AccountDocument]) -> Iterator[Problem]:
    head = _head(fragments)
    for fragment in fragments:
        if fragment.keys and fragment is not head:
            keys = ", ".join(fragment.keys)
            head_keys = ", ".join(head.keys)
            told = Message(
                "account {name!r} is split, and one of its documents has all keys of the account: move {keys} "
                "to {place}, which has {head_keys}",
                name=head.account.name,
                keys=keys,
                place=head.place,
                head_keys=head_keys,
            )
            yield _at(fragment, told)


def _listed_twice(fragments: Sequence[AccountDocument]) -> Iterator[Problem]:
    phones = set(chain.from_iterable(fragment.account.numbers for fragment in fragments))
    if len(phones) == sum(len(fragment.account.numbers) for fragment in fragments):
        return
    places: dict[str, str] = {}
    for fragment in fragments:
        source = fragment.account.source
        for phone, _, line in fragment.account.located():
            here = f"{source}:{line}"
            place = places.setdefault(phone, here)
            if place is not here:
                yield Problem(
                    source,
                    line,
                    1,
                    Message(
                        "{phone} stands here and at {place}: keep one of the two", phone=PhoneNumber(phone), place=place
                    ),
                )


def _other_zones(fragments: Sequence[AccountDocument]) -> Iterator[Problem]:
    head = _head(fragments)
    timezone = head.account.timezone
    for fragment in fragments:
        if not fragment.account.schedules or fragment.account.timezone == timezone:
            continue
        if fragment.zoned:
            own = fragment.account.timezone
            told = Message(
                "the times here are of timezone {own}, and those at {place} of {timezone}: write the same "
                "timezone in both, as they are one account",
                own=own,
                place=head.place,
                timezone=timezone,
            )
        else:
            told = Message(
                "the account's timezone is {timezone} at {place}: write `timezone: {timezone2}` here too",
                timezone=timezone,
                place=head.place,
                timezone2=timezone,
            )
        yield _at(fragment, told)


def _active_twice(fragments: Sequence[AccountDocument]) -> Iterator[Conflict]:
    holders: dict[str, tuple[DesiredAccount, int]] = {}
    for fragment in fragments:
        account = fragment.account
        for phone, desired, line in account.located():
            schedule = account.schedules.get(phone)
            if not (desired.status is Status.ACTIVE if schedule is None else ever_wants(schedule, Status.ACTIVE)):
                continue
            first, first_line = holders.setdefault(phone, (account, line))
            if first.name != account.name:
                other = f"{first.name!r} ({first.source}:{first_line})"
                told = Message(
                    "{phone} is ACTIVE here, in {name!r}, and in {other}: it can be in one account only",
                    phone=PhoneNumber(phone),
                    name=account.name,
                    other=other,
                )
                yield Conflict(Problem(account.source, line, 1, told), (account.source, first.source))


def _at(fragment: AccountDocument, told: str) -> Problem:
    return Problem(fragment.account.source, fragment.account.line, 1, told)
