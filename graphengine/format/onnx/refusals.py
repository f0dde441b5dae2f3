"""Why ops have no counterpart in ONNX."""

from __future__ import annotations

_REASONS = {
    "ONNX has no decompositions of matrices": ("cholesky", "cofactor", "det", "inv", "solve"),
    "ONNX has no such function": (
        "betaln",
        "digamma",
        "erfc",
        "erfcx",
        "faddeeva_imag",
        "faddeeva_real",
        "inverse_mills",
        "log_erfc",
        "log_ndtr",
        "polygamma",
    ),
    "ONNX has no recurrence along an axis but sums": ("cumprod", "linear_recurrence"),
    "ONNX has no search in sorted values": ("interp", "searchsorted"),
    "it is not made of ops": ("confusion_matrix",),
}
REASONS = {op: reason for reason, ops in _REASONS.items() for op in ops}
"""The reason by op."""
OTHER = "the op has no counterpart in ONNX"
OF_A_PLUGIN = "it is an op of a plugin, and its forward is not made of ops alone"
