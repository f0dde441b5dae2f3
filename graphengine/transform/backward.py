"""The backward pass, recorded: the `backward` of each node on the path, and the sums of what its inputs get.

`record_backward` begins at a scalar, `BackwardPass` at any values whose gradients are known. `pruned` makes a graph of
what was recorded.

A `backward` is recorded once for all nodes alike (`ir/recording.py`): nodes of one instance, on operands of the same
types, that pass gradients on to the same inputs.

Its parts have names with which it reads like the chain rule. The gradient of x is `d_x`, pieces of it are `d_x.1`,
`d_x.2`; the factor that a node multiplies an incoming gradient by is the partial derivative `d_z/d_x`; what several
inputs share is a piece of `d_z`. What a forward value alone gives is named after it, `x.cos`.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from graphengine.errors import DifferentiationError
from graphengine.ir.graph import Graph
from graphengine.ir.nodes import GraphNode, Operand, has_loops, literal_key, operand_keys, reached, results_of
from graphengine.ir.recording import Namer, Recorder, StandIn, Symbol, Template, UnrecordableError
from graphengine.mappings import only, picked
from graphengine.ops.shapes import ArrayType
from graphengine.ops.traits import OpTrait
from graphengine.transform.path import Choice, OwnChoice, PathNode, backward_path, put_through


def record_backward(recorder: Recorder, target: str, wanted: Sequence[str]) -> dict[str, Symbol | None]:
    """Record the backward pass from the scalar `target`; the gradient of each wanted value, None where it is zero."""
    check_differentiable(recorder.graph, target, wanted)
    path = backward_path(recorder.graph, target, wanted)
    gradients = BackwardPass(recorder, {target: filled(recorder, "ones_like", target).name}, path).gradients
    return {name: recorder.symbol(gradients.get(name)) for name in wanted}


def check_differentiable(graph: Graph, target: str, wanted: Sequence[str]) -> None:
    """Refuse gradients that have no meaning.

    Raises
    ------
    DifferentiationError
        GE411 if the target is not a floating-point scalar or a wanted value is not of floating-point dtype.
    """
    kind = graph.types[target]
    if kind.shape != () or not kind.is_differentiable:
        raise DifferentiationError(f"only a floating-point scalar has a gradient; '{target}' is {kind}")
    for name in wanted:
        if not graph.types[name].is_differentiable:
            raise DifferentiationError(f"there is no gradient with respect to '{name}', which is {graph.types[name]}")


def filled(recorder: Recorder, op: str, value: str) -> Symbol:
    """Ones or zeros like a value, named as its gradient."""
    symbol: Symbol = recorder.emit(op, recorder.instance(op, {}), (value,), recorder.free(gradient_name(value)))
    return symbol


def pruned(recorder: Recorder, outputs: Mapping[str, str], description: str, keep: Iterable[str] = ()) -> Graph:
    """The recorded graph with only the nodes and declarations that the outputs need, and those to keep."""
    graph = recorder.graph
    kept, read = reached([*graph.nodes, *recorder.nodes], outputs.values())
    types: Mapping[str, ArrayType] = recorder.types
    if has_loops(kept):
        from graphengine.transform.merging_loops import merged_loops

        kept, types, outputs = merged_loops(kept, types, outputs)
    read.update(keep)
    inputs, parameters, state = only(graph.inputs, read), only(graph.parameters, read), only(graph.state, read)
    values = [*inputs, *parameters, *state, *results_of(kept)]
    types = picked(types, values)  # in an order that no hash decides
    state = {name: source if source.update in types else replace(source, update=None) for name, source in state.items()}
    return graph.derive(
        kept, outputs, types, inputs=inputs, parameters=parameters, state=state, description=description
    )


class BackwardPass:
    """Walks a path; `gradients` are those of all values, by name, and begin with the `seeds`."""

    def __init__(self, recorder: Recorder, seeds: Mapping[str, str], path: Sequence[PathNode]) -> None:
        self._recorder = recorder
        self.gradients: dict[Any, str] = dict(seeds)
        for each, completes in zip(path, _completions(path), strict=True):
            self._record(each, completes)

    def _record(self, each: PathNode, completes: tuple[bool, ...]) -> None:
        """Record the backward of one node and add what it gives to the gradients of its inputs."""
        node, needs, choices = each
        inputs, outputs, gradients = node.inputs, node.outputs, self.gradients
        incoming = list(map(gradients.get, outputs))
        if incoming.count(None) == len(incoming):
            return  # what reads its results passes no gradient on
        begun = [gradients.get(operand) if need else None for operand, need in zip(inputs, needs, strict=True)]
        values: list[Any] = [*inputs, *outputs, *incoming, *begun, *[choice.condition for choice in choices]]
        kinds = tuple(map(self._recorder.types.get, values))
        taken = tuple([choice.taken for choice in choices])
        first = _first_places(inputs)
        key = (id(node.node), kinds, needs, completes, taken, first, _literals(node, kinds))
        templates = self._recorder.templates
        if key not in templates:
            made = _Alike(self._recorder, node, needs, completes, kinds, choices, first).template()
            templates[key] = node.node, made
        _, template = templates[key]
        values = self._recorder.repeat(template, values, node.id)
        self._keep(inputs, values, template)

    def _keep(self, inputs: tuple[Operand, ...], values: Sequence[Any], template: Template) -> None:
        """The gradients of the inputs are now those among the values of a template."""
        for operand, place in zip(inputs, template.results, strict=True):
            if place is not None:
                self.gradients[operand] = values[place]


def _completions(path: Sequence[PathNode]) -> list[tuple[bool, ...]]:
    """For each node of a path, whether the gradients of its inputs are whole with what it gives them."""
    read: set[Any] = set()
    completions = []
    for node, needs, _ in reversed(path):
        completes = []
        for operand, need in zip(reversed(node.inputs), reversed(needs), strict=True):
            is_last = need and operand not in read
            if is_last:
                read.add(operand)
            completes.append(is_last)
        completions.append(tuple(completes[::-1]))
    return completions[::-1]


def _first_places(inputs: tuple[Operand, ...]) -> tuple[int, ...]:
    """For each operand the first place where it is."""
    places: dict[Any, int] = {}
    return tuple([places.setdefault(key, place) for place, key in enumerate(operand_keys(inputs))])


def _literals(node: GraphNode, kinds: Sequence[ArrayType | None]) -> tuple[Any, ...]:
    """The literals among the inputs, as far as the node's backward asks for them."""
    inputs = node.inputs
    if None not in kinds[: len(inputs)]:
        return ()
    signature = node.node.signature
    last, saved = len(signature.inputs) - 1, signature.saved or ()
    return tuple(
        [
            literal_key(node, operand) if signature.inputs[min(place, last)] in saved else type(operand)
            for place, operand in enumerate(inputs)
            if type(operand) is not str
        ]
    )


