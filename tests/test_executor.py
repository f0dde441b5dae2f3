"""The reference executor: what runs and what does not, in which order, what is kept, what is summed."""

import gc
import weakref
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from documents import document, linreg, model

import graphengine as ge
from graphengine.backends.reference.executor import Executor
from graphengine.ops.inference import elementwise
from graphengine.ops.registry import OPS


def run_of(nodes, **keys):
    return model(nodes, **keys).forward()


@pytest.fixture(name="calls")
def _calls():
    """Ops `watched_mul` and `watched_neg`, which count their calls by method and remember `needs`."""
    calls = Counter()

    @ge.register("watched_mul")
    class WatchedMul(ge.Node):
        infer = elementwise

        def forward(self, x, y):
            calls["mul forward"] += 1
            return x * y

        def backward(self, grad, x, y, needs):
            calls["mul backward"] += 1
            calls[needs] += 1
            return grad * y, grad * x

    @ge.register("watched_neg")
    class WatchedNeg(ge.Node):
        infer = elementwise

        def forward(self, x):
            calls["neg forward"] += 1
            return -x

        def backward(self, grad):
            calls["neg backward"] += 1
            return -grad

    return calls


def watched(content, calls):
    """A model of a document with counting starting after its types were inferred."""
    made = ge.Model.from_dict(content)
    calls.clear()
    return made


# ---------------------------------------------------------------- published values


def test_the_gradient_of_rosenbrock_at_its_classic_start():
    nodes = {
        "x2": ("square", ["x"]),
        "valley": ("sub", ["y", "x2"]),
        "valley2": ("square", ["valley"]),
        "steep": ("mul", [100, "valley2"]),
        "rest": ("sub", [1, "x"]),
        "rest2": ("square", ["rest"]),
        "f": ("add", ["rest2", "steep"]),
    }
    run = run_of(nodes, parameters={"x": -1.2, "y": 1.0})
    assert run["out"] == pytest.approx(24.2, rel=1e-12)
    gradients = run.backward()
    assert gradients["x"] == pytest.approx(-215.6, rel=1e-12)
    assert gradients["y"] == pytest.approx(-88, rel=1e-12)


def test_the_classic_example_of_backpropagation():
    nodes = {"q": ("add", ["x", "y"]), "f": ("mul", ["q", "z"])}
    run = run_of(nodes, parameters={"x": -2.0, "y": 5.0, "z": -4.0})
    assert run["out"] == -12
    assert run.backward(wrt=["x", "y", "z", "q"]) == {"x": -4, "y": -4, "z": 3, "q": -4}


@pytest.mark.parametrize(
    ("op", "x", "y", "z", "dx", "dy"),
    [("add", 3.0, 4.0, 7.0, 1.0, 1.0), ("sub", 3.0, 4.0, -1.0, 1.0, -1.0), ("mul", 3.0, 4.0, 12.0, 4.0, 3.0)],
)
def test_the_table_of_the_lesson_for_two_inputs(op, x, y, z, dx, dy):
    run = run_of({"z": (op, ["x", "y"])}, parameters={"x": x, "y": y})
    assert run["out"] == z
    assert run.backward() == {"x": dx, "y": dy}


def test_the_mean_passes_an_equal_part_to_each_value():
    run = run_of({"m": ("mean", ["x"]), "z": ("mul", [2, "m"])}, parameters={"x": [1.0, 2.0, 3.0, 4.0, 5.0]})
    assert run.backward()["x"].tolist() == [0.4] * 5


def test_the_gradient_of_linear_regression_is_the_formula_of_the_lesson():
    x, y, theta = np.array([1.0, -2.0, 3.0]), np.array([2.5, -3.0, 5.0]), 0.5
    run = ge.Model.from_dict(linreg(theta=theta)).forward(x=x, y=y)
    assert run.backward(of="loss")["theta"] == pytest.approx(np.mean(-2 * x * (y - theta * x)), rel=1e-14)


# ---------------------------------------------------------------- only what is needed runs


