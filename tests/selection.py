"""Which tests `.ci/run` runs a second time, and which it leaves out: the markers `digits`, `slow` and `extra`.

As a program it prints the modules with some markers: `python tests/selection.py digits 'not slow'`.

Nobody marks a test by hand with the first two. A module has `digits` if its text compares floating-point numbers,
unless it is named below with a reason; `test_selection.py` keeps the names true.
"""

import ast
import importlib.util
import re
import sys
from pathlib import Path

TESTS = Path(__file__).parent

COMPARISONS = {"assert_allclose", "allclose", "isclose", "approx", "assert_array_equal", "array_equal", "tobytes"}
MANY_DIGITS = re.compile(r"\d\.\d{6}")
"""A number that somebody computed, and not one that somebody chose."""

SAME_BITS = {"test_same_bits"}
"""Modules that compare bits in ways of their own."""

OTHERWISE = {
    "test_all_but": "compares what is read with what was written",
    "test_arrow_arrays": "compares what is read with what was written",
    "test_backends": "compares backends on one processor; the oldest versions run it on another one",
    "test_compile": "compares a plan with the reference on one processor, likewise",
    "test_numba_rows": "compares two backends on one processor",
    "test_budget": "counts bytes",
    "test_cli": "prints what other modules compute and compare",
    "test_builder": "compares a graph with the same graph, built otherwise",
    "test_copies": "compares a model with its copy",
    "test_checkpoint_files": "compares what is read with what was written",
    "test_csv_arrow": "compares two readings of the same rows",
    "test_csv_dialects": "compares two readings of the same rows",
    "test_data": "compares what is read with what was written",
    "test_data_files": "compares what is read with what was written",
    "test_format": "compares what is read with what was written",
    "test_one_number": "compares what several processes compute with what one does",
    "test_merging": "compares a graph in parts with the whole on one processor, likewise",
    "test_node_contract": "compares products of small integers, and one tangent to six digits",
    "test_number_form": "has the text of numbers that are given, not computed",
    "test_page": "compares places in a drawing",
    "test_pictures": "compares places in a drawing",
    "test_score_folders": "compares what several processes compute with what one does",
    "test_selection": "has comparisons as texts",
    "test_second_way": "compares two ways to a number on one processor",
    "test_streaming": "compares two readings of the same rows",
    "test_strict": "has the text of numbers that are given, not computed",
    "test_tables": "compares what is read with what was written",
    "test_typesetting": "reads formulas aloud",
    "test_versions": "compares what is read with what was written",
    "test_warnings": "has texts of warnings; two numbers are compared to twelve digits",
    "test_weights": "compares what is read with what was written",
    "test_workers": "compares what several processes compute with what one does",
}
"""Modules whose comparisons no processor can change, with the reason."""

SLOW = {
    "test_add_an_op",
    "test_budget",
    "test_c_files",
    "test_checkpoint_files",
    "test_checkpoints",
    "test_code_files",
    "test_docs",
    "test_gallery",
    "test_growing",
    "test_hostile",
    "test_large_arrays",
    "test_layers",
    "test_locks",
    "test_numba_rows",
    "test_one_number",
    "test_onnx_cases",
    "test_packing",
    "test_pictures",
    "test_pieces",
    "test_pruning",
    "test_same_bits",
    "test_scan",
    "test_score_folders",
    "test_second_way",
    "test_splitting",
    "test_streaming",
    "test_trace",
    "test_words",
    "test_workers",
}
"""The modules that take half of the time, and have a fifth of the tests."""


def compares_digits(path):
    """Whether the text of a module compares floating-point numbers, or has such as somebody computed."""
    text = path.read_text(encoding="utf-8")
    may_compare = MANY_DIGITS.search(text) or any(name in text for name in COMPARISONS)  # else it need not be parsed
    return bool(may_compare) and any(map(_is_comparison, ast.walk(ast.parse(text))))


def _is_comparison(node):
    if isinstance(node, ast.Constant):
        text = repr(node.value) if isinstance(node.value, float) else node.value
        return isinstance(text, str) and MANY_DIGITS.search(text) is not None
    return getattr(node, "id", None) in COMPARISONS or getattr(node, "attr", None) in COMPARISONS


def marks(path):
    """The names of the markers of the tests in a module."""
    name = path.stem
    found = {"slow"} if name in SLOW else set()
    if name in SAME_BITS or (name not in OTHERWISE and compares_digits(path)):
        found.add("digits")
    return found


def missing(packages):
    """Those of some packages that are not installed."""
    return [package for package in packages if importlib.util.find_spec(package) is None]


def may_have_extras(path):
    """Whether tests of a module have the marker `extra`, which its text or what it imports names."""
    return re.search(r"mark\.extra|\bWITH_", path.read_text(encoding="utf-8")) is not None


def chosen(wanted):
    """The modules that have each of some markers, or lack it where it is written with `not`."""
    for path in sorted(TESTS.glob("test_*.py")):
        found = {*marks(path), *(["extra"] if may_have_extras(path) else [])}
        if all((name.removeprefix("not ") in found) != name.startswith("not ") for name in wanted):
            yield path.relative_to(TESTS.parent).as_posix()


if __name__ == "__main__":
    sys.stdout.write("\n".join(chosen(sys.argv[1:])))
