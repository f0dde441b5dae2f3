"""Open unions: what a plugin registers is as good as what is shipped, for files, hints and the schema."""

from typing import Literal

import numpy as np
import pytest
from documents import linreg, parameter, problem_of, training

import graphengine as ge
from graphengine import hooks
from graphengine.errors import RegistrationError
from graphengine.format.functions import shipped_functions
from graphengine.format.kinds import INITIALIZERS, READERS, SCHEDULES, SOLVERS
from graphengine.format.schema import model_schema
from graphengine.limits import Limits
from graphengine.training.rules import shipped_rules


class Counting(ge.Initializer):
    """first, first + 1, ..."""

    type: Literal["counting"]
    first: float = 0.0

    def values(self, name, shape, dtype):
        return self.first + np.arange(np.prod(shape), dtype=dtype).reshape(shape)


class Halving(ge.Schedule):
    """Half the rate after each iteration."""

    type: Literal["halving"]

    def rate(self, done):
        return self.learning_rate / 2**done


class Pairs(ge.Reader):
    """Lines of x and y."""

    suffixes = (".pairs",)

    type: Literal["pairs"]
    columns: dict[str, int] | None = None

    def blocks(self, file, names, graph, memory):
        with file.open() as lines:
            for line in lines:
                cells = [float(cell) for cell in line.split()]
                yield {name: np.array([cells[place]]) for name, place in names.items()}


def test_a_registered_initializer_is_used_by_a_file_that_was_unknown_before():
    content = linreg() | {"parameters": {"theta": {"shape": [], "initializer": {"type": "counting", "first": 2}}}}
    assert problem_of(content).message == '"counting" is not possible here'
    ge.register_initializer(Counting)
    assert ge.Model.from_dict(content).parameters["theta"] == 2.0


def test_a_registered_initializer_checks_its_attributes():
    ge.register_initializer(Counting)
    content = linreg() | {"parameters": {"theta": {"shape": [], "initializer": {"type": "counting", "frist": 2}}}}
    found = problem_of(content)
    assert (found.code, found.pointer) == ("GE110", "/parameters/theta/initializer/frist")
    assert "did you mean 'first'?" in str(found)


def test_a_registered_schedule_sets_the_rates():
    ge.register_schedule(Halving)
    rate = {"type": "halving", "learning_rate": 0.5}
    content = linreg() | {"training": training(learning_rate=rate, epochs=3)}
    data = {"x": np.ones(1), "y": np.ones(1)}
    model, theta = ge.Model.from_dict(content), 0.0
    model.train(data)
    for step in (0.5, 0.25, 0.125):
        theta += step * 2 * (1 - theta)
    assert model.parameters["theta"] == theta


def test_a_registered_reader_reads_a_file_of_the_model(tmp_path):
    ge.register_reader(Pairs)
    (tmp_path / "d.pairs").write_text("1 2\n2 4\n")
    source = {"type": "pairs", "path": "d.pairs", "columns": {"x": 0, "y": 1}}
    model = ge.Model.from_dict(linreg() | {"data": {"train": source}}, tmp_path / "m.json")
    arrays = model.load_data("train")
    assert {name: array.tolist() for name, array in arrays.items()} == {"x": [1.0, 2.0], "y": [2.0, 4.0]}


def test_what_a_registered_reader_raises_is_a_coded_error(tmp_path):
    ge.register_reader(Pairs)
    (tmp_path / "d.pairs").write_text("1 two\n")
    source = {"type": "pairs", "path": "d.pairs", "columns": {"x": 0, "y": 1}}
    model = ge.Model.from_dict(linreg() | {"data": {"train": source}}, tmp_path / "m.json")
    with pytest.raises(ge.errors.DataError, match=r"GE501.*cannot be read as pairs: could not convert string"):
        model.load_data("train")


def test_paths_of_a_registered_reader_are_confined(tmp_path):
    ge.register_reader(Pairs)
    source = {"type": "pairs", "path": "../d.pairs", "columns": {"x": 0, "y": 1}}
    assert problem_of(linreg() | {"data": {"train": source}}).code == "GE504"


class Backtracking(ge.Solver):
    """Gradient descent that halves a step until the loss falls."""

    type: Literal["backtracking"]
    tolerance: float = 1e-6

    def minimize(self, problem, start):
        x, step = start, 1.0
        for _ in range(problem.max_iterations):
            loss, slope = problem(x)
            if np.linalg.norm(slope) <= self.tolerance:
                return True
            while problem(x - step * slope)[0] > loss - step / 2 * (slope @ slope) and step > 1e-12:
                step /= 2
            x = x - step * slope
            problem.accept(x)
            step *= 2
        return False


LINE = {"x": np.array([1.0, 2.0, 3.0]), "y": np.array([2.0, 3.0, 7.0])}
SLOPE = float(LINE["x"] @ LINE["y"] / (LINE["x"] @ LINE["x"]))


def solved(**keys):
    ge.register_solver(Backtracking)
    optimizer = {"type": "backtracking", **keys}
    return linreg() | {"training": {"loss": "loss", "optimizer": optimizer}}


