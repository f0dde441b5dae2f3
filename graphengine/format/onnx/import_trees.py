"""Import of ensembles of trees: all trees at once go from node to node, as many steps as the deepest one has.

Thresholds are compared in single precision, or that of the input of a TreeEnsemble; the weights of leaves are
parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphengine.format.onnx.import_classical import labeled, labels_of, single, taken, transformed, weight
from graphengine.format.onnx.onnx_calls import ML, OnnxCall, Unimportable, bounded, cast, constant, imports, op

COMPARED = {
    "BRANCH_LEQ": np.less_equal,
    "BRANCH_LT": np.less,
    "BRANCH_GTE": np.greater_equal,
    "BRANCH_GT": np.greater,
    "BRANCH_EQ": np.equal,
    "BRANCH_NEQ": np.not_equal,
}
MEMBER = "BRANCH_MEMBER"
MODES = [*COMPARED, MEMBER]
"""The comparisons of TreeEnsemble by their numbers."""
AGGREGATES = ["AVERAGE", "SUM", "MIN", "MAX"]
TRANSFORMS = ["NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"]
DEEPEST = 128
"""Levels of the deepest tree that is imported."""


class Forest(NamedTuple):
    """Trees as arrays over all nodes: what is compared, where to go, and the weights of leaves.

    A leaf leads to itself, so that each tree takes as many steps as the deepest one. `given` are the targets for which
    a leaf has a weight, `members` the sets that nodes compare with, filled up with NaN.
    """

    features: np.ndarray[Any, Any]
    thresholds: np.ndarray[Any, Any]
    modes: np.ndarray[Any, Any]
    missing: np.ndarray[Any, Any]
    yes: np.ndarray[Any, Any]
    no: np.ndarray[Any, Any]
    weights: np.ndarray[Any, Any]
    given: np.ndarray[Any, Any]
    roots: np.ndarray[Any, Any]
    members: np.ndarray[Any, Any] | None = None

    def depth(self) -> int:
        """Return how many steps lead from a root to the farthest leaf."""
        at, count = set(self.roots.tolist()), 0
        while at := self._below(at):
            count += 1
            if count > DEEPEST:
                raise Unimportable(f"a tree has more than {DEEPEST} levels, or its nodes form a cycle")
        return count

    def _below(self, at: set[int]) -> set[int]:
        """Return the nodes to which some nodes lead."""
        return {to for place in at for to in (self.yes[place], self.no[place]) if to != place}


@imports("TreeEnsembleRegressor", "TreeEnsembleClassifier", domain=ML)
def tree_ensemble(call: OnnxCall) -> Any:
    """Import trees as steps from node to node, of all trees at once."""
    is_classifier = call.op == "TreeEnsembleClassifier"
    part = "class" if is_classifier else "target"
    labels = labels_of(call, "classlabels_int64s") if is_classifier else None
    ids = np.asarray(call.get(f"{part}_ids"), np.int64)
    forest = forest_of(call, part, ids, _target_count(call, ids, labels))
    z = summed(call, single(call), forest, call.text("aggregate_function", "SUM"))
    if call.get("base_values"):
        z = z + np.asarray(call.get("base_values"), np.float32)
    kind = call.text("post_transform", "NONE")
    return transformed(z, kind) if labels is None else labeled(z, labels, kind)


def _target_count(call: OnnxCall, ids: np.ndarray[Any, Any], labels: np.ndarray[Any, Any] | None) -> int:
    """Return how many numbers the trees give: one for each class, though for two classes one may do."""
    classes = 0 if labels is None else len(labels)
    if classes == 2:
        return int(ids.max(initial=0)) + 1
    return classes if classes > 2 else max(call.get("n_targets", 0), 1)


@imports("TreeEnsemble", domain=ML)
def newer_ensemble(call: OnnxCall) -> Any:
    """Import trees whose leaves are numbered apart from the nodes."""
    x = call[0]
    inner, leaves = (len(call.get(name)) for name in ("nodes_featureids", "leaf_targetids"))
    count, own = call.get("n_targets", 1), np.arange(inner, inner + leaves)
    yes, no = _links(call, inner, inner + leaves)
    kinds = [MODES[number] if number < len(MODES) else str(number) for number in call.get("nodes_modes").tolist()]
    missing = call.repeated("nodes_missing_value_tracks_true", inner, 0)
    weights, given = _leaf_weights(inner + leaves, count, own, call.get("leaf_targetids"), call.get("leaf_weights"))
    forest = Forest(
        np.concatenate([np.asarray(call.get("nodes_featureids"), np.int64), np.zeros(leaves, np.int64)]),
        np.concatenate([np.asarray(call.get("nodes_splits"), x.dtype), np.zeros(leaves, x.dtype)]),
        np.array([*kinds, *["BRANCH_LEQ"] * leaves]),
        np.array([*missing, *[0] * leaves], bool),
        np.concatenate([yes, own]),
        np.concatenate([no, own]),
        weights,
        given,
        np.asarray(call.get("tree_roots"), np.int64),
        _members(call, kinds, leaves),
    )
    z = summed(call, x, forest, AGGREGATES[call.get("aggregate_function", 1)])
    return transformed(z, TRANSFORMS[call.get("post_transform", 0)])


def _links(call: OnnxCall, inner: int, count: int) -> list[np.ndarray[Any, Any]]:
    """Return where the inner nodes lead if what they compare is true, and else; leaves come after them."""
    links = [
        np.asarray(call.get(f"nodes_{side}nodeids")) + inner * np.asarray(call.get(f"nodes_{side}leafs"))
        for side in ("true", "false")
    ]
    every = np.concatenate(links)
    if every.min(initial=0) < 0 or every.max(initial=0) >= count:
        raise Unimportable("a node of a tree leads nowhere")
    return links


def _members(call: OnnxCall, kinds: list[str], leaves: int) -> np.ndarray[Any, Any] | None:
    """Return the set of each node, a row of numbers; the file has them one after the other, NaN after each."""
    places = [place for place, kind in enumerate(kinds) if kind == MEMBER]
    if not places:
        return None
    values = call.get("membership_values")
    sets = np.split(values, np.flatnonzero(np.isnan(values)) + 1)
    found = np.full(bounded((len(kinds) + leaves, max(map(len, sets)))), np.nan, values.dtype)
    if len(places) > len(sets):
        raise Unimportable("a node of a tree has no membership_values")
    for place, numbers in zip(places, sets, strict=False):
        found[place, : len(numbers)] = numbers
    return found


def _leaf_weights(nodes: int, count: int, places: Any, targets: Any, values: Any) -> tuple[Any, Any]:
    """Return the weight of each node for each target, and how many weights the file gives for it."""
    dtype = values.dtype if isinstance(values, np.ndarray) else np.dtype(np.float32)
    shape = bounded((nodes, count))
    weights, given = np.zeros(shape, dtype), np.zeros(shape, np.int64)
    for place, target, value in zip(places, targets, values, strict=True):
        weights[place, target] += dtype.type(value)
        given[place, target] += 1
    return weights, given


def _led_to(places: Mapping[tuple[int, int], int], trees: Sequence[int], nodes: Sequence[int]) -> list[int]:
    """Return the places of nodes in their trees; -1 for one that there is not."""
    return [places.get(key, -1) for key in zip(trees, nodes, strict=True)]


def forest_of(call: OnnxCall, part: str, ids: np.ndarray[Any, Any], count: int) -> Forest:
    """Return the trees that the attributes of a node describe."""
    trees, nodes = (np.asarray(call.get(f"nodes_{name}")).tolist() for name in ("treeids", "nodeids"))
    places = {key: place for place, key in enumerate(zip(trees, nodes, strict=True))}
    modes = [each.decode() for each in call.get("nodes_modes")]
    own = np.arange(len(modes))
    is_leaf = np.array([mode == "LEAF" for mode in modes])
    yes, no = _branches(call, places, trees, is_leaf)
    leaves = [places[leaf] for leaf in zip(call.get(f"{part}_treeids"), call.get(f"{part}_nodeids"), strict=True)]
    weights, given = _leaf_weights(len(modes), count, leaves, ids, call.get(f"{part}_weights"))
    roots = np.setdiff1d(own, np.concatenate([yes[~is_leaf], no[~is_leaf]])).astype(np.int64)
    missing = np.asarray(call.repeated("nodes_missing_value_tracks_true", len(modes), 0), bool)
    thresholds = np.asarray(call.get("nodes_values"), np.float32)
    kinds = np.where(is_leaf, "BRANCH_LEQ", modes)
    return Forest(
        np.asarray(call.get("nodes_featureids"), np.int64), thresholds, kinds, missing, yes, no, weights, given, roots
    )


def _branches(
    call: OnnxCall, places: Mapping[Any, int], trees: Sequence[int], is_leaf: np.ndarray[Any, Any]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return where each node leads if what it compares is true, and else; a leaf leads to itself."""
    yes, no = (
        np.where(is_leaf, np.arange(len(is_leaf)), _led_to(places, trees, call.get(f"nodes_{name}nodeids")))
        for name in ("true", "false")
    )
    if min(yes.min(initial=0), no.min(initial=0)) < 0:
        raise Unimportable("a node of a tree leads nowhere")
    return yes, no


