"""What lower rooms call and upper rooms provide: a `Graph` can be saved and drawn, and knows no file and no picture.

The package's `__init__`, which lies above all rooms, names the provider of each hook; it is imported at the first call.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any


class Hook:
    """A function of an upper room: calling the hook imports the provider's module and calls the function."""

    def __init__(self) -> None:
        self.provider = ""
        """`module:function`."""

    def __call__(self, *arguments: Any) -> Any:
        """Call the provider."""
        module, _, function = self.provider.partition(":")
        return getattr(import_module(module), function)(*arguments)


save_graph, graph_as_dict, picture_svg, picture_html = Hook(), Hook(), Hook(), Hook()
branch_gradient, loop_gradient = Hook(), Hook()
over_workers, starts_over, trainer_over = Hook(), Hook(), Hook()

shipped_ops: dict[str, str] = {}
"""The module that registers each op of this package, by the names of the op and of its NumPy function (`ops.index`)."""

shipped_kinds: dict[str, tuple[str, str]] = {}
"""The module that registers what this package ships of each open union (`format.kinds`), and their names."""
