"""Update rules: how a parameter changes, given its gradient. A rule is a graph file and nothing else.

A rule is a function file with the inputs `parameter`, `gradient`, `learning_rate`, `iteration` and, for what it keeps
between iterations, slots: inputs with an `initializer`. Its outputs are the new `parameter` and the new slots. The
shipped ones lie in the folder `rules` beside this module.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from graphengine.errors import MOST_REPORTED, GraphEngineError, InvalidModelError, Problem, did_you_mean, make_pointer
from graphengine.format.building import sound_graph
from graphengine.format.documents import (
    FUNCTION_FORMAT,
    FunctionDocument,
    FunctionFile,
    FunctionInputDocument,
    InputDocument,
    ModelDocument,
    OptimizerDocument,
)
from graphengine.format.functions import is_number, naming_others, substituted
from graphengine.format.initializers import FromDataInitializer
from graphengine.format.kinds import SOLVERS
from graphengine.format.reading import Source, parse_function, read_bytes, shipped_files
from graphengine.format.salvage import HOLE, Gaps
from graphengine.ir.binding import bind_sizes
from graphengine.ir.declarations import State
from graphengine.ir.graph import Graph
from graphengine.limits import DEFAULT, Limits
from graphengine.mappings import absent
from graphengine.ops.numbers import INEXACT, is_inexact
from graphengine.ops.shapes import ArrayType, dtype_name, size_value
from graphengine.wording import nearest, size_text

ARGUMENTS = ("parameter", "gradient", "learning_rate", "iteration")
SCALARS = ("learning_rate", "iteration")


_MOST_CHECKED = 50_000
"""Nodes that are checked when a file is loaded, those of a rule once for each type of parameters."""


class WrittenRule(NamedTuple):
    """A rule and where it is written: in a file of its own (`source`), or in the model file at `pointer`.

    What the `gaps` of that file hide is not reported.
    """

    function: FunctionFile
    gaps: Gaps
    source: Source | None = None
    pointer: str = ""

    def problems(
        self, attributes: Mapping[str, Any], kinds: Iterable[ArrayType], limits: Limits = DEFAULT
    ) -> list[Problem]:
        """The errors in the rule for parameters of these types, each with its place in the file; not attributes.

        Of a long rule and many types only the first are checked here, and the others when a training begins.
        """
        if _is_shipped(self.function):
            return []
        found = self._first_found(attributes, kinds, limits)
        if not self.source:
            return [replace(each, pointer=self._place(each.pointer or "")) for each in found]
        return list(self.source.locate(found).problems) if found or self.source.problems else []

    def _first_found(self, attributes: Mapping[str, Any], kinds: Iterable[ArrayType], limits: Limits) -> list[Problem]:
        """The errors in the rule for the first types, as many of them as are checked; pointers into the rule."""
        written = sum(len(each.nodes) for each in (self.function, *self.function.functions.values()))
        found: list[Problem] = []
        left = _MOST_CHECKED
        for kind in kinds:
            graph, found = checked_graph(self.function, attributes, kind, self.gaps, limits)
            left -= written + (len(graph.nodes) if graph else 0)
            if found or left < 0:
                break
        return found

    def _place(self, pointer: str) -> str:
        """A pointer into the rule as one into its file; a rule in a model calls the functions of the model."""
        return pointer if pointer.split("/")[1:2] == ["functions"] else self.pointer + pointer


def shipped_rules() -> Mapping[str, FunctionFile]:
    """The rules that come with the package, by name."""
    return shipped_files("graphengine.training", "rules")


def _is_shipped(rule: FunctionFile) -> bool:
    """Whether a rule comes with the package: these are tested for all types, and are not looked at again."""
    return shipped_rules().get(rule.name) is rule


def find_rule(name: str, model: ModelDocument | None = None) -> FunctionFile:
    """The rule of that name: a function of the model, which may call the model's other ones, or a shipped one.

    Raises
    ------
    InvalidModelError
        GE210 if there is none.
    """
    if model and name in model.functions:
        own = dict(model.functions)
        written = own.pop(name)
        parts: dict[str, Any] = {key: getattr(written, key) for key in FunctionDocument.model_fields}
        imports = {"core": 1, **model.opset_imports}
        header: dict[str, Any] = {"format": FUNCTION_FORMAT, "format_version": 1, "opset_imports": imports}
        return FunctionFile(**header, **parts, name=name, functions=own)
    rules = shipped_rules()
    if name not in rules:
        hint = did_you_mean(name, [*rules, *SOLVERS], "update rules and solvers")
        raise InvalidModelError(
            [Problem("GE210", f"update rule '{name}' is not defined", hint, "/training/optimizer/type")]
        )
    return rules[name]


def named_rule(name: str, model: ModelDocument, gaps: Gaps) -> WrittenRule:
    """The rule that an optimizer names, with its place and its part of the model's `gaps`; raises as `find_rule`."""
    if name not in model.functions:
        return WrittenRule(find_rule(name), Gaps())
    return WrittenRule(find_rule(name, model), gaps.alone(name), pointer=make_pointer(("functions", name)))


