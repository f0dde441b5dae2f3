"""Checkpoints: all that a training needs to go on, to the last bit, from where it was.

A checkpoint is one JSON file, written whole or not at all; of large models the numbers lie in a safetensors file that
is there before the JSON names it. The older ones are removed once a newer one is safe.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from graphengine.data.sources import data_hash
from graphengine.errors import GraphEngineError, TrainingError
from graphengine.format.documents import ExternalValue, FunctionFile
from graphengine.format.files import check_target, write_bytes
from graphengine.format.meaning import as_text
from graphengine.format.tensors import TensorFiles, are_external, write_tensors
from graphengine.format.training_documents import CheckpointDocument, TrainingDocument
from graphengine.format.writing import encode_array
from graphengine.ops.numbers import decode_array
from graphengine.training.events import Every
from graphengine.training.provenance import versions

FORMAT, FORMAT_VERSION = "graphengine.checkpoint", 1
DEFAULT_SECONDS = 60.0
"""Where the training section does not say how often: a checkpoint a minute, and one at the end."""
LIMITS = ("epochs", "max_iterations", "max_seconds", "checkpoint")
"""Keys of a training section that may be others when a training goes on."""
ARRAY, TENSOR = "$array", "$tensor"
"""Keys, which no name of a model can be, for arrays with dtype and shape, and for those in a file of tensors."""
OWN_FILES = re.compile(r"checkpoint-\d{10}(\.json|-[0-9a-f]{12}\.safetensors)|\.checkpoint-\d{10}.*\.tmp")


def identity(
    name: str, fingerprint: str, training: TrainingDocument, rule: FunctionFile, data: Mapping[str, Any]
) -> dict[str, Any]:
    """What a training must have in common with the checkpoint it goes on from."""
    section = training.model_dump(exclude_defaults=True)
    return {
        "model": name,
        "fingerprint": fingerprint,
        "rule": hashlib.sha256(as_text(rule.model_dump())).hexdigest(),
        "data": data_hash(data),
        "training": {key: value for key, value in section.items() if key not in LIMITS},
    }


class Checkpoints:
    """The checkpoints of one training, in a folder of their own, which is made if it is not there.

    Raises
    ------
    GraphEngineError
        GE101 if the folder cannot be made, or nothing be written there.
    """

    def __init__(
        self, folder: Path, identity: Mapping[str, Any], section: CheckpointDocument | None, per_epoch: int
    ) -> None:
        self.folder, self._identity = folder, orjson.loads(orjson.dumps(dict(identity)))
        section = section or CheckpointDocument()
        self.every = Every(section.every_epochs, section.every_iterations, per_epoch)
        counted = section.every_epochs or section.every_iterations
        self._seconds = section.every_seconds or (None if counted else DEFAULT_SECONDS)
        self._keep, self._written_at = section.keep, time.monotonic()
        self.written: int | None = None
        """The iteration of the last checkpoint."""
        self.note = ""
        """What may make the bits of a training that goes on others, in words."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            message = f"cannot make the folder: {error.strerror or error}"
            raise GraphEngineError(message, code="GE101", file=str(folder)) from error
        check_target(folder / "checkpoint-0000000000.json")
        self._remove_leftovers()

    def is_due(self, done: int) -> bool:
        """Whether there is to be a checkpoint after an iteration."""
        late = self._seconds is not None and time.monotonic() - self._written_at >= self._seconds
        return late or self.every.is_due(done)

    def write(self, state: Mapping[str, Any]) -> Path:
        """Write the state of a training; when this returns, it is safe.

        Raises
        ------
        GraphEngineError
            GE101 if it cannot be written.
        """
        stem = f"checkpoint-{state['iteration']:010d}"
        path = self.folder / f"{stem}.json"
        content = {"format": FORMAT, "format_version": FORMAT_VERSION, **self._identity, "versions": versions()}
        content["state"] = _encoded(self._with_tensors(state, stem))
        write_bytes(path, orjson.dumps(content) + b"\n")
        self.written, self._written_at = state["iteration"], time.monotonic()
        for old in self._paths()[: -self._keep]:
            _remove(old)
        self._remove_leftovers()
        return path

    def _with_tensors(self, state: Mapping[str, Any], stem: str) -> Mapping[str, Any]:
        """The state with its arrays in a file of tensors, if they are large."""
        arrays = {f"carried/{name}": value for name, value in state["carried"].items()}
        best = (state["early"] or {}).get("values", {})
        arrays |= {f"best/{name}": value for name, value in best.items()}
        if not are_external(arrays.values()):
            return state
        stored = write_tensors(self.folder, stem, arrays)
        carried = {name: stored[f"carried/{name}"] for name in state["carried"]}
        early = state["early"] and {**state["early"], "values": {name: stored[f"best/{name}"] for name in best}}
        return {**state, "carried": carried, "early": early}

    def newest(self) -> dict[str, Any] | None:
        """The state in the newest checkpoint; None if there is none.

        Raises
        ------
        TrainingError
            GE603 if it cannot be read, or was written by another training.
        """
        paths = self._paths()
        return self.read(paths[-1]) if paths else None

    def read(self, path: Path) -> dict[str, Any]:
        """The state in a checkpoint; raises as `newest`."""
        try:
            if not path.is_file():
                raise ValueError("it is not a plain file")
            content = orjson.loads(path.read_bytes())
            if (content["format"], content["format_version"]) != (FORMAT, FORMAT_VERSION):
                raise ValueError(f"its format is {content['format']} {content['format_version']}")
            other = [key for key, value in self._identity.items() if content[key] != value]
            state: dict[str, Any] = _decoded(content["state"], TensorFiles(self.folder, sys.maxsize))
            before = {name: then for name, then in content["versions"].items() if then != versions().get(name)}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, GraphEngineError) as error:
            raise TrainingError(f"{path} cannot be read as a checkpoint: {error}", code="GE603") from error
        if other:
            hint = "go on with the model, data and settings that it was written with, or use another folder"
            message = f"{path} belongs to another training: {self._difference(content)}"
            raise TrainingError(message, code="GE603", hint=hint)
        self.written = state["iteration"]
        if before:
            self.note = f"{path.name} was written with {_listed(before)}: the last bits may differ"
        return state

    def _difference(self, content: Mapping[str, Any]) -> str:
        """What is not as it was when a checkpoint was written."""
        names = {"fingerprint": "the model", "rule": "the update rule", "data": "the data", "model": "the model's name"}
        before, now = content["training"], self._identity["training"]
        keys = [f"'{key}'" for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
        changed = [what for key, what in names.items() if content[key] != self._identity[key]] + keys
        return f"{', '.join(changed)} {'is' if len(changed) == 1 else 'are'} not the same"

    @property
    def exist(self) -> bool:
        """Whether there are checkpoints."""
        return bool(self._paths())

    def _paths(self) -> list[Path]:
        """The checkpoints, the newest last."""
        return sorted(path for path in self.folder.glob("checkpoint-*.json") if OWN_FILES.fullmatch(path.name))

    def _remove_leftovers(self) -> None:
        """Remove temporary files, and tensors of no checkpoint: what a process that was killed left behind."""
        stems = {path.stem for path in self._paths()}
        for path in self._own_files():
            if path.suffix != ".json" and path.name[: len("checkpoint-0123456789")] not in stems:
                _remove(path)

    def _own_files(self) -> list[Path]:
        with contextlib.suppress(OSError):
            return [path for path in self.folder.iterdir() if OWN_FILES.fullmatch(path.name)]
        return []


def _remove(path: Path) -> None:
    """Remove a file; what cannot be removed stays, because it does no harm."""
    with contextlib.suppress(OSError):
        path.unlink()


def _listed(names: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in names.items())


def _encoded(value: Any) -> Any:
    """A state as JSON values: an array says its dtype and shape, so that it comes back as it was."""
    if isinstance(value, Mapping):
        return {name: _encoded(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_encoded(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):  # which JSON has not
        value = np.float64(value)
    if isinstance(value, (np.ndarray, np.generic)):
        return {ARRAY: [value.dtype.name, list(value.shape), encode_array(np.ravel(value))]}
    if isinstance(value, ExternalValue):
        return {TENSOR: value.model_dump()}
    return value


def _decoded(value: Any, files: TensorFiles) -> Any:
    if isinstance(value, list):
        return [_decoded(item, files) for item in value]
    if not isinstance(value, dict):
        return value
    if ARRAY in value:
        dtype, shape, values = value[ARRAY]
        return decode_array(values, np.dtype(dtype)).reshape(shape)[()]
    if TENSOR in value:
        return files.array(ExternalValue.model_validate(value[TENSOR]))[()]
    return {name: _decoded(item, files) for name, item in value.items()}
