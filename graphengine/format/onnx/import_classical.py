"""Import of ops of classical models, the domain ai.onnx.ml: linear models, scaling, tables."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphengine.format.onnx.drafts import Weight
from graphengine.format.onnx.onnx_calls import ML, OnnxCall, Unimportable, cast, constant, imports, op


def weight(call: OnnxCall, name: str, array: Any) -> Any:
    """Return an attribute of numbers as a parameter, named after the result of its node."""
    named = call.draft.free(f"{call.draft.near}.{name}")
    return call.draft.as_symbol(Weight(named, np.asarray(array, getattr(array, "dtype", np.float32))))


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


_NUMBERS = {"int64s": np.int64, "floats": np.float32}
"""The kinds of attributes that are numbers."""


@imports("LabelEncoder", domain=ML)
def label_encoder(call: OnnxCall) -> Any:
    """Import a table of numbers: the value of the key that x equals, else the default."""
    x = call[0]
    keys, values = _kind_of(call, "keys"), _kind_of(call, "values")
    known = np.asarray(call.get(f"keys_{keys}"), x.dtype)
    found = np.asarray(call.get(f"values_{values}"), _NUMBERS[values])
    default = call.get(f"default_{values.removesuffix('s')}", -1 if values == "int64s" else -0.0)
    same = np.equal(np.expand_dims(x, -1), known)
    if np.isnan(known).any():
        same = np.logical_or(same, np.logical_and(np.expand_dims(np.not_equal(x, x), -1), np.isnan(known)))
    place = op("argmax", axis=-1)(cast(same, np.int64))
    return np.where(op("any", axis=-1)(same), taken(found, place, axis=0), np.asarray(default, found.dtype))


def _kind_of(call: OnnxCall, part: str) -> str:
    """Return the kind of the keys or values of a table, which must be numbers."""
    kind = next((kind for kind in _NUMBERS if f"{part}_{kind}" in call.attributes), None)
    if kind is None:
        raise Unimportable("text has no counterpart")
    return kind


@imports("LinearRegressor", domain=ML)
def linear_regressor(call: OnnxCall) -> Any:
    """Import x @ coefficients + intercepts."""
    targets = call.get("targets", 1)
    return transformed(linear(call, targets), call.text("post_transform", "NONE"))


def linear(call: OnnxCall, targets: int) -> Any:
    """Return the product with the coefficients of so many targets, and the intercepts."""
    coefficients = np.asarray(call.get("coefficients"), np.float32).reshape(targets, -1).T
    z = op("matmul")(single(call), weight(call, "coefficients", coefficients))
    return z + weight(call, "intercepts", call.get("intercepts")) if call.get("intercepts") else z


def transformed(z: Any, kind: str) -> Any:
    """Return scores after the transform of a node."""
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
    return labeled(z, labels, call.text("post_transform", "NONE"))


def labels_of(call: OnnxCall, name: str) -> np.ndarray[Any, Any]:
    """Return the labels of classes, which have to be numbers."""
    if not call.get(name):
        raise Unimportable("labels that are text have no counterpart")
    return np.asarray(call.get(name), np.int64)


def labeled(z: Any, labels: np.ndarray[Any, Any], kind: str) -> tuple[Any, Any]:
    """Return the label of the largest score, and all scores; of two classes one score may be given."""
    z = two_sided(z, kind) if z.shape[-1] == 1 and len(labels) == 2 else transformed(z, kind)
    return taken(labels, op("argmax", axis=-1)(z), axis=0), z


def two_sided(z: Any, kind: str) -> Any:
    """Return the scores of both classes from that of the second."""
    if kind == "LOGISTIC":
        p = op("sigmoid")(z)
        return op("concat", axis=-1)(constant(1, p) - p, p)
    both = op("concat", axis=-1)(-z if kind != "NONE" else constant(1, z) - z, z)
    return transformed(both, kind)
