"""Fits: objectives with exact derivatives, our own solver and SciPy's, minima, statistics of the result."""
