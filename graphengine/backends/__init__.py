"""Backends run a graph: `reference` interprets it node by node, `numpy` compiles it to a plan."""
