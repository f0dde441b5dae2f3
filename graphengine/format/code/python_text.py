"""A model as one Python file that needs NumPy alone: functions of its graphs, and the values to start from.

The file holds what the ops do, borrowed from their classes, so it gives the bits of the reference executor, which are
those of the NumPy backend. Text of the model is in it only as literals, comments and names of local variables.
"""

from __future__ import annotations

import ast
import base64
import itertools
import keyword
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from textwrap import indent, wrap
from typing import Any

import numpy as np

from graphengine.errors import Problem, require_none
from graphengine.format.code.borrowing import Borrowed
from graphengine.format.code.folding import Unborrowed, literal
from graphengine.format.code.identifiers import Names, remark
from graphengine.format.code.node_calls import Calls
from graphengine.ir.graph import Graph
from graphengine.ir.nodes import GraphNode, operands_of
from graphengine.transform.passes import dead_code, expansion
from graphengine.transform.rewriting import Rewriter
from graphengine.version import __version__

RESERVED = {"np", "base64", "array", "packed", "start", "forward", "gradient", "step", "inputs", "parameters", "Op"}
RESERVED |= {"iteration", "learning_rate", "results"}
IN_BLOCKS = {
    "sum_over": "np.sum",
    "matrix_product": "np.matmul",
    "dot_products": "np.vecdot",
    "running_sum": "np.cumsum",
    "hypotenuse": "np.hypot",
}
"""Functions that add numbers of single precision in blocks; of double precision they are NumPy's."""
SHORT = 64
"""Numbers up to which an array is written as a list."""
HELPERS = '''def array(values, name, dtype, axes):
    """Return a value by name as an array of a dtype and a number of axes."""
    found = np.asarray(values[name], dtype, order="C")
    if found.ndim != axes:
        raise ValueError(f"'{name}' has {found.ndim} axes: the model takes {axes}")
    return found
'''
PACKED = '''def packed(text, dtype, shape):
    """Return an array from its bytes as text."""
    return np.frombuffer(base64.b64decode(text), dtype).reshape(shape).copy()
'''


@dataclass(frozen=True)
class EmittedFunction:
    """A function of the file: its head, what its docstring says, the graph that it computes and lines in front of that.

    It returns the `outputs` by name and, if something is `carried`, the parameters with what replaces them.
    `arguments` are sources that are arguments of the function itself.
    """

    head: str
    title: str
    graph: Graph
    outputs: Sequence[str]
    carried: Mapping[str, str] = field(default_factory=dict)
    arguments: Sequence[str] = ()
    before: Sequence[str] = ()


@dataclass(frozen=True)
class Content:
    """What a file says: names and descriptions, functions, values to start from, and the lines of an example."""

    name: str
    description: str | None
    functions: Sequence[EmittedFunction]
    values: Mapping[str, Any]
    remarks: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    example: Sequence[str] = ()


def python_text(content: Content) -> str:
    """Return the text of the file.

    Raises
    ------
    InvalidModelError
        GE305 for each node that has no source, and is not made of ops that have.
    """
    functions, calls = _writable(content.functions)
    borrowed = calls.borrowed
    reserved = {*borrowed.names, *keyword.kwlist, *RESERVED}
    parts = [_head(content), "", *_imports(borrowed, content.values), "", "", HELPERS]
    parts += [f"\n{PACKED}"] * _is_packed(content.values)
    parts += [f"\n{text}\n" for text in borrowed.texts]
    for each in functions:
        parts.append(f"\n{_function(each, calls, reserved, content.remarks)}\n")
    parts += [f"\n{_start(content)}\n"]
    parts += ['\nif __name__ == "__main__":', indent("\n".join(content.example), "    ")] if content.example else []
    return "\n".join(parts).rstrip() + "\n"


def _head(content: Content) -> str:
    about = remark(content.description) or remark(content.name)
    lines = [*wrap(f"{about}{'' if about.endswith(('.', '!', '?')) else '.'}", 112), ""]
    lines += [f"Made by graphengine {__version__} from the model '{remark(content.name)}'. It needs NumPy alone.", ""]
    for note in content.notes:
        lines += wrap(note, 112, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False)
    return "\n".join(['"""' + lines[0], *lines[1:], '"""'])


def _imports(borrowed: Borrowed, values: Mapping[str, Any]) -> list[str]:
    found = {*borrowed.imports, *["import base64"] * _is_packed(values)} - {"import numpy as np"}
    return [*sorted(found), *[""] * bool(found), "import numpy as np"]


def _is_packed(values: Mapping[str, Any]) -> bool:
    return any(np.size(each) > SHORT for each in values.values())


def _start(content: Content) -> str:
    """The function that gives the values to start from."""
    lines = [
        "def start():",
        '    """Return parameters and state as they were when this file was written."""',
        "    return {",
    ]
    for name, each in content.values.items():
        about = remark(content.remarks.get(name))
        lines += [f"        # {about}"] * bool(about)
        lines.append(f"        {name!r}: {array_text(each)},")
    return "\n".join([*lines, "    }"])


