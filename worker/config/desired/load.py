"""The loader of desired-state files: it reads the documents of each file, and joins them into accounts.

Numbers are read from the event stream one by one, and numbers that have only a status share one instance. So a million
numbers load in seconds and take little memory.
"""

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from hashlib import sha256
from pathlib import PurePath

import yaml
from msgspec import Struct
from msgspec.structs import replace

from worker.config import yaml_reader
from worker.config.desired.defaults import Defaults, read_shared
from worker.config.desired.document import DocumentReader
from worker.config.desired.fragments import AccountDocument, Conflict, find_conflicts, join
from worker.config.yaml_reader import Reader, YamlError
from worker.model.accounts import SHARED_FILE, DesiredAccount, SourceFile
from worker.model.errors import DesiredStateError, Problem
from worker.model.messages import Message, PhoneNumber
from worker.model.times import format_local, load_zone

__all__ = [
    "Check",
    "DesiredState",
    "DocumentSet",
    "SharedFiles",
    "ended_acknowledgements",
    "is_shared",
    "load",
    "parse_file",
    "read_defaults",
    "read_documents",
]

Check = Callable[[Sequence[AccountDocument]], Iterable[Conflict]]
"""A function that yields conflicts between documents which only the environment or the disk shows."""


SharedFiles = Callable[[str], tuple[str, bytes] | Problem | None]
"""A function that takes the path of a file, and returns the name and the bytes of the shared file in its folder.

It returns a problem if the shared file cannot be read, and None if the folder has none.
"""


class DocumentSet(Struct, frozen=True):
    """The documents of all files, in file order, and warnings."""

    documents: tuple[AccountDocument, ...]
    warnings: tuple[Problem, ...] = ()


class DesiredState(Struct, frozen=True):
    """The accounts of all files, in the order of the first document of each, and warnings."""

    accounts: tuple[DesiredAccount, ...]
    warnings: tuple[Problem, ...] = ()


def load(
    sources: Iterable[tuple[str, bytes] | Problem], check: Check | None = None, shared_files: SharedFiles | None = None
) -> DesiredState:
    """Return the accounts that the documents of all sources describe.

    A source is the name of a file for messages and its bytes, or the problem that prevented its reading. `check` yields
    further conflicts; it is called only if there are no other problems. Without `shared_files`, no file shares
    defaults.

    Raises:
        DesiredStateError: a source has problems. The error lists those of all sources, up to a limit per file.
    """
    documents = read_documents(sources, check, shared_files)
    return DesiredState(tuple(join(documents.documents)), documents.warnings)


def read_documents(
    sources: Iterable[tuple[str, bytes] | Problem], check: Check | None = None, shared_files: SharedFiles | None = None
) -> DocumentSet:
    """Return the documents of all sources. The parameters are those of `load`.

    Raises:
        DesiredStateError: a source has problems. The error lists those of all sources, up to a limit per file.
    """
    problems: list[Problem] = []
    warnings: list[Problem] = []
    documents: list[AccountDocument] = []
    omitted_count = 0
    only_shared = None
    shared = _SharedDefaults(shared_files)
    with _no_cyclic_collection():
        for source in sources:
            if isinstance(source, Problem):
                problems.append(source)
                continue
            if is_shared(source[0]):
                shared.read(*source)
                only_shared = source[0]
                continue
            reader = Reader(source[0])
            documents += _parse(reader, source[1], warnings, shared)
            problems += sorted(reader.problems)
            omitted_count += reader.omitted_count
    problems += shared.problems
    omitted_count += shared.omitted_count
    if not documents and not problems:
        problems.append(
            Problem("desired state", 1, 1, Message("no file to read"))
            if only_shared is None
            else Problem(only_shared, 1, 1, Message("no account: this file has only the defaults of its folder"))
        )
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


def ended_acknowledgements(accounts: Iterable[DesiredAccount], moment: datetime) -> Iterator[Problem]:
    """Yield a warning for each acknowledgement that has ended at `moment`, an aware time."""
    for account in accounts:
        ends = {
            phone: format_local(acknowledgement.until, load_zone(acknowledgement.timezone))
            for phone, acknowledgement in account.acknowledgements.items()
            if acknowledgement.until <= moment
        }
        locations = account.locations(ends) if ends else {}
        for phone, (source, line) in locations.items():
            message = Message(
                "{phone}: its acknowledgement ended at {end}: remove it, or give it a later until",
                phone=PhoneNumber(phone),
                end=ends[phone],
            )
            yield Problem(source, line, 1, message)