def summed(call: OnnxCall, x: Any, forest: Forest, how: str) -> Any:
    """Return what the leaves add up to that the trees lead the samples x to."""
    first = np.sum(np.zeros_like(x), axis=-1, keepdims=True)
    at = cast(first, np.int64) + forest.roots.reshape(1, -1)
    for _ in range(forest.depth()):
        at = stepped(x, at, forest)
    leaves = taken(weight(call, "leaves", forest.weights.astype(x.dtype)), at, axis=0)
    if how == "AVERAGE":
        return np.mean(leaves, axis=1)
    if how not in AGGREGATES:
        raise Unimportable(f"there is no aggregate_function '{how}'")
    if how == "SUM":
        return op("sum", axis=1)(leaves)
    return _extreme(leaves, at, forest, how)


def _extreme(leaves: Any, at: Any, forest: Forest, how: str) -> Any:
    """Return the least or largest weight of leaves that have one for a target; 0 where none has."""
    if forest.given.max(initial=0) > 1:
        raise Unimportable(f"a leaf has two weights for one target, and the aggregate_function is '{how}'")
    there = taken(forest.given > 0, at, axis=0)
    end = constant(np.inf if how == "MIN" else -np.inf, leaves)
    found = op(how.lower(), axis=1)(np.where(there, leaves, end))
    return np.where(op("any", axis=1)(there), found, constant(0, leaves))


def stepped(x: Any, at: Any, forest: Forest) -> Any:
    """Return the nodes that the comparisons lead to."""
    features = taken(forest.features, at, axis=0)
    values = op("take_along_axis", axis=1)(x, features)
    thresholds = taken(forest.thresholds, at, axis=0)
    yes: Any = None
    for mode in sorted(set(forest.modes.tolist())):
        found = _compared(mode, values, thresholds, forest, at)
        yes = found if yes is None else np.where(taken(forest.modes == mode, at, axis=0), found, yes)
    if forest.missing.any():
        yes = np.logical_or(yes, np.logical_and(np.not_equal(values, values), taken(forest.missing, at, axis=0)))
    return np.where(yes, taken(forest.yes, at, axis=0), taken(forest.no, at, axis=0))


def _compared(mode: str, values: Any, thresholds: Any, forest: Forest, at: Any) -> Any:
    """Return what a comparison of all nodes says, whatever their own is."""
    if mode not in MODES:
        raise Unimportable(f"there is no comparison '{mode}'")
    if mode == MEMBER:
        return op("any", axis=-1)(np.equal(np.expand_dims(values, -1), taken(forest.members, at, axis=0)))
    return COMPARED[mode](values, thresholds)
