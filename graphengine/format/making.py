"""Parameters that calls of functions make: each call has its own, in its scope.

Their sizes are attributes of the call and sizes of its operands. So types are inferred in the order of the nodes, and a
parameter is made as soon as the types of the operands of its call are known.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from graphengine.errors import Problem, make_pointer
from graphengine.format.documents import ModelDocument, ParameterDocument
from graphengine.format.initializers import FromDataInitializer
from graphengine.format.inlining import CallFrame, Inlining
from graphengine.format.resolve import UNKNOWN
from graphengine.ir.nodes import GraphNode, Operand, infer_types, operand_type, topologically_sorted
from graphengine.mappings import selected, without, without_none
from graphengine.ops.shapes import (
    ArrayType,
    Shape,
    Size,
    SizeError,
    are_integers,
    array_type,
    factors,
    is_symbol,
    product,
    shape_text,
    symbols_of,
)


@dataclass
class Making:
    """The parameters that the calls of a document make: the declarations in `made`, and the errors in them.

    A parameter that the document declares under the name of one that a call would make takes its place; it must have
    the shape that the call needs.
    """

    document: ModelDocument
    inlining: Inlining
    made: dict[str, ParameterDocument] = field(default_factory=dict)
    problems: dict[CallFrame, Problem] = field(default_factory=dict)

    def infer(self, nodes: Sequence[GraphNode], types: dict[str, ArrayType]) -> list[Problem]:
        """Do what `infer_types` does, and make parameters on the way."""
        calls = {ident: (frame, name) for frame in self.inlining.makers for name, ident in frame.made.items()}
        wanted = without(calls, self.document.parameters)
        misfits = self._infer_and_make(nodes, wanted, types)
        self.made = selected(self.made, wanted)
        for call in without(calls, wanted).values():
            self._check(*call, types)
        return misfits

    def _infer_and_make(
        self, nodes: Sequence[GraphNode], wanted: Mapping[str, tuple[CallFrame, str]], types: dict[str, ArrayType]
    ) -> list[Problem]:
        """Infer types in the order of the nodes; a parameter is made once the operands of its call have types."""
        sources = [GraphNode(ident, "parameter", UNKNOWN, _given(frame)) for ident, (frame, _) in wanted.items()]
        ordered = topologically_sorted([*nodes, *sources])[0] if sources else nodes
        misfits: list[Problem] = []
        for is_wanted, group in itertools.groupby(ordered, key=lambda node: node.id in wanted):
            if is_wanted:
                for node in group:
                    self._make(*wanted[node.id], types)
            else:
                misfits += infer_types(group, types)
        return misfits

    def _make(self, frame: CallFrame, name: str, types: dict[str, ArrayType]) -> None:
        shape = self._shape(frame, name, types)
        if shape is None:
            return
        if not are_integers(shape):
            message = f"its parameter '{name}' would have the shape {shape_text(shape)}, and sizes must be integers"
            hint = f"declare the size as an integer, or give the call '{name}' as an input"
            self._add(frame, "GE302", message, hint)
            return
        ident, declared = frame.made[name], frame.call.function.document.parameters[name]
        changes: dict[str, Any] = {"shape": list(shape)}
        if isinstance(declared.initializer, FromDataInitializer):
            of = frame.given[declared.initializer.of]
            changes["initializer"] = declared.initializer.model_copy(update={"of": of})
        self.made[ident] = declared.model_copy(update=changes)
        types[ident] = array_type(shape, declared.dtype or self.document.dtype)

    def _check(self, frame: CallFrame, name: str, types: Mapping[str, ArrayType]) -> None:
        """Compare a parameter of the document with the one that a call would make."""
        ident = frame.made[name]
        if ident not in types or frame in self.problems:
            return
        shape = self._shape(frame, name, types)
        if shape is not None and None not in shape and shape != types[ident].shape:
            message = f"parameter '{ident}' has the shape {shape_text(types[ident].shape)}, but {frame} needs "
            hint = f"remove '{ident}' from the parameters, and the call makes a new one"
            pointer = make_pointer(("parameters", ident, "shape"))
            self.problems.setdefault(frame, Problem("GE301", message + shape_text(shape), hint, pointer, frame.path))

    def _shape(self, frame: CallFrame, name: str, types: Mapping[str, ArrayType]) -> Shape | None:
        """The shape of a parameter of a call; None if an operand has no type, or where a problem was added."""
        kinds = {each: operand_type(ref, types) for each, ref in _given_operands(frame).items()}
        if None in kinds.values():
            return None
        made = frame.call.function.document.parameters[name]
        if made.shape is None:
            return self._row_of(frame, name, made.initializer.of, kinds)  # type: ignore[arg-type, union-attr]
        wrong = _wrong_size(frame, made.shape)
        if wrong:
            message = f"attribute '{wrong}' is a size of its parameter '{name}', so it must be an integer of at least 0"
            self._add(frame, "GE213", f"{message}, not {frame.call.attributes[wrong]!r:.60}")
            return None
        return self._valued_shape(frame, name, made.shape, _sizes(frame, kinds))  # type: ignore[arg-type]

    def _valued_shape(
        self, frame: CallFrame, name: str, shape: Sequence[Size], sizes: Mapping[str, Size]
    ) -> Shape | None:
        """A declared shape with what its symbols mean."""
        try:
            return tuple(_valued(size, sizes) for size in shape)
        except SizeError as error:
            self._add(frame, "GE134", f"parameter '{name}': {error}")
            return None

    def _row_of(self, frame: CallFrame, name: str, of: str, kinds: Mapping[str, ArrayType]) -> Shape | None:
        """The shape of a row of an input, whose rows lie along its first axis."""
        kind = kinds[of]
        if isinstance(frame.given[of], str) and kind.shape and isinstance(kind.shape[0], str):
            return kind.shape[1:]
        message = f"its parameter '{name}' is a statistic of the rows of '{of}', which is {kind}"
        hint = f"rows lie along a first axis of a size such as 'N'; or give the call '{name}' as an input"
        self._add(frame, "GE304", message, hint)
        return None

    def _add(self, frame: CallFrame, code: str, message: str, hint: str | None = None) -> None:
        place = self.inlining.place_of(frame)
        self.problems.setdefault(frame, Problem(code, f"{frame}: {message}", hint, place, frame.path))


def _wrong_size(frame: CallFrame, shape: Sequence[Size]) -> str | None:
    """An attribute that is a size of a parameter and no integer of at least 0."""
    given = frame.call.attributes
    return next((each for each in symbols_of(shape) if each in given and not _is_size(given[each])), None)


def _is_size(value: Any) -> bool:
    return type(value) is int and value >= 0


def _given(frame: CallFrame) -> tuple[Any, ...]:
    """The operands of a call that are values."""
    made = set(frame.made.values())
    return tuple(operand for operand in frame.operands if isinstance(operand, str) and operand not in made)


def _given_operands(frame: CallFrame) -> dict[str, Operand]:
    """The operands of a call that are not omitted or made for it, by the names that the function has for them."""
    return without(without_none(frame.given), frame.made)


def _sizes(frame: CallFrame, kinds: Mapping[str, ArrayType]) -> dict[str, Any]:
    """What the symbols in the shapes of a function mean in one call: attributes, and sizes of operands."""
    sizes: dict[str, Any] = dict(frame.call.attributes)
    for name, kind in kinds.items():
        declared = frame.call.function.document.inputs[name]
        for size, got in zip(declared.axes or (), declared.expected.part_of(kind.shape), strict=False):
            if is_symbol(size):
                sizes.setdefault(size, got)
    return sizes


def _valued(size: Size, sizes: Mapping[str, Size]) -> Size:
    """A declared size with what its symbols mean."""
    coefficient, symbols = factors(size or 0)
    parts = [sizes.get(symbol) for symbol, exponent in symbols.items() for _ in range(exponent)]
    return product([coefficient, *parts])