def test_a_registered_solver_trains_and_accepts_its_steps():
    model = ge.Model.from_dict(solved())
    history = model.train(LINE)
    assert model.parameters["theta"] == pytest.approx(SLOPE, rel=1e-6)
    assert len(history) >= 1
    assert not history.stopped


def test_a_registered_solver_ends_at_the_limits_of_the_training():
    model = ge.Model.from_dict(solved(tolerance=0.0))
    assert len(model.train(LINE, max_iterations=1)) == 1


def test_a_registered_solver_checks_its_keys():
    found = problem_of(solved(tolerence=1.0))
    assert (found.code, found.pointer) == ("GE110", "/training/optimizer/tolerence")
    assert "keys of 'backtracking': type, tolerance" in str(found)


class Descending(ge.Solver):
    """The package's own descent, from one point further."""

    type: Literal["descending"]

    def minimize(self, problem, start):
        assert problem.has_hessian
        np.testing.assert_allclose(problem.hessian(start), [[2 * np.mean(LINE["x"] ** 2)]], rtol=1e-12)
        np.testing.assert_array_equal(problem.bounds.upper, [np.inf])
        return problem.descend(start + 1)


def test_a_solver_has_the_hessian_and_the_descent_of_the_package():
    ge.register_solver(Descending)
    model = ge.Model.from_dict(linreg() | {"training": {"loss": "loss", "optimizer": {"type": "descending"}}})
    model.train(LINE)
    assert model.parameters["theta"] == pytest.approx(SLOPE, rel=1e-12)


class Within(ge.Node):
    """Fraction of the predictions that lie within `tolerance` of the target."""

    tolerance: float

    def forward(self, prediction, target):
        near = np.abs(prediction - target) <= self.tolerance
        return np.mean(np.where(near, np.ones_like(target), np.zeros_like(target)))


def test_a_metric_is_an_op_and_is_the_same_number_in_any_batches():
    ge.register("within", replace=True)(Within)
    content = linreg(training=training(metrics={"near": "near"}, learning_rate=0.01, batch_size=100))
    near = {"id": "near", "op": "within", "inputs": ["y_hat", "y"], "attributes": {"tolerance": 0.5}}
    content["nodes"].append(near)
    chance = np.random.default_rng(3)
    x = chance.normal(size=20_000)
    data = {"x": x, "y": 2 * x + chance.normal(size=len(x))}
    for limits in (Limits(), Limits(array_bytes=150_000)):  # as one batch, and in parts
        model = ge.Model.from_dict(content, limits=limits)
        history = model.train(data, validation_data=data)
        expected = np.mean(np.abs(model.parameters["theta"] * x - data["y"]) <= 0.5)
        assert history.check.values["near"] == pytest.approx(expected, rel=1e-12)


def test_the_schema_has_what_is_registered():
    ge.register_reader(Pairs)
    ge.register_schedule(Halving)
    ge.register_solver(Backtracking)
    functions = {name: function.document for name, function in shipped_functions().items()}
    definitions = model_schema(shipped_rules(), functions)["$defs"]
    assert {"Pairs", "Halving"} <= definitions.keys()
    assert definitions["Pairs"]["properties"]["type"]["const"] == "pairs"
    rules = {
        rule["if"]["properties"]["type"]["const"]: rule["then"] for rule in definitions["OptimizerDocument"]["allOf"]
    }
    assert rules["backtracking"]["properties"].keys() == {"type", "tolerance"}


@pytest.mark.parametrize(
    ("register", "cls", "expected"),
    [
        (ge.register_reader, int, "is not a reader of data"),
        (ge.register_initializer, type("NoType", (ge.Initializer,), {"values": lambda *_: 0}), "is not an initializer"),
    ],
)
def test_a_class_that_is_none_of_the_kind_is_refused(register, cls, expected):
    with pytest.raises(RegistrationError, match=expected):
        register(cls)


def test_a_name_is_registered_once_and_a_class_that_is_defined_again_replaces_itself():
    class Other(ge.Initializer):
        type: Literal["zeros"]

        def values(self, name, shape, dtype):
            return np.ones(shape, dtype)

    with pytest.raises(RegistrationError, match="GE702"):
        ge.register_initializer(Other)
    ge.register_initializer(Counting)
    ge.register_initializer(Counting)
    ge.register_initializer(Other, replace=True)
    content = linreg() | {"parameters": {"theta": parameter(0.0) | {"initializer": {"type": "zeros"}, "value": None}}}
    assert ge.Model.from_dict(content).parameters["theta"] == 1.0


@pytest.mark.parametrize("kinds", [READERS, INITIALIZERS, SCHEDULES, SOLVERS], ids=lambda kinds: kinds.what)
def test_the_tables_have_what_is_shipped(kinds):
    """The names are written down beside the module, which is imported only if one of them is used."""
    module, names = hooks.shipped_kinds[kinds.what]
    assert {name for name, cls in kinds.items() if cls.__module__ == module} == set(names.split())
    assert all(name in kinds for name in names.split())
    assert "nothing" not in kinds
