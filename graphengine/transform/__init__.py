"""Transformations from graph to graph: gradient, training step, mode, optimization passes."""
