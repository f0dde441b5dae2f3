"""Tasks that others compute: processes of this machine, by joblib, or the workers of a Dask scheduler."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

from graphengine.dask import in_cluster
from graphengine.errors import GraphEngineError
from graphengine.extras import optional
from graphengine.model.shard_tasks import answered, opened

Work: TypeAlias = Callable[[Any, Any], Any]


def over_workers(work: Work, common: Any, tasks: Sequence[Any], workers: int | str) -> Iterator[Any]:
    """Yield what `work` makes of `common` and each task, in the order of the tasks, as soon as it is there.

    `workers` is a number of processes, of which one is this process, or the address of a scheduler.

    Raises
    ------
    UsageError
        GE803 if joblib or Dask is not installed.
    GraphEngineError
        GE418 if processes or the scheduler end before the work; what `work` raises.
    """
    if isinstance(workers, str):
        return _in_order(work, common, tasks, workers)
    if workers == 1:
        return (work(common, task) for task in tasks)
    return _in_processes(work, common, tasks, workers)


def _in_processes(work: Work, common: Any, tasks: Sequence[Any], workers: int) -> Iterator[Any]:
    joblib = optional("joblib", "workers")
    lost = optional("joblib.externals.loky.process_executor", "workers").BrokenProcessPool
    pool = joblib.Parallel(n_jobs=min(workers, len(tasks)), backend="loky", return_as="generator")
    try:
        yield from pool(joblib.delayed(_done)(work, common, task) for task in tasks)
    except lost as error:
        hint = "use fewer workers if the memory was used up"
        raise GraphEngineError("a process ended before its work was done", code="GE418", hint=hint) from error


def _done(work: Work, common: Any, task: Any) -> Any:
    """What `work` returns; raises what it raises so that another process can read it."""
    return opened(answered(work, common, task))


def _in_order(work: Work, common: Any, tasks: Sequence[Any], address: str) -> Iterator[Any]:
    early: dict[int, Any] = {}
    place = 0
    for (done, _), result in in_cluster(_unnumbered, (work, common), list(enumerate(tasks)), address):
        early[done] = result
        while place in early:
            yield early.pop(place)
            place += 1


def _unnumbered(common: tuple[Work, Any], task: tuple[int, Any]) -> Any:
    (work, shared), (_, given) = common, task
    return work(shared, given)