class _Alike:
    """What is recorded of a node for all nodes like it: its backward, and the sums with what its inputs have already.

    The values of the template are the inputs, the results, the gradients of the results, those of the inputs as far
    as there are any, and the conditions of choices; its results are the new gradients of the inputs.
    """

    def __init__(
        self,
        recorder: Recorder,
        node: GraphNode,
        needs: tuple[bool, ...],
        completes: Sequence[bool],
        kinds: Sequence[ArrayType | None],
        choices: tuple[Choice | OwnChoice, ...],
        first: tuple[int, ...],
    ) -> None:
        self._choices = choices
        self._recorder, self._node, self._needs, self._completes = recorder, node, needs, completes
        self._kinds = kinds
        self._first = first

    def template(self) -> Template:
        """Record all of it."""
        inputs = self._node.inputs
        sample = self._recorder.sample(self._stand_ins(), self._code)
        pieces, contributions = sample.returned
        results: list[str | None] = [None] * len(inputs)
        for each in contributions:
            results[each.place] = each.total
        targets = {self._first[place] for place, need in enumerate(self._needs) if need}
        ports = len(self._node.node.outputs)
        incoming = sample.operands[len(inputs) + ports :][:ports]
        return sample.template(results, part_names(sample.nodes, pieces, targets, incoming, contributions))

    def _stand_ins(self) -> list[Any]:
        """What takes the place of the values of the template; of one that is several inputs it is one."""
        inputs = self._node.inputs
        shared = {name: StandIn(kind) for name, kind in zip(inputs, self._kinds, strict=False) if kind}
        others = [kind and StandIn(kind) for kind in self._kinds[len(inputs) :]]
        return [*[shared.get(operand, operand) for operand in inputs], *others]

    def _divided(self, values: Sequence[Any]) -> tuple[Sequence[Any], ...]:
        """Inputs, results, gradients of the results, gradients of the inputs, conditions."""
        count, ports = len(self._node.inputs), len(self._node.node.outputs)
        ends = (0, count, count + ports, count + 2 * ports, 2 * (count + ports), len(values))
        return tuple([values[start:end] for start, end in itertools.pairwise(ends)])

    def _code(self, values: list[Any]) -> tuple[int, list[Contribution]]:
        """Record the backward and the sums; gives the number of nodes of the backward, and what it contributes."""
        inputs, results, incoming, begun, conditions = self._divided(values)
        totals = list(begun)
        recorder, start = self._recorder, len(self._recorder.nodes)
        chosen = list(zip(self._choices, conditions, strict=True))
        given = [
            gradient if gradient is None else put_through(chosen, gradient, results[0], value)
            for gradient, value in zip(self._backward(incoming, inputs, results), inputs, strict=True)
        ]
        pieces, contributions = len(recorder.nodes) - start, []
        for place, (first, value, contribution) in enumerate(zip(self._first, inputs, given, strict=True)):
            if contribution is not None:
                before, since, completes = totals[first], len(recorder.nodes) - start, self._completes[place]
                fitted = _like(recorder, contribution, value)
                totals[first] = fitted if before is None else np.add(before, fitted)
                whole = completes and before is None and contribution.type == value.type
                sums = range(since, len(recorder.nodes) - start)
                contributions.append(
                    Contribution(place, first, contribution.name, sums, totals[first].name, whole, completes)
                )
        return pieces, contributions

    def _backward(self, incoming: Sequence[Any], inputs: Sequence[Any], results: Sequence[Any]) -> tuple[Any, ...]:
        """What the backward of the node gives, or what opaque nodes give that run it with arrays."""
        instance, recorder = self._node.node, self._recorder
        before = len(recorder.nodes)
        try:
            given = instance.signature.gradients(instance, incoming, inputs, results, self._needs)
            _check_recorded(given)
        except DifferentiationError:
            raise  # a function that a node runs has no gradient
        except Exception:  # noqa: BLE001 - whatever stops the recording, the code still runs with arrays
            recorder.forget(before)
            given = _opaque(recorder, self._node, self._needs, (incoming, inputs, results))
        return given


