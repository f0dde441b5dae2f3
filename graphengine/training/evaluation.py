"""What a model gives on a data set: the number of all samples together, whatever the batches and the memory.

Data in memory is one batch, if the graph keeps within its limit of memory with it. All other data is worked on in
parts, and what is merged over them is declared by the ops (`ops.merging`): the numbers are those of the whole set, up
to rounding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from graphengine.backends.in_parts import InParts
from graphengine.backends.protocol import Backend, Program
from graphengine.data.batches import Batches
from graphengine.errors import ExecutionError, Problem
from graphengine.ir.binding import bind_sizes, shapes_of
from graphengine.ir.graph import Graph, part_for
from graphengine.ir.memory import memory_problem
from graphengine.ir.origins import node_text
from graphengine.mappings import only
from graphengine.transform.stages import Stages, stages_of
from graphengine.wording import counted


class Evaluation:
    """Outputs of a model on fixed data, in inference mode; `outputs` maps names to public outputs or values.

    Of a model that takes one sample at a time floating-point values are the mean over the samples, and integers and
    truth values, which count something, the sum.

    Raises
    ------
    DataError
        GE505 if the data does not fit the inputs.
    ExecutionError
        GE414 if an output needs all samples at once, and they take more memory than the limit.
    """

    def __init__(self, graph: Graph, data: Mapping[str, Any], outputs: Mapping[str, str], backend: Backend) -> None:
        targets = {name: graph.value_name(of) for name, of in outputs.items()}
        self._graph, self._backend = part_for(graph, targets), backend
        data = only(data, self._graph.inputs)
        batches = Batches(data, graph, batch_size=1)
        self.samples: int = batches.samples
        """How many samples the numbers are of."""
        self._whole = self._whole_in_memory(batches, graph)
        self._program: Program | None = None
        if self._whole is None:
            self._in_parts = self._staged(batches)
            passes = [each.graph for each in self._in_parts.stages.passes]
            self._batches = Batches(data, graph, batch_size=largest_part(batches, passes))

    def _whole_in_memory(self, batches: Batches, graph: Graph) -> dict[str, Any] | None:
        """All samples as one batch; None where they, or what is computed of them, do not fit into memory."""
        whole = batches.whole()
        if whole is None or memory_problem(self._graph, batches.sizes_in(graph, batches.samples)):
            return None
        return whole

    @property
    def axes(self) -> dict[str, int]:
        """How many axes each output has."""
        return {name: len(self._graph.types[value].shape) for name, value in self._graph.outputs.items()}

    def __call__(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The outputs for these values of parameters and state."""
        if self._whole is None:
            return self._in_parts.run(values, self._parts)
        if self._program is None:
            sizes = bind_sizes(shapes_of(self._whole), self._graph.types)
            self._program = self._backend.compile(self._graph.with_sizes(sizes))
        return self._program.run({**values, **self._whole})

    def _parts(self) -> Iterator[dict[str, Any]]:
        for segment in self._batches.epoch(1):
            yield from map(segment.batch, range(segment.count))

    def _staged(self, batches: Batches) -> InParts:
        sizes = batches.sizes_in(self._graph, 1 if batches.takes_single_samples else batches.samples)
        stages = stages_of(self._graph, sizes, batches.batched_inputs, batches.single_inputs)
        require_merging(self._graph, stages, batches.samples)
        return InParts(stages, self._backend)


def largest_part(batches: Batches, graphs: Iterable[Graph]) -> int:
    """The most samples that each of these graphs has room for."""
    part = 1 if batches.takes_single_samples else batches.samples_at_once
    for graph in graphs:
        while part > 1 and memory_problem(graph, batches.sizes_in(graph, part)):
            part = -(-part // 2)
    return part


def require_merging(graph: Graph, stages: Stages, samples: int) -> None:
    """Refuse what needs all samples at once where they do not fit into memory.

    Raises
    ------
    ExecutionError
        GE414, naming the node.
    """
    for name in stages.uncut:
        message = f"input '{name}' has samples on more than one axis, so the data cannot be worked on in batches"
        raise ExecutionError(message, code="GE414", hint="raise the limits array_bytes and data_bytes")
    problem = _memory_problem_of(stages)
    if problem and stages.gathered:
        node = stages.gathered[0]
        raise ExecutionError(
            f"{node_text(graph, node)} needs {counted(samples, 'sample')} at once, and {problem.message}",
            code="GE414",
            node=node.id,
            hint="raise the limit array_bytes, use ops that merge over batches, such as sum, mean and max, or, if it "
            "is a node of yours, declare 'merge' in its class",
        )


def _memory_problem_of(stages: Stages) -> Problem | None:
    """Why what follows a pass over the parts does not fit into memory; None if it does."""
    graphs = [*(each.then for each in stages.passes if each.then), stages.final]
    return next(filter(None, (memory_problem(each, stages.sizes) for each in graphs)), None)
