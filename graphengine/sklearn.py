"""Models as scikit-learn estimators: for pipelines, cross-validation and searches (the extra `sklearn`).

An estimator trains a model on `fit` and keeps it as `model_`, which can be saved as a file. Without a model of the
caller it makes one: standardized columns, and a linear model or a small network.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Self, TypeAlias

import numpy as np

from graphengine.data.readers import declared_columns
from graphengine.errors import UsageError
from graphengine.fit.solver_trainer import SolverTrainer
from graphengine.ir.binding import listed, names_in
from graphengine.ir.declarations import Input
from graphengine.ir.graph import inputs_of
from graphengine.mappings import picked
from graphengine.model.builder import Builder
from graphengine.model.estimators import (
    classifier,
    content_of,
    gives_probabilities,
    indices_of,
    regressor,
    shaped,
    standardizer,
    untrained,
    with_width,
)
from graphengine.model.model import Model
from graphengine.training.loop import run_to_end

try:
    from sklearn.base import (
        BaseEstimator,
        ClassifierMixin,
        ClassNamePrefixFeaturesOutMixin,
        OneToOneFeatureMixin,
        RegressorMixin,
        TransformerMixin,
    )
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.utils import check_random_state
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
except ImportError as error:
    hint = "pip install 'graphengine[sklearn]'"
    message = "this needs the package 'scikit-learn' 1.6 or newer, which is not installed"
    raise UsageError(message, code="GE803", hint=hint) from error

__all__ = ["GraphClassifier", "GraphRegressor", "GraphTransformer"]

Array: TypeAlias = np.ndarray[Any, Any]
Source: TypeAlias = str | Path | Mapping[str, Any] | Model | Builder | Callable[[int, int], Any] | None

TARGET, WEIGHT = "y", "sample_weight"
"""The names of the inputs that get targets and sample weights, unless the caller names others."""
USUAL_OUTPUTS = ("prediction", "probabilities", "probability", "logits", "logit", "code")
"""Outputs that are taken, in this order, where a model has several and the caller names none."""


class _GraphEstimator(BaseEstimator):  # type: ignore[misc]
    """What the estimators share: a model from its source, its inputs and outputs, and its training."""

    model: Source
    target: str
    weight: str
    output: str | None
    epochs: int | None
    batch_size: int | None
    learning_rate: float | None
    random_state: Any

    def _prepare(self, own: Callable[[], Builder], features: Array, outputs: int) -> Model:
        """Return an untrained model: `own` makes it where the caller gave none."""
        if self.model is None:
            document = own().model().document
            return Model(untrained(document, self._seed()))
        content, path = content_of(self.model, features.shape[1], outputs)
        content = with_width(content, self._feature_names(content["inputs"]), features.shape[1])
        model = Model.from_dict(content, path)
        return Model(untrained(model.document, self._seed()), None, path)

    @property
    def _overrides(self) -> dict[str, Any]:
        """What overrides the training section, None where it does not."""
        return {"epochs": self.epochs, "batch_size": self.batch_size, "learning_rate": self.learning_rate}

    def _seed(self) -> int | None:
        if self.random_state is None:
            return None
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _feature_names(self, inputs: Iterable[str]) -> list[str]:
        return [name for name in inputs if name not in (self.target, self.weight)]

    def _reading(self) -> dict[str, Any]:
        """How X is checked: as numbers, or as it is for a model with categories or cells without a value."""
        if self.model is None or callable(self.model):
            return {"dtype": np.float64}
        inputs = content_of(self.model, 0, 0)[0]["inputs"]
        return _checks_for([inputs[name] for name in self._feature_names(inputs)])

    def _columns(self, model: Model, features: Array) -> dict[str, Array]:
        """The inputs of a model from a table: the whole table, or some columns for each input."""
        inputs = picked(model.graph.inputs, self._feature_names(model.graph.inputs))
        shapes = _sample_shapes(inputs)
        places = self._places(model, {name: math.prod(shape) for name, shape in shapes.items()}, features.shape[1])
        return {
            name: _as_declared(features[:, places[name]].reshape(-1, *shapes[name]), each)
            for name, each in inputs.items()
        }

    def _places(self, model: Model, widths: Mapping[str, int], width: int) -> dict[str, list[int]]:
        """The columns of a table that each input takes: by the names that the model has for them, or else in order."""
        given = {name: place for place, name in enumerate(getattr(self, "feature_names_in_", ()))}
        declared = listed(declared_columns(model.document), lambda: given, model.graph.inputs)
        named = {name: names_in(declared.get(name, name)) for name in widths}
        fits = all(len(columns) == widths[name] for name, columns in named.items())
        if fits and given.keys() >= set(itertools.chain(*named.values())):
            return {name: list(map(given.__getitem__, columns)) for name, columns in named.items()}
        return _places_in_order(widths, width)

    def _data(self, model: Model, features: Array, target: Array | None, weights: Array | None) -> dict[str, Array]:
        """The inputs of a model for training."""
        inputs, data = model.graph.inputs, self._columns(model, features)
        if target is not None and self.target in inputs:
            declared = inputs[self.target]
            data[self.target] = _as_declared(shaped(target, (len(target), *declared.type.shape[1:])), declared)
        if self.weight in inputs:
            given = np.ones(len(features)) if weights is None else weights / weights.mean()
            data[self.weight] = given.astype(inputs[self.weight].type.array_dtype)
        elif _differ(weights):
            raise ValueError(f"sample_weight is given, but the model has no input '{self.weight}'; name it: weight=...")
        return data

    def _train(self, model: Model, data: Mapping[str, Array], **overrides: Any) -> None:
        """Train a model and keep it."""
        given = {name: value for name, value in overrides.items() if value is not None}
        trainer = model.trainer(data, **given)
        run_to_end(trainer)
        if isinstance(trainer, SolverTrainer) and not trainer.converged:
            _warn(trainer.reason)
        self.history_ = trainer.history
        self.n_iter_ = max(1, len(trainer.history))
        self._keep(model)

    def _keep(self, model: Model) -> None:
        self.model_, self.output_ = model, self._output(model)

    def _output(self, model: Model) -> str:
        """The output that depends on the features only."""
        graph, hidden = model.graph, {self.target, self.weight}
        known = [name for name, value in graph.outputs.items() if hidden.isdisjoint(inputs_of(graph, [value]))]
        chosen = self._chosen(known)
        if chosen not in known:
            raise ValueError(f"name the output to take, output=...: the features give {', '.join(known) or 'none'}")
        return chosen

    def _chosen(self, known: Sequence[str]) -> str | None:
        """The output that the caller names, the only one, or the first usual one."""
        if self.output is not None:
            return self.output
        return known[0] if len(known) == 1 else next((name for name in USUAL_OUTPUTS if name in known), None)

    def _outputs(self, table: Any) -> Array:
        """What a fitted model gives for a table."""
        check_is_fitted(self)
        features = validate_data(self, table, reset=False, **self._reading())
        found = self.model_.predict(self._columns(self.model_, features), outputs=self.output_)
        return np.asarray(found[self.output_])


def _softmax(logits: Array) -> Array:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    found: Array = powers / powers.sum(axis=1, keepdims=True)
    return found


def _is_count(number: Any) -> bool:
    return isinstance(number, Integral) and int(number) > 0


def _differ(weights: Array | None) -> bool:
    """Whether weights weigh samples differently."""
    return weights is not None and bool(np.ptp(weights) > 0)


def _warn(reason: str | None) -> None:
    warnings.warn(reason or "the solver did not converge", ConvergenceWarning, stacklevel=4)


def _checks_for(features: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How X is checked for inputs that are declared so: with texts for categories, and NaN for missing values."""
    has_gaps = any(each.get("missing") == "nan" for each in features)
    is_coded = any("categories" in each for each in features)
    return {"dtype": None if is_coded else np.float64, "ensure_all_finite": "allow-nan" if has_gaps else True}


