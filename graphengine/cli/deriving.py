"""`grad` and `step`: the graphs that are made from a model's, to read, to save and to run.

What is printed for machines and what `-o` writes are the same bytes: a model file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from graphengine.cli.failures import print_problems
from graphengine.cli.opening import open_changed
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
    print_note,
    print_text,
    writable,
)
from graphengine.errors import UsageError
from graphengine.library import model_file
from graphengine.wording import escaped_json

if TYPE_CHECKING:
    from graphengine.ir.graph import Graph
    from graphengine.ir.nodes import GraphNode
    from graphengine.model.model import Model

MAX_WIDTH = 88
"""A line may be longer; the types then follow it and are not in one column."""

Output: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="FILE", callback=writable, help="Write it as a model file instead of printing it."
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
    model = _open(file, plugins, settings, strict=strict)
    graph = model.gradient(of, wrt or None)
    _hand_over(graph, _parts(graph, {"forward": _ids(model), "gradient": _ids(graph)}), output, output_format)


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
    model = _open(file, plugins, settings, update_rule, strict=strict)
    graph = model.training_step().graph
    gradient = {node.id for node in reachable(graph.nodes, [graph.outputs[GRADIENT_NORM]])}
    parts = {"forward": _ids(model), "gradient and its norm": gradient, "update": _ids(graph)}
    _hand_over(graph, _parts(graph, parts), output, output_format)


def _open(
    file: str,
    plugins: list[str] | None,
    settings: list[str] | None,
    update_rule: Path | None = None,
    *,
    strict: bool,
) -> Model:
    """The model, whose inputs get no values here."""
    model, given = open_changed(file, plugins, settings, update_rule, strict=strict)
    if given:
        raise UsageError(f"nothing is run here, so input '{next(iter(given))}' takes no value")
    return model


def _ids(source: Model | Graph) -> set[str]:
    from graphengine.model.model import Model

    return {node.id for node in (source.graph if isinstance(source, Model) else source).nodes}


def _parts(graph: Graph, ids: dict[str, set[str]]) -> dict[str, list[GraphNode]]:
    """Each node in the first part that has its id.

    A gradient is printed in the order in which it was derived, from the loss back; the rest in reading order.
    """
    parts: dict[str, list[GraphNode]] = {title: [] for title in ids}
    for node in in_reading_order(graph):
        parts[next(title for title, members in ids.items() if node.id in members)].append(node)
    place = {node.id: index for index, node in enumerate(graph.nodes)}
    derived = next(title for title in ids if title.startswith("gradient"))
    parts[derived].sort(key=lambda node: place[node.id])
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
    from graphengine.traces.formulas import call

    print_line(graph.description or graph.name)
    lines = {"given": list(_sources(graph))}
    for title, nodes in parts.items():
        lines[title] = [(f"{', '.join(node.outputs)} = {call(node)}", str(graph.types[node.id])) for node in nodes]
    lines["outputs"] = [
        (f"{name} = {value}" if name != value else name, str(graph.types[value]))
        for name, value in graph.outputs.items()
    ]
    width = min(MAX_WIDTH, max(len(text) for section in lines.values() for text, _ in section))
    for title, section in lines.items():
        if section:
            print_line(f"{title}:")
        for text, kind in section:
            print_line(f"  {text:<{width}}  {kind}")


def _sources(graph: Graph) -> Iterator[tuple[str, str]]:
    """The values that no node computes; a parameter with its value."""
    for name, source in graph.sources.items():
        value = getattr(source, "value", None)
        yield name if value is None else f"{name} = {array_text(value)}", str(graph.types[name])


def in_reading_order(graph: Graph) -> Iterable[GraphNode]:
    """The nodes, each after those it reads and as near to them as can be: the order in which one would derive it."""
    producers = {name: node for node in graph.nodes for name in node.outputs}
    ordered: dict[str, GraphNode] = {}
    pending = [*(producers[value] for value in reversed(list(graph.outputs.values())) if value in producers)]
    while pending:
        node = pending[-1]
        waiting = [producers[ref] for ref in node.inputs if ref in producers and producers[ref].id not in ordered]
        if waiting and node.id not in ordered:
            pending += reversed(waiting)
        else:
            ordered.setdefault(pending.pop().id, node)
    return ordered.values()
