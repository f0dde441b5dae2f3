"""Loops (`scan`) over few numbers as machine code: each number of each small array is a variable of its own.

What only moves numbers, such as `slice` and `concat`, becomes another arrangement of names and no instruction. A loop
is compiled only where it has the bits of the NumPy backend, so it may replace the steps in Python at any time: it does
so once they have run for about as long as numba takes to start and to compile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from graphengine.backends.instructions import Instruction, instructions
from graphengine.backends.numba.compiling import compiled
from graphengine.backends.numba.expressions import NAMES, expression_of
from graphengine.backends.numba.loop_text import LONGEST_LOOP, literal
from graphengine.backends.numpy.calls import Call
from graphengine.backends.numpy.looping import Steps
from graphengine.backends.numpy.lowering import constants
from graphengine.backends.protocol import CodeListing
from graphengine.ir.graph import Graph
from graphengine.ops.families.constants import Constant
from graphengine.ops.families.selection import slice_index
from graphengine.ops.inference import elementwise
from graphengine.ops.shapes import ArrayType

MOST_NUMBERS = 32
"""Numbers that a value of a loop has at most."""
MOST_ADDED = 7
"""Numbers that are added up at most: NumPy adds more than these in several lanes."""
WORTH_COMPILING = 2**22
"""Instructions on single numbers after which a loop is compiled: NumPy takes some seconds for them."""

Names = Any
"""An array of texts, one for each number of a value."""


def compile_scans(calls: Iterable[Call]) -> None:
    """Let the loops among calls, and those inside of them, run as machine code once that is worth its time."""
    for steps in _loops(calls):
        text = StepsText(steps)
        if text.is_whole:
            steps.faster = ScanLoop(steps, text)


def scan_listing(call: Call) -> CodeListing | None:
    """The text of a loop, or of those inside of it; None if a call is no loop or runs in Python."""
    texts = [each.faster.text for each in _loops([call]) if isinstance(each.faster, ScanLoop)]
    names = {name: value for text in texts for name, value in text.names.items()}
    return CodeListing("\n".join(text.lines() for text in texts), names) if texts else None


def _loops(calls: Iterable[Call]) -> Iterator[Steps]:
    waiting = list(calls)
    while waiting:
        steps = waiting.pop().function
        if isinstance(steps, Steps):
            yield steps
            waiting += steps.piece.text.instructions


class StepsText:
    """Writes the loop; `is_whole` says whether it could be written."""

    def __init__(self, steps: Steps) -> None:
        self._graph: Graph = steps.piece.graph
        self._steps, self._lines = steps, list[str]()
        self._names: dict[Any, Names] = {}
        self._count = 0
        self.is_whole = self._is_small() and all(map(self._is_written, instructions(self._graph)))
        self.is_whole = self.is_whole and len(self._lines) <= LONGEST_LOOP

    def _is_small(self) -> bool:
        """Whether all values are few double-precision numbers; those that are there from the start get names."""
        kinds = self._graph.types.values()
        if any(kind.array_dtype not in (np.float64, np.bool_) or _size(kind) > MOST_NUMBERS for kind in kinds):
            return False
        for name in self._graph.inputs:
            self._names[name] = self._new(self._graph.types[name])
        for name, value in constants(self._graph).items():
            self._names[name] = _texts(value)
        return not any(self._is_truth(source) for _, source in self._steps.piece.carried)

    def _is_truth(self, name: str) -> bool:
        return self._graph.types[name].array_dtype == np.bool_

    def _new(self, kind: ArrayType) -> Names:
        first, self._count = self._count, self._count + _size(kind)
        return _arranged([f"v{number}" for number in range(first, self._count)], kind.shape)

    def _is_written(self, each: Instruction) -> bool:
        """Write one instruction, False if there is no text with the bits of NumPy."""
        if isinstance(each.node, Constant):
            return True
        operands = [self._names[of] if isinstance(of, str) else of for of in each.inputs]
        if each.is_core and each.op in MOVING:
            results: Sequence[Names] | None = MOVING[each.op](each, operands)
        elif each.is_core and each.op in ADDING:
            results = ADDING[each.op](each, operands)
        else:
            results = _elementwise(each, operands)
        if results is None:
            return False
        for name, kind, texts in zip(each.outputs, each.types, results, strict=True):
            self._names[name] = self._kept(kind, texts)
        return True

    def _kept(self, kind: ArrayType, texts: Names) -> Names:
        """The names of a result: those that it has, and new ones for expressions."""
        names = texts.copy()
        for place in np.ndindex(texts.shape):
            if isinstance(texts[place], Expressed):
                names[place] = f"v{self._count}"
                self._lines.append(f"{names[place]} = {texts[place]}")
                self._count += 1
        return names

    @property
    def given(self) -> list[str]:
        """The sources that are no sequences."""
        return [name for name in self._steps.piece.sources if name not in self._steps.cut]

    def lines(self) -> str:
        """The loop: `given` are the numbers of the sources; at its end the carried ones have their last values."""
        steps, piece = self._steps, self._steps.piece
        given = [(source, name) for source in self.given for name in self._names[source].flat]
        columns = [f"x{place}" for place in range(len(steps.cut))]
        stacks = [f"y{place}" for place in range(len(piece.results))]
        pairs = [
            pair
            for value, source in piece.carried
            for pair in zip(self._names[source].flat, self._names[value].flat, strict=True)
        ]
        lines = [
            f"def steps({', '.join(['given', 'count', *columns, *stacks])}):",
            *(f"    {self._assigned(*each, f'given[{place}]')}" for place, each in enumerate(given)),
            "    for i in range(count):",
            f"        n = {'count - 1 - i' if steps.is_reversed else 'i'}",
            *(f"        {line}" for line in self._read(columns)),
            *(f"        {line}" for line in self._lines),
            *(
                f"        {stack}[n, {place}] = {text}"
                for stack, value in zip(stacks, piece.results, strict=True)
                for place, text in enumerate(self._names[value].flat)
            ),
            *[f"        {', '.join(name for name, _ in pairs)} = {', '.join(value for _, value in pairs)}"]
            * bool(pairs),
            *(f"    given[{place}] = {name}" for place, (_, name) in enumerate(given)),
        ]
        return "\n".join(lines) + "\n"

    def _read(self, columns: Sequence[str]) -> Iterable[str]:
        for column, source in zip(columns, self._steps.cut, strict=True):
            for place, name in enumerate(self._names[source].flat):
                yield self._assigned(source, name, f"{column}[n, {place}]")

    def _assigned(self, source: str, name: str, number: str) -> str:
        """A number of a source, or a truth value."""
        return f"{name} = {number}{' != 0.0' * self._is_truth(source)}"

    @property
    def names(self) -> dict[str, str]:
        """The values by the names that the loop has for their numbers."""
        return {text: name for name, texts in self._names.items() for text in texts.flat if text.startswith("v")}

    def parameters(self) -> list[tuple[ArrayType, bool]]:
        """The types of the parameters, and whether each is only read."""
        rows = ArrayType(("M", "N"), np.dtype(np.float64))
        return [
            (ArrayType(("N",), np.dtype(np.float64)), False),
            (ArrayType((), np.dtype(np.int64)), False),
            *[(rows, True)] * len(self._steps.cut),
            *[(rows, False)] * len(self._steps.piece.results),
        ]


class ScanLoop:
    """Runs the steps of a loop, in Python at first."""

    def __init__(self, steps: Steps, text: StepsText) -> None:
        self._steps, self.text = steps, text
        self._shapes: list[Any] = [steps.piece.graph.types[name].shape for name in text.given]
        self._work, self._done = len(steps.piece.graph.nodes) * steps.count, 0

    @cached_property
    def _run(self) -> Callable[..., None]:
        found: Callable[..., None] = compiled(self.text.lines(), "steps", self.text.parameters(), NAMES)
        return found

    def __call__(self, sources: Sequence[Any], wholes: Sequence[Any], slots: Sequence[Any]) -> list[Any]:
        """Run all steps; see `Steps.in_python`."""
        if self._done < WORTH_COMPILING:
            self._done += self._work
            return self._steps.in_python(sources, wholes, slots)
        steps, count = self._steps, self._steps.count
        values = {
            name: value for name, value in zip(steps.piece.sources, sources, strict=True) if name not in steps.cut
        }
        given = np.concatenate([np.ravel(values[name]) for name in self.text.given] or [np.empty(0)], dtype=np.float64)
        columns = [np.ascontiguousarray(whole, np.float64).reshape(count, -1) for whole in wholes]
        rows = [np.empty((count, slot[:1].size)) for slot in slots]
        self._run(given, count, *columns, *rows)
        for slot, made in zip(slots, rows, strict=True):
            slot[...] = made.reshape(slot.shape)
        last, place = {}, 0
        for name, shape in zip(self.text.given, self._shapes, strict=True):
            size = int(np.prod(shape, dtype=np.int64))
            part = given[place : place + size]
            last[name], place = part.reshape(shape) if shape else float(part[0]), place + size
        return [last[source] for _, source in steps.piece.carried]


class Expressed(str):
    """An expression that needs a name of its own."""

    __slots__ = ()


def _size(kind: ArrayType) -> int:
    return int(np.prod(kind.shape, dtype=np.int64))  # type: ignore[arg-type]


def _arranged(texts: Sequence[str], shape: Any) -> Names:
    names = np.empty(len(texts), object)
    names[:] = texts
    return names.reshape(shape)


def _texts(value: Any) -> Names:
    """Numbers as literals."""
    array = np.asarray(value)
    return _arranged([literal(each) for each in array.ravel().tolist()], array.shape)


def _elementwise(each: Instruction, operands: Sequence[Any]) -> list[Names] | None:
    """An expression for each number of the result."""
    alone = each._replace(
        operand_types=tuple([kind and kind._replace(shape=()) for kind in each.operand_types]),
        types=tuple([kind._replace(shape=()) for kind in each.types]),
    )
    found = expression_of(alone)
    if found is None or not found.same_bits or type(each.node).infer is not elementwise:
        return None
    shape: Any = each.types[0].shape
    texts = [np.broadcast_to(_texts(0.0 if of is None else of) if not _is_names(of) else of, shape) for of in operands]
    result: Names = np.empty(shape, object)
    for place in np.ndindex(*shape):
        result[place] = Expressed(found.text.format(*[text[place] for text in texts]))
    return [result]


def _is_names(operand: Any) -> bool:
    return isinstance(operand, np.ndarray) and operand.dtype == object


def _moved(each: Instruction, operands: Sequence[Any]) -> list[Names] | None:
    """The names in another order: the op itself is asked where each number goes."""
    if not all(of is None or _is_names(of) for of in operands):
        return None
    names: list[Any] = []
    places: list[Any] = []
    for of in operands:
        if of is None:
            places.append(None)
            continue
        places.append(np.arange(len(names), len(names) + of.size).reshape(of.shape))
        names += of.ravel().tolist()
    found: Any = each.node.forward(*places)
    results = found if isinstance(found, (tuple, list)) else [found]
    return [_arranged([names[place] for place in np.ravel(of)], np.shape(of)) for of in results]


def _summed(each: Instruction, operands: Sequence[Any]) -> list[Names] | None:
    """The sum of a vector, from the first number to the last; NumPy starts from 0."""
    (of,) = operands
    if not _is_names(of) or of.ndim != 1 or of.size > MOST_ADDED or _size(each.types[0]) != 1:
        return None
    total = np.empty(1, object)
    total[0] = Expressed(" + ".join([*of, "0.0"]))
    return [total.reshape(each.types[0].shape)]


def _added_where(each: Instruction, operands: Sequence[Any]) -> list[Names] | None:
    """The names of x, and sums where `updates` are added."""
    x, updates = operands
    if not (_is_names(x) and _is_names(updates)):
        return None
    result = x.copy()
    chosen = slice_index(each.node, x.ndim)  # type: ignore[no-untyped-call]
    added = [Expressed(f"{one} + {other}") for one, other in zip(x[chosen].flat, updates.flat, strict=True)]
    result[chosen] = _arranged(added, x[chosen].shape)
    return [result]


Writer = Callable[[Instruction, Sequence[Any]], "list[Names] | None"]
MOVING: dict[str, Writer] = {
    "slice": _moved,
    "concat": _moved,
    "split": _moved,
    "stack": _moved,
    "reshape": _moved,
    "transpose": _moved,
    "expand_dims": _moved,
    "squeeze": _moved,
}
"""Ops that only move numbers."""
ADDING: dict[str, Writer] = {"sum": _summed, "slice_add": _added_where}
"""Ops that add some numbers."""
