"""A graph as text for other programs to draw: Mermaid, which GitHub and many editors show, and DOT for Graphviz."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from graphengine.draw.scopes import Box, boxes_of
from graphengine.ir.graph import Graph
from graphengine.ops.shapes import shape_text
from graphengine.wording import escaped


class Corner(NamedTuple):
    """A line of an outline: something to draw, or where a box begins (kind `box`) or ends (kind `end`)."""

    depth: int
    name: str
    kind: str
    lines: tuple[str, ...] = ()


def mermaid(graph: Graph, *, folded: bool = True) -> str:
    """The graph as a Mermaid flowchart; functions are subgraphs."""
    forms = {"node": '["{}"]', "input": '(["{}"])', "output": '>"{}"]', "box": 'subgraph {name}["{}"]', "end": "end"}
    lines = ["flowchart LR"]
    for depth, name, kind, texts in _outline(graph, folded=folded):
        form = forms.get(kind, '{{{{"{}"}}}}')
        before = "" if kind in ("box", "end") else name
        lines.append("  " * depth + before + form.format("<br>".join(map(_mermaid_text, texts)), name=name))
    for source, target, label in _edges(graph):
        arrow = f'-->|"{_mermaid_text(label)}"|' if label else "-->"
        lines.append(f"  {source} {arrow} {target}")
    return "\n".join([*lines, ""])


def _mermaid_text(text: str) -> str:
    """Text in quotes, where everything that could mean something is an entity."""
    return "".join(
        [letter if letter.isalnum() or letter in " _.,()" else f"#{ord(letter)};" for letter in escaped(text)]
    )


def dot(graph: Graph, *, folded: bool = True) -> str:
    """The graph in the DOT language; functions are clusters."""
    shapes = {"node": "box", "input": "ellipse", "output": "cds"}
    lines = [f"digraph {_dot_text(graph.name)} {{", "  rankdir=LR", '  node [fontname="sans-serif"]']
    for depth, name, kind, texts in _outline(graph, folded=folded):
        label = f"label={_dot_text(*texts)}"
        drawn = {"box": f"subgraph cluster_{name} {{ {label}", "end": "}"}
        lines.append("  " * depth + drawn.get(kind, f"{name} [shape={shapes.get(kind, 'hexagon')}, {label}]"))
    for source, target, label in _edges(graph):
        lines.append(f"  {source} -> {target}" + (f" [label={_dot_text(label)}]" if label else ""))
    return "\n".join([*lines, "}", ""])


def _dot_text(*lines: str) -> str:
    """A quoted string; a backslash in a name is doubled, so that it is no escape of DOT."""
    return '"' + "\\n".join(escaped(line).replace("\\", "\\\\").replace('"', '\\"') for line in lines) + '"'


def _outline(graph: Graph, *, folded: bool) -> Iterator[Corner]:
    """What is to be drawn: sources, then nodes with boxes around them, then outputs. Names are made here."""
    names = _names(graph)
    for kind, sources in (("input", graph.inputs), ("parameter", graph.parameters), ("state", graph.state)):
        for name in sources:
            yield Corner(1, names[name], kind, (name, str(graph.types[name])))
    yield from _nested(boxes_of(graph, folded=folded), names)
    for index, name in enumerate(graph.outputs):
        yield Corner(1, f"o{index}", "output", (name,))


def _nested(root: Box, names: Mapping[str, str]) -> Iterator[Corner]:
    """Nodes with boxes around them; the outermost box is not drawn."""
    boxes: dict[str, int] = {}
    pending: list[tuple[int, Box | None]] = [(0, root)]
    while pending:
        depth, box = pending.pop()
        if box is None:
            yield Corner(depth, "", "end")
            continue
        if depth:
            yield Corner(depth, f"b{len(boxes)}", "box", (box.title,))
            pending.append((depth, None))
        boxes[box.key] = depth
        yield from (Corner(depth + 1, names[node.id], "node", (node.op, node.id)) for node in box.nodes)
        pending += [(depth + 1, inner) for inner in reversed(box.boxes)]


def _names(graph: Graph) -> Mapping[str, str]:
    """For each value the name of what it comes out of, made of a letter and a number."""
    names = {name: f"v{index}" for index, name in enumerate(graph.sources)}
    for index, node in enumerate(graph.nodes):
        names.update(dict.fromkeys(node.outputs, f"n{index}"))
    return names


def _edges(graph: Graph) -> Iterator[tuple[str, str, str]]:
    """From where to where a value goes, and its shape unless it is a scalar."""
    names = _names(graph)
    uses = [(operand, names[node.id]) for node in graph.nodes for operand in node.references]
    outputs = ((value, f"o{index}") for index, value in enumerate(graph.outputs.values()))
    for value, target in (*uses, *outputs):
        shape = graph.types[value].shape
        yield names[value], target, shape_text(shape) if shape else ""
