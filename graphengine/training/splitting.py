"""Which rows are trained on: a fraction is set apart, or folds take turns; at random, by class, or by group.

A split is a function of the seed and the rows: no batch size, no limit of memory, and no order of inputs changes it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from graphengine.data.batches import Batches, is_whole, rows_of
from graphengine.data.chosen import Chosen
from graphengine.data.order import DRAWN, Order, epoch_order
from graphengine.data.stored import blocks_of
from graphengine.errors import DataError, InputError
from graphengine.format.documents import ValidationDocument
from graphengine.ir.graph import Graph
from graphengine.mappings import without
from graphengine.wording import counted

Mask: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]
Data: TypeAlias = dict[str, Any]

SPLIT_EPOCH = 0
"""The epoch, which no training has, whose order says which samples are set apart."""


class Labels(NamedTuple):
    """What a split looks at: the number of each row's class or group, and how many rows each of them has."""

    codes: np.ndarray[Any, Any]
    counts: np.ndarray[Any, np.dtype[np.intp]]


@dataclass(frozen=True)
class SplitKind:
    """How rows are drawn: with `stratify`, each value of that input keeps its share; with `group`, its rows together.

    With neither, all rows are alike.
    """

    stratify: str | None = None
    group: str | None = None

    def labels(self, data: Mapping[str, Any], samples: int) -> Labels:
        """Return the class or group of each row; without either there is one class of all rows.

        Raises
        ------
        InputError
            GE401 if the data lacks the input.
        DataError
            GE505 if it does not have one value a sample.
        """
        name = self.stratify or self.group
        if name is None:
            return Labels(np.broadcast_to(np.uint8(0), samples), np.array([samples], np.intp))
        if name not in data:
            raise InputError(f"the data has no values for input '{name}', by which it is split", code="GE401")
        if np.ndim(data[name]) != 1:
            raise DataError(f"input '{name}', by which the data is split, needs one value a sample", code="GE505")
        return _labels(data[name])


def labels_of(section: ValidationDocument | None) -> list[str]:
    """Return the inputs that a validation section splits by."""
    return [name for name in (section.stratify, section.group) if name is not None] if section else []


def split(data: Mapping[str, Any], graph: Graph, section: ValidationDocument, seed: int) -> tuple[Data, Data]:
    """Training and validation data: the fraction of the samples that a section asks for, drawn by a seed, is set apart.

    Both keep the order of the samples; at least one sample, or group, is on either side.

    Raises
    ------
    DataError
        GE505 if there is only one sample, or one group.
    InputError
        GE401 if the data lacks the input whose classes or groups are asked for.
    """
    assert section.fraction is not None
    apart = fraction_of(data, graph, section.fraction, seed, SplitKind(section.stratify, section.group))
    return divided(data, graph, apart)


def fraction_of(data: Mapping[str, Any], graph: Graph, fraction: float, seed: int, kind: SplitKind) -> Mask:
    """Return which samples make a fraction; raises as `split`."""
    batches = Batches(data, graph, batch_size=1, seed=seed)
    samples = batches.samples
    if samples < 2:
        raise DataError("a single sample cannot be split into training and validation", code="GE505")
    wanted = min(max(round(fraction * samples), 1), samples - 1)
    codes, counts = kind.labels(data, samples)
    if kind.group:
        return _of_each(_nearest_groups(kind.group, counts, wanted, seed), codes)
    quotas, mask = shares(counts, wanted), np.zeros(samples, np.bool_)
    for places, ranks in _ranked(batches.order(SPLIT_EPOCH), codes, len(counts)):
        mask[places] = ranks < quotas[codes[places]]
    return mask


def folds_of(data: Mapping[str, Any], graph: Graph, count: int, seed: int, kind: SplitKind) -> np.ndarray[Any, Any]:
    """Return the fold of each sample, from 0: all have as many samples, and of each class, up to one.

    Groups are dealt from the largest on, each to the fold with the fewest samples.

    Raises
    ------
    DataError
        GE505 if there are fewer samples, or groups, than folds.
    InputError
        GE401 if the data lacks the input whose classes or groups are asked for.
    """
    batches = Batches(data, graph, batch_size=1, seed=seed)
    codes, counts = kind.labels(data, batches.samples)
    if kind.group:
        _require_units(count, len(counts), f"groups, by the values of input '{kind.group}'")
        return _of_each(_dealt_groups(counts, count, seed), codes)
    _require_units(count, batches.samples, "samples")
    starts, folds = np.cumsum(counts) - counts, np.empty(batches.samples, np.min_scalar_type(count))
    for places, ranks in _ranked(batches.order(SPLIT_EPOCH), codes, len(counts)):
        folds[places] = (starts[codes[places]] + ranks) % count
    return folds


