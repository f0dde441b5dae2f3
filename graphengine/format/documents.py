"""The documents of format version 1, as pydantic classes: what a model file may say, and nothing else.

They check the form of each part on its own. What needs the whole (references, arity, cycles, shapes) is checked by
`graphengine.graph`. Nodes are typed dictionaries and not classes, because a file may have a million of them.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, NotRequired, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
    with_config,
)
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from graphengine.shapes import SIZE_PATTERN, DTypeName, canonical_size

FORMAT = "graphengine.model"
FUNCTION_FORMAT = "graphengine.function"
FORMAT_VERSION = 1

STRICT = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)

LARGEST_EXACT = 2**53
"""Up to here every integer is a double."""

NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def exact_number(value: Any) -> Any:
    """A value as it is, unless it is an integer that a floating-point number cannot tell from its neighbours."""
    if type(value) is int and abs(value) > LARGEST_EXACT:
        raise PydanticCustomError("inexact", "an integer beyond 2^53 is not exact as a floating-point number")
    return value


EXACT = BeforeValidator(exact_number)

Identifier: TypeAlias = Annotated[str, Field(pattern=r"^[^\W\d][\w.\-/]*$", max_length=200)]
Reference: TypeAlias = Annotated[str, Field(pattern=r"^[^\W\d][\w.\-/]*(:[^\W\d]\w*)?$", max_length=400)]
Float: TypeAlias = Annotated[float, EXACT]
Operand: TypeAlias = Annotated[
    Reference | Annotated[int, EXACT] | Float,
    Field(union_mode="left_to_right"),
]
Symbolic: TypeAlias = Annotated[str, Field(pattern=SIZE_PATTERN), AfterValidator(canonical_size)]
SizeField: TypeAlias = Annotated[Annotated[int, Field(ge=0)] | Symbolic, Field(union_mode="left_to_right")]
ShapeField: TypeAlias = Annotated[list[SizeField], Field(max_length=32)]
Number: TypeAlias = Annotated[
    Float | Annotated[Literal["NaN", "Infinity", "-Infinity"], AfterValidator(NON_FINITE.__getitem__)],
    Field(union_mode="left_to_right"),
    PlainSerializer(lambda value: encode_number(value)),
]
PositiveInt: TypeAlias = Annotated[int, Field(ge=1)]
Fraction: TypeAlias = Annotated[float, Field(ge=0, le=1), EXACT]
NonNegative: TypeAlias = Annotated[float, Field(ge=0), EXACT]
Seed: TypeAlias = Annotated[int, Field(ge=0, lt=2**63)]
Values: TypeAlias = Annotated[
    Any,
    WithJsonSchema(
        {
            "description": 'A number, "NaN", "Infinity", "-Infinity", true or false, or nested arrays of these',
            "type": ["number", "string", "boolean", "array"],
        }
    ),
]


def encode_number(value: float) -> float | str:
    """A number as JSON can hold it: non-finite ones as strings."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


class Document(BaseModel):
    """Base of all documents: unknown keys are errors, nothing is converted, nothing changes after reading."""

    model_config = STRICT


# ---------------------------------------------------------------- graph


class InputDocument(Document):
    """A value the caller supplies."""

    shape: ShapeField
    dtype: DTypeName | None = None
    description: str | None = None


class ConstantInitializer(Document):
    """Every element is `value`."""

    type: Literal["constant"]
    value: Number


class ZerosInitializer(Document):
    """Every element is 0."""

    type: Literal["zeros"]


class OnesInitializer(Document):
    """Every element is 1."""

    type: Literal["ones"]


class UniformInitializer(Document):
    """Uniform between `low` and `high`."""

    type: Literal["uniform"]
    low: Float = -0.05
    high: Float = 0.05
    seed: Seed = 0


class NormalInitializer(Document):
    """Normal with mean `mean` and standard deviation `std`."""

    type: Literal["normal"]
    mean: Float = 0.0
    std: NonNegative = 0.05
    seed: Seed = 0


