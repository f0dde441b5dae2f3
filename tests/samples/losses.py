import numpy as np
from scipy import special

from samples.arrays import integers, values
from samples.table import Samples

LABELS = integers(2, 0)
PLACES = np.array([[2, 0, 1], [1, 1, 2]])
REDUCTIONS = ["mean", "sum", "none"]
PAIR = values((2, 3)), values((2, 3), 1)
CHANCES = np.abs(values((2, 3), 2)) / 2
CLASS_WEIGHTS = np.array([0.5, 2.0, 1.0])
SIGNS = np.array([[1.0, -1.0, 1.0], [-1.0, 1.0, 1.0]])


def reductions(*arrays, **attributes):
    """A row for each reduction; "mean" is the default."""
    return [({"reduction": name, **attributes}, arrays) for name in REDUCTIONS]


def reduced(loss):
    """An oracle from the function that gives one loss each."""

    def oracle(prediction, target, reduction="mean", **attributes):
        losses = loss(prediction, target, **attributes)
        return {"none": losses, "sum": np.sum(losses), "mean": np.mean(losses)}[reduction]

    return oracle


def binary_cross_entropy(logits, targets):
    return -targets * special.log_expit(logits) - (1 - targets) * special.log_expit(-logits)


def of_classes(log_probabilities):
    """The definition, sample by sample; the mean is weighted as in PyTorch."""

    def oracle(x, targets, weights=None, reduction="mean", ignore_index=None):
        losses, counts = np.zeros(x.shape[:-1]), np.zeros(x.shape[:-1])
        weights = np.ones(x.shape[-1]) if weights is None else weights
        for place in np.ndindex(x.shape[:-1]):
            chances, target = log_probabilities(x[place]), targets[place]
            if np.ndim(target):
                losses[place], counts[place] = -sum(target * weights * chances), 1
            elif target != ignore_index:
                losses[place], counts[place] = -weights[target] * chances[target], weights[target]
        return {"none": losses, "sum": losses.sum(), "mean": losses.sum() / counts.sum()}[reduction]

    return oracle


def of_classes_rows(x):
    return [
        *reductions(x, LABELS),
        *reductions(x, LABELS, CLASS_WEIGHTS, ignore_index=-100),
        ({"ignore_index": 0}, (x, LABELS)),
        ({}, (x, integers(-1, 0))),
        ({"ignore_index": -100}, (np.stack([x, 2 * x, -x]), np.where(PLACES == 0, -100, PLACES).T.copy())),
        *reductions(x, CHANCES),
        *reductions(x, CHANCES, CLASS_WEIGHTS),
    ]


TABLE = {
    "mse": Samples(reductions(*PAIR), reduced(lambda x, y: (x - y) ** 2)),
    "mae": Samples(reductions(*PAIR), reduced(lambda x, y: abs(x - y)), analytic=False),
    "huber": Samples(
        [*reductions(*PAIR), *reductions(*PAIR, delta=0.4)],
        reduced(lambda x, y, delta=1: special.huber(delta, x - y)),
        analytic=False,
    ),
    "hinge": Samples(
        reductions(2 * PAIR[0], SIGNS), reduced(lambda x, y: np.where(x * y < 1, 1 - x * y, 0)), analytic=False
    ),
    "binary_cross_entropy": Samples(reductions(PAIR[0], CHANCES), reduced(binary_cross_entropy), analytic=False),
    "kl_divergence": Samples(reductions(PAIR[0], CHANCES), reduced(lambda x, y: special.rel_entr(y, np.exp(x)))),
    "negative_log_likelihood": Samples(of_classes_rows(values((2, 3)))[3:-3], of_classes(lambda x: x), analytic=False),
    "softmax_cross_entropy": Samples(of_classes_rows(values((2, 3))), of_classes(special.log_softmax), analytic=False),
}
