"""Loading, validating, shape-checking and sorting a graph of n nodes, stage by stage, beside onnx with its twin.

Each load happens in a process of its own (`load_once`), in turns; seconds and peak memory come from the same loads,
without tracemalloc.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.graphs import elementwise_graph
from benchmarks.harness import DisagreementError, Goal, Options, Row, Table

ROOT = Path(__file__).resolve().parents[1]
ONNX_OPS = {"add": "Add", "sub": "Sub", "mul": "Mul", "neg": "Neg"}


def run(options: Options) -> list[Table]:
    """Seconds and megabytes for each size, and how both grow."""
    sizes = [10**3, 10**4] if options.quick else [10**3, 10**4, 10**5, *[10**6] * options.full]
    tables, totals = [], {}
    for size in sizes:
        title = f"{size:,} nodes: file to checked, sorted graph"
        tables += stage_tables(title, elementwise_graph(size), options, onnx=True)
        totals[size] = next(row.minimum for row in tables[-2].rows if row.name == "graphengine")
    growth = ", ".join(f"{size:,}: {total / size * 1e6:.1f}" for size, total in totals.items())
    tables[-2].notes.append(f"graphengine, us per node at each size: {growth}")
    return tables


def stage_table(title: str, model: Mapping[str, Any], options: Options, *, gradient: bool) -> Table:
    """Seconds of each stage of graphengine alone."""
    return stage_tables(title, model, options, gradient=gradient)[0]


def stage_tables(
    title: str, model: Mapping[str, Any], options: Options, *, gradient: bool = False, onnx: bool = False
) -> list[Table]:
    """Seconds and peak memory of each stage."""
    with tempfile.TemporaryDirectory() as folder:
        files = {"graphengine": Path(folder) / "model.json"}
        files["graphengine"].write_text(json.dumps(model, separators=(",", ":")))
        skipped = {}
        if onnx and importlib.util.find_spec("onnx"):
            files["onnx"] = onnx_twin(model, Path(folder) / "model.onnx")
        elif onnx:
            skipped["onnx"] = "not installed"
        count = 3 if options.quick or len(model["nodes"]) > 10**5 else 5
        loads = [(engine, load(engine, file, gradient)) for _ in range(count) for engine, file in files.items()]
    agree(loads, len(model["nodes"]))
    time = Table(title, "s", "load", rows(loads, "seconds"), dict(skipped))
    peak = Table(f"{title}, peak memory so far", "MB", "load", rows(loads, "peak"), dict(skipped))
    time.notes += sorted({f"stage not found: {name}" for _, result in loads for name in result["missing"]})
    if onnx:
        time.goals = [Goal("graphengine", 2.0)]
    return [time, peak]


def load(engine: str, file: Path, gradient: bool) -> Any:
    """One load in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.load_once", engine, str(file), *["--gradient"] * gradient]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def agree(loads: list[tuple[str, Any]], nodes: int) -> None:
    """Every load must have seen the whole graph.

    Raises
    ------
    DisagreementError
        If one did not.
    """
    for engine, result in loads:
        if result["nodes"] != nodes:
            raise DisagreementError(f"{engine} loaded {result['nodes']} of {nodes} nodes")


def rows(loads: list[tuple[str, Any]], measure: str) -> list[Row]:
    """A row for each stage and one for the sum, which is the reference: that of onnx where there is one."""
    found: dict[tuple[str, str], Row] = {}
    several = len({engine for engine, _ in loads}) > 1
    for engine, result in loads:
        for stage, value in result[measure].items():
            name = f"{engine}: {stage}" if several else stage
            whole = stage == "total"
            row = Row(engine if several and whole else name, "stage", [], whole and (engine == "onnx" or not several))
            found.setdefault((engine, stage), row).values.append(value)
    return [row for _, row in sorted(found.items(), key=lambda item: item[0][0] == "onnx")]


def onnx_twin(model: Mapping[str, Any], path: Path) -> Path:
    """The same graph as an ONNX file: the same names, operands and order, float64 of size N."""
    import onnx
    from onnx import TensorProto, helper

    nodes = [helper.make_node(ONNX_OPS[n["op"]], n["inputs"], [n["id"]], name=n["id"]) for n in model["nodes"]]
    inputs = [helper.make_tensor_value_info("x", TensorProto.DOUBLE, ["N"])]
    outputs = [helper.make_tensor_value_info(model["nodes"][-1]["id"], TensorProto.DOUBLE, ["N"])]
    theta = helper.make_tensor("theta", TensorProto.DOUBLE, [], [0.0])
    graph = helper.make_graph(nodes, model["name"], inputs, outputs, [theta])
    onnx.save(helper.make_model(graph), str(path))
    return path
