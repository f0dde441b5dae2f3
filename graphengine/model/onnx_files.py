"""ONNX files: `ge.onnx.export` writes graphs of a model, `ge.onnx.load` reads what others made (the extra `onnx`)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from graphengine.gc_pause import paused

if TYPE_CHECKING:
    from graphengine.model.from_onnx import from_proto, load
    from graphengine.model.to_onnx import export, onnx_proto

__all__ = ["export", "from_proto", "load", "onnx_proto"]


def __getattr__(name: str) -> Any:
    """Import what reads files without what writes them, and the other way round: each takes a tenth of a second."""
    if name not in __all__:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    reads = name in ("load", "from_proto")
    with paused():
        module = import_module("graphengine.model.from_onnx") if reads else import_module("graphengine.model.to_onnx")
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
