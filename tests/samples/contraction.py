import itertools

import numpy as np

from samples.arrays import values
from samples.table import Samples

EQUATIONS = [
    ("ij,jk->ik", (2, 3), (3, 4)),
    ("ij,kj", (2, 3), (4, 3)),
    ("bij,bjk->bik", (4, 2, 3), (4, 3, 2)),
    ("i,i->", (3,), (3,)),
    ("i,j->ji", (2,), (3,)),
    ("ij->j", (2, 3)),
    ("ij->", (2, 3)),
    ("ji", (2, 3)),
    ("ii->i", (3, 3)),
    ("iij,i->j", (3, 3, 2), (3,)),
    ("ii", (3, 3)),
    ("iii->", (2, 2, 2)),
    ("ij,jk,kl->il", (2, 3), (3, 4), (4, 2)),
    ("...i,ij->...j", (4, 2, 3), (3, 2)),
    ("...i, ...i", (2, 1, 3), (4, 3)),
    ("ij,ij->ij", (1, 3), (2, 3)),
    ("ik,j->ij", (2, 3), (4,)),
    (",i->i", (), (3,)),
    ("ij,ij->i", (2, 1), (2, 3)),
    ("ij,jk->ik", (2, 1), (3, 2)),
    ("ij,jk->ik", (2, 3), (1, 2)),
    ("i,i->", (1,), (3,)),
    ("i,i,i->", (1,), (3,), (1,)),
    ("ij,ij->", (1, 3), (2, 1)),
    ("...i,...i", (2, 1), (3,)),
    ("ii,i->i", (1, 1), (3,)),
    ("ii,ij->j", (3, 3), (1, 2)),
    ("ij,jk->ik", (2, 0), (0, 3)),
    ("ij,jk->ik", (0, 3), (3, 2)),
]


def einsum(*arrays, equation):
    """The definition: one loop over all values of all letters, "..." spelled out as capital letters."""
    left, _, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    dots = ["XYZ"[3 - array.ndim + len(term.strip(".")) :] for term, array in zip(terms, arrays, strict=True)]
    labels = [term.replace("...", dot) for term, dot in zip(terms, dots, strict=True)]
    if "->" in equation:
        result = right.replace("...", max(dots, key=len))
    else:
        result = "".join(sorted(label for label in set("".join(labels)) if left.count(label) == 1 or label.isupper()))
    sizes = {}
    for term, array in zip(labels, arrays, strict=True):
        for label, size in zip(term, array.shape, strict=True):
            sizes[label] = size if sizes.get(label, 1) == 1 else sizes[label]
    total = np.zeros([sizes[label] for label in result])
    for place in itertools.product(*map(range, sizes.values())):
        at = dict(zip(sizes, place, strict=True))
        product = 1.0
        for term, array in zip(labels, arrays, strict=True):
            product *= array[tuple(at[label] % size for label, size in zip(term, array.shape, strict=True))]
        total[tuple(at[label] for label in result)] += product
    return total


TABLE = {
    "einsum": Samples(
        [
            ({"equation": equation}, tuple(values(shape, seed) for seed, shape in enumerate(shapes)))
            for equation, *shapes in EQUATIONS
        ],
        einsum,
    ),
}
