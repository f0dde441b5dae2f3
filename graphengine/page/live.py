"""What a page needs to compute other numbers itself: the step as instructions, and its texts with holes for numbers.

The instructions are those that a backend gets: kernel ops with attributes, operands and shapes. The page has one table
of kernel ops (`assets/kernels.js`); of a model with another op, or of a large one, it shows what was computed here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from graphengine.backends.protocol import Instruction, instructions
from graphengine.draw.labels import above_and_below
from graphengine.draw.picture import Panel
from graphengine.errors import GraphEngineError
from graphengine.ir.graph import Graph
from graphengine.ir.nodes import GraphNode, Operand
from graphengine.ir.origins import source_kind
from graphengine.mappings import only
from graphengine.model.model import Model
from graphengine.ops.body import bodies_of
from graphengine.ops.families.contraction import labels_of, sizes_of
from graphengine.ops.numbers import encode_number
from graphengine.ops.shapes import ArrayType, dtype_name
from graphengine.page.film import Film, texts_of
from graphengine.page.gauges import Gauge
from graphengine.page.live_trace import LiveTrace
from graphengine.traces.summary import HOLE, HOLE_END
from graphengine.transform.passes import optimize
from graphengine.transform.step import ITERATION, LEARNING_RATE

MAX_NODES = 300
MAX_NUMBERS = 2_000
"""Inputs, parameters and state of a model that a page computes have at most this many numbers together."""
MAX_WORK = 2_000_000
"""A step of a model that a page computes takes at most so many products and values; that is some tenths of a second."""
_HOLE = re.compile(f"{HOLE}(\\(?)(\\w+)\\.(\\w+){HOLE_END}")


def live_of(model: Model, film: Film, panels: Sequence[Panel], gauges: Sequence[Gauge] = ()) -> dict[str, Any]:
    """Return the program of a page with its texts; of a model that it does not compute the reason why."""
    if reason := _beyond(model, film) or _other_shapes(film):
        return {"reason": reason}
    try:
        recorded = LiveTrace(model, film)
    except GraphEngineError as error:
        return {"reason": error.problems[0].message if error.problems else str(error)}
    return _encoded(recorded, film, panels, gauges)


def _beyond(model: Model, film: Film) -> str | None:
    """Return why a page does not compute a model; None if it does."""
    graph = model.graph
    numbers = sum(map(np.size, only(film.frames[0].given, graph.sources).values()))
    for node in graph.nodes:
        if bodies_of(node.node):
            return f"the page cannot compute {node.op}"
    if len(graph.nodes) > MAX_NODES:
        return f"the model has {len(graph.nodes)} nodes; at most {MAX_NODES} are computed here"
    if numbers > MAX_NUMBERS:
        return f"inputs and parameters have {numbers} numbers; at most {MAX_NUMBERS} can be edited"
    return None


def _other_shapes(film: Film) -> str | None:
    first, *others = film.frames
    return "the batches have different sizes" if any(frame.shapes != first.shapes for frame in others) else None


def _other_types(kinds: Iterable[ArrayType]) -> str | None:
    for kind in kinds:
        if _letter(kind) is None:
            return f"the page computes with float64, and the model has {dtype_name(kind.dtype)}"
        if not kind.is_sized:
            return "the shape of a value depends on numbers"
    return None


def _encoded(recorded: LiveTrace, film: Film, panels: Sequence[Panel], gauges: Sequence[Gauge]) -> dict[str, Any]:
    """Return instructions, values of the frames, and texts."""
    charts = [_chart(each.follows, recorded) for each in gauges]
    labels = _labels(recorded, panels)
    carried = _carried(film, recorded)  # before the graph is made: these are outputs of it, too
    graph = recorded.as_graph()
    if reason := _other_types(graph.types.values()):
        return {"reason": reason}
    graph = optimize(graph)
    work = sum(map(_work, instructions(graph)))
    if work > MAX_WORK:
        return {"reason": f"a step takes {work} products and values; at most {MAX_WORK} are computed here"}
    return {
        **program(graph),
        **_given(film, list(recorded.graph.sources)),
        "texts": [*map(parts_of, texts_of(recorded.trace))],
        "reasons": [*map(_reason, recorded.reasons)],
        **labels,
        "charts": [_affordable(each, work) for each in charts],
        "carried": carried,
    }


def _affordable(chart: dict[str, Any] | None, work: int) -> dict[str, Any] | None:
    """Return a chart unless it takes too many steps of so much work."""
    return chart if _runs(chart) * work <= MAX_WORK else None


def _labels(recorded: LiveTrace, panels: Sequence[Panel]) -> dict[str, Any]:
    """Return what each wire shows above it, the value, and below it, the gradient."""
    labels = [[recorded.label(wire.link) for wire in panel.wires] for panel in panels]
    return dict(zip(("values", "gradients"), above_and_below(labels), strict=True))


def _carried(film: Film, recorded: LiveTrace) -> list[list[int]]:
    """Return the slots of what a step carries on, each with the number of the value that replaces it."""
    if not film.iterations:
        return []
    step, sources = film.iterations.step, list(recorded.graph.sources)
    replaced = {name: recorded.number(step.graph.outputs[output]) for output, name in step.carried.items()}
    return [[sources.index(name), number] for name, number in replaced.items() if name in sources]


def _given(film: Film, sources: Sequence[str]) -> dict[str, Any]:
    """Return the values of the sources in each frame, as places in a pool of arrays."""
    pool = _Arrays()
    given = [[pool.place(frame.given[name]) for name in sources] for frame in film.frames]
    return {"given": given, "pool": pool.values}


def _chart(follows: Mapping[str, Any] | None, recorded: LiveTrace) -> dict[str, Any] | None:
    """Return what the marks of a chart follow, with numbers of values and sources; nothing if they follow none."""
    if follows is None or not _can_follow(follows, recorded.graph):
        return None
    scales = {"x": list(follows["x"]), "y": list(follows["y"])}
    return {**follows, **scales, **_followed(follows, recorded)}


def _followed(follows: Mapping[str, Any], recorded: LiveTrace) -> dict[str, Any]:
    graph, found = recorded.graph, dict[str, Any]()
    place = {name: index for index, name in enumerate(graph.sources)}
    if "value" in follows:
        found["value"] = recorded.number(follows["value"])
    if "input" in follows:
        found |= {"input": place[follows["input"]], "rows": _size(graph.types[follows["input"]].shape)}
    if "numbers" in follows:
        found["numbers"] = [[place[name], element] for name, element in follows["numbers"]]
    return found


def _can_follow(follows: Mapping[str, Any], graph: Graph) -> bool:
    """Return whether the graph has the values; a curve is of predictions, which training may compute otherwise."""
    has_values = {follows.get("value"), follows.get("input")} <= {None, *graph.types}
    return has_values and not ("grid" in follows and any(map(_knows_training, graph.nodes)))


def _knows_training(node: GraphNode) -> bool:
    return "training" in type(node.node).model_fields


def _runs(chart: Mapping[str, Any] | None) -> int:
    """Return how often the program runs for a chart."""
    return math.ceil(len(chart["grid"]) / chart["rows"]) if chart and "grid" in chart else 0


def program(graph: Graph) -> dict[str, Any]:
    """Return an optimized graph of known shapes as data: sources, kernel ops on slots, and the slots of the outputs."""
    slots = {name: place for place, name in enumerate(graph.sources)}
    sources = [[name, _role(graph, name), *_typed(graph.types[name])] for name in graph.sources]
    code = [_instruction(each, slots) for each in instructions(graph)]
    return {"sources": sources, "code": code, "filled": [slots[value] for value in graph.outputs.values()]}


def _work(instruction: Instruction) -> int:
    """Return how many numbers an instruction computes, products that it adds up included."""
    size = sum(_size(kind.shape) for kind in instruction.types)
    count = _PRODUCTS.get(instruction.op)
    return count(instruction, size) if count else size


def _of_matmul(instruction: Instruction, size: int) -> int:
    first: Any = instruction.operand_types[0]
    return size * _size(first.shape[-1:])


def _of_einsum(instruction: Instruction, _size_of_result: int) -> int:
    kinds: list[Any] = list(instruction.operand_types)
    equation = instruction.node.model_dump()["equation"]
    terms, _ = labels_of(equation, [len(kind.shape) for kind in kinds])  # type: ignore[no-untyped-call]
    return _size(sizes_of(terms, kinds).values())  # type: ignore[no-untyped-call]


_PRODUCTS: Mapping[str, Callable[[Instruction, int], int]] = {"matmul": _of_matmul, "einsum": _of_einsum}
"""The work of ops that add up products, by the instruction and the size of its result."""


def _size(sizes: Iterable[Any]) -> int:
    return math.prod([int(size) for size in sizes])


def _instruction(instruction: Instruction, slots: dict[str, int]) -> list[Any]:
    """Return op, attributes, operands (a slot, or a number in a list) and types of the results, which get slots."""
    operands = [_operand(ref, slots) for ref in instruction.inputs]
    slots.update({name: len(slots) + place for place, name in enumerate(instruction.outputs)})
    op = instruction.op if instruction.is_core else f"custom {instruction.op}"
    return [op, instruction.node.model_dump(mode="json"), operands, [*map(_typed, instruction.types)]]


def _operand(ref: Operand, slots: Mapping[str, int]) -> Any:
    if isinstance(ref, str):
        return slots[ref]
    return None if ref is None else [_number(ref)]


def _number(number: float) -> float | str:
    return encode_number(number) if isinstance(number, float) else number


def _typed(kind: ArrayType) -> list[Any]:
    return [list(kind.shape), _letter(kind)]


def _letter(kind: ArrayType) -> str | None:
    """Return f for numbers of double precision, i for integers, b for truth values; None for others."""
    dtype = kind.array_dtype
    return dtype.kind if dtype in (np.float64, np.bool_) or dtype.kind == "i" else None


def _role(graph: Graph, name: str) -> str:
    """Return how the page offers a value: as an input, a parameter or the learning rate; else it is kept."""
    if name in (LEARNING_RATE, ITERATION):
        return name
    return source_kind(graph, name)


class _Arrays:
    """Arrays of numbers, each once."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._places: dict[bytes, int] = {}

    def place(self, value: Any) -> int:
        array = np.asarray(value)
        key = array.dtype.char.encode() + array.tobytes()
        if key not in self._places:
            self._places[key] = len(self.values)
            self.values.append([_number(number) for number in array.ravel().tolist()])
        return self._places[key]


def parts_of(text: str) -> list[Any]:
    """Return a text in parts: what stays, and holes as value, part, and whether a negative number is in parentheses."""
    found: list[Any] = []
    start = 0
    for hole in _HOLE.finditer(text):
        found += [text[start : hole.start()]] * (hole.start() > start)
        value, part = (int(each) if each.isdigit() else each for each in hole.group(2, 3))
        found.append([value, part, 1] if hole[1] else [value, part])
        start = hole.end()
    return [*found, text[start:]] if start < len(text) else found


def _reason(reason: Mapping[str, Any]) -> dict[str, Any]:
    cases = {case: parts_of(text) for case, text in reason.get("cases", {}).items()}
    return {**reason, "cases": cases} if cases else dict(reason)
