"""Rules of random ops: the generator Philox4x64 as functions of an ONNX model, with the bits that NumPy's has.

Runtimes multiply no unsigned integers, so 64 bits are held in int64, whose products wrap alike; only shifts to the
right go through uint64. Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, 2011.
"""

from __future__ import annotations

import numpy as np

from graphengine.format.onnx.emitting import Applied, Emitter, exports
from graphengine.ops.families.random import stream_number

ROUNDS = 10
MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
STEPS = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
"""What is added to the two words of a key after each round."""


def signed(number: int) -> int:
    """Return 64 bits as the signed integer that they are in two's complement."""
    return number - 2**64 if number >= 2**63 else number


UPPER = """upper (x) => (y) {
    bits = Constant<value = uint64 {32}>()
    unsigned = Cast<to = 13>(x)
    shifted = BitShift<direction = "RIGHT">(unsigned, bits)
    y = Cast<to = 7>(shifted)
}"""
"""The upper 32 of 64 bits."""
PRODUCT = """product (a, b) => (high, low) {
    mask = Constant<value_int = 4294967295>()
    low = Mul(a, b)
    a0 = BitwiseAnd(a, mask)
    b0 = BitwiseAnd(b, mask)
    a1 = graphengine.upper(a)
    b1 = graphengine.upper(b)
    low_low = Mul(a0, b0)
    low_high = Mul(a0, b1)
    high_low = Mul(a1, b0)
    high_high = Mul(a1, b1)
    carried = graphengine.upper(low_low)
    middle1 = BitwiseAnd(low_high, mask)
    middle2 = BitwiseAnd(high_low, mask)
    middle3 = Add(middle1, middle2)
    middle = Add(middle3, carried)
    top1 = graphengine.upper(low_high)
    top2 = graphengine.upper(high_low)
    top3 = graphengine.upper(middle)
    top4 = Add(top1, top2)
    top5 = Add(top3, top4)
    high = Add(high_high, top5)
}"""
"""The product of two numbers of 64 bits, in two words."""
ROUND = f"""philox_round (c0, c1, c2, c3, k0, k1) => (d0, d1, d2, d3, n0, n1) {{
    m0 = Constant<value_int = {signed(MULTIPLIERS[0])}>()
    m1 = Constant<value_int = {signed(MULTIPLIERS[1])}>()
    w0 = Constant<value_int = {signed(STEPS[0])}>()
    w1 = Constant<value_int = {signed(STEPS[1])}>()
    high0, d3 = graphengine.product(m0, c0)
    high1, d1 = graphengine.product(m1, c2)
    mixed0 = BitwiseXor(high1, c1)
    d0 = BitwiseXor(mixed0, k0)
    mixed2 = BitwiseXor(high0, c3)
    d2 = BitwiseXor(mixed2, k1)
    n0 = Add(k0, w0)
    n1 = Add(k1, w1)
}}"""
FUNCTIONS = {"upper": UPPER, "product": PRODUCT, "philox_round": ROUND}


def words(emit: Emitter, applied: Applied, count: str) -> str:
    """Return as many random words of 64 bits, as a vector of int64."""
    for name, text in FUNCTIONS.items():
        emit.define(name, text)
    one, four = emit.constant(1, np.int64), emit.constant(4, np.int64)
    blocks = emit("Div", emit("Add", count, emit.constant(3, np.int64)), four)
    counter = emit("Range", one, emit("Add", blocks, one), one)  # NumPy's begins with the block number 1
    nothing = emit("Mul", counter, emit.constant(0, np.int64))
    key = emit.read(applied, applied.node.node.signature.key or 0, np.int64)
    state = [counter, nothing, nothing, nothing, *[emit("Gather", key, emit.vector([place])) for place in (0, 1)]]
    for _ in range(ROUNDS):
        state = emit.call("philox_round", 6, *state)
    columns = [emit("Unsqueeze", each, emit.vector([1])) for each in state[:4]]
    return emit("Reshape", emit("Concat", *columns, axis=1), emit.vector([-1]))


def halves(emit: Emitter, whole: str) -> str:
    """Return words of 32 bits, the lower ones of each word of 64 first."""
    lower = emit("BitwiseAnd", whole, emit.constant(2**32 - 1, np.int64))
    (upper,) = emit.call("upper", 1, whole)
    columns = [emit("Unsqueeze", each, emit.vector([1])) for each in (lower, upper)]
    return emit("Reshape", emit("Concat", *columns, axis=1), emit.vector([-1]))


