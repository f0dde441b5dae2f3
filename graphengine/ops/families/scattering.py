"""Values put into an array at indices, alone or joined with what is there."""

from typing import Literal

import numpy as np

from graphengine.ops.families.reductions import LinearRecurrence
from graphengine.ops.families.selection import ScatterAdd, added, along, kept_whole
from graphengine.ops.families.sorting import ArgSort
from graphengine.ops.node import Node
from graphengine.ops.registry import register

JOINED = {"mul": np.multiply, "max": np.maximum, "min": np.minimum}


@register("scatter")
class ScatterElements(Node):
    """x with `updates` written at indices along one axis, or combined with the values there by `reduction`.

    z = scatter(x, indices, updates); dx = dz * share(x),
    dupdates = take_along_axis(dz, indices, axis) * share(updates).

    `reduction` is none, add, mul, max or min. Indices and updates have the shape of x, except along the axis. With none
    the last of several updates at one place counts and gets the whole gradient; with mul the derivative of a factor is
    the product of the others; with max and min the values that are equal to z share the gradient evenly. Called
    ScatterElements in ONNX, scatter_reduce in PyTorch.
    """

    axis: int = -1
    reduction: Literal["none", "add", "mul", "max", "min"] = "none"

    def infer(self, x, indices, updates):
        return added(x, updates, along(self, x, indices))

    def merge(self, axes, x, indices, updates):
        return kept_whole(self, axes, x, indices, updates)

    def forward(self, x, indices, updates):
        if self.reduction == "add":
            return ScatterAdd(axis=self.axis)(x, indices, updates)
        z = np.array(x, np.result_type(x, updates), order="C")
        if self.reduction == "none":
            np.put_along_axis(z, indices, updates, self.axis)
            return z
        places = [*np.ogrid[tuple(map(slice, indices.shape))]]
        places[self.axis] = indices
        JOINED[self.reduction].at(z, tuple(places), updates)
        return z

    def backward(self, grad, x, indices, updates, out):
        arriving = np.take_along_axis(grad, indices, axis=self.axis)
        if self.reduction == "add":
            return grad, None, arriving
        shares = {"none": self._last, "mul": self._others}.get(self.reduction, self._equal)
        of_x, of_updates = shares(x, indices, updates, out)
        return grad * of_x, None, arriving * of_updates

    def _last(self, x, indices, _updates, _out):
        """1 for what stays: what no update replaces, and the last update at each place."""
        number = counted(indices, self.axis)
        last = ScatterElements(axis=self.axis)(np.zeros_like(x) - 1, indices, number)
        return last < 0, np.equal(np.take_along_axis(last, indices, axis=self.axis), number)

    def _equal(self, x, indices, updates, out):
        """One part for each of the values that are equal to the result."""
        of_x = np.zeros_like(x) + np.equal(x, out)
        of_updates = np.zeros_like(updates) + np.equal(updates, np.take_along_axis(out, indices, axis=self.axis))
        count = ScatterAdd(axis=self.axis)(of_x, indices, of_updates)
        return of_x / count, of_updates / np.take_along_axis(count, indices, axis=self.axis)

    def _others(self, x, indices, updates, _out):
        """The product of the other factors: right where some are 0, too, and so are the derivatives of every order."""
        of_x = ScatterElements(axis=self.axis, reduction="mul")(np.ones_like(x), indices, updates)
        number, size = counted(indices, self.axis), np.size(indices, self.axis)
        places = np.mod(indices, np.size(x, self.axis))
        order = ArgSort(axis=self.axis)(places)
        factors, places = (np.take_along_axis(each, order, axis=self.axis) for each in (updates, places))
        earlier = np.take_along_axis(places, np.maximum(number - 1, 0), axis=self.axis)
        follows = np.logical_and(np.equal(places, earlier), number > 0)
        later = np.take_along_axis(follows, np.minimum(number + 1, size - 1), axis=self.axis)
        leads = np.logical_and(later, number < size - 1)
        before = self._products(factors, follows, reverse=False)
        after = self._products(factors, leads, reverse=True)
        others = np.take_along_axis(before * after, ArgSort(axis=self.axis)(order), axis=self.axis)
        return of_x, np.take_along_axis(x, indices, axis=self.axis) * others

    def _products(self, factors, has_some, *, reverse):
        """The product of the factors of the same place before each of them, from one end."""
        carried, begun = np.where(has_some, factors, 0), np.where(has_some, 0, factors)
        products = LinearRecurrence(axis=self.axis, reverse=reverse)(carried, begun)
        return np.where(has_some, products, 1)


def counted(indices, axis):
    """The number of each index along an axis, from 0."""
    return np.cumsum(np.ones_like(indices), axis=axis) - 1
