"""Every error this package raises on purpose, and the one form in which an error is reported.

A `Problem` is one finding: a stable code, a sentence, and the place. An exception carries one or more of
them, because all independent problems of a file are reported in one run.

    GraphEngineError
    ├── InvalidModelError      a file or a graph is wrong
    ├── RegistrationError      a node class breaks the node contract (also a TypeError)
    ├── InputError             values handed to a model do not fit it (also a ValueError)
    ├── ExecutionError         a node failed while it ran
    ├── DifferentiationError   a gradient was asked for that does not exist
    ├── GradientError          a gradient is not the slope of what it is the gradient of
    ├── DataError              a data source is missing or wrong
    ├── TrainingError          a training cannot start
    │   ├── DivergenceError    a training left the finite numbers
    │   └── WorkersError       the workers of a training, or their scheduler, are gone
    └── UsageError             a command line or a call asks for something that is not there

What is valid and probably not meant is a `ModelWarning`, of the category UserWarning.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from graphengine.wording import nearest, shortened

CODES = {
    "GE101": "a file cannot be read or written",
    "GE102": "a file is not JSON",
    "GE103": "a file is larger than the limit",
    "GE104": "a file is not a graphengine model of a known format version",
    "GE105": "an opset is unknown or not imported",
    "GE110": "an unknown key",
    "GE111": "a missing key",
    "GE112": "a value of the wrong type or out of range",
    "GE120": "a file begins with a byte order mark",
    "GE121": "a file is not UTF-8",
    "GE122": "duplicate key in an object",
    "GE123": "NaN or Infinity as a bare word",
    "GE124": "a number that no double can hold",
    "GE125": "an integer with too many digits to be exact",
    "GE126": "half of a surrogate pair in a string",
    "GE127": "unexpected text after the JSON value",
    "GE130": "arrays and objects nested deeper than the limit",
    "GE131": "more values in a file than the limit",
    "GE132": "more nodes than the limit",
    "GE133": "values that take more memory than the limit",
    "GE134": "a size that no array can have",
    "GE135": "more steps of loops than the limit",
    "GE140": "too many problems; only the first are reported",
    "GE201": "duplicate name",
    "GE210": "a reference to something that is not defined",
    "GE211": "an unknown op",
    "GE212": "a node has too many, too few or wrongly named inputs",
    "GE213": "a node's attributes do not fit its op",
    "GE214": "nodes form a cycle",
    "GE215": "functions call each other in a cycle",
    "GE216": "functions would become too large a graph",
    "GE301": "shapes or dtypes do not fit an op",
    "GE302": "a value does not have the declared shape or dtype",
    "GE303": "the loss is not a scalar of floating-point dtype",
    "GE304": "a statistic of the training rows cannot be computed of that value",
    "GE305": "a node cannot be exported",
    "GE306": "an op of an ONNX file cannot be imported",
    "GE307": "a file is not an ONNX model",
    "GE401": "an input is missing",
    "GE402": "an input, parameter or output of that name does not exist",
    "GE403": "an input does not have the declared shape",
    "GE404": "an input does not have the declared dtype",
    "GE405": "a symbolic size has two values",
    "GE406": "a value is not among the categories of its input",
    "GE410": "a node failed while it ran",
    "GE411": "a gradient does not exist",
    "GE412": "a gradient is wrong",
    "GE413": "a value is not finite",
    "GE414": "a value needs all samples at once, and they do not fit into memory",
    "GE415": "a parameter has no value before a training",
    "GE416": "a node that only Python runs is in a compiled loop",
    "GE417": "an output has no rows that are the same in any batch",
    "GE418": "the processes that do the work die or cannot be reached",
    "GE501": "a data source is missing or cannot be read",
    "GE502": "a column or array is missing, or occurs twice",
    "GE503": "a data value is missing or not a number",
    "GE504": "a path leaves the model's folder or is not a plain file",
    "GE505": "data columns do not fit together or with the model",
    "GE506": "a file of tensors is not the one that the model was written with",
    "GE507": "a statistic of the training rows has no value",
    "GE601": "a training diverged",
    "GE602": "a training cannot start",
    "GE603": "a checkpoint cannot be read, or belongs to another training",
    "GE604": "a fit did not converge",
    "GE605": "a training ended with a larger loss than it began with",
    "GE606": "a training resumes where its last bits may differ",
    "GE607": "the workers of a training are gone",
    "GE701": "a node class breaks the node contract",
    "GE702": "an op of that name is registered already",
    "GE801": "a wrong command line",
    "GE802": "a plugin cannot be loaded",
    "GE803": "an optional package is not installed",
    "GE901": "values broadcast crosswise, each sample with each other one",
    "GE902": "a parameter that the loss does not depend on",
    "GE903": "values that were never trained",
    "GE904": "a training step that will not fit into memory",
}
"""Stable codes: the meaning of a code never changes, a code is never used again for something else.

