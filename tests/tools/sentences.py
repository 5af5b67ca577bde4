"""The sentences of a module, as templates: what its f-strings, constants and choices between them can come to.

`f"{told}. {way}"` is followed into what `told` and `way` were given, and `f"{count} number{'s' * (count != 1)}"` is two
sentences. What cannot be followed is a value, and gets a name: `no account is named {name}`.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import product
from pathlib import Path
from string import Formatter
from typing import Final, NamedTuple

__all__ = ["ROOT", "sentences"]

ROOT: Final = Path(__file__).parents[2]

_FOLLOWED: Final = frozenset({"_count", "suggest", "_similar", "why_unfit"})
"""Functions whose words are part of a sentence; those of others are values of it."""
_CLOTHES: Final = frozenset(
    {"quote", "_shown", "brief", "repr", "str", "len", "map", "sorted", "min", "max", "abs", "dict"}
)
"""Calls that a value is only dressed in."""
_ELSEWHERE: Final = frozenset(
    {"_", "gettext", "ngettext", "count", "command", "group", "option", "argument", "version_option"}
    | {"Message", "plural", "Meta", "compile", "getattr", "warn", "Template", "strftime"}
)
"""Calls whose texts are translated where they are written, are the help of the command line, or are no sentences."""
_DEEP: Final = 6

Texts = list[str] | None
"""What an expression can come to; None where it is a value."""


class _Given(NamedTuple):
    """What a name was given, on which line, and the last line of the outermost statement around that."""

    value: ast.expr
    line: int
    end: int


class _Scope(NamedTuple):
    """What names stand for in one function, and the scope around it."""

    names: Mapping[str, Sequence[_Given]]
    outer: "_Scope | None" = None

    def find(self, name: str, line: int) -> tuple[list[ast.expr], "_Scope"] | None:
        """What a name may have been given before a line, and the scope that this is of.

        Within the statement that gives it, such as one branch of an `if`, the nearest counts; behind it, each branch.
        """
        if name not in self.names:
            return self.outer.find(name, line) if self.outer is not None else None
        given = [each for each in self.names[name] if each.line <= line]
        if self.outer is None:
            return [each.value for each in self.names[name]], self
        if not given:  # the name of a loop or a comprehension, which is given something else below
            return [], self
        nearest = max(given, key=lambda each: each.line)
        if line <= nearest.end:
            return [nearest.value], self
        return [each.value for each in given if each.end == nearest.end], self


class _Module:
    """One module's constants, functions and what it takes from others of ours."""

    def __init__(self, tree: ast.Module) -> None:
        self.tree = tree
        self.constants = _Scope(_given(tree.body))
        self.functions = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        self.taken = {
            alias.asname or alias.name: (node.module, alias.name)
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("worker")
            for alias in node.names
        }


@cache
def _module(path: Path) -> _Module:
    return _Module(ast.parse(path.read_text()))


def _other(name: str) -> _Module | None:
    path = ROOT / name.replace(".", "/")
    found = next((each for each in (path.with_suffix(".py"), path / "__init__.py") if each.is_file()), None)
    return None if found is None else _module(found)


def sentences(path: Path) -> set[str]:
    """Every text of more than one word that a module can make, as a template for `str.format`."""
    module = _module(path)
    found: set[str] = set()
    for node, scope in _said(module.tree, module.constants, _held_back(module.tree)):
        for text in _Reading(module).texts(node, scope) or ():
            words = text.strip()
            if " " in words and any(char.islower() for char in words):
                found.add(text)
    return found


def _given(body: Iterable[ast.stmt], *, into: bool = False) -> dict[str, list[_Given]]:
    """What names are assigned, in a module's own lines or anywhere `into` a function."""
    found: dict[str, list[_Given]] = {}
    for statement in body:
        end = statement.end_lineno or statement.lineno
        for node in ast.walk(statement) if into else [statement]:
            match node:
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    found.setdefault(name, []).append(_Given(value, value.lineno, end))
                case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=values)):
                    for target, value in zip(names, values, strict=False):
                        if isinstance(target, ast.Name):
                            found.setdefault(target.id, []).append(_Given(value, value.lineno, end))
                case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                    found.setdefault(name, []).append(_Given(value, value.lineno, end))
    return found


