"""Samples of functions that run as a node."""

import numpy as np

from graphengine.ir.graph_bodies import GraphBody
from graphengine.ir.nodes import GraphNode
from graphengine.ops.registry import OPS
from samples.arrays import values
from samples.table import Samples


def body(name, inputs, nodes, outputs):
    """A function: `nodes` maps ids to op and operands."""
    made = [GraphNode(ident, op, OPS[op].cls(), operands) for ident, (op, *operands) in nodes.items()]
    return GraphBody(name, inputs, [each._replace(inputs=tuple(each.inputs)) for each in made], outputs)


STEP = body(
    "step",
    ["h", "x", "w"],
    {"p": ("mul", "h", "w"), "s": ("add", "p", "x"), "new": ("tanh", "s"), "y": ("mul", "new", "x")},
    {"h": "new", "y": "y"},
)
LARGE = body("large", ["x", "y"], {"p": ("sub", "x", "y"), "z": ("tanh", "p")}, {"z": "z"})
SMALL = body("small", ["x", "y"], {"z": ("add", "x", "y")}, {"z": "z"})
DOUBLED = body("doubled", ["x"], {"y": ("add", "x", "x")}, {"y": "y"})
GROWING = body("growing", ["h", "w"], {"new": ("mul", "h", "w")}, {"h": "new"})
LOOP = {"function": STEP, "carry": ("h",), "sequences": ("x",)}


def looped(*arrays, function, **attributes):
    """The loops, written as NumPy would."""
    if function is DOUBLED:
        return 2 * arrays[0]
    if function is GROWING:
        return arrays[0] * arrays[1] ** 3
    return recurrent(*arrays, **attributes)


def recurrent(h, x, w, *, axis=0, reverse=False, **_):
    """The recurrence, written as NumPy would."""
    steps = list(np.moveaxis(x, axis, 0))
    results = []
    for part in steps[::-1] if reverse else steps:
        h = np.tanh(h * w + part)
        results.append(h * part)
    return h, np.stack(results[::-1] if reverse else results, axis)


def chosen(condition, x, y, **_):
    """What the condition chooses."""
    return np.tanh(x - y) if condition else x + y


X, Y, W = (values((3,), seed) for seed in range(3))
TABLE = {
    "scan": Samples(
        [
            (LOOP, (X, values((4, 3), 1), W)),
            ({**LOOP, "axis": 1, "reverse": True}, (X, values((3, 4), 1), W)),
            ({"function": DOUBLED, "sequences": ("x",)}, (values((4, 3), 1),)),
            ({"function": GROWING, "carry": ("h",), "length": 3}, (X, W)),
            ({**LOOP, "checkpoint_every": 3}, (X, values((4, 3), 1), W)),
        ],
        looped,
        analytic=False,
    ),
    "cond": Samples(
        [
            ({"then": LARGE, "otherwise": SMALL}, (np.array(True), X, Y)),
            ({"then": LARGE, "otherwise": SMALL}, (np.array(False), X, Y)),
        ],
        chosen,
        analytic=False,
    ),
    "call": Samples([({"function": LARGE}, (X, Y))], lambda x, y, **_: np.tanh(x - y), analytic=False),
}
