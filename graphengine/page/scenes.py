"""What a page knows: the places of all that is drawn, the steps and frames of the film, what to say of each item.

It is plain data for JSON. The script of the page computes no value and no text: it chooses a frame and a step, opens
and closes boxes, and moves marks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, chain
from typing import Any

from graphengine.draw.labels import TraceLabels, above_and_below
from graphengine.draw.layout import PITCH
from graphengine.draw.picture import DrawnItem, Panel, Wire
from graphengine.errors import make_pointer
from graphengine.format.positions import find_positions
from graphengine.format.saving import node_document
from graphengine.format.writing import dump_json
from graphengine.ir.nodes import GraphNode
from graphengine.model.model import Model
from graphengine.ops.registry import OPS
from graphengine.page.film import Film, FilmFrame, FilmStep, steps_of, texts_of
from graphengine.page.gauges import Gauge
from graphengine.page.live import live_of
from graphengine.traces.formulas import formula
from graphengine.traces.summary import number_text
from graphengine.wording import escaped, escaped_json

TITLE_BAR = 26
"""The height of the title of an open box."""


def scenes(model: Model, film: Film, panels: Sequence[Panel], gauges: Sequence[Gauge]) -> dict[str, Any]:
    """Everything the script of a page needs."""
    steps = steps_of(film.frames[0].trace)
    return {
        "bar": TITLE_BAR,
        "pitch": PITCH,
        "panels": geometry(panels),
        "known": [_known(panel, film.frames[0], steps) for panel in panels],
        "steps": [*map(list, steps)],
        "frames": [_frame(frame, panels, gauges, index) for index, frame in enumerate(film.frames)],
        "last": len(film.history or ()),
        "end": film.end,
        "items": dict(_items(model, panels)),
        "live": live_of(model, film, panels, gauges),
    }


def geometry(panels: Sequence[Panel]) -> list[dict[str, Any]]:
    """The places of all that panels draw."""
    number = {each.key: index for index, each in enumerate(panels)}
    return [_panel(panel, number) for panel in panels]


def _panel(panel: Panel, number: Mapping[str, int]) -> dict[str, Any]:
    """The geometry of a panel: shapes as [kind, key, x, y, width, height, right, panel, pitch], wires by numbers."""
    place = {shape.key: index for index, shape in enumerate(panel.shapes)}
    return {
        "w": panel.width,
        "h": panel.height,
        "shapes": [[*_shape(shape), _panel_of(shape, number), *_pitch(shape)] for shape in panel.shapes],
        "wires": [_wire(wire, place) for wire in panel.wires],
    }


def _panel_of(shape: DrawnItem, number: Mapping[str, int]) -> int | None:
    return number[shape.key] if shape.kind == "box" else None


def _shape(shape: DrawnItem) -> list[Any]:
    place, size = shape.place, shape.size
    return [shape.kind, shape.key, place.x, place.y, size.width, size.height, place.right]


def _pitch(shape: DrawnItem) -> list[int]:
    """The distance between the inputs of a shape that has several; a page moves its literals with them."""
    ins = shape.size.ins
    return [ins[1] - ins[0]] if len(ins) > 1 else []


def _wire(wire: Wire, place: Mapping[str, int]) -> list[Any]:
    """Source, target, value, heights of both ends, the level part at the end, and the bends."""
    start, *bends, end = wire.points
    return [
        place[wire.link.source],
        place[wire.link.target],
        wire.link.value,
        start.y,
        end.y,
        end.tail,
        [[bend.x, bend.y, bend.right, bend.tail] for bend in bends],
    ]


def _known(panel: Panel, frame: FilmFrame, steps: Sequence[FilmStep]) -> list[tuple[int, int]]:
    """For each wire the steps from which on its value and its gradient are known; -1 from the start."""
    forward, backward = _numbered(steps, "forward"), _numbered(steps, "backward")
    made = {name: forward[line.node] for line in frame.trace.forward for name in line.results}
    begin = min(backward.values(), default=len(steps))
    known = []
    for wire in panel.wires:
        walked = [backward[node] for node, _ in wire.link.uses if node in backward]
        known.append((made.get(wire.link.value, -1), max(walked, default=begin)))
    return known


def _numbered(steps: Sequence[FilmStep], phase: str) -> dict[str, int]:
    """The numbers of the steps of a phase, by node; of a loop its own step, which comes last forward."""
    return {step.at: index for index, step in enumerate(steps) if step.phase == phase}


def _frame(frame: FilmFrame, panels: Sequence[Panel], gauges: Sequence[Gauge], index: int) -> dict[str, Any]:
    """One frame: where it is in the training, a text for each step, labels for each wire, places of the marks."""
    labeled = TraceLabels(frame.trace)
    labels = [[labeled(wire.link)[:2] for wire in panel.wires] for panel in panels]
    above, below = above_and_below(labels)
    step = frame.trace.training
    return {
        "iteration": frame.iteration,
        "epoch": frame.epoch,
        "rate": number_text(step.learning_rate) if step else None,
        "texts": texts_of(frame.trace),
        "values": above,
        "gradients": below,
        "marks": [gauge.marks[index] for gauge in gauges],
    }


def _items(model: Model, panels: Sequence[Panel]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The texts of each item: its kind and type, formula, JSON, and its place in the file."""
    describe = _Details(model)
    pointers = _pointers(model)
    places = _places(model, set(pointers.values()))
    for shape in chain.from_iterable(panel.shapes for panel in panels):
        if shape.kind in ("entry", "exit", "box"):
            continue
        name, value, details = describe(shape)
        common = {"name": name, "kind": shape.kind, "type": str(model.graph.types[value])}
        yield shape.key, {**common, **details, "place": places.get(pointers.get(shape.key, ""), "")}


