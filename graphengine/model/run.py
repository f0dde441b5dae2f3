"""What a model gives: a `Run` is one evaluation of its graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from graphengine.backends.reference.executor import Slots
from graphengine.errors import UsageError, did_you_mean
from graphengine.format.writing import encode_array
from graphengine.ir.graph import Graph, gradient_names
from graphengine.model.evaluator import Evaluator, read_only
from graphengine.notebook import Pictured
from graphengine.transform.backward import check_differentiable


class Run(Pictured):
    """One evaluation of a graph. `run["loss"]` is a public output.

    Values are computed on demand, from the inputs, parameters and state at the time of the call.
    """

    def __init__(self, evaluator: Evaluator, inputs: Mapping[str, Any], default_loss: Callable[[], str]) -> None:
        self.graph: Graph = evaluator.graph
        self.default_loss = default_loss
        """Names what `backward` differentiates unless it is given; raises as `Model.default_loss`."""
        self._evaluator, self._inputs = evaluator, inputs
        self._values = {**evaluator.values, **inputs}
        self._slots: Slots | None = None
        self._outputs: dict[str, Any] = {}
        self._gradients: dict[tuple[str, ...], dict[str, Any]] = {}
        self._program = evaluator.program_for(inputs)
        if self._program is None:
            self._all_slots()

    def __getitem__(self, output: str) -> np.ndarray[Any, Any]:
        if output not in self.graph.outputs:
            hint = did_you_mean(output, self.graph.outputs, "outputs")
            raise KeyError(f"no output '{output}'; {hint}")
        if self._slots is not None or self._program is None:
            return self.value(self.graph.outputs[output])
        if not self._outputs:
            found = self._evaluator.outputs(self._program, self._inputs, self._values, self._all_slots)
            self._outputs, self._gradients = found
        return read_only(self._outputs[output])

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles have what the run was made of, and compute again what is asked of them."""
        return {**vars(self), "default_loss": _known_loss(self.default_loss), "_slots": None, "_program": None}

    def __repr__(self) -> str:
        return f"<Run of '{self.graph.name}': {', '.join(self.graph.outputs)}>"

    @property
    def outputs(self) -> dict[str, np.ndarray[Any, Any]]:
        """All public outputs."""
        return {name: self[name] for name in self.graph.outputs}

    def to_dict(self) -> dict[str, Any]:
        """Return all public outputs as JSON values."""
        return {name: encode_array(value) for name, value in self.outputs.items()}

    def value(self, name: str) -> np.ndarray[Any, Any]:
        """Return any value of the graph: an input, a parameter, or a node by its id.

        Raises
        ------
        UsageError
            GE402 if there is none of that name.
        """
        value = self.graph.aliases.get(name, name)
        if value not in self.graph.types:
            hint = did_you_mean(name, self.graph.types)
            raise UsageError(f"graph '{self.graph.name}' has no value '{name}'", code="GE402", hint=hint)
        return read_only(self._all_slots()[self._evaluator.executor.slot_of[value]])

    def check_finite(self) -> None:
        """Check all values for NaN and infinity.

        Raises
        ------
        ExecutionError
            GE413, naming the first node that gave such a number, its row, and the inputs it computed it from.
        """
        from graphengine.ir.finite import require_all_finite

        slots, places = self._all_slots(), self._evaluator.executor.slot_of
        require_all_finite(self.graph, {name: slots[place] for name, place in places.items()})

    def backward(
        self, of: str | None = None, wrt: str | Sequence[str] | None = None
    ) -> dict[str, np.ndarray[Any, Any]]:
        """Return the gradients of a scalar with respect to values, by name.

        `of` is an output or a value (default: the loss of the training section, or the only output); `wrt` are values
        of any kind (default: the trainable parameters). A value that `of` does not depend on has the gradient zero.

        Raises
        ------
        DifferentiationError
            GE411 if `of` is not a floating-point scalar or a node on the way has no gradient.
        InputError
            GE133 if the gradients take more memory than the limit.
        """
        of = of or self.default_loss()
        target = self.graph.value_name(of)
        names = gradient_names(self.graph, wrt)
        wanted = [self.graph.value_name(name) for name in names]
        check_differentiable(self.graph, target, wanted)
        found = self._gradients.pop((of, *names), None)
        if self._outputs:
            self._evaluator.expected = (of, *names)
        if found is None:
            found, outputs = self._evaluator.gradients(of, names, self._inputs, self._values, self._all_slots)
            self._outputs = outputs or self._outputs
        return {name: read_only(value) for name, value in found.items()}

    def _all_slots(self) -> Slots:
        """Every value of the graph, by the reference executor."""
        if self._slots is None:
            self._slots = self._evaluator.every_value(self._values)
        return self._slots


def _known_loss(default_loss: Callable[[], str]) -> Callable[[], str]:
    """A function that gives the same, and needs no model for it."""
    try:
        return partial(_given, default_loss())
    except UsageError as error:
        return partial(_raised, error)


def _given(name: str) -> str:
    return name


def _raised(error: UsageError) -> str:
    raise error