def _sample_shapes(inputs: Mapping[str, Input]) -> dict[str, tuple[int, ...]]:
    """The shapes that one sample has in each input."""
    shapes: dict[str, Any] = {name: each.type.shape[1:] for name, each in inputs.items()}
    if not all(isinstance(size, int) for size in itertools.chain(*shapes.values())):
        raise ValueError(f"the sizes of the inputs {', '.join(shapes)} must be integers, except for the first one")
    return shapes


def _places_in_order(widths: Mapping[str, int], width: int) -> dict[str, list[int]]:
    """The columns of a table that inputs take one after the other."""
    if sum(widths.values()) != width:
        what = f"{sum(widths.values())}: {', '.join(widths)}"
        raise ValueError(f"X has {width} features, but the inputs of the model take {what}")
    ends = itertools.accumulate(widths.values())
    return {name: list(range(end - widths[name], end)) for name, end in zip(widths, ends, strict=True)}


def _as_declared(values: Array, declared: Input) -> Array:
    """Values in the dtype of an input; an input with categories gets them as they are."""
    return values if declared.categories else values.astype(declared.type.array_dtype)


class _GraphPredictor(_GraphEstimator):
    """What regressors and classifiers share: the parameters of the caller, and those of their own model."""

    def __init__(
        self,
        model: Source = None,
        *,
        units: Sequence[int] = (),
        activation: str = "relu",
        alpha: float = 1e-4,
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        target: str = TARGET,
        weight: str = WEIGHT,
        output: str | None = None,
        random_state: Any = None,
    ) -> None:
        self.model = model
        self.units, self.activation, self.alpha = units, activation, alpha
        self.epochs, self.batch_size, self.learning_rate = epochs, batch_size, learning_rate
        self.target, self.weight, self.output = target, weight, output
        self.random_state = random_state

    def _fit(self, model: Model, data: Mapping[str, Array]) -> Self:
        given = [name for name, value in self._overrides.items() if value is not None]
        if given and self._is_linear:
            what = f"{' and '.join(given)} cannot be set for it"
            raise ValueError(
                f"without units the model is linear and fitted by a solver: {what}; pass units=(32,), or a model"
            )
        self._train(model, data, **self._overrides)
        return self

    @property
    def _is_linear(self) -> bool:
        """Whether the model is the estimator's own linear one, which a solver fits."""
        return self.model is None and not self.units

    @property
    def _own(self) -> dict[str, Any]:
        """What a model of the estimator's own is made with.

        Raises
        ------
        ValueError
            If something of it is of another kind, or out of range.
        """
        alpha: Any = self.alpha
        units: Any = self.units
        if not isinstance(alpha, Real) or not 0 <= float(alpha) < math.inf:
            raise ValueError(f"alpha must be a finite number of at least 0, not {alpha!r}")
        if not isinstance(units, Iterable) or not all(map(_is_count, units)):
            raise ValueError(f"units must be a sequence of integers of at least 1, not {units!r}")
        return {"units": tuple(self.units), "activation": self.activation, "alpha": self.alpha}


