"""The op set: one module for each family, every op a node class in plain NumPy."""

from graphengine.nodes import arithmetic, reductions

__all__ = ["arithmetic", "reductions"]
