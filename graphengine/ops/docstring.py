"""What the docstring of a node class says, in its parts: words, formula, derivatives, remarks.

The words come first. Formula and derivatives are one sentence, parted by a semicolon. It ends the first paragraph,
or it is the second one where both do not fit on a line; what follows are remarks:

    Product, z = x * y; dz/dx = y, dz/dy = x.

Formulas are Python as far as that says it shortly: the tests compute them, and a trace shows them with numbers put in.
The inputs have their own names, the result is z (or has the name of the output).
"""

import re
from functools import cache
from typing import NamedTuple


class Docstring(NamedTuple):
    """The parts of a docstring, each on one line and without a period at the end of a formula; "" for none."""

    words: str
    formula: str
    """The result, `z = x * y`; also of one place in it, `z[i] = x[indices[i]]`."""
    derivatives: str
    """Partial derivatives, `dz/dx = y`, or gradients, `dx = dz @ y.T`, where dz is the gradient of z."""
    remarks: str

    @property
    def summary(self) -> str:
        """Words, formula and derivatives as one sentence."""
        return f"{', '.join(filter(None, [self.words.rstrip('.'), '; '.join(filter(None, self[1:3]))]))}."


def equations(text: str) -> list[str]:
    """Formula or derivatives as a list: `dz/dx = y`, `dz/dy = x`; "with" introduces the definitions they use."""
    return re.split(r", (?=\w[\w/]*(?:\[[^]]*\]|\(\w+\))? = )| (?=with )", text)


@cache
def read_docstring(text: str, outputs: tuple[str, ...] = ()) -> Docstring:
    """Take the docstring of a class with these outputs apart."""
    first, *rest = [" ".join(part.split()) for part in re.split(r"\n\s*\n", text.strip())]
    result = "|".join(["z[a-z0-9]?", *outputs])
    sentence = rf"((?:{result})(?:\[[^]]*\])?(?:, \S+)* = .+)"
    if found := re.search(rf"(?:^|[,.:] ){sentence}", first):
        words = first[: found.start()]
    elif found := re.match(sentence, rest[0]) if rest else None:
        words = first
        del rest[0]
    else:
        return Docstring(first, "", "", " ".join(rest))
    formula, _, derivatives = found[1].removesuffix(".").partition("; ")
    return Docstring(words, formula, derivatives, " ".join(rest))
