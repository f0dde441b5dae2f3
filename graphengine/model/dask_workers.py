"""The workers of a Dask cluster, as a training asks them for the shards of its iterations.

Each is an actor, which answers calls through Dask. One on this host is also asked through a pipe, where a call takes a
tenth of the time.
"""

from __future__ import annotations

import itertools
import secrets
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import nullcontext
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client
from typing import Any

import numpy as np

from graphengine.backends.totals import Subtotal
from graphengine.errors import GraphEngineError, WorkersError
from graphengine.extras import optional
from graphengine.model.shard_tasks import GONE, MOST_LOSSES, Piped, PipedActor, TrainingTask, opened
from graphengine.training.history import LOG
from graphengine.training.sharding import ShardRequest, Subtotals

PATIENCE = 60.0
"""Seconds that a scheduler without a worker gets to start one."""
LOOK_AGAIN = 1.0
"""Seconds after which a training that has lost workers looks for new ones."""
LOST = (OSError, EOFError, RuntimeError, TimeoutError, CancelledError)
"""What Dask, or a pipe, raises where the worker of an actor is gone. What its code raises comes as an answer."""


class DaskWorkers:
    """The workers of a Dask cluster, as actors, for one training: each computes some shards of an iteration in a row.

    An actor that is lost is made again by a worker that is there, and its shards are computed again. If a worker has
    several actors, one of them moves to each new worker.
    """

    def __init__(self, client: Any, task: TrainingTask) -> None:
        self._client, self._task = client, task
        self._lost = (*LOST, optional("distributed", "dask").KilledWorker)
        self._actors: list[Any] = [None] * len(self._waited_for())
        self._turns = itertools.count()
        self._missing, self._looked = 0, time.monotonic()

    def subtotals(self, request: ShardRequest) -> Iterator[Subtotals]:
        """Give the subtotals of all shards, in the order of the shards; raises as `sharding.Workers`."""
        self._move_to_new_workers()
        asked = [(place, *pair) for place, pair in enumerate(request.dealt(len(self._actors)))]
        sent = [self._sent(request, *each) for each in asked]
        for each, answer in zip(asked, sent, strict=True):
            yield self._found(request, *each, answer)
        self._report(request.iteration)

    def _places(self) -> Counter[str]:
        """How many actors each worker has."""
        return Counter(actor[0] for actor in self._actors if actor is not None)

    def _move_to_new_workers(self) -> None:
        """Give up actors that share a worker, as many as there are workers without one, which then get them."""
        if not self._missing or time.monotonic() < self._looked + LOOK_AGAIN:
            return
        self._looked, places = time.monotonic(), self._places()
        free = len(set(self._addresses()) - set(places))
        for place, actor in enumerate(self._actors):
            if free and actor is not None and places[actor[0]] > 1:
                self._actors[place] = None
                places[actor[0]] -= 1
                free -= 1

    def _report(self, iteration: int) -> None:
        """Log how many workers compute, if that has changed."""
        places = self._places()
        missing = places.total() - len(places)
        if missing != self._missing:
            self._missing = missing
            LOG.warning("iteration %d was computed by %d of %d workers", iteration, len(places), places.total())

    def _found(self, request: ShardRequest, place: int, first: int, stop: int, answer: Any) -> Subtotals:
        for _ in range(MOST_LOSSES):
            if answer is not None:
                try:
                    found = self._checked(answer, self._actors[place][0])
                except Exception as error:  # noqa: BLE001 - raised if it is no loss
                    self._give_up(place, error)
                else:
                    return _opened(found)
            answer = self._sent(request, place, first, stop)
        raise WorkersError(f"{MOST_LOSSES} workers in a row ended while they computed iteration {request.iteration}")

    def _sent(self, request: ShardRequest, place: int, first: int, stop: int) -> Any:
        """The answer of an actor to come, None where its worker is lost."""
        try:
            if self._actors[place] is None:
                self._actors[place] = self._actor()
            return self._actors[place][1].subtotals(request, first, stop)
        except Exception as error:  # noqa: BLE001 - raised if it is no loss
            self._give_up(place, error)
            return None

    def _give_up(self, place: int, error: Exception) -> None:
        """Give up an actor whose worker is lost; raises an error that means something else.

        Dask's client raises anything while it closes because its scheduler is gone, which is found next.
        """
        is_lost = isinstance(error, self._lost) or self._client.status != "running"
        if isinstance(error, GraphEngineError) or not is_lost:
            raise error
        self._actors[place] = None

    def _actor(self) -> tuple[str, Any]:
        """An actor on the worker that has the fewest of them; workers with as many take turns."""
        addresses, places, turn = self._waited_for(), self._places(), next(self._turns)
        turn %= len(addresses)
        address = min([*addresses[turn:], *addresses[:turn]], key=lambda each: places[each])
        future = self._client.submit(PipedActor, self._task, actor=True, pure=False, workers=[address])
        actor = self._checked(future, address)
        return address, self._piped(actor, address) or actor

    def _piped(self, actor: Any, address: str) -> Piped | None:
        """The actor with a pipe to it, None if there is none from here."""
        name, key = f"\0graphengine-{secrets.token_hex(16)}", secrets.token_bytes(32)
        if not self._checked(actor.listen(name, key, socket.gethostname()), address):
            return None
        try:
            return Piped(actor, Client(name, "AF_UNIX", authkey=key))
        except (AuthenticationError, *GONE):  # another host may have the name of this one
            return None

    def _checked(self, future: Any, address: str) -> Any:
        """The result of a future, as long as its worker is there."""
        while True:
            try:
                with nullcontext() if isinstance(future, Piped) else self._client.as_current():
                    return future.result(timeout=1.0)  # an actor that arrives looks for its client
            except TimeoutError:
                if address not in self._addresses():
                    raise

    def _waited_for(self) -> list[str]:
        """The addresses of the workers, of which there is one at least before long."""
        end = time.monotonic() + PATIENCE
        while not (found := self._addresses()):
            if time.monotonic() > end:
                raise WorkersError(f"there has been no worker for {PATIENCE:g} s")
            time.sleep(0.1)
        return found

    def _addresses(self) -> list[str]:
        self._require_scheduler()
        try:
            return sorted(self._client.scheduler_info(n_workers=-1)["workers"])
        except Exception:
            self._require_scheduler()  # it may be gone by now
            raise

    def _require_scheduler(self) -> None:
        if self._client.status != "running":
            raise WorkersError("the scheduler is gone")


def _opened(answer: Any) -> Subtotals:
    """The subtotals of an answer; raises what their computation raised."""
    found: Subtotals = opened(answer)
    return {name: [_writable(each) for each in subtotals] for name, subtotals in found.items()}


def _writable(found: Subtotal) -> Subtotal:
    """A subtotal that may be added to: arrays that Dask has received are read-only."""
    return found._replace(value=np.require(found.value, requirements="W"))
