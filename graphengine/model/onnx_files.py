"""ONNX files: `ge.onnx.export` writes graphs of a model, `ge.onnx.load` reads what others made (the extra `onnx`)."""

from __future__ import annotations

from graphengine.model.from_onnx import from_proto, load
from graphengine.model.to_onnx import export, onnx_proto

__all__ = ["export", "from_proto", "load", "onnx_proto"]