def array_text(given: Any) -> str:
    """Return an array as an expression that gives it back, to the last bit."""
    found = np.asarray(given)
    if found.size <= SHORT:
        return f"np.array({ast.unparse(literal(found.tolist()))}, np.{found.dtype.name}){_reshaped(found)}"
    little = np.ascontiguousarray(found, found.dtype.newbyteorder("<"))
    text = base64.b64encode(little.tobytes()).decode()
    lines = "\n".join(f'            "{text[place : place + 96]}"' for place in range(0, len(text), 96))
    return f"packed(\n{lines},\n            {little.dtype.str!r},\n            {found.shape},\n        )"


def _reshaped(found: Any) -> str:
    return f".reshape({found.shape})" if 0 in found.shape else ""


def _writable(functions: Sequence[EmittedFunction]) -> tuple[list[EmittedFunction], Calls]:
    """Functions whose nodes all have a source, borrowed; nodes without one are replaced by what they are made of."""
    graphs = [dead_code(each.graph) for each in functions]
    calls, reasons = _tried(graphs)
    if reasons:
        expanding = _expanding(set(reasons))
        graphs = [dead_code(Rewriter(graph).run(expansion=expanding, primitives=True)) for graph in graphs]
        calls, reasons = _tried(graphs)
    lacking = {node.id: _problem(node, reasons[node.op]) for node in _nodes_of(graphs) if node.op in reasons}
    require_none(lacking.values())
    return [replace(each, graph=graph) for each, graph in zip(functions, graphs, strict=True)], calls


def _nodes_of(graphs: Iterable[Graph]) -> Iterator[GraphNode]:
    return itertools.chain.from_iterable(graph.nodes for graph in graphs)


def _tried(graphs: Sequence[Graph]) -> tuple[Calls, dict[str, str]]:
    """What writes the nodes of graphs, and the ops that cannot be written with the reasons."""
    reasons: dict[str, str] = {}
    calls = Calls(Borrowed(RESERVED, {} if any(map(_has_single, graphs)) else IN_BLOCKS))
    for node in _nodes_of(graphs):
        try:
            if node.op == "opaque_backward":
                raise Unborrowed("it runs the backward of a node in Python")
            calls.template(node.node, node.inputs)
        except Unborrowed as reason:
            reasons[node.op] = str(reason)
    return calls, reasons


def _expanding(lacking: set[str]) -> Any:
    def expanding(recorder: Any, node: GraphNode, types: Any, kinds: Any) -> Any:
        return expansion(recorder, node, types, kinds) if node.op in lacking else None

    return expanding


def _has_single(graph: Graph) -> bool:
    return any(kind.dtype in (np.float32, np.float16) for kind in graph.types.values())


def _problem(node: GraphNode, reason: str) -> Problem:
    name = node.id.partition("~")[0]
    return Problem("GE305", f"node '{name}' ({node.op}) cannot be exported to Python: {reason}", node=name)


def _function(function: EmittedFunction, calls: Calls, reserved: set[str], remarks: Mapping[str, str]) -> str:
    graph, names = function.graph, Names(reserved)
    names.update(zip(function.arguments, function.arguments, strict=True))
    inside = [*function.before, *_sources(graph, names, function.arguments, remarks)]
    body = list(_body(graph, names, calls, remarks))
    if body:
        inside += ['with np.errstate(all="ignore"):', *(f"    {line}" for line in body)]
    lines = [f'"""{function.title}"""', *inside, f"return {_returned(function, names)}"]
    return "\n".join([f"def {function.head}:", *(f"    {line}" for line in lines)])


def _returned(function: EmittedFunction, names: Names) -> str:
    """The outputs of a function as a dictionary, and what replaces the values that it carries."""
    outputs = function.graph.outputs
    returned = _dictionary({name: names[outputs[name]] for name in function.outputs})
    if not function.carried:
        return returned
    new = {source: names[outputs[output]] for output, source in function.carried.items()}
    return f"{returned}, {_dictionary(new, '**parameters')}"


def _dictionary(names: Mapping[str, str], *first: str) -> str:
    """A dictionary as text."""
    return f"{{{', '.join([*first, *(f'{key!r}: {name}' for key, name in names.items())])}}}"


def _sources(graph: Graph, names: Names, arguments: Sequence[str], remarks: Mapping[str, str]) -> Iterator[str]:
    """Lines that take the values a graph reads from `inputs` and `parameters`, in the model's dtypes."""
    used = {*graph.outputs.values()} | operands_of(graph.nodes)
    for name in filter(used.__contains__, graph.sources):
        kind, about = graph.types[name], remark(remarks.get(name))
        dtype = f"np.{kind.array_dtype.name}"
        if name in arguments:
            yield f"{names[name]} = {dtype}({name})"
        else:
            where = "inputs" if name in graph.inputs else "parameters"
            comment = f"  # {about}" if about else ""
            yield f"{names[name]} = array({where}, {name!r}, {dtype}, {len(kind.shape)}){comment}"


def _body(graph: Graph, names: Names, calls: Calls, remarks: Mapping[str, str]) -> Iterator[str]:
    for node in graph.nodes:
        about = remark(remarks.get(node.id))
        if about:
            yield f"# {about}"
        expression = calls.expression(node.node, node.inputs, names)
        yield f"{', '.join(names[name] for name in node.outputs)} = {expression}"