def _check_recorded(gradients: Sequence[Any]) -> None:
    for gradient in gradients:
        if gradient is not None and not isinstance(gradient, Symbol):
            raise UnrecordableError(f"a gradient is {type(gradient).__name__}")


def _opaque(recorder: Recorder, node: GraphNode, needs: Sequence[bool], values: Sequence[Sequence[Any]]) -> Any:
    """The backward of a node as opaque nodes, one for each input that needs a gradient."""
    operands = _opaque_operands(*values)
    attributes = node.node.model_dump(mode="json", exclude_defaults=True)
    omitted = tuple([place for place, value in enumerate(values[1]) if value is None])
    attributes_of_all = {"of": node.op, "attributes": attributes, "omitted": omitted}
    return tuple(
        [
            recorder.apply("opaque_backward", operands, {**attributes_of_all, "index": index}) if need else None
            for index, need in enumerate(needs)
        ]
    )


def _opaque_operands(incoming: Sequence[Any], inputs: Sequence[Any], results: Sequence[Any]) -> list[Any]:
    """The gradients of all results, 0 where none arrives, the inputs that are there, and the results."""
    arriving = [np.zeros_like(r) if g is None else g for g, r in zip(incoming, results, strict=True)]
    return [*arriving, *[value for value in inputs if value is not None], *results]


def _like(recorder: Recorder, contribution: Symbol, value: Symbol) -> Symbol:
    """A gradient in the shape and dtype of its value: what `shaping.like` does with arrays."""
    if contribution.type.shape != value.type.shape or None in value.type.shape:
        contribution = recorder.apply("sum_to", (contribution, value.shape), {})
    if contribution.type.array_dtype != value.type.array_dtype:
        contribution = contribution.astype(value.dtype)
    return contribution


class Contribution(NamedTuple):
    """What an input of a node gets: a value, and the nodes that fit it to the input and add it to what is there."""

    place: int
    first: int
    """The first place of the same input."""
    value: str
    sums: range
    total: str
    whole: bool
    """Whether it is the whole gradient by itself."""
    completes: bool
    """Whether the gradient is whole with it."""


def gradient_name(value: str) -> str:
    """The name of a value's gradient."""
    return f"d_{value}".replace(":", ".")


def partial_name(node: str, operand: str) -> str:
    """The name of a partial derivative; inside a function the operand is named as it is there."""
    scope = node[: node.rfind("/") + 1]
    return gradient_name(f"{node}/d_{operand.removeprefix(scope)}")


