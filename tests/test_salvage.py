"""Beside what is wrong with the form of a file, what else is wrong is told, and nothing that only follows from it."""

import pytest
from documents import linreg, training

import graphengine as ge


def told(content):
    """Codes and pointers of what is wrong with a model, and the problems by pointer."""
    with pytest.raises(ge.errors.InvalidModelError) as caught:
        ge.Model.from_dict(content)
    return {problem.pointer.removeprefix("/training"): problem for problem in caught.value.problems}


def trained(**changes):
    """The training section of linear regression with a check of everything, changed."""
    section = {
        "data": "train",
        "batch_size": 2,
        "accumulate": 2,
        "gradient_clipping": {"type": "norm", "limit": 1.0},
        "validation": {"fraction": 0.25, "every_epochs": 1},
        "metrics": {"mse": "loss"},
        "early_stopping": {"monitor": "mse", "patience": 3},
        **changes,
    }
    data = {"train": {"type": "inline", "values": {"x": [1.0], "y": [2.0]}}}
    return linreg(training=training(**section), data=data)


BESIDE = {
    "the share and the rhythm of a validation, and what is monitored": (
        {
            "validation": {"fraction": 1.5, "data": "vaild", "every_epochs": 0},
            "early_stopping": {"monitor": "validation_los", "patience": 0},
        },
        {
            "/validation": "GE112",
            "/validation/fraction": "GE112",
            "/validation/data": "GE210",
            "/validation/every_epochs": "GE112",
            "/early_stopping/monitor": "GE210",
            "/early_stopping/patience": "GE112",
        },
    ),
    "a misspelt share is there all the same": (
        {"validation": {"fration": 0.25}},
        {"/validation/fration": "GE110"},
    ),
    "a validation that is none, and its loss": (
        {"validation": 0.25, "early_stopping": {"monitor": "validation_loss"}},
        {"/validation": "GE112"},
    ),
    "data of a validation that are no name": (
        {"validation": {"data": 3}, "early_stopping": {"monitor": "mes"}},
        {"/validation/data": "GE112", "/early_stopping/monitor": "GE210"},
    ),
    "a metric whose value is none can be monitored": (
        {"metrics": {"mse": 3, "other": "lss"}},
        {"/metrics/mse": "GE112", "/metrics/other": "GE210"},
    ),
    "a metric whose name is none may be what is monitored": (
        {"metrics": {"m s e": "loss", "other": "lss"}},
        {"/metrics/m s e": "GE112", "/metrics/other": "GE210"},
    ),
    "metrics that are none may be what is monitored": ({"metrics": ["mse"]}, {"/metrics": "GE112"}),
    "metrics that are none, and nothing is monitored": (
        {"metrics": ["mse"], "early_stopping": None, "data": "tran"},
        {"/metrics": "GE112", "/data": "GE210"},
    ),
    "what is monitored is no name": (
        {"early_stopping": {"monitor": 3, "mode": "least"}},
        {"/early_stopping/monitor": "GE112", "/early_stopping/mode": "GE112"},
    ),
    "a clipping of no kind, and a batch of no size": (
        {"gradient_clipping": {"type": "norms"}, "batch_size": 0, "data": "tran"},
        {
            "/gradient_clipping": "GE111",
            "/gradient_clipping/type": "GE112",
            "/batch_size": "GE112",
            "/data": "GE210",
        },
    ),
}


@pytest.mark.parametrize(("changes", "expected"), BESIDE.values(), ids=BESIDE)
def test_a_broken_part_of_the_training_hides_no_other(changes, expected):
    assert {pointer: problem.code for pointer, problem in told(trained(**changes)).items()} == expected


def test_a_hint_tells_names_of_which_nothing_else_is_known():
    content = linreg(dtype="float46")
    content["nodes"][0]["inputs"] = ["theta", "xx"]
    content["outputs"]["error"] = "theta0"
    problems = told(content)
    assert problems["/nodes/0/inputs/1"].hint == "did you mean 'x'?"
    assert problems["/outputs/error"].hint == "did you mean 'theta'?"
