"""The bridge to Dask: tasks of this package on a cluster whose scheduler the caller names.

A task is a function of this package and plain data: paths, numbers, a fingerprint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from graphengine.errors import GraphEngineError
from graphengine.extras import optional

Task = TypeVar("Task")
Result = TypeVar("Result")
RETRIES = 5
"""How often a task is done again whose worker has died or been lost."""
WAITING = "15s"
"""How long a scheduler may take to answer."""


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """A client of the scheduler at an address such as `tcp://host:8786`.

    Raises
    ------
    GraphEngineError
        GE418 if it does not answer, or no longer does.
    UsageError
        GE803 if Dask is not installed.
    """
    distributed = optional("distributed", "dask")
    try:
        client = distributed.Client(address, timeout=WAITING, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise lost(address, error) from error
    with client, client.as_current():
        yield client


def in_cluster(
    work: Callable[[Any, Task], Result], common: Any, tasks: Sequence[Task], address: str
) -> Iterator[tuple[Task, Result]]:
    """Yield each task with its result, as they are done on a cluster; as `scale.processes.in_processes`.

    Raises
    ------
    GraphEngineError
        GE418 if the scheduler does not answer or workers die again and again; what `work` raises.
    """
    distributed = optional("distributed", "dask")
    with connected(address) as client:
        places = {client.submit(work, common, task, pure=False, retries=RETRIES): task for task in tasks}
        try:
            for future in distributed.as_completed(list(places)):
                yield places[future], future.result()
        except GraphEngineError:
            raise
        except Exception as error:  # whatever Dask raises when it is lost
            raise lost(address, error) from error


def lost(address: str, error: Exception) -> GraphEngineError:
    """Return the error about a cluster that does not do its work."""
    message = f"the cluster at {address} does not do the work: {type(error).__name__}: {str(error)[:200]}"
    return GraphEngineError(
        message, code="GE418", hint="start it, and run the same command again; what is done is kept"
    )
