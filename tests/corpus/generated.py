"""Cases made from valid documents by one change each, at every place where that change can be made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from documents import changed

from corpus.documents import COUNTER, HEAD, LINREG, Json
from corpus.marking import Mark, found_at, text_of, without

Case = tuple[str, str]


def cases() -> Iterator[Case]:
    """All of them, as names and texts with marks."""
    for family in (unknown_keys, missing_keys, wrong_types, out_of_range, misspelled, references, ops, arity):
        for name, document in family():
            yield f"{family.__name__}-{name}", text_of(document)
    for family in (attributes, shapes, values, loss, identifiers, cycles, functions, paths):
        for name, document in family():
            yield f"{family.__name__}-{name}", text_of(document)


def _named(path: tuple[str | int, ...]) -> str:
    return "-".join(map(str, path)) or "file"


OBJECTS: list[tuple[Json, tuple[str | int, ...]]] = [
    *[
        (LINREG, path)
        for path in ((), ("inputs", "x"), ("parameters", "theta"), ("parameters", "theta", "initializer"))
    ],
    *[(LINREG, path) for path in (("nodes", 0), ("nodes", 1), ("nodes", 3), ("data", "train"), ("data", "rows"))],
    *[(LINREG, path) for path in (("data", "packed"), ("training",), ("training", "gradient_clipping"))],
    *[(COUNTER, path) for path in (("state", "seen"), ("state", "seen", "initializer"), ("functions", "layer"))],
    *[
        (COUNTER, path)
        for path in (("functions", "layer", "inputs", "x"), ("functions", "layer", "attributes", "slope"))
    ],
    *[(COUNTER, path) for path in (("functions", "layer", "nodes", 0), ("parameters", "w", "initializer"))],
]


def unknown_keys() -> Iterator[tuple[str, Any]]:
    """A key that the format does not have, in every kind of object."""
    for document, path in OBJECTS:
        yield _named(path), changed(document, (*path, "surprise"), Mark("GE110", [1, {"surprise": 2}]))
    yield "optimizer", changed(LINREG, ("training", "optimizer", "surprise"), Mark("GE110", 1))


REQUIRED: list[tuple[Json, tuple[str | int, ...]]] = [
    *[(LINREG, (key,)) for key in ("opset_imports", "name", "nodes", "outputs", "format_version")],
    *[(LINREG, path) for path in (("inputs", "x", "shape"), ("parameters", "theta", "shape"))],
    *[(LINREG, path) for path in (("parameters", "theta", "initializer", "type"),)],
    (COUNTER, ("parameters", "w", "initializer")),
    *[(LINREG, ("parameters", "theta", "initializer", "value")), (LINREG, ("nodes", 2, "id"))],
    *[(LINREG, path) for path in (("nodes", 0, "op"), ("nodes", 1, "inputs"), ("data", "train", "type"))],
    *[(LINREG, path) for path in (("data", "train", "path"), ("data", "rows", "values"), ("data", "packed", "path"))],
    *[(LINREG, path) for path in (("training", "loss"), ("training", "optimizer"), ("training", "optimizer", "type"))],
    *[
        (LINREG, path)
        for path in (("training", "optimizer", "learning_rate"), ("training", "gradient_clipping", "limit"))
    ],
    *[(LINREG, ("training", "gradient_clipping", "type")), (COUNTER, ("state", "seen", "initializer"))],
    *[(COUNTER, path) for path in (("functions", "layer", "inputs"), ("functions", "layer", "nodes"))],
    *[(COUNTER, path) for path in (("functions", "layer", "outputs"), ("state", "seen", "shape"))],
]


def missing_keys() -> Iterator[tuple[str, Any]]:
    """A required key left out; the place is that of the object that lacks it."""
    for document, path in REQUIRED:
        yield _named(path), without(document, path, "GE212" if path == ("nodes", 1, "inputs") else "GE111")


WRONG: list[tuple[Json, tuple[str | int, ...], list[Any]]] = [
    (LINREG, ("format_version",), ["1", 1.0, None, True, [1]]),
    (LINREG, ("opset_imports",), [None, [], "core", {}]),
    (LINREG, ("opset_imports", "core"), ["1", 1.5]),
    (LINREG, ("name",), [None, 3, "", []]),
    (LINREG, ("description",), [3, []]),
    (LINREG, ("metadata",), [3, [], "text"]),
    (LINREG, ("dtype",), [None, 64, "float63", "double", "object"]),
    (LINREG, ("inputs",), [None, [], "x"]),
    (LINREG, ("inputs", "x"), [None, [], ["N"], "N"]),
    (LINREG, ("inputs", "x", "shape"), [None, "N", 3, {}]),
    (LINREG, ("inputs", "y", "dtype"), [3, "f8", "Float64"]),
    (LINREG, ("parameters",), [None, []]),
    (LINREG, ("parameters", "theta"), [0.5, None]),
    (LINREG, ("parameters", "theta", "initializer"), [0.5, "zeros", []]),
    (LINREG, ("parameters", "theta", "initializer", "type"), ["zeroes", "Constant"]),
    (LINREG, ("parameters", "theta", "initializer", "value"), ["1", "nan", None, [], True]),
    (LINREG, ("parameters", "theta", "trainable"), [1, "true", None]),
    (LINREG, ("parameters", "theta", "learning_rate_multiplier"), ["1", None, True]),
    (LINREG, ("nodes",), [None, {}, "nodes"]),
    (LINREG, ("nodes", 0), [None, [], "mul"]),
    (LINREG, ("nodes", 0, "op"), [None, 3, ["mul"]]),
    (LINREG, ("nodes", 0, "inputs"), [None, "theta", 3]),
    (LINREG, ("nodes", 0, "inputs", 0), [None, True, ["theta"]]),
    (LINREG, ("nodes", 1, "inputs", "x"), [None, False, {}]),
    (LINREG, ("nodes", 3, "attributes"), [None, [], "axis"]),
    (LINREG, ("outputs",), [None, [], {}]),
    (LINREG, ("outputs", "loss"), [None, 3, ["loss"]]),
    (LINREG, ("data",), [None, []]),
    (LINREG, ("data", "train", "type"), ["cvs", "CSV"]),
    (LINREG, ("data", "train", "path"), [None, 3, []]),
    (LINREG, ("data", "train", "columns"), [[], "a"]),
    (LINREG, ("data", "rows", "values"), [None, []]),
    (LINREG, ("training",), [[], "fast", 3]),
    (LINREG, ("training", "loss"), [None, 3]),
    (LINREG, ("training", "data"), [3, []]),
    (LINREG, ("training", "optimizer"), [None, "sgd", []]),
    (LINREG, ("training", "optimizer", "type"), [None, 3]),
    (LINREG, ("training", "optimizer", "momentum"), ["0.9", True, [], None]),
    (LINREG, ("training", "batch_size"), [1.0, "1", True]),
    (LINREG, ("training", "shuffle"), [0, "yes", None]),
    (LINREG, ("training", "seed"), [0.5, "3", None]),
    (LINREG, ("training", "epochs"), [2.0, "2", []]),
    (LINREG, ("training", "gradient_clipping"), ["norm", 1.0]),
    (LINREG, ("training", "gradient_clipping", "type"), ["max", None]),
    (COUNTER, ("state",), [None, []]),
    (COUNTER, ("state", "seen", "update"), [3, []]),
    (COUNTER, ("functions",), [None, []]),
    (COUNTER, ("functions", "layer", "outputs"), [None, []]),
]


def wrong_types() -> Iterator[tuple[str, Any]]:
    """A value of another type, or one that is none of the possible ones."""
    for document, path, wrong in WRONG:
        for index, value in enumerate(wrong):
            yield f"{_named(path)}-{index}", changed(document, path, Mark("GE112", value))


RANGES: list[tuple[Json, tuple[str | int, ...], list[Any]]] = [
    (LINREG, ("opset_imports", "core"), [0, -1]),
    (LINREG, ("inputs", "x", "shape", 0), [-1, "N*2", "2 N", "", "1"]),
    (LINREG, ("parameters", "theta", "learning_rate_multiplier"), [-1.0]),
    (LINREG, ("training", "optimizer", "learning_rate"), [-0.1]),
    (LINREG, ("training", "batch_size"), [0, -4]),
    (LINREG, ("training", "seed"), [-1, 2**63]),
    (LINREG, ("training", "epochs"), [0]),
    (LINREG, ("training", "gradient_clipping", "limit"), [0, -1.0]),
    (LINREG, ("nodes", 0, "id"), ["", "1a", "a b", "a:b", "-a", "é€", "a\n", "x" * 201]),
    (COUNTER, ("parameters", "w", "initializer", "seed"), [-1]),
]


def out_of_range() -> Iterator[tuple[str, Any]]:
    """A number beyond its bounds, a string that is no name or size."""
    for document, path, wrong in RANGES:
        for index, value in enumerate(wrong):
            base = document
            if path == ("nodes", 0, "id"):  # references to it would be wrong as well
                base = {
                    **HEAD,
                    "name": "m",
                    "nodes": [{"id": "z", "op": "neg", "inputs": [1.0]}],
                    "outputs": {"o": "o"},
                }
                base = changed(base, ("nodes",), [*base["nodes"], {"id": "o", "op": "neg", "inputs": [1.0]}])
            yield f"{_named(path)}-{index}", changed(base, path, Mark("GE112", value))
    yield "rank", changed(LINREG, ("inputs", "x", "shape"), Mark("GE112", [1] * 33))


KEYS = [
    "dtyp",
    "input",
    "parameter",
    "node",
    "output",
    "traning",
    "Name",
    "formt",
    "opset_import",
    "x-extra",
    "__class__",
]


def misspelled() -> Iterator[tuple[str, Any]]:
    """Keys that are nearly right, beside the right ones."""
    for key in KEYS:
        yield key, changed(LINREG, (key,), Mark("GE110", {}))


def references() -> Iterator[tuple[str, Any]]:
    """A reference to something that is not there, from every place that has one."""
    for path in (("nodes", 0, "inputs", 0), ("nodes", 0, "inputs", 1), ("nodes", 2, "inputs", 0)):
        for index, name in enumerate(["thetta", "Theta", "loss:values", "a/b", "x:x"]):
            yield f"{_named(path)}-{index}", changed(LINREG, path, Mark("GE210", name))
    for path, name in (
        (("nodes", 1, "inputs", "y"), "y_hut"),
        (("outputs", "loss"), "los"),
        (("outputs", "prediction"), "theta2"),
        (("training", "loss"), "los"),
        (("training", "data"), "test"),
        (("training", "optimizer", "type"), "momentun"),
    ):
        yield _named(path), changed(LINREG, path, Mark("GE210", name))
    yield "state", changed(COUNTER, ("state", "seen", "update"), Mark("GE210", "les"))
    for kind, key in (("train", "columns"), ("rows", "values"), ("packed", "arrays")):
        old = found_at(LINREG, ("data", kind, key))
        yield f"data-{kind}", changed(LINREG, ("data", kind, key), {**old, "z": Mark("GE210", old["x"], True)})
    both = changed(changed(LINREG, ("nodes", 0, "inputs"), [Mark("GE210", "a"), Mark("GE210", "b")]), ("outputs", "loss"),
                   Mark("GE210", "c"))  # fmt: skip
    yield "several", both


def ops() -> Iterator[tuple[str, Any]]:
    """An op that there is not."""
    for index, name in enumerate(["mull", "Mul", "", "acme.cube", "core.mul", "__import__", "os.system", "nn.nothing"]):
        yield str(index), changed(LINREG, ("nodes", index % 4, "op"), Mark("GE211", name))
    yield "not-imported", changed(LINREG, ("nodes", 0, "op"), Mark("GE105", "nn.dense"))
    yield "newer", changed(LINREG, ("opset_imports", "core"), Mark("GE105", 99))
    yield "other-imports-only", changed(
        {**HEAD, "name": "m", "nodes": [{"id": "z", "op": Mark("GE105", "neg"), "inputs": [1.0]}], "outputs": {"z": "z"}},
        ("opset_imports",), {"acme": 1})  # fmt: skip


def arity() -> Iterator[tuple[str, Any]]:
    """Too few inputs, too many, or wrongly named ones."""
    for place, inputs in (
        (0, ["theta"]),
        (0, []),
        (0, ["theta", "x", "y"]),
        (2, ["error", "error"]),
        (2, {}),
        (1, {"x": "y"}),
        (3, []),
    ):
        yield f"{place}-{len(inputs)}", changed(LINREG, ("nodes", place, "inputs"), Mark("GE212", inputs))
    for place, inputs in (
        (1, {"x": "y", "y": "y_hat", "z": Mark("GE212", "x", True)}),
        (2, {"x": "error", "w": Mark("GE212", 1, True)}),
    ):
        yield f"{place}-name", changed(LINREG, ("nodes", place, "inputs"), inputs)
    wrong = changed(COUNTER, ("nodes", 1, "inputs"), Mark("GE212", ["x"]))
    yield "function", wrong


ATTRIBUTES: list[tuple[str, list[int | str], Any]] = [
    ("mean", [3], {"axes": Mark("GE213", 0, True)}),
    ("mean", [3], {"axis": Mark("GE213", "0")}),
    ("mean", [3], {"axis": Mark("GE213", 0.0)}),
    ("mean", [3], {"keepdims": Mark("GE213", 1)}),
    ("sum", [3], {"keepdims": Mark("GE213", "yes")}),
    ("transpose", [3], {"axes": Mark("GE213", "10")}),
    ("reshape", [3], {"shape": [Mark("GE213", "N")]}),
    ("neg", [3], {"axis": Mark("GE213", 0, True)}),
    ("mul", [3, 3], {"scale": Mark("GE213", 2.0, True)}),
    ("cast", [3], {"dtype": Mark("GE213", "complex64")}),
    ("cast", [3], {"dtype": Mark("GE213", 3)}),
    ("one_hot", [3], {"depth": Mark("GE213", 2.5)}),
    ("softmax", [3], {"axis": Mark("GE213", None)}),
]


def attributes() -> Iterator[tuple[str, Any]]:
    """Attributes that an op does not have, or does not take."""
    for index, (op, shape, given) in enumerate(ATTRIBUTES):
        node = {"id": "z", "op": op, "inputs": ["x"] * len(shape), "attributes": given}
        inputs = {"x": {"shape": [3], "dtype": "int64" if op == "one_hot" else "float64"}}
        yield f"{index}-{op}", {**HEAD, "name": "m", "inputs": inputs, "nodes": [node], "outputs": {"z": "z"}}
    for op, place in (("one_hot", 0), ("cast", 1), ("expand_dims", 2)):
        node = {"id": "z", "op": op, "inputs": ["x"]}
        inputs = {"x": {"shape": [3], "dtype": "int64"}}
        yield f"missing-{place}", {
            **HEAD, "name": "m", "inputs": inputs, "nodes": [Mark("GE213", node)], "outputs": {"z": "z"}}  # fmt: skip
    yield "function-unknown", changed(COUNTER, ("nodes", 1, "attributes"), {"slop": Mark("GE213", 1.0, True)})
    yield "function-kind", changed(COUNTER, ("nodes", 1, "attributes"), {"slope": Mark("GE213", "steep")})


SHAPES: list[tuple[str, list[list[int | str]], Any]] = [
    ("add", [[2], [3]], {}),
    ("add", [["N"], ["M"]], {}),
    ("mul", [["N"], ["2*N"]], {}),
    ("sub", [[2, 3], [2]], {}),
    ("matmul", [[2, 3], [2, 3]], {}),
    ("matmul", [["N", 3], ["N", 3]], {}),
    ("matmul", [[], [3]], {}),
    ("sum", [[3]], {"axis": 1}),
    ("mean", [["N"]], {"axis": -2}),
    ("sum", [[2, 3]], {"axis": [0, 0]}),
    ("max", [[]], {"axis": 0}),
    ("reshape", [[2, 3]], {"shape": [5]}),
    ("reshape", [["N"]], {"shape": [3]}),
    ("transpose", [[2, 3]], {"axes": [0]}),
    ("transpose", [[2, 3]], {"axes": [0, 2]}),
    ("transpose", [[2, 3]], {"axes": [1, 1]}),
    ("broadcast_to", [[2]], {"shape": [3]}),
    ("broadcast_to", [[2]], {}),
    ("reshape", [[2]], {}),
    ("expand_dims", [[2]], {"axis": 3}),
    ("softmax", [[2]], {"axis": 1}),
    ("where", [[2], [3], [4]], {}),
    ("maximum", [[2, 3], [4, 3]], {}),
    ("one_hot", [[3]], {"depth": 2}),
]


def shapes() -> Iterator[tuple[str, Any]]:
    """Shapes and dtypes that do not fit an op; the place is that of the node."""
    for index, (op, given, attribute) in enumerate(SHAPES):
        inputs = {f"x{place}": {"shape": shape} for place, shape in enumerate(given)}
        node = {"id": "z", "op": op, "inputs": list(inputs), **({"attributes": attribute} if attribute else {})}
        yield f"{index}-{op}", {
            **HEAD, "name": "m", "inputs": inputs, "nodes": [Mark("GE301", node)], "outputs": {"z": "z"}}  # fmt: skip


VALUES: list[tuple[list[int | str], str, Any, str | None]] = [
    ([], "float64", "text", "GE302"),
    ([], "float64", "nan", "GE302"),
    ([], "float64", [1.0], "GE302"),
    ([2], "float64", 1.0, "GE302"),
    ([2], "float64", [1.0], "GE302"),
    ([2], "float64", [1.0, 2.0, 3.0], "GE302"),
    ([2], "float64", [[1.0, 2.0]], "GE302"),
    ([2], "float64", [1.0, Mark("GE302", [2.0])], None),
    ([2], "float64", [1.0, Mark("GE302", None)], None),
    ([2], "float64", [1.0, Mark("GE302", "x")], None),
    ([2, 2], "float64", [[1.0, 2.0], Mark("GE302", [3.0])], None),
    ([], "int64", 1.5, "GE302"),
    ([], "int8", 300, "GE302"),
    ([], "uint8", -1, "GE302"),
    ([], "bool", 1.0, "GE302"),
    ([], "float64", 2**53 + 1, "GE125"),
    ([2], "float64", [0.5, 2**53 + 1], "GE125"),
    ([2], "float32", [1, -(2**60)], "GE125"),
]


def values() -> Iterator[tuple[str, Any]]:
    """Stored values that are not what is declared."""
    for index, (shape, dtype, value, code) in enumerate(VALUES):
        parameter = {
            "shape": shape,
            "dtype": dtype,
            "initializer": {"type": "zeros"},
            "value": Mark(code, value) if code else value,
        }
        node = {"id": "z", "op": "add", "inputs": ["p", 1]}
        yield f"{index}", {**HEAD, "name": "m", "parameters": {"p": parameter}, "nodes": [node], "outputs": {"z": "z"}}
    symbolic = {"shape": Mark("GE302", ["N"]), "initializer": {"type": "zeros"}}
    yield "symbolic", changed(LINREG, ("parameters",), {**LINREG["parameters"], "w": symbolic})
    for index, key in enumerate(("value", "low", "high", "mean")):
        kind = ["constant", "uniform", "uniform", "normal"][index]
        initializer = {"type": kind, key: Mark("GE125", 2**53 + 1)}
        yield f"initializer-{key}", changed(
            LINREG, ("parameters", "w"), {"shape": [2], "initializer": initializer})  # fmt: skip
    for index, huge in enumerate(([10**9, 10**9], [2**28], [2**15, 2**15], [0, 2**63])):
        declared = {"shape": Mark("GE134" if huge[0] == 0 else "GE133", huge), "initializer": {"type": "normal"}}
        yield f"huge-{index}", changed(LINREG, ("parameters", "w"), declared)
    yield "huge-input", changed(LINREG, ("inputs", "z"), {"shape": Mark("GE133", ["N", 10**12])})
    for index, literal in enumerate((2**53 + 1, -(2**63))):
        yield f"literal-{index}", changed(LINREG, ("nodes", 0, "inputs", 1), Mark("GE125", literal))


def loss() -> Iterator[tuple[str, Any]]:
    """A loss that is no scalar, or no floating-point number."""
    for name in ("y_hat", "prediction", "sq", "x"):
        yield name, changed(LINREG, ("training", "loss"), Mark("GE303", name))
    counted = changed(LINREG, ("nodes",), [*LINREG["nodes"], {"id": "n", "op": "size", "inputs": ["x"]}])
    yield "integer", changed(counted, ("training", "loss"), Mark("GE303", "n"))


PATHS = ["../data.csv", "/data.csv", "a/../data.csv", "data\\a.csv", "C:/data.csv", "C:data.csv", "~/data.csv", "", "."]
PATHS += ["..", "data.csv\0", "a\nb.csv", "http://localhost/data.csv", "file:///data.csv", "//host/data.csv"]


def paths() -> Iterator[tuple[str, Any]]:
    """Paths that do not stay in the folder of the file, or are not spelled alike on all systems."""
    for index, path in enumerate(PATHS):
        yield f"csv-{index}", changed(LINREG, ("data", "train", "path"), Mark("GE504", path))
    wrong = Mark("GE504", "../w")
    yield "npz", changed(LINREG, ("data", "packed", "path"), wrong)
    yield "npy", changed(LINREG, ("data", "each"), {"type": "npy", "paths": {"x": "x.npy", "y": wrong, "z": wrong}})
    value = {"file": wrong, "tensor": "theta", "sha256": "0" * 64}
    yield "tensors", changed(LINREG, ("parameters", "theta", "value"), value)
    yield "tensors-hash", changed(LINREG, ("parameters", "theta", "value"), {
        "file": "w.safetensors", "tensor": "theta", "sha256": Mark("GE112", "0" * 63)})  # fmt: skip
    yield "tensors-key", changed(LINREG, ("parameters", "theta", "value"), {
        "file": "w.safetensors", "tenser": Mark("GE110", "theta"), "sha256": "0" * 64})  # fmt: skip


def identifiers() -> Iterator[tuple[str, Any]]:
    """Names that are used twice."""
    for name in ("x", "y", "theta", "y_hat", "error", "sq"):
        node = {"id": Mark("GE201", name), "op": "neg", "inputs": ["x"]}
        yield f"node-{name}", changed(LINREG, ("nodes",), [*LINREG["nodes"], node])
    parameter = {"shape": [], "initializer": {"type": "zeros"}}
    yield "parameter", changed(LINREG, ("parameters", "x"), Mark("GE201", parameter, True))
    yield "state", changed(LINREG, ("state",), {"theta": Mark("GE201", parameter, True)})
    slash = changed(LINREG, ("inputs", "a/b"), {"shape": []})
    yield "slash", changed(slash, ("parameters", "a/b"), Mark("GE201", parameter, True))


def cycles() -> Iterator[tuple[str, Any]]:
    """Nodes that depend on themselves; the place is that of the node whose id comes first."""
    for length in (1, 2, 3, 10):
        ids = [f"n{index}" for index in range(length)]
        nodes: list[Any] = [{"id": ids[i], "op": "add", "inputs": ["x", ids[i - 1]]} for i in range(length)]
        nodes[0] = Mark("GE214", nodes[0])
        yield str(length), {
            **HEAD, "name": "m", "inputs": {"x": {"shape": []}}, "nodes": nodes[::-1], "outputs": {"z": "n0"}}  # fmt: skip
    two = [{"id": a, "op": "neg", "inputs": [b]} for a, b in ("ab", "ba", "cd", "dc")]
    two = [Mark("GE214", node) if node["id"] in "ac" else node for node in two]
    yield "two", {**HEAD, "name": "m", "nodes": two, "outputs": {"z": "a"}}


def functions() -> Iterator[tuple[str, Any]]:
    """What is wrong inside a function, or with functions that call each other."""
    body = ("functions", "layer", "nodes")
    yield "reference", changed(COUNTER, (*body, 1, "inputs", 0), Mark("GE210", "zz"))
    yield "global", changed(COUNTER, (*body, 1, "inputs", 0), Mark("GE210", "seen"))
    yield "op", changed(COUNTER, (*body, 0, "op"), Mark("GE211", "matmull"))
    yield "arity", changed(COUNTER, (*body, 0, "inputs"), Mark("GE212", ["x"]))
    yield "output", changed(COUNTER, ("functions", "layer", "outputs", "out"), Mark("GE210", "nothing"))
    unread = changed(COUNTER, (*body, 1, "inputs", 0), Mark("GE210", "z"))
    yield "doubled", changed(unread, (*body, 0, "id"), Mark("GE201", "x"))
    yield "recursion", changed(COUNTER, ("functions", "again"), Mark("GE215", _calling("again")))
    chain = {f"f{index}": _calling(f"f{index + 1}", 2) for index in range(30)} | {"f30": _plain()}
    deep = {**HEAD, "name": "m", "inputs": {"x": {"shape": []}}, "functions": Mark("GE216", chain)}
    yield "explosion", {**deep, "nodes": [{"id": "z", "op": "f0", "inputs": ["x"]}], "outputs": {"z": "z"}}
    long = {f"f{index}": _calling(f"f{index + 1}") for index in range(120)} | {"f120": _plain()}
    deep = {**HEAD, "name": "m", "inputs": {"x": {"shape": []}}, "functions": Mark("GE216", long)}
    yield "depth", {**deep, "nodes": [{"id": "z", "op": "f0", "inputs": ["x"]}], "outputs": {"z": "z"}}


def _calling(name: str, times: int = 1) -> Json:
    """A function that calls another one."""
    nodes = [
        {"id": f"n{index}", "op": name, "inputs": ["x" if index == 0 else f"n{index - 1}"]} for index in range(times)
    ]
    return {"inputs": {"x": {}}, "nodes": nodes, "outputs": {"out": f"n{times - 1}"}}


def _plain() -> Json:
    return {"inputs": {"x": {}}, "nodes": [{"id": "n", "op": "neg", "inputs": ["x"]}], "outputs": {"out": "n"}}
