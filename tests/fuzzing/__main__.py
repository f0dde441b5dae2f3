"""Runs changed files for some minutes and stops at the first that breaks what must hold, which it writes to a file."""

import argparse
import random
import resource
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the tests' own documents and samples

from fuzzing import mutations, seeds, target

SLOW = 5.0
"""Seconds that one file may take."""
GROWTH_KB = 300_000
"""By how much the process may grow once it is warm."""


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("found.json"))
    arguments = parser.parse_args()
    warnings.simplefilter("error")
    documents, rng = seeds.documents(), random.Random(arguments.seed)
    stages: Counter[str] = Counter()
    end, slowest, warm = time.monotonic() + 60 * arguments.minutes, 0.0, 0
    while time.monotonic() < end:
        data = mutations.mutated(documents, rng)
        began = time.perf_counter()
        try:
            stages[target.run(data)] += 1
        except BaseException:
            arguments.output.write_bytes(data)
            print(f"{sum(stages.values())} files, then one that breaks: {arguments.output}", flush=True)
            raise
        taken = time.perf_counter() - began
        if taken > SLOW:
            arguments.output.write_bytes(data)
            print(f"a file took {taken:.1f} s: {arguments.output}")
            return 1
        slowest = max(slowest, taken)
        size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if sum(stages.values()) == 5000:
            warm = size
        if warm and size > warm + GROWTH_KB:
            print(f"the process grew from {warm} kB to {size} kB")
            return 1
    print(f"{sum(stages.values())} files, none breaks; slowest {slowest:.2f} s, {size} kB; ended at {dict(stages)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
