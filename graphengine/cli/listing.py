"""`ops`: what a node of a model file can be, the ops and the functions of the package."""

from __future__ import annotations

import inspect
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import typer

from graphengine.cli.options import OutputFormat, Plugins
from graphengine.cli.output import Format, print_json, print_line, print_result, print_table
from graphengine.errors import UsageError, did_you_mean
from graphengine.plugins import load_plugins

if TYPE_CHECKING:
    from graphengine.format.functions import Function
    from graphengine.ops.node import Node
    from graphengine.ops.registry import Op

INDENT = 12
"""The width of the titles in the description of one op."""

MAX_FORMULA = 60
"""A longer formula is cut in the table of all ops."""

WIDE = 140
"""On a narrower terminal the table of all ops has names and formulas only."""

UNWRITTEN = "not in the docstring of the class"


def ops(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One op or function, in detail.")] = None,
    output_format: OutputFormat = Format.text,
    plugins: Plugins = None,
) -> None:
    """List all ops and functions with formulas and attributes, or describe one."""
    from graphengine.format.functions import shipped_functions
    from graphengine.ops.registry import OPS

    load_plugins(plugins)
    known: dict[str, Op | Function] = {**OPS, **shipped_functions()}
    if name is None:
        _list_all(known, output_format)
    elif name in known:
        described = _described(known[name])
        print_result(output_format, described, lambda: _print_one(known[name], described))
    else:
        raise UsageError(f"unknown op '{name}'", code="GE211", hint=did_you_mean(name, known, "known ops"))


def _list_all(known: Mapping[str, Op | Function], output_format: Format) -> None:
    if output_format is Format.json:
        print_json({"ops": [_described(known[each]) for each in sorted(known)]})
    else:
        _print_all([_row(known[each]) for each in sorted(known)])


def _print_all(rows: Sequence[Mapping[str, str]]) -> None:
    is_narrow = sys.stdout.isatty() and shutil.get_terminal_size().columns < WIDE
    columns = ["op", "formula"] if is_narrow else [*rows[0]]
    print_table("", columns, [[row[column] for column in columns] for row in rows])


def models(output_format: OutputFormat = Format.text) -> None:
    """List the models that come with the package; every command takes their names."""
    from graphengine import library
    from graphengine.format.reading import read_model

    rows = []
    for name, path in library.models().items():
        document, _ = read_model(path)
        rows.append({"name": name, "description": document.description or "", "path": str(path)})
    cells = [[row["name"], row["description"]] for row in rows]
    print_result(output_format, {"models": rows}, lambda: print_table("", ["name", "description"], cells))


def _described(op: Op | Function) -> dict[str, Any]:
    from graphengine.format.catalogue import describe, describe_function
    from graphengine.ops.registry import Op

    return describe(op) if isinstance(op, Op) else describe_function(op)


def _row(op: Op | Function) -> dict[str, str]:
    from graphengine.ops.registry import Op

    row = {"op": op.name, "inputs": ", ".join(op.signature.parameters())}
    if not isinstance(op, Op):
        return {**row, "formula": "function", "derivatives": "", "attributes": ", ".join(op.document.attributes)}
    _, formula, derivatives, _ = op.docstring
    derivatives = "none" if op.signature.saved is None else derivatives
    attributes = ", ".join(op.cls.model_fields)
    return {**row, "formula": _cut(formula), "derivatives": _cut(derivatives), "attributes": attributes}


def _cut(text: str) -> str:
    """A formula as it fits into a table; `ops NAME` shows all of it."""
    return text if len(text) <= MAX_FORMULA else f"{text[: MAX_FORMULA - 4].rsplit(' ', 1)[0]} ..."


def _print_one(op: Op | Function, described: dict[str, Any]) -> None:
    lines = [
        ("op", op.name),
        ("", described["summary"]),
        ("inputs", op.signature.arity()),
        ("outputs", ", ".join(op.signature.outputs) or "as many as the attributes say"),
        *_titled("attributes", _attributes(op)),
        *(_function_lines(described) if "nodes" in described else _op_lines(op, described)),
    ]
    width = shutil.get_terminal_size().columns - INDENT if sys.stdout.isatty() else sys.maxsize
    for title, text in lines:
        _print_wrapped(title, text, max(width, INDENT))


def _print_wrapped(title: str, text: str, width: int) -> None:
    """A text beside its title, in lines of at most some width."""
    for index, part in enumerate(textwrap.wrap(text, width, break_on_hyphens=False)):
        print_line(f"{'' if index else title:<{INDENT}}{part}")


