"""Which dtypes an op takes and which it gives, found by asking its own rule with types that are tried until some fit.

Nothing is written down for it: a required attribute gets one of its examples or a small value of its type, arrays have
up to four axes of one size, and inputs have one dtype in common, except for one that may have to hold integers or truth
values.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from pydantic import ValidationError

from graphengine.ir.nodes import infer
from graphengine.ops.node import Node
from graphengine.ops.registry import Op
from graphengine.ops.shapes import ArrayType, Shape, dtype_name

COMMON = ("float64", "float32", "int64", "bool")
"""The dtypes that inputs may have in common."""
FLOATS = COMMON[:2]
OWN = ("int64", "bool")
"""What one of them may be instead: indices or labels, or a condition."""
KEY = ArrayType((2,), np.dtype(np.uint64))
SIZES = (3, 1)
MAX_AXES = 4


class DtypeRule(NamedTuple):
    """Dtypes of the inputs by name, and those of the outputs that follow from them.

    An output whose dtype an attribute names has that attribute, as a function of a file has: `{"attribute": "dtype"}`.
    """

    inputs: dict[str, str]
    outputs: dict[str, str | dict[str, str]]
    attributes: dict[str, Any]
    """What must be set for that: empty for the rule that holds else."""


class InputLayout(NamedTuple):
    """Shapes of inputs, and the dtype that one of them has for itself: its place, None for none, and the dtype."""

    shapes: tuple[Shape, ...]
    place: int | None = None
    dtype: str = ""


def dtype_rules(op: Op) -> list[DtypeRule]:
    """What the op gives for inputs of one dtype, and for those of which one must or may have another.

    Empty where nothing that was tried fits the op: then it is not known.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those that a user's code gives for numbers nobody asked for
        for node, count in itertools.product(_nodes(op.cls), _counts(op)):
            if rules := list(Trials(op, node, count).rules()):
                return [rule for index, rule in enumerate(rules) if rule not in rules[:index]]
    return []


@dataclass(frozen=True)
class Trials:
    """An op with attributes, tried with a number of inputs."""

    op: Op
    node: Node
    count: int

    def rules(self) -> Iterator[DtypeRule]:
        """Those of one layout that fits, for each dtype; then those of labels and conditions."""
        fitting = self._fitting()
        if fitting is None:
            return
        cases = [*itertools.product([fitting], COMMON)]
        if fitting.place is None and self.count > 1:
            labels = itertools.chain.from_iterable(map(self._labels, range(self.count)))
            cases += itertools.product(labels, FLOATS)
        for layout, common in cases:
            yield from self._rules_of(layout, common)

    def _fitting(self) -> InputLayout | None:
        """The first layout that the op takes with a common dtype, preferably one without its own dtype."""
        layouts = list(self._layouts(None, ""))
        for place, own in itertools.product(range(self.count), OWN):
            layouts += self._layouts(place, own)
        return next(filter(None, (self._first(layouts, common) for common in COMMON)), None)

    def _rules_of(self, layout: InputLayout, common: str) -> Iterator[DtypeRule]:
        """The rule of a case, and those of attributes with which the dtype of the result is another."""
        usual = self._rule(layout, common)
        if usual is None:
            return
        yield usual
        others = [self._rule(layout, common, **attributes) for attributes in self._choices()]
        yield from [each for each in filter(None, others) if each.outputs != usual.outputs]

    def _choices(self) -> Iterator[dict[str, Any]]:
        """Each of the other values of an attribute that has few; not of one that names a dtype."""
        for name, field in _properties(self.op.cls).items():
            values = _few_values(field)
            if not _are_dtypes(values):
                yield from ({name: value} for value in values if value != getattr(self.node, name))

    def _labels(self, place: int) -> Iterator[InputLayout]:
        """An input that does not take part in the promotion of dtypes: with integers there, float32 stays float32."""
        fitting = {own: each for own in OWN if (each := self._first(self._layouts(place, own), "float32"))}
        stays = list(filter(self._is_single, fitting.values()))
        if "int64" not in fitting or fitting["int64"] in stays:
            yield from stays

    def _first(self, layouts: Iterable[InputLayout], common: str) -> InputLayout | None:
        """The first layout that the op takes."""
        return next((each for each in layouts if self._results(each, common)), None)

    def _is_single(self, layout: InputLayout) -> bool:
        return {kind.dtype for kind in self._results(layout, "float32")} == {np.dtype(np.float32)}

    def _layouts(self, place: int | None, own: str) -> Iterator[InputLayout]:
        for size, ranks in itertools.product(SIZES, _ranks(self.count)):
            yield InputLayout(tuple((size,) * rank for rank in ranks), place, own)
        for size in SIZES:  # what is cut into parts is as long as all of them
            yield InputLayout(((size * (self.count - 1),), *((size,),) * (self.count - 1)), place, own)

    def _types(self, layout: InputLayout, common: str) -> tuple[ArrayType, ...]:
        own = {layout.place: np.dtype(layout.dtype or common)}
        kinds = [ArrayType(shape, own.get(index, np.dtype(common))) for index, shape in enumerate(layout.shapes)]
        return tuple(KEY if index == self.op.signature.key else kind for index, kind in enumerate(kinds))

    def _results(self, layout: InputLayout, common: str, **attributes: Any) -> tuple[ArrayType, ...]:
        """The types of the results, none if the op refuses such inputs."""
        node = self.node.model_copy(update=attributes) if attributes else self.node
        try:
            return infer(node, self._types(layout, common))
        except ValueError:
            return ()

    def _rule(self, layout: InputLayout, common: str, **attributes: Any) -> DtypeRule | None:
        results = self._results(layout, common, **attributes)
        if not results:
            return None
        types = self._types(layout, common)
        inputs = {self.op.signature.input_name(index): dtype_name(kind.dtype) for index, kind in enumerate(types)}
        outputs: dict[str, Any] = {}
        for index, (name, kind) in enumerate(zip(self.node.outputs, results, strict=True)):
            outputs[name] = self._attribute(layout, common, index) or dtype_name(kind.dtype)
        return DtypeRule(inputs, outputs, attributes)

    def _attribute(self, layout: InputLayout, common: str, index: int) -> dict[str, str] | None:
        """The attribute that an output has its dtype from."""
        followed = (name for name in _naming_dtypes(self.op.cls) if self._follows(layout, common, index, name))
        return next(({"attribute": name} for name in followed), None)

    def _follows(self, layout: InputLayout, common: str, index: int, attribute: str) -> bool:
        """Whether an output has the dtype that an attribute names, whichever it is."""
        results = [self._results(layout, common, **{attribute: dtype}) for dtype in FLOATS]
        return all(results) and tuple(dtype_name(kinds[index].dtype) for kinds in results) == FLOATS


