"""Values beside an ONNX file: external data in a file of safetensors, whose header ONNX runtimes skip.

So the numbers are written as those beside a model file are: under a new name with a hash, before the file that names
them, and removed with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from graphengine.extras import optional
from graphengine.format.files import write_bytes
from graphengine.format.safetensors import places_of
from graphengine.format.tensors import one_writer, tensors_of, write_beside

SMALLEST = 1024
"""Bytes from which a tensor is external data; smaller ones, such as shapes, stay in the file."""


def write_model(path: Path, proto: Any, arrays: Mapping[str, np.ndarray[Any, Any]], types: Mapping[str, int]) -> None:
    """Write an ONNX model whose initializers `arrays` lie beside it, with ONNX's numbers of their types.

    Raises
    ------
    GraphEngineError
        GE101 if a file cannot be written. The old files are then untouched.
    """
    stem = path.name  # the stem alone belongs to a model file
    onnx = optional("onnx", "onnx")
    bfloat16 = [name for name in arrays if types[name] == onnx.TensorProto.BFLOAT16]

    def finish(named: Mapping[str, Any]) -> None:
        places = places_of(arrays, bfloat16)
        for name, value in named.items():
            tensor = proto.graph.initializer.add(name=name, data_type=types[name], dims=arrays[name].shape)
            tensor.data_location = onnx.TensorProto.EXTERNAL
            entries = {"location": value.file, "offset": places[name], "length": arrays[name].nbytes}
            for key, entry in entries.items():
                tensor.external_data.add(key=key, value=str(entry))
        write_bytes(path, proto.SerializeToString())

    if arrays or tensors_of(path, stem):
        with one_writer(path):
            write_beside(path, stem, arrays, finish, bfloat16)
    else:
        finish({})
