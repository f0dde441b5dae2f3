"""Benchmarks of graphengine beside hand-written code and its peers: `python -m benchmarks [name ...]`."""
