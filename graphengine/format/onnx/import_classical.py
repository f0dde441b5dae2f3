"""Import of ops of classical models, the domain ai.onnx.ml: linear models, scaling, ensembles of trees."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from graphengine.format.onnx.drafts import Weight
from graphengine.format.onnx.onnx_calls import ML, OnnxCall, Unimportable, cast, constant, imports, op

COMPARED = {
    "BRANCH_LEQ": np.less_equal,
    "BRANCH_LT": np.less,
    "BRANCH_GTE": np.greater_equal,
    "BRANCH_GT": np.greater,
    "BRANCH_EQ": np.equal,
    "BRANCH_NEQ": np.not_equal,
}
MODES = ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"]
"""The comparisons of TreeEnsemble by their numbers."""
DEEPEST = 128
"""Levels of the deepest tree that is imported."""


def weight(call: OnnxCall, name: str, array: Any) -> Any:
    """Return an attribute of numbers as a parameter, named after the result of its node."""
    named = call.draft.free(f"{call.draft.near}.{name}")
    return call.draft.as_symbol(Weight(named, np.asarray(array, np.float32)))


def taken(x: Any, indices: Any, axis: int) -> Any:
    """Return parts of x by their indices, either of which may be a symbol; NumPy would not record the indices."""
    return op("gather", axis=axis)(x, indices)


def single(call: OnnxCall, place: int = 0) -> Any:
    """Return an input in single precision, in which these ops compute."""
    return cast(call[place], np.float32)


@imports("Scaler", domain=ML)
def scaler(call: OnnxCall) -> Any:
    """Import (x - offset) * scale."""
    x = single(call)
    offset, scale = (np.asarray(call.get(name), np.float32) for name in ("offset", "scale"))
    return (x - offset) * scale


@imports("Normalizer", domain=ML)
def normalizer(call: OnnxCall) -> Any:
    """Import rows divided by their largest value, sum or length; 0 stays."""
    x, kind = single(call), call.text("norm", "MAX")
    if kind == "MAX":
        length = np.max(x, axis=-1, keepdims=True)
    else:
        length = op("norm", axis=-1, keepdims=True, ord=1 if kind == "L1" else 2)(x)
    return x / np.where(np.equal(length, constant(0, length)), constant(1, length), length)


@imports("Binarizer", domain=ML)
def binarizer(call: OnnxCall) -> Any:
    """Import x > threshold as numbers."""
    x = call[0]
    return cast(np.greater(x, constant(call.get("threshold", 0.0), x)), x.dtype)


@imports("Imputer", domain=ML)
def imputer(call: OnnxCall) -> Any:
    """Import other numbers in place of one, mostly of NaN."""
    x = call[0]
    name = "float" if x.dtype.kind == "f" else "int64"
    values = np.asarray(call.get(f"imputed_value_{name}s"), x.dtype)
    old = call.get(f"replaced_value_{name}", np.nan if name == "float" else 0)
    missing = np.not_equal(x, x) if name == "float" and np.isnan(old) else np.equal(x, constant(old, x))
    return np.where(missing, np.reshape(values, ()) if values.size == 1 else values, x)


@imports("ArrayFeatureExtractor", domain=ML)
def features(call: OnnxCall) -> Any:
    """Import columns by their numbers."""
    columns = taken(call[0], np.reshape(call[1], (-1,)), axis=-1)
    return columns if call.rank() > 1 else np.reshape(columns, (1, -1))


@imports("FeatureVectorizer", domain=ML)
def vectorizer(call: OnnxCall) -> Any:
    """Import columns side by side."""
    columns = [single(call, place) for place in range(len(call))]
    return columns[0] if len(columns) == 1 else op("concat", axis=-1)(*columns)


@imports("LabelEncoder", domain=ML)
def label_encoder(call: OnnxCall) -> Any:
    """Import a table of numbers: the value of the key that x equals, else the default."""
    x = call[0]
    kinds = {"int64s": np.int64, "floats": np.float32}
    keys, values = ([kind for kind in kinds if f"{part}_{kind}" in call.attributes] for part in ("keys", "values"))
    if not keys or not values:
        raise Unimportable("text has no counterpart")
    known = np.asarray(call.get(f"keys_{keys[0]}"), x.dtype)
    found = np.asarray(call.get(f"values_{values[0]}"), kinds[values[0]])
    default = call.get(f"default_{values[0].removesuffix('s')}", -1 if values[0] == "int64s" else -0.0)
    same = np.equal(np.expand_dims(x, -1), known)
    if np.isnan(known).any():
        same = np.logical_or(same, np.logical_and(np.expand_dims(np.not_equal(x, x), -1), np.isnan(known)))
    place = op("argmax", axis=-1)(cast(same, np.int64))
    return np.where(op("any", axis=-1)(same), taken(found, place, axis=0), np.asarray(default, found.dtype))


@imports("LinearRegressor", domain=ML)
def linear_regressor(call: OnnxCall) -> Any:
    """Import x @ coefficients + intercepts."""
    targets = call.get("targets", 1)
    return transformed(call, linear(call, targets))


def linear(call: OnnxCall, targets: int) -> Any:
    """Return the product with the coefficients of so many targets, and the intercepts."""
    coefficients = np.asarray(call.get("coefficients"), np.float32).reshape(targets, -1).T
    z = op("matmul")(single(call), weight(call, "coefficients", coefficients))
    return z + weight(call, "intercepts", call.get("intercepts")) if call.get("intercepts") else z


def transformed(call: OnnxCall, z: Any) -> Any:
    """Return scores after the transform of a node."""
    kind = call.text("post_transform", "NONE")
    if kind in ("NONE", "LOGISTIC"):
        return z if kind == "NONE" else op("sigmoid")(z)
    if kind == "SOFTMAX":
        return op("softmax", axis=-1)(z)
    raise Unimportable(f"the post_transform '{kind}' has no counterpart")


@imports("LinearClassifier", domain=ML)
def linear_classifier(call: OnnxCall) -> Any:
    """Import the labels of the largest scores, and the scores."""
    labels = labels_of(call, "classlabels_ints")
    count = len(call.get("coefficients")) // call.static(0, [call.rank() - 1])[0]
    z = linear(call, count)
    return labeled(call, z, labels)


def labels_of(call: OnnxCall, name: str) -> np.ndarray[Any, Any]:
    """Return the labels of classes, which have to be numbers."""
    if not call.get(name):
        raise Unimportable("labels that are text have no counterpart")
    return np.asarray(call.get(name), np.int64)


def labeled(call: OnnxCall, z: Any, labels: np.ndarray[Any, Any]) -> tuple[Any, Any]:
    """Return the label of the largest score, and all scores; of two classes one score may be given."""
    z = two_sided(call, z) if z.shape[-1] == 1 and len(labels) == 2 else transformed(call, z)
    return taken(labels, op("argmax", axis=-1)(z), axis=0), z


def two_sided(call: OnnxCall, z: Any) -> Any:
    """Return the scores of both classes from that of the second."""
    kind = call.text("post_transform", "NONE")
    if kind == "LOGISTIC":
        p = op("sigmoid")(z)
        return op("concat", axis=-1)(constant(1, p) - p, p)
    both = op("concat", axis=-1)(-z if kind != "NONE" else constant(1, z) - z, z)
    return transformed(call, both)


class Forest(NamedTuple):
    """Trees as arrays over all nodes: what is compared, where to go, and the weights of leaves.

    A leaf leads to itself, so that each tree takes as many steps as the deepest one.
    """

    features: np.ndarray[Any, Any]
    thresholds: np.ndarray[Any, Any]
    modes: np.ndarray[Any, Any]
    missing: np.ndarray[Any, Any]
    yes: np.ndarray[Any, Any]
    no: np.ndarray[Any, Any]
    weights: np.ndarray[Any, Any]
    roots: np.ndarray[Any, Any]

    def depth(self) -> int:
        """Return how many steps lead from a root to the farthest leaf."""
        at, count = set(self.roots.tolist()), 0
        while at := {to for place in at for to in (self.yes[place], self.no[place]) if to != place}:
            count += 1
            if count > DEEPEST:
                raise Unimportable(f"a tree has more than {DEEPEST} levels, or its nodes form a cycle")
        return count


@imports("TreeEnsembleRegressor", "TreeEnsembleClassifier", domain=ML)
def tree_ensemble(call: OnnxCall) -> Any:
    """Import trees as steps from node to node, of all trees at once."""
    is_classifier = call.op == "TreeEnsembleClassifier"
    part = "class" if is_classifier else "target"
    labels = labels_of(call, "classlabels_int64s") if is_classifier else None
    ids = np.asarray(call.get(f"{part}_ids"), np.int64)
    count = int(ids.max(initial=0)) + 1 if labels is not None and len(labels) == 2 else call.get("n_targets", 0)
    count = len(labels) if labels is not None and len(labels) > 2 else max(count, 1)
    forest = forest_of(call, part, ids, count)
    z = summed(call, forest, call.text("aggregate_function", "SUM"))
    if call.get("base_values"):
        z = z + np.asarray(call.get("base_values"), np.float32)
    if labels is None:
        return transformed(call, z)
    return labeled(call, z, labels)


def forest_of(call: OnnxCall, part: str, ids: np.ndarray[Any, Any], count: int) -> Forest:
    """Return the trees that the attributes of a node describe."""
    trees, nodes = (np.asarray(call.get(f"nodes_{name}")) for name in ("treeids", "nodeids"))
    places = {key: place for place, key in enumerate(zip(trees.tolist(), nodes.tolist(), strict=True))}
    modes = [each.decode() for each in call.get("nodes_modes")]
    own = np.arange(len(modes))
    is_leaf = np.array([mode == "LEAF" for mode in modes])
    yes, no = (
        np.where(is_leaf, own, [places.get((tree, node), -1) for tree, node in zip(trees.tolist(), to, strict=True)])
        for to in (call.get("nodes_truenodeids"), call.get("nodes_falsenodeids"))
    )
    if min(yes.min(initial=0), no.min(initial=0)) < 0:
        raise Unimportable("a node of a tree leads nowhere")
    weights = np.zeros((len(modes), count), np.float32)
    leaves = zip(
        call.get(f"{part}_treeids"), call.get(f"{part}_nodeids"), ids, call.get(f"{part}_weights"), strict=True
    )
    for tree, node, target, value in leaves:
        weights[places[tree, node], target] += np.float32(value)
    inner = {to for place in own for to in (yes[place], no[place]) if to != place}
    roots = np.array([place for place in own if place not in inner], np.int64)
    missing = np.asarray(call.get("nodes_missing_value_tracks_true") or [0] * len(modes), bool)
    thresholds = np.asarray(call.get("nodes_values"), np.float32)
    kinds = np.array(["BRANCH_LEQ" if mode == "LEAF" else mode for mode in modes])
    return Forest(
        np.asarray(call.get("nodes_featureids"), np.int64), thresholds, kinds, missing, yes, no, weights, roots
    )


def summed(call: OnnxCall, forest: Forest, how: str) -> Any:
    """Return what the leaves add up to that the trees lead a sample to."""
    x = single(call)
    first = np.sum(np.zeros_like(x), axis=-1, keepdims=True)
    at = cast(first, np.int64) + forest.roots.reshape(1, -1)
    for _ in range(forest.depth()):
        at = stepped(x, at, forest)
    leaves = taken(weight(call, "leaves", forest.weights), at, axis=0)
    if how == "AVERAGE":
        return np.mean(leaves, axis=1)
    if how not in ("SUM", "MIN", "MAX"):
        raise Unimportable(f"there is no aggregate_function '{how}'")
    return op(how.lower(), axis=1)(leaves)


def stepped(x: Any, at: Any, forest: Forest) -> Any:
    """Return the nodes that the comparisons lead to."""
    features = taken(forest.features, at, axis=0)
    values = op("take_along_axis", axis=1)(x, features)
    thresholds = taken(forest.thresholds, at, axis=0)
    yes: Any = None
    for mode in sorted(set(forest.modes.tolist())):
        if mode not in COMPARED:
            raise Unimportable(f"there is no comparison '{mode}'")
        found = COMPARED[mode](values, thresholds)
        chosen = found if yes is None else np.where(taken(forest.modes == mode, at, axis=0), found, yes)
        yes = chosen
    if forest.missing.any():
        yes = np.logical_or(yes, np.logical_and(np.not_equal(values, values), taken(forest.missing, at, axis=0)))
    return np.where(yes, taken(forest.yes, at, axis=0), taken(forest.no, at, axis=0))
