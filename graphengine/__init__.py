"""graphengine: a model is a JSON file that can be read, checked, differentiated and trained, and that never runs code.

import graphengine as ge

model = ge.load("models/linreg.json")
history = model.train()
model.predict(x=[1.5])
"""

from graphengine import errors, nodes
from graphengine.graph import Graph
from graphengine.model import Model, Run, load
from graphengine.node import Node
from graphengine.registry import register
from graphengine.training import History

__version__ = "0.1.0"

__all__ = ["Graph", "History", "Model", "Node", "Run", "errors", "load", "nodes", "register"]
