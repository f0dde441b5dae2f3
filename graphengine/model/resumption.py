"""Checkpoints of a training: where they are written, and how it resumes from the newest of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from graphengine.errors import TrainingError
from graphengine.training.checkpoint import Checkpoints
from graphengine.training.loop import Trainer


def write_checkpoints(trainer: Trainer, folder: Path, identity: Mapping[str, Any], *, resume: bool) -> None:
    """Let a trainer write checkpoints into a folder, and resume from the newest there if that is wanted.

    `identity` is what two trainings have in common if one resumes the other.

    Raises
    ------
    TrainingError
        GE603 if the folder has checkpoints that are not wanted, those of another training, or those of a longer one.
    """
    section, limits = trainer.training.checkpoint, trainer.graph.limits
    trainer.checkpoints = Checkpoints(folder, identity, trainer.layout, section, limits, trainer.backend.name)
    with trainer.checkpoints.alone():
        if not resume and trainer.checkpoints.exist:
            hint = "resume from there with resume=True (--resume), or name another folder"
            raise TrainingError(f"{folder} has checkpoints already", code="GE603", hint=hint)
        state = trainer.checkpoints.newest()
    if state is not None:
        _resume(trainer, state, folder)


def _resume(trainer: Trainer, state: Mapping[str, Any], folder: Path) -> None:
    done, end = state["iteration"], trainer.total_iterations
    if done > end:
        hint = "resume with larger limits, or name another folder"
        message = f"{folder} has a training that is at iteration {done}; this one ends at iteration {end}"
        raise TrainingError(message, code="GE603", hint=hint)
    trainer.state = state
