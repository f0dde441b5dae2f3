"""The one evaluator of `forward`, `backward` and `predict`.

A compiled program computes what is asked where there is one, else the reference executor does; both give the same bits.
If a program fails, the reference reports which node it was.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from graphengine.backends.program_cache import ProgramCache
from graphengine.backends.protocol import Backend, Program, backend_named
from graphengine.backends.reference.diagnosis import plan_failure
from graphengine.backends.reference.executor import Executor, Slots
from graphengine.backends.reference.steps import ForwardSchedule
from graphengine.errors import InputError, Problem, UsageError, did_you_mean
from graphengine.ir.binding import lacking_of, require_inputs
from graphengine.ir.graph import Graph
from graphengine.ir.memory import memory_problem
from graphengine.ir.nodes import reached
from graphengine.mappings import absent, picked, present
from graphengine.transform.gradient import gradient

if TYPE_CHECKING:
    from graphengine.data.batches import Batches
    from graphengine.model.row_stability import RowStability

Results = dict[str, Any]


class Evaluator:
    """Computes outputs and gradients of one graph from given inputs and `values`, those of parameters and state."""

    graph: Graph
    values: dict[str, Any]
    backend: Backend
    programs: ProgramCache
    expected: tuple[str, ...] | None
    """A scalar and the values of its gradient that the last run was asked for after its outputs: as a loop does."""
    _is_plain: bool
    """Whether inputs are numbers that no code of others sees, which might write into them."""
    _stability: list[RowStability]
    """It is made, and its modules are imported, when it is first needed; copies share it."""

    def __init__(self, graph: Graph, values: dict[str, Any], backend: Backend) -> None:
        self.graph, self.values, self.backend = graph, values, backend
        self.programs, self.expected = ProgramCache(graph, backend), None
        self._stability = []
        inputs = graph.inputs.values()
        self._is_plain = all(node.node.is_core for node in graph.nodes) and not any(
            each.categories or each.units for each in inputs
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles have nothing that is compiled."""
        return _restored, (self.graph, self.values, self.backend.name)

    @property
    def stability(self) -> RowStability:
        """What computes rows that have the same bits in any batch."""
        if not self._stability:
            from graphengine.model.row_stability import RowStability

            self._stability.append(RowStability(self.graph, self.backend))
        return self._stability[0]

    @cached_property
    def executor(self) -> Executor:
        """The reference executor of the graph, made when it is first needed."""
        return Executor(self.graph)

    def with_values(self, values: dict[str, Any]) -> Evaluator:
        """Return an evaluator of other values, which shares what is compiled."""
        made = object.__new__(type(self))
        vars(made).update({**vars(self), "values": values})
        return made

    def require_values(self, targets: Iterable[str] | None = None) -> None:
        """Refuse to evaluate what depends on values that a training has yet to compute; without targets, anything.

        Raises
        ------
        UsageError
            GE415.
        """
        graph = self.graph
        if len(self.values) == len(graph.parameters) + len(graph.state):
            return
        lacking = absent((*graph.parameters, *graph.state), self.values)
        if targets is not None:
            _, read = reached(graph.nodes, targets)
            lacking = present(lacking, read)
        if lacking:
            raise without_value(lacking[0])

    # ------------------------------------------------------------ the whole graph

    def program_for(self, inputs: Mapping[str, Any]) -> Program | None:
        """Return the program of the whole graph for these inputs, if it pays; raises as `ProgramCache.get`."""
        found = self.programs.find("forward", inputs)
        if found is None:
            require_inputs(self.graph, inputs, self.graph.inputs)
            found = self.programs.get("forward", lambda: self.graph, inputs)
        return found

    def outputs(
        self, program: Program, inputs: Mapping[str, Any], values: Mapping[str, Any], by_reference: Callable[[], Any]
    ) -> tuple[Results, dict[tuple[str, ...], Results]]:
        """Return all outputs, and the gradient that is expected if it has a program, which computes both in one pass.

        A gradient that nobody asks for afterwards is the last one that is computed beforehand; and no bit of the
        outputs may depend on what was requested before.
        """
        expected, self.expected = self.expected, None
        both = self.programs.find(("backward", *expected), inputs) if expected and self.programs.is_exact else None
        if expected and both:
            with suppress(Exception):  # the outputs may have no error where the gradient has one
                outputs, found = self._split(expected[1:], both.run(values))
                return outputs, {expected: found}
        return run(program, values, by_reference), {}

    def _split(self, names: Sequence[str], results: Results) -> tuple[Results, Results]:
        """The outputs and the gradients of the program of a gradient."""
        outputs = {name: results.pop(name) for name in self.graph.outputs}
        return outputs, dict(zip(names, results.values(), strict=True))

    def every_value(self, values: Mapping[str, Any]) -> Slots:
        """Return all values of the graph, by the reference executor."""
        return self.executor.forward(values)

    def gradients(
        self,
        of: str,
        names: Sequence[str],
        inputs: Mapping[str, Any],
        values: Mapping[str, Any],
        slots: Callable[[], Slots],
    ) -> tuple[Results, Results]:
        """Return the gradients of a scalar by the names that a caller has for values, and the outputs on the way.

        `slots` gives all values of the graph, which the reference starts from; without a program there are no outputs.
        """
        target, wanted = self.graph.value_name(of), [self.graph.value_name(name) for name in names]

        def by_reference() -> Results:
            found = self.executor.backward(slots(), target, wanted)
            return {name: found[value] for name, value in zip(names, wanted, strict=True)}

        program = self.programs.get(
            ("backward", of, *names),
            lambda: gradient(self.graph, of=of, wrt=names, also=self.graph.outputs),
            inputs,
            is_gradient=True,
        )
        if program is None:
            return by_reference(), {}
        outputs, found = self._split(names, run(program, values, by_reference))
        return found, outputs

    # ------------------------------------------------------------ some outputs

    def known(self, given: Mapping[str, Any], outputs: tuple[str, ...] | None) -> Program | None:
        """Return the program for arrays as a caller gives them, if arrays of the same types were checked before.

        It is what a service asks for one row after the other, where each microsecond counts.
        """
        if not self._is_plain:
            return None
        for array in given.values():
            if type(array) is not np.ndarray or not array.flags.c_contiguous:
                return None
        return self.programs.find(("outputs", outputs), given)

    def computed(self, program: Program, given: Mapping[str, Any], outputs: tuple[str, ...] | None) -> Results:
        """Return outputs by public name, computed by a program; raises as `run`."""
        values = {**self.values, **given}
        found = run(program, values, lambda: self._by_reference(self.targets(outputs, given), values))
        return {name: read_only(value) for name, value in found.items()}

    def predict(
        self,
        given: Mapping[str, Any],
        outputs: tuple[str, ...] | None,
        *,
        check_finite: bool = False,
        row_stable: bool = False,
    ) -> dict[str, np.ndarray[Any, Any]]:
        """Return outputs by public name, all that can be computed if none are asked; raises as `Model.predict`."""
        if len(self.values) < len(self.graph.parameters) + len(self.graph.state):
            self.require_values(self.targets(outputs, given).values())
        if check_finite:
            checked = self._checked(self.targets(outputs, given), given)
            if not row_stable:
                return checked
        if row_stable:
            return self._row_stable(given, outputs)
        return self._by_program(given, outputs)

    def _by_program(self, given: Mapping[str, Any], outputs: tuple[str, ...] | None) -> Results:
        """Outputs, computed by a program where there is one or it pays to make one."""
        purpose: Hashable = ("outputs", outputs)
        program = self.programs.find(purpose, given)
        if program is None:
            graph, targets = self.graph, self.targets(outputs, given)
            program = self.programs.get(purpose, lambda: graph.derive(graph.nodes, targets, graph.types), given)
        if program is None:
            return self._by_reference(targets, {**self.values, **given})
        return self.computed(program, given, outputs)

    def _row_stable(self, given: Mapping[str, Any], outputs: tuple[str, ...] | None) -> Results:
        """Outputs whose rows have the same bits in any batch, and those that depend on no row."""
        from graphengine.backends.one_thread import one_blas_thread

        way = self.stability.way(outputs, given, lambda: self.targets(outputs, given))
        if way.blocks is None:
            return self.predict(given, way.names)
        with one_blas_thread():
            found = self.predict(given, way.still) if way.still else {}
            found |= way.blocks.run(
                {**self.values, **given},
                lambda program, block: run(program, block, lambda: self._by_reference(way.own, block)),
            )
        return {name: read_only(found[name]) for name in way.names}

    def _by_reference(self, targets: Mapping[str, str], values: Mapping[str, Any]) -> Results:
        slots = self.executor.forward(values, self.executor.forward_schedule(targets.values()))
        return {name: read_only(slots[self.executor.slot_of[value]]) for name, value in targets.items()}

    def _checked(self, targets: Mapping[str, str], given: Mapping[str, Any]) -> Results:
        """The outputs, computed from finite numbers only; what they do not depend on is not looked at."""
        from graphengine.ir.finite import require_all_finite

        places = self.executor.slot_of
        steps = self.executor.forward_schedule(targets.values()).steps
        slots = self.executor.forward({**self.values, **given}, ForwardSchedule(steps, ((),) * len(steps)))
        seen = {places[value] for value in targets.values()}.union(*[(*step.inputs, *step.outputs) for step in steps])
        found = {name: slots[place] if place in seen else None for name, place in places.items()}
        require_all_finite(self.graph, found)
        return {name: read_only(slots[places[value]]) for name, value in targets.items()}

    def targets(self, outputs: tuple[str, ...] | None, given: Mapping[str, Any]) -> dict[str, str]:
        """Return the values that the asked outputs are, of all that can be computed if none are asked.

        Raises
        ------
        InputError
            GE401 if an input is missing.
        UsageError
            GE402 if there is no such output.
        """
        graph, asked = self.graph, self._computable(given) if outputs is None else outputs
        for name in asked:
            if name not in graph.outputs:
                hint = did_you_mean(name, graph.outputs, "outputs")
                raise UsageError(f"model '{graph.name}' has no output '{name}'", code="GE402", hint=hint)
        targets = picked(graph.outputs, asked)
        require_inputs(graph, given, self.executor.inputs_of(targets.values()))
        return targets

    def _computable(self, given: Mapping[str, Any]) -> list[str]:
        if not (ready := self.ready(given.keys())):
            raise not_computable("output", self._needs(), given)
        return ready

    def ready(self, given: Collection[str]) -> list[str]:
        """Return the outputs that have all inputs that they need."""
        available = set(given)
        return [name for name, inputs in self._needs().items() if available.issuperset(inputs)]

    def ready_at_once(self, batches: Batches) -> list[str] | None:
        """Return the outputs that are ready on all samples of batches, None if memory has no room for all at once."""
        if batches.takes_single_samples or batches.is_stored:
            return None
        sizes = batches.sizes_in(self.graph, batches.samples)
        return None if memory_problem(self.graph, sizes) else self.ready(batches.inputs)

    def _needs(self) -> dict[str, list[str]]:
        """The inputs that each output depends on."""
        return {name: self.executor.inputs_of([value]) for name, value in self.graph.outputs.items()}


