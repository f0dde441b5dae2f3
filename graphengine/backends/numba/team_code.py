"""What the loops of several threads do in machine code: offer a call, take part in one, wait for each other.

The caller stores the arguments of its call where helpers find them, and all claim parts of the rows until none is left.
Nobody holds Python's lock meanwhile, nor a reference to an array: the caller returns when no helper is inside its call.
"""

from __future__ import annotations

import operator
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils, types
from numba.extending import intrinsic

from graphengine.backends.numba.team_words import (
    CALL,
    CLAIMS,
    ENTRY,
    FIRST,
    FRAME,
    GET_MODES,
    INSIDE,
    LAST,
    MODES,
    NUMBER,
    SET_MODES,
    YIELD,
)

WORD, ORDER, BYTES = ir.IntType(64), "seq_cst", 8
ENTRY_TYPE = ir.FunctionType(ir.VoidType(), [WORD, WORD])
YIELD_TYPE = ir.FunctionType(ir.IntType(32), [])
MODES_TYPE = ir.FunctionType(ir.IntType(32), [WORD.as_pointer()])


class _Words:
    """Writes what is done with the words of a team."""

    def __init__(self, context: Any, builder: Any, kind: Any, team: Any) -> None:
        self._builder, self._data = builder, context.make_array(kind)(context, builder, team).data

    def place(self, word: int) -> Any:
        """A pointer to a word."""
        return self._builder.gep(self._data, [WORD(word)])

    def load(self, word: int) -> Any:
        return self._builder.load_atomic(self.place(word), ORDER, BYTES)

    def store(self, word: int, value: Any) -> None:
        self._builder.store_atomic(value, self.place(word), ORDER, BYTES)

    def add(self, word: int, number: int) -> Any:
        """Add a number to a word; its value before."""
        return self._builder.atomic_rmw(operator.add.__name__, self.place(word), WORD(number), ORDER)

    def call(self, word: int, kind: Any, arguments: Any) -> None:
        """Call the function whose address a word is."""
        self._builder.call(self._builder.inttoptr(self.load(word), kind.as_pointer()), arguments)


@intrinsic
def claimed(_context: Any, member: Any, team: Any, count: Any) -> Any:
    """Return a part that no other thread gets, `count` if none is left.

    The caller takes the first ones and helpers the last ones: far apart, and in each call what their caches have.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        member, team, count = arguments
        words, part = _Words(context, builder, signature.args[1], team), _memory(builder)
        builder.store(count, part)
        is_left = builder.icmp_signed("<", words.add(CLAIMS, 1), count)
        is_caller = builder.icmp_signed("==", member, WORD(0))
        with builder.if_then(is_left), builder.if_else(is_caller) as (caller, helper):
            with caller:
                builder.store(words.add(FIRST, 1), part)
            with helper:
                builder.store(builder.sub(builder.sub(count, WORD(1)), words.add(LAST, 1)), part)
        return builder.load(part)

    return types.int64(member, team, count), generate


def _memory(builder: Any) -> Any:
    return cgutils.alloca_once(builder, WORD)  # type: ignore[no-untyped-call]


@intrinsic
def offer_call(_context: Any, member: Any, team: Any) -> Any:
    """Offer the call of the function that this is part of, whose first parameter is `member`, if that is 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        function, words = builder.function, _Words(context, builder, signature.args[1], arguments[1])
        frame = cgutils.alloca_once(builder, _frame_type(function))  # type: ignore[no-untyped-call]
        with builder.if_then(builder.icmp_signed("==", arguments[0], WORD(0))):
            for place, argument in enumerate(function.args):
                builder.store(argument, _argument(builder, frame, place))
            number = builder.add(words.load(NUMBER), WORD(1))
            words.store(NUMBER, number)
            for word in (CLAIMS, FIRST, LAST):
                words.store(word, WORD(0))
            words.store(FRAME, builder.ptrtoint(frame, WORD))
            words.store(ENTRY, builder.ptrtoint(_entry(function), WORD))
            words.call(GET_MODES, MODES_TYPE, [words.place(MODES)])
            words.store(CALL, number)
        return context.get_dummy_value()

    return types.void(member, team), generate


def _frame_type(function: Any) -> Any:
    return ir.LiteralStructType([each.type for each in function.args])


def _argument(builder: Any, frame: Any, place: int) -> Any:
    return cgutils.gep_inbounds(builder, frame, 0, place)  # type: ignore[no-untyped-call]


def _entry(function: Any) -> Any:
    """A function of the place of arguments and of a member: the same call for this member, whose result nobody needs.

    A function of numba takes pointers to result and error, then its parameters.
    """
    entry = ir.Function(function.module, ENTRY_TYPE, function.module.get_unique_name("entry"))
    entry.linkage = "internal"
    builder = ir.IRBuilder(entry.append_basic_block())
    frame = builder.inttoptr(entry.args[0], _frame_type(function).as_pointer())
    given = [builder.load(_argument(builder, frame, place)) for place in range(3, len(function.args))]
    own = [builder.alloca(each.type.pointee) for each in function.args[:2]]
    builder.call(function, [*own, entry.args[1], *given], attrs=("noinline",))
    builder.ret_void()
    return entry


@intrinsic
def withdraw_call(_context: Any, member: Any, team: Any) -> Any:
    """Offer the call of member 0 no longer, and wait until no helper is inside it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        words = _Words(context, builder, signature.args[1], arguments[1])
        with builder.if_then(builder.icmp_signed("==", arguments[0], WORD(0))):
            words.store(CALL, WORD(0))
            look, wait, done = map(builder.append_basic_block, ("look", "wait", "done"))
            builder.branch(look)
            builder.position_at_end(look)
            builder.cbranch(builder.icmp_signed("==", words.load(INSIDE), WORD(0)), done, wait)
            builder.position_at_end(wait)
            words.call(YIELD, YIELD_TYPE, [])
            builder.branch(look)
            builder.position_at_end(done)
        return context.get_dummy_value()

    return types.void(member, team), generate


@intrinsic
def offered_call(_context: Any, team: Any) -> Any:
    """Return the number of the call that is offered, 0 if there is none."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _Words(context, builder, *signature.args, *arguments).load(CALL)

    return types.int64(team), generate


@intrinsic
def help_with(_context: Any, member: Any, team: Any, call: Any) -> Any:
    """Take part in a call if it is still offered to a helper that is inside, for whom the caller waits.

    A helper computes as its caller does. Otherwise bits would depend on who computes what: a library compiled with
    -ffast-math, or `torch.set_flush_denormal`, flushes subnormal numbers to zero in the thread that loads or calls it.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        words = _Words(context, builder, signature.args[1], arguments[1])
        words.add(INSIDE, 1)
        with builder.if_then(builder.icmp_signed("==", words.load(CALL), arguments[2])):
            words.call(SET_MODES, MODES_TYPE, [words.place(MODES)])
            words.call(ENTRY, ENTRY_TYPE, [words.load(FRAME), arguments[0]])
        words.add(INSIDE, -1)
        return context.get_dummy_value()

    return types.void(member, team, call), generate


@intrinsic
def yield_processor(_context: Any, team: Any) -> Any:
    """Let another thread run, if there is one that waits for a processor."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _Words(context, builder, *signature.args, *arguments).call(YIELD, YIELD_TYPE, [])
        return context.get_dummy_value()

    return types.void(team), generate