def _require_units(folds: int, units: int, what: str) -> None:
    """Refuse more folds than there are samples, or groups."""
    if units < folds:
        raise DataError(f"{counted(folds, 'fold')} of only {units} {what}", code="GE505")


def divided(data: Mapping[str, Any], graph: Graph, apart: Mask) -> tuple[Data, Data]:
    """Return the samples that are not set apart, and those that are; data on disk stays there."""
    whole = {name: array for name, array in data.items() if is_whole(name, array, graph)}
    sampled = without(data, whole)
    sides = Chosen(~apart), Chosen(apart)
    kept, rest = ({**whole, **{name: rows_of(each, side) for name, each in sampled.items()}} for side in sides)
    return kept, rest


def shares(counts: np.ndarray[Any, Any], wanted: int) -> np.ndarray[Any, Any]:
    """Return how many of `wanted` samples come from each class: its share, rounded by the largest remainder."""
    found, remainders = np.divmod(counts * wanted, counts.sum())
    found[np.argsort(-remainders, kind="stable")[: wanted - found.sum()]] += 1
    return found


def _ranked(order: Order, codes: np.ndarray[Any, Any], classes: int) -> Iterator[tuple[Any, Any]]:
    """The places of an order, some at a time, each with how many of its class come before it."""
    seen = np.zeros(classes, np.intp)
    for start in range(0, len(codes), DRAWN):
        places = order.places(start, min(start + DRAWN, len(codes)))
        found = codes[places]
        counts = np.bincount(found, minlength=classes)
        ranks = np.empty(len(places), np.intp)
        firsts = np.cumsum(counts) - counts
        ranks[np.argsort(found, kind="stable")] = np.arange(len(places)) + np.repeat(seen - firsts, counts)
        seen += counts
        yield places, ranks


def _nearest_groups(name: str, sizes: np.ndarray[Any, Any], wanted: int, seed: int) -> Mask:
    """Which groups are set apart: the first ones of a random order, as many as come nearest to the wanted samples."""
    if len(sizes) < 2:
        message = f"there is only one group, by the values of input '{name}', so none can be held out for validation"
        raise DataError(message, code="GE505")
    order = epoch_order(seed, SPLIT_EPOCH, len(sizes))
    last = int(np.argmin(np.abs(np.cumsum(sizes[order])[:-1] - wanted)))
    apart = np.zeros(len(sizes), np.bool_)
    apart[order[: last + 1]] = True
    return apart


def _dealt_groups(sizes: np.ndarray[Any, Any], count: int, seed: int) -> np.ndarray[Any, Any]:
    """The fold of each group; those of one size come in a random order."""
    order = epoch_order(seed, SPLIT_EPOCH, len(sizes))
    folds, loads = np.empty(len(sizes), np.min_scalar_type(count)), [(0, fold) for fold in range(count)]
    for group in order[np.argsort(-sizes[order], kind="stable")].tolist():
        load, fold = loads[0]
        folds[group] = fold
        heapq.heapreplace(loads, (load + int(sizes[group]), fold))
    return folds


def _labels(array: Any) -> Labels:
    """The values of an input as numbers from 0 in ascending order, read block by block."""
    values = np.unique(np.concatenate([np.unique(block) for block in blocks_of(array)]))
    codes = np.empty(len(array), np.min_scalar_type(len(values)))
    counts, start = np.zeros(len(values), np.intp), 0
    for block in blocks_of(array):
        found = np.searchsorted(values, block)
        counts += np.bincount(found, minlength=len(values))
        codes[start : start + len(block)] = found
        start += len(block)
    return Labels(codes, counts)


def _of_each(table: np.ndarray[Any, Any], codes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The entry of a table for each code, some at a time: NumPy takes eight bytes for each index."""
    found = np.empty(len(codes), table.dtype)
    for start in range(0, len(codes), DRAWN):
        found[start : start + DRAWN] = table[codes[start : start + DRAWN]]
    return found
