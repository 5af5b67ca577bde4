"""All files together: one account a document, and what no two of them may say.

Numbers are read from the event stream one by one, and those that carry nothing but a status share one value, so that a
million of them load in seconds and little memory.
"""

import gc
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256

import yaml
from msgspec import Struct
from msgspec.structs import replace

from worker import strictyaml
from worker.desired.document import Document
from worker.errors import DesiredStateError, Problem
from worker.model import DesiredAccount, Status
from worker.schedule import ever
from worker.strictyaml import Reader, YamlProblem

__all__ = ["Loaded", "clashes", "load"]


class Loaded(Struct, frozen=True):
    """The accounts of all files, in their order, and what is odd but not wrong."""

    accounts: tuple[DesiredAccount, ...]
    warnings: tuple[Problem, ...] = ()


def load(sources: Iterable[tuple[str, bytes] | Problem]) -> Loaded:
    """The accounts of the sources: pairs of a name for messages and the file's bytes, or why one could not be read.

    Raises:
        DesiredStateError: with every problem of every source, up to a bound a file.
    """
    problems: list[Problem] = []
    warnings: list[Problem] = []
    accounts: list[DesiredAccount] = []
    untold = 0
    with _no_cyclic_collection():
        for source in sources:
            if isinstance(source, Problem):
                problems.append(source)
                continue
            reader = Reader(source[0])
            digest = sha256(source[1]).hexdigest()
            accounts += (replace(account, sha256=digest) for account in _accounts(reader, source[1], warnings))
            problems += sorted(reader.problems)
            untold += reader.untold
    if not accounts and not problems:
        problems.append(Problem("desired state", 1, 1, "there is no file to read"))
    between = Reader("")
    for clash in clashes(accounts):
        between.tell(clash)
    problems += between.problems
    if problems:
        raise DesiredStateError(problems, untold + between.untold)
    return Loaded(tuple(accounts), tuple(warnings))


@contextmanager
def _no_cyclic_collection() -> Iterator[None]:
    # a million new objects and no cycles: the collector would look at all of them again and again
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _accounts(reader: Reader, data: bytes, warnings: list[Problem]) -> list[DesiredAccount]:
    """One file's accounts; those with problems may be among them."""
    source = reader.source
    found: list[DesiredAccount] = []
    empty = True
    try:
        stream = strictyaml.events(source, strictyaml.decode(source, data))
        for event in stream:
            if isinstance(event, yaml.DocumentStartEvent):
                empty = False
                account = Document(reader, stream, warnings).read(event)
                if account is not None:
                    found.append(account)
    except YamlProblem as error:
        reader.tell(error.problem)
    else:
        if empty:
            reader.tell(Problem(source, 1, 1, "the file is empty: it should say version and numbers"))
    return found


def clashes(accounts: Sequence[DesiredAccount]) -> Iterator[Problem]:
    """Two documents for one account, and numbers that are to be ACTIVE in two accounts, each told at the later one."""
    names: dict[str, DesiredAccount] = {}
    for account in accounts:
        first = names.setdefault(account.name, account)
        if first is not account:
            place = f"{first.source}:{first.line}"
            told = f"account {account.name!r} is described here and at {place}: write another `account:` in one of them"
            yield Problem(account.source, account.line, 1, told)
    if len(names) == 1:
        return
    holders: dict[str, tuple[DesiredAccount, int]] = {}
    for account in accounts:
        for phone, desired, line in account.located():
            schedule = account.schedules.get(phone)
            if not (desired.status is Status.ACTIVE if schedule is None else ever(schedule, Status.ACTIVE)):
                continue
            first, first_line = holders.setdefault(phone, (account, line))
            if first is not account:
                other = f"{first.name!r} ({first.source}:{first_line})"
                told = f"{phone} is ACTIVE here, in {account.name!r}, and in {other}: it can be in one account only"
                yield Problem(account.source, line, 1, told)
