"""What the names in an op's equations stand for, by a function of a row of samples: see `equations.py`.

Most stand for what they are called. A function here gives what the words of a docstring leave to the reader, such as
which axes a sum is over, in a layout in which the equation can be taken literally; None for rows it does not speak of.
"""

import math
import re

import numpy as np
from samples import TABLE
from samples.patches import fold, unfold
from samples.random import bernoulli
from scipy import special
from test_laws import instance, results_of, run_of, weights_of

from graphengine.ops.registry import OPS


def plain(name, attributes, arrays):
    """Inputs, attributes, the result z, the gradient dz that arrives, and the gradients that go on."""
    signature, results = OPS[name].signature, results_of(name, attributes, arrays)
    weights, gradients = weights_of(results), {}
    if signature.saved is not None:
        run, differentiable = run_of(name, attributes, arrays)
        gradients = run.backward(of="out", wrt=differentiable)
    slopes = tuple(gradients.get(f"x{place}") for place in range(len(arrays)))
    known = {**instance(name, attributes).model_dump(), "z": results[0], "dz": weights[0]}
    if not signature.outputs:
        known |= {"z": results, "dz": tuple(weights)}
    count = len(signature.inputs) - signature.variadic
    for prefix, each in (("", tuple(arrays)), ("d", slopes)):
        known |= {prefix + key: value for key, value in zip(signature.inputs[:count], each, strict=False)}
        if signature.variadic:
            known[prefix + signature.inputs[-1]] = each[count:]
    return known


def only(condition):
    """Plain meanings, for the rows of which a condition holds."""
    return lambda name, attributes, arrays: plain(name, attributes, arrays) if condition(attributes, arrays) else None


def with_functions(**functions):
    return lambda name, attributes, arrays: plain(name, attributes, arrays) | functions


# ---------------------------------------------------------------- reductions, linear algebra


def of_vectors(name, attributes, arrays):
    """Formulas with x1, ..., xn are of one vector."""
    (x,) = arrays
    others = attributes.keys() - {"axis", "ddof", "ord"}
    if x.ndim != 1 or x.size < 2 or others or ("prod" in name and not x.all()):
        return None
    return plain(name, attributes, arrays) | {"n": x.size, "max": max, "min": min}


def trace(name, attributes, arrays):
    return plain(name, attributes, arrays) | {"n": len(arrays[0])} if arrays[0].ndim == 2 else None


def cofactor(name, attributes, arrays):
    """Without a direction, and the derivative with respect to one."""
    if arrays[0].ndim > 2:
        return None
    known = plain(name, attributes, arrays)
    return known if len(arrays) == 1 else {**known, "z": None, "dx": None}


def linear_recurrence(name, attributes, arrays):
    forth = attributes == {"axis": 0, "reverse": False} and {array.ndim for array in arrays} == {1}
    return plain(name, attributes, arrays) | {"n": len(arrays[0])} if forth else None


def einsum(name, attributes, arrays):
    """Of two factors: r, s, t are the letters of their axes and of those of the result."""
    found = re.fullmatch(r"([a-z]*),([a-z]*)->([a-z]*)", attributes["equation"])
    letters = dict(zip("rst", found.groups() if found else ("", "", ""), strict=True))
    r, s, t = map(set, letters.values())
    if not found or len(r) < len(letters["r"]) or not (r <= s | t and s <= r | t):
        return None

    def of_letters(equation, *factors):
        return np.einsum(re.sub(r"[rst]", lambda each: letters[each[0]], equation), *factors)

    known = plain(name, attributes, arrays)
    return {**known, "einsum": of_letters, "y": arrays[1], "dy": known["dxs"][0]}


# ---------------------------------------------------------------- losses, metrics


def of_losses(name, attributes, arrays):
    known = plain(name, attributes, arrays)
    reduce = {"none": lambda loss: loss, "sum": np.sum, "mean": np.mean}[known["reduction"]]
    return {**known, "reduce": reduce, "dloss": known["dz"] / (arrays[0].size if known["reduction"] == "mean" else 1)}


def of_class_losses(name, attributes, arrays):
    """A loss for each sample; a weighted mean is no mean of losses."""
    x, targets, *weights = arrays
    by_index, known = targets.dtype.kind == "i", plain(name, attributes, arrays)
    if known["ignore_index"] in targets or (weights and by_index and known["reduction"] == "mean"):
        return None
    known = of_losses(name, attributes, arrays)
    dloss = {"none": np.expand_dims(known["dz"], -1), "mean": known["dz"] * x.shape[-1] / x.size}
    over_classes = {"axis": -1, "keepdims": True}
    return known | {
        "t": np.eye(x.shape[-1])[targets] if by_index else targets,
        "weights": weights[0] if weights else np.ones(x.shape[-1]),
        "reduce": lambda loss: known["reduce"](loss[..., 0]),
        "dloss": dloss.get(known["reduction"], known["dz"]),
        "sum": lambda values: np.sum(values, **over_classes),
        "softmax": lambda logits: special.softmax(logits, axis=-1),
        "log_softmax": lambda logits: special.log_softmax(logits, axis=-1),
    }


