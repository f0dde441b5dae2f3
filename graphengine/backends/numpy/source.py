"""A plan as Python text. It holds nothing but operators and names made here, s0 for slots, f0 for functions, b0 for
buffers: no character of it comes from a file.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

from graphengine.backends.numpy.buffers import Buffers
from graphengine.backends.numpy.calls import NAMES, Call
from graphengine.ir.nodes import Operand

LONGEST_EXPRESSION = 120
"""Characters up to which an expression on scalars is put into the line of the only instruction that uses it."""


class PlanText:
    """Writes the functions of a plan and compiles them."""

    def __init__(
        self, instructions: Sequence[Call], buffers: Buffers, slots: Mapping[Any, int], fixed: Mapping[int, Any]
    ) -> None:
        self.instructions, self.buffers, self.slots, self.fixed = instructions, buffers, slots, fixed

    def function(self, sources: Sequence[str], outputs: Sequence[str]) -> str:
        """A function from the values of `sources` to a list of the values `outputs`."""
        lines, names = self._lines(outputs, outputs)  # named twice, so that each output keeps its own name
        return _text(
            "def run(given, buffers):",
            *self._unpacked(sources),
            *_indented(4, lines),
            f"    return [{_listed(names, outputs)}]",
        )

    def loop(
        self, kept: Sequence[str], fed: Sequence[str], carried: Sequence[tuple[str, str]], recorded: Sequence[str]
    ) -> str:
        """A loop over groups of batches of `fed`, each with a flag in front: whether to record the values `recorded`.

        `carried` pairs values with the sources they replace, all at once. What only a record needs is computed only for
        one.
        """
        values, replaced = self._carried(carried)
        loss = recorded[0]
        lines, names = self._lines([loss, *values], recorded)
        return _text(
            "def loop(given, buffers, groups, record, finish):",
            *self._unpacked(kept),
            "    for total, batches in groups:",
            f"        for {', '.join(['keep', *map(self.name, fed)])}, in batches:",
            *_indented(12, lines),
            f"            total += {names[loss]}",
            "            if keep:",
            f"                record(({', '.join(self._copies(recorded, names))},))",
            *[f"            {replaced} = {_listed(names, values)}"] * bool(carried),
            "        finish(total)",
            f"    return [{replaced}]",
        )

    def steps(
        self, sources: Sequence[str], cut: Sequence[str], carried: Sequence[tuple[str, str]], results: Sequence[str]
    ) -> str:
        """A loop over the parts of the sources `cut`, each step with its number in front.

        `carried` pairs values with the sources they replace, all at once; `results` are put into arrays by number.
        """
        values, replaced = self._carried(carried)
        lines, names = self._lines([*values, *results], results)
        stacks = _numbered("rows", results)
        return _text(
            "def steps(given, buffers, stacks, parts):",
            *self._unpacked(sources),
            f"    [{', '.join(stacks)}] = stacks",
            f"    for {', '.join(['step', *map(self.name, cut)])}, in parts:",
            *_indented(8, lines),
            *(f"        {stack}[step] = {names[value]}" for stack, value in zip(stacks, results, strict=True)),
            *[f"        {replaced} = {_listed(names, values)}"] * bool(carried),
            f"    return [{replaced}]",
        )

    def tiles(self, sources: Sequence[str], vectors: Sequence[str], sums: Sequence[str], arrays: Sequence[str]) -> str:
        """A loop over parts of the `vectors` among the `sources`: reports the `sums`, fills parts of the `arrays`."""
        wholes = dict(zip(vectors, _numbered("whole", vectors), strict=True))
        lines, names = self._lines([*sums, *arrays], [*sums, *arrays])
        filled = _numbered("array", arrays)
        return _text(
            "def tiles(given, buffers, parts, report, filled):",
            f"    [{', '.join([wholes.get(name) or self.name(name) for name in sources])}] = given",
            f"    [{', '.join(self._buffer_names())}] = buffers",
            f"    [{', '.join(filled)}] = filled",
            "    for part in parts:",
            *(f"        {self.name(name)} = {whole}[part]" for name, whole in wholes.items()),
            *_indented(8, lines),
            *(f"        {array}[part] = {names[name]}" for array, name in zip(filled, arrays, strict=True)),
            f"        report(({_listed(names, sums)}{',' * bool(sums)}))",
        )

    def _carried(self, carried: Sequence[tuple[str, str]]) -> tuple[list[str], str]:
        """The values that are carried, and the names of the sources that they replace."""
        return [value for value, _ in carried], ", ".join([self.name(source) for _, source in carried])

    def _copies(self, values: Sequence[str], names: Mapping[Any, str]) -> list[str]:
        """The texts of values that are kept, arrays as copies."""
        arrays = {each.output for each in self.instructions if each.kind.shape != ()}
        return [names[value] + ".copy()" * (value in arrays) for value in values]

    def _lines(self, always: Sequence[str], sometimes: Sequence[str] = ()) -> tuple[list[str], dict[Any, str]]:
        """A line for each instruction, and the text of each value: its name, or the expression that gives it.

        The lines that only the values `sometimes` need are indented under `if keep:`. An expression on scalars whose
        value is used once is written where it is used.
        """
        needed, uses = self._needed(always), self._uses([*always, *sometimes])
        names = dict(self._names)
        lines = _GuardedLines()
        for index, instruction in enumerate(self.instructions):
            expression = self._expression(index, instruction, names)
            if instruction.scalar and uses[instruction.output] == 1 and len(expression) <= LONGEST_EXPRESSION:
                names[instruction.output] = f"({expression})"
                continue
            lines.add(f"{names[instruction.output]} = {expression}", instruction.output not in needed)
            forgotten = " = ".join([names[value] for value in self.buffers.last.get(index, ())])
            if forgotten:
                lines.add(f"{forgotten} = None", False)
        return lines.lines, names

    def _uses(self, outputs: Sequence[str]) -> Counter[Operand]:
        """How often each operand is in the text of the instructions, and among the outputs."""
        uses: Counter[Operand] = Counter(outputs)
        for each in self.instructions:
            uses.update(_operands_of(each))
        return uses

    def _needed(self, values: Sequence[str]) -> set[Operand]:
        """The values with all that they depend on."""
        needed: set[Operand] = set(values)
        for instruction in reversed(self.instructions):
            if not needed.isdisjoint([instruction.output, *instruction.fills]):
                needed.update([instruction.output, *instruction.inputs])
        return needed

    def _expression(self, index: int, instruction: Call, names: Mapping[Any, str]) -> str:
        """What gives an instruction's result: an operator, or a call."""
        operands = [names[operand if type(operand) is str else slot_key(operand)] for operand in instruction.inputs]
        if instruction.text is not None:
            return instruction.text.format(*operands)
        if index in self.buffers.in_place:
            operands.append(self.name(self.buffers.in_place[index]))
        elif index in self.buffers.of:
            operands.append(f"b{self.buffers.of[index]}")
        elif instruction.writes:
            operands.append("None")
        return f"f{index}({', '.join(operands)})"

    @cached_property
    def _names(self) -> dict[Any, str]:
        """The name of each value: its slot's number; a finite number that is known from the start is itself."""
        names = {key: f"s{slot}" for key, slot in self.slots.items()} | {slot_key(None): "None"}
        for key, slot in self.slots.items():
            known: Any = self.fixed.get(slot)
            if type(known) in (int, float) and math.isfinite(known):
                digits = repr(known)
                names[key] = f"({digits})" if digits.startswith("-") else digits
        return names

    def name(self, value: str) -> str:
        """The name of a value."""
        return self._names[value]

    def _unpacked(self, sources: Sequence[str]) -> list[str]:
        names = ", ".join(map(self.name, sources))
        return [f"    [{names}] = given", f"    [{', '.join(self._buffer_names())}] = buffers"]

    def _buffer_names(self) -> list[str]:
        return _numbered("b", self.buffers.kinds)

    def compile(self, text: str, name: str) -> Callable[..., Any]:
        """The function of that name in the text."""
        functions = {f"f{index}": each.function for index, each in enumerate(self.instructions)}
        known = {f"s{slot}": value for slot, value in self.fixed.items()}
        return function_of(text, name, {**functions, **known, **NAMES})


