"""The loader of desired-state files: it reads the documents of each file, and joins them into accounts.

Numbers are read from the event stream one by one, and numbers that have only a status share one instance. So a million
numbers load in seconds and take little memory.
"""

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256

import yaml
from msgspec import Struct
from msgspec.structs import replace

from worker.config import yaml_reader
from worker.config.desired.document import DocumentReader
from worker.config.desired.fragments import AccountDocument, Conflict, find_conflicts, join
from worker.config.yaml_reader import Reader, YamlError
from worker.model.accounts import DesiredAccount
from worker.model.errors import DesiredStateError, Problem
from worker.model.messages import Message

__all__ = ["Check", "DesiredState", "DocumentSet", "load", "parse_file", "read_documents"]

Check = Callable[[Sequence[AccountDocument]], Iterable[Conflict]]
"""A function that yields conflicts between documents which only the environment or the disk shows."""


class DocumentSet(Struct, frozen=True):
    """The documents of all files, in file order, and warnings."""

    documents: tuple[AccountDocument, ...]
    warnings: tuple[Problem, ...] = ()


class DesiredState(Struct, frozen=True):
    """The accounts of all files, in the order of the first document of each, and warnings."""

    accounts: tuple[DesiredAccount, ...]
    warnings: tuple[Problem, ...] = ()


def load(sources: Iterable[tuple[str, bytes] | Problem], check: Check | None = None) -> DesiredState:
    """Return the accounts that the documents of all sources describe.

    A source is the name of a file for messages and its bytes, or the problem that prevented its reading. `check` yields
    further conflicts; it is called only if there are no other problems.

    Raises:
        DesiredStateError: a source has problems. The error lists those of all sources, up to a limit per file.
    """
    documents = read_documents(sources, check)
    return DesiredState(tuple(join(documents.documents)), documents.warnings)


def read_documents(sources: Iterable[tuple[str, bytes] | Problem], check: Check | None = None) -> DocumentSet:
    """Return the documents of all sources, with the same sources and checks as `load`.

    Raises:
        DesiredStateError: a source has problems. The error lists those of all sources, up to a limit per file.
    """
    problems: list[Problem] = []
    warnings: list[Problem] = []
    documents: list[AccountDocument] = []
    omitted_count = 0
    with _no_cyclic_collection():
        for source in sources:
            if isinstance(source, Problem):
                problems.append(source)
                continue
            reader = Reader(source[0])
            documents += _parse(reader, source[1], warnings)
            problems += sorted(reader.problems)
            omitted_count += reader.omitted_count
    if not documents and not problems:
        problems.append(Problem("desired state", 1, 1, Message("no file to read")))
    conflicts = Reader("")
    for conflict in find_conflicts(documents):
        conflicts.report(conflict.problem)
    if check is not None and not problems and not conflicts.problems:
        for conflict in check(documents):
            conflicts.report(conflict.problem)
    problems += conflicts.problems
    if problems:
        raise DesiredStateError(problems, omitted_count + conflicts.omitted_count)
    return DocumentSet(tuple(documents), tuple(warnings))


def parse_file(source: str, data: bytes) -> tuple[AccountDocument, ...]:
    """Return the documents of one file, without a check against other files.

    Raises:
        DesiredStateError: the file has problems. The error lists all of them, up to a limit.
    """
    reader = Reader(source)
    with _no_cyclic_collection():
        documents = _parse(reader, data, [])
    if reader.problems:
        raise DesiredStateError(sorted(reader.problems), reader.omitted_count)
    return tuple(documents)


@contextmanager
def _no_cyclic_collection() -> Iterator[None]:
    # a million new objects have no cycles: the garbage collector would traverse them repeatedly for nothing
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _parse(reader: Reader, data: bytes, warnings: list[Problem]) -> list[AccountDocument]:
    """Return the documents of one file, including those with problems."""
    source, digest = reader.source, sha256(data).hexdigest()
    documents: list[AccountDocument] = []
    empty = True
    try:
        stream = yaml_reader.parse_events(source, yaml_reader.decode(source, data))
        for event in stream:
            if isinstance(event, yaml.DocumentStartEvent):
                empty = False
                fragment = DocumentReader(reader, stream, warnings).read(event)
                if fragment is not None:
                    documents.append(replace(fragment, account=replace(fragment.account, sha256=digest)))
    except YamlError as error:
        reader.report(error.problem)
    else:
        if empty:
            reader.report(Problem(source, 1, 1, Message("the file is empty: write version and numbers")))
    return documents
