"""Count the packages and modules of the worker that a number crosses in one `apply` of two numbers.

The script applies two numbers to a sandbox on another thread and traces the first of them: it profiles every call of a
Python function of `worker`. A call carries the number if one of its arguments is or contains it: text or bytes with its
digits, or a container, a struct or an object with slots that holds such a value at most two levels deep. Objects with a
`__dict__`, such as a client or a ledger, count as services, which keep numbers and do not pass them on.

A property is no call: it is read like an attribute that its object stores, which no profiler sees.

A hop is a call that carries the number from one module to another; functions outside `worker` between the two, such as
those of asyncio, are skipped. An entry is a pair of packages with a hop from one to the other.

`python benchmarks/hops.py [--list] [--json]`
"""

import asyncio
import contextlib
import dis
import inspect
import io
import json
import os
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import msgspec

PHONE, OTHER = "01020003001", "01020003002"
DEPTH = 2
"""Levels of containers below an argument that are searched."""
ITEMS = 50
"""Items of one container that are searched."""


def carries(value: object, depth: int = DEPTH) -> bool:
    """Return True if a value is or contains the number."""
    if isinstance(value, str):
        return PHONE in value
    if isinstance(value, bytes | bytearray):
        return PHONE.encode() in value
    return depth > 0 and any(carries(part, depth - 1) for part in islice(parts(value), ITEMS))


def parts(value: object) -> Iterator[object]:
    """Yield the parts of a container, a struct or an object with slots."""
    if isinstance(value, dict):
        yield from value
        yield from value.values()
    elif isinstance(value, list | tuple | set | frozenset):
        yield from value
    elif isinstance(value, msgspec.Struct):
        yield from (getattr(value, name) for name in value.__struct_fields__)
    elif not hasattr(value, "__dict__"):
        names = getattr(type(value), "__slots__", ())
        yield from (getattr(value, name, None) for name in ((names,) if isinstance(names, str) else names))


class Hops:
    """A profiler that counts the hops of each pair of modules."""

    def __init__(self) -> None:
        self.found: Counter[tuple[str, str]] = Counter()

    def __call__(self, frame: FrameType, event: str, _argument: Any) -> None:
        """Count a call."""
        if event != "call":
            return
        module = _module(frame)
        # a coroutine is called once; each time that it resumes looks like a call, too
        if module is None or frame.f_lasti > _start(frame.f_code) or _is_property(frame):
            return
        origin = _origin(frame.f_back)
        if origin is None or origin == module:
            return
        given = inspect.getargvalues(frame)
        names = [*given.args, *filter(None, (given.varargs, given.keywords))]
        if any(carries(given.locals[name]) for name in names if name in given.locals):
            self.found[origin, module] += 1

    def figures(self) -> dict[str, int]:
        """Return the counts of packages, entries, modules and hops."""
        entries = {(_package(a), _package(b)) for a, b in self.found if _package(a) != _package(b)}
        return {
            "packages": len({_package(module) for hop in self.found for module in hop}),
            "entries": len(entries),
            "modules": len({module for hop in self.found for module in hop}),
            "hops": self.found.total(),
        }


def _origin(frame: FrameType | None) -> str | None:
    """Return the module that called; None if the event loop or a thread did."""
    while frame is not None and frame.f_globals.get("__name__") != "asyncio.runners":
        module = _module(frame)
        if module is not None:
            return module
        frame = frame.f_back
    return None


@cache
def _start(code: CodeType) -> int:
    """Return the offset at which a function starts."""
    return next(each.offset for each in dis.get_instructions(code) if each.opname == "RESUME")


def _is_property(frame: FrameType) -> bool:
    code = frame.f_code
    owner = type(frame.f_locals[code.co_varnames[0]]) if code.co_argcount else None
    attribute = inspect.getattr_static(owner, code.co_name, None)
    return isinstance(attribute, property) and getattr(attribute.fget, "__code__", None) is code


def _module(frame: FrameType) -> str | None:
    name = str(frame.f_globals.get("__name__", ""))
    return name if name.startswith("worker.") else None


def _package(module: str) -> str:
    return module.split(".")[1]


def measure() -> Hops:
    """Apply two numbers and return the hops."""
    from worker.cli.main import run
    from worker.sandbox import Sandbox, SandboxAccount

    account = SandboxAccount.of({PHONE: "INACTIVE", OTHER: "INACTIVE"})
    hops, said = Hops(), io.TextIOWrapper(io.BytesIO())
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    sandbox = Sandbox([account])
    asyncio.run_coroutine_threadsafe(sandbox.start(), loop).result(10)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "numbers.yaml")
        file.write_text("version: 1\nnumbers:\n" + "".join(f"  {phone}: ACTIVE\n" for phone in (PHONE, OTHER)))
        os.environ |= {
            "SENDERID_ENDPOINT": sandbox.url,
            "SOLAPI_API_KEY": account.api_key,
            "SOLAPI_API_SECRET": account.api_secret,
            "XDG_STATE_HOME": folder,
        }
        threading.setprofile(hops)
        sys.setprofile(hops)
        try:
            with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO())), contextlib.redirect_stderr(said):
                status = run(["apply", "--yes", "-f", str(file)])
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
    asyncio.run_coroutine_threadsafe(sandbox.stop(), loop).result(10)
    assert status == 0, said.buffer
    return hops


def main() -> None:
    """Print the counts, and with `--list` each hop."""
    hops = measure()
    figures = hops.figures()
    if "--json" in sys.argv:
        print(json.dumps(figures))
        return
    for name, count in figures.items():
        print(f"{name:<10}{count:>5}")
    if "--list" in sys.argv:
        for (origin, module), count in sorted(hops.found.items()):
            print(f"{count:>5}  {origin} -> {module}")


if __name__ == "__main__":
    main()
