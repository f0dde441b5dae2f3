"""`resume-check`: the proof, on the user's own model, that an interrupted training resumes to the same bits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from graphengine.cli.failures import WORK_FAILED
from graphengine.cli.opening import on_device, open_changed
from graphengine.cli.options import (
    BackendName,
    Device,
    ModelName,
    OutputFormat,
    Plugins,
    Settings,
    Strict,
    UpdateRuleFile,
)
from graphengine.cli.output import Format, print_lines, print_result
from graphengine.errors import UsageError

if TYPE_CHECKING:
    from graphengine.training.loop import Trainer

SHOWN = 8


def resume_check(
    model: ModelName,
    settings: Settings = None,
    iterations: Annotated[
        int | None, typer.Option(min=2, help="Number of iterations. Default: a few more than one epoch.")
    ] = None,
    at: Annotated[
        list[int] | None, typer.Option(metavar="K", min=1, help="Interrupt after iteration K. May be repeated.")
    ] = None,
    update_rule: UpdateRuleFile = None,
    output_format: OutputFormat = Format.text,
    plugins: Plugins = None,
    strict: Strict = False,
    backend: BackendName = "numpy",
    device: Device = None,
) -> None:
    """Interrupt the training of MODEL after some iterations, resume from the checkpoint, and compare all bits.

    Parameters, state, slots of the update rule and history are compared with those of an uninterrupted training.
    """
    import tempfile

    from graphengine.training.resuming import check_resume

    with tempfile.TemporaryDirectory() as folder:
        folders = [Path(folder) / "0"]

        def make(*, resume: bool, **overrides: Any) -> Trainer:
            if not resume:
                folders.append(Path(folder) / str(len(folders)))
            opened, given = open_changed(
                model, plugins, settings, update_rule, backend=on_device(backend, device), strict=strict
            )
            keys = {"checkpoints": folders[-1], "resume": resume, **overrides}
            return cast("Trainer", opened.trainer(given or None, **keys))  # a solver, which saves nothing, is refused

        found = list(check_resume(make, iterations, at or ()))
    _report(model, {each.iteration: each.different for each in found}, output_format)


def _report(model: str, found: dict[int, list[str]], output_format: Format) -> None:
    failed = {place: names for place, names in found.items() if names}
    content = {
        "model": model,
        "interrupted_after": list(found),
        "different": dict(zip(map(str, failed), failed.values(), strict=True)),
    }
    print_result(output_format, content, lambda: print_lines(_lines(model, found, failed)))
    if failed:
        raise typer.Exit(WORK_FAILED)


def _lines(model: str, found: Iterable[int], failed: Mapping[int, list[str]]) -> Iterator[str]:
    places = [*map(str, found)]
    after = f"iteration{'s' * (len(places) > 1)} {', '.join(places)}"
    yield f"{model}: interrupted after {after}: {'not ' * bool(failed)}the same to the last bit"
    for place, names in failed.items():
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        yield f"  after {place}: {', '.join(names[:SHOWN])}{more}"


def checkpoint_folder(folder: Path | None, *, resume: bool) -> dict[str, Any]:
    """The keywords of a training for `--checkpoint` and `--resume`.

    Raises
    ------
    UsageError
        GE801 for `--resume` without a folder.
    """
    if folder is None:
        if resume:
            raise UsageError("--resume needs --checkpoint FOLDER, which has the checkpoints")
        return {}
    return {"checkpoints": folder, "resume": resume}
