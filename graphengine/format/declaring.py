"""The declarations of a document as those of a graph: shapes and dtypes become types."""

from __future__ import annotations

from graphengine.format.documents import InputDocument, ModelDocument, ParameterDocument, StateDocument
from graphengine.ir.declarations import Input, Parameter, State
from graphengine.ops.shapes import ArrayType, array_type


def type_of(declared: InputDocument | ParameterDocument | StateDocument, document: ModelDocument) -> ArrayType:
    """Return the type that a declaration in a file gives a value."""
    return array_type(declared.shape, declared.dtype or document.dtype)


def inputs_of(document: ModelDocument) -> dict[str, Input]:
    """Return the inputs that a document declares."""
    return {name: _input(each, document) for name, each in document.inputs.items()}


def _input(declared: InputDocument, document: ModelDocument) -> Input:
    return Input(
        type_of(declared, document),
        declared.description,
        None if declared.categories is None else tuple(declared.categories),
        None if isinstance(declared.unknown, str) else declared.unknown,
        declared.missing == "nan",
        declared.units,
        declared.storage,
    )


def parameters_of(document: ModelDocument) -> dict[str, Parameter]:
    """Return the parameters that a document declares."""
    return {
        name: Parameter(
            type_of(each, document),
            each.initializer,
            each.value,
            each.trainable,
            each.learning_rate_multiplier,
            each.weight_decay_multiplier,
            None if each.bounds is None else (each.bounds[0], each.bounds[1]),
            each.scale,
            each.description,
            each.storage,
        )
        for name, each in document.parameters.items()
    }


def state_of(document: ModelDocument) -> dict[str, State]:
    """Return the state that a document declares."""
    return {
        name: State(type_of(each, document), each.initializer, each.update, each.value, each.description)
        for name, each in document.state.items()
    }
