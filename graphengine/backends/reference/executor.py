"""The reference executor: a loop forward and a loop backward over the sorted nodes.

Every value of the graph has a slot, an index into a list; the steps are the nodes with their operands as slots, made
once for each graph. What part of the steps a request needs is decided before anything runs and remembered. An executor
never changes while it runs: any number of threads may share one, each with its own list of values.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from graphengine import gc_pause
from graphengine.backends.reference.diagnosis import bounded, failed
from graphengine.backends.reference.steps import BackwardStep, ForwardSchedule, ForwardStep
from graphengine.errors import InputError
from graphengine.ir.graph import Graph, inputs_of
from graphengine.ir.memory import claims, memory_of
from graphengine.ir.nodes import GraphNode, Operand
from graphengine.transform.path import Choice, OwnChoice, backward_path

Slots: TypeAlias = list[Any]

Observer: TypeAlias = Callable[[BackwardStep, Sequence[Any], Sequence[Any]], None]


class Executor:
    """Runs one graph with the `forward` and `backward` of its node classes."""

    graph: Graph
    steps: tuple[ForwardStep, ...]

    @gc_pause.paused()
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.slot_of: dict[str, int] = {name: slot for slot, name in enumerate(graph.types)}
        self._empty: Slots = [None] * len(self.slot_of)
        self.steps = tuple(self._step(node) for node in graph.nodes)
        self._claims = self._claim_steps()
        self._forward: dict[Any, ForwardSchedule] = {}
        self._backward: dict[Any, tuple[BackwardStep, ...]] = {}
        self._inputs: dict[frozenset[str], list[str]] = {}

    def _step(self, node: GraphNode) -> ForwardStep:
        slot_of = self.slot_of
        inputs = tuple([slot_of[ref] if type(ref) is str else self._literal_slot(ref) for ref in node.inputs])
        return ForwardStep(node, node.node.forward, inputs, tuple([slot_of[name] for name in node.outputs]))

    def _claim_steps(self) -> dict[str, list[tuple[ForwardStep, tuple[int, ...]]]]:
        """By node, the step that claims memory for it, which releases nothing: all count in one slot."""
        found = claims(self.graph)
        taken = self._literal_slot(memory_of(self.graph)) if found else 0
        steps = [step for step in self.steps if step.node.id in found]
        return {
            node.id: [(ForwardStep(node, found[node.id], (taken, *inputs), (taken,)), ())]
            for node, _, inputs, _ in steps
        }

    def _literal_slot(self, operand: Operand) -> int:
        """A slot for a literal, filled from the start."""
        self._empty.append(operand)
        return len(self._empty) - 1

    def forward(self, values: Mapping[str, Any], schedule: ForwardSchedule | None = None) -> Slots:
        """Compute values from those given for inputs, parameters and state; all of them without a schedule.

        Raises
        ------
        ExecutionError
            GE410 if a node fails, naming the node, its op and the shapes it got.
        InputError
            GE133 if sizes that are values ask for more memory than the limit.
        """
        slots = self.slots(values)
        schedule = schedule or self._everything
        with np.errstate(all="ignore"):
            for step, released in zip(schedule.steps, schedule.releases, strict=True):
                results = self._results(step, [slots[slot] for slot in step.inputs])
                for slot, result in zip(step.outputs, results, strict=True):
                    slots[slot] = result
                for slot in released:
                    slots[slot] = None
        return slots

    def _results(self, step: ForwardStep, arguments: list[Any]) -> Sequence[Any]:
        """What a step gives, one for each output."""
        try:
            results = step.call(*arguments)
            if type(results) is int:
                bounded(results)
        except InputError:
            raise  # which node asks for how much memory
        except Exception as error:  # a user's node may raise anything
            raise failed(self.graph, step.node, "forward", arguments[-len(step.node.inputs) :], error) from error
        return results if len(step.outputs) > 1 else (results,)

    def backward(self, slots: Slots, of: str, wrt: Sequence[str], see: Observer | None = None) -> dict[str, Any]:
        """Gradients of the scalar `of` with respect to the values `wrt`, from the values of a forward pass.

        `see` is called at each step with what arrives at its node and what each of its inputs gets.

        Raises
        ------
        DifferentiationError
            GE411 if a node on the path has no `backward`.
        ExecutionError
            GE410 if a node fails.
        """
        gradients: dict[int, Any] = {self.slot_of[of]: np.ones_like(slots[self.slot_of[of]])[()]}
        wanted = {self.slot_of[name] for name in wrt}
        with np.errstate(all="ignore"):
            for backward_step in self.backward_schedule(of, wrt):
                incoming = _taken(gradients, backward_step.step.outputs, wanted)
                if all(gradient is None for gradient in incoming):
                    continue  # what reads its results passes no gradient on
                given = backward_step.gradients(self.graph, slots, incoming)
                if see:
                    see(backward_step, incoming, given)
                _add(gradients, backward_step.step.inputs, given)
        return {name: self._gradient(gradients, slots, name) for name in wrt}

    def _gradient(self, gradients: dict[int, Any], slots: Slots, name: str) -> Any:
        slot = self.slot_of[name]
        return gradients[slot] if slot in gradients else np.zeros_like(slots[slot])[()]

    def slots(self, values: Mapping[str, Any]) -> Slots:
        """The slots with these values and the literals, before anything is computed."""
        slots = list(self._empty)
        for name, value in values.items():
            slots[self.slot_of[name]] = value
        return slots

    def forward_schedule(self, targets: Iterable[str]) -> ForwardSchedule:
        """The steps that `targets` depend on, dropping each value after its last use."""
        key = frozenset(self.slot_of[name] for name in targets)
        if key not in self._forward:
            self._forward[key] = self._plan_forward(key)
        return self._forward[key]

    @cached_property
    @gc_pause.paused()
    def _everything(self) -> ForwardSchedule:
        return self._scheduled(self.steps, ((),) * len(self.steps))

    def _scheduled(self, steps: Sequence[ForwardStep], releases: Sequence[tuple[int, ...]]) -> ForwardSchedule:
        """The schedule of steps in order, each after the one that claims memory for it, if there is one."""
        pairs = list(zip(steps, releases, strict=True))
        if self._claims:
            pairs = [each for pair in pairs for each in (*self._claims.get(pair[0].node.id, ()), pair)]
        return ForwardSchedule(tuple([step for step, _ in pairs]), tuple([released for _, released in pairs]))

    def inputs_of(self, targets: Iterable[str]) -> list[str]:
        """The declared inputs that these values depend on."""
        key = frozenset(targets)
        if key not in self._inputs:
            self._inputs[key] = inputs_of(self.graph, key)
        return self._inputs[key]

    @gc_pause.paused()
    def _plan_forward(self, targets: frozenset[int]) -> ForwardSchedule:
        needed, steps = set(targets), []
        for step in reversed(self.steps):
            if not needed.isdisjoint(step.outputs):
                needed.update(step.inputs)
                steps.append(step)
        live, releases = set(targets), []
        for step in steps:  # from the last to the first: what is not live after a step dies at it
            releases.append(tuple({*step.inputs, *step.outputs} - live))
            live.update(step.inputs, step.outputs)
        return self._scheduled(steps[::-1], releases[::-1])

    def backward_schedule(self, of: str, wrt: Sequence[str]) -> tuple[BackwardStep, ...]:
        """The steps on the paths from `wrt` to `of`, last first, decided before anything runs."""
        key = (of, tuple(wrt))
        if key not in self._backward:
            self._backward[key] = self._plan_backward(of, wrt)
        return self._backward[key]

    @gc_pause.paused()
    def _plan_backward(self, of: str, wrt: Sequence[str]) -> tuple[BackwardStep, ...]:
        steps = {step.node.id: step for step in self.steps}
        return tuple(
            [
                BackwardStep(steps[node.id], needs, self._with_slots(choices))
                for node, needs, choices in backward_path(self.graph, of, wrt)
            ]
        )

    def _with_slots(self, choices: Sequence[Choice | OwnChoice]) -> tuple[tuple[Choice | OwnChoice, int], ...]:
        return tuple([(each, self.slot_of[each.condition]) for each in choices])


def _taken(gradients: dict[int, Any], slots: Iterable[int], wanted: Container[int]) -> list[Any]:
    """What has arrived at some slots, None for nothing; it stays where it is wanted."""
    return [gradients.get(slot) if slot in wanted else gradients.pop(slot, None) for slot in slots]


def _add(gradients: dict[int, Any], slots: Iterable[int], given: Iterable[Any]) -> None:
    for slot, gradient in zip(slots, given, strict=True):
        if gradient is not None:
            gradients[slot] = gradients[slot] + gradient if slot in gradients else gradient
