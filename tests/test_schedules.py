"""Learning-rate schedules: each formula, the warmup in front, and what a training does with the rates."""

import math

import numpy as np
import pytest
from documents import linreg, training
from pydantic import TypeAdapter

import graphengine as ge
from graphengine.format.kinds import AnySchedule
from graphengine.training.schedules import rate_at

DATA = {"x": np.arange(1.0, 11.0), "y": 3 * np.arange(1.0, 11.0)}


def rates(count, **keys):
    schedule = TypeAdapter(AnySchedule).validate_python({"learning_rate": 0.8, **keys})
    return [rate_at(schedule, iteration) for iteration in range(1, count + 1)]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"type": "constant"}, [0.8] * 5),
        ({"type": "step", "every": 2, "factor": 0.5}, [0.8, 0.8, 0.4, 0.4, 0.2]),
        ({"type": "exponential", "factor": 0.5}, [0.8, 0.4, 0.2, 0.1, 0.05]),
        ({"type": "linear", "iterations": 4}, [0.8, 0.6, 0.4, 0.2, 0.0, 0.0]),
        ({"type": "linear", "iterations": 2, "final": 1.0}, [0.8, 0.9, 1.0, 1.0]),
        ({"type": "inverse_time", "decay": 1.0}, [0.8, 0.4, 0.8 / 3, 0.2]),
        ({"type": "cosine", "iterations": 2, "final": 0.2}, [0.8, 0.5, 0.2, 0.2]),
        (
            {"type": "cosine", "iterations": 8},
            [0.4 * (1 + math.cos(math.pi * min(done, 8) / 8)) for done in range(12)],
        ),
        ({"type": "one_cycle", "iterations": 8, "rise": 0.5}, [0.0, 0.2, 0.4, 0.6, 0.8, 0.6, 0.4, 0.2, 0.0, 0.0]),
        ({"type": "one_cycle", "iterations": 4, "rise": 0.5, "initial": 0.4, "final": 0.2}, [0.4, 0.6, 0.8, 0.5, 0.2]),
        ({"type": "one_cycle", "iterations": 2, "rise": 0.0}, [0.8, 0.4, 0.0]),
        ({"type": "one_cycle", "iterations": 2, "rise": 1.0}, [0.0, 0.4, 0.0]),
        ({"type": "step", "every": 1, "warmup": {"iterations": 2}}, [0.0, 0.4, 0.8, 0.08, 0.008]),
        ({"type": "constant", "warmup": {"iterations": 4, "start_factor": 0.5}}, [0.4, 0.5, 0.6, 0.7, 0.8, 0.8]),
    ],
)
def test_the_rates_are_those_of_the_formula(keys, expected):
    assert rates(len(expected), **keys) == pytest.approx(expected, rel=1e-14, abs=1e-16)


@pytest.mark.parametrize(
    "keys",
    [
        {"type": "constant"},
        {"type": "step", "every": 2},
        {"type": "exponential", "factor": 0.5},
        {"type": "cosine", "iterations": 5},
        {"type": "linear", "iterations": 5},
        {"type": "inverse_time", "decay": 0.5},
        {"type": "one_cycle", "iterations": 5, "initial": 0.2},
    ],
    ids=lambda keys: keys["type"],
)
def test_a_warmup_stands_in_front_of_any_schedule(keys):
    plain, warm = rates(8, **keys), rates(12, **keys, warmup={"iterations": 4, "start_factor": 0.2})
    assert warm[4:] == plain
    assert warm[:4] == pytest.approx([plain[0] * factor for factor in (0.2, 0.4, 0.6, 0.8)], rel=1e-15)


def test_a_schedule_ends_exactly_at_its_final_rate():
    for kind in ("cosine", "linear", "one_cycle"):
        assert rates(200, type=kind, iterations=73, final=0.1)[73:] == [0.1] * 127


def test_a_rate_that_no_double_holds_is_infinite():
    assert rates(3000, type="exponential", factor=10.0)[-1] == math.inf


SCHEDULE = {"type": "cosine", "learning_rate": 0.004, "iterations": 9, "warmup": {"iterations": 3}}


def model(dtype="float64"):
    return ge.Model.from_dict(linreg(training=training(learning_rate=SCHEDULE), dtype=dtype))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("batch_size", [None, 1, 4])
def test_each_update_takes_the_rate_of_its_iteration(dtype, batch_size):
    scheduled, stepwise = model(dtype), model(dtype)
    schedule = TypeAdapter(AnySchedule).validate_python(SCHEDULE)
    history = scheduled.train(DATA, epochs=3, batch_size=batch_size)
    batches = stepwise.trainer(DATA, batch_size=batch_size, epochs=3).batches
    done = 0
    for epoch in range(1, 4):
        for segment in batches.epoch(epoch):
            for batch in map(segment.batch, range(segment.count)):
                done += 1
                stepwise.train(batch, learning_rate=rate_at(schedule, done), epochs=1, batch_size=None)
    assert done == len(history)
    assert scheduled.parameters["theta"] == pytest.approx(stepwise.parameters["theta"], rel=1e-6)
    assert scheduled.parameters["theta"].dtype == dtype


def test_the_reference_executor_takes_the_same_rates():
    compiled, reference = model(), model()
    trainer = reference.trainer(DATA, batch_size=4, epochs=3)
    trainer.stepper.reference = True
    for _ in trainer.chunks():
        pass
    compiled.train(DATA, batch_size=4, epochs=3)
    assert compiled.parameters["theta"] == pytest.approx(reference.parameters["theta"], rel=1e-14)


def test_a_trainer_reports_the_rate_of_the_next_iteration():
    trainer = model().trainer(DATA, epochs=12)
    reported = [trainer.learning_rate for _ in trainer.chunks(longest=1)]
    assert reported == rates(13, **SCHEDULE)[1:]


def test_a_number_takes_the_place_of_a_schedule():
    first, second = model(), model()
    first.train(DATA, learning_rate=0.001)
    second.train(DATA, optimizer={"type": "sgd", "learning_rate": 0.001})
    assert first.parameters["theta"] == second.parameters["theta"]


@pytest.mark.parametrize(
    ("schedule", "code", "pointer"),
    [
        ({"type": "cosinus", "learning_rate": 0.1}, "GE112", "type"),
        ({"type": "cosine", "learning_rate": 0.1}, "GE111", ""),
        ({"type": "step", "learning_rate": 0.1, "every": 1, "gamma": 0.1}, "GE110", "gamma"),
        ({"type": "constant", "learning_rate": -0.1}, "GE112", "learning_rate"),
    ],
)
def test_a_wrong_schedule_is_reported_with_its_place(schedule, code, pointer):
    with pytest.raises(ge.errors.InvalidModelError) as caught:
        ge.Model.from_dict(linreg(training=training(learning_rate=schedule)))
    problem = caught.value.problems[0]
    assert problem.code == code
    assert problem.pointer == "/training/optimizer/learning_rate" + f"/{pointer}" * bool(pointer)
