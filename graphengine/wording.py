"""Words in messages: numbers of things, values on one line and printable, the name that was meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

import orjson

LONGEST_NAME = 400
"""Characters of the longest name that a file can give anything: what is longer is near to none."""
MANY_NAMES = 500
"""Of more names than this only those of about the same length are looked at for the one that was meant."""
LONGEST = 400
"""No name is longer, so a longer word is none that is misspelt."""
SHOWN = 60
"""So many letters of a value are shown."""
ELSEWHERE = {
    "+": "add",
    "-": "sub",
    "*": "mul",
    "/": "div",
    "**": "pow",
    "^": "pow",
    "@": "matmul",
    "power": "pow",
    "dot": "matmul",
    "mm": "matmul",
    "gemm": "nn.dense",
    "dense": "nn.dense",
    "linear": "nn.dense",
    "lstm": "nn.lstm_cell",
    "gru": "nn.gru_cell",
    "reducesum": "sum",
    "reducemean": "mean",
    "reducemax": "max",
    "cross_entropy": "softmax_cross_entropy",
    "crossentropyloss": "softmax_cross_entropy",
    "op_type": "op",
    "class_name": "op",
    "name": "id",
    "initializers": "initializer",
    "weights": "parameters",
    "layers": "nodes",
    "config": "attributes",
    "params": "attributes",
    "lr": "learning_rate",
    "dim": "axis",
    "double": "float64",
    "float": "float64",
    "int": "int64",
    "long": "int64",
}
"""What words of other tools, in small letters, are called here."""


def counted(number: int | str, what: str) -> str:
    """A number of things: `1 node`, `2 nodes`, `0 to 1 nodes`."""
    return f"{number} {what}{'s' * (str(number) != '1')}"


def escaped(text: str) -> str:
    """Text on one line, with control, bidirectional and invisible characters as escapes."""
    if text.isprintable():
        return text
    return "".join([char if char.isprintable() else char.encode("unicode_escape").decode() for char in text])


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
    if len(word) > LONGEST:
        return None
    names = list(possible)
    small = word.lower()
    for name in (ELSEWHERE.get(small), small):
        if name is not None and name in names:
            return name
    if len(names) > MANY_NAMES:
        names = [name for name in names if abs(len(name) - len(word)) <= 2 and name[:1] == word[:1]][:MANY_NAMES]
    near = difflib.get_close_matches(word, names, n=1)
    return near[0] if near else None
