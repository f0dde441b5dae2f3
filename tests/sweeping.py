"""Sweeps over the rows of samples: a test for each op, which calls what it decorates once for each row of the op.

A test of its own for each row would spend more time in the test runner than in the row.
"""

import functools
import inspect

import pytest


def for_each_row(rows):
    """Decorate a test whose first arguments are those of a row: op, attributes, arrays. A failure names its row."""
    by_op = {}
    for row in rows:
        by_op.setdefault(row.values[0], []).append(row)

    def decorate(test):
        op, _, _, *others = inspect.signature(test).parameters.values()

        @functools.wraps(test)
        def sweep(**given):
            for row in by_op[given.pop(op.name)]:
                try:
                    test(*row.values, **given)
                except Exception as error:
                    error.add_note(f"in the row {row.id}")
                    raise

        sweep.__signature__ = inspect.Signature([op, *others])
        return pytest.mark.parametrize(op.name, list(by_op))(sweep)

    return decorate
