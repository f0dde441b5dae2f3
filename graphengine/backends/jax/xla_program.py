"""The jax backend: runs of instructions that the table has are functions that XLA compiles.

A step whose instructions are all in the table is one loop on the device, over as many iterations as a chunk has.
Instructions that the table lacks run in NumPy between the compiled parts, so a loop then goes through Python.
Double precision is switched on where this backend computes, and nowhere else.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import Any

import numpy as np

from graphengine.backends.jax.xla_loops import DeviceLoops
from graphengine.backends.jax.xla_parts import Values, parts_of
from graphengine.backends.protocol import CodeListing, Instruction, Rounds, sources_of
from graphengine.errors import ExecutionError, UsageError
from graphengine.extras import optional, require
from graphengine.ir.graph import Graph
from graphengine.ir.memory import require_memory
from graphengine.ops.families.opaque import OpaqueBackward
from graphengine.transform.passes import optimize


class JaxBackend:
    """Compiles a graph with XLA for a device, such as "cpu", "gpu" or "gpu:1"; by default jax's own choice.

    Raises
    ------
    UsageError
        GE803 if jax is not installed, GE801 if there is no such device.
    """

    def __init__(self, device: str = "") -> None:
        require("jax", "jax")
        self.name = f"jax:{device}" if device else "jax"
        self._device = _device(device) if device else None

    def is_exact(self, graph: Graph) -> bool:
        """Return False: XLA adds in another order, and has its own functions."""
        return False

    def compile(self, graph: Graph, *, exact: bool = True, carried: Mapping[str, str] | None = None) -> JaxProgram:
        """Compile a graph; see `Backend.compile`."""
        require_memory(graph)
        return JaxProgram(optimize(graph, exact=exact), carried or {}, self._device)


def _device(name: str) -> Any:
    kind, _, number = name.partition(":")
    jax = optional("jax", "jax")
    try:
        return jax.devices(kind)[int(number or 0)]
    except (RuntimeError, ValueError, IndexError) as error:
        known = ", ".join(f"{each.platform}:{each.id}" for each in jax.devices())
        raise UsageError(f"jax has no device '{name}'; it has {known}") from error


class JaxProgram:
    """A graph as compiled parts; `lacking` are the instructions that run in NumPy between them."""

    def __init__(self, graph: Graph, carried: Mapping[str, str], device: Any) -> None:
        self.graph, self.carried, self._device = graph, dict(carried), device
        self.outputs = dict(graph.outputs)
        self.floats: frozenset[str] = frozenset()
        self.nbytes = 0
        self._parts = parts_of(graph)
        self._steps = list(itertools.chain.from_iterable(part.steps for part in self._parts))
        self.lacking = [each for kernel, each in self._steps if kernel is None]
        self.sources = sources_of(graph, carried)
        self._kept: dict[str, tuple[Any, Any]] = {}

    @cached_property
    def _jax(self) -> Any:
        return optional("jax", "jax")

    @cached_property
    def _functions(self) -> list[Callable[[Mapping[str, Any]], dict[str, Any]]]:
        return [self._jax.jit(part.traced) if part.is_compiled else part.in_numpy for part in self._parts]

    @cached_property
    def _device_loops(self) -> DeviceLoops:
        return DeviceLoops(self._jax, self.graph, self._parts[0], self.carried, self._put)

    @contextmanager
    def _computing(self) -> Iterator[None]:
        """Double precision, full precision of products, and the device, for this thread only."""
        with ExitStack() as stack:
            stack.enter_context(self._jax.enable_x64(True))
            stack.enter_context(self._jax.default_matmul_precision("highest"))
            if self._device is not None:
                stack.enter_context(self._jax.default_device(self._device))
            yield

    def run(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Compute the outputs; see `Program.run`."""
        with self._computing():
            found = self._run({name: values[name] for name in self.sources})
            return {name: np.array(found[value])[()] for name, value in self.outputs.items()}

    def _run(self, values: dict[str, Any]) -> dict[str, Any]:
        """All values that are kept between the parts, still on the device."""
        for part, function in zip(self._parts, self._functions, strict=True):
            values.update(function({name: values[name] for name in part.inputs}))
        return values

    def loop(
        self,
        groups: Iterable[tuple[float, Rounds]],
        values: Mapping[str, Any],
        fed: Sequence[str],
        recorded: Sequence[str],
        record: Callable[[tuple[Any, ...]], None],
        finish: Callable[[float], None],
    ) -> dict[str, Any]:
        """Run the step for each batch; see `Program.loop`.

        Raises
        ------
        ExecutionError
            GE416 if the step has a node whose code is only known to Python.
        """
        _refuse_opaque(self.lacking)
        run = self._in_python if self.lacking else self._device_loops.run
        outputs = [self.outputs[name] for name in recorded]
        with self._computing():
            found = {name: self._placed(name, values[name]) for name in self.sources if name not in fed}
            for total, rounds in groups:
                group = _GroupTotal(total)
                found = run(found, rounds, fed, outputs, record, group.add)
                finish(group.total)
            return {source: self._fetched(source, found[source]) for source in self.carried.values()}

    def listing(self, fed: Sequence[str], recorded: Sequence[str]) -> CodeListing:
        """The instructions, and which of them run in NumPy."""
        names: dict[str, str] = {name: f"v{place}" for place, name in enumerate(self.sources)}
        lines = [_line(each, names) + "  # runs in NumPy" * (kernel is None) for kernel, each in self._steps]
        ops = ", ".join(sorted({each.op for each in self.lacking}))
        what = f"this, except for ops that run in NumPy: {ops}" if ops else "this as one"
        return CodeListing("\n".join([f"# XLA compiles {what}", *lines]), dict(zip(names.values(), names, strict=True)))

    def _placed(self, name: str, value: Any) -> Any:
        """A value on the device; what the last chunk left there is there still."""
        host, device = self._kept.get(name, (None, None))
        return device if host is value and host is not None else self._put(name, value)

    def _put(self, name: str, value: Any) -> Any:
        kind = self.graph.types[name]
        return self._jax.device_put(np.asarray(value, kind.array_dtype), self._device)

    def _fetched(self, name: str, value: Any) -> Any:
        """A value for the caller, who gives the same object back for the next chunk."""
        host = np.asarray(value)[()]
        self._kept[name] = (host, value)
        return host

    def _in_python(
        self,
        values: Values,
        rounds: Rounds,
        fed: Sequence[str],
        recorded: Sequence[str],
        record: Callable[[tuple[Any, ...]], None],
        add: Callable[[float], None],
    ) -> Values:
        """Run the rounds one by one; see `DeviceLoops.run`."""
        for keep, *batch in rounds:
            given = {name: np.asarray(each) for name, each in zip(fed, batch, strict=True)}
            found = self._run({**values, **given})
            values = {**values, **{source: found[self.outputs[name]] for name, source in self.carried.items()}}
            add(float(found[recorded[0]]))
            if keep:
                record(tuple([_plain(np.array(found[name])) for name in recorded]))
        return values


def _line(each: Instruction, names: dict[str, str]) -> str:
    """An instruction as text; its results get names."""
    operands = [names[of] if isinstance(of, str) else repr(of) for of in each.inputs]
    made = [f"v{len(names) + place}" for place in range(len(each.outputs))]
    names |= zip(each.outputs, made, strict=True)
    return f"{', '.join(made)} = {each.op}({', '.join(operands)})"


class _GroupTotal:
    """The sum of the losses of a group, one after the other."""

    def __init__(self, total: float) -> None:
        self.total = total

    def add(self, loss: float) -> None:
        self.total += loss


def _plain(value: Any) -> Any:
    return value.item() if value.shape == () and value.dtype == np.float64 else value[()]


def _refuse_opaque(lacking: Iterable[Instruction]) -> None:
    for each in lacking:
        if not each.is_core or isinstance(each.node, OpaqueBackward):
            name = each.outputs[0].partition("~")[0]
            raise ExecutionError(
                f"node '{name}' ({each.op}) has code that only Python runs, and a loop of jax is compiled",
                code="GE416",
                node=name,
                hint="write its forward and backward with NumPy functions that can be recorded, or use another backend",
            )
