"""Training as the file declares it: data, batches, update rules, the loop, its history."""

from graphengine.training.history import Epoch, History, Iteration
from graphengine.training.loop import Trainer
from graphengine.training.rules import UpdateRule

__all__ = ["Epoch", "History", "Iteration", "Trainer", "UpdateRule"]
