"""Loops over few numbers in the numba backend: their text run by Python and as machine code, and the numpy backend."""

import numpy as np
import pytest
from documents import MODELS, document
from test_numba_rows import interpreted
from test_same_bits import bits

import graphengine as ge
from graphengine.backends.numba import groups, row_loops, scan_loops
from graphengine.backends.numba.jit import NumbaBackend
from graphengine.backends.numba.scan_loops import compile_scans, scan_listing
from graphengine.backends.numpy.looping import Steps
from graphengine.backends.numpy.plan import Plan

WITH_NUMBA = pytest.mark.extra("numba")
STEPS = 7
CUT = {"axis": 0}
BODIES = {
    "a number": ((), {"p": ("mul", ["h", "a"]), "new": ("add", ["p", "x"])}, {"h": "new", "y": "p"}),
    "a number with a choice": (
        (),
        {"is": ("greater", ["h", "x"]), "p": ("mul", ["h", "a"]), "new": ("where", ["is", "p", "x"])},
        {"h": "new", "y": "h"},
    ),
    "a pair": (
        (2,),
        {
            "one": ("slice", ["h"], {**CUT, "start": 0, "stop": 1}),
            "two": ("slice", ["h"], {**CUT, "start": 1, "stop": 2}),
            "p": ("mul", ["one", "two"]),
            "q": ("mul", ["p", "a"]),
            "up": ("sub", ["one", "q"]),
            "down": ("add", ["two", "q"]),
            "both": ("concat", ["up", "down"], CUT),
            "new": ("add", ["both", "x"]),
        },
        {"h": "new", "y": "p"},
    ),
    "a table": (
        (2, 3),
        {
            "t": ("transpose", ["h"]),
            "r": ("reshape", ["t"], {"shape": [2, 3]}),
            "e": ("expand_dims", ["r"], CUT),
            "s": ("squeeze", ["e"], CUT),
            "p": ("mul", ["s", 0.5]),
            "q": ("square", ["p"]),
            "n": ("neg", ["q"]),
            "new": ("add", ["n", "x"]),
        },
        {"h": "new", "y": "t"},
    ),
    "sums": (
        (5,),
        {"p": ("mul", ["h", "x"]), "total": ("sum", ["p"]), "q": ("div", ["p", "total"]), "new": ("add", ["q", "a"])},
        {"h": "new", "y": "total"},
    ),
}


def looped(name, *, reverse):
    """A graph with a loop, with what a sum of its results has for slopes."""
    shape, nodes, outputs = BODIES[name]
    body = {
        "inputs": {each: {} for each in ("h", "x", "a")},
        "nodes": [
            {"id": each, "op": op, "inputs": inputs, **({"attributes": given[0]} if given else {})}
            for each, (op, inputs, *given) in nodes.items()
        ],
        "outputs": outputs,
    }
    attributes = {"function": "step", "carry": ["h"], "sequences": ["x"], "axis": 0, "reverse": reverse}
    made = {
        "loop": ("scan", ["h", "x", "a"], attributes),
        "squares": ("square", ["loop:y"]),
        "last": ("sum", ["loop"]),
        "all": ("sum", ["squares"]),
        "loss": ("add", ["last", "all"]),
    }
    inputs = {"h": list(shape), "x": [STEPS, *shape], "a": []}
    content = document(made, {"loss": "loss", "y": "loop:y"}, inputs=inputs)
    return ge.Model.from_dict({**content, "functions": {"step": body}}).graph


def values_of(graph, seed=0):
    random = np.random.default_rng(seed)
    return {name: random.uniform(0.1, 1, each.type.shape)[()] for name, each in graph.inputs.items()}


def loops_of(plan):
    """The loops of a plan, those inside of others included."""
    found, waiting = [], list(plan.instructions)
    while waiting:
        steps = waiting.pop().function
        if isinstance(steps, Steps):
            found.append(steps)
            waiting += steps.piece.text.instructions
    return found


def compared(graph, values):
    """The loops of a plan with compiled loops, which must have the bits of one without."""
    expected, plan = Plan(graph).run(values), Plan(graph)
    compile_scans(plan.instructions)
    for _ in range(2):
        found = plan.run(values)
        assert {name: bits(each) for name, each in found.items()} == {
            name: bits(each) for name, each in expected.items()
        }
    return loops_of(plan)


@pytest.fixture
def at_once(monkeypatch):
    """Loops are compiled at their first run."""
    monkeypatch.setattr(scan_loops, "WORTH_COMPILING", 0)


@pytest.fixture
def by_python(at_once, monkeypatch):
    """Loops whose text Python runs, from the first run on."""
    ran = []

    def compiled(text, *rest):
        ran.append(text)
        return interpreted(text, *rest)

    monkeypatch.setattr(scan_loops, "compiled", compiled)
    return ran


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", BODIES)
def test_a_loop_as_text_has_the_bits_of_the_numpy_backend(name, reverse, by_python):
    graph = looped(name, reverse=reverse)
    gradient = ge.gradient(graph, of="loss", wrt=["h", "x", "a"], also=["y"])
    for each in (graph, gradient):
        loops = compared(each, values_of(graph))
        assert loops[0].faster is not None
    assert "count - 1 - i" in "".join(by_python)
    assert len(by_python) >= 2


