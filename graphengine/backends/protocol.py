"""What a backend is: one class that compiles a graph of known shapes into a program, and one table of kernel ops.

The seam between `transform` and the backends are instructions: an optimized graph as data, one kernel op on operands
after the other. An instruction holds no code: a backend has a table from kernel ops to its own code, and knows neither
the file nor the optimizer that a graph comes from.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, NamedTuple, Protocol

from graphengine.errors import UsageError, did_you_mean
from graphengine.ir.graph import Graph
from graphengine.ir.nodes import GraphNode, Operand, literal_type
from graphengine.ops.node import Node
from graphengine.ops.shapes import ArrayType

LARGE = 2**25
"""Bytes from which an array is large: its memory comes from the system, and goes back to it once it is not needed."""


@dataclass(frozen=True, slots=True)
class Rounds:
    """The rounds of a group: flags, and what is fed, as values one round after the other or as arrays of doubles."""

    flags: Sequence[int]
    values: Callable[[], Iterable[Iterable[Any]]]
    """Makes an iterable over the rounds for each source that is fed."""
    numbers: Callable[[Container[str]], Sequence[Any]]
    """Makes a contiguous vector with a number for each round, for each source that is fed.

    For the sources named it makes an array of those of the rounds, with one axis more in front, which has the size 1
    where all rounds have the same.
    """
    table: Callable[[str], Any]
    """Gives all batches of a source, of which the rounds are those from `first` on, with an axis for them in front.

    It is the same object as long as the data is there unchanged; None for a source that is not data.
    """
    first: int

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return zip(self.flags, *self.values(), strict=True)


@dataclass(frozen=True, slots=True)
class CodeListing:
    """Code that a backend made, for people to read."""

    code: str
    names: Mapping[str, str]
    """What each name in the code means."""
    constants: Mapping[str, Any] = field(default_factory=dict)
    """The values of names that are constants."""
    loop: CodeListing | None = None
    """The step as a compiled loop, where the backend makes one beside the code."""
    same_bits: bool = True
    """Whether the loop has the bits of the code."""
    lacking: tuple[str, ...] = ()
    """What prevents the loop."""
    loops: Mapping[str, CodeListing] = field(default_factory=dict)
    """What the code calls that is compiled, too."""


class Program(Protocol):
    """A compiled graph. It may be used by many threads at once."""

    @property
    def sources(self) -> Sequence[str]:
        """The inputs, parameters and state that it reads."""

    @property
    def outputs(self) -> Mapping[str, str]:
        """The values it computes, by public name."""

    @property
    def floats(self) -> frozenset[str]:
        """The sources that `loop` takes as Python floats from `groups`, and not as arrays."""

    @property
    def nbytes(self) -> int:
        """The bytes that it keeps between runs."""

    def run(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Compute the outputs, by public name and in the order of `outputs`, from values for the sources."""

    def loop(
        self,
        groups: Iterable[tuple[float, Rounds]],
        values: Mapping[str, Any],
        fed: Sequence[str],
        recorded: Sequence[str],
        record: Callable[[tuple[Any, ...]], None],
        finish: Callable[[float], None],
    ) -> dict[str, Any]:
        """Run once for each batch of each group, feeding what is carried back; return its last values by source.

        A group is a number and its rounds: a flag and values for the sources `fed` each. After a round with the flag
        set `record` gets a tuple of the outputs `recorded`; after a group `finish` gets its number plus the sum of the
        first of `recorded` over its rounds. Arrays in `values` that are carried may be written over, unless they have
        `LARGE` bytes or more: of those a caller has no copy.
        """

    def listing(self, fed: Sequence[str], recorded: Sequence[str]) -> CodeListing | None:
        """Return the code, a loop as `loop` would run it for these names included; None if there is no code."""


