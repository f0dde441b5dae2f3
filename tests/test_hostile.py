"""Files that ask for too much, or for something to happen: each is refused quickly, and nothing of it runs."""

import json
import os
import re
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import pytest
from corpus.__main__ import corpus
from documents import PEAK, document, linreg, training, write

import graphengine as ge
from graphengine.format.reading import parse_model, read_bytes
from graphengine.limits import Limits

ROOT = Path(__file__).parents[1]


def chain_of_functions(count):
    """Each function calls the next one twice: 2^count nodes when inlined."""
    calls = {
        f"f{i}": {
            "inputs": {"x": {}},
            "nodes": [{"id": "a", "op": f"f{i + 1}", "inputs": ["x"]}, {"id": "b", "op": f"f{i + 1}", "inputs": ["a"]}],
            "outputs": {"out": "b"},
        }
        for i in range(count)
    }
    last = {"inputs": {"x": {}}, "nodes": [{"id": "a", "op": "neg", "inputs": ["x"]}], "outputs": {"out": "a"}}
    return document({"z": ("f0", ["x"])}, inputs={"x": []}, functions={**calls, f"f{count}": last})


def cycle(length):
    return document({f"n{i}": ("neg", [f"n{(i + 1) % length}"]) for i in range(length)}, {"out": "n0"})


def loops(count):
    return document({f"n{i}": ("neg", [f"n{i}"]) for i in range(count)}, {"out": "n0"})


def alike(count):
    """So many nodes of one id, in a file of one line."""
    content = document({"n": ("neg", ["x"])}, inputs={"x": []})
    return {**content, "nodes": content["nodes"] * count}


def misfits(count):
    return document({f"n{i}": ("add", ["x", "y"]) for i in range(count)}, {"out": "n0"}, inputs={"x": [2], "y": [3]})


def undefined(count):
    return document({f"n{i}": ("neg", [f"m{i}"]) for i in range(count)}, {"out": "n0"}, inputs={"x": []})


def near_misses(count, length):
    """Names of which many are near to each one that is not there."""
    names = [f"{'xy' * (length // 2)}{i:05}" for i in range(count)]
    return document({f"z{i}": ("neg", [name[1:]]) for i, name in enumerate(names)}, inputs={name: [] for name in names})


def chained_functions(count):
    """Each function calls the next one."""
    functions = {f"f{i}": {"inputs": {"x": {}}, "nodes": [{"id": "a", "op": f"f{i + 1}", "inputs": ["x"]}],
                           "outputs": {"out": "a"}} for i in range(count)}  # fmt: skip
    return document({"z": ("f0", ["x"])}, inputs={"x": []}, functions=functions)


def around(key, text):
    """A small model with a text at a key."""
    content = document({"z": ("neg", ["x"])}, inputs={"x": [1]})
    content.pop(key, None)
    return json.dumps(content).replace("{", f'{{"{key}": {text}, ', 1)


def numbers(text, shape):
    parameter = f'{{"shape": {shape}, "initializer": {{"type": "zeros"}}, "value": [{text}]}}'
    return around("parameters", f'{{"p": {parameter}}}')