# ---------------------------------------------------------------- normalization, attention


def of_rows(name, attributes, arrays):
    """Means and variances of each sample, over the axes from `axis` on."""
    known = {"scale": 1.0, "bias": 0.0} | plain(name, attributes, arrays)
    over = {"axis": tuple(range(known["axis"] % arrays[0].ndim, arrays[0].ndim)), "keepdims": True}
    return {**known, "mean": lambda x: np.mean(x, **over), "var": lambda x: np.var(x, **over)}


def batch_norm(name, attributes, arrays):
    """With the channels on the last axis; nothing flows back through the running statistics."""
    node, keys = instance(name, attributes), OPS[name].signature.inputs
    results = node.forward(*arrays)
    x, scale, _, *running = arrays
    dz = weights_of(results)[0]
    gradients = node.backward(dz, *map(np.zeros_like, results[1:]), x, scale, *running)
    known = {**node.model_dump(), **dict(zip(keys, arrays, strict=True)), "z": results[0], "dz": dz}
    known |= dict(zip([f"d{key}" for key in keys], gradients, strict=True))
    known |= {key: np.moveaxis(known[key], node.axis, -1) for key in ("x", "z", "dx", "dz")}
    axes = tuple(range(x.ndim - 1))
    moments = (known["x"].mean(axis=axes), known["x"].var(axis=axes)) if node.training else running
    over = {"mean": lambda values: np.mean(values, axis=axes), "sum": lambda values: np.sum(values, axis=axes)}
    return {**known, **over, **dict(zip("mv", moments, strict=True))}


def dropout(name, attributes, arrays):
    x, *key = arrays
    return plain(name, attributes, arrays) | {"bernoulli": lambda p: bernoulli(*key, shape=x.shape, p=p)}


def attention(name, attributes, arrays):
    """Without truth values as a mask, which are no numbers to add."""
    if "causal" in attributes or arrays[-1].dtype == bool:
        return None
    known = {"mask": 0.0} | plain(name, attributes, arrays)
    return known | {
        "scale": known["scale"] or arrays[0].shape[-1] ** -0.5,
        "sum": lambda values: np.sum(values, axis=-1, keepdims=True),
        "softmax": lambda scores: special.softmax(scores, axis=-1),
    }


# ---------------------------------------------------------------- selection, shapes


def along(axis, rank):
    """Formulas that name one axis, for rows of arrays of that rank that work on it; indices count from the front."""

    def names(name, attributes, arrays):
        if attributes.get("axis", axis) != axis or {array.ndim for array in arrays} != {rank}:
            return None
        known = {"axis": axis} | plain(name, attributes, arrays)
        if "indices" in known:
            known["indices"] = known["indices"] % arrays[0].shape[axis]
        return {key: sharing(key, known) for key in ("slice_add", "index_add", "scatter_add", "stack")} | known

    return names


def topk(name, attributes, arrays):
    """With the places that it gives."""
    known = along(-1, 2)(name, attributes, arrays)
    return known and known | {"indices": results_of(name, attributes, arrays)[1]}


def scatter(name, attributes, arrays):
    """Added updates, whose shares are 1."""
    known = along(-1, 2)(name, attributes, arrays) if attributes["reduction"] == "add" else None
    return known and known | {"scatter": sharing(name, known), "share": np.ones_like}


def arange(name, attributes, arrays):
    """Start, stop and step of three inputs."""
    return plain(name, attributes, arrays) if len(arrays) == 3 else None


def sharing(name, known):
    """The oracle of an op, with the attributes that it shares with the one that calls it."""
    fields = {field: known[field] for field in OPS[name].cls.model_fields if field in known}
    return lambda *arrays: TABLE[name].oracle(*arrays, **fields)


def embedding(name, attributes, arrays):
    known = plain(name, attributes, arrays)
    plain_row = arrays[0].ndim == 1 and not attributes
    return {**known, "index_add": sharing("index_add", {"axis": 0})} if plain_row else None


def one_hot(name, attributes, arrays):
    known = plain(name, attributes, arrays)
    return {**known, "targets": arrays[0] % known["depth"]} if arrays[0].ndim == 1 else None


