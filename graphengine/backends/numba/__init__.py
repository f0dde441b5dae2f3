"""The numba backend: steps on single numbers as compiled loops, all else as the NumPy backend runs it."""
