"""A training of 10,000 parameters of four numbers each: the first step and a later one, beside PyTorch's `foreach`."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.graphs import many_parameters
from benchmarks.harness import (
    Contender,
    Goal,
    Options,
    Row,
    Table,
    Work,
    build,
    compare,
    seconds,
    settled_garbage_collection,
)

OPTIMIZERS = ("sgd", "adam")
RATE = 1e-3
X = np.array([0.5, -1.0, 1.5, -2.0])


def run(options: Options) -> list[Table]:
    """Seconds of a first step, milliseconds of a later one."""
    count = 1_000 if options.quick else 10_000
    return [table for optimizer in OPTIMIZERS for table in both_steps(optimizer, count, options)]


def both_steps(optimizer: str, count: int, options: Options) -> list[Table]:
    """The first step of a model that is loaded, and a later one."""
    what = f"{optimizer} on {count:,} parameters of 4 numbers"
    contenders = [
        Contender("graphengine", lambda _: ours(optimizer, count), "ours"),
        Contender("torch foreach", lambda _: torchs(optimizer, count), "peer", reference=True),
    ]
    later = compare(
        f"{what}, a later step",
        contenders,
        None,
        options,
        per="step",
        unit="ms",
        round_seconds=0.5,
        goals=[Goal("graphengine", 1.0)],
    )
    return [first_step(f"{what}, the first step", contenders, options), later]


def first_step(title: str, contenders: list[Contender], options: Options) -> Table:
    """A table of steps that are each the first of a new model."""
    rows = [Row(each.name, each.kind, [], each.reference) for each in contenders]
    skipped: dict[str, str] = {}
    with settled_garbage_collection():
        for _ in range(2 if options.quick else 4):
            works, skipped = build(contenders, None)
            for row in rows:
                if row.name in works:
                    gc.collect()
                    row.values.append(seconds(works[row.name], 1))
    return Table(title, "s", "step", [row for row in rows if row.values], skipped, [Goal("graphengine", 10.0)])


def start(count: int) -> np.ndarray[Any, Any]:
    """The values that all contenders start from."""
    return np.random.default_rng(0).normal(size=(count, 4))


def ours(optimizer: str, count: int) -> Work:
    """Trains as a user does, iteration by iteration of one training."""
    import graphengine as ge

    model = ge.Model.from_dict(many_parameters(count))
    model.values.update(zip(model.graph.parameters, start(count), strict=True))
    steps: list[Any] = []

    def work(times: int) -> Any:
        if not steps:
            rule = {"type": optimizer, "learning_rate": RATE}
            steps.append(model.trainer({"x": X}, loss="out", optimizer=rule, max_iterations=10**9))
        course = steps[0].chunks()
        done = len(steps[0].history) + times
        while len(steps[0].history) < done:
            next(course)
        return [np.array(list(model.values.values()))]

    return work


def torchs(optimizer: str, count: int) -> Work:
    """The same model with autograd, and PyTorch's optimizer for many tensors."""
    import torch

    kinds: dict[str, Callable[..., Any]] = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}
    parameters = [torch.tensor(value, requires_grad=True) for value in start(count)]
    x, rule = torch.tensor(X), kinds[optimizer](parameters, lr=RATE, foreach=True)

    def work(times: int) -> Any:
        for _ in range(times):
            rule.zero_grad()
            total = parameters[0] * x
            for each in parameters[1:]:
                total = total + each * x
            total.square().mean().backward()
            rule.step()
        return [torch.stack(parameters).detach().numpy()]

    return work
