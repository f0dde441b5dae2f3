"""Open unions: what a plugin registers is as good as what is shipped, for files, hints and the schema."""

from typing import Literal

import numpy as np
import pytest
from documents import linreg, parameter, problem_of, training

import graphengine as ge
from graphengine.errors import RegistrationError
from graphengine.format.functions import shipped_functions
from graphengine.format.kinds import INITIALIZERS, READERS, SCHEDULES
from graphengine.format.schema import model_schema
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


def test_the_schema_has_what_is_registered():
    for register, cls in [(ge.register_reader, Pairs), (ge.register_schedule, Halving)]:
        register(cls)
    functions = {name: function.document for name, function in shipped_functions().items()}
    definitions = model_schema(shipped_rules(), functions)["$defs"]
    assert {"Pairs", "Halving"} <= definitions.keys()
    assert definitions["Pairs"]["properties"]["type"]["const"] == "pairs"


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


def test_the_tables_have_what_is_shipped():
    assert {"inline", "csv", "npz", "npy", "jsonl", "parquet", "arrow"} <= set(READERS)
    assert {"constant", "zeros", "he_normal"} <= set(INITIALIZERS)
    assert {"constant", "cosine", "one_cycle"} <= set(SCHEDULES)
