"""Where trained values come from: what a saved model says about its training, under `metadata`."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from graphengine.data.sources import data_hash, name_of
from graphengine.version import __version__
from graphengine.wording import escaped

if TYPE_CHECKING:
    from graphengine.training.underway import Running

PROVENANCE = "provenance"
"""The key of the metadata."""
FIT = "fit"
"""The key of the metadata that has the result of the fit that the values come from."""


def provenance(trainer: Running) -> dict[str, Any]:
    """The data by its hash and, if it was read, the name of its source or file; how far the training went, and how."""
    history, name = trainer.history, name_of(trainer.data)
    return {
        **({} if name is None else {"data": escaped(name)}),
        "data_sha256": _data_sha256(trainer),
        "optimizer": trainer.training.optimizer.type,
        "iterations": len(history),
        "epochs": history.epochs_trained,
        "versions": versions(),
    }


def provenance_in(metadata: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return the provenance that the metadata of a file have, which anyone may have edited; empty without one."""
    found = (metadata or {}).get(PROVENANCE)
    return found if isinstance(found, dict) else {}


_HASHES: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
"""The hash of the data of each training, which takes a second for a gigabyte."""


def _data_sha256(trainer: Running) -> str:
    if trainer not in _HASHES:
        _HASHES[trainer] = data_hash(trainer.data)
    return _HASHES[trainer]


def versions() -> dict[str, str]:
    """What the bits of a training depend on besides model and data."""
    return {"graphengine": __version__, "numpy": np.__version__, "python": platform.python_version()}
