"""Long vectors in pieces that fit the cache: elementwise chains and the sums at their end run tile by tile.

A chain of ufuncs over vectors that do not fit the cache reads and writes main memory once for each call. Cut into tiles
it does so once in all. Tiles are fixed by the length, and partial sums are added in the order of the tiles: the bits
do not depend on how many threads share the work.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from graphengine.backends.numpy.buffers import Workspaces, assign_buffers, is_large, kinds_by_id
from graphengine.backends.numpy.calls import LINE, Call, dot, length_of
from graphengine.backends.numpy.source import PlanText, assign_slots
from graphengine.backends.threads import threads
from graphengine.ir.nodes import Operand
from graphengine.ops.shapes import ArrayType

TILE = 65_536
SHORTEST = 8 * TILE
THREADS = 1
"""Threads that share the tiles: one, because on two cores a second one lost more to Python's lock than it won."""


def tile(instructions: Sequence[Call], kinds: Mapping[str, ArrayType], outputs: set[str]) -> list[Call]:
    """Instructions with those over the longest vectors gathered into regions that run tile by tile."""
    length = _longest(instructions)
    if length < SHORTEST:
        return in_lines(instructions, kinds)
    tiling = _Tiling(instructions, kinds, outputs, length)
    return list(itertools.chain(*map(tiling.calls, itertools.count(), _by_level(instructions, tiling.levels))))


class _Tiling:
    """Which instructions over vectors of a length form regions, and at which level each of them runs."""

    def __init__(
        self, instructions: Sequence[Call], kinds: Mapping[str, ArrayType], outputs: set[str], length: int
    ) -> None:
        self._length = length
        self._kinds = {**kinds, **{each.output: each.kind for each in instructions}}
        self._eligible = {each.output for each in instructions if _is_tileable(each, length, self._kinds)}
        self.levels = _levels(instructions, self._eligible, self._kinds)
        self._last = _last_levels(instructions, self._eligible, self.levels, outputs)

    def calls(self, level: int, here: Sequence[Call]) -> list[Call]:
        """The instructions of a level, those of its region in one call."""
        alone, region = _apart(here, self._eligible)
        kept = [each.output for each in region if self._last.get(each.output, 0) > level]
        if not region or _keeps_large(region, kept):
            return in_lines([*alone, *region], self._kinds)
        return [*in_lines(alone, self._kinds), *_region_instructions(region, self._length, self._kinds, kept, level)]


def _keeps_large(region: Sequence[Call], kept: Sequence[str]) -> bool:
    """Whether more than one result that is kept is large; alone, they are written over one another."""
    return sum(each.output in kept and is_large(each.kind) for each in region) > 1


def _longest(instructions: Sequence[Call]) -> int:
    return max([length_of(kind.shape) for kind in kinds_by_id(instructions).values()], default=0)


def _apart(instructions: Sequence[Call], eligible: set[str]) -> tuple[list[Call], list[Call]]:
    """The instructions that run on whole arrays, and those that run tile by tile."""
    alone = [each for each in instructions if each.output not in eligible]
    return alone, [each for each in instructions if each.output in eligible]


def _by_level(instructions: Sequence[Call], levels: Mapping[str, int]) -> list[list[Call]]:
    found: list[list[Call]] = [[] for _ in range(max(levels.values()) + 1)]
    for each in instructions:
        found[levels[each.output]].append(each)
    return found


def _last_levels(
    instructions: Sequence[Call], eligible: set[str], levels: Mapping[str, int], outputs: Iterable[str]
) -> dict[Operand, float]:
    """The last level that reads each value in a region; infinite if something outside of regions reads it."""
    last: dict[Operand, float] = {}
    for each in instructions:
        level = levels[each.output] if each.output in eligible else math.inf
        last.update((of, max(level, last.get(of, 0))) for of in each.inputs)
    return {**last, **dict.fromkeys(outputs, math.inf)}


def in_lines(instructions: Sequence[Call], kinds: Mapping[str, ArrayType]) -> list[Call]:
    """Instructions with dot products whose bits do not depend on the number of threads."""
    return [_in_lines(each, kinds) if each.function is dot else each for each in instructions]


def _in_lines(instruction: Call, kinds: Mapping[str, ArrayType]) -> Call:
    """A dot product of long vectors as one by lines."""
    length = length_of(kinds[str(instruction.inputs[0])].shape)
    return instruction._replace(function=lined_dot(length), text=None) if length > LINE else instruction


def _is_tileable(instruction: Call, length: int, kinds: Mapping[str, ArrayType]) -> bool:
    """Whether an instruction is elementwise over vectors of the length, or sums one up."""
    vector, shapes = (length,), [kinds[operand].shape for operand in instruction.values]
    if instruction.sums:
        return {vector}.issuperset(shapes)
    return instruction.elementwise and instruction.kind.shape == vector and {(), vector}.issuperset(shapes)


