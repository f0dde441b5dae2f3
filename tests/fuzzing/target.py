"""What happens to the bytes of a file from loading to a tiny run: nothing but an error of this package may come out."""

from warnings import catch_warnings, simplefilter

import numpy as np
import pytest

import graphengine as ge
from graphengine.errors import CODES, GraphEngineError, ModelWarning
from graphengine.format import pieces
from graphengine.format.reading import parse_model
from graphengine.format.writing import dump_model
from graphengine.limits import Limits
from graphengine.ops.shapes import factors

LIMITS = Limits(file_bytes=2**20, nodes=2000, values=100_000, array_bytes=2**24)


def run(data: bytes) -> str:
    """Load, check, run, differentiate and train what the bytes say, in small; the name of the stage it ended at."""
    stage = ["load"]
    try:
        with catch_warnings():
            simplefilter("ignore", ModelWarning)
            _run(data, stage)
    except GraphEngineError as error:
        reported = [problem.as_dict()["code"] for problem in error.problems if str(problem)]
        if not reported or not CODES.keys() >= set(reported):
            raise RuntimeError(f"an error without a code that is documented: {error!r}") from error
    return stage[-1]


def _run(data: bytes, stage: list[str]) -> None:
    assert _read(data, length=8) == _read(data, length=pieces.LENGTH)
    document, source = parse_model(data, "m.json", LIMITS, salvage=True)
    stage.append("resolve")
    model = ge.Model(document, source, limits=LIMITS)
    stage.append("save")
    saved = dump_model(model.document)
    again, _ = parse_model(saved, None, LIMITS)
    assert dump_model(again) == saved
    assert ge.Model(again, limits=LIMITS).fingerprint == model.fingerprint
    stage.append("run")
    values = {name: _ones(model.graph.types[name]) for name in model.graph.inputs}
    for _ in range(3):  # by the reference, then by a plan
        outputs = model.predict(values)
    run = model.forward(values)
    assert all(np.shape(run[name]) == np.shape(outputs[name]) for name in outputs)
    if model.document.training:
        stage.append("differentiate")
        run.backward()
        stage.append("train")
        model.train(max_iterations=2, epochs=None)
    stage.append("end")


def _read(data, length):
    """What a file comes to if a piece of its nodes has at least so many bytes: canonical bytes, and what is wrong."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "LENGTH", length)
        try:
            document, source = parse_model(data, "m.json", LIMITS, salvage=True)
        except GraphEngineError as error:
            return error.problems
        return source.problems or dump_model(document)


def _ones(kind):
    """An array of ones in which each symbolic size is 2, small enough to run on."""
    shape = []
    for size in kind.shape:
        coefficient, symbols = factors(size)
        shape.append(coefficient * 2 ** len(symbols))
    assert np.prod(shape, dtype=float) < LIMITS.array_bytes
    return np.ones(shape, kind.array_dtype)
