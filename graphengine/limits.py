"""How much a file may ask for: what is beyond is refused before memory is taken for it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Upper bounds on the size of a model; `load(path, limits=Limits(array_bytes=2**33))` overrides some.

    A model file is hostile input: each bound is checked before memory is allocated. Only data may be larger than its
    bound: it is then read in blocks.
    """

    file_bytes: int = 64 * 2**20
    """The size of a JSON file."""
    depth: int = 64
    """How deep arrays and objects of a file are nested."""
    values: int = 10_000_000
    """Values in a file: numbers, strings, arrays, objects."""
    nodes: int = 1_000_000
    """Nodes of a graph, those of inlined functions included."""
    steps: int = 10_000_000
    """Steps of all loops of a graph together; those of a loop within a loop count for each step around them."""
    array_bytes: int = 2**30
    """Bytes of all values of a graph together: inputs, parameters, state and the results of nodes."""
    data_bytes: int = 2**30
    """Memory that the data of a training may take. What would take more than a quarter of it stays on disk."""
    disk_bytes: int = 2**36
    """Temporary files that the data of a training may take: a compressed file may hold a thousand times its size."""
    plan_bytes: int = 2**28
    """Buffers of compiled programs that a model keeps for shapes of inputs that it has seen."""
    function_depth: int = 100
    """How deep functions call each other."""
    function_bytes: int = 2**29
    """Bytes of the text that a file would be with its functions inlined."""
    function_growth: int = 64
    """How many times as long a file may become with its functions inlined; up to 4 MiB it may in any case."""
    node_outputs: int = 32
    """Outputs of a node, on average; together they may be 131,072 in any case."""

    def outputs(self, nodes: int) -> int:
        """Return how many outputs a number of nodes may have together."""
        return max(2**17, self.node_outputs * nodes)


DEFAULT = Limits()
"""The limits that hold where a caller gives none."""