class GraphRegressor(RegressorMixin, _GraphPredictor):  # type: ignore[misc]
    """Regression by a model.

    Without a `model` it standardizes columns and targets and fits a linear model with a small penalty, by a solver;
    with `units`, a network with these hidden layers, by adam.

    Parameters
    ----------
    model : path, name, mapping, Model, Builder or callable, optional
        A model file, the name of a shipped model, the content of a file, or a function that takes the numbers of
        features and targets and returns one of these. It is trained from its initializers, as its training section
        says. Its inputs but `target` and `weight` get X: one the whole table, several a column each, by name where X
        has names.
        A symbol such as "F" for the number of columns becomes that number.
    units : sequence of int
        Hidden layers of the estimator's own model, each with `activation`; none makes it linear.
    alpha : float
        Its penalty, alpha / 2 times the sum of squares of the weights (of standardized columns).
    epochs, batch_size, learning_rate : optional
        Override the training section of the model.
    target, weight : str
        The inputs that get y and sample_weight, which is divided by its mean.
    output : str, optional
        The output that `predict` returns.
    random_state : int, RandomState or None
        Seeds initializers and training; None keeps the seeds of the model.

    Attributes
    ----------
    model_ : Model
        The trained model; `model_.save(path)` writes it as a file.
    history_, n_iter_ : History, int
        The record and the number of iterations of the training.
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:  # noqa: N803 - scikit-learn's name
        """Train on X, of shape (N, F), and targets (N,) or (N, K), with weights (N,)."""
        features, target = validate_data(self, X, y, multi_output=True, y_numeric=True, **self._reading())
        weights = _weights(sample_weight, features)
        targets = np.asarray(target, np.float64)
        self._target_shape = targets.shape[1:]
        table = targets.reshape(len(targets), -1)
        model = self._prepare(lambda: regressor(features, table, weights, **self._own), features, table.shape[1])
        return self._fit(model, self._data(model, features, targets, weights))

    def predict(self, X: Any) -> Array:  # noqa: N803
        """Return predictions of the shape of the targets."""
        found = self._outputs(X)
        return found.reshape(len(found), *self._target_shape)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class GraphClassifier(ClassifierMixin, _GraphPredictor):  # type: ignore[misc]
    """Classification by a model.

    Without a `model` it standardizes columns and fits a logistic regression with a small penalty, by a solver; with
    `units`, a network with these hidden layers, by adam.

    A model of the caller gets the classes as numbers 0, 1, ... in the order of `classes_`, or one column for each where
    its `target` has such a shape. The output that is taken has probabilities, if an op `softmax` or `sigmoid` makes it,
    and logits otherwise; of two classes it may have only the second. Parameters are those of `GraphRegressor`; a model
    that is a function takes the numbers of features and classes.

    Attributes
    ----------
    classes_ : ndarray of shape (K,)
        The classes, sorted.
    model_, history_, n_iter_
        As of `GraphRegressor`.
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:  # noqa: N803
        """Train on X, of shape (N, F), and classes (N,), with weights (N,)."""
        features, target = validate_data(self, X, y, **self._reading())
        check_classification_targets(target)
        weights = _weights(sample_weight, features)
        self.classes_, indices = np.unique(target, return_inverse=True)
        count = len(self.classes_)
        if count < 2:
            raise ValueError(f"GraphClassifier needs at least 2 classes, and y has 1 class: {self.classes_[0]}")
        model = self._prepare(lambda: classifier(features, count, weights, **self._own), features, count)
        given: Array = indices
        self._class_columns, self._width = list(range(count)), count
        declared = model.graph.inputs.get(self.target)
        if declared is not None and declared.categories:
            given, self._class_columns = target, indices_of(self.classes_, declared.categories)
            self._width = len(declared.categories)
        elif declared is not None and declared.type.shape[1:] == (count,):
            given = np.eye(count)[indices]
        return self._fit(model, self._data(model, features, given, weights))

    def predict_proba(self, X: Any) -> Array:  # noqa: N803
        """Return the probability of each class, of shape (N, K), in the order of `classes_`."""
        found = self._outputs(X)
        table = found.reshape(len(found), -1).astype(np.float64)
        if not gives_probabilities(self.model_.graph, self.output_):
            table = _softmax(np.c_[np.zeros(len(table)), table] if table.shape[1] == 1 else table)
        elif table.shape[1] == 1:
            table = np.c_[1 - table, table]
        if table.shape[1] != self._width:
            raise ValueError(
                f"output '{self.output_}' has {table.shape[1]} columns, but there are {self._width} classes"
            )
        table = table[:, self._class_columns]
        return table / table.sum(axis=1, keepdims=True) if table.shape[1] < self._width else table

    def predict(self, X: Any) -> Array:  # noqa: N803
        """Return the most probable class of each row, of shape (N,)."""
        best = np.argmax(self.predict_proba(X), axis=1)
        found: Array = self.classes_[best]
        return found


