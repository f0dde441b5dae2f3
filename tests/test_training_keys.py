"""Every key of a training section has an effect: one table, and a walk through the documents that misses no key."""

import typing

import numpy as np
import pytest
from documents import MODELS, document, parameter
from pydantic import BaseModel

import graphengine as ge
from graphengine.format.documents import ParameterDocument, TrainingDocument
from graphengine.format.kinds import Kinds

X = np.arange(1.0, 11.0) / 5
FIRST = {"x": X.tolist(), "y": (3 * X + np.resize([0.5, -0.5], 10)).tolist(), "kind": [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]}
SECOND = {"x": X[:4].tolist(), "y": (2 * X[:4]).tolist(), "kind": [0, 1, 2, 2]}
ADAMW = {"type": "adamw", "learning_rate": 0.01, "weight_decay": 0.5}
HALVED = {"validation": {"fraction": 0.5}}
CHECKED = {"validation": {"data": "second"}}
RISING = {"metrics": {"slope": "slope"}, "epochs": 6}
"""A metric that rises with each epoch."""


def rate(kind, **keys):
    return {"optimizer": {"type": "sgd", "learning_rate": {"type": kind, "learning_rate": 0.02, **keys}}}


def clipped(kind, limit):
    return {"gradient_clipping": {"type": kind, "limit": limit}}


def saved(**keys):
    return {"checkpoint": {"keep": 3, **keys}}


def stopping(**keys):
    return RISING | {"early_stopping": {"monitor": "slope", "patience": 1, **keys}}