def _titled(title: str, lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Lines under one title, which is in front of the first; "none" where there is none."""
    for index, line in enumerate(list(lines) or ["none"]):
        yield "" if index else title, line


def _op_lines(op: Any, described: dict[str, Any]) -> Iterator[tuple[str, str]]:
    from graphengine.ops.docstring import equations

    yield from _titled("formula", equations(described["formula"] or UNWRITTEN))
    yield from _backward_lines(op.signature.saved, described["derivatives"])
    if described["random"]:
        yield "random", "the engine supplies the key where a file leaves it out"
    yield "shape", described["shape"]
    yield from _titled("dtypes", _dtype_lines(described["dtypes"]))
    yield "remarks", described["remarks"]
    yield "defined in", f"{op.cls.__module__}.{op.cls.__qualname__}"


def _backward_lines(saved: Sequence[str] | None, derivatives: str) -> Iterator[tuple[str, str]]:
    from graphengine.ops.docstring import equations

    if saved is None:
        yield "derivatives", "none: not differentiable"
        return
    yield from _titled("derivatives", equations(derivatives or UNWRITTEN))
    yield "backward", f"uses {', '.join(saved) or 'nothing'}"


def _dtype_lines(rules: list[dict[str, Any]]) -> Iterator[str]:
    """The rules for inputs of one dtype on one line, the rest line by line."""
    if not rules:
        yield "not known: nothing that was tried fits"
        return
    alike = _rules_of_one_dtype(rules)
    if alike:
        yield ", ".join(f"{next(iter(rule['inputs'].values()))} -> {_dtypes_text(rule['outputs'])}" for rule in alike)
    yield from [_rule_line(rule) for rule in rules if rule not in alike]


def _rules_of_one_dtype(rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rules for inputs of one dtype; none if only one index has the dtype of another by accident."""
    alike = list(filter(_has_one_dtype, rules))
    return alike if rules[0] in alike else []


def _has_one_dtype(rule: Mapping[str, Any]) -> bool:
    """Whether all inputs have one dtype, whatever the attributes are."""
    return len({*rule["inputs"].values()}) == 1 and not rule["attributes"]


def _rule_line(rule: dict[str, Any]) -> str:
    given = ", ".join(f"{name} {dtype}" for name, dtype in rule["inputs"].items())
    if_set = "".join(f", if {name} is {value!r}" for name, value in rule["attributes"].items())
    return (f"{given} -> " if given else "") + _dtypes_text(rule["outputs"]) + if_set


def _dtypes_text(outputs: dict[str, Any]) -> str:
    """The dtypes of outputs, once if they are all the same."""
    names = [each if isinstance(each, str) else f"attribute {each['attribute']}" for each in outputs.values()]
    return names[0] if len({*names}) == 1 else ", ".join(map(" ".join, zip(outputs, names, strict=True)))


def _function_lines(described: dict[str, Any]) -> Iterator[tuple[str, str]]:
    from graphengine.ops.shapes import shape_text

    if described["shapes"]:
        yield "shapes", ", ".join(f"{name} {shape_text(shape)}" for name, shape in described["shapes"].items())
    for index, node in enumerate(described["nodes"]):
        yield "" if index else "nodes", _call(node)


def _call(node: dict[str, Any]) -> str:
    """A node of a function as Python writes a call."""
    inputs = node["inputs"]
    given = [f"{key}={value}" for key, value in inputs.items()] if isinstance(inputs, dict) else list(map(str, inputs))
    given += [f"{key}={value}" for key, value in node.get("attributes", {}).items()]
    return f"{node['id']} = {node['op']}({', '.join(given)})"


def _attributes(op: Any) -> Iterator[str]:
    """Attributes as Python writes them: `axis: int | None = None`."""
    return _attributes_of_node(op.cls) if hasattr(op, "cls") else _attributes_of_function(op)


def _attributes_of_function(function: Any) -> Iterator[str]:
    for name, attribute in function.document.attributes.items():
        yield name if attribute.required else f"{name} = {attribute.default!r}"


def _attributes_of_node(cls: type[Node]) -> Iterator[str]:
    for name, field in cls.model_fields.items():
        default = "" if field.is_required() else f" = {field.get_default(call_default_factory=True)!r}"
        yield f"{name}: {_type_text(field.annotation)}{default}"


def _type_text(annotation: Any) -> str:
    """A type as Python writes it, without what only checks a value."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type_text(arguments[0])
    if origin in (Union, UnionType):
        return " | ".join(map(_type_text, arguments))
    if origin in (list, tuple):
        return f"{origin.__name__}[{', '.join(map(_type_text, arguments))}]"
    if origin is Literal:
        return " | ".join(map(repr, arguments))
    return _SHORT_TYPES.get(annotation) or inspect.formatannotation(annotation)


_SHORT_TYPES: dict[Any, str] = {NoneType: "None", Ellipsis: "..."}