class GraphTransformer(OneToOneFeatureMixin, TransformerMixin, _GraphEstimator):  # type: ignore[misc]
    """A model as a transformer: columns that an output of the model gives.

    Without a `model` it standardizes each column. A model with a training section is trained on X, and on y if it has
    an input for it; with `frozen`, or without such a section, it is taken as it is. `output` names the columns that
    `transform` returns. The other parameters are those of `GraphRegressor`.
    """

    def __init__(
        self,
        model: Source = None,
        *,
        frozen: bool = False,
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        target: str = TARGET,
        weight: str = WEIGHT,
        output: str | None = None,
        random_state: Any = None,
    ) -> None:
        self.model, self.frozen = model, frozen
        self.epochs, self.batch_size, self.learning_rate = epochs, batch_size, learning_rate
        self.target, self.weight, self.output = target, weight, output
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:  # noqa: N803
        """Train on X, of shape (N, F), with weights (N,)."""
        features = validate_data(self, X, **self._reading())
        weights = _weights(sample_weight, features)
        model = self._model_for(features, weights)
        if model.document.training is None or self.frozen:
            self._keep(model)
        else:
            target = None if y is None else np.asarray(y)
            self._train(model, self._data(model, features, target, weights), **self._overrides)
        first = self.model_.predict(self._columns(self.model_, features[:1]), outputs=self.output_)[self.output_]
        self._n_features_out = np.size(first)
        return self

    def _model_for(self, features: Array, weights: Array | None) -> Model:
        """The model of the caller as it is, or an untrained one."""
        if self.frozen and self.model is not None:
            content, path = content_of(self.model, features.shape[1], 0)
            return Model.from_dict(content, path)
        return self._prepare(lambda: standardizer(features, weights), features, 0)

    def transform(self, X: Any) -> Array:  # noqa: N803
        """Return the columns for X, of shape (N, K)."""
        found = self._outputs(X)
        return found.reshape(len(found), -1)

    def get_feature_names_out(self, input_features: Any = None) -> Array:
        """Return the names of the columns: those of X where each is standardized, and numbered ones otherwise."""
        check_is_fitted(self)
        names = OneToOneFeatureMixin if self.model is None else ClassNamePrefixFeaturesOutMixin
        return names.get_feature_names_out(self, input_features)  # type: ignore[no-any-return]


def _weights(sample_weight: Any, features: Array) -> Array | None:
    """Sample weights as an array; None if there are none."""
    if sample_weight is None:
        return None
    weights: Array = _check_sample_weight(sample_weight, features, dtype=np.float64)
    if weights.min() < 0:
        raise ValueError(f"Sample weights must not be negative, and one is {weights.min()}.")
    if not weights.any():
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return weights
