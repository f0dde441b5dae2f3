"""Models as source text: Python with NumPy alone, and C with the mathematical library alone."""
