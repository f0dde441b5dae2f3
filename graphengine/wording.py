"""Words in messages: numbers of things, values on one line and printable, the name that was meant."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

LONGEST_NAME = 400
"""Characters of the longest name that a file can give anything: what is longer is near to none."""
MANY_NAMES = 300
"""Of more names than this, or for a long one, only those that share a part of it are looked at."""
LONG_NAME = 40
"""Letters from which on a name is long."""
FEW_NAMES = 50
"""So many of those are looked at closely."""
SHOWN = 60
"""So many letters of a value are shown."""
WORDS_OF = {
    "abs": "absolute",
    "add": "+ plus addition",
    "arccos": "acos",
    "arccosh": "acosh",
    "arcsin": "asin",
    "arcsinh": "asinh",
    "arctan": "atan",
    "arctan2": "atan2",
    "arctanh": "atanh",
    "avg_pool2d": "averagepool averagepooling2d",
    "batch_norm": "batchnorm1d batchnorm2d batchnormalization",
    "binary_cross_entropy": "bce bceloss logloss bcewithlogitsloss binarycrossentropywithlogits",
    "broadcast_to": "expand",
    "clip": "clamp",
    "concat": "cat concatenate",
    "div": "/ divide divided truedivide quotient",
    "equal": "eq",
    "expand_dims": "unsqueeze",
    "flatten": "ravel",
    "gather": "take indexselect",
    "global_avg_pool2d": "globalaveragepool globalaveragepooling2d",
    "greater": "gt",
    "greater_equal": "ge greaterorequal",
    "huber": "huberloss smoothl1loss",
    "kl_divergence": "kl kldiv kldivloss",
    "layer_norm": "layernormalization",
    "less": "lt",
    "less_equal": "le lessorequal",
    "logical_and": "and",
    "logical_not": "not",
    "logical_or": "or",
    "mae": "l1loss meanabsoluteerror",
    "matmul": "@ bmm dot mm",
    "max": "amax reducemax",
    "max_pool2d": "maxpool maxpooling2d",
    "mean": "average reducemean",
    "min": "amin reducemin",
    "mod": "remainder",
    "mse": "mseloss meansquarederror",
    "mul": "* multiply times",
    "negative_log_likelihood": "nll nllloss",
    "neg": "negative negate",
    "nn.dense": "dense gemm linear",
    "nn.gru_cell": "gru grucell",
    "nn.lstm_cell": "lstm lstmcell",
    "nn.rnn_cell": "rnn rnncell",
    "norm": "reducel1 reducel2",
    "normal": "randn",
    "not_equal": "ne",
    "logsumexp": "reducelogsumexp",
    "pow": "** ^ power exponent",
    "prod": "reduceprod",
    "rms_norm": "rmsnormalization",
    "scaled_dot_product_attention": "attention multiheadattention",
    "silu": "swish",
    "softmax_cross_entropy": "ce crossentropy crossentropyloss categoricalcrossentropy sparsecategoricalcrossentropy",
    "stop_gradient": "detach",
    "sub": "- subtract minus difference",
    "sum": "reducesum",
    "take_along_axis": "gatherelements",
    "tile": "repeat",
    "transpose": "permute swapaxes",
    "uniform": "rand",
    "attributes": "config params",
    "axis": "dim",
    "float64": "double float",
    "id": "name",
    "initializer": "initializers",
    "int64": "int long",
    "learning_rate": "lr",
    "nodes": "layers",
    "op": "optype classname",
    "parameters": "weights",
}
ELSEWHERE = {word: meant for meant, words in WORDS_OF.items() for word in words.split()}
"""What words of other tools, in small letters without underscores, are called here."""


def counted(number: int | str, what: str) -> str:
    """A number of things: `1 node`, `2 nodes`, `0 to 1 nodes`."""
    return f"{number} {what}{'s' * (str(number) != '1')}"


def enumerated(names: Sequence[str], most: int = 8) -> str:
    """Names in a sentence: `a`, `a and b`, `a, b and c`; of more than `most` the first ones and how many follow."""
    shown = [*names[:most], counted(len(names) - most, "other")] if len(names) > most else list(names)
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def size_text(count: int) -> str:
    """A number of bytes for people: 3 bytes, 64 MiB, 7.45 GiB."""
    if count < 1024:
        return counted(count, "byte")
    if count.bit_length() > 1000:  # more than a float holds
        return f"more than 2^{count.bit_length() - 1} bytes"
    unit = min((count.bit_length() - 1) // 10, 6)
    return f"{count / 1024**unit:.4g} {('KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB')[unit - 1]}"


def escaped(text: str) -> str:
    """Text on one line, with control, bidirectional and invisible characters as escapes."""
    if text.isprintable():
        return text
    return "".join([char if char.isprintable() else char.encode("unicode_escape").decode() for char in text])


def escaped_json(text: str) -> str:
    """JSON text of the same meaning, in which such characters are JSON's own escapes."""
    return "\n".join([line if line.isprintable() else "".join(map(_json_escape, line)) for line in text.split("\n")])


def _json_escape(char: str) -> str:
    if char.isprintable():
        return char
    units = char.encode("utf-16-be").hex()
    return "".join([f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4)])


def shortened(text: str, length: int) -> str:
    """A text of at most this many letters; of a longer one the middle is left out."""
    if len(text) <= length:
        return text
    part, between = length // 2, " ... "
    return f"{text[: length - part - len(between)]}{between}{text[-part:]}"


def shown(value: Any) -> str:
    """A value from a file as JSON, short and in printable letters."""
    try:
        text = orjson.dumps(value).decode()
    except TypeError:
        text = repr(value)
    text = escaped(text[: SHOWN + 1])  # a long text is not gone through for what is not shown
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def nearest(word: str, possible: Iterable[str]) -> str | None:
    """The name that was probably meant by a word, if one is near or is what other tools call so."""
    if len(word) > LONGEST_NAME:
        return None
    names, small = list(possible), _plain(word)
    meant = ELSEWHERE.get(small)
    if meant in names:
        return meant
    if len(names) > MANY_NAMES or len(word) > LONG_NAME:
        names = _sharing(word, names, len(word) // 2) or _sharing(word, names, len(word) // 3)
    for name in names:
        if _plain(name) == small:
            return name
    near = difflib.get_close_matches(word, names, n=1)
    return near[0] if near else None


def _sharing(word: str, names: Iterable[str], part: int) -> list[str]:
    """The first few names that are about as long as a word and begin or end with as much of it.

    Wherever one letter is wrong, missing or too much, one half is right; of two that are swapped, one third is.
    """
    begin, end, least, most = word[:part], word[-part:], len(word) - 2, len(word) + 2
    alike = (name for name in names if (name.startswith(begin) or name.endswith(end)) and least <= len(name) <= most)
    return list(itertools.islice(alike, FEW_NAMES))


def _plain(word: str) -> str:
    """A word as it is in every spelling: LeakyReLU, leaky_relu."""
    return word.lower().replace("_", "")
