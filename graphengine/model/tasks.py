"""A model and a data source of its file, as another process opens them: a path and a fingerprint, and no model.

A process keeps the model that it opened last, because it gets one task after the other.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

from graphengine import hooks, plugins
from graphengine.errors import TrainingError, UsageError
from graphengine.format.meaning import fingerprint
from graphengine.limits import Limits
from graphengine.model.model import Model, load
from graphengine.training.sharding import one_thread

Workers: TypeAlias = int | str
"""A number of processes on this machine, or the address of a Dask scheduler."""
Work: TypeAlias = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class ModelTask:
    """A model file, and the data source of it that is used; `plugins` are those that this process has loaded.

    Where a task brings a training section along, that of the file does not count.
    """

    path: str
    fingerprint: str
    source: str
    backend: str
    limits: Limits
    plugins: tuple[str, ...]
    has_training: bool

    def open(self) -> Model:
        """The model of the file, read once by each process.

        Raises
        ------
        TrainingError
            If the file is not the one that the task was made for.
        """
        return _opened(self)


@lru_cache(maxsize=1)
def _opened(task: ModelTask) -> Model:
    plugins.load_plugins(task.plugins)
    model = load(task.path, limits=task.limits, backend=task.backend)
    if _meaning_of(model, task.has_training) != task.fingerprint:
        hint = "save the model, and use that file"
        raise TrainingError(f"workers open {task.path}, which is not the model that is used here", hint=hint)
    return model


def task_of(model: Model, data: Any, *, has_training: bool = True) -> ModelTask:
    """The task to open a model and a data source of its file; None is the source that the training section names.

    Without `has_training` the section of the file does not count.

    Raises
    ------
    UsageError
        GE801 if the model has no file, the data is no source of it, or a caller gave its update rule.
    """
    if model.path is None:
        raise UsageError("workers open the file of a model, and this one has none", hint="save it, and load the file")
    if model.given_rule is not None:
        raise UsageError("workers open the file of a model, which has no update rule of a caller")
    source = _source_of(model, data)
    path, loaded = os.fspath(model.path.resolve()), tuple(plugins.LOADED)
    meaning = _meaning_of(model, has_training)
    return ModelTask(path, meaning, source, model.backend.name, model.limits, loaded, has_training)


def _source_of(model: Model, data: Any) -> str:
    """The data source of the file that is meant: by default that of the training section, or the first."""
    sources = model.document.data
    source = data or model.document.training_data or next(iter(sources), None)
    if not isinstance(source, str) or source not in sources:
        hint = "declare the data in the file, under 'data', and name it in training.data"
        raise UsageError("workers read a data source of the model file", hint=hint)
    return source


def _meaning_of(model: Model, has_training: bool) -> str:
    document = model.document
    return fingerprint(document if has_training else document.model_copy(update={"training": None}))


def require_workers(workers: Workers) -> None:
    """Refuse what is neither a number of processes nor an address.

    Raises
    ------
    UsageError
        GE801.
    """
    if not (_is_count(workers) or (isinstance(workers, str) and "://" in workers)):
        hint = "a number of processes, at least 1, or the address of a Dask scheduler, such as tcp://host:8786"
        raise UsageError(f"invalid workers: {workers!r}", hint=hint)


def _is_count(workers: Workers) -> bool:
    return isinstance(workers, int) and not isinstance(workers, bool) and workers > 0


def over_workers(work: Work, common: Any, tasks: Sequence[Any], workers: Workers) -> Iterator[Any]:
    """Yield what `work` makes of what is common and each task, in their order, each computed in one thread.

    Raises
    ------
    GraphEngineError
        GE418 if processes or a scheduler end before the work; what `work` raises.
    """
    require_workers(workers)
    found: Iterator[Any] = hooks.over_workers(_in_one_thread, (work, common), tasks, workers)
    return found


def _in_one_thread(common: tuple[Work, Any], task: Any) -> Any:
    work, shared = common
    with one_thread():
        return work(shared, task)
