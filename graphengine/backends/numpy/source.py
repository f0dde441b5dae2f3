"""A plan as Python text. It holds nothing but operators and names made here, s0 for slots, f0 for functions, b0 for
buffers: no character of it comes from a file.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from graphengine.backends.numpy.buffers import Buffers
from graphengine.backends.numpy.calls import Call
from graphengine.backends.numpy.scalars import NAMES
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
        lines, names = self._lines(outputs, outputs)  # named twice, so that each output keeps a name of its own
        lines = [
            "def run(given, buffers):",
            *self._unpacked(sources),
            *(f"    {line}" for line in lines),
            f"    return [{_listed(names, outputs)}]",
        ]
        return "\n".join(lines) + "\n"

    def loop(
        self, kept: Sequence[str], fed: Sequence[str], carried: Sequence[tuple[str, str]], recorded: Sequence[str]
    ) -> str:
        """A loop over groups of batches of `fed`, each with a flag in front: whether to record the values `recorded`.

        `carried` pairs values with the sources they replace, all at once. What only a record needs is computed only for
        one.
        """
        shapes = {instruction.output: instruction.kind.shape for instruction in self.instructions}
        values, sources = [value for value, _ in carried], [source for _, source in carried]
        loss = recorded[0]
        lines, names = self._lines([loss, *values], recorded)
        rows = [names[value] + ".copy()" * (shapes.get(value, ()) != ()) for value in recorded]
        replaced = ", ".join(map(self.name, sources))
        lines = [
            "def loop(given, buffers, groups, record, finish):",
            *self._unpacked(kept),
            "    for total, batches in groups:",
            f"        for {', '.join(['keep', *map(self.name, fed)])}, in batches:",
            *(f"            {line}" for line in lines),
            f"            total += {names[loss]}",
            "            if keep:",
            f"                record(({', '.join(rows)},))",
            *[f"            {replaced} = {_listed(names, values)}"] * bool(sources),
            "        finish(total)",
            f"    return [{replaced}]",
        ]
        return "\n".join(lines) + "\n"

    def steps(
        self, sources: Sequence[str], cut: Sequence[str], carried: Sequence[tuple[str, str]], results: Sequence[str]
    ) -> str:
        """A loop over the parts of the sources `cut`, each step with its number in front.

        `carried` pairs values with the sources they replace, all at once; `results` are put into arrays by number.
        """
        values, replaced = [value for value, _ in carried], ", ".join(self.name(source) for _, source in carried)
        lines, names = self._lines([*values, *results], results)
        stacks = [f"rows{index}" for index in range(len(results))]
        lines = [
            "def steps(given, buffers, stacks, parts):",
            *self._unpacked(sources),
            f"    [{', '.join(stacks)}] = stacks",
            f"    for {', '.join(['step', *map(self.name, cut)])}, in parts:",
            *(f"        {line}" for line in lines),
            *(f"        {stack}[step] = {names[value]}" for stack, value in zip(stacks, results, strict=True)),
            *[f"        {replaced} = {_listed(names, values)}"] * bool(carried),
            f"    return [{replaced}]",
        ]
        return "\n".join(lines) + "\n"

    def tiles(self, sources: Sequence[str], vectors: Sequence[str], sums: Sequence[str], arrays: Sequence[str]) -> str:
        """A loop over parts of the `vectors` among the `sources`: reports the `sums`, fills parts of the `arrays`."""
        wholes = [f"whole{index}" if name in vectors else self.name(name) for index, name in enumerate(sources)]
        lines, names = self._lines([*sums, *arrays], [*sums, *arrays])
        parts = {self.name(name): whole for name, whole in zip(sources, wholes, strict=True) if name in vectors}
        lines = [
            "def tiles(given, buffers, parts, report, filled):",
            f"    [{', '.join(wholes)}] = given",
            f"    [{', '.join(self._buffer_names())}] = buffers",
            f"    [{', '.join(f'array{index}' for index in range(len(arrays)))}] = filled",
            "    for part in parts:",
            *(f"        {name} = {whole}[part]" for name, whole in parts.items()),
            *(f"        {line}" for line in lines),
            *(f"        array{index}[part] = {names[name]}" for index, name in enumerate(arrays)),
            f"        report(({''.join(f'{names[name]}, ' for name in sums)}))",
        ]
        return "\n".join(lines) + "\n"

    def _lines(self, always: Sequence[str], sometimes: Sequence[str] = ()) -> tuple[list[str], dict[Any, str]]:
        """A line for each instruction, and the text of each value: its name, or the expression that gives it.

        The lines that only the values `sometimes` need are indented under `if keep:`. An expression on scalars whose
        value is used once is written where it is used.
        """
        needed = self._needed(always)
        uses: Counter[Operand] = Counter([*always, *sometimes])
        for each in self.instructions:
            uses.update([operand for place, operand in enumerate(each.inputs) for _ in range(_count(each, place))])
        names: dict[Any, str] = _NamesByValue(self.name)
        lines, guarded = [], False
        for index, instruction in enumerate(self.instructions):
            expression = self._expression(index, instruction, names)
            if instruction.scalar and uses[instruction.output] == 1 and len(expression) <= LONGEST_EXPRESSION:
                names[instruction.output] = f"({expression})"
                continue
            optional = instruction.output not in needed
            if optional and not guarded:
                lines.append("if keep:")
            lines.append("    " * optional + f"{self.name(instruction.output)} = {expression}")
            forgotten = [self.name(value) for value in self.buffers.last.get(index, ())]
            lines += [f"{' = '.join(forgotten)} = None"] * bool(forgotten)
            guarded = optional and not forgotten
        return lines, names

    def _needed(self, values: Sequence[str]) -> set[Operand]:
        """The values with all that they depend on."""
        needed: set[Operand] = set(values)
        for instruction in reversed(self.instructions):
            if not needed.isdisjoint([instruction.output, *instruction.fills]):
                needed.update([instruction.output, *instruction.inputs])
        return needed

    def _expression(self, index: int, instruction: Call, names: Mapping[Any, str]) -> str:
        """What gives an instruction's result: an operator, or a call."""
        operands = [names[operand] for operand in instruction.inputs]
        if instruction.text is not None:
            return instruction.text.format(*operands)
        if index in self.buffers.in_place:
            operands.append(self.name(self.buffers.in_place[index]))
        elif index in self.buffers.of:
            operands.append(f"b{self.buffers.of[index]}")
        elif instruction.writes:
            operands.append("None")
        return f"f{index}({', '.join(operands)})"

    def name(self, operand: Any) -> str:
        """A value's name: its slot's number; a finite number that is known from the start is itself."""
        known: Any = self.fixed.get(self.slots[operand]) if isinstance(operand, str) else operand
        if type(known) in (int, float) and math.isfinite(known):
            digits = repr(known)
            return f"({digits})" if digits.startswith("-") else digits
        return "None" if operand is None else f"s{self.slots[slot_key(operand)]}"

    def _unpacked(self, sources: Sequence[str]) -> list[str]:
        names = ", ".join(map(self.name, sources))
        return [f"    [{names}] = given", f"    [{', '.join(self._buffer_names())}] = buffers"]

    def _buffer_names(self) -> list[str]:
        return [f"b{index}" for index in range(len(self.buffers.kinds))]

    def compile(self, text: str, name: str) -> Callable[..., Any]:
        """The function of that name in the text."""
        namespace: dict[str, Any] = {f"f{index}": each.function for index, each in enumerate(self.instructions)}
        namespace |= {f"s{slot}": value for slot, value in self.fixed.items()}
        return function_of(text, name, {**namespace, **NAMES})


def function_of(text: str, name: str, names: Mapping[str, Any]) -> Callable[..., Any]:
    """Return the function of that name in a text made here, which reads `names`."""
    namespace = dict(names)
    exec(compile(text, f"<plan {name}>", "exec"), namespace)
    function: Callable[..., Any] = namespace[name]
    return function


class _NamesByValue(dict[Any, str]):
    """The text of each value: its name where nothing else was said."""

    def __init__(self, name: Callable[[Any], str]) -> None:
        self._name = name

    def __missing__(self, operand: Any) -> str:
        return self._name(operand)


def _listed(names: Mapping[Any, str], operands: Sequence[Any]) -> str:
    return ", ".join(names[operand] for operand in operands)


def _count(instruction: Call, place: int) -> int:
    """How often the text of an instruction has the operand at a place."""
    return 1 if instruction.text is None else instruction.text.count(f"{{{place}}}")


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
    for instruction in instructions:
        for operand in instruction.inputs:
            if type(operand) is not str:
                known[slots.setdefault(slot_key(operand), len(slots))] = operand
    slots.update(zip([each.output for each in instructions], itertools.count(len(slots))))
    return slots, known
