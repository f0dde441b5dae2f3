"""Values and gradients that books and papers print, computed from the shipped graphs to all their digits."""

import numpy as np
import pytest
from documents import MODELS

import graphengine as ge
from graphengine.backends.reference.executor import Executor

PUBLISHED = {
    "baydin": {"y": 11.652071455223084, "x1": 5.5, "x2": 1.7163378145367738},
    "griewank_walther": {"y": 2.016646669428201, "x1": 3.011843327673907, "x2": -13.723961509314076},
    "sigmoid_neuron": {
        "y": 0.7310585786300049,
        "w0": -0.19661193324,
        "w1": -0.39322386648,
        "w2": 0.19661193324,
        "x0": 0.39322386648,
        "x1": -0.58983579972,
    },
}


def digits_of(number):
    """How many digits a number is printed with behind the point."""
    return len(repr(number).partition(".")[2])


@pytest.mark.parametrize("name", PUBLISHED)
def test_value_and_gradient_have_all_published_digits(name):
    model = ge.load(MODELS / f"{name}.json")
    by_graph = ge.gradient(model.graph, of="y", also=["y"])
    slots = Executor(by_graph).forward(model.values)
    recorded = {key: slots[Executor(by_graph).slot_of[value]] for key, value in by_graph.outputs.items()}
    for _ in range(2):  # by the reference executor, then by the plan
        run = model.forward()
        found = {"y": run["y"], **run.backward()}
        assert found.keys() == PUBLISHED[name].keys()
        for key, number in PUBLISHED[name].items():
            assert np.round(found[key], digits_of(number)) == number
            assert recorded[key if key == "y" else f"d_y/d_{key}"] == found[key]


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_files_say_the_same_numbers(name):
    said = ge.load(MODELS / f"{name}.json").document.metadata["values"]
    assert np.hstack(list(said.values())).tolist() == list(PUBLISHED[name].values())
