"""Graphs in ops that have a rule: others are replaced by what they are made of."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from graphengine.format.onnx.emitting import RULES, SINGLE
from graphengine.format.onnx.refusals import OF_A_PLUGIN, OTHER, REASONS
from graphengine.ir.graph import Graph
from graphengine.ir.nodes import GraphNode
from graphengine.ir.recording import Recorder, Template
from graphengine.transform.passes import IDENTITIES, SHAPES, SIGNS, dead_code, expansion, fold_constants
from graphengine.transform.rewriting import Rewriter, Types


def lowered_graph(graph: Graph, *, single: bool = False) -> tuple[Graph, dict[str, str]]:
    """Return the graph with ops that have no rule replaced by what they are made of, and the names of their results.

    With `single` the rules of single precision count, too.
    """
    rules = (*SHAPES, fold_constants, *IDENTITIES, *SIGNS)
    rewriter = Rewriter(dead_code(graph))
    lowered = dead_code(rewriter.run(rules, merge=True, expansion=partial(_expansion, single), primitives=True))
    return lowered, _free_names(rewriter.replaced, lowered)


def _free_names(replaced: Mapping[str, Any], lowered: Graph) -> dict[str, str]:
    """Return for the results that were made of other ops the names of the nodes that they replace."""
    made = {name: str(value) for name, value in replaced.items() if value in lowered.types}
    own = {value: name for name, value in made.items() if value.rpartition("~")[0] == name}
    return {value: name for value, name in own.items() if lowered.outputs.get(name, value) == value}


def _expansion(single: bool, recorder: Recorder, node: GraphNode, types: Types, kinds: Types) -> Template | None:
    return None if has_rule(node, single=single) else expansion(recorder, node, types, kinds)


def has_rule(node: GraphNode, *, single: bool = False) -> bool:
    """Whether there is a rule for the op of a node."""
    return node.node.is_core and (node.op in RULES or (single and node.op in SINGLE))


def why_not(node: GraphNode) -> str:
    """Return why there is no rule for the op of a node."""
    return REASONS.get(node.op, OTHER) if node.node.is_core else OF_A_PLUGIN
