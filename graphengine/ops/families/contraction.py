"""Products of any number of arrays, summed over indices, in Einstein's notation.

The gradient of a factor is such a product as well: the gradient of the result times the other factors, with the indices
of the factor left over.
"""

import math
import string
from typing import Annotated

import numpy as np
from pydantic import Field

from graphengine.ops.families.selection import agree
from graphengine.ops.node import Node
from graphengine.ops.registry import register
from graphengine.ops.shapes import ArrayType, broadcast_shapes, shape_text
from graphengine.ops.sums import is_long, is_single


@register("einsum")
class Einsum(Node):
    """Sums of products by the letters of their axes, as `numpy.einsum`.

    z = einsum('r,s->t', x, y); dx = einsum('t,s->r', dz, y), dy = einsum('t,r->s', dz, x).

    r, s, t are letters, "ij,jk->ik" is the matrix product; any number of factors likewise. Letters that the result does
    not have are summed over; "..." means further axes, which broadcast. Without "->" the result has the letters that
    occur once, in alphabetical order. A letter that occurs twice in one factor means the diagonal.
    """

    equation: Annotated[str, Field(examples=["ij,jk->ik"])]

    def infer(self, x, *xs):
        terms, result = labels_of(self.equation, [len(each.shape) for each in (x, *xs)])
        sizes = sizes_of(terms, (x, *xs))
        dtype = np.result_type(*[each.array_dtype for each in (x, *xs)])
        return ArrayType(tuple(sizes[label] for label in result), dtype)

    def merge(self, axes, x, *xs):
        terms, result = labels_of(self.equation, [len(each.shape) for each in (x, *xs)])
        labels = {term[axis] for term, axis in zip(terms, axes, strict=True) if axis is not None}
        apart = all(term.count(label) <= 1 for term in terms for label in labels)
        if len(labels) > 1 or not apart:
            return None
        return "rows" if labels <= set(result) else "sum"

    def forward(self, x, *xs):
        terms, result = labels_of(self.equation, [np.ndim(each) for each in (x, *xs)])
        factors, dtype = (x, *xs), None
        if all(map(is_single, factors)) and is_long(summed_size(terms, result, factors)):
            factors, dtype = [np.asarray(each, np.float64) for each in factors], np.float32
        z = np.einsum(f"{','.join(terms)}->{result}", *factors, optimize=bool(xs))
        return np.asarray(z, dtype, order="C")[()]  # as a product of matrices it may come transposed

    def backward(self, grad, x, xs, needs):
        terms, result = labels_of(self.equation, [np.ndim(each) for each in (x, *xs)])
        factors = [(grad, result), *zip((x, *xs), terms, strict=True)]
        return tuple(toward(place, factors) if need else None for place, need in enumerate(needs, 1))


def summed_size(terms, result, factors):
    """How many products each value of the result is the sum of."""
    sizes = {}
    for term, each in zip(terms, factors, strict=True):
        sizes |= {label: max(size, sizes.get(label, 0)) for label, size in zip(term, each.shape, strict=True)}
    return math.prod(size for label, size in sizes.items() if label not in result)


def toward(place, factors):
    """The gradient of one of the factors, from arrays with their letters: the gradient of the result, then all.

    A letter that is not in the product of the others comes back as a new axis, and so does one whose axis has size 1:
    that axis was broadcast, so the product is summed over its letter. Where only the others have size 1 the gradient is
    the same at every place of the axis.
    """
    x, own = factors[place]
    others = [*factors[:place], *factors[place + 1 :]]
    arrays, labels = zip(*others, strict=True)
    stretched = {label for label, size in zip(own, np.shape(x), strict=True) if is_one(size)}
    kept = "".join(label for label in dict.fromkeys(own) if label not in stretched and not all_of_one(label, others))
    dx = Einsum(equation=f"{','.join(labels)}->{kept}")(*arrays)
    repeated = [axis for axis, label in enumerate(own) if label in own[:axis]]
    new = tuple(sorted({*repeated, *[axis for axis, label in enumerate(own) if label not in kept]}))
    if not new:
        return dx
    dx = np.expand_dims(dx, new) * np.ones_like(x)
    for axis in repeated:
        dx = np.where(counted(x, own.index(own[axis])) == counted(x, axis), dx, 0)
    return dx


def is_one(size):
    """Whether a size is known to be 1; a symbol means any other size."""
    return isinstance(size, int) and size == 1


def all_of_one(label, factors):
    """Whether the axes of a letter have size 1 in all factors, or none of them has it."""
    sizes = [size for x, labels in factors for each, size in zip(labels, np.shape(x), strict=True) if each == label]
    return all(map(is_one, sizes))


def counted(x, axis):
    """The places along an axis, counted from 1, in the shape of x."""
    return np.cumsum(np.ones_like(x), axis=axis)


def labels_of(equation, ranks):
    """The letters of the axes of each input and of the result, those for "..." included.

    Raises
    ------
    ValueError
        If they do not fit inputs of these numbers of dimensions.
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(ranks):
        raise ValueError(f"'{equation}' has letters for {len(terms)} inputs, not for {len(ranks)}")
    if not set(left.replace("...", "") + right.replace("...", "")) <= {",", *string.ascii_letters}:
        raise ValueError(f"'{equation}' may hold letters, commas, '->' and '...' only")
    free = "".join(letter for letter in string.ascii_letters if letter not in equation)
    further = [unnamed_axes(term, rank) for term, rank in zip(terms, ranks, strict=True)]
    labels = [term.replace("...", free[len(free) - count :]) for term, count in zip(terms, further, strict=True)]
    dots = free[len(free) - max(further) :]
    once = "".join(sorted(letter for letter in set(left) - set(",.") if left.count(letter) == 1))
    result = right.replace("...", dots) if arrow else dots + once
    if len(set(result)) < len(result) or not set(result) <= set().union(*labels):
        raise ValueError(f"the result of '{equation}' must have letters of the inputs, each once")
    return labels, result


def unnamed_axes(term, rank):
    """The number of axes that "..." means in the letters of an input."""
    count = rank - len(term.replace("...", ""))
    if count < 0 or (count and "..." not in term):
        raise ValueError(f"'{term}' does not name the {rank} axes of its input")
    return count


def sizes_of(terms, kinds):
    """The size of each letter."""
    sizes = {}
    for term, kind in zip(terms, kinds, strict=True):
        own = {}
        for label, size in zip(term, kind.shape, strict=True):
            if not agree((own.setdefault(label, size),), (size,)):
                raise ValueError(f"a diagonal needs equal sizes: '{label}' in '{term}', shape {shape_text(kind.shape)}")
            try:
                (sizes[label],) = broadcast_shapes([(sizes.get(label, 1),), (size,)])
            except ValueError:
                shapes = " and ".join(shape_text(each.shape) for each in kinds)
                raise ValueError(f"'{label}' has two sizes, {sizes[label]} and {size}, in shapes {shapes}") from None
    return sizes