WARM = {"warmup": {"iterations": 4}}
EFFECTS = {
    "TrainingDocument.loss": ({}, {"loss": "absolute"}),
    "TrainingDocument.data": ({}, {"data": "second"}),
    "TrainingDocument.optimizer": ({}, rate("constant")),
    "TrainingDocument.batch_size": ({}, {"batch_size": 4}),
    "TrainingDocument.drop_last": ({}, {"drop_last": True}),
    "TrainingDocument.shuffle": ({}, {"shuffle": True}),
    "TrainingDocument.seed": ({"shuffle": True}, {"shuffle": True, "seed": 1}),
    "TrainingDocument.epochs": ({}, {"epochs": 4}),
    "TrainingDocument.max_iterations": ({}, {"max_iterations": 5}),
    "TrainingDocument.max_seconds": ({}, {"max_seconds": 1e-9}),
    "TrainingDocument.accumulate": ({}, {"accumulate": 2}),
    "TrainingDocument.shard_rows": (
        {"batch_size": 10, "epochs": 9},
        {"batch_size": 10, "epochs": 9, "shard_rows": 1},
    ),  # in the last bits
    "TrainingDocument.gradient_clipping": ({}, clipped("value", 0.1)),
    "TrainingDocument.validation": ({}, CHECKED),
    "TrainingDocument.early_stopping": (RISING, stopping()),
    "TrainingDocument.checkpoint": ({}, saved(every_iterations=1)),
    "TrainingDocument.metrics": ({}, {"metrics": {"slope": "slope"}}),
    "OptimizerDocument.type": ({}, {"optimizer": {"type": "adam", "learning_rate": 0.01}}),
    "OptimizerDocument.learning_rate": ({}, {"optimizer": {"type": "sgd", "learning_rate": 0.02}}),
    "ClippingDocument.type": (clipped("norm", 0.1), clipped("global_norm", 0.1)),
    "ClippingDocument.limit": (clipped("norm", 0.1), clipped("norm", 0.2)),
    "ValidationDocument.data": (CHECKED, {"validation": {"data": "first"}}),
    "ValidationDocument.fraction": ({"validation": {"fraction": 0.2}}, {"validation": {"fraction": 0.4}}),
    "ValidationDocument.stratify": (HALVED, {"validation": {"fraction": 0.5, "stratify": "kind"}}),
    "ValidationDocument.group": (HALVED, {"validation": {"fraction": 0.5, "group": "kind"}}),
    "ValidationDocument.every_epochs": (CHECKED, {"validation": {"data": "second", "every_epochs": 2}}),
    "ValidationDocument.every_iterations": (CHECKED, {"validation": {"data": "second", "every_iterations": 5}}),
    "EarlyStoppingDocument.monitor": (stopping(), stopping(monitor="loss")),
    "EarlyStoppingDocument.mode": (stopping(), stopping(mode="max")),
    "EarlyStoppingDocument.patience": (stopping(), stopping(patience=2)),
    "EarlyStoppingDocument.min_delta": (stopping(monitor="loss"), stopping(monitor="loss", min_delta=1e9)),
    "EarlyStoppingDocument.restore_best": (stopping(), stopping(restore_best=False)),
    "CheckpointDocument.every_epochs": (saved(every_epochs=1), saved(every_epochs=2)),
    "CheckpointDocument.every_iterations": (saved(every_iterations=1), saved(every_iterations=2)),
    "CheckpointDocument.every_seconds": (saved(every_seconds=1e-9), saved(every_seconds=1e9)),
    "CheckpointDocument.keep": (saved(every_iterations=1), saved(every_iterations=1, keep=2)),
    "Schedule.learning_rate": (rate("constant"), rate("constant", learning_rate=0.03)),
    "Schedule.warmup": (rate("constant"), rate("constant", **WARM)),
    "WarmupDocument.iterations": (rate("constant", **WARM), rate("constant", warmup={"iterations": 3})),
    "WarmupDocument.start_factor": (
        rate("constant", **WARM),
        rate("constant", warmup={"iterations": 4, "start_factor": 0.5}),
    ),
    "ConstantSchedule.type": (rate("constant"), rate("step", every=2)),
    "StepSchedule.type": (rate("step", every=2), rate("exponential", factor=0.1)),
    "StepSchedule.every": (rate("step", every=2), rate("step", every=3)),
    "StepSchedule.factor": (rate("step", every=2), rate("step", every=2, factor=0.5)),
    "ExponentialSchedule.type": (rate("exponential", factor=0.5), rate("inverse_time", decay=0.5)),
    "ExponentialSchedule.factor": (rate("exponential", factor=0.5), rate("exponential", factor=0.6)),
    "CosineSchedule.type": (rate("cosine", iterations=9), rate("linear", iterations=9)),
    "CosineSchedule.iterations": (rate("cosine", iterations=9), rate("cosine", iterations=8)),
    "CosineSchedule.final": (rate("cosine", iterations=9), rate("cosine", iterations=9, final=0.01)),
    "LinearSchedule.type": (rate("linear", iterations=9), rate("one_cycle", iterations=9)),
    "LinearSchedule.iterations": (rate("linear", iterations=9), rate("linear", iterations=8)),
    "LinearSchedule.final": (rate("linear", iterations=9), rate("linear", iterations=9, final=0.01)),
    "InverseTimeSchedule.type": (rate("inverse_time", decay=0.5), rate("constant")),
    "InverseTimeSchedule.decay": (rate("inverse_time", decay=0.5), rate("inverse_time", decay=0.6)),
    "OneCycleSchedule.type": (rate("one_cycle", iterations=9), rate("cosine", iterations=9)),
    "OneCycleSchedule.iterations": (rate("one_cycle", iterations=9), rate("one_cycle", iterations=8)),
    "OneCycleSchedule.rise": (rate("one_cycle", iterations=9), rate("one_cycle", iterations=9, rise=0.5)),
    "OneCycleSchedule.initial": (rate("one_cycle", iterations=9), rate("one_cycle", iterations=9, initial=0.01)),
    "OneCycleSchedule.final": (rate("one_cycle", iterations=9), rate("one_cycle", iterations=9, final=0.01)),
    "ParameterDocument.trainable": ({}, {"slope": {"trainable": False}}),
    "ParameterDocument.learning_rate_multiplier": ({}, {"slope": {"learning_rate_multiplier": 0.5}}),
    "ParameterDocument.weight_decay_multiplier": (
        {"optimizer": ADAMW},
        {"optimizer": ADAMW, "slope": {"weight_decay_multiplier": 0.5}},
    ),
    "ParameterDocument.bounds": ({}, {"slope": {"bounds": [0.49, 0.51]}}),
}
"""For each key two trainings that differ in it alone: keys of the section, and of the parameter `slope`."""
DECLARED = {"shape", "dtype", "storage", "initializer", "value", "description", "scale"}
"""Keys of a parameter that say what it is, not how it is trained."""


def keys_of(document_type, left_out=()):
    """The keys of a document and of those inside it, each by the class that declares it."""
    for name, field in document_type.model_fields.items():
        if name not in left_out:
            owner = next(base for base in reversed(document_type.mro()) if name in getattr(base, "model_fields", ()))
            yield f"{owner.__name__}.{name}"
            for inner in documents_in(field.annotation):
                yield from keys_of(inner)