BOMBS = {
    "a shape of 10^18": (lambda: document({"z": ("neg", ["x"])}, inputs={"x": [10**9, 10**9]}), "GE133"),
    "a thousand parameters of 3 GiB": (
        lambda: document(
            {"z": ("neg", ["p0"])},
            parameters={f"p{i}": {"shape": [3 * 2**27], "initializer": {"type": "normal"}} for i in range(1000)},
        ),
        "GE133",
    ),
    "an outer sum": (
        lambda: document({"z": ("add", ["x", "y"])}, inputs={"x": [100_000, 1], "y": [1, 100_000]}),
        "GE133",
    ),
    "functions of 2^30 nodes": (lambda: chain_of_functions(30), "GE216"),
    "functions of 2^1000 nodes": (lambda: chain_of_functions(1000), "GE216"),
    "nested arrays": (lambda: "[" * 100_000, "GE130"),
    "nested objects": (lambda: '{"a":' * 100_000, "GE130"),
    "ten million zeros": (lambda: "[" + "0," * 10_000_000 + "0]", "GE131"),
    "a cycle of 100,000 nodes": (lambda: cycle(100_000), "GE214"),
    "100,000 cycles of one node": (lambda: loops(100_000), "GE214"),
    "100,000 nodes whose shapes do not fit": (lambda: misfits(100_000), "GE301"),
    "100,000 nodes of one id": (lambda: alike(100_000), "GE201"),
    "300,000 unknown attributes": (
        lambda: document({"z": ("neg", ["x"], {f"a{i}": 1 for i in range(300_000)})}, inputs={"x": []}),
        "GE213",
    ),
    "100,000 unknown ops": (
        lambda: document({f"n{i}": (f"op{i}", ["x"]) for i in range(100_000)}, {"out": "n0"}, inputs={"x": []}),
        "GE211",
    ),
    "20,000 undefined names": (lambda: undefined(20_000), "GE210"),
    "20,000 names of which many are near": (lambda: near_misses(20_000, 20), "GE210"),
    "500 long names of which many are near": (lambda: near_misses(500, 180), "GE210"),
    "a depth of 10^12": (
        lambda: document({"z": ("one_hot", ["x"], {"depth": 10**12})}, inputs={"x": {"shape": [3], "dtype": "int64"}}),
        "GE133",
    ),
    "a shape that no float counts": (lambda: document({"z": ("neg", ["x"])}, inputs={"x": [2**63 - 1] * 32}), "GE134"),
    "a chain of 10,000 functions": (lambda: chained_functions(10_000), "GE216"),
    "100,000 nodes that are empty": (lambda: around("nodes", f"[{', '.join(['{}'] * 100_000)}]"), "GE111"),
    "200,000 unknown keys": (lambda: around("a", "0, " + ", ".join(f'"k{i}": 0' for i in range(200_000))), "GE110"),
    "200,000 outputs that lead nowhere": (
        lambda: document({"z": ("neg", ["x"])}, {f"o{i}": "zz" for i in range(200_000)}, inputs={"x": []}),
        "GE210",
    ),
    "a million double keys": (lambda: around("metadata", "{" + '"a": 1, ' * 1_000_000 + '"a": 1}'), "GE122"),
    "a million times NaN": (lambda: around("metadata", f'{{"a": [{"NaN, " * 1_000_000}0]}}'), "GE123"),
    "a million halves of characters": (lambda: around("metadata", '{"a": "' + "\\ud800" * 1_000_000 + '"}'), "GE126"),
    "a million lines": (lambda: "\n" * 10_000_000 + "{", "GE102"),
    "a million numbers of a wrong shape": (lambda: numbers("1.5, " * 1_000_000 + "2", "[3]"), "GE302"),
    "a million strings as numbers": (lambda: numbers('"a", ' * 1_000_000 + "2", "[1000001]"), "GE302"),
    "two million numbers and a string": (lambda: numbers("1.5, " * 2_000_000 + '"a"', "[2000001]"), "GE302"),
    "a byte order mark before a million numbers": (
        lambda: "\ufeff" + numbers("1.5, " * 999_999 + "2", "[1000000]"),
        "GE120",
    ),
    "a key of 10 MiB": (lambda: around("k" * 10 * 2**20, "1"), "GE110"),
    "a name of 10 MiB": (lambda: document({"z" * 10 * 2**20: ("neg", ["x"])}, inputs={"x": []}), "GE112"),
    "a number of 10 MiB": (lambda: around("metadata", f'{{"a": {"9" * 10 * 2**20}}}'), "GE124"),
    "a large file": (lambda: " " * (64 * 2**20 + 1), "GE103"),
}  # fmt: skip
"""What makes a file, so that only the process that tests it holds it, and the code of the error."""

