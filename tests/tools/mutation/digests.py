"""Digests of what a verdict depends on: test functions, and a module's code outside its functions."""

import ast
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path

__all__ = ["digest_outside_functions", "digest_tests"]


def digest_tests(selected: Iterable[str]) -> dict[str, str]:
    """Return a digest of each test function in the files and folders `selected`, by its name without parameters.

    It covers the function, its module's other code, conftest files and the imported modules of `tests`.
    """
    digests: dict[str, str] = {}
    for path in map(Path, selected):
        for file in [path] if path.is_file() else sorted(path.rglob("test_*.py")):
            digests |= _digest_file(file)
    return digests


def digest_outside_functions(source: str) -> str:
    """Return a digest of a module's constants, fields and decorated functions, which mutmut does not compare."""
    return _digest(*_outside_functions(ast.parse(source).body))


def _outside_functions(body: Sequence[ast.stmt]) -> Iterator[str]:
    for node in body:
        match node:
            case ast.ClassDef():
                yield node.name
                yield from _outside_functions(node.body)
            case ast.FunctionDef(decorator_list=[]) | ast.AsyncFunctionDef(decorator_list=[]):
                pass
            case ast.Import() | ast.ImportFrom() | ast.Expr(value=ast.Constant()):
                pass
            case _:
                yield ast.dump(node)


def _digest_file(path: Path) -> dict[str, str]:
    functions: dict[str, str] = {}
    shared: list[str] = []
    for node in _parsed(path).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            functions[f"{path}::{node.name}"] = ast.dump(node)
        else:
            shared.append(ast.dump(node))
    shared += [ast.dump(_parsed(imported)) for imported in sorted(_imported(path))]
    return {name: _digest(function, *shared) for name, function in functions.items()}


def _parsed(path: Path) -> ast.Module:
    return _parse(path.read_bytes())


@cache
def _parse(source: bytes) -> ast.Module:
    return ast.parse(source)


def _imported(path: Path) -> set[Path]:
    """Return the modules of `tests` that a test module imports, directly or not, and the conftest files above it."""
    modules: set[Path] = set()
    waiting = [path, *(folder / "conftest.py" for folder in path.parents)]
    while waiting:
        current = waiting.pop()
        if current in modules or not current.exists():
            continue
        modules.add(current)
        for node in ast.walk(_parsed(current)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tests"):
                module = Path(*str(node.module).split("."))
                waiting += [module.with_suffix(".py"), *(module / f"{name.name}.py" for name in node.names)]
    return modules - {path}


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