def _held_back(tree: ast.AST) -> set[int]:
    """The expressions that are said only as a part of others: assigned to a name that nothing but texts use."""
    held = set()
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.Module)]
    for function in functions:
        into = isinstance(function, ast.FunctionDef)
        given = _given(function.body, into=into)
        inside: dict[str, int] = {}
        uses: dict[str, int] = {}
        for node in ast.walk(function):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                uses[node.id] = uses.get(node.id, 0) + 1
            if isinstance(node, ast.FormattedValue | ast.BinOp):
                parts = [node.value] if isinstance(node, ast.FormattedValue) else [node.left, node.right]
                for part in parts:
                    name = part.value if isinstance(part, ast.Subscript) else part
                    if isinstance(name, ast.Name):
                        inside[name.id] = inside.get(name.id, 0) + 1
        held |= {
            id(value)
            for name, values in given.items()
            if 0 < uses.get(name, 0) == inside.get(name)
            for value, _, _ in values
        }
    return held


def _said(node: ast.AST, scope: _Scope, held: set[int]) -> Iterator[tuple[ast.expr, _Scope]]:
    """The widest expressions that can be texts, each with its scope."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            scope = _Scope(_given(node.body, into=True), scope)
            parts: Iterable[ast.AST] = node.body
        case ast.Expr(value=ast.Constant()):
            return
        case ast.AnnAssign():
            parts = [node.value] if node.value else []
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in _ELSEWHERE:
            return
        case ast.Constant(value=str()) | ast.JoinedStr() | ast.BinOp() | ast.IfExp():
            if id(node) not in held:
                yield node, scope
            parts = ast.iter_child_nodes(node) if isinstance(node, ast.IfExp) else []
        case ast.Call(func=ast.Attribute(value=ast.Name(), attr="format"), args=[_]):
            yield node, scope
            return
        case _:
            parts = ast.iter_child_nodes(node)
    for part in parts:
        if id(part) not in held or not isinstance(part, ast.Constant | ast.JoinedStr | ast.BinOp | ast.IfExp):
            yield from _said(part, scope, held)


class _Reading:
    """Follows expressions of one module."""

    def __init__(self, module: _Module, depth: int = 0) -> None:
        self._module = module
        self._depth = depth

    def texts(self, node: ast.expr, scope: _Scope) -> Texts:
        """What an expression can come to."""
        if self._depth > _DEEP:
            return None
        self._depth += 1
        try:
            return self._texts(node, scope)
        finally:
            self._depth -= 1

    def _texts(self, node: ast.expr, scope: _Scope) -> Texts:  # noqa: C901, PLR0911, PLR0912 - a case for each kind of expression
        match node:
            case ast.Constant(value=str(text)):
                return [text.replace("{", "{{").replace("}", "}}")]
            case ast.JoinedStr():
                return self._joined([self._part(part, scope) for part in node.values])
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                sides = [self.texts(side, scope) for side in (left, right)]
                if sides == [None, None]:
                    return None
                return self._joined([side or [_hole(each)] for side, each in zip(sides, (left, right), strict=True)])
            case ast.BinOp(left=ast.Constant(value=str(text)), op=ast.Mult()):
                return ["", text]
            case ast.IfExp(body=one, orelse=other):
                return self._either([one, other], scope)
            case ast.BoolOp(op=ast.Or(), values=values):
                # what stands in for nothing is no sentence
                return self._either([value for value in values if getattr(value, "value", None) != ""], scope)
            case ast.NamedExpr(value=value):
                return self.texts(value, scope)
            case ast.Name(id=name):
                return self._name(name, scope, node.lineno)
            case ast.Subscript(value=ast.Name(id=name)):
                return self._values(name, scope)
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="get"), args=[_, default]):
                known = self._values(name, scope)
                return None if known is None else [*known, *(self.texts(default, scope) or [])]
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="format"), args=[arg]):
                found = self._name(name, scope, node.lineno) or []
                return [text.replace("{{}}", _hole(arg)) for text in found if "{{}}" in text] or None
            case ast.Call(func=ast.Name(id=name), args=args) if name in _FOLLOWED:
                return self._called(self._module.taken.get(name, ("", name)), args)
            case ast.Call(func=ast.Attribute(value=ast.Name(id=module), attr=name), args=args) if name in _FOLLOWED:
                return self._called((".".join(self._module.taken[module]), name), args)
        return None

    def _part(self, node: ast.expr, scope: _Scope) -> list[str]:
        if not isinstance(node, ast.FormattedValue):
            return self.texts(node, scope) or [""]
        found = None if node.format_spec or node.conversion > 0 else self.texts(node.value, scope)
        return [_hole(node.value)] if found is None else found

    def _either(self, nodes: Sequence[ast.expr], scope: _Scope) -> Texts:
        nodes = [node for node in nodes if not (isinstance(node, ast.Constant) and node.value is None)]
        found = [self.texts(node, scope) for node in nodes]
        if all(each is None for each in found):
            return None
        return [text for each, node in zip(found, nodes, strict=True) for text in (each or [_hole(node)])]

    def _joined(self, parts: Sequence[list[str]]) -> list[str]:
        return list(dict.fromkeys(_numbered("".join(each)) for each in product(*parts)))

    def _name(self, name: str, scope: _Scope, line: int) -> Texts:
        found = scope.find(name, line)
        if found is not None:
            values, where = found
            return self._either(values, where)
        if name in self._module.taken and name != "__version__":
            module, named = self._module.taken[name]
            other = _other(module)
            if other is not None and named in other.constants.names:
                return _Reading(other, self._depth)._either(
                    [each.value for each in other.constants.names[named]], other.constants
                )
        return None

    def _values(self, name: str, scope: _Scope) -> Texts:
        """The values of a constant mapping, or of a sequence."""
        match scope.find(name, 0):
            case ([ast.Dict(values=values)], where):
                return self._either(values, where)
        return None

    def _called(self, place: tuple[str, str], args: Sequence[ast.expr]) -> Texts:
        """What a function returns: one of a module of ours, or of this one where none is named."""
        source, name = place
        module = _other(source) if source else self._module
        function = module.functions.get(name) if module else None
        if module is None or function is None:
            return None
        # what a caller gives is followed in the caller's scope, where it is a plain text
        plain = {
            parameter.arg: [_Given(given, 0, 0)]
            for parameter, given in zip(function.args.args, args, strict=False)
            if isinstance(given, ast.Constant)
        }
        inner = _Scope(plain | _given(function.body, into=True), module.constants)
        returned = [
            node.value for node in ast.walk(function) if isinstance(node, ast.Return) and node.value is not None
        ]
        return _Reading(module, self._depth)._either(returned, inner)


def _hole(node: ast.expr) -> str:
    return "{" + _named(node) + "}"


def _named(node: ast.expr) -> str:  # noqa: C901, PLR0911 - one case a kind of expression
    match node:
        case ast.Name(id=name):
            return name.strip("_").lower()
        case ast.Attribute(attr=name):
            return name.strip("_")
        case ast.Call(func=ast.Attribute(value=ast.Constant(), attr="join"), args=[arg]):
            return _named(arg)
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=[arg, *_]) if name in _CLOTHES:
            return _named(arg) if name != "map" else _named(node.args[-1])
        case ast.Call(func=ast.Attribute(value=value, attr="lower" | "strip" | "partition" | "removeprefix")):
            return _named(value)
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
            return name.strip("_")
        case ast.Subscript(value=value) | ast.Starred(value=value) | ast.Await(value=value):
            return _named(value)
        case (
            ast.GeneratorExp(generators=[ast.comprehension(iter=value), *_])
            | ast.ListComp(generators=[ast.comprehension(iter=value), *_])
        ):
            return _named(value)
        case ast.BinOp(left=left):
            return _named(left)
        case ast.UnaryOp(operand=value):
            return _named(value)
        case ast.BoolOp(values=[value, *_]):
            return _named(value)
        case ast.IfExp(body=body, orelse=other):
            return _named(other) if isinstance(body, ast.Constant) else _named(body)
    return "value"


def _numbered(text: str) -> str:
    """The template with names that stand twice told apart."""
    seen: dict[str, int] = {}
    made = []
    for literal, name, _, _ in Formatter().parse(text):
        made.append(literal.replace("{", "{{").replace("}", "}}"))
        if name is not None:
            bare = name.rstrip("0123456789")
            seen[bare] = seen.get(bare, 0) + 1
            made.append("{" + bare + (str(seen[bare]) if seen[bare] > 1 else "") + "}")
    return "".join(made)