def test_predict_runs_only_the_ancestors_of_what_is_asked(calls):
    nodes = {"a": ("watched_neg", ["x"]), "b": ("watched_neg", ["y"]), "c": ("watched_mul", ["a", "b"])}
    made = watched(document(nodes, {"a": "a", "c": "c"}, inputs={"x": [], "y": []}), calls)
    assert made.predict(x=3.0) == {"a": -3.0}
    assert calls == {"neg forward": 1}


def test_a_node_runs_once_however_often_its_value_is_used(calls):
    nodes = {"a": ("watched_neg", ["x"]), "b": ("watched_mul", ["a", "a"]), "c": ("add", ["a", "b"])}
    run = watched(document(nodes, parameters={"x": 3.0}), calls).forward()
    assert run["out"] == 6.0
    assert run.backward() == {"x": 5.0}
    assert calls == {"neg forward": 1, "mul forward": 1, "mul backward": 1, "neg backward": 1, (True, True): 1}


def test_the_backward_pass_calls_no_node_toward_the_data(calls):
    content = linreg()
    content["nodes"][0]["op"] = "watched_mul"
    content["nodes"][0]["inputs"] = ["theta", "flipped"]
    content["nodes"].append({"id": "flipped", "op": "watched_neg", "inputs": ["x"]})
    run = watched(content, calls).forward(x=[1.0, 2.0], y=[3.0, 4.0])
    assert calls == {"neg forward": 1, "mul forward": 1}
    run.backward(of="loss")
    assert calls == {"neg forward": 1, "mul forward": 1, "mul backward": 1, (True, False): 1}


def test_linear_regression_calls_each_backward_on_the_path_once(monkeypatch):
    called = []
    made = ge.Model.from_dict(linreg())
    for op in ("mul", "sub", "square", "mean"):
        _spy(monkeypatch, op, called)
    made.forward(x=[1.0, 2.0], y=[3.0, 4.0]).backward(of="loss")
    assert called == ["mean", "square", "sub", "mul"]


def _spy(monkeypatch, op, called):
    cls = OPS[op].cls
    original = cls.backward

    def backward(self, *arguments):
        called.append(op)
        return original(self, *arguments)

    monkeypatch.setattr(cls, "backward", backward)


@pytest.mark.parametrize(("wrt", "needs"), [("a", (True, False)), ("b", (False, True)), (["a", "b"], (True, True))])
def test_needs_reports_which_inputs_want_a_gradient(calls, wrt, needs):
    made = watched(document({"z": ("watched_mul", ["a", "b"])}, inputs={"a": [], "b": []}), calls)
    made.forward(a=2.0, b=3.0).backward(wrt=wrt)
    assert calls[needs] == 1


def test_a_branch_behind_the_loss_is_not_differentiated(calls):
    nodes = {"loss": ("square", ["x"]), "after": ("watched_neg", ["loss"]), "beside": ("watched_neg", ["x"])}
    run = watched(document(nodes, {"loss": "loss"}, parameters={"x": 3.0}), calls).forward()
    assert run.backward(of="loss") == {"x": 6.0}
    assert calls["neg backward"] == 0


def test_a_literal_wants_no_gradient(calls):
    run = watched(document({"z": ("watched_mul", [2.0, "x"])}, parameters={"x": 3.0}), calls).forward()
    assert run.backward() == {"x": 2.0}
    assert calls[(False, True)] == 1


# ---------------------------------------------------------------- gradients


def test_the_gradients_of_all_uses_of_a_value_are_summed():
    nodes = {"a": ("mul", ["x", "x"]), "b": ("mul", ["a", "x"]), "c": ("add", ["b", "a"]), "d": ("sub", ["c", "x"])}
    assert run_of(nodes, parameters={"x": 2.0}).backward() == {"x": 3 * 4 + 2 * 2 - 1}


def test_a_parameter_that_is_the_loss_itself_has_the_gradient_one():
    assert run_of({"z": ("neg", ["x"])}, outputs={"loss": "x"}, parameters={"x": 3.0}).backward() == {"x": 1.0}


def test_a_value_without_influence_has_the_gradient_zero_in_its_shape():
    run = run_of({"z": ("square", ["a"])}, parameters={"a": 3.0, "b": [[1.0, 2.0]]})
    assert run.backward()["b"].tolist() == [[0.0, 0.0]]


