"""The equations in the docstring of an op, computed with the numbers of a row of samples.

Each is an assertion. Its left side names a result or a gradient that the op gave, its right side is computed from the
inputs and the gradient dz that arrived. One with an index, `z[i] = x[indices[i]]` or `zi = x1 + ... + xi`, holds for
all values of the index; `dz/dx = y` says that dx is dz * y. `meanings.py` has what the names of single ops stand for.
"""

import math
import re

import numpy as np
from samples import TABLE
from samples.shaping import sum_to
from samples.table import by_element

from graphengine.ops.docstring import equations

FUNCTIONS = {name: entry.oracle for name, entry in TABLE.items()} | vars(np) | {"erf": by_element(math.erf)}
"""What formulas may call: NumPy, and the ops that it has not."""


class Names(dict):
    """What names stand for; those that are defined behind "with" are computed when they are asked for."""

    def __init__(self, known, definitions):
        super().__init__(known)
        self.definitions = definitions

    def __missing__(self, name):
        self[name] = evaluate(self.definitions[name], self)
        return self[name]

    def and_also(self, more):
        return Names({**self, **more}, self.definitions)


def reported(docstring):
    """What a docstring asserts, pairs of a left and a right side, and the names that it defines for that."""
    asserted, defined = [], {}
    for part in filter(None, (docstring.formula, docstring.derivatives)):
        equal, _, behind = part.partition(" with ")
        asserted += [tuple(indexed(text).split(" = ", 1)) for text in equations(equal)]
        for name, body in (text.split(" = ", 1) for text in equations(behind) if " = " in text):
            function = re.fullmatch(r"(\w+)\((\w+)\)", name)
            defined |= {function[1]: f"lambda {function[2]}: {body}"} if function else {name: body}
    return asserted, defined


def compared(left, right, names):
    """Pairs of what the op gave and what an equation says, one for each value of its indices."""
    partial, _, target = re.sub(r"\((\w+, \w+)\)", r"\1", left).rpartition("/")
    factor = names[partial] if partial else 1
    inside = re.search(r"\[(.+)\]$", target)
    indices = [each for each in re.findall(r"\w+", inside[1]) if each not in names] if inside else []
    array = names[target.partition("[")[0]] if indices else ()
    shape = (len(array),) if isinstance(array, tuple) else np.shape(array)
    for place in np.ndindex(shape[: len(indices)]):
        inner = names.and_also(dict(zip(indices, place, strict=True)))
        got, expected = evaluate(f"({target},)" if "*" in target else target, inner), evaluate(right, inner)
        if isinstance(got, tuple):
            several = expected if isinstance(expected, tuple | list) else [factor * expected] * len(got)
            yield from zip(got, several, strict=True)
        else:
            yield got, fitted(np.multiply(factor, expected), np.shape(got))


def fitted(value, shape):
    """A value as it stands in a gradient of a shape: broadcast to it, or summed to it where it was broadcast."""
    full = np.broadcast_shapes(np.shape(value), shape)
    return sum_to(np.broadcast_to(value, full), shape=shape)


def evaluate(text, names):
    """The value of a formula; `x.T` swaps the last two axes, as in stacks of matrices."""
    return eval(written_out(text, names).replace(".T", ".mT"), dict(FUNCTIONS), names)


def indexed(text):
    """xi, x1, xn as Python writes elements: x[i], x[0], x[n - 1]; of a matrix x11, xnn; z0, z1, ... as all of them."""
    text = re.sub(r"\b(d?z)0, (?:\1)1, \.\.\.", r"*\1", text)
    places = {"i": "i", "1": "0", "n": "n - 1"}
    pattern = r"\b(d?[xz])(i|1+|n+)\b"
    return re.sub(pattern, lambda found: f"{found[1]}[{', '.join(places[each] for each in found[2])}]", text)


def written_out(text, names):
    """A series, x[0] + ... + x[n - 1], with all its terms; also one from or to x[i]."""
    found = re.search(r"(,| \+| \*| or| and) \.\.\.\1 ", text)
    if not found:
        return text
    first, last = before_open_bracket(text[: found.start()]), after_closing_bracket(text[found.end() :])
    start = names["i"] if "[i]" in first else 0
    stop = names["i"] + 1 if "[i]" in last else names["n"]
    terms = [re.sub(r"\[(?:0|i)(, 0)?\]", element(number), first) for number in range(start, stop)]
    return text.replace(f"{first}{found[0]}{last}", f"{found[1]} ".join(terms))


def element(number):
    """An index in place of another one; both of them on a diagonal."""
    return lambda found: f"[{number}, {number}]" if found[1] else f"[{number}]"


def after_closing_bracket(text):
    """The term that a text begins with: up to a bracket that is not opened in it."""
    depth = 0
    for place, sign in enumerate(text):
        depth += (sign in "([") - (sign in ")]")
        if depth < 0:
            return text[:place]
    return text


def before_open_bracket(text):
    """The term that a text ends with: back to a bracket that is not closed in it."""
    mirrored = text[::-1].translate(str.maketrans("()[]", ")(]["))
    return text[len(text) - len(after_closing_bracket(mirrored)) :]
