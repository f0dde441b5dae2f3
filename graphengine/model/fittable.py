"""Fits of a model: least squares and maximum likelihood, the last fit, and profiles of its minimum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from graphengine import hooks
from graphengine.errors import UsageError
from graphengine.model.portable import Portable
from graphengine.training.provenance import FIT

if TYPE_CHECKING:  # imported only when a model is fitted
    from graphengine.fit.requests import Request
    from graphengine.fit.solver_trainer import SolverTrainer
    from graphengine.fit.statistics import Fit


class Fittable(Portable):
    """Base of a model whose parameters can be fitted, with uncertainties."""

    def fit(
        self,
        data: Any = None,
        *,
        residual: str | None = None,
        sigma: str | None = None,
        weights: str | None = None,
        absolute_sigma: bool | None = None,
        robust: str | None = None,
        robust_scale: float | None = None,
        intervals: Sequence[float] = (),
        starts: int = 1,
        seed: int = 0,
        bootstrap: int = 0,
        max_iterations: int | None = None,
        workers: int | str | None = None,
    ) -> Fit:
        """Fit the trainable parameters, by least squares or maximum likelihood, and estimate their uncertainties.

        `residual` is the value whose sum of squares is minimized; by default the one that the training section names,
        or the value whose squares its loss adds up. Any other loss of the training section is minimized as a negative
        log-likelihood. `data` is as for `train`.

        Parameters
        ----------
        sigma : str, optional
            The value, such as an input, that the residuals are divided by: their standard deviations, or proportional
            to them.
        weights : str, optional
            Weights of the squares, 1 / sigma**2, instead of `sigma`.
        absolute_sigma : bool, optional
            Whether the residuals are in units of known standard deviations, so that their spread is not estimated.
        robust : {"huber", "soft_l1", "cauchy"}, optional
            A loss that replaces the squares of residuals larger than about `robust_scale` (default 1).
        intervals : sequence of float, optional
            Levels of profile intervals, such as 0.95 (needs SciPy, the extra `fit`).
        starts, seed : int, optional
            The number of starting points: the model's values, and a Latin hypercube within the bounds. The best minimum
            is kept.
        bootstrap : int, optional
            The number of samples of data to draw from the fitted model, by `seed`, and to fit: with normal residuals,
            or from the distributions of the `nll` functions of the loss. `Fit.bootstrap` has the percentiles of the
            estimates.
        workers : int or str, optional
            The number of processes that run the starts, or the address of a Dask scheduler. The result is the same for
            any of them. They open the model file and the data source that the training section, or `data`, names.

        Raises
        ------
        TrainingError
            If there is nothing to minimize, or the fit cannot start.
        InputError
            If a sigma is not positive, or a weight is negative.
        DivergenceError
            If the loss is not finite at the start.
        """
        from graphengine.fit.bootstrap import BootstrapRequest, terms_of
        from graphengine.fit.procedure import FitRequest, run_fit
        from graphengine.fit.requests import Request

        request = Request(residual, sigma, weights, absolute_sigma, robust, robust_scale)
        solver = self.fitting(data, request, max_iterations)
        self._trainer, self._fit, self._provenance = solver, None, None
        drawing = BootstrapRequest(bootstrap, seed, lambda: terms_of(self.document.nodes, solver))
        elsewhere = None if workers is None else hooks.starts_over(self, data, request, max_iterations, workers)
        self._fit = run_fit(solver, FitRequest(tuple(intervals), starts, seed, drawing, elsewhere))
        return self._fit

    def fitting(self, data: Any, request: Request, max_iterations: int | None = None) -> SolverTrainer:
        """Return the fit that `fit` runs, with its data loaded and nothing computed yet."""
        return self._declared.fitting(self.values, data, request, max_iterations)

    @property
    def last_fit(self) -> Fit | None:
        """The fit that the values come from: that of `fit`, or the one stored in the file under `metadata.fit`.

        None if there is none, or its parameters are no longer those of the model.

        Raises
        ------
        UsageError
            GE801 if `metadata.fit` is not the result of a fit of these parameters.
        """
        if self._fit is not None:
            return self._fit
        metadata = self._metadata.get("metadata", self.document.metadata) or {}
        if FIT not in metadata:
            return None
        from graphengine.fit.decoding import fit_from_json

        return fit_from_json(metadata[FIT], self.graph)

    def profiles(self, data: Any = None, *, reach: float = 2.5) -> dict[str, list[tuple[float, float]]]:
        """Profile curves of the last fit, for each number that the data determine: points (value, zeta).

        Zeta is the signed square root of the rise of the minimum if this number is held fixed: of -2 log L, or of the
        sum of squares over the variance. A straight line means that the standard error is sufficient. `reach` is the
        largest zeta.

        Raises
        ------
        UsageError
            GE801 if there is no fit, if it is robust or has no degrees of freedom, or if it is not a minimum.
        """
        from graphengine.fit.procedure import profiles
        from graphengine.fit.requests import Request

        if (fit := self.last_fit) is None:
            raise UsageError("profiles need a fit, and the values of this model are not the result of one")
        return profiles(self._declared.fitting(dict(self.values), data, Request.of_settings(fit.settings), None), reach)