def test_gradients_toward_values_in_the_middle_of_a_path_are_given():
    run = run_of({"a": ("square", ["x"]), "b": ("square", ["a"]), "c": ("square", ["b"])}, parameters={"x": 1.5})
    gradients = run.backward(wrt=["x", "a", "b", "c"])
    assert gradients == {"x": 8 * 1.5**7, "a": 4 * (1.5**2) ** 3, "b": 2 * 1.5**4, "c": 1.0}


def test_gradients_are_given_for_inputs_too():
    run = ge.Model.from_dict(linreg(theta=2.0)).forward(x=[1.0, 2.0], y=[3.0, 3.0])
    gradients = run.backward(of="loss", wrt=["x", "y"])
    assert gradients["y"].tolist() == [1.0, -1.0]
    assert gradients["x"].tolist() == [-2.0, 2.0]


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 1), (1, 3), (2, 3), (1, 1), (4, 1, 1), (1, 2, 3)])
def test_a_gradient_is_summed_back_to_the_shape_before_broadcasting(shape):
    whole = np.arange(24.0).reshape(4, 2, 3)
    nodes = {"z": ("mul", ["p", "x"]), "s": ("sum", ["z"])}
    run = model(nodes, inputs={"x": [4, 2, 3]}, parameters={"p": np.ones(shape)}).forward(x=whole)
    expected = np.zeros(shape)
    for index in np.ndindex(whole.shape):
        place = tuple(0 if size == 1 else i for size, i in zip(shape, index[3 - len(shape) :], strict=True))
        expected[place] += whole[index]
    np.testing.assert_array_equal(run.backward()["p"], expected)


def test_an_output_that_is_no_scalar_has_no_gradient():
    with pytest.raises(
        ge.errors.DifferentiationError, match=r"GE411: only a floating-point scalar.*'z' is float64\(2,\)"
    ):
        run_of({"z": ("neg", ["x"])}, parameters={"x": [1.0, 2.0]}).backward()


def test_there_is_no_gradient_of_or_toward_integers():
    nodes = {"z": ("mul", ["i", "x"]), "j": ("neg", ["i"])}
    inputs = {"x": [], "i": {"shape": [], "dtype": "int64"}}
    run = model(nodes, {"z": "z", "j": "j"}, inputs=inputs).forward(x=2.0, i=3)
    with pytest.raises(ge.errors.DifferentiationError, match=r"with respect to 'i', which is int64\(\)"):
        run.backward(of="z", wrt="i")
    with pytest.raises(ge.errors.DifferentiationError, match=r"'j' is int64\(\)"):
        run.backward(of="j", wrt="x")


def test_a_node_without_backward_on_the_path_is_named():
    ge.register("floor_of")(type(ge.Node)("Floor", (ge.Node,), {"forward": lambda self, x: np.floor(x)}))
    run = run_of({"down": ("floor_of", ["p"]), "z": ("square", ["down"])}, parameters={"p": 1.5, "q": 2.0})
    with pytest.raises(
        ge.errors.DifferentiationError, match=r"node 'down' \(floor_of\) has no backward.*'p'"
    ) as caught:
        run.backward()
    assert caught.value.problems[0].node == "down"
    assert run.backward(wrt="q") == {"q": 0.0}


def test_a_node_that_gives_none_for_an_input_passes_no_gradient():
    class Switch(ge.Node):
        def forward(self, x, y):
            return x + y

        def backward(self, grad):
            return grad, None

    ge.register("switch")(Switch)
    assert run_of({"z": ("switch", ["a", "b"])}, parameters={"a": 1.0, "b": 1.0}).backward() == {"a": 1.0, "b": 0.0}


def test_a_gradient_in_a_wider_dtype_is_given_in_that_of_its_value():
    nodes = {"z": ("mul", ["p", "x"])}
    inputs = {"x": {"shape": [], "dtype": "float64"}}
    parameters = {"p": {"shape": [], "dtype": "float32", "initializer": {"type": "ones"}}}
    assert model(nodes, inputs=inputs, parameters=parameters).forward(x=2.0).backward()["p"].dtype == np.float32


