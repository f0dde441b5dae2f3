"""Tables whose columns have an order: the pixels of an image row by row, or the steps of a series."""

from __future__ import annotations

import math
from dataclasses import replace

from graphengine.drafting.roles import ColumnKind, Task
from graphengine.drafting.table_model import Family
from graphengine.errors import UsageError
from graphengine.wording import counted

_ORDERS = {Family.cnn: "the pixels of a square image, row by row", Family.lstm: "the steps of a series"}
"""What the columns are to the kinds of models that heed their order."""


def in_order(path: str, task: Task, family: Family) -> Task:
    """Return the task with all columns of numbers, constant ones included, where a model heeds their order.

    Raises
    ------
    UsageError
        GE801 if columns of another kind are used, or an image would not be square.
    """
    if family not in _ORDERS:
        return task
    order = _ORDERS[family]
    if other := next((role for role in task.roles if role.is_used and role.kind != ColumnKind.number), None):
        found = f"and '{other.column}' is a {other.kind}"
        message = f"the columns of a model of kind '{family}' are {order}, {found}"
        raise UsageError(message, hint=f"leave it out with --exclude, or choose {Family.mlp}", file=str(path))
    roles = [replace(role, is_used=True) if role.is_constant else role for role in task.roles]
    count = len(Task(task.target, roles).numbers)
    if family == Family.cnn and math.isqrt(count) ** 2 != count:
        below = math.isqrt(count) ** 2
        message = f"{counted(count, 'column')} of numbers are no square image"
        hint = f"leave columns out with --exclude until there are {below}, or choose {Family.mlp}"
        raise UsageError(message, hint=hint, file=str(path))
    return Task(task.target, roles)