def not_computable(what: str, needs: Mapping[str, Iterable[str]], given: Mapping[str, Any]) -> InputError:
    """Return the error GE401 about outputs or scores, none of which has the inputs that it needs."""
    lacking = {name: absent(inputs, given) for name, inputs in needs.items()}
    shown = "; ".join(f"'{name}' needs {', '.join(map(repr, inputs))}" for name, inputs in lacking.items())
    problems = lacking_of(given, dict.fromkeys(chain.from_iterable(lacking.values())))
    return InputError([Problem("GE401", f"no {what} can be computed from the given inputs: {shown}"), *problems])


def without_value(name: str) -> UsageError:
    """Return the error about a parameter or state that a training has yet to compute."""
    message = f"'{name}' has no value yet: its initializer computes it from the rows of a training"
    hint = "train the model first and use the file that is saved; in Python, model.initialize() computes these values"
    return UsageError(message, code="GE415", hint=hint)


def _restored(graph: Graph, values: dict[str, Any], backend: str) -> Evaluator:
    return Evaluator(graph, values, backend_named(backend))


def run(program: Program, values: Mapping[str, Any], by_reference: Callable[[], Any]) -> Results:
    """Run a program; if it fails, the reference reports the node that failed.

    Raises
    ------
    ExecutionError, InputError
        As the reference executor does.
    """
    try:
        return program.run(values)
    except Exception as error:  # whatever it is, the reference says which node it comes from
        raise plan_failure(error, by_reference) from error


def read_only(value: Any) -> np.ndarray[Any, Any]:
    """Return a value as a read-only array; that of a view of an input shares the memory of the input."""
    view = np.asarray(value).view()
    view.setflags(write=False)
    return view