def part_names(
    nodes: Sequence[GraphNode],
    pieces: int,
    targets: Collection[int],
    incoming: Sequence[str | None],
    contributions: Sequence[Contribution],
) -> list[Namer]:
    """A namer for each node of a backward: of its `pieces`, which come first, and of the sums of the contributions.

    `targets` are the places of the different inputs that need a gradient, `incoming` the gradients of the results.
    """
    flow = _fed_by(nodes, incoming)
    owners = _owners(nodes[:pieces], contributions) if pieces > len(targets) > 1 else {}
    single = {node.id: node for node in nodes if len(node.node.outputs) == 1}
    names: dict[Any, Namer] = {}
    for each in contributions:
        factor = _factor(single.get(each.value), incoming[0])
        if factor not in flow:
            names[factor] = _partial(each.place)
    names |= _of_sums(nodes, contributions)
    known = {name: names[name] for name in single if name in names}
    return [known.get(node.id) or _piece(node, owners.get(node.id, targets), node.id in flow) for node in nodes]


def _of_sums(nodes: Sequence[GraphNode], contributions: Iterable[Contribution]) -> dict[Any, Namer]:
    """The namers of contributions to a gradient, of the sums that they pass, and of what completes it."""
    names: dict[Any, Namer] = {}
    for each in contributions:
        sums = [nodes[index].id for index in each.sums if OpTrait.SIZES_ONLY not in nodes[index].node.traits]
        names |= dict.fromkeys(sums if each.whole else [each.value, *sums], _numbered(each.place))
        if each.completes:
            names[each.total] = _whole(each.place)
    return names


def _fed_by(nodes: Iterable[GraphNode], incoming: Iterable[str | None]) -> set[Any]:
    """The gradients that arrive, and what is computed from them."""
    flow: set[Any] = {name for name in incoming if name is not None}
    for node in nodes:
        if not flow.isdisjoint(node.inputs):
            flow.update(node.outputs)
    return flow


def _owners(nodes: Sequence[GraphNode], contributions: Sequence[Contribution]) -> dict[Any, set[int]]:
    """The places of the inputs whose gradients each value is made for."""
    owners: defaultdict[Any, set[int]] = defaultdict(set)
    for each in contributions:
        owners[each.value].add(each.first)
    for node in reversed(nodes):
        mine = owners[node.id] = set().union(*[owners[name] for name in node.outputs])
        for operand in node.inputs:
            owners[operand] |= mine
    return owners


def _factor(node: GraphNode | None, incoming: str | None) -> Any:
    """What a product multiplies an incoming gradient by; None if it is no such product."""
    if node is None or node.op != "mul" or incoming not in node.inputs:
        return None
    return node.inputs[node.inputs[0] == incoming]


def _piece(node: GraphNode, owners: Collection[int], flows: bool) -> Namer:
    """The namer of a node that is made for the gradients of some inputs; `flows` if an incoming gradient is in it."""
    if OpTrait.SIZES_ONLY in node.node.traits:
        axis = getattr(node.node, "axis", None)
        return _after(node.op if axis is None else f"{node.op}.{axis}")
    if node.op == "scan":
        return _of_loop(flows)
    if len(node.node.outputs) > 1 or (not flows and _reads_one_value(node)):
        return _after(node.op)
    if len(owners) != 1:
        return lambda recorder, near, values, operands: recorder.numbered(gradient_name(near))
    (place,) = owners
    return _numbered(place) if flows else _numbered_partial(place)


def _of_loop(flows: bool) -> Namer:
    """The namer of a loop: the one that gradients go back through, or one that keeps states for it."""
    if flows:
        return lambda recorder, near, values, operands: recorder.free(f"{gradient_name(near)}/scan")
    return lambda recorder, near, values, operands: recorder.free(f"{near}/kept")


def _reads_one_value(node: GraphNode) -> bool:
    return len(node.inputs) == 1 and isinstance(node.inputs[0], str)


def _whole(place: int) -> Namer:
    return lambda recorder, near, values, operands: recorder.free(gradient_name(values[place]))


def _numbered(place: int) -> Namer:
    return lambda recorder, near, values, operands: recorder.numbered(gradient_name(values[place]))


def _partial(place: int) -> Namer:
    return lambda recorder, near, values, operands: recorder.free(partial_name(near, values[place]))


def _numbered_partial(place: int) -> Namer:
    return lambda recorder, near, values, operands: recorder.numbered(partial_name(near, values[place]))


def _after(suffix: str) -> Namer:
    """The namer of what is made of one value."""
    return lambda recorder, near, values, operands: recorder.free(f"{operands[0]}.{suffix}".replace(":", "."))
