"""Models that others made, as `docs/make_onnx.py` stores them: each import computes what onnxruntime does."""

from pathlib import Path

import numpy as np
import pytest
from selection import missing

from graphengine import load as load_model
from graphengine.errors import UsageError

FOLDER = Path(__file__).parent / "onnx_models"
FILES = {path.stem: path for path in sorted(FOLDER.glob("*.onnx"))}
ROWS = 5

pytestmark = pytest.mark.extra("onnx", "onnxruntime")
if not missing(["onnx", "onnxruntime"]):
    import onnx
    import onnxruntime

    from graphengine.model.onnx_files import export, load


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


def test_a_model_of_pytorch_learns_another_task(tmp_path):
    path = FILES["torch_legacy_cnn"]
    (head,) = (node.input[0] for node in onnx.load(path).graph.node if node.op_type == "Gemm")
    model = load(path, head=head, classes=2, freeze="onnx::*")
    trained = {name for name, each in model.document.parameters.items() if each.trainable}
    assert trained == {"head/weight", "head/bias"}
    old = set(model.parameters) - trained
    assert len(old) == 2
    generator = np.random.default_rng(0)
    x = generator.normal(size=(60, 4, 8, 8)).astype("f4")
    rows = {"x": x, "target": (x[:, 0, 2:6, 2:6].mean(axis=(1, 2)) > 0).astype(np.int64)}
    model.initialize()
    before = {name: np.array(value) for name, value in model.parameters.items()}
    first, *_, last = [each.loss for each in model.train(rows, epochs=80, learning_rate=0.01)]
    assert last < 0.6 * first
    for name, value in before.items():
        assert np.array_equal(model.parameters[name], value) == (name in old), name
    model.save(tmp_path / "m.json")
    export(load_model(tmp_path / "m.json"), tmp_path / "m.onnx", outputs="prediction")
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    found = model.predict(x=x)["prediction"]
    np.testing.assert_allclose(session.run(None, {"x": x})[0], found, rtol=1e-4, atol=1e-4)


def test_a_pattern_names_parameters_as_they_are_or_were():
    path = FILES["torch_legacy_cnn"]
    whole = load(path).document
    (name,) = (new for new, old in whole.metadata["onnx"]["names"].items() if old == "5.weight")
    for pattern in (name, "5.w*", "_5.w*"):
        frozen = load(path, freeze=pattern).document.parameters
        assert {each for each in frozen if not frozen[each].trainable} == {name}
    with pytest.raises(UsageError, match="GE402"):
        load(path, freeze="6.*")