class _Details:
    """Describes shapes of a picture: the name, the value, and what else there is to show of each."""

    def __init__(self, model: Model) -> None:
        document = model.document
        self._nodes = {node.id: node for node in model.graph.nodes}
        self._outputs = model.graph.outputs
        self._declarations: dict[str, Any] = {**document.inputs, **document.parameters, **document.state}

    def __call__(self, shape: DrawnItem) -> tuple[str, str, Mapping[str, Any]]:
        name = shape.key.removesuffix(">")
        if shape.kind == "output":
            return name, self._outputs[name], {}
        if shape.kind == "node":
            return name, name, _of_node(self._nodes[name])
        return name, name, _of_declaration(name, self._declarations[name])


def _of_node(node: GraphNode) -> dict[str, str]:
    about = OPS[node.op].docstring.summary if node.op in OPS else ""
    text = f"{node.id} = {formula(node)}"
    return {"kind": node.op, "about": about, "formula": text, "json": _json(node_document(node))}


def _of_declaration(name: str, declared: Any) -> dict[str, str]:
    content = _json({name: declared.model_dump(exclude_defaults=True, exclude={"value"})})
    return {"about": escaped(declared.description or ""), "json": content}


def _json(content: Any) -> str:
    return escaped_json(dump_json(content).decode())


def _pointers(model: Model) -> dict[str, str]:
    """Where in the file each item is declared; what an inlined function has made, where it is called."""
    document = model.document
    called = {node["id"]: f"/nodes/{index}" for index, node in enumerate(document.nodes)}
    pointers = {node.id: _call_of(node.id, called) for node in model.graph.nodes}
    for section in ("inputs", "parameters", "state"):
        pointers |= {name: make_pointer((section, name)) for name in getattr(document, section)}
    return pointers | {f"{name}>": make_pointer(("outputs", name)) for name in document.outputs}


def _call_of(node_id: str, called: Mapping[str, str]) -> str:
    """The pointer of a node of the file, or of the call that has made it."""
    scopes = accumulate(node_id.split("/"), "{}/{}".format)
    return next((called[each] for each in reversed([*scopes]) if each in called), "")


def _places(model: Model, pointers: set[str]) -> dict[str, str]:
    """Pointers as file, line and column."""
    if model.path is None or not model.path.is_file():
        return dict(zip(pointers, pointers, strict=True))
    positions = find_positions(model.path.read_text(encoding="utf-8"), pointers - {""})
    name = model.path.name
    return {pointer: f"{name}:{line}:{column} ({pointer})" for pointer, (line, column) in positions.items()}
