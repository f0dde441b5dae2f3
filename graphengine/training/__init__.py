"""Training as the file declares it: data, batches, update rules, the loop, its history."""

from graphengine.training.history import Epoch, History, Iteration
from graphengine.training.loop import Trainer
from graphengine.training.rules import UpdateRule
from graphengine.training.solvers import Solver
from graphengine.training.statistics import Fit

__all__ = ["Epoch", "Fit", "History", "Iteration", "Solver", "Trainer", "UpdateRule"]
