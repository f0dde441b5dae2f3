"""Files with several mistakes: each is reported, and nothing that only follows from one of them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from documents import changed

from corpus.documents import COUNTER, HEAD, LINREG, Json
from corpus.marking import Mark, found_at, text_of

BASE: Json = {
    **LINREG,
    "inputs": {
        **LINREG["inputs"],
        "a": {"shape": [2]},
        "b": {"shape": [3]},
        "k": {"shape": ["M"], "dtype": "int64"},
        "r": {"shape": ["N", 3]},
    },
    "parameters": {
        **LINREG["parameters"],
        "w": {"shape": [2], "initializer": {"type": "normal"}, "value": [0.0, 1.0]},
        "v": {"shape": [3, 2], "initializer": {"type": "glorot_uniform"}},
    },
    "state": COUNTER["state"],
    "functions": COUNTER["functions"],
    "nodes": [
        *LINREG["nodes"],
        {"id": "more", "op": "add", "inputs": ["seen", 1]},
        {"id": "first", "op": "neg", "inputs": ["a"]},
        {"id": "second", "op": "exp", "inputs": ["first"]},
        {"id": "third", "op": "sum", "inputs": ["second"]},
        {"id": "scaled", "op": "mul", "inputs": ["a", "w"]},
        {"id": "hot", "op": "one_hot", "inputs": ["k"], "attributes": {"depth": 4}},
        {"id": "units", "op": "layer", "inputs": ["r", "v"]},
        {"id": "shifted", "op": "add", "inputs": ["units", 1.0]},
    ],
}
"""A file in which much can be wrong at once."""
NODES = len(BASE["nodes"])

MISTAKES: list[tuple[tuple[str | int, ...], Any]] = [
    (("metadata",), Mark("GE112", [])),
    (("authors",), Mark("GE110", "nobody")),
    (("inputs", "x", "unit"), Mark("GE110", "Mpc")),
    (("inputs", "y", "description"), Mark("GE112", 3)),
    (("inputs", "b", "shape"), Mark("GE112", "3")),
    (("parameters", "theta", "learning_rate_multiplier"), Mark("GE112", -1.0)),
    (("parameters", "theta", "value"), Mark("GE302", [0.25])),
    (("parameters", "w", "initializer", "type"), Mark("GE112", "norml")),
    (("parameters", "w", "value"), Mark("GE302", [0.0, 1.0, 2.0])),
    (("state", "seen", "update"), Mark("GE210", "les")),
    (("functions", "layer", "nodes", 0, "op"), Mark("GE211", "matmull")),
    (("functions", "layer", "nodes", 1, "note"), Mark("GE110", "scaled")),
    (("functions", "layer", "outputs", "out"), Mark("GE210", "nothing")),
    (("nodes", 0, "op"), Mark("GE211", "mull")),
    (("nodes", 1, "inputs", "y"), Mark("GE210", "y_hut")),
    (("nodes", 2, "inputs"), Mark("GE212", ["error", "error"])),
    (("nodes", 3, "attributes", "axes"), Mark("GE213", 0, True)),
    (("nodes", 3, "label"), Mark("GE110", "loss")),
    (("nodes", 5, "op"), Mark("GE112", ["neg"])),
    (("nodes", 7, "inputs", 0), Mark("GE112", None)),
    (("nodes", 9, "attributes"), Mark("GE112", [4])),
    (("nodes", NODES), Mark("GE111", {"id": "lost", "inputs": ["a"]})),
    (("nodes", NODES), Mark("GE214", {"id": "own", "op": "add", "inputs": ["own", "a"]})),
    (("nodes", NODES), Mark("GE301", {"id": "misfit", "op": "matmul", "inputs": ["a", "k"]})),
    (("nodes", NODES), {"id": Mark("GE201", "third"), "op": "neg", "inputs": ["a"]}),
    (("outputs", "prediction"), Mark("GE210", "theta2")),
    (("outputs", "loss2"), Mark("GE112", 3)),
    (("data", "train", "columns", "q"), Mark("GE210", "q", True)),
    (("data", "train", "columns", "x"), Mark("GE112", -1)),
    (("data", "packed", "path"), Mark("GE112", 3)),
    (("training", "data"), Mark("GE210", "test")),
    (("training", "epochs"), Mark("GE112", 0)),
    (("training", "accelerate"), Mark("GE110", True)),
    (("training", "optimizer", "learning_rate"), Mark("GE112", -0.1)),
    (("training", "optimizer", "momentum"), Mark("GE112", "0.9")),
    (("training", "gradient_clipping", "limit"), Mark("GE112", 0)),
    (("training", "metrics"), {"m": Mark("GE210", "nothing")}),
]
"""Mistakes that have nothing to do with each other."""

Case = tuple[str, str]

HEADER = text_of({**HEAD, "name": "m", "inputs": {"x": {"shape": ["N"]}}})[:-2]
TEXTS = [
    ("doubled-op", HEADER + ',\n "nodes": [{"id": "z", "op": "exp", "inputs": [⟨GE210⟩"y"], ⟨GE122⟩"op": "negg"}],\n'
        ' "outputs": {"a": "z:more", "b": ⟨GE210⟩"c"}}'),
    ("doubled-section", HEADER + ',\n ⟨GE122⟩"inputs": {"y": {"shape": [], ⟨GE110⟩"size": 3}},\n'
        ' "nodes": [{"id": "z", "op": ⟨GE211⟩"negg", "inputs": ["x"]}], "outputs": {"z": "z"}}'),
    ("doubled-list", HEADER + ',\n "nodes": [{"id": "a", "op": "neg", "inputs": ["x"]}, {"id": ⟨GE123⟩NaN}],\n'
        ' ⟨GE122⟩"nodes": [{"id": "z", "op": "negg", "inputs": ["a"]}], "outputs": {"z": "q"}}'),
    ("numbers", HEADER + ',\n "parameters": {"p": {"shape": [⟨GE124⟩1e999], "initializer": {"type": "zeros"}},\n'
        '  "q": {"shape": [2], "initializer": {"type": "constant", "value": ⟨GE123⟩NaN}}},\n'
        ' "nodes": [{"id": "a", "op": "add", "inputs": ["x", ⟨GE123⟩Infinity]},\n'
        f'  {{"id": "b", "op": "add", "inputs": ["p", ⟨GE125⟩{10**30}]}},\n'
        '  ⟨GE301⟩{"id": "c", "op": "matmul", "inputs": ["q", 1.0]}, {"id": "z", "op": "sum", "inputs": ["x"],\n'
        '  "attributes": {"axis": ⟨GE123⟩NaN}}],\n "outputs": {"z": "z", "a": ⟨GE210⟩"aa"}}'),
    ("halves", HEADER + ',\n "nodes": [{"id": "a⟨GE126⟩\\ud800", "op": "neg", "inputs": ["x"]},\n'
        '  {"id": "z", "op": "neg⟨GE126⟩\\ud800", "inputs": ["x", ⟨GE112⟩null]}],\n'
        ' "outputs": {"⟨GE126⟩\\ud800": "z", "z": "z"}}'),
    ("attribute-of-a-rule", HEADER + ',\n "nodes": [{"id": "z", "op": "sum", "inputs": ["x"]}], "outputs": {"z": "z"},\n'
        ' "training": {"loss": ⟨GE210⟩"y", "optimizer": {"type": "momentum", "momentum": ⟨GE123⟩NaN, ⟨GE110⟩"rho": 1,\n'
        '  "learning_rate": 0.1}}}'),
]  # fmt: skip
"""The text is wrong in places, and more is."""


def cases() -> Iterator[Case]:
    """All of them, as names and texts with marks."""
    for name, mistakes in drawn():
        yield f"several-{name}", text_of(with_mistakes(mistakes))
    for name, document in consequences():
        yield f"only-{name}", text_of(document)
    yield from ((f"text-{name}", text) for name, text in TEXTS)


def drawn() -> Iterator[tuple[str, list[tuple[tuple[str | int, ...], Any]]]]:
    """Three to eight of the mistakes, in any order, and all of them."""
    chance = random.Random(0)
    for count in range(3, 9):
        for turn in range(8):
            yield f"{count}-{turn}", chance.sample(MISTAKES, count)
    yield "all", MISTAKES


def with_mistakes(mistakes: list[tuple[tuple[str | int, ...], Any]]) -> Json:
    """The base document with mistakes made in it; a node that is added comes behind the others."""
    document = BASE
    for path, value in mistakes:
        if path == ("nodes", NODES):
            document = {**document, "nodes": [*document["nodes"], value]}
        else:
            document = changed(document, path, value)
    return document


def consequences() -> Iterator[tuple[str, Json]]:
    """One mistake, or two, from which more would seem to follow."""
    node = LINREG["nodes"][0]
    for key in ("id", "op", "inputs"):
        lacking = {name: value for name, value in node.items() if name != key}
        code = "GE212" if key == "inputs" else "GE111"
        yield f"node-without-{key}", changed(LINREG, ("nodes", 0), Mark(code, lacking))
    yield "node-empty", changed(LINREG, ("nodes", 0), Mark("GE111", Mark("GE111", {})))
    yield "node-no-object", changed(LINREG, ("nodes", 0), Mark("GE112", "y_hat = theta * x"))
    yield "id-no-name", changed(LINREG, ("nodes", 0, "id"), Mark("GE112", "y hat"))
    yield (
        "input-no-name",
        changed(renamed(LINREG, "inputs", "x", "x 1"), ("inputs", "x 1"), Mark("GE112", {"shape": ["N"]}, True)),
    )
    for section in ("inputs", "parameters", "nodes", "outputs", "data"):
        yield f"section-{section}", renamed(LINREG, section, section[:-1])
    yield "section-functions", renamed(COUNTER, "functions", "function")
    yield "section-state", renamed(COUNTER, "state", "stat")
    yield "section-opsets", renamed(COUNTER, "opset_imports", "opsets_import")
    yield (
        "sections-empty",
        {**COUNTER, "inputs": Mark("GE112", []), "state": Mark("GE112", []), "functions": Mark("GE112", [])},
    )
    yield "shape-misspelled", changed(LINREG, ("inputs", "x"), {"shpe": Mark("GE110", ["N"])})
    yield (
        "rule-misspelled",
        changed(LINREG, ("training", "optimizer"), Mark("GE111", {"typ": "adam", "learning_rate": 0.1})),
    )
    hot = {"id": "z", "op": "one_hot", "inputs": ["k"], "attributes": {"depth": 4}}
    counted = small([hot], k={"shape": ["M"], "dtype": "int64"})
    yield "dtype-misspelled", changed(counted, ("inputs", "k"), {"shape": ["M"], "dtyp": Mark("GE110", "int64")})
    yield "dtype-wrong", changed(counted, ("inputs", "k", "dtype"), Mark("GE112", "int"))
    yield "dtype-of-file", {**small([hot], k={"shape": ["M"]}), "dtype": Mark("GE112", "int")}
    attribute = {key: value for key, value in hot.items() if key != "attributes"}
    yield (
        "attributes-misspelled",
        changed(counted, ("nodes", 0), {**attribute, "attribute": Mark("GE110", {"depth": 4})}),
    )
    for name, wrong in (
        ("op", {"op": Mark("GE211", "splitt")}),
        ("attribute", {"attributes": {"indices_or_section": Mark("GE213", 2, True)}}),
    ):
        parts = {"id": "parts", "op": "split", "inputs": ["x"], "attributes": {"indices_or_sections": 2}, **wrong}
        added = {"id": "z", "op": "add", "inputs": ["parts", "parts:part_1"]}
        yield f"ports-{name}", small([added, parts], x={"shape": [4]})
    twice = [{"id": "a", "op": "sum", "inputs": ["x"]}, {"id": Mark("GE201", "a"), "op": "neg", "inputs": ["x"]}]
    yield "id-twice", small([*twice, {"id": "z", "op": "matmul", "inputs": ["a", "x"]}], x={"shape": [4]})
    circle = [{"id": "b", "op": "neg", "inputs": ["c"]}, {"id": "c", "op": "neg", "inputs": ["b"]}]
    after = {"id": "z", "op": "matmul", "inputs": ["c", "x"]}
    yield "cycle", small([Mark("GE214", circle[0]), circle[1], after], x={"shape": [4]})
    yield (
        "cycle-unknown-op",
        small([Mark("GE214", {**circle[0], "op": Mark("GE211", "nge")}), circle[1], after], x={"shape": [4]}),
    )
    yield "call-of-broken", changed(COUNTER, ("functions", "layer", "inputs"), Mark("GE112", ["x", "w"]))
    described = changed(LINREG, ("nodes", 1, "description"), Mark("GE112", 3))
    yield "node-description", changed(described, ("nodes", 2, "inputs"), [Mark("GE210", "eror")])
    yield "function-no-object", changed(COUNTER, ("functions", "layer"), Mark("GE112", "matmul, then mul"))
    yield "call-attributes", changed(COUNTER, ("nodes", 1, "attributes"), Mark("GE112", 2.0))
    dense = {"id": "z", "op": "nn.dense", "inputs": ["x", "w", "b"]}
    layers = {
        **small([dense], x={"shape": ["N", 3]}, w={"shape": [3, 2]}, b={"shape": [2]}),
        "opset_imports": {"core": 1, "nn": 1},
    }
    lacking = {key: value for key, value in layers.items() if key != "opset_imports"}
    yield "opset-imports-missing", Mark("GE111", lacking)
    within = {"inputs": {"x": {}, "w": {}, "b": {}}, "nodes": [Mark("GE301", dense)], "outputs": {"out": "z"}}
    call = {"id": "z", "op": "block", "inputs": ["x", "b", "b"]}
    yield "call-in-a-call", {**layers, "nodes": [call], "functions": {"block": within}}
    outer = {"inputs": {"x": {}}, "nodes": [{"id": "n", "op": "inner", "inputs": ["x"]}], "outputs": {"out": "n"}}
    inner = {**outer, "nodes": [{"id": "n", "op": Mark("GE211", "nge"), "inputs": ["x"]}]}
    sound = {**outer, "nodes": [Mark("GE301", {"id": "n", "op": "matmul", "inputs": ["x", 2.0]})]}
    calls = [{"id": node, "op": op, "inputs": ["x"]} for node, op in (("a", "outer"), ("b", "sound"), ("z", "neg"))]
    yield (
        "call-in-broken",
        {
            **small([*calls, {"id": "c", "op": "add", "inputs": ["a", "b"]}], x={"shape": [4]}),
            "functions": {"outer": outer, "inner": inner, "sound": sound},
        },
    )
    yield "residual-of-broken", changed(
        changed(LINREG, ("nodes", 1, "op"), Mark("GE211", "substract")),
        ("training",), {"loss": "loss", "data": "rows", "optimizer": {"type": "least_squares", "residual": "error"}})  # fmt: skip


def small(nodes: list[Any], **inputs: Json) -> Json:
    """A document with some nodes, one of which is `z`."""
    return {**HEAD, "name": "m", "inputs": inputs, "nodes": nodes, "outputs": {"out": "z"}}


def renamed(document: Json, *path: str) -> Json:
    """A document with the last key but one of a path under a wrong name, the last one, which is marked."""
    *outer, old, new = path
    entries = found_at(document, outer)
    other = {
        new if key == old else key: Mark("GE110", value) if key == old else value for key, value in entries.items()
    }
    return changed(document, outer, other) if outer else other
