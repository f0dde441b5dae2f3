"""Checks of gradients: what `backward` gives against the slope of what `forward` gives.

A slope is taken along a random direction, so that one number checks a whole array. Where the code is analytic and takes
complex numbers it is a complex step, exact to rounding (Squire and Trapp 1998); elsewhere central differences of two
step sizes, whose difference says how exact they are. Where `forward` has a kink it has no slope, and the check is made
beside it.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from graphengine.backends.reference.executor import Executor
from graphengine.errors import ExecutionError, GradientError, Problem, UsageError
from graphengine.format.building import build_graph
from graphengine.format.documents import ModelDocument
from graphengine.format.saving import functions_of, node_document
from graphengine.ir.graph import Graph
from graphengine.ir.nodes import GraphNode
from graphengine.mappings import absent, only, present
from graphengine.ops.node import Node
from graphengine.ops.registry import OPS, Op
from graphengine.transform.backward import check_differentiable
from graphengine.transform.gradient import gradient
from graphengine.transform.own_backward import require_memory_for

COMPLEX_STEP = 1e-20
MAX_ELEMENTS = 1000
"""A wrong gradient of at most this many elements is reported with the element that is furthest off."""
MAX_SUBSETS = 64
BESIDE = 1e-3
"""About how far from a kink the check is made."""


@dataclass(frozen=True, slots=True)
class GradientCheck:
    """One comparison for one value: directional derivatives `got` and `expected`, and how far they may be apart.

    `law` is "slope" (against `forward`), "recording" (the gradient graph against calling `backward`) or "needs" (a
    part of the gradients against all of them).
    """

    law: str
    name: str
    got: float
    expected: float
    tolerance: float
    method: str
    where: str = ""
    kink: bool = False

    @property
    def holds(self) -> bool:
        """Whether the two agree."""
        return abs(self.got - self.expected) <= self.tolerance

    def __str__(self) -> str:
        texts = {
            "slope": "backward gives {got:.10g}, the slope of forward is {expected:.10g} ({method})",
            "recording": "the gradient graph gives {got:.10g}, calling backward gives {expected:.10g}",
            "needs": "backward gives {got:.10g} if only {method} need a gradient, else {expected:.10g}",
        }[self.law]
        return texts.format(got=self.got, expected=self.expected, method=self.method) + self.where


@dataclass(frozen=True, slots=True)
class Slope:
    """A directional derivative, how far it may be off, by which method it was found, and whether it has two sides."""

    value: float
    error: float
    method: str
    kink: bool = False


def slope(function: Callable[[Any], Any], point: Any, direction: Any) -> Slope:
    """The derivative of a scalar function of an array along a direction."""
    with np.errstate(all="ignore"):
        central, exact = _central(function, point, direction), _complex(function, point, direction)
    # code that is not analytic, such as a comparison, gives another number, and then the differences are right; where
    # a step leaves the domain they are none
    agree = abs(exact - central.value) <= central.error + 1e-5 * abs(central.value) or not np.isfinite(central.value)
    return Slope(exact, 0.0, "complex step") if agree and np.isfinite(exact) else central


def _central(function: Callable[[Any], Any], point: Any, direction: Any) -> Slope:
    """Central differences of two step sizes, extrapolated; their difference and the rounding bound the error."""
    precision = float(np.finfo(point.dtype).eps)
    step = precision ** (1 / 3) * max(1.0, float(np.max(np.abs(point), initial=0.0)))
    middle = float(function(point))
    slopes, bends = [], []
    for size in (step, step / 2):
        above, below = (float(function((point + side * direction).astype(point.dtype))) for side in (size, -size))
        slopes.append((above - below) / (2 * size))
        bends.append((above - 2 * middle + below) / size)
    wide, narrow = slopes
    error = abs(narrow - wide) + 20 * precision * max(abs(middle), abs(wide) * step) / step
    bend = abs(2 * bends[1] - bends[0])  # of a smooth function it vanishes with the step, at a kink it stays
    kink = bend > 10 * error + 1e-4 * abs(wide)
    return Slope((4 * narrow - wide) / 3, error, "central differences", kink)


def _complex(function: Callable[[Any], Any], point: Any, direction: Any) -> float:
    """The complex step; NaN where the code takes no complex numbers."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", np.exceptions.ComplexWarning)
            return float(np.imag(function(point + COMPLEX_STEP * 1j * direction))) / COMPLEX_STEP
    except Exception:  # noqa: BLE001 - whatever it is, there are the differences
        return float("nan")