def _properties(cls: type[Node]) -> dict[str, dict[str, Any]]:
    """The JSON Schema of each attribute."""
    found: dict[str, dict[str, Any]] = cls.model_json_schema().get("properties", {})
    return found


def _naming_dtypes(cls: type[Node]) -> list[str]:
    """The attributes that name a dtype."""
    return [name for name, field in _properties(cls).items() if _are_dtypes(field.get("enum", ()))]


def _few_values(field: Mapping[str, Any]) -> Sequence[Any]:
    """All values of an attribute that is a choice; none of another."""
    values: Sequence[Any] = field.get("enum", ())
    return (False, True) if field.get("type") == "boolean" else values


def _are_dtypes(values: Iterable[Any]) -> bool:
    return {*FLOATS} <= {*values}


def _ranks(count: int) -> Iterator[tuple[int, ...]]:
    """Numbers of axes of so many inputs: all alike first, then all but one."""
    axes = (1, 0, *range(2, MAX_AXES + 1))
    yield from ((rank,) * count for rank in axes)
    for (rank, other), place in itertools.product(itertools.permutations(axes, 2), range(count)):
        yield (*(rank,) * place, other, *(rank,) * (count - place - 1))


def _counts(op: Op) -> list[int]:
    """How many inputs to give: all, with one for any number of them; only those that are required; more."""
    most = len(op.signature.inputs)
    more = (most - 1, most + 1, most + 2) if op.signature.variadic else ()
    return list(dict.fromkeys(count for count in (most, op.signature.required, *more) if op.signature.accepts(count)))


def _nodes(cls: type[Node]) -> Iterator[Node]:
    """Instances, with small values for the attributes that are required."""
    schema = cls.model_json_schema()
    required = schema.get("required", [])
    for values in itertools.product(*[list(_values(schema["properties"][name])) for name in required]):
        try:
            yield cls.model_validate(dict(zip(required, values, strict=True)))
        except ValidationError:
            continue


def _values(field: Mapping[str, Any]) -> Iterator[Any]:
    """Values of an attribute by its JSON Schema: its examples, else a few of the smallest of its type."""
    by_key = next((make for key, make in _OF_KEY.items() if key in field), None)
    make = by_key or _OF_TYPE.get(field.get("type", ""))
    return iter(make(field) if make else ())


def _first_value(field: Mapping[str, Any]) -> Any:
    return next(_values(field), None)


def _lists(field: Mapping[str, Any]) -> Iterable[list[Any]]:
    """The shortest list but one, then the shortest."""
    least, item = field.get("minItems", 0), _first_value(field.get("items", {}))
    return [item] * (least + 1), [item] * least


def _two_numbers(field: Mapping[str, Any]) -> Iterable[float]:
    least = field.get("minimum", 0)
    return least, least + 1


_OF_KEY: dict[str, Callable[[Mapping[str, Any]], Iterable[Any]]] = {
    "examples": lambda field: field["examples"],
    "anyOf": lambda field: itertools.chain.from_iterable(map(_values, field["anyOf"])),
    "prefixItems": lambda field: [list(map(_first_value, field["prefixItems"]))],
    "enum": lambda field: field["enum"],
    "const": lambda field: [field["const"]],
}
"""Values by a key of a schema; the first key that it has counts."""
_OF_TYPE: dict[str, Callable[[Mapping[str, Any]], Iterable[Any]]] = {
    "array": _lists,
    "integer": _two_numbers,
    "number": _two_numbers,
    "string": lambda _: [""],
    "boolean": lambda _: [False],
    "object": lambda _: [{}],
    "null": lambda _: [None],
}
