"""The malformed files, each with what is expected of it; as a program it reports how long they take to check.

The files are made when the tests run, which takes half a second.
"""

import functools
import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from corpus import generated, handmade, several
from corpus.marking import Expected, taken_out


@functools.cache
def corpus() -> dict[str, tuple[bytes, list[Expected]]]:
    """The content of each file, and what is wrong with it, by the name of the file."""
    made = {}
    for name, text in [*handmade.cases(), *generated.cases(), *several.cases()]:
        plain, expected = taken_out(text)
        made[f"{name}.json"] = (plain.encode(), expected)
    for name, data, place in handmade.NOT_UTF8:
        made[f"not_utf8-{name}.json"] = (data, [Expected(*place)])
    return made


def measure() -> None:
    """Check each file and report the slowest, and by how much the process grew."""
    import graphengine as ge
    from graphengine.format.reading import parse_model

    seconds, start = {}, 0
    for name, (data, _) in corpus().items():
        start = start or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.perf_counter()
        try:
            ge.Model(*parse_model(data, name, salvage=True))
        except ge.errors.GraphEngineError:
            seconds[name] = time.perf_counter() - began
    slowest = max(seconds, key=seconds.__getitem__)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) / 1024
    print(
        f"{len(seconds)} files; slowest: {slowest}, {seconds[slowest]:.3f} s; the process grew by {grown:.0f} MB in all"
    )


if __name__ == "__main__":
    measure()