GE901 and above, GE605 and GE606, are warnings, which never stop a work that does not ask for it.
"""


MOST_REPORTED = 100
"""So many problems of a file are reported; a file with more of them is wrong in one way, many times."""


LONGEST_TOLD = 1000
"""So many letters of a message, a hint or a pointer are printed: a name in a file can be longer than any screen."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding about a file, a graph or a call.

    `pointer` is a JSON Pointer (RFC 6901) into the file, `line` and `column` count from 1; they are those of the key
    there if it is `at_key` that something is wrong, else of the value. As text or as a JSON object
    it is printed in bounded length, whatever the file has.
    """

    code: str
    message: str
    hint: str | None = None
    pointer: str | None = None
    node: str | None = None
    file: str | None = None
    line: int | None = None
    column: int | None = None
    at_key: bool = False

    def __str__(self) -> str:
        parts = self.as_dict()
        pointer = f" ({parts['pointer']})" if parts["pointer"] else ""
        hint = f"; {parts['hint']}" if parts["hint"] else ""
        return f"{self.place}: " * bool(self.place) + f"{self.code}: {parts['message']}{pointer}{hint}"

    @property
    def place(self) -> str:
        """The file with line and column, as far as they are known."""
        return ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)

    def within(self, pointer: str, where: str) -> Problem:
        """The finding about a part as one about the whole, which has the part at a pointer and names it."""
        return replace(self, message=where + self.message, pointer=pointer + (self.pointer or ""))

    def in_words(self) -> Problem:
        """The finding without its own place, which begins its message."""
        message = f"{self.place}: " * bool(self.place) + self.message
        return replace(self, message=message, file=None, line=None, column=None)

    def as_dict(self) -> dict[str, Any]:
        """The finding as a JSON object, for machines.

        Of a long message or hint the middle is left out; a long pointer leads to the innermost part of the file that
        has a shorter one.
        """
        fields = ("code", "message", "hint", "pointer", "node", "file", "line", "column")
        long = {
            "message": shortened(self.message, LONGEST_TOLD),
            "hint": self.hint and shortened(self.hint, LONGEST_TOLD),
            "pointer": self.pointer and _short_pointer(self.pointer),
        }
        return {field: getattr(self, field) for field in fields} | long


def make_pointer(parts: Iterable[str | int]) -> str:
    """Return the JSON Pointer (RFC 6901) made of keys and indices."""
    return "".join([f"/{pointer_key(str(part))}" for part in parts])


def pointer_key(key: str) -> str:
    """Return a key as part of a JSON Pointer."""
    return key.replace("~", "~0").replace("/", "~1")


def _short_pointer(pointer: str) -> str:
    return pointer if len(pointer) <= LONGEST_TOLD else pointer[: pointer.rindex("/", 0, LONGEST_TOLD + 1)]


class GraphEngineError(Exception):
    """Base of all errors; `problems` holds one or more findings, `str()` prints one line for each.

    Made from one finding, `SomeError("message", code="GE210", hint=...)`, or from several, `SomeError(problems)`.
    """

    default_code = "GE112"

    def __init__(self, problems: str | Iterable[Problem], *, code: str | None = None, **place: Any) -> None:
        if isinstance(problems, str):
            problems = [Problem(code or self.default_code, problems, **place)]
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles have the findings, which the text is made of."""
        return _restored, (type(self), dict(vars(self)))

    def to_dict(self) -> dict[str, Any]:
        """Return the findings as the command line prints them for machines."""
        return {"errors": [problem.as_dict() for problem in self.problems]}

    def located(self, **place: Any) -> GraphEngineError:
        """The same error with a place (`file`, `pointer`, ...) put into findings that have none."""
        self.problems = tuple(
            replace(problem, **{key: value for key, value in place.items() if getattr(problem, key) is None})
            for problem in self.problems
        )
        return self

    def declared_at(self, **place: Any) -> GraphEngineError:
        """The same error at the place in a file that names the file it is about, whose own place its message has."""
        mine = (None, place.get("file"))
        self.problems = tuple([each if each.file in mine else each.in_words() for each in self.problems])
        return self.located(**place)