class ScaledInitializer(Document):
    """Glorot and Bengio 2010 (variance 2 / (fan_in + fan_out)) or He et al. 2015 (variance 2 / fan_in)."""

    type: Literal["glorot_uniform", "glorot_normal", "he_uniform", "he_normal"]
    seed: Seed = 0


Initializer: TypeAlias = Annotated[
    ConstantInitializer
    | ZerosInitializer
    | OnesInitializer
    | UniformInitializer
    | NormalInitializer
    | ScaledInitializer,
    Field(discriminator="type"),
]


class ExternalValue(Document):
    """A value stored in a safetensors file beside the model."""

    file: str
    tensor: str
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


StoredValue: TypeAlias = Annotated[ExternalValue | Values, Field(union_mode="left_to_right")]


class ParameterDocument(Document):
    """A value that is learned: its recipe (`initializer`) and, once trained, its state (`value`)."""

    shape: ShapeField
    dtype: DTypeName | None = None
    initializer: Initializer
    value: StoredValue | None = None
    trainable: bool = True
    learning_rate_multiplier: NonNegative = 1.0
    weight_decay_multiplier: NonNegative = 1.0
    description: str | None = None


class StateDocument(Document):
    """A value that is not learned but changes: `update` names the value that replaces it after a step."""

    shape: ShapeField
    dtype: DTypeName | None = None
    initializer: Initializer
    update: Reference | None = None
    value: StoredValue | None = None
    description: str | None = None


@with_config(STRICT)
class NodeDocument(TypedDict):
    """One node: its `id` names its (first) output."""

    id: Identifier
    op: Annotated[str, Field(max_length=200)]
    inputs: Annotated[
        Annotated[list[Operand], Field(title="in the op's order")]
        | Annotated[dict[str, Operand], Field(title="by argument name")],
        Field(union_mode="left_to_right"),
    ]
    attributes: NotRequired[dict[str, Any]]
    description: NotRequired[str]


class AttributeDocument(Document):
    """An attribute of a function; without a default a call has to give it."""

    default: Values | None = None
    description: str | None = None


class FunctionInputDocument(Document):
    """An argument of a function; a shape, if given, is checked at each call.

    In an update rule an input with an `initializer` is a slot: a value the rule keeps for each parameter.
    """

    shape: ShapeField | None = None
    dtype: DTypeName | None = None
    initializer: Initializer | None = None
    description: str | None = None


class FunctionDocument(Document):
    """A named subgraph, inlined where it is called."""

    inputs: dict[Identifier, FunctionInputDocument]
    attributes: dict[Identifier, AttributeDocument] = {}
    nodes: list[NodeDocument]
    outputs: dict[Identifier, Reference]
    description: str | None = None


class FunctionFile(FunctionDocument):
    """A function in a file of its own, such as an update rule."""

    model_config = STRICT | ConfigDict(serialize_by_alias=True)

    json_schema: Annotated[str | None, Field(alias="$schema")] = None
    format: Literal["graphengine.function"]
    format_version: Literal[1]
    opset_imports: Annotated[dict[str, PositiveInt], Field(min_length=1)]
    name: Annotated[str, Field(min_length=1, max_length=200)]
    metadata: dict[str, Any] | None = None
    functions: dict[Identifier, FunctionDocument] = {}


# ---------------------------------------------------------------- data


class InlineData(Document):
    """Values written in the file, an array for each input."""

    type: Literal["inline"]
    values: dict[Identifier, Values]


class CsvData(Document):
    """A CSV file with a header; `columns` maps inputs to column names (default: the same names)."""

    type: Literal["csv"]
    path: str
    columns: dict[Identifier, str | list[str]] | None = None


class NpzData(Document):
    """A NumPy .npz archive; `arrays` maps inputs to array names (default: the same names)."""

    type: Literal["npz"]
    path: str
    arrays: dict[Identifier, str] | None = None


class NpyData(Document):
    """NumPy .npy files, one for each input."""

    type: Literal["npy"]
    paths: dict[Identifier, str]


