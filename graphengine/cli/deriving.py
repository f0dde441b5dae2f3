"""`grad` and `step`: the graphs that are made from a model's, to read, to save and to run.

What is printed for machines and what `-o` writes are the same bytes: a model file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from graphengine.cli.failures import print_problems
from graphengine.cli.opening import model_file, open_without_inputs
from graphengine.cli.options import (
    ModelName,
    Of,
    OutputFormat,
    Plugins,
    Settings,
    Strict,
    UpdateRuleFile,
    Wrt,
)
from graphengine.cli.output import (
    WARNINGS,
    Format,
    array_text,
    check_targets,
    print_line,
    print_lines,
    print_note,
    print_text,
    writable,
)
from graphengine.mappings import only, without
from graphengine.wording import escaped_json

if TYPE_CHECKING:
    from graphengine.ir.graph import Graph
    from graphengine.ir.nodes import GraphNode

MAX_WIDTH = 88
"""A line may be longer; the types then follow it and are not in one column."""

Output: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        callback=writable,
        help="Write the graph as a model file instead of printing it.",
    ),
]


def grad(
    file: ModelName,
    of: Of = None,
    wrt: Wrt = None,
    output: Output = None,
    settings: Settings = None,
    output_format: OutputFormat = Format.text,
    plugins: Plugins = None,
    strict: Strict = False,
) -> None:
    """Show the gradient of a scalar of MODEL: a graph that can be read, saved, run and differentiated again."""
    check_targets({"MODEL": model_file(file), "--output": output})
    model = open_without_inputs(file, plugins, settings, strict=strict)
    graph = model.gradient(of, wrt or None)
    _hand_over(graph, _parts(graph, {"forward": _ids(model.graph), "gradient": _ids(graph)}), output, output_format)


def step(
    file: ModelName,
    output: Output = None,
    update_rule: UpdateRuleFile = None,
    settings: Settings = None,
    output_format: OutputFormat = Format.text,
    plugins: Plugins = None,
    strict: Strict = False,
) -> None:
    """Show one iteration of the training of MODEL as a graph: forward, gradient, clipping and update."""
    from graphengine.ir.nodes import reachable
    from graphengine.transform.step import GRADIENT_NORM

    check_targets({"MODEL": model_file(file), "--output": output})
    model = open_without_inputs(file, plugins, settings, update_rule, strict=strict)
    graph = model.training_step().graph
    gradient = {node.id for node in reachable(graph.nodes, [graph.outputs[GRADIENT_NORM]])}
    parts = {"forward": _ids(model.graph), "gradient and its norm": gradient, "update": _ids(graph)}
    _hand_over(graph, _parts(graph, parts), output, output_format)


def _ids(graph: Graph) -> set[str]:
    return {node.id for node in graph.nodes}


def _parts(graph: Graph, ids: dict[str, set[str]]) -> dict[str, list[GraphNode]]:
    """Each node in the first part that has its id.

    A gradient is printed in the order in which it was derived, from the loss back; the rest in reading order.
    """
    rest = {node.id: node for node in in_reading_order(graph)}
    derived = list(graph.nodes)
    parts: dict[str, list[GraphNode]] = {}
    for title, members in ids.items():
        here, rest = only(rest, members), without(rest, members)
        is_derived = title.startswith("gradient")
        parts[title] = [node for node in (derived if is_derived else here.values()) if node.id in here]
    return parts


def _hand_over(graph: Graph, parts: dict[str, list[GraphNode]], output: Path | None, output_format: Format) -> None:
    from graphengine.format.saving import graph_document
    from graphengine.format.writing import dump_model

    if output is not None:
        graph.save(output)
        print_note(f"graph written to {output}")
    elif output_format is Format.json:
        print_text(escaped_json(dump_model(graph_document(graph)).decode()).encode())
        print_problems(WARNINGS.get(), "warning")  # a model file has no room for them
    else:
        _print_graph(graph, parts)


def _print_graph(graph: Graph, parts: dict[str, list[GraphNode]]) -> None:
    """A graph as lines of `id = op(inputs)  type`, part by part."""
    print_line(graph.description or graph.name)
    lines = {"given": list(_sources(graph)), **{title: _calls(nodes, graph) for title, nodes in parts.items()}}
    lines["outputs"] = [(_equal(name, value), str(graph.types[value])) for name, value in graph.outputs.items()]
    width = min(MAX_WIDTH, max(len(text) for text, _ in chain.from_iterable(lines.values())))
    for title, section in lines.items():
        _print_section(title, section, width)


def _print_section(title: str, lines: Sequence[tuple[str, str]], width: int) -> None:
    if lines:
        print_line(f"{title}:")
    print_lines(f"  {text:<{width}}  {kind}" for text, kind in lines)


def _calls(nodes: Sequence[GraphNode], graph: Graph) -> list[tuple[str, str]]:
    from graphengine.traces.formulas import call

    return [(f"{', '.join(node.outputs)} = {call(node)}", str(graph.types[node.id])) for node in nodes]


def _equal(name: str, value: str) -> str:
    return f"{name} = {value}" if name != value else name


def _sources(graph: Graph) -> Iterator[tuple[str, str]]:
    """The values that no node computes; a parameter with its value."""
    for name, source in graph.sources.items():
        value = getattr(source, "value", None)
        yield name if value is None else f"{name} = {array_text(value)}", str(graph.types[name])


def in_reading_order(graph: Graph) -> Iterable[GraphNode]:
    """The nodes, each after those it reads and as near to them as can be: the order in which one would derive it."""
    from graphengine.ir.nodes import producers_of

    producers = producers_of(graph.nodes)
    ordered: dict[str, GraphNode] = {}
    pending = _producers_of(reversed(list(graph.outputs.values())), producers)
    while pending:
        node = pending.pop()
        waiting = [each for each in _producers_of(node.inputs, producers) if each.id not in ordered]
        if waiting:
            pending += [node, *reversed(waiting)]
        else:
            ordered.setdefault(node.id, node)
    return ordered.values()


def _producers_of(operands: Iterable[Any], producers: Mapping[Any, GraphNode]) -> list[GraphNode]:
    """The nodes that give operands, without those that no node gives."""
    return [producers[operand] for operand in operands if operand in producers]