def _restored(cls: type[GraphEngineError], attributes: dict[str, Any]) -> GraphEngineError:
    """An error with these attributes."""
    error = cls.__new__(cls)
    vars(error).update(attributes)
    error.args = (str(error),)
    return error


class InvalidModelError(GraphEngineError):
    """A file or a graph is wrong; nothing was run."""


def require_none(problems: Iterable[Problem]) -> None:
    """Refuse what has problems.

    Raises
    ------
    InvalidModelError
        With all of them, if there are any.
    """
    found = list(problems)
    if found:
        raise InvalidModelError(found)


class RegistrationError(GraphEngineError, TypeError):
    """A node class breaks the node contract."""

    default_code = "GE701"


class InputError(GraphEngineError, ValueError):
    """Values handed to a model do not fit its declarations."""

    default_code = "GE403"


class ExecutionError(GraphEngineError):
    """A node failed while it ran; the message names node, op and shapes."""

    default_code = "GE410"


class DifferentiationError(GraphEngineError):
    """A gradient was asked for that does not exist."""

    default_code = "GE411"


class GradientError(GraphEngineError):
    """A `backward` or a gradient graph is wrong; the message names the law, the input and the numbers."""

    default_code = "GE412"


class DataError(GraphEngineError):
    """A data source is missing or wrong."""

    default_code = "GE501"


class TrainingError(GraphEngineError):
    """A training cannot start."""

    default_code = "GE602"


class DivergenceError(TrainingError):
    """A training left the finite numbers; `iteration` and `epoch` (from 1) say when."""

    iteration: int
    epoch: int

    default_code = "GE601"

    def __init__(self, message: str, *, iteration: int, epoch: int, **place: Any) -> None:
        super().__init__(message, **place)
        self.iteration, self.epoch = iteration, epoch


class WorkersError(TrainingError):
    """The workers of a training, or their scheduler, are gone; the iterations before are done."""

    default_code = "GE607"


class UsageError(GraphEngineError):
    """A command line or a call asks for something that is not there."""

    default_code = "GE801"


class ModelWarning(UserWarning):
    """A model is valid, and something in it is probably not meant; `problem` is the finding."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.problem,)


def curtailed(problems: list[Problem], file: str | None) -> list[Problem]:
    """The problems of a file that are reported: the first ones and, if there are more, that there are."""
    if len(problems) <= MOST_REPORTED:
        return problems
    message = f"only the first {MOST_REPORTED} problems are reported; the file has at least {len(problems)}"
    return [*problems[:MOST_REPORTED], Problem("GE140", message, file=file)]


def did_you_mean(word: str, possible: Iterable[str], what: str = "") -> str:
    """A hint: the nearest possible name if one is near, else the possible names."""
    names = list(possible)
    near = nearest(word, names)
    if near is not None:
        return f"did you mean '{near}'?"
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"{what or 'possible'}: {shown or 'none'}"
