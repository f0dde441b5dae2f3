"""What a long training keeps."""

import resource

import numpy as np

import graphengine as ge


def test_a_million_iterations_grow_the_process_by_less_than_a_megabyte():
    model = ge.load("models/linreg_single_sample.json")
    x = np.random.default_rng(0).normal(size=10_000)
    data = {"x": x, "y": 3 * x}
    model.train(data=data, epochs=20)  # what is made once is made
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    history = model.train(data=data, epochs=100)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert len(history) == 1_000_000
    assert grown < 1024, f"{grown} kB"
