"""From a file to a model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from graphengine import gc_pause
from graphengine.backends.protocol import DEFAULT_BACKEND
from graphengine.format.reading import read_model, unless_replaced
from graphengine.library import models
from graphengine.limits import DEFAULT, Limits
from graphengine.model.linting import warn
from graphengine.model.model import Model

if TYPE_CHECKING:
    from graphengine.model.training_options import RuleSource


def load(
    path: str | Path, *, update_rule: RuleSource = None, limits: Limits = DEFAULT, backend: str = DEFAULT_BACKEND
) -> Model:
    """Load a model file, or a shipped model by its name, such as "linreg"; an existing file takes precedence.

    `update_rule`, a rule file, replaces the rule that its training section names. `limits` bound what the file may ask
    for. `backend` is the name of the backend that runs its graphs: "numpy" (the default), "numba", "jax", "auto" or
    "reference".

    Raises
    ------
    InvalidModelError
        With all independent problems, each with file, line, column and JSON Pointer.

    Warns
    -----
    ModelWarning
        For each of `Model.warnings`.
    """
    path = models().get(str(path), path) if not os.path.exists(path) else path  # noqa: PTH110 - long names

    def loaded() -> Model:
        document, source = read_model(path, limits, salvage=True)
        return Model(document, source, Path(path), update_rule, limits, backend)

    with gc_pause.paused():
        model = unless_replaced(path, loaded)
    warn(model.warnings, stacklevel=2)
    return model