def parse_file(source: str, data: bytes, shared_files: SharedFiles | None = None) -> tuple[AccountDocument, ...]:
    """Return the documents of one file, without a check against other files. A shared file has none.

    Raises:
        DesiredStateError: the file, or its shared file, has problems. The error lists all of them, up to a limit.
    """
    reader = Reader(source)
    shared = _SharedDefaults(shared_files)
    documents: list[AccountDocument] = []
    if is_shared(source):
        shared.read(source, data)
    else:
        with _no_cyclic_collection():
            documents = _parse(reader, data, [], shared)
    if problems := sorted(reader.problems) + shared.problems:
        raise DesiredStateError(problems, reader.omitted_count + shared.omitted_count)
    return tuple(documents)


def is_shared(source: str) -> bool:
    """Return True if `source` is named `senderid.yaml`: the file with the defaults of its folder."""
    return PurePath(source).name == SHARED_FILE


def read_defaults(source: str, shared_files: SharedFiles) -> Defaults:
    """Return the defaults that a file shares with others; none if there is no valid shared file."""
    return _SharedDefaults(shared_files).of(source)[0] or Defaults()


class _SharedDefaults:
    """Reader of shared files, each once. It collects their problems."""

    def __init__(self, find: SharedFiles | None) -> None:
        self._find = find
        self._defaults: dict[str, tuple[Defaults | None, SourceFile]] = {}
        self.problems: list[Problem] = []
        self.omitted_count = 0

    def of(self, source: str) -> tuple[Defaults | None, tuple[SourceFile, ...]]:
        """Return the defaults that a file shares, and the file that has them. If it cannot be read, return None."""
        file = None if self._find is None else self._find(source)
        if file is None:
            return Defaults(), ()
        if isinstance(file, Problem):
            if file not in self.problems:
                self.problems.append(file)
            return None, ()
        defaults, shared_file = self.read(*file)
        return defaults, (shared_file,)

    def read(self, source: str, data: bytes) -> tuple[Defaults | None, SourceFile]:
        """Return the defaults of a shared file; None if it is not a document."""
        if source not in self._defaults:
            self._defaults[source] = self._parse(source, data), SourceFile(source, 1, sha256(data).hexdigest())
        return self._defaults[source]

    def _parse(self, source: str, data: bytes) -> Defaults | None:
        reader = Reader(source)
        defaults = None
        try:
            stream = yaml_reader.parse_events(source, yaml_reader.decode(source, data))
            starts = filter(yaml_reader.is_document_start, stream)
            if next(starts, None) is None:
                reader.report(Problem(source, 1, 1, Message("the file is empty: write version and defaults")))
            else:
                defaults = read_shared(reader, yaml_reader.compose(source, next(stream), stream))
                if (second := next(starts, None)) is not None:
                    reader.problem(
                        yaml_reader.Node(second.start_mark),
                        Message("a second document: senderid.yaml may contain only one"),
                    )
        except YamlError as error:
            reader.report(error.problem)
        self.problems += sorted(reader.problems)
        self.omitted_count += reader.omitted_count
        return defaults


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


def _parse(reader: Reader, data: bytes, warnings: list[Problem], shared: _SharedDefaults) -> list[AccountDocument]:
    """Return the documents of one file, including those with problems; none if its shared file cannot be read."""
    source, digest = reader.source, sha256(data).hexdigest()
    documents: list[AccountDocument] = []
    inherited, parts = shared.of(source)
    if inherited is None:
        return documents
    is_empty = True
    try:
        stream = yaml_reader.parse_events(source, yaml_reader.decode(source, data))
        for event in stream:
            if isinstance(event, yaml.DocumentStartEvent):
                is_empty = False
                fragment = DocumentReader(reader, stream, warnings, inherited).read(event)
                if fragment is not None:
                    account = replace(fragment.account, sha256=digest, parts=parts)
                    documents.append(replace(fragment, account=account))
    except YamlError as error:
        reader.report(error.problem)
    else:
        if is_empty:
            reader.report(Problem(source, 1, 1, Message("the file is empty: write version and numbers")))
    return documents
