"""A model on the command line: opened by its path or name, with settings, plugins and a backend, and saved."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphengine import gc_pause
from graphengine.backends.protocol import DEFAULT_BACKEND
from graphengine.cli.failures import Unwritten, heed
from graphengine.cli.options import LIMITS
from graphengine.cli.output import writable
from graphengine.errors import InputError, UsageError, did_you_mean
from graphengine.library import shipped_file

if TYPE_CHECKING:
    from graphengine.model.model import Model


def model_file(name: str | Path) -> Path:
    """Return the file that a path or the name of a shipped model means; an existing file comes first.

    Raises
    ------
    UsageError
        GE101 if there is neither.
    """
    exists = os.path.exists(name)  # noqa: PTH110 - of names that are too long `Path` makes an error
    return Path(name) if exists else shipped_file(str(name))


def open_model(
    name: str,
    plugins: Iterable[str] | None = None,
    update_rule: Path | None = None,
    backend: str = DEFAULT_BACKEND,
    *,
    strict: bool,
) -> Model:
    """Load a model as it is; a file with an update rule replaces the one that its training names.

    Its warnings are printed, or are errors if it is `strict`.
    """
    with gc_pause.paused(many=0):
        from graphengine.model.model import load

        _load_plugins(plugins)
        model = load(model_file(name), update_rule=update_rule, limits=LIMITS.get(), backend=backend)
    heed(model.warnings, strict=strict)
    return model


def open_changed(
    name: str,
    plugins: Iterable[str] | None,
    settings: list[str] | None,
    update_rule: Path | None = None,
    backend: str = DEFAULT_BACKEND,
    *,
    strict: bool,
) -> tuple[Model, dict[str, Any]]:
    """Load a model whose document is changed by `--set`, and the values of inputs that were set; as `open_model`."""
    if not settings:
        return open_model(name, plugins, update_rule, backend, strict=strict), {}
    from graphengine.cli.values import apply_settings
    from graphengine.format.reading import read_bytes, unless_replaced
    from graphengine.format.strict import parse_json
    from graphengine.model.model import Model

    _load_plugins(plugins)
    path = model_file(name)
    limits = LIMITS.get()

    def loaded() -> tuple[Model, dict[str, Any]]:
        content = parse_json(read_bytes(path, limits), str(path), limits)
        content, inputs = apply_settings(content, settings)
        return Model.from_dict(content, path, update_rule=update_rule, limits=limits, backend=backend), inputs

    model, inputs = unless_replaced(path, loaded)
    heed(model.warnings, strict=strict)
    return model, inputs


def open_without_inputs(
    name: str,
    plugins: list[str] | None,
    settings: list[str] | None,
    update_rule: Path | None = None,
    *,
    strict: bool,
) -> Model:
    """Open a model for a command that runs nothing, so that no setting gives an input a value."""
    model, given = open_changed(name, plugins, settings, update_rule, strict=strict)
    if given:
        raise UsageError(f"nothing is run here, so input '{next(iter(given))}' takes no value")
    return model


def on_device(backend: str, device: str | None) -> str:
    """Return the name of a backend for a device."""
    return f"{backend}:{device}" if device else backend


def _load_plugins(plugins: Iterable[str] | None) -> None:
    if plugins:
        from graphengine.plugins import load_plugins

        load_plugins(plugins)


def decoded(model: Model, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of inputs from a command line as arrays; "NaN" and "Infinity" are understood as in a file.

    Raises
    ------
    InputError
        GE404 for what is not an array of numbers or no category, GE402 for an unknown input.
    """
    from graphengine.ir.cells import as_encoded, decode

    check_inputs(model, values)
    arrays = {}
    for name, value in values.items():
        try:
            arrays[name] = decode(value, model.graph.inputs[name])
        except ValueError as error:
            raise InputError(f"input '{name}': {error}", code="GE404") from None
    return as_encoded(arrays, model.graph.inputs)


def check_inputs(model: Model, names: Iterable[str]) -> None:
    """Refuse names that are not inputs of the model.

    Raises
    ------
    InputError
        GE402 with the nearest name.
    """
    for name in names:
        if name not in model.graph.inputs:
            hint = did_you_mean(name, model.graph.inputs, "inputs")
            raise InputError(f"model '{model.graph.name}' has no input '{name}'", code="GE402", hint=hint)


def check_save(model: Model, path: Path | None) -> None:
    """Find out before a long training that the tensors beside its result could not be written."""
    if path is None:
        return
    from graphengine.format.tensors import are_external, tensors_name

    if are_external(model.values.values()):
        writable(path.with_name(tensors_name(path.stem, "0" * 64)))


def save_model(model: Model, path: Path | None, unwritten: Unwritten) -> dict[str, str]:
    """Save a model if a file is named for it, and give what a result says of that."""
    with unwritten.kept():
        if path is not None:
            model.save(path)
            return {"saved": str(path)}
    return {}