def check_gradients(node: Node, *inputs: Any, seed: int = 0) -> list[GradientCheck]:
    """Check the `backward` of a node on given inputs: each law for each floating-point input.

    The laws are the slope of `forward`, the gradient graph, and every choice of inputs that need a gradient. All inputs
    are read-only, and floating-point inputs have double precision. None is an omitted input. At a kink of `forward` the
    slope is that of a nearby point.

    Raises
    ------
    GradientError
        GE412 with every law that fails, the input and the numbers.
    ExecutionError
        GE410 if `backward` fails, for example because it writes to its inputs.
    UsageError
        If the class is not registered, has no `backward`, or gives no finite floating-point number for these inputs.
    """
    op = _op_with_backward(node)
    arrays = list(map(_in_double, inputs))
    results = _guarded_call(node, op.name, arrays)
    generator = np.random.default_rng(seed)
    graph, values = _projection(node, op, arrays, results, generator)
    names = {f"x{index}": op.signature.input_name(index) for index in range(len(arrays))}
    wrt = [name for name in present(names, graph.inputs) if graph.types[name].is_differentiable]
    checks = [*graph_checks(graph, values, "loss", wrt, generator), *_subset_checks(graph, values, wrt, generator)]
    checks = [replace(each, name=names[each.name]) for each in checks]
    _require_holding(op.name, checks)
    return checks


def _require_holding(op: str, checks: Sequence[GradientCheck]) -> None:
    if not all(each.holds for each in checks):
        raise GradientError(_failures(op, checks))


def _op_with_backward(node: Node) -> Op:
    op = OPS.of_class(type(node))
    if op is None:
        raise UsageError(f"{type(node).__name__} is not registered, so there is no gradient to check")
    if op.signature.saved is None:
        raise UsageError(f"{type(node).__name__} has no backward, so there is no gradient to check")
    return op


def _failures(op: str, checks: Iterable[GradientCheck]) -> list[Problem]:
    failed = [each for each in checks if not each.holds]
    return [Problem("GE412", f"{op}, law '{each.law}', input '{each.name}': {each}") for each in failed]


def graph_checks(
    graph: Graph, values: Mapping[str, Any], of: str, wrt: Sequence[str], generator: np.random.Generator
) -> Iterator[GradientCheck]:
    """Check the gradients of a scalar of a graph with respect to some of its values, both called and recorded.

    Raises
    ------
    DifferentiationError
        GE411 if there is no such gradient.
    InputError
        GE133 if the values take more memory than the limit.
    UsageError
        If the scalar is not finite for these values, or a gradient is with respect to something that is computed.
    """
    check_differentiable(graph, graph.value_name(of), list(map(graph.value_name, wrt)))
    require_memory_for(graph, values, of, wrt)
    if computed := absent(wrt, graph.sources):
        raise UsageError(f"'{computed[0]}' is computed; a slope exists for inputs, parameters and state only")
    beside: dict[str, GradientCheck] = {}
    for check in _checks_at(graph, values, of, wrt, generator):
        if not check.kink:
            yield check
            continue
        beside = beside or _slopes_beside(graph, values, of, wrt, generator)
        yield replace(beside[check.name], method=f"{check.method} beside a kink")


def _slopes_beside(
    graph: Graph, values: Mapping[str, Any], of: str, wrt: Sequence[str], generator: np.random.Generator
) -> dict[str, GradientCheck]:
    """The slopes at a point near to that of some values, which is no kink."""
    moved = {name: _moved(values[name], generator) for name in wrt}
    near = _checks_at(graph, {**values, **moved}, of, wrt, generator)
    return {each.name: each for each in near if each.law == "slope"}


def _moved(value: Any, generator: np.random.Generator) -> Any:
    """A value near another one."""
    return value + (BESIDE * generator.normal(size=np.shape(value))).astype(value.dtype)[()]


