"""Render settings, log lines and JSON Schemas as tables."""

from collections.abc import Iterable, Iterator, Mapping
from inspect import cleandoc
from typing import Any

import msgspec
from msgspec import UNSET, Struct, inspect, structs

from docs._ext.writing import code, prose, table
from worker.config.channels import Channel
from worker.config.settings import Settings
from worker.model.credentials import SecretRef
from worker.render.json_schema import schema
from worker.render.log_lines import LogLine

__all__ = ["fields", "leaves", "settings", "shape"]


def settings() -> str:
    """Return every setting by section, with its type, bounds and default."""
    return "\n\n".join(_sections(Settings, ()))


def _sections(section: type[Struct], path: tuple[str, ...]) -> Iterator[str]:
    leaves = [field for field in structs.fields(section) if not _is_section(field.type)]
    head = f"## {'.'.join(path)}" if path else "## At the top"
    rows = (_setting(field, path) for field in leaves)
    yield "\n\n".join(
        [head, prose(cleandoc(section.__doc__ or "")), table(("setting", "meaning", "values", "default"), rows)]
    )
    for field in structs.fields(section):
        if _is_section(field.type):
            yield from _sections(field.type, (*path, field.name))
        elif (*path, field.name) == ("notify", "channels"):
            yield from _sections(Channel, (*path, f"{field.name}[]"))


def _setting(field: structs.FieldInfo, path: tuple[str, ...]) -> tuple[str, ...]:
    kind = inspect.type_info(field.type)
    told = kind.extra_json_schema or {} if isinstance(kind, inspect.Metadata) else {}
    return (
        code(".".join((*path, field.name))),
        prose(told.get("description", "")),
        _values(kind.type if isinstance(kind, inspect.Metadata) else kind),
        _default(field),
    )


def _is_section(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Struct) and kind is not SecretRef


def _values(kind: inspect.Type) -> str:
    match kind:
        case inspect.IntType(ge=least, le=most):
            return f"a whole number, {least} to {most:,}"
        case inspect.FloatType(ge=least, le=most):
            return f"a number, {'more than 0' if least is None else f'{least} or more'}, up to {most:,}"
        case inspect.BoolType():
            return "`true` or `false`"
        case inspect.LiteralType() | inspect.EnumType():
            return _words(kind)
        case inspect.UnionType(types=(inspect.IntType(), *_)):
            return "a whole number, or a percentage"
        case inspect.UnionType(types=members):
            return " or ".join(_values(each) for each in members if not isinstance(each, inspect.NoneType))
        case inspect.VarTupleType(item_type=item):
            return f"a list of {_values(item.type if isinstance(item, inspect.Metadata) else item)}"
        case inspect.StructType(cls=struct):
            return (
                "`{env: NAME}`, `{file: PATH}` or `{command: [PROGRAM, …]}`"
                if struct is SecretRef
                else "entries, see below"
            )
        case _:
            return "a text"


def _words(kind: inspect.LiteralType | inspect.EnumType) -> str:
    words = kind.values if isinstance(kind, inspect.LiteralType) else [each.value for each in kind.cls]
    return ", ".join(code(str(word)) for word in words)


def _default(field: structs.FieldInfo) -> str:
    if field.default is msgspec.NODEFAULT and field.default_factory is msgspec.NODEFAULT:
        return "an error"
    default = field.default
    if default is None:
        return "null"
    if isinstance(default, tuple):
        return "all" if default else "none"
    return code(str(default).lower() if isinstance(default, bool) else f"{default}")


def leaves(section: type[Struct], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], structs.FieldInfo]]:
    """Yield every setting below a section with its path, except lists, which no environment variable sets."""
    for field in structs.fields(section):
        if _is_section(field.type):
            yield from leaves(field.type, (*path, field.name))
        elif not isinstance(field.default, tuple):
            yield (*path, field.name), field


def fields() -> str:
    """Return every field of a log line."""
    found = []
    for field in structs.fields(LogLine):
        kind = inspect.type_info(field.type)
        members = kind.types if isinstance(kind, inspect.UnionType) else (kind,)
        told = [each.extra_json_schema or {} for each in members if isinstance(each, inspect.Metadata)]
        words = next((each["description"] for each in told if "description" in each), "")
        always = field.default is not UNSET
        found.append((code(field.name), prose(words) or _enumerated(members), "always" if always else ""))
    return table(("field", "meaning", "there"), found)


def _enumerated(members: Iterable[inspect.Type]) -> str:
    for member in members:
        kind = member.type if isinstance(member, inspect.Metadata) else member
        if isinstance(kind, inspect.EnumType | inspect.LiteralType):
            return _values(kind)
    return ""


def shape(name: str) -> str:
    """Return every property of a JSON Schema by its path."""
    whole = schema(name)
    return table(("property", "type", "meaning"), _properties(whole, whole.get("$defs", {}), "", ()))


def _properties(
    part: Mapping[str, Any], defs: Mapping[str, Any], path: str, above: tuple[str, ...]
) -> Iterator[tuple[str, str, str]]:
    part, above = _resolved(part, defs, above)
    required = part.get("required", ())
    for name, inner in part.get("properties", {}).items():
        where = f"{path}.{name}" if path else name
        found, _ = _resolved(inner, defs, above)
        always = "" if name in required else ", may be absent"
        yield code(where), f"{_type(inner, defs)}{always}", prose(found.get("description", ""))
        yield from _inside(inner, defs, where, above)


def _inside(
    part: Mapping[str, Any], defs: Mapping[str, Any], where: str, above: tuple[str, ...]
) -> Iterator[tuple[str, str, str]]:
    found, above = _resolved(part, defs, above)
    if "properties" in found:
        yield from _properties(found, defs, where, above)
    if isinstance(found.get("items"), Mapping):
        yield from _inside(found["items"], defs, f"{where}[]", above)
    if isinstance(found.get("additionalProperties"), Mapping):
        yield from _inside(found["additionalProperties"], defs, f"{where}.*", above)
    for each in found.get("anyOf", ()):
        yield from _inside(each, defs, where, above)


def _resolved(
    part: Mapping[str, Any], defs: Mapping[str, Any], above: tuple[str, ...]
) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    if "$ref" not in part:
        return part, above
    name = part["$ref"].rpartition("/")[2]
    more = {key: value for key, value in part.items() if key != "$ref"}
    # a recursive shape appears once
    return ({**defs[name], **more}, (*above, name)) if name not in above else (more, above)


def _type(part: Mapping[str, Any], defs: Mapping[str, Any]) -> str:
    found, _ = _resolved(part, defs, ())
    if "const" in found:
        return code(str(found["const"]))
    if "properties" in found:
        return "object"
    if "enum" in found:
        return ", ".join(dict.fromkeys(code(str(word)) for word in found["enum"]))
    if "anyOf" in found:
        return " or ".join(dict.fromkeys(_type(each, defs) for each in found["anyOf"]))
    kind = found.get("type", "any")
    if kind == "array" and isinstance(found.get("items"), Mapping):
        return f"array of {_type(found['items'], defs)}"
    return " or ".join([kind] if isinstance(kind, str) else kind)
