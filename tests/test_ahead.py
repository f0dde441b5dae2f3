"""Work ahead in a thread: the same items, errors where they belong, and an end that leaves nothing running."""

import threading

import pytest

from graphengine.scale.ahead import ahead


def test_items_come_in_order_and_the_next_one_is_computed_meanwhile():
    begun = threading.Event()

    def items():
        yield 1
        begun.set()
        yield 2

    found = ahead(items())
    assert next(found) == 1
    assert begun.wait(60)  # although nobody has asked for it
    assert list(found) == [2]


def test_an_error_is_raised_after_the_items_before_it():
    def items():
        yield 1
        raise ValueError("broken")

    found = ahead(items())
    assert next(found) == 1
    with pytest.raises(ValueError, match="broken"):
        next(found)


def test_closing_closes_the_iterator_and_ends_the_thread():
    closed = []

    def items():
        try:
            yield from range(100)
        finally:
            closed.append(True)

    before, found = set(threading.enumerate()), ahead(items())
    next(found)
    found.close()
    assert closed == [True]
    assert set(threading.enumerate()) == before