def documents_in(annotation):
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in typing.get_args(annotation):
        for inner in part.members if isinstance(part, Kinds) else [part]:
            yield from documents_in(inner)


def test_every_key_has_a_row():
    walked = {*keys_of(TrainingDocument), *keys_of(ParameterDocument, left_out=DECLARED)}
    assert walked == EFFECTS.keys()


def test_every_key_stands_on_the_page_of_the_format():
    page = (MODELS.parent / "docs" / "format.md").read_text(encoding="utf-8")
    assert [key for key in EFFECTS if f"`{key.split('.')[1]}`" not in page] == []


def line(*, slope=None, **section):
    """A straight line that is fitted to one of two sources of data, three samples at a time."""
    nodes = {"ax": ("mul", ["slope", "x"]), "p": ("add", ["ax", "shift"]), "e": ("sub", ["y", "p"])}
    nodes |= {"s": ("square", ["e"]), "loss": ("mean", ["s"]), "d": ("abs", ["e"]), "absolute": ("mean", ["d"])}
    data = {"first": FIRST, "second": SECOND}
    base = {"loss": "loss", "data": "first", "optimizer": {"type": "sgd", "learning_rate": 0.01}}
    content = document(
        nodes,
        {"loss": "loss", "absolute": "absolute"},
        inputs={"x": ["N"], "y": ["N"], "kind": {"shape": ["N"], "dtype": "int64"}},
        parameters={"slope": parameter(0.5, **(slope or {})), "shift": 0.25},
        data={name: {"type": "inline", "values": values} for name, values in data.items()},
        training={**base, "batch_size": 3, "epochs": 3, **section},
    )
    return ge.Model.from_dict(content)


def outcome(model, folder, **overrides):
    """All that can be seen of a training."""
    trainer = model.trainer(checkpoints=folder, **overrides)
    for _ in trainer.chunks(longest=1):
        pass
    history = trainer.history
    found = [history.iterations, history.epochs, history.checks, history.stopped, dict(model.parameters)]
    return repr([*found, sorted(int(path.stem[-10:]) for path in folder.iterdir())])


@pytest.mark.parametrize("key", EFFECTS)
def test_the_key_has_an_effect_in_the_file_and_as_a_keyword(tmp_path, key):
    one, other = EFFECTS[key]
    before, after = outcome(line(**one), tmp_path / "one"), outcome(line(**other), tmp_path / "other")
    assert before != after
    keywords = {name: value for name, value in other.items() if name != "slope"}
    assert outcome(line(slope=other.get("slope")), tmp_path / "keywords", **keywords) == after


# ---------------------------------------------------------------- effects that are formulas


def gradients(model):
    """The gradient of the loss with respect to slope and shift, by hand."""
    x, y = (np.array(FIRST[name]) for name in ("x", "y"))
    errors = y - model.parameters["slope"] * x - model.parameters["shift"]
    return np.array([np.mean(-2 * errors * x), np.mean(-2 * errors)])


@pytest.mark.parametrize("limit", [0.5, 6.0, 1e3])
@pytest.mark.parametrize("kind", ["value", "norm", "global_norm"])
def test_clipping_limits_elements_or_norms(kind, limit):
    model = line(batch_size=None, epochs=1, **clipped(kind, limit))
    before, gradient = np.array([0.5, 0.25]), gradients(model)
    lengths = np.linalg.norm(gradient) if kind == "global_norm" else np.abs(gradient)
    expected = gradient * np.minimum(1, limit / lengths)
    (row,) = model.train()
    after = np.array([model.parameters["slope"], model.parameters["shift"]])
    np.testing.assert_allclose(after, before - 0.01 * expected, rtol=1e-12)
    assert row.gradient_norm == pytest.approx(np.linalg.norm(gradient), rel=1e-12)  # of the gradient as it was


def test_clipping_by_norm_scales_an_array_and_by_value_its_elements():
    for kind, expected in (("value", [-1.0, 1.0]), ("norm", [-0.6, 0.8]), ("global_norm", [-0.6, 0.8])):
        content = document(
            {"q": ("mul", ["p", "weights"]), "loss": ("sum", ["q"])},
            parameters={"p": [0.0, 0.0], "weights": parameter([3.0, -4.0], trainable=False)},
        )
        model = ge.Model.from_dict(content)
        model.train({}, loss="out", learning_rate=1.0, epochs=1, **clipped(kind, 1.0))
        np.testing.assert_allclose(model.parameters["p"], expected, rtol=1e-15)
