"""What of a file is sound although its form is wrong somewhere, so that all other errors are reported in the same run.

What is broken is cut out, as little as the format allows; where something must be there, a name that means nothing
takes its place. `Gaps` remember what is not known because of that: nothing that would only follow from it is reported.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeAlias

from graphengine.errors import Problem
from graphengine.format.fields import IDENTIFIER

Place: TypeAlias = tuple[str | int, ...]
Content: TypeAlias = dict[str, Any]

HOLE = "_" * 200
"""Used where a name is needed and the file has none; as long as a name may be."""
VALUES = ("inputs", "parameters", "state", "nodes", "attributes")
"""The sections whose names share one namespace."""
_INSTEAD: dict[Any, Any] = {"format_version": 1, "name": "?"}
"""Values for keys that a file must have and nothing else depends on."""


@dataclass(eq=False)
class Gaps:
    """What a file, or a function `within` it, leaves unknown because it says it wrongly; a sound file has no gaps.

    `names` are, by section, names that are there, while what they mean is not known, and under "ports" nodes of
    which it is not known what outputs they have. Sections that are `open` may have any further name. Nothing is known
    of any call (`calls`) if functions would become too large a graph. A function has the gaps of the file `around` it.
    """

    around: Gaps | None = None
    names: defaultdict[str, set[str]] = field(default_factory=partial(defaultdict, set))
    open: set[str] = field(default_factory=set)
    calls: bool = False
    _file: Gaps | None = None
    """What is around the functions of what is read `alone`."""
    _functions: dict[str, Gaps] = field(default_factory=dict)

    def within(self, name: str) -> Gaps:
        """The gaps of a function of the file."""
        return self._functions.setdefault(name, Gaps(self._file or self))

    def alone(self, name: str) -> Gaps:
        """The gaps of a function of the file, read like a file that has the other functions, too."""
        inner = self.within(name)
        names = defaultdict(set, {**inner.names, "functions": self.names["functions"]})
        may_be_there = inner.open | (self.open & {"functions", "opset_imports"})
        return Gaps(names=names, open=may_be_there, _file=self._file or self, _functions=self._functions)

    def hide(self, name: str, *sections: str) -> bool:
        """Whether a name that the sections do not have may be there all the same."""
        if any(self._hides(name, section) for section in sections):
            return True
        return self.around is not None and "functions" in sections and self.around.hide(name, "functions")

    def _hides(self, name: str, section: str) -> bool:
        return section in self.open or name in self.names.get(section, ())

    def known(self, *sections: str) -> list[str]:
        """The names in the sections of which it is not known what they mean: a hint may list them all the same."""
        return sorted({name for section in sections for name in self.names.get(section, ())} - {HOLE})

    def hide_value(self, name: str) -> bool:
        """Whether a value of that name, which may have a port, may be there although nothing is known of it."""
        node, colon, _ = name.partition(":")
        return (
            self.hide(name, *VALUES)
            or self.hide(node, *VALUES)
            or (colon == ":" and node in self.names.get("ports", ()))
        )

    def hide_calls(self) -> bool:
        """Whether nothing is known of any call of a function."""
        return self.calls or (self.around is not None and self.around.hide_calls())

    def hide_function(self, name: str) -> bool:
        """Whether a function of that name is there whose arguments and results are not known."""
        return name in self.names.get("functions", ()) or (self.around is not None and self.around.hide_function(name))


def salvaged(content: Content, broken: Iterable[Place], surplus: Iterable[Place]) -> Gaps:
    """Cut the values at the `broken` places out of the content of a file, and return what is not known then.

    A place is the path of a key or an element, also of a key that is missing; an empty one is none. The `surplus` keys
    just go. The content is changed. A place that an earlier cut has removed needs no cut of its own.
    """
    from graphengine.format.positions import value_at

    gaps = Gaps()
    for place in filter(None, surplus):
        value_at(content, place[:-1]).pop(place[-1])
    for place in filter(None, broken):
        if _leads(content, place):
            _cut(content, place, gaps)
    return gaps


def _leads(content: Content, place: Place) -> bool:
    """Whether a place is one of the content: an index of an array, or a key of an object, which may lack it."""
    from graphengine.format.positions import has_part

    *way, last = place
    holder: Any = content
    for part in way:
        if not has_part(holder, part):
            return False
        holder = holder[part]
    return isinstance(holder, dict if isinstance(last, str) else list)


def without_hole(problem: Problem) -> Problem:
    """A problem that does not name the id of a node that has none."""
    node = None if problem.node == HOLE else problem.node
    return replace(problem, message=problem.message.replace(f"node '{HOLE}': ", ""), node=node)


def _cut(content: Content, place: Place, gaps: Gaps) -> None:
    """Cut a broken place out of a file or a function."""
    section, *inner = place
    for kind in ("nodes", "functions", "data"):
        gaps.names[kind].add(HOLE)
    cut = _CUTS.get(section)
    if cut is not None:
        cut(content, inner, gaps)
    elif section != "format":  # what kind of file it is, is known by then
        _cut_key(content, section, _INSTEAD)


_EMPTY: Mapping[str, Any] = {"nodes": [], "outputs": {HOLE: HOLE}, "opset_imports": {"core": 1}}
"""What a section becomes that is broken as a whole; any other has no entries then."""


def _cut_in_section(
    section: str, cut: Callable[[Any, list[Any], Gaps], None], content: Content, inner: list[Any], gaps: Gaps
) -> None:
    """Cut a broken place out of the entries of a section, or all of them if it is broken as a whole."""
    entries, empty = content.get(section), copy(_EMPTY.get(section, {}))
    if inner and type(entries) is type(empty):
        cut(entries, inner, gaps)
    else:
        content[section] = empty
        gaps.open.add(section)


def _lose(gaps: Gaps, section: str, name: str) -> None:
    """Nothing is known of a name from now on; of what is not a name it is not known which one was meant."""
    gaps.names[section].add(name)
    if not re.match(IDENTIFIER, name):
        gaps.open.add(section)


def _cut_source(section: str, entries: Content, inner: list[Any], gaps: Gaps) -> None:
    name, *further = inner
    entry: Any = entries.get(name)
    key = further[0] if further and isinstance(entry, dict) else "shape"
    if key in ("shape", "dtype", "default"):
        entries.pop(name, None)
        _lose(gaps, section, name)
        return
    _cut_key(entry, key, {"initializer": {"type": "zeros"}})
    if key == "value":
        entry.setdefault("initializer", {"type": "zeros"})


def _cut_dtype(content: Content, _: list[Any], gaps: Gaps) -> None:
    """Without the dtype of the file nothing is known of what has none of its own."""
    content.pop("dtype", None)
    for section in ("inputs", "parameters", "state"):
        entries: Any = content.get(section)
        for name, entry in list(entries.items()) if isinstance(entries, dict) else ():
            if not isinstance(entry, dict) or "dtype" not in entry:
                _cut_source(section, entries, [name], gaps)


_IN_NODE = {"id": HOLE, "op": HOLE, "inputs": {HOLE: HOLE}, "attributes": {HOLE: HOLE}}
"""Values for keys of a node."""


def _cut_node(nodes: list[Any], inner: list[Any], gaps: Gaps) -> None:
    from graphengine.format.positions import has_part

    if not has_part(nodes, inner[0]):
        return
    index, *further = inner
    if not isinstance(nodes[index], dict):
        nodes[index], further = {}, []
    if further[:1] in ([], ["id"]):
        gaps.open.add("nodes")
    _cut_in_node(nodes[index], further)


def _cut_in_node(node: Content, inner: list[Any]) -> None:
    """Cut a key out of a node, or one of its inputs, or all of it."""
    from graphengine.format.positions import has_part

    inputs: Any = node.get("inputs")
    if inner[:1] == ["inputs"] and inner[1:] and has_part(inputs, inner[1]):
        inputs[inner[1]] = HOLE
        return
    for key in inner[:1] or _IN_NODE:
        _cut_key(node, key, _IN_NODE)


def _cut_key(holder: Content, key: Any, instead: Mapping[Any, Any]) -> None:
    """Replace the value of a key, or remove the key if it need not be there."""
    if key in instead:
        holder[key] = copy(instead[key])
    else:
        holder.pop(key, None)


def _cut_output(outputs: Content, inner: list[Any], gaps: Gaps) -> None:
    outputs.pop(inner[0], None)
    outputs[HOLE] = HOLE
    _lose(gaps, "outputs", inner[0])


def _cut_function(functions: Content, inner: list[Any], gaps: Gaps) -> None:
    """What is broken in a function is cut out of it, and its calls are not judged any more."""
    name, *further = inner
    _lose(gaps, "functions", name)
    if further and isinstance(functions.get(name), dict):
        _cut(functions[name], tuple(further), gaps.within(name))
    else:
        functions.pop(name, None)


_IN_SOURCE = {"path": HOLE, "values": {}, "paths": {}}
"""Values for keys of a data source."""


def _cut_data(sources: Content, inner: list[Any], gaps: Gaps) -> None:
    name, *further = inner
    source = sources.get(name)
    if not isinstance(source, dict) or further[:1] in ([], ["type"]):
        sources.pop(name, None)
        _lose(gaps, "data", name)
    elif further[1:] and isinstance(source.get(further[0]), dict):
        source[further[0]].pop(further[1], None)
    else:
        _cut_key(source, further[0], _IN_SOURCE)


_IN_TRAINING: dict[Place, Any] = {
    ("loss",): HOLE,
    ("batch_size",): 1,
    ("optimizer",): {"type": HOLE},
    ("optimizer", "type"): HOLE,
    ("optimizer", "learning_rate"): 1.0,
    ("gradient_clipping", "type"): "norm",
    ("gradient_clipping", "limit"): 1.0,
    ("validation",): {"fraction": 0.5},
    ("validation", "fraction"): 0.5,
    ("validation", "data"): HOLE,
    ("early_stopping", "monitor"): "loss",
}
"""Values for parts of the training section without which the rest could not be judged."""


def _cut_training(content: Content, inner: list[Any], gaps: Gaps) -> None:
    training = content.get("training")
    if inner and isinstance(training, dict):
        _cut_in_training(training, *inner)
    else:
        content.pop("training", None)


def _cut_in_training(training: Content, key: Any, *further: Any) -> None:
    """Cut a key out of the training section, or a part of what the key has."""
    holder = training.get(key)
    if key == "metrics":
        _cut_metric(training, *further)
    elif not further or not isinstance(holder, dict):
        _cut_key(training, key, _in_training(()))
    elif key != "optimizer" or further[0] in ("type", "learning_rate"):
        _cut_key(holder, further[0], _in_training((key,)))


def _in_training(place: Place) -> dict[Any, Any]:
    """The values for keys of a part of the training section."""
    return {path[-1]: value for path, value in _IN_TRAINING.items() if path[:-1] == place}


def _cut_metric(training: Content, *inner: Any) -> None:
    """A metric keeps its name; if that is broken, it is not known which metrics can be monitored."""
    metrics = training.get("metrics")
    if inner and isinstance(metrics, dict):
        if re.match(IDENTIFIER, inner[0]):
            metrics[inner[0]] = HOLE
            return
        metrics.pop(inner[0], None)
    else:
        training.pop("metrics", None)
    if isinstance(training.get("early_stopping"), dict):
        training["early_stopping"]["monitor"] = "loss"


def _cut_opset(imports: Content, inner: list[Any], _: Gaps) -> None:
    imports[inner[0]] = 1


_IN_SECTIONS: dict[str, Callable[[Any, list[Any], Gaps], None]] = {
    **{section: partial(_cut_source, section) for section in VALUES},
    "opset_imports": _cut_opset,
    "nodes": _cut_node,
    "outputs": _cut_output,
    "functions": _cut_function,
    "data": _cut_data,
}
_CUTS: dict[Any, Callable[[Content, list[Any], Gaps], None]] = {
    **{section: partial(_cut_in_section, section, cut) for section, cut in _IN_SECTIONS.items()},
    "dtype": _cut_dtype,
    "training": _cut_training,
}
