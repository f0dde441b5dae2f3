import numpy as np

from samples.arrays import values
from samples.table import Samples

SCORES = values((4, 3))
TIED = np.array([[1.0, 1.0, 0.0], [0.0, 2.0, 2.0]])
TARGETS = np.array([2, 0, 1, 1])


def predicted(scores):
    """The class of each row, score by score."""
    return [max(range(len(row)), key=lambda place: (row[place], -place)) for row in scores.tolist()]


def accuracy(scores, targets):
    hits = [guess == target for guess, target in zip(predicted(scores), targets.tolist(), strict=True)]
    return sum(hits) / len(hits)


def confusion(scores, targets):
    counts = np.zeros((scores.shape[-1],) * 2, np.int64)
    for guess, target in zip(predicted(scores), targets.tolist(), strict=True):
        counts[target, guess] += 1
    return counts


def r2(prediction, target):
    """Of a regression on itself: the squared share of the spread that is left is taken from 1, number by number."""
    mean = sum(target.ravel().tolist()) / target.size
    left = sum((t - p) ** 2 for p, t in zip(prediction.ravel().tolist(), target.ravel().tolist(), strict=True))
    return 1 - left / sum((t - mean) ** 2 for t in target.ravel().tolist())


OF_CLASSES = [({}, (SCORES, TARGETS)), ({}, (TIED, np.array([0, 2]))), ({}, (TIED, np.array([1, 1], np.uint8)))]

TABLE = {
    "accuracy": Samples(OF_CLASSES, accuracy),
    "confusion_matrix": Samples(OF_CLASSES, confusion),
    "r2": Samples([({}, (values((4,)), values((4,), 1))), ({}, (values((2, 3)), values((2, 3), 1)))], r2),
}
