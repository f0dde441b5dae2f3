"""A step on single numbers as the text of a loop over a chunk of iterations, data and records included.

The text holds operators, the names of `NAMES` and names made here, v0 for values, c0 for columns of the data: no
character of it comes from a file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from graphengine.backends.instructions import Instruction, instructions
from graphengine.backends.numba.expressions import expression_of
from graphengine.backends.numpy.lowering import constants
from graphengine.backends.numpy.scalars import is_float
from graphengine.ir.graph import Graph
from graphengine.ir.nodes import Operand
from graphengine.ops.families.constants import Constant

LONGEST_LOOP = 400
"""Instructions of a loop at most: what LLVM takes for a longer one grows faster than its length."""


class Line(NamedTuple):
    """What computes a value: an expression with {0}, {1} for the operands."""

    output: str
    text: str
    inputs: tuple[Operand, ...]


class LoopText:
    """Writes the loop of a step whose values are all numbers; `lacking` names the ops and values that prevent it."""

    def __init__(self, graph: Graph, carried: Mapping[str, str], sources: Sequence[str]) -> None:
        self._sources, self._outputs = sources, graph.outputs
        self._carried = [(graph.outputs[name], of) for name, of in carried.items()]
        values = [*sources, *graph.outputs.values()]
        self.lacking = [f"'{name}' of {graph.types[name]}" for name in values if not is_float(graph.types[name])]
        self._names = {name: f"v{place}" for place, name in enumerate(sources)}
        self._numbers = {name: value for name, value in constants(graph).items() if type(value) is float}
        self._names |= {name: literal(value) for name, value in self._numbers.items()}
        self.same_bits = True
        """Whether the loop has the bits of the NumPy backend."""
        self._lines = list(self._made(graph))
        self.lacking = list(dict.fromkeys(self.lacking))
        for line in self._lines:
            self._names.setdefault(line.output, f"v{len(self._names)}")

    def _made(self, graph: Graph) -> Iterator[Line]:
        if len(graph.nodes) > LONGEST_LOOP:
            self.lacking.append(f"{len(graph.nodes)} instructions, more than {LONGEST_LOOP}")
            return
        for each in instructions(graph):
            inputs: Any = [self._numbers.get(of, of) if isinstance(of, str) else of for of in each.inputs]
            found = expression_of(each._replace(inputs=tuple(inputs)))
            if found is not None:
                self.same_bits &= found.same_bits
                yield Line(each.outputs[0], found.text, each.inputs)
            elif not (isinstance(each.node, Constant) and each.outputs[0] in self._names):
                self.lacking.append(_described(each))

    def loop(self, fed: Sequence[str], recorded: Sequence[str]) -> str:
        """The loop: `given` are the other sources and, when it ends, the carried ones have their last values there.

        What only a record needs is computed only for one.
        """
        kept = [name for name in self._sources if name not in fed]
        always = {self._outputs[recorded[0]], *(value for value, _ in self._carried)}
        for line in reversed(self._lines):
            if line.output in always:
                always.update(of for of in line.inputs if isinstance(of, str))
        replaced = [(self._names[source], self._names[value]) for value, source in self._carried]
        names, values = ", ".join(name for name, _ in replaced), ", ".join(value for _, value in replaced)
        columns = [f"c{place}" for place in range(len(fed))]
        lines = [
            f"def loop({', '.join(['given', 'total', 'keep', 'rows', *columns])}):",
            *(f"    {self._names[name]} = given[{place}]" for place, name in enumerate(kept)),
            "    row = 0",
            "    for i in range(len(keep)):",
            *(f"        {self._names[name]} = {column}[i]" for name, column in zip(fed, columns, strict=True)),
            *(f"        {self._assignment(line)}" for line in self._lines if line.output in always),
            f"        total += {self._names[self._outputs[recorded[0]]]}",
            "        if keep[i]:",
            *(f"            {self._assignment(line)}" for line in self._lines if line.output not in always),
            *(f"            rows[row, {at}] = {self._names[self._outputs[name]]}" for at, name in enumerate(recorded)),
            "            row += 1",
            *[f"        {names} = {values}"] * bool(replaced),
            *(f"    given[{place}] = {self._names[name]}" for place, name in enumerate(kept)),
            "    return total",
        ]
        return "\n".join(lines) + "\n"

    @property
    def names(self) -> dict[str, str]:
        """The values by the names that the loop has for them."""
        return {name: value for value, name in self._names.items() if value not in self._numbers}

    def _assignment(self, line: Line) -> str:
        operands = [self._names[of] if isinstance(of, str) else literal(of) for of in line.inputs]
        return f"{self._names[line.output]} = {line.text.format(*operands)}"


def literal(number: Any) -> str:
    """A number as text that gives it back, always a double."""
    number = 0.0 if number is None else float(number)
    digits = repr(number)
    return digits if math.isfinite(number) and not digits.startswith("-") else f"({digits})"


def _described(instruction: Instruction) -> str:
    return f"{instruction.op} of {instruction.types[0]}"