def given_rule(rule: str | Path | FunctionFile) -> WrittenRule:
    """The rule that a caller hands over: a file, or what was read from one.

    Problems of form are reported with the others, by `WrittenRule.problems`.

    Raises
    ------
    InvalidModelError
        If nothing of the file can be used.
    """
    if isinstance(rule, FunctionFile):
        return WrittenRule(rule, Gaps())
    function, source = parse_function(read_bytes(rule), str(rule), salvage=True)
    return WrittenRule(function, source.gaps, source)


class UpdateRule:
    """A rule with its attributes, ready for parameters of one type; `limits` bound the memory of its graph.

    Raises
    ------
    InvalidModelError
        GE110 for an unknown attribute, GE111 for a missing one, GE112 for one that is not a number; else with all
        problems of the rule itself, with pointers into the rule.
    """

    def __init__(
        self, rule: FunctionFile, attributes: Mapping[str, Any], kind: ArrayType, limits: Limits = DEFAULT
    ) -> None:
        graph, problems = checked_graph(rule, attributes, kind, Gaps(), limits)
        problems = attribute_problems(rule, attributes, Gaps()) or problems
        if problems or graph is None:
            raise InvalidModelError(problems)
        self.kind, self.graph = kind, graph
        self.slots: Mapping[str, State] = {
            name: State(graph.types[name], slot.initializer) for name, slot in slots_of(rule).items()
        }


def slots_of(rule: FunctionFile) -> dict[str, FunctionInputDocument]:
    """The inputs that the rule keeps from one iteration to the next."""
    return {name: document for name, document in rule.inputs.items() if document.initializer is not None}


# ---------------------------------------------------------------- what may be wrong


def optimizer_problems(rule: FunctionFile, optimizer: OptimizerDocument, gaps: Gaps) -> list[Problem]:
    """What an optimizer that names a rule lacks, or says and the rule does not understand; pointers into the model."""
    missing = [Problem("GE111", "key 'learning_rate' is missing", None, "/training/optimizer")]
    return missing * (optimizer.learning_rate is None) + attribute_problems(rule, optimizer.attributes, gaps)


def attribute_problems(rule: FunctionFile, attributes: Mapping[str, Any], gaps: Gaps) -> list[Problem]:
    """The errors in the attributes that an optimizer gives a rule; pointers into the model file."""
    given = (_given_problems(rule, name, value, gaps) for name, value in attributes.items())
    problems = _first(itertools.chain.from_iterable(given))
    return problems if len(problems) > MOST_REPORTED else [*problems, *_missing_attributes(rule, attributes)]


def _first(problems: Iterable[Problem]) -> list[Problem]:
    """As many problems as show that there are too many to report."""
    return list(itertools.islice(problems, MOST_REPORTED + 1))


def _given_problems(rule: FunctionFile, name: str, value: Any, gaps: Gaps) -> Iterator[Problem]:
    """The errors in an attribute that an optimizer gives."""
    pointer = make_pointer(("training", "optimizer", name))
    if name not in rule.attributes:
        if not gaps.hide(name, "attributes"):
            yield Problem("GE110", f"unknown key '{name}'", _meant(rule, name), pointer, at_key=True)
    elif not is_number(value):
        yield Problem("GE112", f"must be a finite number, not {value!r:.60}", None, pointer)
    elif is_inexact(value):
        yield Problem("GE125", f"{INEXACT}, such as {value}", None, pointer)


def _meant(rule: FunctionFile, name: str) -> str:
    """A hint at the attribute or key of an optimizer that was meant."""
    near = nearest(name, [*rule.attributes, *OptimizerDocument.model_fields])
    return did_you_mean(near or name, [near] if near else rule.attributes, f"attributes of '{rule.name}'")


def _missing_attributes(rule: FunctionFile, attributes: Container[str]) -> Iterator[Problem]:
    for name, document in rule.attributes.items():
        if document.required and name not in attributes:
            message = f"update rule '{rule.name}' needs the attribute '{name}'"
            yield Problem("GE111", message, None, "/training/optimizer")


def checked_graph(
    rule: FunctionFile, attributes: Mapping[str, Any], kind: ArrayType, gaps: Gaps, limits: Limits = DEFAULT
) -> tuple[Graph | None, list[Problem]]:
    """The graph of a rule for parameters of one type, and the errors in the rule; pointers into the rule."""
    shapes = _first(_shape_problems(rule, kind, limits.array_bytes))
    problems = [] if _is_shipped(rule) else _declaration_problems(rule, gaps)
    if not gaps.names["inputs"] & {"parameter", "gradient"}:
        problems += shapes
    graph = None
    if rule.outputs and not shapes:
        graph, found = _graph_of(rule, attributes, kind, gaps, limits)
        problems += found
    prefix = f"update rule '{rule.name}': "
    return graph, [replace(problem, message=prefix + problem.message) for problem in problems]


