"""The picture of an object: of a graph or a model its structure, of a run its numbers, of a history its losses."""

from __future__ import annotations

from typing import Any

from graphengine.draw.charts import HEIGHT, STYLE, WIDTH
from graphengine.draw.labels import TraceLabels, shape_labels, texts_of
from graphengine.draw.loss_chart import loss_chart
from graphengine.draw.picture import panels_of
from graphengine.draw.svg import Labeled, alone, svg_document
from graphengine.escaping import markup
from graphengine.ir.graph import Graph
from graphengine.model.model import Model
from graphengine.model.run import Run
from graphengine.traces.sentences import title
from graphengine.traces.trace_parts import GraphTrace
from graphengine.traces.traced_models import trace_run
from graphengine.training.history import History

MAX_TRACED = 5000
"""Of a run of a graph with more nodes a notebook shows the structure alone."""


def svg(what: Any) -> str | None:
    """The picture of a graph, a model, a run or a history; None where there is nothing to draw."""
    if isinstance(what, Run) and len(what.graph.nodes) <= MAX_TRACED:
        return trace_svg(what.graph, trace_run(what))
    if isinstance(what, History):
        return history_svg(what) if len(what) else None
    return graph_svg(what.graph if isinstance(what, (Model, Run)) else what)


def html(what: Any) -> str | None:
    """The picture below the line of text that `repr` gives, for a notebook."""
    drawn = svg(what)
    return f"<div><div><code>{markup(repr(what))}</code></div>{drawn}</div>" if drawn else None


def graph_svg(graph: Graph, *, folded: bool = True) -> str:
    """The structure of a graph: its nodes, and beside each link the shape of the value."""
    return _drawn(graph, shape_labels(graph), f"{graph.name}: {graph.summary}", folded=folded)


def trace_svg(graph: Graph, trace: GraphTrace, *, folded: bool = True) -> str:
    """A graph with the numbers of a trace: each value above its link, the gradient below it."""
    return _drawn(graph, TraceLabels(trace), title(trace), folded=folded)


def _drawn(graph: Graph, labeled: Labeled, description: str, *, folded: bool) -> str:
    whole = next(panels_of(graph, texts_of(labeled), folded=folded))
    return svg_document(whole, labeled, description)


def history_svg(history: History) -> str:
    """The losses of the training as lines."""
    _, elements = loss_chart(history)
    return alone(WIDTH, HEIGHT, repr(history), STYLE, elements)
