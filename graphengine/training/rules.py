"""Update rules: how a parameter changes, given its gradient. A rule is a graph file and nothing else.

A rule is a function file with the inputs `parameter`, `gradient`, `learning_rate`, `iteration` and, for what it keeps
between iterations, slots: inputs with an `initializer`. Its outputs are the new `parameter` and the new slots. The
shipped ones lie in the folder `rules` beside this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

import numpy as np

from graphengine.errors import InvalidModelError, Problem, did_you_mean
from graphengine.executor import Executor
from graphengine.format.documents import (
    FunctionFile,
    FunctionInputDocument,
    InputDocument,
    ModelDocument,
    NodeDocument,
    StateDocument,
)
from graphengine.format.reading import parse_function
from graphengine.resolve import build_graph
from graphengine.shapes import ArrayType, dtype_name
from graphengine.values import initial_value

ARGUMENTS = ("parameter", "gradient", "learning_rate", "iteration")


@cache
def shipped_rules() -> dict[str, FunctionFile]:
    """The rules that come with the package, by name."""
    folder = resources.files("graphengine.training") / "rules"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".json")), key=lambda file: file.name)
    return {file.name.removesuffix(".json"): parse_function(file.read_bytes(), file.name)[0] for file in files}


def find_rule(name: str) -> FunctionFile:
    """The shipped rule of that name.

    Raises
    ------
    InvalidModelError
        GE210 if there is none.
    """
    rules = shipped_rules()
    if name not in rules:
        hint = did_you_mean(name, rules, "update rules")
        raise InvalidModelError(
            [Problem("GE210", f"update rule '{name}' is not defined", hint, "/training/optimizer/type")]
        )
    return rules[name]


class UpdateRule:
    """A rule with its attributes, ready for parameters of one type.

    Raises
    ------
    InvalidModelError
        GE110 for an unknown attribute, GE111 for a missing one, GE112 for one that is not a number.
    """

    def __init__(self, rule: FunctionFile, attributes: Mapping[str, Any], kind: ArrayType) -> None:
        self.slots = {name: document for name, document in rule.inputs.items() if document.initializer is not None}
        self.kind = kind
        self.executor = Executor(build_graph(_as_model(rule, _complete(rule, attributes), kind)))

    def initial_slots(self) -> dict[str, Any]:
        """The slots of one parameter before its first update."""
        dtype = np.dtype(self.kind.dtype)
        return {
            name: initial_value(name, StateDocument(shape=_shape(slot, self.kind), initializer=slot.initializer), dtype)
            for name, slot in self.slots.items()
            if slot.initializer
        }

    def update(
        self, parameter: Any, gradient: Any, learning_rate: float, iteration: int, slots: Mapping[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        """The new parameter and the new slots; values in, values out."""
        scalar = np.dtype(self.kind.dtype).type
        values = dict(zip(ARGUMENTS, (parameter, gradient, scalar(learning_rate), scalar(iteration)), strict=True))
        computed = self.executor.forward({**values, **slots})
        outputs = self.executor.graph.outputs
        new = {name: computed[self.executor.slot_of[value]] for name, value in outputs.items()}
        return new.pop("parameter"), new


def _shape(document: FunctionInputDocument, kind: ArrayType) -> Any:
    """The shape a rule's input declares, else the parameter's."""
    return list(kind.shape) if document.shape is None else document.shape


def _complete(rule: FunctionFile, attributes: Mapping[str, Any]) -> dict[str, float]:
    """The attributes of a rule with defaults filled in."""
    problems = []
    for name, value in attributes.items():
        pointer = f"/training/optimizer/{name}"
        if name not in rule.attributes:
            hint = did_you_mean(name, rule.attributes, f"attributes of '{rule.name}'")
            problems.append(Problem("GE110", f"unknown key '{name}'", hint, pointer))
        elif type(value) not in (int, float):
            problems.append(Problem("GE112", f"must be a number, not {value!r}", None, pointer))
    values = {name: attributes.get(name, document.default) for name, document in rule.attributes.items()}
    for name, value in values.items():
        if value is None:
            message = f"update rule '{rule.name}' needs the attribute '{name}'"
            problems.append(Problem("GE111", message, None, "/training/optimizer"))
    if problems:
        raise InvalidModelError(problems)
    return values


def _as_model(rule: FunctionFile, attributes: Mapping[str, float], kind: ArrayType) -> ModelDocument:
    """The rule as a model whose inputs have the parameter's type; attributes become literals."""
    dtype: Any = dtype_name(kind.dtype)
    inputs = {name: InputDocument(shape=_shape(document, kind), dtype=dtype) for name, document in rule.inputs.items()}
    return ModelDocument(
        format="graphengine.model",
        format_version=1,
        opset_imports=rule.opset_imports,
        name=rule.name,
        dtype=dtype,
        inputs=inputs,
        nodes=[_substituted(node, attributes) for node in rule.nodes],
        outputs=rule.outputs,
    )


def _substituted(node: NodeDocument, attributes: Mapping[str, float]) -> NodeDocument:
    inputs: Any = node["inputs"]
    if isinstance(inputs, dict):
        replaced: Any = {name: attributes.get(ref, ref) for name, ref in inputs.items()}
    else:
        replaced = [attributes.get(ref, ref) for ref in inputs]
    return {**node, "inputs": replaced}