def _levels(instructions: Sequence[Call], eligible: set[str], kinds: Mapping[str, ArrayType]) -> dict[str, int]:
    """How many regions must have run before each instruction: a sum is there once its whole region is."""
    levels: dict[str, int] = {}
    ready: dict[Operand, int] = {}
    for each in instructions:
        inside = each.output in eligible
        levels[each.output] = max(
            (levels[of] if inside and kinds[of].shape != () else ready[of] for of in each.inputs if of in ready),  # type: ignore[index]
            default=0,
        )
        ready[each.output] = levels[each.output] + inside
    return levels


def _region_instructions(
    region: list[Call], length: int, kinds: Mapping[str, ArrayType], kept: list[str], level: int
) -> list[Call]:
    """One call for a region, and one instruction for each of its results."""
    inputs, sums = _read_by(region), [each.output for each in region if each.sums]
    arrays = [name for name in kept if name not in sums]
    names, whole = [*sums, *arrays], f"*{level}"
    call = Region(region, {of: kinds[of] for of in inputs}, length, sums, arrays)
    results = [Call(operator.itemgetter(place), (whole,), name, kinds[name]) for place, name in enumerate(names)]
    return [Call(call, tuple(inputs), whole, ArrayType((len(names),), np.dtype(object))), *results]


def _read_by(region: Sequence[Call]) -> list[str]:
    """The values that a region reads and does not make itself."""
    made = {each.output for each in region}
    return [of for of in dict.fromkeys(itertools.chain(*[each.values for each in region])) if of not in made]


def _on_a_tile(instruction: Call) -> Call:
    """An instruction on vectors of the length of a tile."""
    kind = instruction.kind._replace(shape=(TILE,) * len(instruction.kind.shape))
    if instruction.function is dot:
        return instruction._replace(kind=kind, function=lined_dot(TILE), text=None)
    return instruction._replace(kind=kind)


class Region:
    """Computes sums and arrays of a region from its operands, tile by tile."""

    def __init__(
        self,
        region: list[Call],
        inputs: Mapping[str, ArrayType],
        length: int,
        sums: list[str],
        arrays: list[str],
    ) -> None:
        small = [_on_a_tile(each) for each in region]
        buffers = assign_buffers(small, dict(zip(sums, sums, strict=True)), {}, arrays)
        sources = list(inputs)
        slots, fixed = assign_slots(sources, {}, small)
        text = PlanText(small, buffers, slots, fixed)
        parted = [of for of, kind in inputs.items() if kind.shape == (length,)]
        self._run_tiles = text.compile(text.tiles(sources, parted, sums, arrays), "tiles")
        self._length = length
        self._dtypes = [each.kind.array_dtype for each in region if each.output in arrays]
        self._workspaces = Workspaces(buffers.kinds)

    def __call__(self, *operands: Any) -> list[Any]:
        """The sums, then the arrays."""
        arrays = [np.empty(self._length, dtype) for dtype in self._dtypes]
        parts = [slice(start, min(start + TILE, self._length)) for start in range(0, self._length, TILE)]
        share = -(-len(parts) // THREADS)  # each thread has one run of tiles: handing them out singly costs too much
        shares = [parts[first : first + share] for first in range(0, len(parts), share)]

        def run(parts: list[slice]) -> list[tuple[float, ...]]:
            return self._partial_sums(operands, arrays, parts)

        done = threads(THREADS).map(run, shares) if len(shares) > 1 else map(run, shares)
        return [*map(sum, zip(*itertools.chain(*done), strict=True)), *arrays]

    def _partial_sums(self, given: Sequence[Any], arrays: list[Any], parts: list[slice]) -> list[tuple[float, ...]]:
        """The sums over each of some tiles; their parts of the arrays are written."""
        buffers = self._workspaces.take()
        partials: list[tuple[float, ...]] = []
        rest = parts[-1].stop - parts[-1].start
        whole, smaller = (parts, []) if rest == TILE else (parts[:-1], parts[-1:])
        with np.errstate(all="ignore"):
            self._run_tiles(given, buffers, whole, partials.append, arrays)
            self._run_tiles(given, [buffer[:rest] for buffer in buffers], smaller, partials.append, arrays)
        self._workspaces.give_back(buffers)
        return partials


def lined_dot(length: int) -> Callable[[Any, Any], float]:
    """The dot product of vectors of a length, or shorter ones, by lines that one thread of the BLAS library computes.

    The library shares a longer vector among as many threads as there are, and the bits then depend on their number.
    """
    line = next((size for size in range(LINE, LINE // 2, -1) if length % size == 0), LINE)

    def lined(x: Any, y: Any) -> float:
        whole = len(x) // line * line
        if whole == len(x):
            return float(np.add.reduce(np.vecdot(x.reshape(-1, line), y.reshape(-1, line))))
        total = np.add.reduce(np.vecdot(x[:whole].reshape(-1, line), y[:whole].reshape(-1, line)))
        return float(total + x[whole:].dot(y[whole:]))

    return lined