def _checks_at(
    graph: Graph, values: Mapping[str, Any], of: str, wrt: Sequence[str], generator: np.random.Generator
) -> Iterator[GradientCheck]:
    executor, target = Executor(graph), graph.value_name(of)
    slots = executor.forward(values)
    if not np.isfinite(slots[executor.slot_of[target]]):
        raise UsageError(f"'{of}' is not finite for these values, so it has no slope")
    called = executor.backward(slots, target, wrt)
    recorded = _recorded(graph, values, of, wrt)
    schedule = executor.forward_schedule([target])
    for name in wrt:

        def function(value: Any, name: str = name) -> Any:
            """The scalar for another value of this one."""
            return executor.forward({**values, name: value}, schedule)[executor.slot_of[target]]

        point, got = values[name], called[name]
        direction = np.asarray(generator.normal(size=np.shape(point)), point.dtype)[()]
        yield _slope_check(name, function, point, got, direction)
        exact = _tolerances(point.dtype)[0] * _size_along(got, direction)
        yield GradientCheck("recording", name, _along(recorded[name], direction), _along(got, direction), exact, "")


def _slope_check(name: str, function: Callable[[Any], Any], point: Any, got: Any, direction: Any) -> GradientCheck:
    """The check of a gradient that `backward` gives against the slope of a function along a direction."""
    found, scale = slope(function, point, direction), _size_along(got, direction)
    exact, loose = _tolerances(point.dtype)
    rounding = exact if found.method == "complex step" else loose
    tolerance = rounding * scale + min(found.error, 1e-3 * max(scale, abs(found.value)))
    check = GradientCheck("slope", name, _along(got, direction), found.value, tolerance, found.method)
    if check.holds:
        return check
    return replace(check, kink=found.kink) if found.kink else _located(check, function, point, got)


def _tolerances(dtype: Any) -> tuple[float, float]:
    """The relative rounding of what is computed from the numbers themselves, and from their differences."""
    return (1e-12, 1e-7) if dtype == np.float64 else (1e-3, 1e-2)


def _size_along(gradient: Any, direction: Any) -> float:
    """The sum of the sizes of the terms of a gradient along a direction, which rounding is relative to."""
    return float(np.sum(np.abs(gradient * direction))) + float(np.finfo(direction.dtype).tiny)


def _subset_checks(
    graph: Graph, values: Mapping[str, Any], wrt: Sequence[str], generator: np.random.Generator
) -> Iterator[GradientCheck]:
    """Each choice of values that need a gradient gives the same gradients as all of them together."""
    executor = Executor(graph)
    slots = executor.forward(values)
    target = graph.value_name("loss")
    every = executor.backward(slots, target, wrt)
    subsets = itertools.chain(*(itertools.combinations(wrt, count) for count in range(1, len(wrt))))
    for subset in itertools.islice(subsets, MAX_SUBSETS):
        some = executor.backward(slots, target, subset)
        for name in subset:
            direction = generator.normal(size=np.shape(every[name]))
            scale = float(np.sum(np.abs(every[name] * direction)))
            got, expected = _along(some[name], direction), _along(every[name], direction)
            yield GradientCheck("needs", name, got, expected, 1e-12 * scale, ", ".join(subset))


def _along(gradient_: Any, direction: Any) -> float:
    return float(np.sum(gradient_ * direction))


def _recorded(graph: Graph, values: Mapping[str, Any], of: str, wrt: Sequence[str]) -> dict[str, Any]:
    """The gradients by the gradient graph."""
    derived = gradient(graph, of=of, wrt=list(wrt))
    executor = Executor(derived)
    slots = executor.forward(only(values, derived.sources))
    return dict(zip(wrt, (slots[executor.slot_of[value]] for value in derived.outputs.values()), strict=True))


def _located(check: GradientCheck, function: Callable[[Any], Any], point: Any, got: Any) -> GradientCheck:
    """A check that fails, with the element that is furthest off."""
    if not 1 < np.size(point) <= MAX_ELEMENTS:
        return check
    slopes = np.empty(np.shape(point))
    for place in np.ndindex(np.shape(point)):
        unit = np.zeros_like(point)
        unit[place] = 1
        slopes[place] = slope(function, point, unit).value
    worst = np.unravel_index(np.argmax(np.abs(got - slopes)), slopes.shape)
    place_text = ", ".join(map(str, worst))
    where = f"; furthest off at [{place_text}]: {float(got[worst]):.10g} instead of {slopes[worst]:.10g}"
    return replace(check, where=where)


