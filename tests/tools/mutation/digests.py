"""Find the tests that may run a module, and digests of what a verdict depends on besides the mutated function."""

import ast
import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cache
from itertools import accumulate
from pathlib import Path

__all__ = ["digest", "digest_outside_functions", "digest_tests", "find_importing_tests"]


def digest(*parts: str) -> str:
    """Return a short digest of texts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def digest_tests(selected: Iterable[str]) -> dict[str, str]:
    """Return a digest of each test function in the files and folders `selected`, by its name without parameters.

    It covers the function, its module's other code, conftest files and the imported modules of `tests`.
    """
    digests: dict[str, str] = {}
    for file in _test_files(selected):
        digests |= _digest_file(file)
    return digests


def digest_outside_functions(source: str) -> str:
    """Return a digest of a module's constants, fields and decorated functions, which mutmut does not compare."""
    return digest(*_outside_functions(ast.parse(source).body))


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
    shared += [ast.dump(_parsed(imported)) for imported in sorted(_imported(path)) if imported.parts[0] == "tests"]
    return {name: digest(function, *shared) for name, function in functions.items()}


def _parsed(path: Path) -> ast.Module:
    return _parse(path.read_bytes())


@cache
def _parse(source: bytes) -> ast.Module:
    return ast.parse(source)


def find_importing_tests(modules: Collection[Path], selected: Iterable[str]) -> list[str]:
    """Return the test files in the files and folders `selected` that import one of `modules`, directly or not."""
    return [str(file) for file in _test_files(selected) if not _imported(file).isdisjoint(modules)]


def _test_files(selected: Iterable[str]) -> Iterator[Path]:
    for path in map(Path, selected):
        yield from [path] if path.is_file() else sorted(path.rglob("test_*.py"))


def _imported(path: Path) -> set[Path]:
    """Return the files of the project that a test file imports, directly or not, and the conftest files above it."""
    files: set[Path] = set()
    waiting = {path, *(file for folder in path.parents if (file := folder / "conftest.py").exists())}
    while waiting:
        current = waiting.pop()
        files.add(current)
        waiting |= _imports(current, current.read_bytes()) - files
    return files - {path}


@cache
def _imports(path: Path, source: bytes) -> frozenset[Path]:
    """Return the files of the project that a file imports, also inside functions.

    A file that imports modules by computed names counts as importing all modules in its folder.
    """
    files: set[Path] = set()
    for node in ast.walk(_parse(source)):
        match node:
            case ast.Import():
                for alias in node.names:
                    files.update(_files_of(alias.name))
            case ast.ImportFrom(module=str(module)):
                for alias in node.names:
                    files.update(_files_of(f"{module}.{alias.name}"))
            case ast.Name(id="import_module"):
                files.update(path.parent.rglob("*.py"))
    return frozenset(files)


def _files_of(name: str) -> list[Path]:
    """Return the files that the import of a module, or of a name in it, runs: also those of the packages around it."""
    top, *parts = name.split(".")
    if top not in {"worker", "tests"} or not parts:
        return []
    folders = list(accumulate(parts, lambda folder, part: folder / part, initial=Path(top)))
    files = [*(folder / "__init__.py" for folder in folders), *(folder.with_suffix(".py") for folder in folders[-2:])]
    return [file for file in files if file.exists()]
