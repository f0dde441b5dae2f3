"""Sizes as bounded algebra: products of powers of symbols, and what happens where no array could be as large."""

import itertools
import json
import math
import random

import numpy as np
import pytest
from documents import document, linreg, model

import graphengine as ge
from graphengine.ops.shapes import (
    LARGEST_SIZE,
    LONGEST_SIZE,
    SizeError,
    canonical_size,
    factors,
    product,
    repeated,
    size_value,
    solve_size,
    total,
)


def refused(content):
    with pytest.raises(ge.errors.InvalidModelError) as caught:
        ge.Model.from_dict(content)
    return caught.value.problems


def squarings(count, size="N"):
    """Each step gives a vector whose size is the square of the last one: an outer product, flattened."""
    nodes, last = {}, "x"
    for step in range(count):
        nodes |= {
            f"row{step}": ("expand_dims", [last], {"axis": 0}),
            f"column{step}": ("expand_dims", [last], {"axis": 1}),
            f"outer{step}": ("mul", [f"row{step}", f"column{step}"]),
            f"flat{step}": ("flatten", [f"outer{step}"]),
        }
        last = f"flat{step}"
    return document(nodes, inputs={"x": [size]})


# ---------------------------------------------------------------- the algebra


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("N", "N"),
        ("1*N", "N"),
        ("2*N", "2*N"),
        ("N*N", "N^2"),
        ("N^1", "N"),
        ("N^2*M*N", "M*N^3"),
        ("7*b*a*b*a*b", "7*a^2*b^3"),
        ("N2*N", "N*N2"),
        ("aä*N", "N*aä"),
        ("N^63", "N^63"),
        (f"{LARGEST_SIZE}*N", f"{LARGEST_SIZE}*N"),
    ],
)
def test_a_product_has_one_canonical_form(text, expected):
    assert canonical_size(text) == expected
    assert canonical_size(expected) == expected


@pytest.mark.parametrize(
    "text", ["", "2", "N*2", "2*3*N", "0*N", "N^0", "N^-1", "N^02", "N^", "^2", "N**2", "-2*N", "N+1"]
)
def test_what_is_no_product_is_refused(text):
    with pytest.raises(ValueError, match='such as "N" or a product such as') as caught:
        canonical_size(text)
    assert not isinstance(caught.value, SizeError)


@pytest.mark.parametrize("text", ["٣*N", "1٣*N", "N^٣", "N^2٣"])
def test_digits_of_other_scripts_are_no_numbers_of_a_size(text):
    (found,) = refused(document({"z": ("neg", ["x"])}, inputs={"x": [text]}))
    assert (found.code, found.pointer) == ("GE112", "/inputs/x/shape/0")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("N^64", "at most 63 symbols, not 64"),
        ("N^32*M^32", "at most 63 symbols, not 64"),
        ("*".join(["N"] * 64), "at most 63 symbols, not 64"),
        ("N^" + "9" * 500, "at most 63 symbols"),
        (f"{LARGEST_SIZE + 1}*N", "at most 2^63 - 1 elements, not 9223372036854775808"),
        ("9" * 900 + "*N", "at most 2^63 - 1 elements"),
        ("9" * 20_000 + "*N", "at most 1000 characters"),
        ("N" * 1001, "at most 1000 characters"),
    ],
)
def test_a_size_in_a_file_is_bounded(text, said):
    with pytest.raises(SizeError, match=said.replace("^", r"\^")):
        canonical_size(text)
    (found,) = refused(document({"z": ("neg", ["x"])}, inputs={"x": [3, text]}))
    assert (found.code, found.pointer) == ("GE134" if len(text) <= LONGEST_SIZE else "GE112", "/inputs/x/shape/1")
    assert said in found.message
    assert len(found.message) < 300


def test_the_symbols_of_a_product_may_be_long_but_not_the_product():
    first, second = "a" * 600, "b" * 600
    with pytest.raises(SizeError, match="at most 1000 characters as text, not 1201"):
        product([first, second])


def random_size(rng):
    symbols = [f"{symbol}^{rng.randint(1, 4)}" for symbol in rng.sample("KLMN", rng.randint(0, 3))]
    return canonical_size("*".join([str(rng.randint(1, 9)), *symbols])) if symbols else rng.randint(0, 9)


@pytest.mark.parametrize("seed", range(50))
def test_products_and_sums_of_sizes_are_those_of_their_numbers(seed):
    rng = random.Random(seed)
    sizes = [random_size(rng) for _ in range(rng.randint(1, 4))]
    numbers = {symbol: rng.randint(0, 5) for symbol in "KLMN"}
    assert size_value(product(sizes), numbers) == math.prod(size_value(size, numbers) for size in sizes)
    assert product(rng.sample(sizes, len(sizes))) == product(sizes)
    added = total([sizes[0], product([3, sizes[0]]), 0])
    assert size_value(added, numbers) == 4 * size_value(sizes[0], numbers)


