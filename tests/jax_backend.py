"""A backend written as a test: one table from kernel ops to `jax.numpy`, behind the protocol that all backends share.

It shows that the seam is one: nothing here knows a file, an optimizer or a gradient.
"""

import jax
import jax.numpy as jnp
import numpy as np

from graphengine.backends.protocol import instructions
from graphengine.ops.inference import normalized_axes
from graphengine.ops.registry import OPS
from graphengine.transform.passes import optimize

jax.config.update("jax_enable_x64", True)


def reduction(function):
    def kernel(node, types, results):
        return lambda x: function(x, axis=normalized_axes(node.axis, len(types[0].shape)), keepdims=node.keepdims)

    return kernel


def reshaped(node, types, results):
    return lambda x, sizes=None: jnp.reshape(x, results[0].shape)


def sum_to(node, types, results):
    shape, wanted = types[0].shape, results[0].shape
    extra = len(shape) - len(wanted)
    axes = [axis for axis, size in enumerate(shape) if axis < extra or (wanted[axis - extra] == 1 and size != 1)]
    return lambda x, sizes=None: jnp.sum(x, axis=tuple(axes)).reshape(wanted)


def selecting(node, types, results):
    """A linear op that moves numbers: which one goes where is read off from what it does to the places 1, 2, ..."""
    places = places_of(node, types[0].shape)
    return lambda x: jnp.append(jnp.ravel(x), 0.0)[places - 1].astype(results[0].array_dtype)


def fold(node, types, results):
    """The transpose of `unfold`: numbers are added up where the patches took them from."""
    shape = results[0].shape
    fields = {name: getattr(node, name) for name in ("kernel_size", "stride", "padding", "dilation")}
    places = places_of(OPS["unfold"].cls(**fields), shape)
    return lambda x: jnp.zeros(np.prod(shape) + 1, x.dtype).at[places].add(x)[1:].reshape(shape)


def places_of(node, shape):
    return np.asarray(node.forward(1.0 + np.arange(np.prod(shape), dtype=float).reshape(shape))).astype(int)


def slice_add(node, types, results):
    places = places_of(OPS["slice"].cls(**node.model_dump()), types[0].shape) - 1
    return lambda x, updates: jnp.ravel(x).at[places].add(updates).reshape(x.shape)


def one_hot(node, types, results):
    def kernel(targets):
        places = jnp.where(targets < 0, targets + node.depth, targets)
        return (places[..., None] == jnp.arange(node.depth)).astype(node.dtype)

    return kernel


TABLE = {
    "constant": lambda node, types, results: lambda: jnp.asarray(node.forward()),
    "sum": reduction(jnp.sum),
    "max": reduction(jnp.max),
    "min": reduction(jnp.min),
    "prod": reduction(jnp.prod),
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
    "cast": lambda node, types, results: lambda x: jnp.asarray(x).astype(node.dtype),
    "concat": lambda node, types, results: lambda *xs: jnp.concatenate(xs, node.axis),
    "one_hot": one_hot,
    "take_along_axis": lambda node, types, results: lambda x, at: jnp.take_along_axis(x, at, axis=node.axis),
    "where": lambda node, types, results: jnp.where,
    "zeros_like": lambda node, types, results: jnp.zeros_like,
    "ones_like": lambda node, types, results: jnp.ones_like,
}
"""For each kernel op a function from attributes and types to a function of arrays; NumPy's ufuncs are found by name."""


def kernel_of(instruction):
    made = TABLE.get(instruction.op)
    if made:
        return made(instruction.node, instruction.operand_types, instruction.types)
    function = OPS.original(instruction.op).numpy
    if instruction.is_core and isinstance(function, np.ufunc):
        return getattr(jnp, function.__name__)
    raise NotImplementedError(instruction.op)


class JaxBackend:
    name = "jax"

    def is_exact(self, graph):
        return False

    def compile(self, graph, *, exact=True, carried=None):
        return JaxProgram(optimize(graph, exact=exact), carried or {})


class JaxProgram:
    def __init__(self, graph, carried):
        self.steps = [(kernel_of(each), each) for each in instructions(graph)]
        self.outputs, self.carried, self.floats, self.nbytes = dict(graph.outputs), dict(carried), frozenset(), 0
        used = {name for _, each in self.steps for name in each.inputs} | {*self.outputs.values(), *carried.values()}
        self.sources = tuple(name for name in graph.sources if name in used)
        self.compiled = jax.jit(self.traced)

    def run(self, values):
        found = self.compiled({name: values[name] for name in self.sources})
        return {name: np.asarray(found[name])[()] for name in self.outputs}  # jax sorts the keys of dictionaries

    def traced(self, values):
        known = {name: values[name] for name in self.sources}
        for kernel, step in self.steps:
            operands = [known[ref] if isinstance(ref, str) else ref for ref in step.inputs]
            result = kernel(*operands)
            known.update(zip(step.outputs, result if isinstance(result, tuple) else (result,), strict=True))
        return {name: known[value] for name, value in self.outputs.items()}

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
