"""The compiled programs of fits, which fits of the same kind share."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping

from graphengine.backends.protocol import Backend, Program
from graphengine.ir.graph import Graph
from graphengine.mappings import kept

MOST_KINDS = 4
"""Kinds of fits whose programs are kept."""


class Programs:
    """The programs of one fit, each made when it is first asked for, shared with later fits of the same kind."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._made: dict[str, Program] = {}

    def get(self, purpose: str, make: Callable[[], Graph], *, exact: bool = True) -> Program:
        """Return the program for a purpose, or compile it from the graph that `make` makes; see `Backend.compile`."""
        program = self._made.get(purpose)
        if program is None:
            program = self._made[purpose] = self._backend.compile(make(), exact=exact)
        return program

    @property
    def nbytes(self) -> int:
        """The bytes of the buffers of all of them."""
        return sum(program.nbytes for program in self._made.values())


class ProgramsOfFits:
    """The programs of the fits of one model, kept for the next one of the same kind on data of the same shapes."""

    def __init__(self, backend: Backend, most_bytes: int) -> None:
        self._backend, self._most_bytes = backend, most_bytes
        self._known: OrderedDict[Hashable, Programs] = OrderedDict()

    def of(self, kind: Hashable, shapes: Mapping[str, tuple[int, ...]]) -> Programs:
        """Return the programs of a kind of fit; those that take more memory than the limit are made again."""
        key = (kind, *sorted(shapes.items()))
        known = self._known.get(key)
        if known is not None and known.nbytes > self._most_bytes:
            del self._known[key]
        return kept(self._known, key, MOST_KINDS, lambda: Programs(self._backend))