def test_backward_may_be_called_again_with_the_same_result():
    run = ge.Model.from_dict(linreg(theta=1.0)).forward(x=[1.0, 2.0], y=[3.0, 4.0])
    assert run.backward(of="loss") == run.backward(of="loss") == {"theta": -2 * (2 + 4) / 2}


# ---------------------------------------------------------------- what is kept alive


def test_predict_drops_every_value_after_its_last_use():
    made_so_far, alive = [], []

    @ge.register("tracked")
    class Tracked(ge.Node):
        infer = elementwise

        def forward(self, x):
            alive.append(sum(reference() is not None for reference in made_so_far))
            result = np.atleast_1d(x + 1)
            made_so_far.append(weakref.ref(result))
            return result

    chain = model({f"n{i:02}": ("tracked", [f"n{i - 1:02}" if i else "x"]) for i in range(20)}, inputs={"x": ["N"]})
    alive.clear()
    assert chain.predict(x=[0.0])["out"] == [20.0]
    assert (len(alive), max(alive)) == (20, 1)


def test_a_run_keeps_every_value():
    run = ge.Model.from_dict(linreg(theta=2.0)).forward(x=[1.0], y=[3.0])
    assert [run.value(name).tolist() for name in ("x", "theta", "y_hat", "error", "sq")] == [
        [1.0],
        2.0,
        [2.0],
        [1.0],
        [1.0],
    ]


def test_a_model_is_freed_without_a_reference_cycle():
    gc.collect()
    gc.disable()
    try:
        made = ge.Model.from_dict(linreg())
        made.forward(x=[1.0], y=[2.0]).backward(of="loss")
        freed = weakref.ref(made)
        del made
        assert freed() is None
    finally:
        gc.enable()


# ---------------------------------------------------------------- failures and special values


def test_a_failing_node_is_named_with_its_shapes():
    class Fussy(ge.Node):
        infer = elementwise

        def forward(self, x, y):
            return x @ y if np.ndim(x) else x * y

    ge.register("fussy")(Fussy)
    made = model({"z": ("fussy", ["x", "y"])}, inputs={"x": ["N", "M"], "y": ["N", "M"]})
    with pytest.raises(
        ge.errors.ExecutionError, match=r"GE410: node 'z' \(fussy\): .*\(shapes x \(2, 3\), y \(2, 3\)\)"
    ):
        made.forward(x=np.ones((2, 3)), y=np.ones((2, 3)))


@pytest.mark.parametrize(
    ("value", "result", "gradient"),
    [
        (np.nan, np.nan, np.nan),
        (np.inf, np.nan, np.nan),
        (0.0, np.nan, np.nan),
        (1e300, np.inf, 2e300),
        (3.0, 4.0, 4.0),
    ],
)
def test_special_values_pass_without_warning(value, result, gradient):
    nodes = {"q": ("div", ["x", "x"]), "d": ("sub", ["x", "q"]), "t": ("square", ["d"])}
    run = run_of(nodes, parameters={"x": value})
    np.testing.assert_allclose([run["out"], run.backward()["x"]], [result, gradient])


# ---------------------------------------------------------------- threads


def test_eight_threads_give_bit_equal_results():
    nodes = {"h": ("mul", ["w", "x"]), "d": ("div", ["h", "y"]), "e": ("sub", ["d", "w"]), "l": ("mean", ["e"])}
    made = model(nodes, inputs={"x": ["N", 7], "y": ["N", 1]}, parameters={"w": np.linspace(0.1, 2.3, 7)})
    rng = np.random.default_rng(0)
    batches = [(rng.normal(size=(n, 7)), rng.normal(size=(n, 1))) for n in range(1, 65)]

    def work(batch):
        run = made.forward(x=batch[0], y=batch[1])
        return run["out"].tobytes(), run.backward()["w"].tobytes()

    with ThreadPoolExecutor(8) as pool:  # nothing ran before: the threads also race for the schedules
        together = list(pool.map(work, batches * 4))
    assert together == [work(batch) for batch in batches] * 4


def test_an_executor_has_its_steps_from_the_start():
    executor = Executor(ge.Model.from_dict(linreg()).graph)
    assert [step.node.id for step in executor.steps] == ["y_hat", "error", "sq", "loss"]
