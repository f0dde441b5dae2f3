"""`explain-gradient`: whether and how the gradient of the loss reaches each parameter, and what is in the way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from itertools import chain
from typing import TYPE_CHECKING, Annotated

import typer

from graphengine.cli.opening import open_model
from graphengine.cli.options import ModelName, Of, OutputFormat, Plugins, Strict
from graphengine.cli.output import Format, print_lines, print_result

if TYPE_CHECKING:
    from graphengine.traces.flow import Flow

MAX_STOPS = 12
"""A longer path is shown without its middle."""


def explain_gradient(
    file: ModelName,
    of: Of = None,
    wrt: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A parameter to explain. Default: all. May be repeated.")
    ] = None,
    output_format: OutputFormat = Format.text,
    plugins: Plugins = None,
    strict: Strict = False,
) -> None:
    """Show whether the gradient of the loss of MODEL reaches its parameters: along which paths, or what blocks it."""
    from graphengine.traces.flow import explain_gradient as explained

    model = open_model(file, plugins, strict=strict)
    flows = explained(model.graph, of or model.default_loss(), wrt or None)
    content = {"model": model.graph.name, "gradients": list(map(asdict, flows))}
    print_result(output_format, content, lambda: print_lines(chain.from_iterable(map(_lines, flows))))


def _lines(flow: Flow) -> Iterator[str]:
    yield flow.text
    for path in flow.paths:
        stops = path if len(path) <= MAX_STOPS else (*path[:6], f"... {len(path) - 11} more ...", *path[-5:])
        yield f"  {' -> '.join(stops)}"
    if flow.count > len(flow.paths):
        yield f"  ... and {flow.count - len(flow.paths)} more"
    for block in flow.blocks:
        yield f"  blocked at node '{block.node}' ({block.op}), after '{block.operand}': {block.reason}"
