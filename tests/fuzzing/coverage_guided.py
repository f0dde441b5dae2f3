"""A target for atheris, a fuzzer that is guided by coverage; see `tests/fuzzing/__init__.py`."""

import sys
from pathlib import Path

import atheris

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

with atheris.instrument_imports(include=["graphengine"]):
    from fuzzing import target


def one_input(data: bytes) -> None:
    """Run one file."""
    target.run(data)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
