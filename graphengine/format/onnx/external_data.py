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


def write_model(path: Path, proto: Any, arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Write an ONNX model whose initializers `arrays` lie beside it.

    Raises
    ------
    GraphEngineError
        GE101 if a file cannot be written. The old files are then untouched.
    """
    stem = path.name  # the stem alone belongs to a model file

    def finish(named: Mapping[str, Any]) -> None:
        places = places_of(arrays)
        for name, value in named.items():
            proto.graph.initializer.append(_external(name, arrays[name], value.file, places[name]))
        write_bytes(path, proto.SerializeToString())

    if arrays or tensors_of(path, stem):
        with one_writer(path):
            write_beside(path, stem, arrays, finish)
    else:
        finish({})


def _external(name: str, array: np.ndarray[Any, Any], file: str, place: int) -> Any:
    """Return a tensor that names the part of a file that has its numbers."""
    onnx = optional("onnx", "onnx")
    kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
    tensor = onnx.TensorProto(name=name, data_type=kind, dims=array.shape)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, text in {"location": file, "offset": str(place), "length": str(array.nbytes)}.items():
        tensor.external_data.add(key=key, value=text)
    return tensor
