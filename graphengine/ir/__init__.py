"""The graph: immutable, sorted, typed. It knows ops; it knows no file and no document."""
