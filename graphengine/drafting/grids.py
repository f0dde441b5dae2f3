"""Tables whose columns have an order: the pixels of an image row by row, or the steps of a series."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from graphengine.drafting.columns import ColumnKind
from graphengine.drafting.roles import Task
from graphengine.drafting.table_model import Family
from graphengine.errors import UsageError
from graphengine.wording import counted

if TYPE_CHECKING:
    from graphengine.drafting.roles import Role

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
    _require_numbers(path, task.roles, family)
    roles = [replace(role, is_used=True) if role.is_constant else role for role in task.roles]
    ordered = Task(task.target, roles)
    if family == Family.cnn:
        _require_square(path, len(ordered.numbers))
    return ordered


def _require_numbers(path: str, roles: Iterable[Role], family: Family) -> None:
    for role in roles:
        if role.is_used and role.kind != ColumnKind.number:
            raise _other_kind(path, role, family)


def _other_kind(path: str, role: Role, family: Family) -> UsageError:
    found = f"and '{role.column}' is a {role.kind}"
    message = f"the columns of a model of kind '{family}' are {_ORDERS[family]}, {found}"
    return UsageError(message, hint=f"leave it out with --exclude, or choose {Family.mlp}", file=str(path))


def _require_square(path: str, count: int) -> None:
    below = math.isqrt(count) ** 2
    if below != count:
        message = f"{counted(count, 'column')} of numbers do not form a square image"
        hint = f"leave columns out with --exclude until there are {below}, or choose {Family.mlp}"
        raise UsageError(message, hint=hint, file=str(path))
