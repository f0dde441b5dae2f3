"""Importing an ONNX file with the layers of ResNet-18, beside `onnx.load` and shape inference.

Each load is the first one of a fresh process that has imported both packages: what a program waits for that loads one
model. The time is that of the processor, and the bytecode of all modules is cached, as after an installation. In such a
process: `python -m benchmarks.onnx_import graphengine FILE`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Goal, Options, Row, Table
from benchmarks.load_once import peak_memory

ROOT = Path(__file__).parents[1]
FOLDER = tempfile.TemporaryDirectory()
BLOCKS = (
    (64, 64, 1),
    (64, 64, 1),
    (64, 128, 2),
    (128, 128, 1),
    (128, 256, 2),
    (256, 256, 1),
    (256, 512, 2),
    (512, 512, 1),
)
"""Channels before and after each block of two convolutions, and its stride."""


def run(options: Options) -> list[Table]:
    """Seconds of the processor for the file, and megabytes at the peak of a process."""
    title = "an ONNX file with the layers of ResNet-18, 47 MB"
    try:
        path = written()
    except ImportError as error:
        skipped = {"onnx.load, infer_shapes": f"not installed: {error}"}
        return [Table(title, "s", "file", [], skipped, [])]
    theirs, ours = (Row(name, kind, [], kind == "peer") for name, kind in KINDS.items())
    again, memory = Row("graphengine, the next file", "ours", []), Row("graphengine", "ours", [])
    weights = Row("the weights", "limit", [float(path.stat().st_size)], reference=True)
    measured(ours.name, path)  # writes the bytecode
    for _ in range(3 if options.quick else 7):
        theirs.values.append(measured(theirs.name, path)["first"])
        found = measured(ours.name, path)
        ours.values.append(found["first"])
        again.values.append(found["next"])
        memory.values.append(found["peak"])
    return [
        Table(title, "s", "file", [theirs, ours, again], {}, [Goal(ours.name, 1.5)]),
        Table("peak of the process above its imports", "MB", "file", [weights, memory], {}, [Goal(memory.name, 2.5)]),
    ]


KINDS = {"onnx.load, infer_shapes": "peer", "graphengine": "ours"}


def measured(name: str, path: Path) -> dict[str, float]:
    """What a load takes in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.onnx_import", name, str(path)]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(Path(FOLDER.name, "bytecode"))
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


@cache
def written() -> Path:
    """The file, of random weights."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    draw, nodes, weights = np.random.default_rng(0), [], []

    def weight(name: str, *shape: int) -> str:
        array = np.abs(draw.normal(0.1, 0.05, shape)).astype(np.float32)
        weights.append(numpy_helper.from_array(array, name))
        return name

    def node(op: str, name: str, *inputs: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(op, list(inputs), [name], name, **attributes))
        return name

    def convolved(x: str, name: str, taken: int, made: int, size: int, stride: int = 1) -> str:
        pads, kernel = [size // 2] * 4, weight(f"{name}.weight", made, taken, size, size)
        x = node("Conv", f"{name}.conv", x, kernel, kernel_shape=[size] * 2, strides=[stride] * 2, pads=pads)
        return node("BatchNormalization", f"{name}.norm", x, *[weight(f"{name}.norm.{k}", made) for k in "sbmv"])

    x = node("Relu", "begun", convolved("x", "stem", 3, 64, 7, 2))
    x = node("MaxPool", "pooled", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    for place, (taken, made, stride) in enumerate(BLOCKS):
        name = f"block{place}"
        y = node("Relu", f"{name}.middle", convolved(x, f"{name}.first", taken, made, 3, stride))
        y = convolved(y, f"{name}.second", made, made, 3)
        x = x if taken == made else convolved(x, f"{name}.beside", taken, made, 1, stride)
        x = node("Relu", f"{name}.end", node("Add", f"{name}.sum", y, x))
    x = node("Flatten", "features", node("GlobalAveragePool", "mean", x))
    node("Gemm", "scores", x, weight("scores.weight", 512, 1000), weight("scores.bias", 1000))
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 224, 224])]
    made_of = [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 1000])]
    graph = helper.make_graph(nodes, "resnet18", given, made_of, weights)
    path = Path(FOLDER.name, "resnet18.onnx")
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), path)
    return path


def main() -> None:
    """Print what one load takes in this process, and the next one."""
    import onnx

    import graphengine as ge

    path = sys.argv[2]

    def load() -> object:
        if sys.argv[1] == "graphengine":
            return ge.onnx.load(path)
        return onnx.shape_inference.infer_shapes(onnx.load(path))

    before, found = peak_memory(), {}
    for name in ("first", "next"):
        start = time.process_time()
        load()
        found[name] = time.process_time() - start
        found.setdefault("peak", float(peak_memory() - before))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
