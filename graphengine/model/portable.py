"""A model as data: its document, dictionary and file, its copies and pickles, and where its values come from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from graphengine import gc_pause
from graphengine.backends.protocol import Backend
from graphengine.format.documents import ModelDocument
from graphengine.format.reading import parse_function, parse_model
from graphengine.format.writing import model_as_dict
from graphengine.ir.graph import Graph
from graphengine.limits import Limits
from graphengine.model.declaration import Declaration
from graphengine.model.evaluator import Evaluator
from graphengine.training.loop import Trainer
from graphengine.training.provenance import FIT, PROVENANCE

if TYPE_CHECKING:
    from graphengine.fit.solver_trainer import SolverTrainer
    from graphengine.fit.statistics import Fit


class Portable:
    """Base of a model that can be copied, pickled and saved.

    A copy or a pickle has the document, the values and the choices of the caller, and no code.
    """

    graph: Graph
    document: ModelDocument
    path: Path | None
    limits: Limits
    backend: Backend
    evaluator: Evaluator
    values: dict[str, Any]
    _declared: Declaration
    _trainer: Trainer | SolverTrainer | None
    _fit: Fit | None
    _provenance: dict[str, Any] | None

    def as_document(self) -> ModelDocument:
        """Return the model as a document: that of its file, with the current values and their provenance."""
        from graphengine.model.keeping import encoded_values, valued

        return valued(self.document.model_copy(update=self._metadata), encoded_values(self.values))

    @property
    def _metadata(self) -> dict[str, Any]:
        """The metadata with the provenance of values that were trained, and without a fit of other values."""
        from graphengine.model.keeping import current_metadata

        return current_metadata(self.document, self._trained() or {}, self.graph, self.values)

    def _trained(self) -> dict[str, Any] | None:
        """Where trained values come from, by key of the metadata: of this model, or of the one it is a copy of."""
        from graphengine.training.provenance import provenance

        if self._trainer is None or not len(self._trainer.history):
            return self._provenance
        found = {PROVENANCE: provenance(self._trainer)}
        if self._fit is not None:
            from graphengine.fit.encoding import fit_to_keep

            found[FIT] = fit_to_keep(self._fit)
        return found

    def copy(self) -> Self:
        """Return a model with its own values, which shares everything immutable, such as compiled graphs."""
        model = object.__new__(type(self))
        vars(model).update(vars(self))
        model.values = {name: np.array(value)[()] for name, value in self.values.items()}
        model.evaluator = self.evaluator.with_values(model.values)
        model._trainer, model._fit, model._provenance = None, None, self._trained()
        return model

    def __copy__(self) -> Self:
        return self.copy()

    def __deepcopy__(self, memo: Any) -> Self:
        return self.copy()

    def __reduce__(self) -> tuple[Any, ...]:
        from graphengine.format.canonical import canonical_text

        rule = self._declared.given_rule
        text = canonical_text(model_as_dict(self.document)).encode()
        rule_text = rule and canonical_text(rule.model_dump(mode="json", by_alias=True, exclude_defaults=True)).encode()
        path = str(self.path) if self.path else None
        chosen = (path, rule_text, self.limits, self.backend.name)
        return _restored, (type(self), text, dict(self.values), *chosen, self._trained())

    def to_dict(self) -> dict[str, Any]:
        """Return the content of the file that `save` would write, with all values in it; `from_dict` reads it."""
        return model_as_dict(self.as_document())

    def save(self, path: str | Path) -> None:
        """Write the model with its current values, whole or not at all.

        A model of a million numbers or more has them in a safetensors file beside it, which it names with its hash. The
        one of the previous version is removed afterwards, unless another file in the folder names it. Processes that
        save to the same path wait for each other. If it is saved in another folder, the model still finds its data: a
        path is rewritten, or the file, of at most 16 MiB, is copied beside the model.

        Raises
        ------
        GraphEngineError
            GE101 if the file cannot be written.
        """
        from graphengine.model.keeping import save
        from graphengine.model.moving import with_data_for

        document = with_data_for(self.document.model_copy(update=self._metadata), self.path, Path(path))
        save(Path(path), document, self.values)


def _restored(
    cls: type[Any],
    text: bytes,
    values: Mapping[str, Any],
    path: str | None,
    rule_text: bytes | None,
    limits: Limits,
    backend: str,
    trained: dict[str, Any] | None,
) -> Any:
    """The model of a pickle."""
    with gc_pause.paused():
        document, _ = parse_model(text, path, limits, is_written=False)
        rule = parse_function(rule_text)[0] if rule_text else None
        model = cls(document, None, Path(path) if path else None, rule, limits, backend, values)
    model._provenance = trained
    return model
