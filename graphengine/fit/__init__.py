"""Fits by SciPy's solvers: objectives, least squares, statistics of the result."""
