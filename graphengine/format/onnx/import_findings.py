"""What of an ONNX file cannot be imported: each op and reason once, with all nodes that they are about."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from graphengine.errors import DataError, GraphEngineError, InvalidModelError, Problem
from graphengine.format.onnx.onnx_calls import Follows, NotKnownYet, Unimportable
from graphengine.ir.recording import UnrecordableError
from graphengine.wording import counted, enumerated

_UNEXPECTED = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, UnrecordableError)
"""What a rule raises on values that it does not expect."""
_DECLARED = ("input", "initializer", "output")


class FindingPlace(NamedTuple):
    """What a finding is about: an op, or one of `_DECLARED`; its name; the op in whose body by ONNX's schema it is.

    `follows` is whether values that it reads are stand-ins for others, `is_doubtful` whether their sizes are guesses.
    """

    what: str
    name: str
    within: str = ""
    follows: bool = False
    is_doubtful: bool = False


class Findings:
    """Collects why things cannot be imported."""

    def __init__(self) -> None:
        self._reasons: dict[tuple[str, str], dict[str, tuple[str, ...]]] = {}

    def __bool__(self) -> bool:
        return bool(self._reasons)

    @contextmanager
    def reporting(self, place: FindingPlace) -> Iterator[None]:
        """Report why something cannot be imported; what a rule raises on values that it does not expect counts, too."""
        try:
            yield
        except Follows:
            return
        except (InvalidModelError, DataError, Unimportable, MemoryError, *_UNEXPECTED) as error:
            reason = _reason_of(error)
            if not _is_follow_on(error, place):
                self.report(place, reason)

    def report(self, place: FindingPlace, reason: Unimportable) -> None:
        """Enter a reason; of the same node in several rounds of a loop it counts once."""
        what, text = place.what, str(reason)
        if place.within:
            what, text = place.within, f"it is made of other ops, of which '{what}' cannot be: {text}"
        self._reasons.setdefault((what, text), {})[place.name] = reason.inputs

    def problems(self) -> Iterator[Problem]:
        """Yield a problem for each op and reason."""
        for (what, reason), places in self._reasons.items():
            names = list(places)
            fix = sorted(set().union(*places.values()))
            hint = f"give the value of {enumerated(fix)}, which makes a constant of it" if fix else None
            subject, where = what, names[0]
            if what not in _DECLARED:
                subject, where = f"op '{what}'", f"{counted(len(names), 'node')} ({enumerated(names)})"
            yield Problem("GE306", f"{subject} cannot be imported: {reason}: {where}", hint, node=names[0])


def _reason_of(error: Exception) -> Unimportable:
    """Return an error as a reason; of the errors of this package only those that are about one value are."""
    if isinstance(error, Unimportable):
        return error
    if not isinstance(error, GraphEngineError):
        return Unimportable(str(error).strip().partition("\n")[0] or type(error).__name__)
    if not {each.code for each in error.problems} <= {"GE501", "GE504"}:
        raise error
    return Unimportable(error.problems[0].message)


def _is_follow_on(error: Exception, place: FindingPlace) -> bool:
    """Whether an error may come from stand-ins: of values that are not known, or of sizes that are guesses."""
    if isinstance(error, Unimportable):
        return place.follows and isinstance(error, NotKnownYet)
    return place.is_doubtful and not isinstance(error, GraphEngineError)
