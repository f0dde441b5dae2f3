"""What the last bits of a training depend on besides the model and its data: versions, and how this machine computes.

NumPy chooses its loops by the SIMD groups of the processor, the matrix library its kernel by the processor and how to
split a product by its threads; each choice adds in another order.
"""

from __future__ import annotations

import functools
import platform
import re
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import numpy as np

from graphengine.backends.protocol import DEFAULT_BACKEND
from graphengine.training.provenance import versions

_OF_NUMPY = re.compile(r"[\\/]numpy(\.libs|[\\/]\.dylibs)[\\/]")
"""Where NumPy's wheels keep their matrix library; SciPy's have another copy, which no model computes with."""


def arithmetic(backend: str = DEFAULT_BACKEND) -> dict[str, str]:
    """Return what the bits of a training depend on, by name; machines that compute alike have the same words."""
    config: Any = np.show_config(mode="dicts")
    simd = config.get("SIMD Extensions", {})
    return {
        **versions(),
        "backend": _with_version(backend),
        "platform": " ".join(filter(None, (platform.system(), platform.machine(), *platform.libc_ver()))),
        "simd": " ".join([*simd.get("baseline", ()), *simd.get("found", ())]) or "none",
        "blas": _matrix_library(config),
    }


@functools.cache  # reading what a package declares takes a millisecond
def _with_version(package: str) -> str:
    """Return a name, such as "jax:gpu", with the version of the package that is called so, if there is one."""
    try:
        return f"{package} {metadata.version(package.partition(':')[0])}"
    except metadata.PackageNotFoundError:
        return package


def _matrix_library(config: Mapping[str, Any]) -> str:
    """Return the name, version, kernel and number of threads of the library that multiplies NumPy's matrices."""
    used = _used_libraries()
    if not used:  # one that threadpoolctl does not know, such as Accelerate
        built = config.get("Build Dependencies", {}).get("blas", {})
        return f"{built.get('name', 'unknown')} {built.get('version', '')}".strip()
    return "; ".join(sorted(set(map(_library, used))))


def _used_libraries() -> list[Mapping[str, Any]]:
    """The libraries that multiply NumPy's matrices: the one in NumPy's wheel, or all that are loaded."""
    from threadpoolctl import threadpool_info  # where a training is saved, and not at each start

    loaded = [each for each in threadpool_info() if each["user_api"] == "blas"]
    return [each for each in loaded if _OF_NUMPY.search(each["filepath"])] or loaded


def _library(found: Mapping[str, Any]) -> str:
    parts = (found["internal_api"], found.get("version"), found.get("architecture"))
    return f"{' '.join(str(part) for part in parts if part)}, threads: {found['num_threads']}"