def concat(name, attributes, arrays):
    """`split` cuts where the arrays meet."""
    known = plain(name, attributes, arrays)
    parts = arrays[1:] if name == "split_like" else arrays
    places = known.get("indices_or_sections", np.cumsum([array.shape[known["axis"]] for array in parts])[:-1])
    return {
        **known,
        "concat": lambda *xs: np.concatenate(xs, axis=known["axis"]),
        "split": lambda x: np.split(x, places, axis=known["axis"]),
    }


def transpose(name, attributes, arrays):
    known, rank = plain(name, attributes, arrays), arrays[0].ndim
    return {**known, "inverse": lambda axes: axes and np.argsort([axis % rank for axis in axes])}


def tile(name, attributes, arrays):
    """The size of a tile, along the one axis."""
    if not arrays[0].ndim == len(attributes["reps"]) == 1:
        return None
    known = plain(name, attributes, arrays)
    return {**known, "n": len(arrays[0]) if name == "tile" else len(known["z"])}


def pad(name, attributes, arrays):
    """A margin of constants is dropped by `unpad`."""
    known = plain(name, attributes, arrays) | {"pad": lambda x, *_: TABLE["pad"].oracle(x, **attributes)}
    if known["mode"] == "constant":
        sizes = zip(arrays[0].shape, known["pad_width"], strict=True)
        inside = tuple(slice(before, before + size) for size, (before, _) in sizes)
        known["unpad"] = lambda x, *_: x[inside]
    return known


# ---------------------------------------------------------------- patches


def layout_of(known, kernel_size):
    layout = {key: known[key] for key in ("stride", "padding", "dilation") if key in known}
    return {**layout, "kernel_size": kernel_size, "stride": known["stride"] or kernel_size}


def of_patches(name, attributes, arrays):
    """On one axis, with channels and places in a patch apart."""
    known, x = plain(name, attributes, arrays), arrays[0]
    layout = layout_of(known, known["kernel_size"])
    if name == "fold":
        return {**known, "unfold": lambda images: unfold(images, **layout)}
    apart = {key: known[key].reshape(*x.shape[:2], -1, known[key].shape[-1]) for key in ("z", "dz")}

    def folded(columns):
        return fold(columns.reshape(len(x), -1, columns.shape[-1]), x.shape[2:], **layout)

    return {**known, **apart, "fold": folded} if x.ndim == 3 else None


def of_filters(name, attributes, arrays):
    """The weight as a matrix, places one behind the other; sums over samples and places are those of broadcasting."""
    if attributes.get("groups", 1) > 1:
        return None
    known, weight = {"bias": np.zeros(1)} | plain(name, attributes, arrays), arrays[1]
    layout = layout_of(known, weight.shape[2:])
    large, small = ("z", "x") if name == "conv_transpose2d" else ("x", "z")
    sizes = known[large].shape[2:]
    flat = {key: known[key].reshape(*known[key].shape[:2], -1) for key in (small, f"d{small}")}
    matrices = {key: known[key].reshape(len(weight), -1) for key in ("weight", "dweight")}
    columns = (-1, *[1] * (known["z"].ndim - 2 if large == "z" else 1))
    biases = {key: known[key].reshape(columns) for key in ("bias", "dbias") if key in known}
    called = {"unfold": lambda images: unfold(images, **layout), "fold": lambda x: fold(x, sizes, **layout)}
    return {**known, **flat, **matrices, **biases, **called, "sum": lambda products: products}


def of_pools(name, attributes, arrays):
    """Channels, values of a patch and patches on axes of their own."""
    if "ceil_mode" in attributes:
        return None
    known, (x,) = plain(name, attributes, arrays), arrays
    layout = layout_of(known, tuple(np.broadcast_to(known["kernel_size"], 2)))
    fill = -math.inf if name == "max_pool2d" else 0.0

    def patches(images):
        columns = unfold(images, fill=fill, **layout)
        return columns.reshape(*x.shape[:2], -1, columns.shape[-1])

    def images(values):
        columns = np.broadcast_to(values, patches(x).shape)
        return fold(columns.reshape(len(x), -1, columns.shape[-1]), x.shape[2:], **layout)

    every = np.ones_like(patches(x)) if known.get("count_include_pad", True) else patches(np.ones_like(x))
    over = {"axis": 2, "keepdims": True}
    known |= {key: known[key].reshape(*x.shape[:2], 1, -1) for key in ("z", "dz")}
    known |= {"unfold": patches, "fold": images, "k": np.sum(every, **over)}
    return {**known, "max": lambda p: np.max(p, **over), "sum": lambda p: np.sum(p, **over)}


