"""Changes of a good file: some to its JSON values, some to its bytes, by a seeded generator."""

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

from graphengine.ops.registry import OPS
from graphengine.ops.shapes import DTYPES

ODD = [
    *[
        None,
        True,
        False,
        0,
        1,
        -1,
        2,
        3,
        7,
        0.5,
        -0.0,
        1e308,
        1e-320,
        2**31,
        2**53,
        2**53 + 1,
        2**63,
        2**64 - 1,
        -(2**63),
    ],
    *[
        "",
        "N",
        "M",
        "2*N",
        "N*N",
        "x",
        "y",
        "theta",
        "loss",
        "x:out",
        "a/b",
        "NaN",
        "Infinity",
        "-Infinity",
        "\u202e",
        "\x00",
    ],
    *[
        "0",
        "sgd",
        "adam",
        "constant",
        "zeros",
        "csv",
        "inline",
        "float32",
        "int64",
        "bool",
        "../x",
        "/etc/passwd",
        "é" * 99,
    ],
    *[
        [],
        {},
        [[]],
        [0],
        [1, 2],
        ["N"],
        [2, 3],
        [[1.0, 2.0], [3.0, 4.0]],
        [1, [2]],
        {"x": "x"},
        {"type": "zeros"},
        [None],
    ],
    *[
        {"type": "constant", "value": "NaN"},
        {"axis": 0},
        {"axis": [0, 1], "keepdims": True},
        {"shape": [2, 3]},
        [10**9],
    ],
]
TOKENS = [
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b'"',
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"NaN",
    b"1e999",
    b"-",
    b"0",
    b"\xff",
]
TOKENS += [
    b"9" * 30,
    b"[" * 100,
    b"null",
    b"\xef\xbb\xbf",
    b"\x00",
    b" ",
    b"\n",
    b'"a":1,',
    b"-Infinity",
    b"9007199254740993",
]


def mutated(documents: list[Any], rng: random.Random) -> bytes:
    """The bytes of one of the documents after a few changes."""
    value = copy.deepcopy(rng.choice(documents))
    for _ in range(rng.choice([0, 1, 1, 1, 2, 3, 5])):
        change_value(value, rng, documents)
    text = json.dumps(value, ensure_ascii=rng.random() < 0.5, indent=rng.choice([None, None, 1]))
    data = text.encode(errors="replace")
    if rng.random() < 0.3:
        data = change_bytes(data, rng)
    return data


def written(value: Any) -> bytes:
    """A document as bytes; what JSON does not have comes out as Python writes it."""
    return json.dumps(value, ensure_ascii=False).encode(errors="replace")


def change_value(value: Any, rng: random.Random, documents: list[Any]) -> None:
    """Change one place in a document."""
    container = rng.choice(list(containers(value)))
    keys = list(container) if isinstance(container, dict) else list(range(len(container)))
    if not keys:
        _add(container, None, rng, documents)
        return
    key = rng.choice(keys)
    changes = [_remove, _odd, _odd, _leaf, _op, _near, _add, _part, _order]
    rng.choice(changes)(container, key, rng, documents)


def _remove(container: Any, key: Any, *_: Any) -> None:
    del container[key]


def _odd(container: Any, key: Any, rng: random.Random, _: Any) -> None:
    container[key] = copy.deepcopy(rng.choice(ODD))


def _leaf(container: Any, key: Any, rng: random.Random, documents: list[Any]) -> None:
    container[key] = copy.deepcopy(rng.choice(list(leaves(rng.choice(documents)))))


def _op(container: Any, key: Any, rng: random.Random, _: Any) -> None:
    container[key] = rng.choice(sorted(OPS))


def _near(container: Any, key: Any, rng: random.Random, _: Any) -> None:
    container[key] = near(container[key], rng)


def _part(container: Any, key: Any, rng: random.Random, documents: list[Any]) -> None:
    """Put in a part of another document, of a moderate size."""
    other = rng.choice(list(containers(rng.choice(documents))))
    container[key] = copy.deepcopy(other) if len(json.dumps(other)) < 2000 else rng.choice(DTYPES)


def _order(container: Any, key: Any, rng: random.Random, _: Any) -> None:
    """Give a list another order, a key another name."""
    if isinstance(container, list):
        rng.shuffle(container)
    else:
        container[key + rng.choice(["", "x", "s"])] = container.pop(key)


def _add(container: Any, _: Any, rng: random.Random, __: Any) -> None:
    thing = copy.deepcopy(rng.choice(ODD))
    if isinstance(container, dict):
        container[rng.choice(["axis", "value", "type", "x", "loss", "description", "attributes", "zzz", ""])] = thing
    else:
        container.insert(rng.randrange(len(container) + 1), thing)


def near(value: Any, rng: random.Random) -> Any:
    """Something like a value: a string with other letters, another number of the kind, one element more or less."""
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, (int, float)):
        return rng.choice([value + 1, -value, value * 10**6, value * 1.0, 0])
    if isinstance(value, str):
        place = rng.randrange(len(value) + 1)
        return value[:place] + rng.choice(["", "_", "/", ":", ".", "N", "*", "é", "\n", "\u2066"]) + value[place + 1 :]
    return value * 2 if isinstance(value, list) and len(value) < 100 else value


def containers(value: Any) -> Iterator[Any]:
    """All objects and arrays in a value, itself first."""
    pending = [value]
    while pending:
        current = pending.pop()
        if isinstance(current, (dict, list)):
            yield current
            pending.extend(current.values() if isinstance(current, dict) else current)


def leaves(value: Any) -> Iterator[Any]:
    """All values in a value that hold no others."""
    for container in containers(value):
        inside = container.values() if isinstance(container, dict) else container
        yield from (each for each in inside if not isinstance(each, (dict, list)))
    yield None


def change_bytes(data: bytes, rng: random.Random) -> bytes:
    """The bytes with a token put in, a part left out, doubled or exchanged."""
    for _ in range(rng.choice([1, 1, 2, 4])):
        start = rng.randrange(len(data) + 1)
        stop = min(len(data), start + rng.choice([0, 1, 2, 8, 40]))
        part = data[start:stop]
        put = rng.choice([rng.choice(TOKENS), b"", part * 2, bytes([rng.randrange(256)])])
        data = data[:start] + put + data[stop:]
    return data