class Backend(Protocol):
    """Compiles graphs. A backend has no state but caches."""

    name: str

    def is_exact(self, graph: Graph) -> bool:
        """Whether exact programs of a graph have the bits of the reference executor, which may run instead of one."""

    def compile(self, graph: Graph, *, exact: bool = True, carried: Mapping[str, str] | None = None) -> Program:
        """Compile a graph whose shapes are all known.

        `carried` maps outputs to the sources they replace in the next round of `Program.loop`. With `exact` results are
        those of the reference executor to the last bit, if the graph `is_exact`; without, sums may be reordered
        within the bound of `transform.passes.factor_sums`.

        Raises
        ------
        InputError
            GE133 if the values of the graph take more memory than the limit.
        """


BACKENDS = {
    "auto": "graphengine.backends.auto:AutoBackend",
    "jax": "graphengine.backends.jax.xla_program:JaxBackend",
    "numba": "graphengine.backends.numba.jit:NumbaBackend",
    "numpy": "graphengine.backends.numpy.plan:NumPyBackend",
    "reference": "graphengine.backends.reference.program:ReferenceBackend",
}
"""Backends by name: module and class. A module is imported when its backend is requested."""

WITH_DEVICES = ("jax",)
"""Backends that take a device."""
DEFAULT_BACKEND = "numpy"


def backend_named(name: str) -> Backend:
    """Return the backend of a name; one for a device is named like "jax:gpu" or "jax:gpu:1".

    Raises
    ------
    UsageError
        GE801 if there is none, or no such device; GE803 if it needs a package that is not installed.
    """
    if name not in _made:
        kind, _, device = name.partition(":")
        if kind not in BACKENDS:
            hint = did_you_mean(kind, BACKENDS, "backends")
            raise UsageError(f"there is no backend '{kind}'", hint=hint)
        if device and kind not in WITH_DEVICES:
            raise UsageError(
                f"the {kind} backend has no device to choose", hint=f"use one of {', '.join(WITH_DEVICES)}"
            )
        module, _, cls = BACKENDS[kind].partition(":")
        _made[name] = getattr(import_module(module), cls)(*[device] * bool(device))
    return _made[name]


_made: dict[str, Backend] = {}


class Instruction(NamedTuple):
    """One op on operands. `node` has its attributes; an operand is the name of a value, a number, or None."""

    op: str
    node: Node
    inputs: tuple[Operand, ...]
    outputs: tuple[str, ...]
    operand_types: tuple[ArrayType | None, ...]
    """The types of the operands; None for an omitted one."""
    types: tuple[ArrayType, ...]
    """The types of the results."""
    is_core: bool
    """Whether the op is one of this package; of any other only its `forward` is known."""

    @property
    def values(self) -> list[str]:
        """The operands that are not literals."""
        return [operand for operand in self.inputs if type(operand) is str]

    @property
    def value_types(self) -> list[ArrayType]:
        """The types of `values`."""
        pairs = zip(self.inputs, self.operand_types, strict=True)
        return [kind for operand, kind in pairs if type(operand) is str]  # type: ignore[misc]


def instructions(graph: Graph) -> Iterator[Instruction]:
    """Yield the nodes of a graph as instructions, in the order in which they run."""
    return (instruction_of(node, graph.types) for node in graph.nodes)


def instruction_of(node: GraphNode, types: Mapping[str, ArrayType]) -> Instruction:
    """Return a node as an instruction, by the types of all values."""
    outputs = node.outputs
    return Instruction(
        node.op,
        node.node,
        node.inputs,
        outputs,
        tuple([types[ref] if type(ref) is str else literal_type(ref) for ref in node.inputs]),
        tuple([types[name] for name in outputs]),
        node.node.is_core,
    )


def sources_of(graph: Graph, carried: Mapping[str, str], also: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the sources of a graph that are read or carried, and those in `also`."""
    used: set[Any] = {*graph.outputs.values(), *carried.values(), *also}
    sources = graph.sources.keys()
    used.update(*[node.inputs for node in graph.nodes if not sources.isdisjoint(node.inputs)])
    return tuple([name for name in graph.sources if name in used])
