"""The documents of format version 1, as pydantic classes: what a model file may say, and nothing else.

They check the form of each part on its own. What needs the whole (references, arity, cycles, shapes) is checked
where a graph is made of them. Nodes are typed dictionaries and not classes, because a file may have a million of them.
What data sources may say lies in the room that reads them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Annotated, Any, ClassVar, Literal, NotRequired, Self, TypeAlias

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    GetPydanticSchema,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    Tag,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_serializer,
    model_validator,
    with_config,
)
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from graphengine.format.fields import (
    EXACT,
    STRICT,
    WITHOUT_START,
    Bounds,
    Categories,
    Document,
    FilePath,
    Identifier,
    NonNegative,
    Operand,
    Positive,
    PositiveInt,
    Reference,
    Seed,
    Sha256,
    ShapeField,
    Values,
)
from graphengine.format.kinds import SOLVERS, AnyInitializer, AnyReader, AnySchedule
from graphengine.format.narrow import Storage
from graphengine.format.pieces import Pieces
from graphengine.ir.declarations import Expected
from graphengine.ops.shapes import DTypeName, Size

FORMAT = "graphengine.model"
FUNCTION_FORMAT = "graphengine.function"
FORMAT_VERSION = 1


DateUnits: TypeAlias = Literal[
    "days since 1970-01-01", "hours since 1970-01-01", "minutes since 1970-01-01", "seconds since 1970-01-01"
]
"""What dates may be counted in."""


class InputDocument(Document):
    """A value the caller supplies.

    Strings or numbers that are `categories` become the indices 0, 1, ...; `unknown` is the index of all others, which
    are an error without it. An empty cell of an input that is `missing: "nan"` is NaN, otherwise an error. Dates are
    numbers in `units`. Numbers of the type `storage` are given, and widened to the dtype.
    """

    shape: ShapeField
    dtype: DTypeName | None = None
    categories: Categories | None = None
    unknown: Literal["error"] | Annotated[int, Field(ge=0)] = "error"
    missing: Literal["error", "nan"] = "error"
    units: DateUnits | None = None
    storage: Storage | None = None
    description: str | None = None

    @model_validator(mode="after")
    def _unknown_is_an_index(self) -> Self:
        if self.unknown == "error":
            return self
        if self.categories is None:
            raise PydanticCustomError("unknown", "'unknown' needs 'categories'")
        if self.unknown > len(self.categories):
            found = {"most": len(self.categories)}
            raise PydanticCustomError("unknown", "'unknown' must be an index from 0 to {most}, or \"error\"", found)
        return self


class ExternalValue(Document):
    """A value stored in a safetensors file beside the model."""

    file: FilePath
    tensor: str
    sha256: Sha256


def _kind_of_value(value: Any) -> str:
    return "external" if isinstance(value, (dict, ExternalValue)) else "inline"


StoredValue: TypeAlias = Annotated[
    Annotated[ExternalValue, Tag("external")] | Annotated[Values, Tag("inline")], Discriminator(_kind_of_value)
]


class _StartedDocument(Document):
    """What has a value from the start: its recipe (`initializer`), or the `value` itself, which comes first."""

    model_config: ClassVar[ConfigDict] = STRICT | ConfigDict(
        json_schema_extra={"anyOf": [{"required": ["initializer"]}, {"required": ["value"]}]}
    )

    @model_validator(mode="after")
    def _has_a_start(self) -> Self:
        if getattr(self, "initializer", None) is None and getattr(self, "value", None) is None:
            raise PydanticCustomError(WITHOUT_START, "neither initializer nor value")
        return self


class ParameterDocument(_StartedDocument):
    """A value that is learned: its recipe (`initializer`) and, once trained, its state (`value`).

    A file of tensors has its numbers in the type `storage` as long as no bit of one is lost.
    """

    shape: ShapeField
    dtype: DTypeName | None = None
    initializer: AnyInitializer | None = None
    value: StoredValue | None = None
    trainable: bool = True
    learning_rate_multiplier: NonNegative = 1.0
    weight_decay_multiplier: NonNegative = 1.0
    bounds: Bounds | None = None
    scale: Positive | None = None
    storage: Storage | None = None
    description: str | None = None


class StateDocument(_StartedDocument):
    """A value that is not learned but changes: `update` names the value that replaces it after a step."""

    shape: ShapeField
    dtype: DTypeName | None = None
    initializer: AnyInitializer | None = None
    update: Reference | None = None
    value: StoredValue | None = None
    description: str | None = None


@with_config(STRICT)
class NodeDocument(TypedDict):
    """One node: its `id` names its (first) output."""

    id: Identifier
    op: Annotated[str, Field(max_length=200)]
    inputs: NotRequired[
        Annotated[
            Annotated[list[Operand], Field(title="in the op's order")]
            | Annotated[dict[str, Operand], Field(title="by argument name")],
            Field(union_mode="left_to_right"),
        ]
    ]
    attributes: NotRequired[dict[str, Any]]
    description: NotRequired[str]


def references_of(node: NodeDocument) -> Collection[Any]:
    """What a node has as inputs, whether it gives them in order or by name."""
    inputs = node["inputs"]
    return inputs.values() if isinstance(inputs, dict) else inputs


def with_inputs(nodes: list[Any]) -> list[Any]:
    """Give nodes that have no inputs an empty array of them: a file may leave it out."""
    for node in nodes:
        node.setdefault("inputs", [])
    return nodes


def _unless_pieces(nodes: Any, check: ValidatorFunctionWrapHandler) -> Any:
    return nodes if isinstance(nodes, Pieces) else with_inputs(check(nodes))


def _in_order(nodes: Iterable[Any]) -> list[Any]:
    """Nodes with their keys in the format's order."""
    return [{key: node[key] for key in NodeDocument.__annotations__ if key in node} for node in nodes]