LARGER = {
    "100,000 nodes whose shapes do not fit": 70,
    "100,000 unknown ops": 70,
    "200,000 outputs that lead nowhere": 75,
    "a million double keys": 70,
    "a million numbers of a wrong shape": 90,
    "a million strings as numbers": 130,
    "two million numbers and a string": 170,
    "a byte order mark before a million numbers": 100,
    "a million lines": 70,
    "a key of 10 MiB": 110,
    "a name of 10 MiB": 110,
    "a number of 10 MiB": 90,
}
"""Megabytes where 50 are too few: a file may be large itself, and a million numbers take 40 as Python objects."""

MEASURED = f"""{PEAK}
import json, time
import graphengine as ge

ge.Model.from_dict(json.loads(sys.argv[2])).forward(x=[1.0], y=[1.0]).backward("loss")  # what is imported once, is
try:
    ge.load(sys.argv[3])
except ge.errors.GraphEngineError:
    pass
before, began = peak(), time.process_time()
try:
    ge.load(sys.argv[1])
    codes = []
except ge.errors.GraphEngineError as error:
    codes = sorted({{problem.code for problem in error.problems}})
taken = time.process_time() - began
print(json.dumps([codes, taken, (peak() - before) / 2**20]))
"""


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_with_a_code_in_little_memory(name, tmp_path):
    made, code = BOMBS[name]
    content = made()
    (tmp_path / "bomb.json").write_text(content if isinstance(content, str) else json.dumps(content))
    (tmp_path / "small.json").write_text(json.dumps(cycle(3)))
    command = [sys.executable, "-c", MEASURED, tmp_path / "bomb.json", json.dumps(linreg()), tmp_path / "small.json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    codes, seconds, megabytes = json.loads(done.stdout)
    assert code in codes
    assert seconds < 20  # of processor time, of which most take less than one: what is quadratic takes minutes
    assert megabytes < LARGER.get(name, 50)


@pytest.mark.parametrize(
    ("key", "text", "pointer"),
    [
        ("nodes", f"[{', '.join(['{}'] * 500)}]", "/nodes/0"),
        ("nodes", f"[{', '.join(['{}'] * 1500)}]", "/nodes/0"),
        ("k", ", ".join(["0", *(f'"k{i}": 0' for i in range(1500))]), "/k"),
    ],
)
def test_of_a_thousand_findings_the_first_hundred_are_reported(key, text, pointer):
    with pytest.raises(ge.errors.InvalidModelError) as caught:
        parse_model(around(key, text).encode())
    first, *_, last = caught.value.problems
    assert len(caught.value.problems) == 101
    assert (first.pointer, last.code) == (pointer, "GE140")


AUDITED = """
import sys
import threading
import tracemalloc
from pathlib import Path
import graphengine as ge

def load(path):
    try:
        ge.load(path)
    except ge.errors.GraphEngineError as error:
        str(error)

files = [Path(name) for name in sys.argv[1:]]
for path in files:  # what is imported once, is
    load(path)
allowed, seen = {str(path) for path in files}, []
watched = {"import", "exec", "compile", "open", "subprocess", "socket", "os", "shutil", "ctypes", "urllib"}

def watch(event, arguments):
    if event == "open" and str(arguments[0]) in allowed:
        return
    if event.split(".")[0] in watched:
        seen.append((event, str(arguments)[:200]))

sys.addaudithook(watch)
for path in files:
    load(path)
watching, seen[:] = list(seen), []
print(len(files), watching)
"""


def test_loading_opens_the_model_and_does_nothing_else(tmp_path):
    for name, (data, _) in corpus().items():
        (tmp_path / name).write_bytes(data)
    models = [path for path in sorted((ROOT / "models").glob("*.json")) if path.stat().st_size < 100_000]
    files = [*models, *sorted(tmp_path.glob("*.json"))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", AUDITED, *files], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout == f"{len(files)} []\n"


WRITING = """
import json, os, sys
from pathlib import Path
import graphengine as ge
import graphengine.format.tensors

graphengine.format.tensors.EXTERNAL_FROM = 1  # arrays go to files of their own
path, folder = map(Path, sys.argv[1:])
seen = set()
changing = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod"}

def watch(event, arguments):
    if event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
        seen.add(str(arguments[0]))
    elif event in changing:
        seen.update(str(each) for each in arguments if isinstance(each, (str, os.PathLike)))

sys.addaudithook(watch)
model = ge.load(path)
model.train(checkpoints=folder / "checkpoints")
for _ in range(2):
    model.save(folder / "saved.json")
model.gradient().save(folder / "gradient.json")
print(json.dumps(sorted(seen)))
"""


def test_nothing_in_a_file_decides_where_something_is_written(tmp_path):
    pytest.importorskip("safetensors")
    nodes = {
        "p": ("mul", ["w/../../up", "x"]),
        "e": ("sub", ["p", "y"]),
        "s": ("square", ["e"]),
        "loss": ("mean", ["s"]),
    }
    content = document(
        nodes,
        {"o/../../out": "p", "loss": "loss"},
        inputs={"x": ["N"], "y": ["N"]},
        parameters={"w/../../up": 0.0},
        data={"d/../..": {"type": "csv", "path": "data/d.csv"}},
        training=training(data="d/../..", checkpoint={"every_epochs": 1}, epochs=2),
        metadata={"path": "../evil", "save": "/tmp/evil"},
    )
    content["name"] = "../../evil"
    (tmp_path / "model" / "data").mkdir(parents=True)
    (tmp_path / "model" / "data" / "d.csv").write_text("x,y\n1,2\n2,3\n")
    (tmp_path / "out").mkdir()
    path = write(tmp_path / "model" / "m.json", content)
    command = [sys.executable, "-c", WRITING, str(path), str(tmp_path / "out")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    named = re.compile(
        r"checkpoints|checkpoint\.lock|\.(saved|gradient)\.lock|"
        r"\.?(saved|gradient|checkpoint-\d{10})(-[0-9a-f]{12}\.(safetensors|csv)|\.json)(\.[0-9a-f]{16}\.tmp)?"
    )
    seen = [Path(each) for each in json.loads(done.stdout)]
    assert {each.suffix for each in seen} == {"", ".csv", ".json", ".lock", ".safetensors", ".tmp"}
    for each in seen:
        assert named.fullmatch(each.name)
        assert each.parent in {Path(), tmp_path / "out", tmp_path / "out" / "checkpoints"}  # Path(): in an open folder


def test_a_small_file_is_read_in_little_memory(tmp_path):
    (tmp_path / "m.json").write_text(json.dumps(linreg()))
    (tmp_path / "blank.json").write_bytes(b" " * 3000)
    tracemalloc.start()
    try:
        assert json.loads(read_bytes(tmp_path / "m.json"))["name"] == "test"
        assert read_bytes(tmp_path / "blank.json", Limits(file_bytes=3000)) == b" " * 3000
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
    with pytest.raises(ge.errors.InvalidModelError, match=r"GE103: the file is larger than 2\.929 KiB"):
        read_bytes(tmp_path / "blank.json", Limits(file_bytes=2999))


@pytest.mark.parametrize(("length", "code"), [(3000, None), (3001, "GE103")])
def test_a_pipe_is_read_up_to_the_limit(length, code, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(b" " * length))
    writer.start()
    try:
        if code:
            with pytest.raises(ge.errors.InvalidModelError, match=code):
                read_bytes(tmp_path / "pipe", Limits(file_bytes=3000))
        else:
            assert len(read_bytes(tmp_path / "pipe", Limits(file_bytes=3000))) == length
    finally:
        writer.join()
