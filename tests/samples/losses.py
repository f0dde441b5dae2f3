from scipy.special import log_softmax

from samples.arrays import integers, values
from samples.table import Samples

LABELS = integers(2, 0)


def softmax_cross_entropy(logits, targets, reduction="mean"):
    losses = [-log_softmax(row)[target] for row, target in zip(logits, targets, strict=True)]
    return {"none": losses, "sum": sum(losses), "mean": sum(losses) / len(losses)}[reduction]


TABLE = {
    "softmax_cross_entropy": Samples(
        [
            ({}, (values((2, 3)), LABELS)),
            ({"reduction": "sum"}, (values((2, 3)), LABELS)),
            ({"reduction": "none"}, (values((2, 3)), LABELS)),
        ],
        softmax_cross_entropy,
    ),
}
