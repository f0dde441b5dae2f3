"""The course of a training: which iterations come next, in chunks.

A chunk is a run of iterations whose batches have one size: a part of an epoch, or several short epochs. It holds its
batches, so it can be run again.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from graphengine.backends.protocol import Rounds
from graphengine.data.batches import Batches, Segment

LONGEST_CHUNK = 65_536
"""Iterations, and so flags and numbers of the data as Python objects, that a chunk has at most."""
MOST_SAMPLES = 16_384
"""A chunk that has as many samples takes no further segment, each of which may be a copy of the data in a new order."""


class Piece(NamedTuple):
    """The iterations `start` to `stop` of a segment.

    `first` and `last` show whether no batch of that size came before them in their epoch and none comes after them.
    """

    segment: Segment
    start: int
    stop: int
    first: bool
    last: bool
    ends_epoch: bool


@dataclass(frozen=True)
class Chunk:
    """Some pieces in a row; `done` is the number of iterations before them."""

    pieces: Sequence[Piece]
    done: int

    @cached_property
    def count(self) -> int:
        """The number of iterations."""
        return sum(piece.stop - piece.start for piece in self.pieces)

    @cached_property
    def size(self) -> int:
        """How many samples each batch has."""
        return self.pieces[0].segment.size

    def singles(self) -> Iterator[Chunk]:
        """Each iteration as its own chunk."""
        done = self.done
        for segment, start, stop, first, last, ends_epoch in self.pieces:
            for place in range(start, stop):
                begins, ends = place == start, place + 1 == stop
                piece = Piece(segment, place, place + 1, first and begins, last and ends, ends_epoch and ends)
                yield Chunk([piece], done)
                done += 1

    def batches(self) -> Iterator[dict[str, Any]]:
        """The batch of each iteration, by input."""
        for piece in self.pieces:
            yield from map(piece.segment.batch, range(piece.start, piece.stop))

    def parts(self) -> Iterator[Iterator[tuple[dict[str, Any], int]]]:
        """The parts of the batch of each iteration, with their numbers of samples."""
        for piece in self.pieces:
            yield from map(piece.segment.parts, range(piece.start, piece.stop))

    def groups(
        self,
        names: Sequence[str],
        numbered: Mapping[str, Callable[[int], Any]],
        flags: Sequence[int],
        totals: Sequence[float],
        floats: Container[str] = (),
    ) -> Iterator[tuple[float, Rounds]]:
        """For each piece a sum to continue and its batches: a flag, then the values of `names`.

        Of the inputs `floats` a batch of one sample is a Python float. The values `numbered` are functions of the
        iteration. The sum is the last of `totals`, where those that were reached are put, or zero for the first batches
        of their size in an epoch.
        """
        done = 0
        for piece in self.pieces:
            feed = Feed(piece, self.done + done, names, numbered, floats)
            stop = done + piece.stop - piece.start
            yield 0.0 if piece.first else totals[-1], feed.rounds(flags[done:stop])
            done = stop


class Feed(NamedTuple):
    """What the rounds of a piece read, the values of `names`; `done` is the number of iterations before it."""

    piece: Piece
    done: int
    names: Sequence[str]
    numbered: Mapping[str, Callable[[int], Any]]
    floats: Container[str]

    def rounds(self, flags: Sequence[int]) -> Rounds:
        """The rounds with these flags."""
        return Rounds(flags, self.values, self.numbers, self.table, self.piece.start)

    def table(self, name: str) -> Any:
        """All batches of the segment, of an input; None for what is a function of the iteration."""
        return None if name in self.numbered else self.piece.segment.table(name)

    def values(self) -> Iterator[Iterable[Any]]:
        """The values of each name, one round after the other."""
        segment, start, stop, *_ = self.piece
        for name in self.names:
            if name in self.numbered:
                yield map(self.numbered[name], self._iterations)
            else:
                yield segment.column(name, start, stop, is_float=name in self.floats)

    def numbers(self, arrays: Container[str] = ()) -> list[Any]:
        """The values of each name as an array: numbers, or those `arrays` with an axis for the rounds in front."""
        segment, start, stop, *_ = self.piece
        return [
            self._by_iteration(self.numbered[name])
            if name in self.numbered
            else (segment.stacked if name in arrays else segment.numbers)(name, start, stop)
            for name in self.names
        ]

    @property
    def _iterations(self) -> range:
        return range(self.done + 1, self.done + 1 + self.piece.stop - self.piece.start)

    def _by_iteration(self, function: Callable[[int], Any]) -> Any:
        iterations = self._iterations
        if function is float:
            return np.arange(iterations.start, iterations.stop, dtype=np.float64)
        return np.array([function(iteration) for iteration in iterations], dtype=np.float64)


class Course:
    """Where a training is among its batches: `done` iterations of `total`."""

    def __init__(self, batches: Batches, total: int, done: int = 0) -> None:
        self.total, self.done = total, done
        self._batches = batches
        self._segments = iter([batches.repeated(total - done)] if batches.is_constant else [])
        self._segment: Segment | None = None
        self._start = 0

    def take(self, longest: int) -> Chunk:
        """The next chunk, of at most `longest` iterations."""
        pieces: list[Piece] = []
        done, samples = self.done, 0
        end = min(done + min(longest, LONGEST_CHUNK), self.total)
        while self.done < end and samples < MOST_SAMPLES:
            segment = self._current()
            if pieces and pieces[0].segment.size != segment.size:
                break
            pieces.append(self._piece(segment, end - self.done))
            samples += MOST_SAMPLES if self._batches.is_stored else segment.count * segment.size
        return Chunk(pieces, done)

    def _current(self) -> Segment:
        """The segment that the next iteration belongs to."""
        self._segment = self._segment or next(self._segments, None)
        if self._segment is None:
            epoch, first = divmod(self.done, self._batches.per_epoch)
            self._segments = iter(self._batches.epoch(epoch + 1, first))
            self._segment = next(self._segments)
        return self._segment

    def _piece(self, segment: Segment, longest: int) -> Piece:
        """The rest of the segment, or what of it there is room for."""
        start, stop = self._start, min(self._start + longest, segment.count)
        per_epoch, smaller = self._batches.per_epoch, self._batches.full_batches
        before, after = self.done % per_epoch, self.done % per_epoch + stop - start
        self.done += stop - start
        self._segment, self._start = (None, 0) if stop == segment.count else (segment, stop)
        if self._batches.is_constant:  # one iteration is one epoch
            return Piece(segment, start, stop, True, True, True)
        return Piece(segment, start, stop, before in (0, smaller), after in (smaller, per_epoch), after == per_epoch)
