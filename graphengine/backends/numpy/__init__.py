"""The NumPy backend: a graph of known shapes becomes a plan of NumPy calls with reused buffers."""
