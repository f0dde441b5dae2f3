"""From a graph to fast code: passes over the graph, then a plan of NumPy calls with buffers of its own."""

from graphengine.compile.passes import dead_code, expand, optimize
from graphengine.compile.plan import Plan

__all__ = ["Plan", "dead_code", "expand", "optimize"]