def function_of(text: str, name: str, names: Mapping[str, Any]) -> Callable[..., Any]:
    """Return the function of that name in a text made here, which reads `names`."""
    namespace = dict(names)
    exec(compile(text, f"<plan {name}>", "exec"), namespace)
    function: Callable[..., Any] = namespace[name]
    return function


class _GuardedLines:
    """Lines, of which those that are optional are indented under `if keep:`."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._guarded = False

    def add(self, line: str, is_optional: bool) -> None:
        """Add a line; consecutive optional lines share one guard."""
        if is_optional and not self._guarded:
            self.lines.append("if keep:")
        self.lines.append("    " * is_optional + line)
        self._guarded = is_optional


def _text(*lines: str) -> str:
    return "\n".join(lines) + "\n"


def _indented(width: int, lines: Sequence[str]) -> list[str]:
    return [" " * width + line for line in lines]


def _numbered(prefix: str, items: Sequence[Any]) -> list[str]:
    """A name for each item."""
    return [f"{prefix}{index}" for index in range(len(items))]


def _listed(names: Mapping[Any, str], operands: Sequence[Any]) -> str:
    return ", ".join(names[operand] for operand in operands)


def _operands_of(instruction: Call) -> Sequence[Operand]:
    """The operands of an instruction, each as often as its text has it."""
    inputs, text = instruction.inputs, instruction.text
    if text is None:
        return inputs
    return [operand for place, operand in enumerate(inputs) for _ in range(text.count(f"{{{place}}}"))]


def slot_key(operand: Any) -> Any:
    """What distinguishes operands: a value by its name, a literal by type and digits (1 is not 1.0, 0.0 not -0.0)."""
    return operand if isinstance(operand, str) else (type(operand), repr(operand))


def assign_slots(
    sources: Sequence[str], fixed: Mapping[str, Any], instructions: Sequence[Call]
) -> tuple[dict[Any, int], dict[int, Any]]:
    """A number for each value, sources first; and the values that are known from the start, by number."""
    slots: dict[Any, int] = {name: index for index, name in enumerate(sources)}
    known = {slots.setdefault(name, len(slots)): value for name, value in fixed.items()}
    slots.setdefault(slot_key(None), len(slots))
    for literal in _literals(instructions):
        known[slots.setdefault(slot_key(literal), len(slots))] = literal
    slots.update(zip([each.output for each in instructions], itertools.count(len(slots))))
    return slots, known


def _literals(instructions: Sequence[Call]) -> list[Operand]:
    return [operand for each in instructions for operand in each.inputs if type(operand) is not str]