def _declaration_problems(rule: FunctionFile, gaps: Gaps) -> list[Problem]:
    """The errors in what a rule declares, whatever it is given."""
    checks = (_input_problems(rule), _output_problems(rule, gaps), _attribute_problems(rule, gaps))
    return list(itertools.chain(*map(_first, checks)))


def _graph_of(
    rule: FunctionFile, attributes: Mapping[str, Any], kind: ArrayType, gaps: Gaps, limits: Limits
) -> tuple[Graph, list[Problem]]:
    """The graph of a rule whose shapes fit, and the errors in its nodes and the types of its outputs."""
    graph, found = sound_graph(_as_model(rule, attributes, kind), limits, gaps)
    if found:
        found = _of_known_numbers(found, rule, attributes)
    return graph, [*found, *_type_problems(rule, graph, kind)]


def _of_known_numbers(found: list[Problem], rule: FunctionFile, attributes: Mapping[str, Any]) -> list[Problem]:
    """Problems without those of attributes of nodes that name an attribute of the rule which is no number."""
    known = {name for name, each in rule.attributes.items() if is_number(attributes.get(name, each.default))}
    unsure = naming_others(rule.nodes, known)
    return [each for each in found if each.code != "GE213" or each.node not in unsure]


def _input_problems(rule: FunctionFile) -> Iterator[Problem]:
    """Inputs that nothing gives a value."""
    for name in rule.parameters:
        hint = "a rule keeps a value in an input with an initializer"
        yield Problem("GE112", f"it cannot make parameter '{name}'", hint, make_pointer(("parameters", name)))
    for name, document in rule.inputs.items():
        for code, message, remedy in _input_faults(name, document):
            yield Problem(code, message, remedy, make_pointer(("inputs", name)), at_key=code == "GE210")


def _input_faults(name: str, document: FunctionInputDocument) -> Iterator[tuple[str, str, str | None]]:
    """What an input of a rule may not have: codes, messages and hints."""
    if document.trailing_shape is not None:
        yield "GE112", f"input '{name}' of an update rule has no trailing_shape", None
    if document.optional:
        yield "GE112", f"input '{name}' is given at each update and cannot be optional", None
    if name in ARGUMENTS and document.initializer:
        yield "GE112", f"input '{name}' is given to the rule and has no initializer", None
    elif name not in ARGUMENTS:
        yield from _slot_faults(name, document)


def _slot_faults(name: str, document: FunctionInputDocument) -> Iterator[tuple[str, str, str | None]]:
    """The errors in the initializer of what a rule keeps."""
    if isinstance(document.initializer, FromDataInitializer):
        yield "GE304", f"input '{name}': a rule has no rows to compute an initializer from", None
    elif not document.initializer:
        hint = f"{did_you_mean(name, ARGUMENTS, 'inputs')}; a slot has an initializer"
        yield "GE210", f"nothing gives input '{name}' a value", hint


def _output_problems(rule: FunctionFile, gaps: Gaps) -> Iterator[Problem]:
    """Outputs that replace nothing, and what no output replaces."""
    replaced = ["parameter", *absent(slots_of(rule), ARGUMENTS)]
    yield from _missing_outputs(rule, replaced, gaps)
    yield from _unknown_outputs(rule, replaced, gaps)


def _missing_outputs(rule: FunctionFile, replaced: Sequence[str], gaps: Gaps) -> Iterator[Problem]:
    for name in replaced:
        if name not in rule.outputs and not gaps.hide(name, "outputs"):
            yield Problem("GE111", f"output '{name}' is missing: it gives the new value", None, "/outputs")


def _unknown_outputs(rule: FunctionFile, replaced: Sequence[str], gaps: Gaps) -> Iterator[Problem]:
    known = {*replaced, HOLE}
    for name in rule.outputs:
        if name not in known and not gaps.hide(name, "inputs"):
            message = f"output '{name}' is neither the parameter nor a slot"
            hint = did_you_mean(name, replaced, "parameter and slots")
            yield Problem("GE210", message, hint, make_pointer(("outputs", name)), at_key=True)


def _attribute_problems(rule: FunctionFile, gaps: Gaps) -> Iterator[Problem]:
    """Attributes that a node could not name, or whose default is not a number."""
    from graphengine.format.function_nodes import declaration_problems

    yield from declaration_problems(rule, gaps)
    for name, attribute in rule.attributes.items():
        if not attribute.required and not is_number(attribute.default):
            message = f"the default of attribute '{name}' must be a finite number, not {attribute.default!r:.60}"
            yield Problem("GE112", message, None, make_pointer(("attributes", name, "default")))


