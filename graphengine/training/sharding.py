"""Sharded gradients: the batch of an iteration in shards of a fixed number of rows, added as a fixed binary tree.

Who computes the gradient of a shard, and how many shards one worker has, does not change a bit of the sum. Without
workers this process computes them all. Products of matrices run in one thread in each worker: more threads may add in
another order.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

from threadpoolctl import ThreadpoolController

from graphengine.backends.in_parts import InParts
from graphengine.backends.one_thread import one_blas_thread
from graphengine.backends.totals import Subtotal
from graphengine.mappings import only
from graphengine.training.accumulation import Accumulation

Subtotals = Mapping[str, list[Subtotal]]
"""What a pass merges of some shards in a row, by name."""


@dataclass(frozen=True)
class ShardRequest:
    """One pass over the shards of an iteration: the place of the pass, and the values that it reads."""

    iteration: int
    place: int
    shards: int
    samples: int
    values: Mapping[str, Any]

    def dealt(self, workers: int) -> list[tuple[int, int]]:
        """The first shard and the one after the last of each worker, of which there may be less than asked for."""
        count = min(workers, self.shards)
        return list(itertools.pairwise(self.shards * place // count for place in range(count + 1)))


class Workers(Protocol):
    """Processes that compute subtotals of shards; each has the model and the data."""

    def subtotals(self, request: ShardRequest) -> Iterable[Subtotals]:
        """Give the subtotals of all shards of a request, in pieces in the order of the shards.

        Raises
        ------
        WorkersError
            GE607 if there is no worker left.
        """


class Sharding(Accumulation):
    """An accumulation over shards, which `workers` compute if there are any."""

    workers: Workers | None = None

    def _run(
        self,
        values: Mapping[str, Any],
        batches: Sequence[Mapping[str, Any]],
        samples: int,
        updates: Mapping[str, str],
        iteration: int,
    ) -> dict[str, Any]:
        staged = self.staged(samples)

        def run_pass(place: int, values: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
            if self.workers is None:
                pieces: Iterable[Subtotals] = [subtotals(staged, place, values, batches)]
            else:
                needed = only(values, staged.stages.passes[place].graph.sources)
                pieces = self.workers.subtotals(ShardRequest(iteration, place, len(batches), samples, needed))
            return staged.merged(place, pieces), batches[0]

        return staged.run_passes(values, run_pass, lambda: batches[0])

    def twin(self) -> Sharding:
        """A sharding with its own programs, for another thread."""
        twin = copy(self)
        twin.workers, twin._in_parts = None, {}
        return twin

    def subtotals_of(self, request: ShardRequest, parts: Iterable[Mapping[str, Any]], first: int) -> Subtotals:
        """The subtotals of shards from `first` on, of these rows."""
        return subtotals(self.staged(request.samples), request.place, request.values, parts, first)


def subtotals(
    staged: InParts, place: int, values: Mapping[str, Any], parts: Iterable[Mapping[str, Any]], first: int = 0
) -> Subtotals:
    """Return what a pass merges of some shards, computed in one thread."""
    with one_thread():
        return staged.subtotals(place, values, parts, first)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let products of matrices run in one thread, of those of BLAS in all threads of this process."""
    with one_blas_thread(), _threads().limit(limits=1, user_api="openmp"):
        yield


@cache
def _threads() -> ThreadpoolController:
    return ThreadpoolController()