Nodes: TypeAlias = Annotated[
    Sequence[NodeDocument],
    GetPydanticSchema(lambda _, schema_of: schema_of(list[NodeDocument])),
    WrapValidator(_unless_pieces),
    PlainSerializer(_in_order),
]
"""Nodes: a list or, of a large file, `Pieces`, each of which was checked when it was read."""


class AttributeDocument(Document):
    """An attribute of a function; without a default, which may be null, a call has to give it."""

    default: Values | None = None
    description: str | None = None

    @property
    def required(self) -> bool:
        """Whether there is no default."""
        return "default" not in self.model_fields_set

    @model_serializer(mode="wrap")
    def _with_null(self, written: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A default of null is written, too."""
        return {**({} if self.required else {"default": self.default}), **written(self)}


class FunctionInputDocument(Document):
    """An argument of a function; a shape, if given, is checked at each call. An optional one may be left out.

    `trailing_shape` declares the last sizes only, after any others. In an update rule an input with an `initializer` is
    a slot: a value the rule keeps for each parameter.
    """

    shape: ShapeField | None = None
    trailing_shape: ShapeField | None = None
    dtype: DTypeName | None = None
    optional: bool = False
    initializer: AnyInitializer | None = None
    description: str | None = None

    @model_validator(mode="after")
    def _has_one_shape(self) -> Self:
        if self.shape is not None and self.trailing_shape is not None:
            raise PydanticCustomError("shape", "an input has a 'shape' or a 'trailing_shape', not both")
        return self

    @property
    def axes(self) -> Sequence[Size] | None:
        """The declared sizes; None if any shape will do."""
        return self.trailing_shape if self.shape is None else self.shape

    @property
    def expected(self) -> Expected:
        """What a graph knows of the declaration."""
        axes = None if self.axes is None else tuple(self.axes)
        return Expected(axes, self.shape is None and self.trailing_shape is not None, self.dtype)


class MadeParameterDocument(ParameterDocument):
    """A parameter that each call of a function makes. A statistic of an input may have the shape of a row of it."""

    shape: ShapeField | None = None  # type: ignore[assignment] # a call always gives it one

    @model_validator(mode="after")
    def _has_a_shape(self) -> Self:
        if self.shape is None and getattr(self.initializer, "type", None) != "from_data":
            raise PydanticCustomError("shape", "a 'shape' may be omitted only where the initializer is 'from_data'")
        return self


class FunctionDocument(Document):
    """A named subgraph, inlined where it is called.

    Each call makes its own `parameters`, whose sizes are attributes or symbols of the inputs' shapes; one that has the
    name of an input is made where a call omits that input. A statistic from data is of an input of the function.
    """

    inputs: dict[Identifier, FunctionInputDocument]
    attributes: dict[Identifier, AttributeDocument] = {}
    parameters: dict[Identifier, MadeParameterDocument] = {}
    nodes: Nodes
    outputs: dict[Identifier, Reference]
    description: str | None = None


class FunctionFile(FunctionDocument):
    """A function in its own file, such as an update rule."""

    model_config: ClassVar[ConfigDict] = STRICT | ConfigDict(serialize_by_alias=True)

    json_schema: Annotated[str | None, Field(alias="$schema")] = None
    format: Literal["graphengine.function"]
    format_version: Literal[1]
    opset_imports: Annotated[dict[str, PositiveInt], Field(min_length=1)]
    name: Annotated[str, Field(min_length=1, max_length=200)]
    metadata: dict[str, Any] | None = None
    functions: dict[Identifier, FunctionDocument] = {}


class OutputDocument(Document):
    """A value whose numbers belong to the categories of an input: indices, or one number for each on the last axis."""

    value: Reference
    categories: Identifier


def _kind_of_output(value: Any) -> str:
    return "object" if isinstance(value, (dict, OutputDocument)) else "value"


Output: TypeAlias = Annotated[
    Annotated[Reference, Tag("value")] | Annotated[OutputDocument, Tag("object")], Discriminator(_kind_of_output)
]


class OptimizerDocument(BaseModel):
    """An update rule by name, its learning rate, and the rule's own attributes, which the rule checks; or a solver."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="allow", strict=True, frozen=True, defer_build=True)

    type: str
    learning_rate: NonNegative | AnySchedule | None = None

    @property
    def is_solver(self) -> bool:
        """Whether a solver is named, and no update rule."""
        return self.type in SOLVERS

    @property
    def attributes(self) -> dict[str, Any]:
        """The keys that belong to the rule."""
        return dict(self.model_extra or {})


class ClippingDocument(Document):
    """Limits a gradient: each element (`value`), each parameter's norm (`norm`) or the norm of all (`global_norm`)."""

    type: Literal["value", "norm", "global_norm"]
    limit: Annotated[float, Field(gt=0), EXACT]


class ValidationDocument(Document):
    """Where the validation data come from (`data`, or a seeded `fraction` of the training data), and how often.

    A fraction keeps the share of each value of the input `stratify`, or the rows of each value of `group` together.
    """

    data: str | None = None
    fraction: Annotated[float, Field(gt=0, lt=1), EXACT] | None = None
    stratify: str | None = None
    group: str | None = None
    every_epochs: PositiveInt | None = None
    every_iterations: PositiveInt | None = None


class EarlyStoppingDocument(Document):
    """Stops when `monitor` has not improved by `min_delta` for `patience` checks."""

    monitor: str = "validation_loss"
    mode: Literal["min", "max"] = "min"
    patience: PositiveInt = 10
    min_delta: NonNegative = 0.0
    restore_best: bool = True


class CheckpointDocument(Document):
    """How often to write a checkpoint, and how many to keep."""

    every_epochs: PositiveInt | None = None
    every_iterations: PositiveInt | None = None
    every_seconds: Annotated[float, Field(gt=0), EXACT] | None = None
    keep: PositiveInt = 1


class TrainingDocument(Document):
    """How the model is trained. One iteration is one update; one epoch uses every sample once."""

    loss: Reference
    data: str | None = None
    optimizer: OptimizerDocument
    batch_size: PositiveInt | None = None
    drop_last: bool = False
    shuffle: bool = False
    seed: Seed = 0
    epochs: PositiveInt | None = None
    max_iterations: PositiveInt | None = None
    max_seconds: Annotated[float, Field(gt=0), EXACT] | None = None
    accumulate: PositiveInt = 1
    shard_rows: PositiveInt | None = None
    gradient_clipping: ClippingDocument | None = None
    validation: ValidationDocument | None = None
    early_stopping: EarlyStoppingDocument | None = None
    checkpoint: CheckpointDocument | None = None
    metrics: dict[Identifier, Reference] = {}

    @property
    def is_in_parts(self) -> bool:
        """Whether an iteration works on its batch in parts, whose gradients are added."""
        return self.accumulate > 1 or self.shard_rows is not None

    @property
    def has_checks(self) -> bool:
        """Whether something is checked on the way: data set apart, a metric, or when to stop early."""
        return bool(self.validation or self.metrics or self.early_stopping)


class ModelDocument(Document):
    """A model file of format version 1."""

    model_config: ClassVar[ConfigDict] = STRICT | ConfigDict(
        serialize_by_alias=True, title="graphengine model, format version 1"
    )

    json_schema: Annotated[str | None, Field(alias="$schema")] = None
    format: Literal["graphengine.model"]
    format_version: Literal[1]
    opset_imports: Annotated[dict[str, PositiveInt], Field(min_length=1)]
    name: Annotated[str, Field(min_length=1, max_length=200)]
    description: str | None = None
    metadata: dict[str, Any] | None = None
    dtype: DTypeName = "float64"
    inputs: dict[Identifier, InputDocument] = {}
    parameters: dict[Identifier, ParameterDocument] = {}
    state: dict[Identifier, StateDocument] = {}
    functions: dict[Identifier, FunctionDocument] = {}
    nodes: Nodes
    outputs: Annotated[dict[Identifier, Output], Field(min_length=1)]
    data: dict[Identifier, AnyReader] = {}
    training: TrainingDocument | None = None

    @property
    def targets(self) -> dict[str, str]:
        """The values that the outputs are."""
        return {name: each if isinstance(each, str) else each.value for name, each in self.outputs.items()}

    @property
    def training_data(self) -> str | None:
        """The data source that the training section names; None without a section, or for the only source."""
        return self.training.data if self.training else None

    @property
    def speaking(self) -> dict[str, str]:
        """The inputs whose categories outputs are given in, by output."""
        return {name: each.categories for name, each in self.outputs.items() if isinstance(each, OutputDocument)}