@pytest.mark.parametrize("on_floats", [False, True])
@pytest.mark.parametrize("name", ["sir", "lotka_volterra"])
def test_steps_within_steps_are_written_unless_python_floats_run_both(name, on_floats, by_python, monkeypatch):
    if not on_floats:
        monkeypatch.setattr(Steps, "on_floats", None)
    model = ge.load(MODELS / f"{name}.json")
    graph = ge.gradient(model.graph, of=model.default_loss(), wrt=model.graph.trainable, also=model.graph.outputs)
    data = model.trainer().data
    rows = len(next(iter(data.values())))
    (size,) = {size for kind in graph.types.values() for size in kind.shape if isinstance(size, str)}
    loops = compared(graph.with_sizes({size: rows}), {**model.values, **data})
    written = [each for each in loops if each.faster]
    assert (len(written) >= 3) is not on_floats
    if on_floats:
        assert written == []
        return
    assert {each.piece for each in loops if not each.faster} == {
        each.piece for each in loops if any(isinstance(call.function, Steps) for call in each.piece.text.instructions)
    }


@pytest.mark.parametrize(
    ("shape", "nodes"),
    [
        ((), {"p": ("erf", ["h"]), "new": ("add", ["p", "x"])}),
        ((40,), {"p": ("mul", ["h", "a"]), "new": ("add", ["p", "x"])}),
        ((9,), {"p": ("sum", ["h"]), "new": ("add", ["p", "x"])}),
        ((2, 2), {"p": ("matmul", ["h", "x"]), "new": ("mul", ["p", "a"])}),
    ],
)
def test_what_has_no_text_stays_with_numpy(shape, nodes, by_python, monkeypatch):
    monkeypatch.setitem(BODIES, "another", (shape, nodes, {"h": "new", "y": "p"}))
    graph = looped("another", reverse=False)
    (steps,) = compared(graph, values_of(graph))
    assert steps.faster is None
    assert by_python == []


WIDE = {
    "sums of rows and a matrix": (
        (4, 4),
        {
            "p": ("matmul", ["h", "x"]),
            "q": ("mul", ["p", "a"]),
            "e": ("exp", ["q"]),
            "total": ("sum", ["e"], {"axis": [1], "keepdims": True}),
            "r": ("div", ["e", "total"]),
            "s": ("add", ["h", "r"]),
            "new": ("mul", ["s", 0.5]),
        },
        {"h": "new", "y": "r"},
    ),
    "a state that is read late": (
        (40,),
        {"p": ("mul", ["h", "x"]), "s": ("sin", ["p"]), "new": ("add", ["p", "s"]), "y": ("sub", ["h", "s"])},
        {"h": "new", "y": "y"},
    ),
    "nothing but sums": (
        (40,),
        {"p": ("mul", ["h", "a"]), "new": ("sub", ["h", "p"])},
        {"h": "new", "y": "p"},
    ),
}


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", WIDE)
def test_steps_on_arrays_have_loops_over_rows(name, reverse, monkeypatch):
    ran = []
    monkeypatch.setattr(groups, "FEWEST_NUMBERS", 0)
    monkeypatch.setattr(row_loops, "compiled", lambda text, *rest: ran.append(text) or interpreted(text, *rest))
    monkeypatch.setitem(BODIES, name, WIDE[name])
    graph = looped(name, reverse=reverse)
    gradient = ge.gradient(graph, of="loss", wrt=["h", "x", "a"], also=["y"])
    for each in (graph, gradient):
        values, plan = values_of(graph), Plan(each)
        expected = Plan(each).run(values)
        compile_scans(plan.instructions)
        for _ in range(2):
            found = plan.run(values)
            for output, value in expected.items():
                scale = np.abs(value).max()
                np.testing.assert_allclose(found[output], value, rtol=1e-13, atol=1e-13 * scale, err_msg=output)
        listings = [listing.code for call in plan.instructions if (listing := scan_listing(call))]
        assert "def loop(" in "".join(listings)
    assert len(ran) >= 2


def test_a_loop_is_compiled_only_after_many_steps(monkeypatch):
    ran = []
    monkeypatch.setattr(scan_loops, "compiled", lambda text, *rest: ran.append(text) or interpreted(text, *rest))
    monkeypatch.setattr(scan_loops, "WORTH_COMPILING", 3 * STEPS * len(BODIES["a number"][1]))
    graph = looped("a number", reverse=False)
    plan = Plan(graph)
    compile_scans(plan.instructions)
    counts = []
    for _ in range(5):
        plan.run(values_of(graph))
        counts.append(len(ran))
    assert counts == [0, 0, 0, 1, 1]


@WITH_NUMBA
def test_machine_code_of_a_loop_has_the_bits_of_the_numpy_backend(at_once, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    graph = looped("a pair", reverse=True)
    expected, program = Plan(graph).run(values_of(graph)), NumbaBackend().compile(graph)
    found = program.run(values_of(graph))
    assert {name: bits(each) for name, each in found.items()} == {name: bits(each) for name, each in expected.items()}
    assert all(steps.faster for steps in loops_of(program.plan))
    listing = program.listing((), ())
    assert "def steps(given, count, x0, y0):" in "".join(each.code for each in listing.loops.values())