def _in_double(value: Any) -> Any:
    """A copy that cannot be written to, in double precision if it is of floating-point numbers; None remains None."""
    if value is None:
        return None
    array = np.asarray(value)
    return _guarded(array.astype(np.float64) if array.dtype.kind == "f" else array)


def _guarded(value: Any) -> Any:
    """A copy that cannot be written to."""
    array = np.array(value)
    array.flags.writeable = False
    return array[()] if array.shape == () else array


def _guarded_call(node: Node, op: str, arrays: Sequence[Any]) -> tuple[Any, ...]:
    """The results; `backward` is called with them and with gradients that cannot be written to, as others use them."""
    omitted = len(node.signature.inputs) - node.signature.variadic - len(arrays)
    with np.errstate(all="ignore"):
        results = node.forward(*arrays)
        results = results if isinstance(results, tuple) else (results,)
        try:
            _guarded_backward(node, [*arrays, *[None] * omitted], results)
        except Exception as error:  # a user's node may raise anything
            raise ExecutionError(f"{op}: backward fails: {error}") from error
    return results


def _guarded_backward(node: Node, inputs: Sequence[Any], results: Sequence[Any]) -> None:
    incoming = [_guarded(np.ones_like(result)) if _is_floating(result) else None for result in results]
    needs = tuple(array is not None and _is_floating(array) for array in inputs)
    node.signature.gradients(node, incoming, inputs, list(map(_guarded, results)), needs)


def _is_floating(value: Any) -> bool:
    return np.asarray(value).dtype.kind == "f"


def _projection(
    node: Node, op: Op, arrays: Sequence[Any], results: Sequence[Any], generator: np.random.Generator
) -> tuple[Graph, dict[str, Any]]:
    """The graph of the sum of all floating-point results times random weights, and the values of its inputs."""
    values = {f"x{index}": array for index, array in enumerate(arrays) if array is not None}
    functions, called = functions_of([GraphNode("z", op.name, node, ())])
    call = _call_of(node, op, len(arrays), values, called)
    names = _names_of_floating(node, results)
    if not names:
        raise UsageError(f"{op.name} gives no floating-point number, so there is no gradient to check")
    values |= {f"w{index}": _weight(np.shape(results[index]), generator) for index in names}
    document = {
        "format": "graphengine.model",
        "format_version": 1,
        "opset_imports": {"core": 1, op.domain: 1},
        "name": op.name,
        "inputs": {name: _declared(value) for name, value in values.items()},
        "functions": functions,
        "nodes": [call, *_weighted_sum(names)],
        "outputs": {"loss": f"t{max(names)}"},
    }
    return build_graph(ModelDocument.model_validate(document)), values


def _names_of_floating(node: Node, results: Sequence[Any]) -> dict[int, str]:
    """The names in the graph of the floating-point results, by their places."""
    ports = enumerate(zip(node.outputs, results, strict=True))
    return {index: f"z:{port}" if index else "z" for index, (port, result) in ports if _is_floating(result)}


def _weight(shape: tuple[int, ...], generator: np.random.Generator) -> Any:
    return generator.normal(size=shape)[()] if shape else generator.normal()


def _weighted_sum(names: Mapping[int, str]) -> Iterator[dict[str, Any]]:
    """The nodes that add up results times their weights, t0 to the last one."""
    total: str | float = 0.0
    for index, name in names.items():
        yield {"id": f"p{index}", "op": "mul", "inputs": [name, f"w{index}"]}
        yield {"id": f"s{index}", "op": "sum", "inputs": [f"p{index}"]}
        yield {"id": f"t{index}", "op": "add", "inputs": [total, f"s{index}"]}
        total = f"t{index}"


def _declared(value: Any) -> dict[str, Any]:
    return {"shape": list(np.shape(value)), "dtype": np.asarray(value).dtype.name}


def _call_of(node: Node, op: Op, count: int, values: Collection[str], called: Any) -> dict[str, Any]:
    """The node of a file that has an op and so many operands, of which some are omitted."""
    names = {op.signature.input_name(index): f"x{index}" for index in range(count) if f"x{index}" in values}
    inputs: Any = names if len(names) < count else list(names.values())
    attributes = node_document(GraphNode("z", op.name, node, ()), called).get("attributes", {})
    return {"id": "z", "op": op.name, "inputs": inputs, "attributes": attributes}