def max_pool_with_indices(name, attributes, arrays):
    """As of a pooling; gradients are put into images whose places are in one axis."""
    if "ceil_mode" in attributes:
        return None
    known, (x,) = plain(name, attributes, arrays), arrays
    layout = layout_of(known, known["kernel_size"])

    def patches(images):
        columns = unfold(images, fill=-math.inf, **layout)
        return columns.reshape(*x.shape[:2], -1, columns.shape[-1])

    def scatter_add(images, indices, updates):
        columns = images.reshape(*images.shape[:2], -1).copy()
        np.add.at(columns, (*np.ogrid[: len(x), : x.shape[1], :1][:2], indices), updates)
        return columns

    indices = results_of(name, attributes, arrays)[1]
    known |= {key: known[key].reshape(*x.shape[:2], -1) for key in ("z", "dz", "dx")}
    called = {"unfold": patches, "scatter_add": scatter_add, "max": lambda p: np.max(p, axis=2)}
    return {**known, **called, "indices": indices.reshape(*x.shape[:2], -1)}


def global_avg_pool2d(name, attributes, arrays):
    return plain(name, attributes, arrays) | {"H": arrays[0].shape[2], "W": arrays[0].shape[3]}


SERIES = ["sum", "mean", "prod", "max", "min", "any", "all", "argmax", "argmin", "var", "std", "norm", "logsumexp"]


def interp(name, attributes, arrays):
    """The segment k of each place, the part t of it that lies before the place, and u, that part from 0 to 1."""
    x, xp, fp = arrays
    k = np.clip([np.count_nonzero(xp <= place) - 1 for place in np.ravel(x)], 0, len(xp) - 2).astype(int)
    k = k.reshape(x.shape)
    t = (x - xp[k]) / (xp[k + 1] - xp[k])

    def spread(numbers, places):
        return np.bincount(np.ravel(places), np.ravel(numbers), minlength=len(xp))

    slope, inside = np.diff(fp)[k] / np.diff(xp)[k], (t >= 0) * (t <= 1)
    known = {"k": k, "t": t, "u": np.clip(t, 0, 1), "slope": slope, "inside": inside, "spread": spread}
    return plain(name, attributes, arrays) | known


MEANINGS = {
    "interp": interp,
    **dict.fromkeys([*SERIES, "cumsum", "cumprod", "softmax", "log_softmax"], of_vectors),
    **dict.fromkeys(
        ["matmul", "det", "inv", "solve", "cholesky"], only(lambda _, arrays: {array.ndim for array in arrays} == {2})
    ),
    "vecdot": only(lambda _, arrays: {array.ndim for array in arrays} == {1}),
    "trace": trace,
    "cofactor": cofactor,
    "linear_recurrence": linear_recurrence,
    "einsum": einsum,
    **dict.fromkeys(["mse", "mae", "huber", "hinge", "binary_cross_entropy", "kl_divergence"], of_losses),
    **dict.fromkeys(["negative_log_likelihood", "softmax_cross_entropy"], of_class_losses),
    **dict.fromkeys(["accuracy", "confusion_matrix"], with_functions(argmax=lambda scores: np.argmax(scores, axis=-1))),
    **dict.fromkeys(["layer_norm", "rms_norm"], of_rows),
    "batch_norm": batch_norm,
    "dropout": dropout,
    "scaled_dot_product_attention": attention,
    **dict.fromkeys(["slice", "slice_add", "gather", "index_add", "stack"], along(0, 1)),
    **dict.fromkeys(["take_along_axis", "scatter_add", "sort", "argsort"], along(-1, 2)),
    "topk": topk,
    "scatter": scatter,
    "arange": arange,
    "embedding": embedding,
    "one_hot": one_hot,
    **dict.fromkeys(["concat", "split", "split_like"], concat),
    **dict.fromkeys(["reshape", "broadcast_to", "sum_to"], only(lambda attributes, _: "shape" in attributes)),
    "transpose": transpose,
    "tile": tile,
    "untile": tile,
    "pad": pad,
    **dict.fromkeys(["unfold", "fold"], of_patches),
    **dict.fromkeys(["conv1d", "conv2d", "conv_transpose2d"], of_filters),
    **dict.fromkeys(["max_pool2d", "avg_pool2d"], of_pools),
    "global_avg_pool2d": global_avg_pool2d,
    "max_pool_with_indices": max_pool_with_indices,
    "add_n": with_functions(sum=sum),
    "clip": only(lambda _, arrays: len(arrays) == 3),
    "gelu": only(lambda attributes, _: not attributes),
}
