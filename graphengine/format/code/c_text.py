"""A model as one C file for sizes that are known: functions of its graphs, and the values to start from.

It needs the C library alone. Text of the model is in it only as comments and as names of variables.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from graphengine.backends.protocol import instructions
from graphengine.errors import Problem, require_none
from graphengine.format.code.c_expressions import EXPRESSIONS, helpers_of
from graphengine.format.code.c_function import TYPES, CFunction, c_type, count_of, number
from graphengine.format.code.folding import Unborrowed
from graphengine.format.code.identifiers import Names, remark
from graphengine.ir.graph import Graph
from graphengine.ir.nodes import operands_of
from graphengine.mappings import absent, present
from graphengine.ops.shapes import shape_text
from graphengine.version import __version__

KEYWORDS = """auto break case char const continue default do double else enum extern float for goto if inline int long
register restrict return short signed sizeof static struct switch typedef union unsigned void volatile while bool true
false main memcpy linux unix i386 asm typeof start"""
"""Words that mean something in C, or to compilers."""
CALLED = (
    "sign larger smaller modulo pairwise euclidean fabs fmod copysign nearbyint atan2 isnan isfinite sqrt floor ceil"
)
RESERVED = {*KEYWORDS.split(), *CALLED.split(), "i", *(f"i{axis}" for axis in range(64))}
RESERVED |= {text.partition("(")[0] for text in EXPRESSIONS.values()}
MOST_BYTES = 2**24
"""Bytes of the arrays of a function: C is for small models."""


@dataclass(frozen=True)
class CPart:
    """A function of the file: its name, what it does, its graph, which outputs it writes and which sources it replaces.

    `given` are scalars that are passed by value.
    """

    name: str
    title: str
    graph: Graph
    outputs: Sequence[str]
    carried: Mapping[str, str] = field(default_factory=dict)
    given: Sequence[str] = ()

    @cached_property
    def read_sources(self) -> list[str]:
        """The sources that it reads or gives, in the order of the graph."""
        read = {*self.graph.outputs.values(), *self.carried.values()} | operands_of(self.graph.nodes)
        return present(self.graph.sources, read)

    @cached_property
    def results(self) -> list[str]:
        """The outputs that it writes except for those that replace sources."""
        return absent(self.outputs, self.carried)


@dataclass(frozen=True)
class CContent:
    """What a file says: names and descriptions, functions, and values to start from."""

    name: str
    description: str | None
    parts: Sequence[CPart]
    values: Mapping[str, Any]
    remarks: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)


def c_text(content: CContent) -> str:
    """Return the text of the file.

    Raises
    ------
    InvalidModelError
        GE305 for each node that C has no code for, or if the arrays of a function take too much memory.
    """
    _refuse(content.parts)
    prefix = Names(RESERVED, ascii_only=True)[content.name]
    functions = [_function(part, prefix, content.remarks) for part in content.parts]
    helpers = [f"{each}\n" for each in helpers_of("\n".join(functions))]
    return "\n".join([_head(content), *helpers, *_values(content, prefix), *functions])


def _refuse(parts: Sequence[CPart]) -> None:
    """Raise what cannot be written, each node once."""
    refused = {problem.node: problem for part in parts for problem in _refused(part)}
    require_none(refused.values())


def _head(content: CContent) -> str:
    sizes = ", ".join(f"{name} = {size}" for name, size in content.sizes.items())
    made_for = f" for {sizes}" if sizes else ""
    lines = [
        f"/* {remark(content.description) or remark(content.name)}",
        "",
        f"   Made by graphengine {__version__} from the model '{remark(content.name)}'{made_for}.",
        "   Compile it with cc -O2 -ffp-contract=off and link it with -lm. Arrays have their numbers row by row.",
        "   A function keeps its arrays between calls, so one thread at a time may call it. */",
        "",
        *map("#include <{}.h>".format, ("math", "stdbool", "stdint", "string")),
        "",
    ]
    return "\n".join(lines)


def _values(content: CContent, prefix: str) -> Iterator[str]:
    names = Names(RESERVED, ascii_only=True)
    for name, value in content.values.items():
        array = np.asarray(value)
        numbers = ", ".join(map(number, array.reshape(-1).tolist())) or "0"
        about = remark(content.remarks.get(name)) or f"The value of {remark(name)} to start from"
        declared = f"const {TYPES[array.dtype.name]} {prefix}_start_{names[name]}[{max(1, array.size)}]"
        yield f"/* {about}: {shape_text(array.shape)} */\n{declared} = {{{numbers}}};\n"


def _refused(part: CPart) -> Iterator[Problem]:
    """A problem for each node that cannot be written."""
    function = CFunction(part.graph, Names(RESERVED, ascii_only=True))
    for each in instructions(part.graph):
        try:
            list(function.lines_of(each))
        except Unborrowed as reason:
            name = each.outputs[0].partition("~")[0]
            message = f"node '{name}' ({each.op}) cannot be exported to C: {reason}"
            yield Problem("GE305", message, "export to Python or ONNX", node=name)
    if function.nbytes > MOST_BYTES:
        message = f"the function {part.name} needs {function.nbytes:,} bytes: at most {MOST_BYTES:,} in C"
        yield Problem("GE305", message, "export for smaller sizes, such as --size N=1, or to Python or ONNX")


def _function(part: CPart, prefix: str, remarks: Mapping[str, str]) -> str:
    graph, names = part.graph, Names(RESERVED, ascii_only=True)
    arguments = ", ".join(_arguments(part, names)) or "void"
    lines = [f"/* {part.title}", "", *_described(part, names, remarks), " */"]
    lines += [f"void {prefix}_{part.name}({arguments}) {{"]
    lines += [_boxed(c_type(graph.types[name]), names[name]) for name in present(part.given, part.read_sources)]
    body = _body(CFunction(graph, names), part, names)
    lines += [f"    {line}" for line in [*_unread(part.read_sources, names, body), *body]]
    return "\n".join([*lines, "}", ""])


def _arguments(part: CPart, names: Names) -> list[str]:
    graph = part.graph
    read = [_argument(name, part, names) for name in part.read_sources]
    return read + [f"{c_type(graph.types[graph.outputs[name]])} *{names[f'out/{name}']}" for name in part.results]


def _unread(sources: Sequence[str], names: Names, body: Sequence[str]) -> list[str]:
    """Lines that keep a compiler from complaining of arguments that nothing reads."""
    return [f"(void){names[each]};" for each in sources if not _is_read(names[each], body)]


def _boxed(kind: str, name: str) -> str:
    """The line that makes an array of a number that is given as such."""
    return f"    const {kind} {name}[1] = {{{name}_given}};"


def _body(function: CFunction, part: CPart, names: Names) -> list[str]:
    """The lines that compute values and write outputs and what is carried."""
    graph, body = part.graph, list(function.lines())
    written = [(names[f"out/{name}"], graph.outputs[name]) for name in part.results]
    replaced = [(names[source], graph.outputs[output]) for output, source in part.carried.items()]
    return [*body, *_written(function, graph, written, replaced)]


def _is_read(name: str, lines: Sequence[str]) -> bool:
    return any(re.search(rf"\b{name}\b", line) for line in lines)


def _argument(name: str, part: CPart, names: Names) -> str:
    kind = part.graph.types[name]
    if name in part.given:
        return f"{c_type(kind)} {names[name]}_given"
    return f"{'' if name in part.carried.values() else 'const '}{c_type(kind)} *{names[name]}"


def _described(part: CPart, names: Names, remarks: Mapping[str, str]) -> Iterator[str]:
    for name in part.read_sources:
        about = remark(remarks.get(name))
        change = ", replaced" if name in part.carried.values() else ""
        yield f"   {names[name]}: {shape_text(part.graph.types[name].shape)}{change}{f', {about}' if about else ''}"
    for name in part.results:
        yield f"   {names[f'out/{name}']}: {shape_text(part.graph.types[part.graph.outputs[name]].shape)}, result"


def _written(
    function: CFunction, graph: Graph, written: Sequence[tuple[str, str]], replaced: Sequence[tuple[str, str]]
) -> Iterator[str]:
    """Lines that write the results: first into their own arrays, then over what they replace."""
    changed = [(target, value) for target, value in replaced if function.name(value) != target]
    kept = {value: f"kept_{place}" for place, (_, value) in enumerate(changed) if value in graph.sources}
    yield from _copies(function, graph, kept)
    for target, value in [*written, *changed]:
        yield _assignment(function, target, value, kept.get(value), graph.types[value].shape)


def _copies(function: CFunction, graph: Graph, kept: Mapping[str, str]) -> Iterator[str]:
    """Lines that copy values, which may be replaced before they are written, to arrays of the names `kept`."""
    for value, copy in kept.items():
        size = max(1, count_of(graph.types[value].shape))
        yield f"static {c_type(graph.types[value])} {copy}[{size}];"
        yield f"memcpy({copy}, {function.name(value)}, sizeof {copy});"


def _assignment(function: CFunction, target: str, value: str, copy: str | None, shape: Sequence[Any]) -> str:
    """A line that writes a value, or the copy of it that was kept."""
    if shape == ():
        return f"{target}[0] = {f'{copy}[0]' if copy else function.element(value)};"
    return f"memcpy({target}, {copy or function.name(value)}, {count_of(shape)} * sizeof *{target});"