def drawn_words(emit: Emitter, applied: Applied, count: str, bits: int) -> str:
    """Return `count` words of 64 or 32 bits."""
    if bits == 64:
        found = words(emit, applied, count)
    else:
        two = emit.constant(2, np.int64)
        pairs = emit("Div", emit("Add", count, emit.constant(1, np.int64)), two)
        found = halves(emit, words(emit, applied, pairs))
    return emit("Slice", found, emit.vector([0]), emit("Reshape", count, emit.vector([1])), emit.vector([0]))


def asked(emit: Emitter, applied: Applied) -> tuple[str, str]:
    """Return the shape that is requested and the number of values in it."""
    shape = emit.vector(applied.target) if applied.target is not None else emit.read(applied, 1, np.int64)
    return shape, emit("ReduceProd", shape, keepdims=0)


def fractions(emit: Emitter, applied: Applied, count: str) -> str:
    """Return random numbers in [0, 1)."""
    dtype = np.dtype(applied.dtype)
    bits, used = (64, 53) if dtype == np.float64 else (32, 24)
    found = emit.cast(drawn_words(emit, applied, count, bits), np.int64, np.uint64)
    shifted = emit("BitShift", found, emit.constant(bits - used, np.uint64), direction="RIGHT")
    whole = emit.cast(emit.cast(shifted, np.uint64, np.int64), np.int64, dtype)
    return emit("Mul", whole, emit.constant(2.0**-used, dtype))


@exports("random_key")
def random_key(emit: Emitter, applied: Applied) -> str:
    """Write the two words of a key: a constant, and the iteration."""
    first = emit.constant([stream_number(applied.seed or 0, applied.stream)], np.uint64)
    if applied.types[0] is None:
        return emit("Concat", first, emit.constant([0], np.uint64), axis=0)
    iteration = emit.cast(emit.read(applied, 0, np.int64), np.int64, np.uint64)
    return emit("Concat", first, emit("Reshape", iteration, emit.vector([1])), axis=0)


@exports("uniform")
def uniform(emit: Emitter, applied: Applied) -> str:
    """Write low + (high - low) * u."""
    shape, count = asked(emit, applied)
    own, dtype = np.dtype(applied.dtype), emit.result_dtype(applied)
    found = emit("Mul", fractions(emit, applied, count), emit.constant(applied.high - applied.low, own))
    found = emit("Add", found, emit.constant(applied.low, own))
    return emit.cast(emit("Reshape", found, shape, allowzero=1), own, dtype)


@exports("normal")
def normal(emit: Emitter, applied: Applied) -> str:
    """Write the method of Box and Muller; 1 - u is exact."""
    shape, count = asked(emit, applied)
    own, dtype = np.dtype(applied.dtype), emit.result_dtype(applied)
    two = emit.constant(2, np.int64)
    half = emit("Div", emit("Add", count, emit.constant(1, np.int64)), two)
    pairs = emit("Reshape", fractions(emit, applied, emit("Mul", half, two)), emit.vector([2, -1]))
    first, second = (emit("Gather", pairs, emit.constant(place, np.int64), axis=0) for place in (0, 1))
    logarithm = emit("Log", emit("Sub", emit.constant(1, own), first))
    radius = emit("Sqrt", emit("Mul", emit.constant(-2, own), logarithm))
    angle = emit("Mul", emit.constant(2 * np.pi, own), second)
    parts = [emit("Mul", radius, emit(name, angle)) for name in ("Cos", "Sin")]
    ends = [emit.vector([0]), emit("Reshape", count, emit.vector([1])), emit.vector([0])]
    found = emit("Slice", emit("Concat", *parts, axis=0), *ends)
    found = emit("Add", emit("Mul", found, emit.constant(applied.std, own)), emit.constant(applied.mean, own))
    return emit.cast(emit("Reshape", found, shape, allowzero=1), own, dtype)


@exports("bernoulli")
def bernoulli(emit: Emitter, applied: Applied) -> str:
    """Write u < p for words of 32 bits."""
    shape, count = asked(emit, applied)
    bound = emit.constant(round(applied.p * 2**32), np.int64)
    found = emit("Less", drawn_words(emit, applied, count, 32), bound)
    return emit.cast(emit("Reshape", found, shape, allowzero=1), bool, emit.result_dtype(applied))
