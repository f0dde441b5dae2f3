"""`ops`: what a node of a model file can be, the ops and the functions of the package."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin

import typer

from graphengine.cli.options import OutputFormat, Plugins
from graphengine.cli.output import Format, print_json, print_line, print_table
from graphengine.cli.plugins import load_plugins
from graphengine.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from graphengine.loading.functions import Function
    from graphengine.registry import Op


def ops(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One op or function, in detail.")] = None,
    output_format: OutputFormat = Format.text,
    plugins: Plugins = None,
) -> None:
    """List all ops and functions with formulas and attributes, or describe one."""
    from graphengine.loading.functions import shipped_functions
    from graphengine.registry import OPS

    load_plugins(plugins)
    known: dict[str, Op | Function] = {**OPS, **shipped_functions()}
    if name is not None and name not in known:
        raise UsageError(f"op '{name}' is not known", code="GE211", hint=did_you_mean(name, known, "known ops"))
    told = {each: _described(known[each]) for each in ([name] if name else sorted(known))}
    if output_format is Format.json:
        print_json(told[name] if name else {"ops": list(told.values())})
    elif name:
        _print_one(known[name], told[name])
    else:
        columns = ["op", "inputs", "formula", "partial derivatives", "attributes"]
        print_table("", columns, [_row(known[each], described) for each, described in told.items()])


def _described(op: Op | Function) -> dict[str, Any]:
    from graphengine.reference.catalogue import describe, describe_function
    from graphengine.registry import Op

    return describe(op) if isinstance(op, Op) else describe_function(op)


def _row(op: Op | Function, described: dict[str, Any]) -> list[str]:
    formula, partials = described.get("formula", ""), described.get("partial_derivatives", "")
    formula = formula or ("function" if "nodes" in described else "")
    return [op.name, ", ".join(op.signature.parameters()), formula, partials, ", ".join(_attributes(op))]


def _print_one(op: Op | Function, described: dict[str, Any]) -> None:
    lines = [
        ("op", op.name),
        ("", described["summary"]),
        ("inputs", op.signature.arity()),
        ("outputs", ", ".join(op.signature.outputs) or "as many as the attributes say"),
        ("attributes", ", ".join(_attributes(op)) or "none"),
        *(_function_lines(described) if "nodes" in described else _op_lines(op, described)),
    ]
    for title, text in lines:
        print_line(f"{title:<12}{text}")


def _op_lines(op: Any, described: dict[str, Any]) -> list[tuple[str, str]]:
    saved = op.signature.saved
    lines = {
        "backward": "none: not differentiable" if saved is None else f"uses {', '.join(saved) or 'nothing'}",
        "result": described["formula"],
        "derivatives": described["partial_derivatives"],
        "shape": described["shape"],
        "dtypes": ", ".join(f"{given} -> {result}" for given, result in described["dtypes"].items()),
        "remarks": " ".join(described["description"].split()),
        "defined in": f"{op.cls.__module__}.{op.cls.__qualname__}",
    }
    return [(title, text) for title, text in lines.items() if text]


def _function_lines(described: dict[str, Any]) -> Iterator[tuple[str, str]]:
    from graphengine.shapes import shape_text

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
    if not hasattr(op, "cls"):
        for name, attribute in op.document.attributes.items():
            yield name if attribute.default is None else f"{name} = {attribute.default!r}"
        return
    for name, field in op.cls.model_fields.items():
        default = "" if field.is_required() else f" = {field.get_default(call_default_factory=True)!r}"
        yield f"{name}: {_type_text(field.annotation)}{default}"


def _type_text(annotation: Any) -> str:
    """A type as Python writes it, without what only checks a value."""
    if get_origin(annotation) is Annotated:
        return _type_text(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return " | ".join(map(_type_text, get_args(annotation)))
    if get_origin(annotation) in (list, tuple):
        return f"{get_origin(annotation).__name__}[{', '.join(map(_type_text, get_args(annotation)))}]"
    if annotation in (NoneType, Ellipsis):
        return "None" if annotation is NoneType else "..."
    return inspect.formatannotation(annotation)