@pytest.mark.parametrize("seed", range(50))
def test_repeated_symbols_and_exponents_are_two_spellings_of_one_size(seed):
    size = random_size(random.Random(seed))
    assert "^" not in str(repeated(size))
    if isinstance(size, str):
        assert canonical_size(repeated(size)) == size
        coefficient, exponents = factors(size)
        assert repeated(size).count("*") == sum(exponents.values()) - (coefficient == 1)


@pytest.mark.parametrize(("value", "exponent"), list(itertools.product([0, 1, 2, 3, 10, 999, 2_097_151], [1, 2, 3])))
def test_a_symbol_is_the_root_of_its_power(value, exponent):
    actual = 5 * value**exponent
    assert solve_size(f"5*N^{exponent}", actual, {}) == ("N", value)
    assert solve_size(f"5*N^{exponent}", actual + 5 if exponent > 1 and value > 1 else actual + 1, {}) is None
    assert solve_size(f"M*N^{exponent}", actual, {"M": 5}) == ("N", value)


def test_roots_of_the_largest_sizes_are_exact():
    for exponent in range(2, 64):
        value = 2
        while (value + 1) ** exponent <= LARGEST_SIZE and value < 10**6:
            value = value * 3 // 2
        value -= value**exponent > LARGEST_SIZE
        while value**exponent > LARGEST_SIZE:
            value -= 1
        assert solve_size(f"N^{exponent}", value**exponent, {}) == ("N", value)
    assert solve_size("N^2", 3_037_000_499**2, {}) == ("N", 3_037_000_499)
    assert solve_size("N^2", 3_037_000_499**2 - 1, {}) is None


@pytest.mark.parametrize("sizes", [[2**62, 2], [2**40, 0, 2**40], ["N^40", 0, "N^24"], ["N^63", "N^63"]])
def test_arithmetic_stops_where_no_array_is_as_large(sizes):
    with pytest.raises(SizeError, match="at most"):
        product(sizes)


def test_arithmetic_does_not_multiply_beyond_the_limit():
    read = []

    def sizes():
        for index in range(10_000):
            read.append(index)
            yield 2**62

    with pytest.raises(SizeError):
        product(sizes())
    assert len(read) == 2


# ---------------------------------------------------------------- in files


def test_a_file_that_repeats_symbols_means_what_exponents_mean():
    files = [
        document({"z": ("sum", ["x"])}, inputs={"x": [text, "N"], "y": [3]})
        for text in ("2*N*M*N", "2*M*N^2", "2*N^2*M")
    ]
    one, two, three = map(ge.Model.from_dict, files)
    assert one.fingerprint == two.fingerprint == three.fingerprint
    assert {str(each.graph.types["x"]) for each in (one, two, three)} == {"float64(2*M*N^2, N)"}


FINGERPRINT = "40be9abe957fd6cbaf2e1423090e962392d1a7c2d30c3bd32a68c52febad8f9f"
"""Of the file below by the last commit without exponents in sizes."""


def test_fingerprints_are_those_from_before_there_were_exponents():
    content = linreg(shape=("N*N", "2*M*N"), functions={"f": {
        "inputs": {"a": {"shape": ["K*K"]}},
        "nodes": [{"id": "b", "op": "neg", "inputs": ["a"]}],
        "outputs": {"out": "b"},
    }})  # fmt: skip
    assert ge.Model.from_dict(content).fingerprint == FINGERPRINT


def test_a_saved_file_has_exponents(tmp_path):
    ge.Model.from_dict(linreg(shape=("N*N",))).save(tmp_path / "m.json")
    written = (tmp_path / "m.json").read_bytes()
    assert json.loads(written)["inputs"]["x"]["shape"] == ["N^2"]
    ge.load(tmp_path / "m.json").save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == written


def test_a_power_alone_gives_its_symbol_a_number():
    squares = model({"z": ("sum", ["x"], {"axis": 0})}, inputs={"x": ["N^2", "M"], "y": ["N"]})
    assert squares.predict(x=np.ones((9, 2)))["out"].tolist() == [9.0, 9.0]
    with pytest.raises(
        ge.errors.InputError, match=r"GE405: input 'x' has size 8 in dimension 0, which 'N\^2' cannot be"
    ):
        squares.predict(x=np.ones((8, 2)))
    with pytest.raises(
        ge.errors.InputError, match=r"input 'x' has size 9 in dimension 0 \(N\^2\), but input 'y' makes N\^2 16"
    ):
        squares.forward(x=np.ones((9, 2)), y=np.ones(4))


