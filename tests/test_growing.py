"""The work that a hostile file causes grows no faster than the file, whichever way it is large.

Work is counted in lines of Python that run, each turn of a loop or a comprehension anew, and not in seconds: so the
count is the same on every machine. `python -m benchmarks hostile` has the times, which show loops in C, too.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from documents import PEAK
from growing import DIMENSIONS, sized, text_of

import graphengine as ge

SIZE = 210
"""From 200 names on, suggestions are looked for in another way; a hundred problems are reported."""
PRODUCTS = 4000
"""Calls times what a function has are allowed up to a limit, which is exceeded here."""
MOST = 2.6
"""How often the work may be that of half the size: 2 is linear, 4 is quadratic."""


def checked(path):
    """Load a file and check its inline data; the codes of what is wrong."""
    try:
        model = ge.load(path)
        for name in model.document.data:
            model.check_data(name)
    except ge.errors.GraphEngineError as error:
        found = error
    else:
        return set()
    assert str(found)
    return {problem.code for problem in found.problems}


def lines(work, *arguments):
    """How many lines run in some work."""
    count = 0

    def trace(*_):
        nonlocal count
        count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work(*arguments)
    finally:
        sys.settrace(before)
    return count


def work_at(size, name, folder):
    path = folder / f"{size}.json"
    path.write_text(text_of(DIMENSIONS[name](size)))
    checked(path)  # what is imported or compiled once, is
    return lines(checked, path)


@pytest.mark.parametrize("name", DIMENSIONS)
def test_work_grows_no_faster_than_the_file(name, tmp_path):
    size = PRODUCTS if name.startswith(("calls of", "calls within", "different calls")) else SIZE
    small, large = (work_at(factor * size, name, tmp_path) for factor in (1, 2))
    if large > MOST * small:  # something may begin between the two that is not there in small files
        small, large = large, work_at(4 * size, name, tmp_path)
    assert large <= MOST * small


MEASURED = f"""{PEAK}
import json, os, time
from test_growing import checked

def measured(path):
    before, began = peak(), time.process_time()
    codes = checked(path)
    return sorted(codes), time.process_time() - began, (peak() - before) / 2**20

small, *paths = sys.argv[1:]
for path in Path(small).iterdir():  # what is imported or compiled once, is
    checked(path)
for path in paths:
    if not os.fork():
        print(json.dumps([path, *measured(path)]), flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.fixture(name="costs", scope="module")
def _costs(tmp_path_factory):
    """By name and kilobytes of a file: the codes of what is wrong, seconds of the processor, megabytes."""
    folder, small = tmp_path_factory.mktemp("growing"), tmp_path_factory.mktemp("small")
    paths = {}
    for name, make in DIMENSIONS.items():
        (small / f"{len(paths)}.json").write_text(sized(make, 1))
        for kilobytes in KILOBYTES:
            path = folder / f"{len(paths)}.json"
            path.write_text(sized(make, kilobytes))
            paths[str(path)] = (name, kilobytes)
    command = [sys.executable, "-c", MEASURED, small, *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent)
    return {paths[path]: cost for path, *cost in map(json.loads, done.stdout.splitlines())}


KILOBYTES = (5, 20, 70, 140)


@pytest.mark.parametrize("name", DIMENSIONS)
def test_a_small_file_is_refused_or_accepted_at_little_cost(name, costs):
    for kilobytes in KILOBYTES:
        _, seconds, megabytes = costs[name, kilobytes]
        assert seconds < 5  # a tenth of a second, were the machine not shared; what is quadratic takes ten
        assert megabytes < 50
