"""The jax backend: runs of instructions that the table has are functions that XLA compiles.

A step whose instructions are all in the table is one loop on the device, over as many iterations as a chunk has.
Instructions that the table lacks run in NumPy between the compiled parts, so a loop then goes through Python.
Double precision is switched on where this backend computes, and nowhere else.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from graphengine.backends.instructions import Instruction, instructions
from graphengine.backends.protocol import CodeListing, Rounds
from graphengine.errors import ExecutionError, UsageError
from graphengine.extras import optional, require
from graphengine.ir.graph import Graph
from graphengine.ir.memory import require_memory
from graphengine.ops.families.opaque import OpaqueBackward
from graphengine.transform.passes import optimize

Values: TypeAlias = dict[str, Any]
Record: TypeAlias = Callable[[tuple[Any, ...]], None]
BLOCK_BYTES = 2**26
"""Bytes of batches and recorded values that go to the device and back at a time."""
LENGTHS = (16, 256, 4096)
"""Iterations of a compiled loop: XLA compiles each length anew, and a loop may have fewer."""
OFTEN, MOST_EXACT = 8, 4
"""After so many loops of one length, such as that of an epoch, it is compiled itself; so many lengths at most."""


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
        """Return False: XLA adds in another order, and has functions of its own."""
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


class CompiledPart:
    """Instructions one after the other that are compiled together, or one that runs in NumPy."""

    def __init__(self, steps: Sequence[tuple[Any, Instruction]], later: set[Any]) -> None:
        self.steps = steps
        self.is_compiled = steps[0][0] is not None
        made = {name for _, each in steps for name in each.outputs}
        read = [of for _, each in steps for of in each.inputs if isinstance(of, str) and of not in made]
        self.inputs = tuple(dict.fromkeys(read))
        self.outputs = tuple(name for _, each in steps for name in each.outputs if name in later)

    def traced(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Compute the outputs from the inputs, on arrays of jax or while it traces."""
        known = dict(values)
        for kernel, step in self.steps:
            operands = [known[of] if isinstance(of, str) else of for of in step.inputs]
            known.update(zip(step.outputs, kernel(*operands), strict=True))
        return {name: known[name] for name in self.outputs}

    def in_numpy(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Compute the outputs of the one instruction by its own class."""
        ((_, step),) = self.steps
        operands = [np.asarray(values[of])[()] if isinstance(of, str) else of for of in step.inputs]
        with np.errstate(all="ignore"):
            found = step.node.forward(*operands)
        return dict(zip(step.outputs, found if isinstance(found, tuple) else (found,), strict=True))


class JaxProgram:
    """A graph as compiled parts; `lacking` are the instructions that run in NumPy between them."""

    def __init__(self, graph: Graph, carried: Mapping[str, str], device: Any) -> None:
        self.graph, self.carried, self._device = graph, dict(carried), device
        self.outputs = dict(graph.outputs)
        self.floats: frozenset[str] = frozenset()
        self.nbytes = 0
        steps = _with_kernels(graph)
        self.lacking = [each for kernel, each in steps if kernel is None]
        used = {name for _, each in steps for name in each.inputs} | {*self.outputs.values(), *self.carried.values()}
        self.sources = tuple(name for name in graph.sources if name in used)
        self._parts = list(_parts(steps, set(self.outputs.values())))
        self._loops: dict[Any, Callable[..., Any]] = {}
        self._counts: Counter[int] = Counter()
        self._exact: set[int] = set()
        self._kept: dict[str, tuple[Any, Any]] = {}

    @cached_property
    def _jax(self) -> Any:
        return optional("jax", "jax")

    @cached_property
    def _functions(self) -> list[Callable[[Mapping[str, Any]], dict[str, Any]]]:
        return [self._jax.jit(part.traced) if part.is_compiled else part.in_numpy for part in self._parts]

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
        run = self._in_python if self.lacking else self._on_device
        with self._computing():
            found = {name: values[name] for name in self.sources if name not in fed}
            found = {name: self._placed(name, value) for name, value in found.items()}
            for total, rounds in groups:
                found = run(found, rounds, fed, recorded, record, _GroupTotal(total, finish))
            return {source: self._fetched(source, found[source]) for source in self.carried.values()}

    def listing(self, fed: Sequence[str], recorded: Sequence[str]) -> CodeListing:
        """The instructions, and which of them run in NumPy."""
        names: dict[str, str] = {name: f"v{place}" for place, name in enumerate(self.sources)}
        in_numpy = {each.outputs for each in self.lacking}
        lines = []
        for each in (step for part in self._parts for _, step in part.steps):
            operands = [names[of] if isinstance(of, str) else repr(of) for of in each.inputs]
            names |= {name: f"v{len(names) + place}" for place, name in enumerate(each.outputs)}
            made = f"{', '.join(names[name] for name in each.outputs)} = {each.op}({', '.join(operands)})"
            lines.append(made + "  # runs in NumPy" * (each.outputs in in_numpy))
        ops = ", ".join(sorted({each.op for each in self.lacking}))
        what = f"this but for what runs in NumPy around it: {ops}" if ops else "this as one"
        return CodeListing("\n".join([f"# XLA compiles {what}", *lines]), {made: name for name, made in names.items()})

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

    def _replaced(self, values: Mapping[str, Any], outputs: Mapping[str, Any]) -> dict[str, Any]:
        return {**values, **{source: outputs[self.outputs[name]] for name, source in self.carried.items()}}

    # ------------------------------------------------------------ a round at a time

    def _in_python(
        self,
        values: dict[str, Any],
        rounds: Rounds,
        fed: Sequence[str],
        recorded: Sequence[str],
        record: Any,
        total: Any,
    ) -> Values:
        for keep, *batch in rounds:
            given = {name: np.asarray(each) for name, each in zip(fed, batch, strict=True)}
            found = self._run({**values, **given})
            values = self._replaced(values, found)
            total.add(float(found[self.outputs[recorded[0]]]))
            if keep:
                record(tuple([_plain(np.array(found[self.outputs[name]])) for name in recorded]))
        total.finish()
        return values

    # ------------------------------------------------------------ a chunk at a time

    def _on_device(
        self,
        values: dict[str, Any],
        rounds: Rounds,
        fed: Sequence[str],
        recorded: Sequence[str],
        record: Any,
        total: Any,
    ) -> Values:
        flags, columns = rounds.flags, [_FedColumn(each) for each in rounds.values()]
        outputs = [self.outputs[name] for name in recorded]
        size = sum(self._nbytes(name) for name in (*outputs, *fed))
        block = max(1, min(LENGTHS[-1], BLOCK_BYTES // max(1, size)))
        constant = {name: self._put(name, each.value) for name, each in zip(fed, columns, strict=True) if each.is_one}
        moving = [(name, each) for name, each in zip(fed, columns, strict=True) if not each.is_one]
        for start in range(0, len(flags), block):
            stop = min(start + block, len(flags))
            count = stop - start
            length = self._length(count, block)
            rows = {name: self._rows(name, each.part(start, stop), length) for name, each in moving}
            loop = self._loop_of(length, tuple(outputs), whole=length == count)
            state = {name: values[name] for name in self.carried.values()}
            kept = {name: each for name, each in {**values, **constant}.items() if name not in state}
            state, found = loop(count, state, kept, rows)
            values = {**values, **state}
            self._record([np.asarray(each)[:count] for each in found], flags[start:stop], record, total)
        total.finish()
        return values

    def _nbytes(self, name: str) -> int:
        kind = self.graph.types[name]
        return int(np.prod(kind.shape, dtype=np.int64)) * kind.array_dtype.itemsize  # type: ignore[arg-type]

    def _rows(self, name: str, given: Any, length: int) -> Any:
        """The batches of a block, one after the other, with room for `length` of them."""
        kind = self.graph.types[name]
        rows = np.asarray(given, kind.array_dtype).reshape(len(given), *kind.shape)
        if len(rows) < length:
            filling: Any = (length - len(rows), *kind.shape)
            rows = np.concatenate([rows, np.zeros(filling, rows.dtype)])
        return self._jax.device_put(rows, self._device)

    def _record(self, found: list[Any], flags: Sequence[int], record: Any, total: Any) -> None:
        for loss in found[0].tolist():
            total.add(loss)
        chosen = np.flatnonzero(np.frombuffer(bytes(flags), np.uint8))
        columns = [
            each[chosen].tolist() if each.dtype == np.float64 and each.ndim == 1 else each[chosen] for each in found
        ]
        for row in zip(*columns, strict=True):
            record(tuple([each if isinstance(each, float) else np.copy(each)[()] for each in row]))

    def _length(self, count: int, block: int) -> int:
        """The length of the loop for a number of iterations."""
        self._counts[count] += 1
        if self._counts[count] == OFTEN and len(self._exact) < MOST_EXACT:
            self._exact.add(count)
        return count if count in self._exact else min(block, next(each for each in LENGTHS if each >= count))

    def _loop_of(self, length: int, recorded: tuple[str, ...], *, whole: bool) -> Callable[..., Any]:
        """A loop over at most `length` batches: the values after it, and what is recorded of each."""
        key = (length, recorded, whole)
        if key not in self._loops:
            self._loops[key] = self._jax.jit(self._loop(length, recorded, whole=whole))
        return self._loops[key]

    def _loop(self, length: int, recorded: tuple[str, ...], *, whole: bool) -> Callable[..., Any]:
        lax, jnp = self._jax.lax, self._jax.numpy
        (part,) = self._parts
        kinds = [self.graph.types[name] for name in recorded]

        def loop(count: Any, state: Any, kept: Any, rows: Any) -> Any:
            def step(carry: tuple[Any, Any], numbered: tuple[Any, Any]) -> Any:
                number, batch = numbered
                if whole:
                    return stepped(carry, batch)
                return lax.cond(number < count, lambda: stepped(carry, batch), lambda: (carry, blank))

            def stepped(carry: Any, batch: Any) -> Any:
                known = {**kept, **carry, **batch}
                known.update(part.traced({name: known[name] for name in part.inputs}))
                new = {source: known[self.outputs[name]] for name, source in self.carried.items()}
                return new, [known[name] for name in recorded]

            blank = [jnp.zeros(kind.shape, kind.array_dtype) for kind in kinds]
            return lax.scan(step, state, (jnp.arange(length), rows))

        return loop


class _GroupTotal:
    """The sum of the losses of a group, one after the other."""

    def __init__(self, total: float, finish: Callable[[float], None]) -> None:
        self._total, self._finish = total, finish

    def add(self, loss: float) -> None:
        self._total += loss

    def finish(self) -> None:
        self._finish(self._total)


class _FedColumn:
    """The batches of a source: one value again and again, or one for each round."""

    def __init__(self, given: Iterable[Any]) -> None:
        self.is_one = isinstance(given, itertools.repeat)
        self.value = next(iter(given)) if self.is_one else None
        self._items: Any = () if self.is_one else given if isinstance(given, (list, np.ndarray)) else list(given)

    def part(self, start: int, stop: int) -> Any:
        """The batches of some rounds as one array, without a copy where they lie one after the other in memory."""
        items = self._items[start:stop]
        if isinstance(items, np.ndarray) or not isinstance(items[0], np.ndarray):
            return np.asarray(items)
        first, last = items[0], items[-1]
        apart = last.__array_interface__["data"][0] - first.__array_interface__["data"][0]
        is_row = first.base is not None and first.base is last.base and first.flags.c_contiguous
        if is_row and apart == (len(items) - 1) * first.nbytes:
            strides = (first.nbytes, *first.strides)
            return np.lib.stride_tricks.as_strided(first, (len(items), *first.shape), strides, writeable=False)
        return np.stack(items)


def _items(values: Any) -> Any:
    """What is recorded of each iteration: Python floats, other numbers, or arrays."""
    return values.tolist() if values.dtype == np.float64 and values.ndim == 1 else list(values)


def _plain(value: Any) -> Any:
    return value.item() if value.shape == () and value.dtype == np.float64 else value[()]


def _with_kernels(graph: Graph) -> list[tuple[Any, Instruction]]:
    from graphengine.backends.jax.xla_kernels import kernel_of  # imports jax

    return [(kernel_of(each), each) for each in instructions(graph)]


def _parts(steps: Sequence[tuple[Any, Instruction]], outputs: set[Any]) -> Iterator[CompiledPart]:
    """Steps in groups: neighbors that the table has, and single ones that it lacks."""
    groups: list[list[tuple[Any, Instruction]]] = []
    for step in steps:
        if groups and step[0] is not None and groups[-1][0][0] is not None:
            groups[-1].append(step)
        else:
            groups.append([step])
    later = set(outputs)
    parts = []
    for group in reversed(groups):
        parts.append(CompiledPart(group, later))
        later.update(of for _, each in group for of in each.inputs)
    yield from reversed(parts)


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
