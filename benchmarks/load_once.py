"""Loads one graph file once, in a process of its own, and prints what each stage took as JSON.

`python -m benchmarks.load_once graphengine|onnx FILE [--gradient]`. The stages are functions of the package, wrapped
with a clock; so what is measured is the real load and nothing is written twice. Peak memory is what the kernel saw.
"""

from __future__ import annotations

import argparse
import importlib
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import MethodType
from typing import Any

STAGES = {
    "orjson": ["graphengine.format.strict:orjson.loads"],
    "strict JSON": ["graphengine.format.reading:read_json"],
    "pydantic": ["graphengine.format.reading:_are_nodes", "graphengine.format.documents:ModelDocument.model_validate"],
    "resolve": ["graphengine.format.resolve:Resolver.__init__", "graphengine.format.resolve:Resolver.nodes"],
    "sort (networkx)": ["graphengine.format.building:topologically_sorted"],
    "infer": ["graphengine.format.building:infer_types"],
    "executor": ["graphengine.backends.reference.executor:Executor.__init__"],
}


class Clock:
    """Seconds and peak memory of named stages, each without the stages inside it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.peak: dict[str, int] = {}
        self._inner = [0.0]

    def wrap(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        def timed(*arguments: Any, **named: Any) -> Any:
            self._inner.append(0.0)
            start = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                taken = time.perf_counter() - start
                own = taken - self._inner.pop()
                self._inner[-1] += taken
                self.seconds[stage] = self.seconds.get(stage, 0.0) + own
                self.peak[stage] = peak_memory()

        return timed


def instrument(clock: Clock) -> list[str]:
    """Wrap the stages; the names of those that are no longer where they were."""
    missing = []
    for stage, places in STAGES.items():
        for place in places:
            module, _, path = place.partition(":")
            *owners, name = path.split(".")
            try:
                owner: Any = importlib.import_module(module)
                for part in owners:
                    owner = getattr(owner, part)
                setattr(owner, name, _rebound(owner, name, clock.wrap(stage, getattr(owner, name))))
            except (ImportError, AttributeError):
                missing.append(f"{stage}: {place}")
    return missing


def _rebound(owner: Any, name: str, wrapped: Callable[..., Any]) -> Any:
    """A class method was bound when it was read, so it must not be bound again."""
    return staticmethod(wrapped) if isinstance(getattr(owner, name), MethodType) else wrapped


def peak_memory() -> int:
    """The highest resident memory of this process so far, in bytes.

    `ru_maxrss` would begin with the memory of the process that started this one, so the kernel's own mark for
    this address space is read where there is one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def load_graphengine(path: Path, *, gradient: bool) -> dict[str, Any]:
    """Load with graphengine, after a warm-up on a graph of two nodes, which does the imports."""
    import graphengine as ge
    from benchmarks.graphs import scalar_chain

    warm = ge.Model.from_dict(scalar_chain(2))
    warm.forward(x=0.3).backward(of="out")
    clock = Clock()
    missing = instrument(clock)
    base, start = peak_memory(), time.perf_counter()
    model = ge.load(path)
    if gradient:
        clock.wrap("first gradient", lambda: model.forward(x=0.3).backward(of="out"))()
    return report(clock, base, time.perf_counter() - start, len(model.graph.nodes), missing)


def load_onnx(path: Path, *, gradient: bool) -> dict[str, Any]:
    """Load with onnx, after a warm-up on a graph of two nodes; `path` is the twin that `loading.onnx_twin` writes."""
    from benchmarks.graphs import elementwise_graph
    from benchmarks.loading import onnx_twin

    if gradient:
        raise SystemExit("onnx has no gradients")
    with tempfile.TemporaryDirectory() as folder:
        checked_by_onnx(onnx_twin(elementwise_graph(2), Path(folder) / "warm.onnx"), Clock())
    clock, base, start = Clock(), peak_memory(), time.perf_counter()
    model = checked_by_onnx(path, clock)
    total = time.perf_counter() - start
    if len(model.graph.value_info) < len(model.graph.node) - 1:
        raise SystemExit("onnx did not infer the shape of every node")
    return report(clock, base, total, len(model.graph.node), [])


def checked_by_onnx(path: Path, clock: Clock) -> Any:
    """onnx.load, check_model, infer_shapes."""
    import onnx
    import onnx.shape_inference

    model = clock.wrap("onnx.load", onnx.load)(path)
    clock.wrap("check_model", onnx.checker.check_model)(model)
    return clock.wrap("infer_shapes", onnx.shape_inference.infer_shapes)(model)


def report(clock: Clock, base: int, total: float, nodes: int, missing: list[str]) -> dict[str, Any]:
    """What the parent reads."""
    rest = total - sum(clock.seconds.values())
    return {
        "seconds": {**clock.seconds, "rest": rest, "total": total},
        "peak": {**{stage: peak - base for stage, peak in clock.peak.items()}, "total": peak_memory() - base},
        "nodes": nodes,
        "missing": missing,
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", choices=("graphengine", "onnx"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--gradient", action="store_true")
    arguments = parser.parse_args()
    load = {"graphengine": load_graphengine, "onnx": load_onnx}[arguments.engine]
    print(json.dumps(load(arguments.file, gradient=arguments.gradient)))


if __name__ == "__main__":
    main()