def _shape_problems(rule: FunctionFile, kind: ArrayType, most: int) -> Iterator[Problem]:
    """Declared shapes that what the rule is given does not have, and shapes of slots that are not known."""
    yield from _argument_problems(rule, kind)
    sizes = _sizes(rule, kind)
    for name, slot in slots_of(rule).items():
        message = _slot_misfit(name, slot.shape or (), sizes, most)
        if message:
            yield Problem("GE302", message, None, make_pointer(("inputs", name, "shape")))


def _argument_problems(rule: FunctionFile, kind: ArrayType) -> Iterator[Problem]:
    """Declared shapes that what the rule is given does not have."""
    for name in ARGUMENTS:
        shape = rule.inputs[name].shape if name in rule.inputs else None
        if shape is not None:
            given = () if name in SCALARS else kind.shape
            yield from _shape_problem(name, ArrayType(tuple(shape), kind.dtype), given)


def _shape_problem(name: str, declared: ArrayType, given: Any) -> Iterator[Problem]:
    try:
        bind_sizes({name: given}, {name: declared})
    except GraphEngineError as error:
        yield Problem("GE302", error.problems[0].message, None, make_pointer(("inputs", name, "shape")))


def _slot_misfit(name: str, shape: Sequence[Any], sizes: Mapping[str, int], most: int) -> str | None:
    numbers = [size_value(size, sizes) for size in shape]
    if None in numbers:
        return f"the size {shape[numbers.index(None)]!r} of slot '{name}' is not one of the parameter"
    if 8 * math.prod(number or 0 for number in numbers) > most:
        return f"slot '{name}' takes more than {size_text(most)}"
    return None


def _type_problems(rule: FunctionFile, graph: Graph, kind: ArrayType) -> Iterator[Problem]:
    """Outputs that cannot replace what they are to replace."""
    types = {**graph.types, "parameter": kind}
    for name, value in graph.outputs.items():
        expected, got = types.get(name), graph.types.get(value)
        if expected and got and (got.shape, got.array_dtype) != (expected.shape, expected.array_dtype):
            what = "the parameter" if name == "parameter" else "its slot"
            pointer = make_pointer(("outputs", name))
            yield Problem("GE302", f"output '{name}' is {got}, {what} is {expected}", None, pointer)


# ---------------------------------------------------------------- from a rule to a graph


def _as_model(rule: FunctionFile, attributes: Mapping[str, Any], kind: ArrayType) -> ModelDocument:
    """The rule as a model whose inputs have the types that the parameter gives them; attributes become literals."""
    sizes = _sizes(rule, kind)
    inputs = {name: _declared(name, document, kind, sizes) for name, document in rule.inputs.items()}
    numbers = {name: _plain(attributes.get(name, each.default)) for name, each in rule.attributes.items()}
    return ModelDocument(
        format="graphengine.model",
        format_version=1,
        opset_imports=rule.opset_imports,
        name=rule.name,
        dtype=dtype_name(kind.dtype),  # type: ignore[arg-type]
        inputs=inputs,
        functions=rule.functions,
        nodes=[substituted(node, numbers) for node in rule.nodes] if numbers else rule.nodes,
        outputs=dict(rule.outputs),
    )


def _sizes(rule: FunctionFile, kind: ArrayType) -> dict[str, int]:
    """The numbers of the symbols in the shapes that a rule declares for parameter and gradient, where they fit."""
    declared = {name: rule.inputs[name].shape for name in ("parameter", "gradient") if name in rule.inputs}
    types = {name: ArrayType(tuple(shape), kind.dtype) for name, shape in declared.items() if shape is not None}
    try:
        return bind_sizes(dict.fromkeys(types, kind.shape), types)  # type: ignore[arg-type]
    except GraphEngineError:
        return {}


def _declared(name: str, document: FunctionInputDocument, kind: ArrayType, sizes: Mapping[str, int]) -> InputDocument:
    """An input of a rule with its type: a slot's own or the parameter's; the two rates are scalars."""
    if name in ARGUMENTS or document.shape is None or document.initializer is None:
        shape = () if name in SCALARS else kind.shape
    else:
        shape = tuple(size_value(size, sizes) for size in document.shape)
    dtype: Any = (None if name in ARGUMENTS else document.dtype) or dtype_name(kind.dtype)
    return InputDocument(shape=list(shape), dtype=dtype)  # type: ignore[arg-type]


def _plain(value: Any) -> int | float:
    """A number as the literal of a graph; for anything else, which is reported elsewhere, any."""
    if not is_number(value):
        return 1.0
    return int(value) if isinstance(value, int) else float(value)
