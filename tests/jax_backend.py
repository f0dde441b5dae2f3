"""A backend written as a test: one table from kernel ops to `jax.numpy`, behind the protocol that all backends share.

It shows that the seam is one: nothing here knows a file, an optimizer or a gradient.
"""

import jax
import jax.numpy as jnp
import numpy as np

from graphengine.backends.protocol import instructions, sources_of
from graphengine.ops.inference import normalized_axes
from graphengine.ops.registry import OPS
from graphengine.transform.passes import optimize

jax.config.update("jax_enable_x64", True)


def reduction(function):
    return lambda node, *_: lambda x: function(x, axis=normalized_axes(node.axis, jnp.ndim(x)), keepdims=node.keepdims)


def reshaped(node, types, results):
    return lambda x, sizes=None: jnp.reshape(x, results[0].shape)


def selecting(node, types, results):
    """A linear op that moves numbers: which one goes where is read off from what it does to the places 1, 2, ..."""
    places = places_of(node, types[0].shape)
    return lambda x: jnp.append(jnp.ravel(x), 0.0)[places - 1].astype(results[0].array_dtype)


def transposed(kernel, shape, x):
    return jax.linear_transpose(kernel, jax.ShapeDtypeStruct(shape, x.dtype))(x)[0]


def fold(node, types, results):
    unfold = OPS["unfold"].cls(**node.model_dump(include={"kernel_size", "stride", "padding", "dilation"}))
    return lambda x, like=None: transposed(selecting(unfold, results, types), results[0].shape, x)


def places_of(node, shape):
    return np.asarray(node.forward(1.0 + np.arange(np.prod(shape), dtype=float).reshape(shape))).astype(int)


def sum_to(node, types, results):
    return lambda x, sizes=None: transposed(lambda z: jnp.broadcast_to(z, x.shape), results[0].shape, x)


def slice_add(node, types, results):
    cut = selecting(OPS["slice"].cls(**node.model_dump()), types, types[1:])
    return lambda x, updates: x + transposed(cut, types[0].shape, updates)


def scan(node, types, results):
    kinds, (cutting, stacking) = node.steps(types)[0], node.axes
    graph = optimize(node.function.graph(kinds))

    def kernel(*values):
        def step(state, parts):
            given = dict(enumerate(values)) | state | parts
            found = [*outputs_of(graph, {name: given[at] for at, name in enumerate(node.function.inputs)}).values()]
            return dict(zip(node.carried, found, strict=False)), found[len(node.carry) :]

        state = {place: jnp.asarray(values[place], kinds[place].array_dtype) for place in node.carried}
        parts = {place: jnp.moveaxis(values[place], axis, 0) for place, axis in zip(node.cut, cutting, strict=True)}
        state, stacks = jax.lax.scan(step, state, parts, node.length, reverse=node.reverse)
        results = [jnp.moveaxis(each, 0, axis) for each, axis in zip(stacks, stacking, strict=True)]
        return (*[state[place] for place in node.carried], *results)

    return kernel


TABLE = {
    "constant": lambda node, types, results: lambda: jnp.asarray(node.forward()),
    "sum": reduction(jnp.sum),
    "max": reduction(jnp.max),
    "norm": reduction(lambda x, **over: jnp.sqrt(jnp.sum(jnp.square(x), **over))),
    "sum_to": sum_to,
    "reshape": reshaped,
    "expand_dims": reshaped,
    "squeeze": reshaped,
    "broadcast_to": lambda node, types, results: lambda x, sizes=None: jnp.broadcast_to(x, results[0].shape),
    "transpose": lambda node, types, results: lambda x: jnp.transpose(x, node.axes),
    "slice": selecting,
    "unfold": selecting,
    "fold": fold,
    "slice_add": slice_add,
    "one_hot": lambda node, types, results: lambda at: jax.nn.one_hot(at % node.depth, node.depth, dtype=node.dtype),
    "scan": scan,
    "take_along_axis": lambda node, types, results: lambda x, at: jnp.take_along_axis(x, at, axis=node.axis),
    "where": lambda node, types, results: jnp.where,
    "zeros_like": lambda node, types, results: jnp.zeros_like,
    "ones_like": lambda node, types, results: jnp.ones_like,
}
"""For each kernel op a function from attributes and types to a function of arrays; NumPy's ufuncs are found by name."""


def kernel_of(instruction):
    if made := TABLE.get(instruction.op):
        return made(instruction.node, instruction.operand_types, instruction.types)
    function = OPS.original(instruction.op).numpy
    if instruction.is_core and isinstance(function, np.ufunc):
        return getattr(jnp, function.__name__)
    raise NotImplementedError(instruction.op)


def outputs_of(graph, values):
    """The outputs of a graph by name, traced from the values of its sources."""
    known = dict(values)
    for step in instructions(graph):
        result = kernel_of(step)(*[known[ref] if isinstance(ref, str) else ref for ref in step.inputs])
        known.update(zip(step.outputs, result if isinstance(result, tuple) else (result,), strict=True))
    return {name: known[value] for name, value in graph.outputs.items()}


class JaxBackend:
    name = "jax"

    def is_exact(self, graph):
        return False

    def compile(self, graph, *, exact=True, carried=None):
        return JaxProgram(optimize(graph, exact=exact), carried or {})


class JaxProgram:
    def __init__(self, graph, carried):
        self.outputs, self.carried, self.floats, self.nbytes = dict(graph.outputs), dict(carried), frozenset(), 0
        self.sources = sources_of(graph, carried)
        self.compiled = jax.jit(lambda values: outputs_of(graph, values))

    def run(self, values):
        found = self.compiled({name: values[name] for name in self.sources})
        return {name: np.asarray(found[name])[()] for name in self.outputs}  # jax sorts the keys of dictionaries

    def loop(self, groups, values, fed, recorded, record, finish):
        values = dict(values)
        for total, batches in groups:
            for keep, *batch in batches:
                outputs = self.run({**values, **dict(zip(fed, batch, strict=True))})
                values.update({source: outputs[name] for name, source in self.carried.items()})
                total += float(outputs[recorded[0]])
                if keep:
                    record(tuple(np.asarray(outputs[name])[()] for name in recorded))
            finish(total)
        return {source: np.asarray(values[source])[()] for source in self.carried.values()}

    def listing(self, fed, recorded):
        """No code: XLA compiles what it traces."""
