"""Models that others made, as `docs/make_onnx.py` stores them: each import computes what onnxruntime does."""

from pathlib import Path

import numpy as np
import pytest
from selection import missing

FOLDER = Path(__file__).parent / "onnx_models"
FILES = {path.stem: path for path in sorted(FOLDER.glob("*.onnx"))}
ROWS = 5

pytestmark = pytest.mark.extra("onnx", "onnxruntime")
if not missing(["onnx", "onnxruntime"]):
    import onnxruntime

    from graphengine.model.onnx_files import load


def test_there_are_a_hundred_models_of_three_makers():
    assert len(FILES) >= 100
    assert {name.partition("_")[0] for name in FILES} == {"torch", "sklearn", "keras"}
    assert {name.split("_")[1] for name in FILES if name.startswith("torch")} == {"legacy", "dynamo"}


def fed(session):
    """Random inputs of a model, with another number of rows than it was exported with."""
    generator = np.random.default_rng(0)
    feed = {}
    for each in session.get_inputs():
        shape = [size if isinstance(size, int) else ROWS for size in each.shape]
        is_whole = "int" in each.type
        feed[each.name] = generator.integers(0, 3, shape) if is_whole else generator.uniform(-2, 6, shape).astype("f4")
    return feed


@pytest.mark.parametrize("name", FILES)
def test_the_import_computes_what_onnxruntime_does(name, tmp_path):
    session = onnxruntime.InferenceSession(FILES[name], providers=["CPUExecutionProvider"])
    feed, names = fed(session), [each.name for each in session.get_outputs()]
    model = load(FILES[name])
    ids = {old: new for new, old in model.document.metadata["onnx"].get("names", {}).items()}
    found = model.predict({ids.get(each, each): value for each, value in feed.items()})
    for each, wanted in zip(names, session.run(None, feed), strict=True):
        output = ids.get(each, each)
        assert (found[output].shape, found[output].dtype) == (wanted.shape, wanted.dtype)
        np.testing.assert_allclose(found[output], wanted, rtol=1e-5, atol=1e-5 * max(1, np.abs(wanted).max(initial=0)))
