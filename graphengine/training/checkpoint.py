"""Checkpoints: all that a training needs to resume, to the last bit, where it was.

A checkpoint is one JSON file, written whole or not at all; of large models the numbers lie in a safetensors file that
is there before the JSON names it. The older ones are removed once a newer one is safe. What is read is checked like any
other file.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import orjson

from graphengine.backends.protocol import DEFAULT_BACKEND
from graphengine.data.sources import data_hash
from graphengine.errors import GraphEngineError, InvalidModelError, TrainingError, UsageError, make_pointer
from graphengine.format.checkpoint_documents import CHECKPOINT_FORMAT, CheckpointFile
from graphengine.format.documents import (
    CheckpointDocument,
    ExternalValue,
    FunctionFile,
    ModelDocument,
    TrainingDocument,
)
from graphengine.format.files import check_target, write_bytes, writing
from graphengine.format.locks import Lock
from graphengine.format.meaning import as_text, fingerprint
from graphengine.format.reading import Source, parse_document, read_bytes
from graphengine.format.tensors import TensorFiles, are_external, write_tensors
from graphengine.limits import DEFAULT, Limits
from graphengine.training.history import LOG
from graphengine.training.machine import arithmetic
from graphengine.training.states import (
    Place,
    State,
    StateLayout,
    arrays_of,
    document_of,
    outside,
    state_of,
    state_problems,
)
from graphengine.training.validation import Every

DEFAULT_SECONDS = 60.0
"""Where the training section does not say how often: a checkpoint a minute, and one at the end."""
LIMITS: dict[str, Any] = {
    "epochs": True,
    "max_iterations": True,
    "max_seconds": True,
    "checkpoint": True,
    "early_stopping": {"patience"},
}
"""The settings that may be others when a training resumes: they say when it ends, and change nothing before."""
IDENTIFYING = {
    "model": "the model's name",
    "fingerprint": "the model",
    "rule": "the update rule",
    "data": "the data",
    "fixed": "a value that is not trained",
}
"""Keys of a checkpoint that a training which resumes must have alike, in words."""
_HOLDERS: WeakValueDictionary[Path, Checkpoints] = WeakValueDictionary()
"""Who in this process has, or had, a folder."""
OWN_FILES = re.compile(r"checkpoint-\d{10}(\.json|-[0-9a-f]{12}\.safetensors)|\.checkpoint-\d{10}.*\.tmp")


def identity(
    document: ModelDocument,
    training: TrainingDocument,
    rule: FunctionFile,
    data: Mapping[str, Any],
    fixed: Mapping[str, Any],
) -> dict[str, Any]:
    """What a training must have in common with the checkpoint it resumes from; `fixed` are values it does not change.

    The training section is compared by its keys, without limits, and data by its numbers, wherever they come from.
    """
    model = document.model_copy(update={"training": None, "data": {}})
    section = training.model_dump(exclude_defaults=True, exclude={**LIMITS, "data": True})
    return {
        "model": document.name,
        "fingerprint": fingerprint(model),
        "rule": hashlib.sha256(as_text(rule.model_dump())).hexdigest(),
        "data": data_hash(data),
        "fixed": data_hash(fixed),
        "training": section,
    }


class Checkpoints:
    """The checkpoints of one training, in their own folder, which is made if it is not there.

    `identity` is what a training must have in common with the one that it resumes, `layout` what its state must have;
    `limits` bound what is read; `backend` is the name of what computes.

    Raises
    ------
    GraphEngineError
        GE101 if the folder cannot be made, or nothing be written there.
    """

    folder: Path
    every: Every
    note: str
    is_idle: bool

    def __init__(
        self,
        folder: Path,
        identity: Mapping[str, Any],
        layout: StateLayout,
        section: CheckpointDocument | None,
        limits: Limits = DEFAULT,
        backend: str = DEFAULT_BACKEND,
    ) -> None:
        self.folder, self._identity = folder, orjson.loads(orjson.dumps(dict(identity)))
        self._layout, self._limits, self._versions = layout, limits, arithmetic(backend)
        section = section or CheckpointDocument()
        self.every = Every(section.every_epochs, section.every_iterations, layout.per_epoch)
        counted = section.every_epochs or section.every_iterations
        self._seconds = section.every_seconds or (None if counted else DEFAULT_SECONDS)
        self._keep, self._written_at = section.keep, time.monotonic()
        self.written: int | None = None
        """The iteration of the last checkpoint."""
        self.note = ""
        """What may make the bits of a resumed training others, in words."""
        self.is_idle = False
        """Whether the training waits for its caller: it may be one that was left and is never continued."""
        _make(folder)
        check_target(folder / "checkpoint-0000000000.json")
        self._lock = Lock(folder / "checkpoint.lock")

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other trainings out of the folder.

        A training of this process that is idle is none that could be waited for: it loses the folder.

        Raises
        ------
        TrainingError
            GE603 if another training is at work there, or has written there since this one last looked.
        """
        if self._lock.is_held:
            yield
            return
        holder = _HOLDERS.get(self.folder.resolve())
        if holder and holder.is_idle:
            holder._lock.release()
        with writing(self._lock.path):
            locked = self._lock.acquire()
        if not locked:
            hint = "wait until it ends, or name another folder"
            raise TrainingError(f"another training uses {self.folder}", code="GE603", hint=hint)
        _HOLDERS[self.folder.resolve()] = self
        try:
            self._remove_leftovers()
            yield
        finally:
            self._lock.release()

    @contextlib.contextmanager
    def idle(self) -> Iterator[None]:
        """While the caller has a row; raises as `alone` if the folder is another training's by then."""
        self.is_idle = True
        yield
        self.is_idle = False
        if not self._lock.is_held:
            message = f"another training of this process has taken over {self.folder}"
            raise TrainingError(message, code="GE603", hint="resume that one, or name another folder")

    def require_own(self) -> None:
        """Refuse to train on from a checkpoint that is no longer the newest one; raises as `alone`."""
        paths = self._paths()
        if paths and paths[-1].stem != _stem(self.written):
            message = f"another training has written to {self.folder} in the meantime"
            raise TrainingError(message, code="GE603", hint="resume from there, or name another folder")

    def is_due(self, done: int) -> bool:
        """Whether there is to be a checkpoint after an iteration."""
        late = self._seconds is not None and time.monotonic() - self._written_at >= self._seconds
        return late or self.every.is_due(done)

    def write(self, state: State) -> Path:
        """Write the state of a training; when this returns, it is safe.

        Raises
        ------
        GraphEngineError
            GE101 if it cannot be written.
        TrainingError
            GE603 if the folder is another training's.
        """
        with self.alone():
            return self._write(state)

    def _write(self, state: State) -> Path:
        stem = _stem(state["iteration"])
        path, arrays = self.folder / f"{stem}.json", arrays_of(state)
        content = {"format": CHECKPOINT_FORMAT, "format_version": 1, **self._identity, "versions": self._versions}
        content["state"] = document_of(state, self._stored(stem, arrays))
        write_bytes(path, orjson.dumps(content) + b"\n")
        self.written, self._written_at = state["iteration"], time.monotonic()
        LOG.debug("checkpoint %s", path)
        for old in self._paths()[: -self._keep]:
            _remove(old)
        self._remove_leftovers()
        return path

    def _stored(self, stem: str, arrays: Mapping[Place, Any]) -> dict[Place, ExternalValue]:
        """Write a file of tensors if the arrays of a state are many numbers; gives where each of them is."""
        if not are_external(arrays.values()):
            return {}
        apart = {make_pointer(place)[1:]: place for place in outside(arrays)}
        written = write_tensors(self.folder, stem, {name: arrays[place] for name, place in apart.items()})
        return {apart[name]: value for name, value in written.items()}

    def newest(self) -> State | None:
        """The state in the newest checkpoint; None if there is none.

        Raises
        ------
        TrainingError
            GE603 if it cannot be read, or was written by another training.
        """
        paths = self._paths()
        return self.read(paths[-1]) if paths else None

    def read(self, path: Path) -> State:
        """The state in a checkpoint; raises as `newest`."""
        try:
            state = self._read(path)
        except InvalidModelError as error:
            said = "cannot be read as a checkpoint: "
            raise TrainingError(
                replace(each, code="GE603", message=said + each.message) for each in error.problems
            ) from error
        self.written = state["iteration"]
        return state

    def _read(self, path: Path) -> State:
        if not path.is_file():
            raise InvalidModelError("it is not a plain file", file=str(path))
        source = Source(read_bytes(path, self._limits), str(path))
        content = parse_document(source, CheckpointFile, CHECKPOINT_FORMAT, self._limits)
        self._require_own(content, path)
        state, problems = state_of(content.state, TensorFiles(self.folder, 2 * self._limits.array_bytes))
        if problems := problems or list(state_problems(state, self._layout)):
            raise source.locate(problems)
        if differences := _differences(content.versions, self._versions):
            self.note = f"{path.name} was written with {', '.join(differences)}: the last bits may differ"
        return state

    def _require_own(self, content: CheckpointFile, path: Path) -> None:
        """Refuse a checkpoint of another training."""
        then = content.model_dump(include=set(self._identity))
        if changed := list(_changes(then, self._identity)):
            hint = "resume with the model, data and settings that it was written with, or use another folder"
            what = f"{', '.join(changed)} {'is' if len(changed) == 1 else 'are'} not the same"
            raise TrainingError(f"it belongs to another training: {what}", code="GE603", hint=hint, file=str(path))

    @property
    def exist(self) -> bool:
        """Whether there are checkpoints."""
        return bool(self._paths())

    def _paths(self) -> list[Path]:
        """The checkpoints, the newest last."""
        return sorted(path for path in self.folder.glob("checkpoint-*.json") if OWN_FILES.fullmatch(path.name))

    def _remove_leftovers(self) -> None:
        """Remove temporary files, and tensors of no checkpoint: what a killed process left."""
        stems = {path.stem for path in self._paths()}
        for path in self._own_files():
            if path.suffix != ".json" and path.name[: len("checkpoint-0123456789")] not in stems:
                _remove(path)

    def _own_files(self) -> list[Path]:
        with contextlib.suppress(OSError):
            return [path for path in self.folder.iterdir() if OWN_FILES.fullmatch(path.name)]
        return []


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        message = "cannot make the folder for checkpoints: there is a file of that name"
        raise UsageError(message, code="GE101", file=str(folder), hint="name another folder") from error
    except OSError as error:
        message = f"cannot make the folder for checkpoints: {error.strerror or error}"
        raise GraphEngineError(message, code="GE101", file=str(folder)) from error


def _stem(iteration: int | None) -> str:
    return f"checkpoint-{iteration or 0:010d}"


def _remove(path: Path) -> None:
    """Remove a file; what cannot be removed stays, because it does no harm."""
    with contextlib.suppress(OSError):
        path.unlink()


def _changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """What identifies a training and is not as it was, in words."""
    yield from (what for key, what in IDENTIFYING.items() if then[key] != now[key])
    before, after = then["training"], now["training"]
    yield from (f"'{key}'" for key in sorted({*before, *after}) if before.get(key) != after.get(key))


def _differences(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """With what else a checkpoint was written, and with what it would be now."""
    return [f"{name} {then.get(name, 'unknown')} (now {now[name]})" for name in now if then.get(name) != now[name]]
