"""A plan as Python text. It holds nothing but operators and names made here, s0 for slots, f0 for functions, b0 for
buffers: no character of it comes from a file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from graphengine.compile.buffers import Buffers
from graphengine.compile.lowering import NAMES, Instruction


class PlanText:
    """Writes the functions of a plan and compiles them."""

    def __init__(
        self, instructions: Sequence[Instruction], buffers: Buffers, slots: Mapping[Any, int], fixed: Mapping[int, Any]
    ) -> None:
        self.instructions, self.buffers, self.slots, self.fixed = instructions, buffers, slots, fixed

    def function(self, sources: Sequence[str], outputs: Sequence[str]) -> str:
        """A function from the values of `sources` to a list of the values `outputs`."""
        lines = [
            "def run(given, buffers):",
            *self._unpacked(sources),
            *(f"    {line}" for line in self.lines()),
            f"    return [{self._names(outputs)}]",
        ]
        return "\n".join(lines) + "\n"

    def loop(
        self, kept: Sequence[str], fed: Sequence[str], carried: Sequence[tuple[str, str]], recorded: Sequence[str]
    ) -> str:
        """A loop over batches of `fed`, each with a flag in front: whether to record the values `recorded`.

        `carried` pairs values with the sources they replace, all at once. What only a record needs is computed only for
        one.
        """
        shapes = {instruction.output: instruction.kind.shape for instruction in self.instructions}
        values, sources = [value for value, _ in carried], [source for _, source in carried]
        rows = [self.name(value) + ".copy()" * (shapes.get(value, ()) != ()) for value in recorded]
        lines = [
            "def loop(batches, given, buffers, record):",
            *self._unpacked(kept),
            "    total = 0.0",
            f"    for ({', '.join(['keep', *map(self.name, fed)])},) in batches:",
            *(f"        {line}" for line in self._lines_for([recorded[0], *values])),
            f"        [{self._names(sources)}] = [{self._names(values)}]",
            f"        total += {self.name(recorded[0])}",
            "        if keep:",
            f"            record(({', '.join(rows)},))",
            f"    return [{self._names(sources)}], total",
        ]
        return "\n".join(lines) + "\n"

    def lines(self) -> list[str]:
        """One line of Python for each instruction."""
        return [self._line(index, instruction) for index, instruction in enumerate(self.instructions)]

    def _lines_for(self, always: Sequence[str]) -> list[str]:
        """The lines, indented under `if keep:` where none of the values `always` needs them."""
        needed = set(always)
        for instruction in reversed(self.instructions):
            if instruction.output in needed:
                needed.update(operand for operand in instruction.inputs if isinstance(operand, str))
        lines, guarded = [], False
        for line, instruction in zip(self.lines(), self.instructions, strict=True):
            optional = instruction.output not in needed
            if optional and not guarded:
                lines.append("if keep:")
            lines.append(f"    {line}" if optional else line)
            guarded = optional
        return lines

    def _line(self, index: int, instruction: Instruction) -> str:
        names = [self.name(operand) for operand in instruction.inputs]
        result = self.name(instruction.output)
        if instruction.text is not None:
            return f"{result} = {instruction.text.format(*names)}"
        if index in self.buffers.in_place:
            names.append(self.name(self.buffers.in_place[index]))
        elif index in self.buffers.of:
            names.append(f"b{self.buffers.of[index]}")
        elif instruction.writes:
            names.append("None")
        return f"{result} = f{index}({', '.join(names)})"

    def name(self, operand: Any) -> str:
        """A value's name: its slot's number; a finite number is itself."""
        if type(operand) in (int, float) and math.isfinite(operand):
            return f"({operand!r})"
        return "None" if operand is None else f"s{self.slots[slot_key(operand)]}"

    def _names(self, operands: Any) -> str:
        return ", ".join(self.name(operand) for operand in operands)

    def _unpacked(self, sources: Sequence[str]) -> list[str]:
        buffers = ", ".join(f"b{index}" for index in range(len(self.buffers.kinds)))
        return [f"    [{self._names(sources)}] = given", f"    [{buffers}] = buffers"]

    def compile(self, text: str, name: str) -> Callable[..., Any]:
        """The function of that name in the text."""
        namespace: dict[str, Any] = {f"f{index}": each.function for index, each in enumerate(self.instructions)}
        namespace |= {f"s{slot}": value for slot, value in self.fixed.items()}
        namespace |= NAMES
        exec(compile(text, f"<plan {name}>", "exec"), namespace)
        function: Callable[..., Any] = namespace[name]
        return function


def slot_key(operand: Any) -> Any:
    """What tells operands apart: a value by its name, a literal by type and digits (1 is not 1.0, 0.0 not -0.0)."""
    return operand if isinstance(operand, str) else (type(operand), repr(operand))


def assign_slots(
    sources: Sequence[str], fixed: Mapping[str, Any], instructions: Sequence[Instruction]
) -> tuple[dict[Any, int], dict[int, Any]]:
    """A number for each value, sources first; and the values that are known from the start, by number."""
    slots: dict[Any, int] = {name: index for index, name in enumerate(sources)}
    known = {slots.setdefault(name, len(slots)): value for name, value in fixed.items()}
    slots.setdefault(slot_key(None), len(slots))
    for instruction in instructions:
        for operand in instruction.inputs:
            if not isinstance(operand, str):
                known[slots.setdefault(slot_key(operand), len(slots))] = operand
    for instruction in instructions:
        slots.setdefault(instruction.output, len(slots))
    return slots, known
