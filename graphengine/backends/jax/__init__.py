"""The jax backend: a graph as functions that XLA compiles, for CPU, GPU and TPU (the extra `jax`)."""