def test_a_symbol_on_its_own_comes_before_its_powers():
    rule = model({"z": ("sum", ["x"])}, inputs={"x": ["2*M*N^2"], "y": ["M^2"], "w": ["M"]})
    assert rule.forward(x=np.ones(24), y=np.ones(9), w=np.ones(3))["out"] == 24.0


def test_outer_products_are_powers_and_can_be_taken_apart():
    nodes = {
        "outer": ("einsum", ["x", "x"], {"equation": "i,j->ij"}),
        "flat": ("flatten", ["outer"]),
        "rows": ("size", ["x"]),
        "z": ("sum", ["flat"]),
    }
    found = model(nodes, inputs={"x": ["N"]})
    assert str(found.graph.types["flat"]) == "float64(N^2,)"
    assert found.forward(x=[1.0, 2.0, 3.0])["out"] == 36.0
    assert found.forward(x=[1.0, 2.0, 3.0]).backward("out", wrt=["x"])["x"].tolist() == [12.0] * 3


@pytest.mark.parametrize(("shape", "expected"), [((-1,), "(M*N^3,)"), ((-1, 3), "(?, 3)"), ((-1, 1), "(M*N^3, 1)")])
def test_a_reshape_divides_powers(shape, expected):
    content = document({"z": ("reshape", ["x"], {"shape": list(shape)})}, inputs={"x": ["N^2", "M*N"]})
    assert str(ge.Model.from_dict(content).graph.types["z"]) == f"float64{expected}"


def test_the_square_of_a_size_five_times_is_known_and_the_sixth_is_refused():
    assert str(ge.Model.from_dict(squarings(5)).graph.types["flat4"]) == "float64(N^32,)"
    (found,) = refused(squarings(6))
    assert (found.code, found.node, found.pointer) == ("GE134", "outer5", "/nodes/22")
    assert found.message == "node 'outer5' (mul): a size has at most 63 symbols, not 64: N^64"


@pytest.mark.parametrize(("size", "first"), [(2, "outer5"), (1000, "outer2"), ("2*N", "outer5"), ("M*N", "outer4")])
def test_of_a_chain_of_squares_only_the_first_that_is_too_large_is_reported(size, first):
    found = {problem.node: problem.code for problem in refused(squarings(200, size))}
    assert found.pop(first) == "GE134"
    assert set(found.values()) <= {"GE133"}


@pytest.mark.parametrize("shape", [[2**62, 2], [2**40, 0, 2**40], ["N^40", "N^24"], ["N"] * 31 + ["M^33"]])
def test_a_declared_shape_is_bounded_as_a_whole(shape):
    (found,) = refused(document({"z": ("neg", ["x"])}, inputs={"x": shape}))
    assert (found.code, found.pointer) == ("GE134", "/inputs/x/shape")


@pytest.mark.parametrize(
    ("op", "inputs", "attributes"),
    [
        ("tile", ["x"], {"reps": [2**40, 2**40]}),
        ("reshape", ["x"], {"shape": [2**62] * 10_000}),
        ("reshape", ["x"], {"shape": [-1, *[2**62] * 10_000]}),
        ("broadcast_to", ["x"], {"shape": [2**40, 2**40]}),
        ("pad", ["x"], {"pad_width": [[2**62, 2**62]]}),
        ("one_hot", ["i"], {"depth": 2**62}),
    ],
)  # fmt: skip
def test_an_attribute_cannot_ask_for_more_than_an_array_holds(op, inputs, attributes):
    declared = {"x": [1], "i": {"shape": [8], "dtype": "int64"}}
    (found,) = refused(document({"z": (op, inputs, attributes)}, inputs=declared))
    assert (found.code, found.node) == ("GE134", "z")


def test_a_function_whose_sizes_cannot_be_those_of_its_operand_is_reported_of():
    function = {
        "inputs": {"a": {"shape": ["K"]}, "b": {"shape": ["K^40"]}},
        "nodes": [{"id": "c", "op": "neg", "inputs": ["b"]}],
        "outputs": {"out": "c"},
    }
    content = document({"z": ("f", ["x", "y"])}, inputs={"x": ["N^2"], "y": ["M"]}, functions={"f": function})
    (found,) = refused(content)
    assert (found.code, found.node) == ("GE301", "z")
    assert "input 'b' has size M in dimension 0, which K^40 cannot be" in found.message