class JsonlData(Document):
    """A file with one JSON object a line; `keys` maps inputs to keys (default: the same names)."""

    type: Literal["jsonl"]
    path: str
    keys: dict[Identifier, str] | None = None


class ColumnarData(Document):
    """A Parquet or Arrow file; `columns` maps inputs to column names (default: the same names)."""

    type: Literal["parquet", "arrow"]
    path: str
    columns: dict[Identifier, str | list[str]] | None = None


DataDocument: TypeAlias = Annotated[
    InlineData | CsvData | NpzData | NpyData | JsonlData | ColumnarData, Field(discriminator="type")
]

# ---------------------------------------------------------------- training


class WarmupDocument(Document):
    """A linear rise from `start_factor` times the rate to the rate over the first `iterations`."""

    iterations: PositiveInt
    start_factor: Fraction = 0.0


class ScheduleDocument(Document):
    """What all schedules share: the rate they start from, and an optional warmup in front."""

    learning_rate: NonNegative
    warmup: WarmupDocument | None = None


class ConstantSchedule(ScheduleDocument):
    """The same rate throughout."""

    type: Literal["constant"]


class StepSchedule(ScheduleDocument):
    """The rate times `factor` after every `every` iterations."""

    type: Literal["step"]
    every: PositiveInt
    factor: NonNegative = 0.1


class ExponentialSchedule(ScheduleDocument):
    """The rate times `factor` after each iteration."""

    type: Literal["exponential"]
    factor: NonNegative


class CosineSchedule(ScheduleDocument):
    """Half a cosine from the rate to `final` over `iterations` (Loshchilov and Hutter 2017, without restarts)."""

    type: Literal["cosine"]
    iterations: PositiveInt
    final: NonNegative = 0.0


class LinearSchedule(ScheduleDocument):
    """A straight line from the rate to `final` over `iterations`."""

    type: Literal["linear"]
    iterations: PositiveInt
    final: NonNegative = 0.0


class InverseTimeSchedule(ScheduleDocument):
    """rate / (1 + decay * iteration)."""

    type: Literal["inverse_time"]
    decay: NonNegative


class OneCycleSchedule(ScheduleDocument):
    """Up to the rate over the fraction `rise` of `iterations`, then down to `final` (Smith 2018)."""

    type: Literal["one_cycle"]
    iterations: PositiveInt
    rise: Fraction = 0.3
    initial: NonNegative = 0.0
    final: NonNegative = 0.0


Schedule: TypeAlias = Annotated[
    ConstantSchedule
    | StepSchedule
    | ExponentialSchedule
    | CosineSchedule
    | LinearSchedule
    | InverseTimeSchedule
    | OneCycleSchedule,
    Field(discriminator="type"),
]


SOLVERS = ("least_squares", "lbfgs", "trust-constr")
"""What an optimizer may be besides an update rule: a solver, which needs no learning rate."""


class OptimizerDocument(BaseModel):
    """An update rule by name, its learning rate, and the rule's own attributes, which the rule checks; or a solver."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    type: str
    learning_rate: NonNegative | Schedule | None = None

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
    """Where the validation data come from (`data`, or a seeded `fraction` of the training data), and how often."""

    data: str | None = None
    fraction: Annotated[float, Field(gt=0, lt=1), EXACT] | None = None
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
    gradient_clipping: ClippingDocument | None = None
    validation: ValidationDocument | None = None
    early_stopping: EarlyStoppingDocument | None = None
    checkpoint: CheckpointDocument | None = None
    metrics: dict[Identifier, Reference] = {}


class ModelDocument(Document):
    """A model file of format version 1."""

    model_config = STRICT | ConfigDict(serialize_by_alias=True, title="graphengine model, format version 1")

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
    nodes: list[NodeDocument]
    outputs: Annotated[dict[Identifier, Reference], Field(min_length=1)]
    data: dict[Identifier, DataDocument] = {}
    training: TrainingDocument | None = None
