"""Parts of a graph for XLA: runs of instructions that the table has, and single ones that it lacks."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from graphengine.backends.protocol import Instruction, instructions
from graphengine.ir.graph import Graph
from graphengine.mappings import absent, present

Values: TypeAlias = dict[str, Any]
KernelStep: TypeAlias = tuple[Any, Instruction]
"""An instruction and its function in the table, None where the table lacks it."""


class CompiledPart:
    """Instructions one after the other that are compiled together, or one that runs in NumPy."""

    def __init__(self, steps: Sequence[KernelStep], later: set[Any]) -> None:
        self.steps = steps
        self.is_compiled = steps[0][0] is not None
        made = made_by(steps)
        read = dict.fromkeys(itertools.chain.from_iterable(each.values for _, each in steps))
        self.inputs = tuple(absent(read, made))
        self.outputs = tuple(present(made, later))

    def traced(self, values: Mapping[str, Any]) -> Values:
        """Compute the outputs from the inputs, on arrays of jax or while it traces."""
        known = computed(self.steps, values)
        return {name: known[name] for name in self.outputs}

    def in_numpy(self, values: Mapping[str, Any]) -> Values:
        """Compute the outputs of the one instruction by its own class."""
        ((_, step),) = self.steps
        operands = [_in_numpy(values[of]) if isinstance(of, str) else of for of in step.inputs]
        with np.errstate(all="ignore"):
            found = step.node.forward(*operands)
        return dict(zip(step.outputs, found if isinstance(found, tuple) else (found,), strict=True))

    def split(self, targets: Iterable[str]) -> tuple[list[KernelStep], list[KernelStep]]:
        """The steps that these values need, and all others."""
        needed, always = set(targets), []
        for kernel, step in reversed(self.steps):
            if not needed.isdisjoint(step.outputs):
                needed.update(step.values)
                always.append((kernel, step))
        return always[::-1], [each for each in self.steps if needed.isdisjoint(each[1].outputs)]


def made_by(steps: Iterable[KernelStep]) -> dict[str, None]:
    """Return the names of what steps compute, in order."""
    return dict.fromkeys(itertools.chain.from_iterable(each.outputs for _, each in steps))


def _in_numpy(value: Any) -> Any:
    """A value as NumPy has it; a Python number stays one, which widens no array beside it."""
    return value if isinstance(value, (int, float)) else np.asarray(value)[()]


def computed(steps: Iterable[KernelStep], values: Mapping[str, Any]) -> Values:
    """The values and those that the steps compute from them, on arrays of jax or while it traces."""
    known = dict(values)
    for kernel, step in steps:
        operands = [known[of] if isinstance(of, str) else of for of in step.inputs]
        known.update(zip(step.outputs, kernel(*operands), strict=True))
    return known


def parts_of(graph: Graph) -> list[CompiledPart]:
    """The graph in parts: neighbors that the table has, and single instructions that it lacks."""
    from graphengine.backends.jax.xla_kernels import kernel_of  # imports jax

    groups: list[list[KernelStep]] = []
    for each in instructions(graph):
        step = kernel_of(each), each
        if groups and step[0] is not None and groups[-1][0][0] is not None:
            groups[-1].append(step)
        else:
            groups.append([step])
    return list(_with_outputs(groups, set(graph.outputs.values())))[::-1]


def _with_outputs(groups: Sequence[Sequence[KernelStep]], outputs: set[str]) -> Iterator[CompiledPart]:
    """The parts from the last to the first, each with the values that are needed later."""
    later: set[Any] = set(outputs)
    for group in reversed(groups):
        yield CompiledPart(group, later)
        later.update(of for _, each in group for of in each.inputs)
