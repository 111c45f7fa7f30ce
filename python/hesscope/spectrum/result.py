"""SpectralDensity: what stochastic Lanczos quadrature returns."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from hesscope.krylov.recurrence import Recurrence
from hesscope.results import Band, Estimate, Status
from hesscope.spectrum import bands, estimates, files, quadrature, views
from hesscope.spectrum.bounds import SpectrumBounds, random_start_bounds
from hesscope.spectrum.deflation import Deflation
from hesscope.spectrum.quadrature import Quadrature
from hesscope.spectrum.sampling import CONFIDENCE


@dataclass(frozen=True, eq=False)
class SpectralDensity:
    """The eigenvalue distribution of a symmetric operator, as K quadratures with m nodes each.

    The coefficients of the recurrences are the result; everything else here is computed from them, on the
    CPU, without further products. Densities and distribution functions have total mass 1: multiply by n
    for numbers of eigenvalues.

    Attributes
    ----------
    alpha, beta
        Shape ``[K, m]``, float64, CPU: the tridiagonal matrix of each probe. Zeros after an early end,
        which a beta of exactly 0 marks.
    n
        Number of eigenvalues.
    products
        Products with the operator that were spent, those of resumed runs included.
    status
        Why the recurrence stopped.
    seconds
        Wall-clock time of all runs.
    memory_bytes
        Bytes of vectors that the run kept at its peak, beside what the operator itself needs.
    orthogonality
        Largest ``|q_i . q_j - delta_ij|`` of the Lanczos vectors with ``reorthogonalize="full"`` or
        "selective", measured at the end; else None.
    settings
        The arguments: num_probes, num_steps, seed, reorthogonalize, distribution, tol, bounds; with
        ``until`` also that, max_probes and the level of each look.
    operator
        What the operator says about itself.
    state
        The vectors to continue from with more steps, or None.
    deflation
        The eigenvalues that were given, or None. They are among the nodes, n - k eigenvalues were sampled.
    projections
        Steps in which the vectors were projected on those before.
    basis
        Where the vectors were kept and why, in a sentence; None without reorthogonalisation.
    """

    alpha: Tensor
    beta: Tensor
    n: int
    products: int
    status: Status
    seconds: float
    memory_bytes: int
    orthogonality: float | None
    settings: Mapping[str, Any]
    operator: Mapping[str, Any]
    state: Recurrence | None = field(default=None, repr=False)
    deflation: Deflation | None = None
    projections: int = 0
    basis: str | None = None

    @cached_property
    def sampled(self) -> Quadrature:
        """Nodes, weights and residuals of every probe, of the eigenvalues that are not known."""
        return quadrature.gauss(self.alpha, self.beta)

    @cached_property
    def quadrature(self) -> Quadrature:
        """Nodes, weights and residuals of every probe, known eigenvalues included."""
        return self.sampled if self.deflation is None else self.deflation.merge(self.sampled, self.n)

    def shortened(self, num_steps: int) -> Quadrature:
        """Return the quadrature of the first steps alone."""
        parts = (x[:, :num_steps].contiguous() for x in (self.alpha, self.beta))
        shorter = quadrature.gauss(*parts)
        return shorter if self.deflation is None else self.deflation.merge(shorter, self.n)

    @property
    def num_sampled(self) -> int:
        """Number of eigenvalues that are not known: n, or n - k with k eigenpairs given."""
        return self.n if self.deflation is None else self.n - len(self.deflation)

    @property
    def nodes(self) -> Tensor:
        """Ritz values, ascending, ``[K, m]``, float64; ``[K, m + k]`` with k eigenpairs given.

        A row that ended early repeats its last node.
        """
        return self.quadrature.nodes

    @property
    def weights(self) -> Tensor:
        """Weights of the nodes, float64; each row sums to one, padding has weight 0."""
        return self.quadrature.weights

    @property
    def num_probes(self) -> int:
        """K."""
        return self.alpha.shape[0]

    @property
    def num_steps(self) -> int:
        """Steps taken, m: fewer than asked for if the recurrence ended or was stopped."""
        return self.alpha.shape[1]

    @property
    def seed(self) -> int:
        """Seed of the probes."""
        return int(self.settings["seed"])

    @property
    def level(self) -> float:
        """Level of the intervals: 0.95; more after looks at several numbers of probes, see ``until``."""
        return float(self.settings.get("level", CONFIDENCE))

    @cached_property
    def bounds(self) -> SpectrumBounds:
        """An interval that holds the spectrum: as given, exact, or probabilistic (see its ``method``)."""
        if self.settings.get("bounds") is not None:
            lower, upper = self.settings["bounds"]
            return SpectrumBounds(lower, upper, "given")
        if bool(self.sampled.ended.any()):
            return SpectrumBounds(float(self.nodes.min()), float(self.nodes.max()), "exact")
        return self.random_start_bounds()

    def random_start_bounds(self, *, known: bool = True) -> SpectrumBounds:
        """Return the probabilistic bounds alone; of what was sampled alone if not ``known``."""
        outer = random_start_bounds(
            self.sampled.nodes, n=self.num_sampled, steps=self.num_steps, failure=1 - self.level
        )
        if self.deflation is None or not known:
            return outer
        lowest = float((self.deflation.values - self.deflation.residuals).min())
        highest = float((self.deflation.values + self.deflation.residuals).max())
        return SpectrumBounds(min(outer.lower, lowest), max(outer.upper, highest), outer.method)

    @property
    def rounding(self) -> float:
        """How far rounding may move a node: ``8 eps max|node|``, eps of the operator's vectors."""
        eps = torch.finfo(getattr(torch, str(self.operator["dtype"]).removeprefix("torch."))).eps
        return float(8 * eps * self.nodes.abs().max())

    def sigma(self) -> float:
        """Return the default width of smoothing: what m steps resolve, the range of their nodes over m.

        With known eigenvalues, not below what 1024 points over the whole range resolve.
        """
        return bands.default_sigma(self)

    def grid(self, num_points: int = 1024, *, sigma: float | None = None) -> Tensor:
        """Return evenly spaced points that cover the smoothed density, ``[num_points]``, float64."""
        return bands.default_grid(self, num_points, sigma)

    def density(self, grid: Tensor, *, sigma: float | None = None) -> Tensor:
        """Return the density smoothed by a Gaussian of width sigma: ``[G] -> [G]``, integral 1."""
        return self.density_band(grid, sigma=sigma).value

    def density_band(self, grid: Tensor, *, sigma: float | None = None) -> Band:
        """Return the smoothed density with its sampling error: pointwise 95 % t-intervals across probes.

        The band is for the density *smoothed by the same Gaussian*; with one probe ``upper`` is ``inf``.
        """
        return bands.density_band(self, grid, sigma)

    def kpm(self, grid: Tensor, *, num_moments: int | None = None) -> Band:
        """Return the density by the kernel polynomial method; see :func:`hesscope.spectrum.views.kpm`."""
        return views.kpm(self, grid, num_moments)

    def haydock(self, grid: Tensor, *, eta: float | None = None, terminator: str = "none") -> Band:
        """Return the density as a continued fraction; see :func:`hesscope.spectrum.views.haydock`."""
        return views.haydock(self, grid, eta, terminator)

    def cdf(self, x: Tensor | float) -> Tensor:
        """Return the share of eigenvalues at or below x: ``[P] -> [P]``, float64."""
        points = torch.as_tensor(x, dtype=torch.float64, device="cpu")
        flat = bands.checked_points("cdf", "x", points.reshape(-1))
        return quadrature.cdf(self.quadrature, flat).mean(dim=0).reshape(points.shape)

    def cdf_band(self, x: Tensor) -> Band:
        """Return the distribution function with its error: the quadrature sandwich plus sampling."""
        return bands.cdf_band(self, x)

    def count(self, a: float, b: float) -> Estimate:
        """Estimate the number of eigenvalues in ``[a, b]``; ``-inf`` and ``inf`` are allowed.

        ``quadrature`` holds the sandwich of each probe, ``sampling`` a t-interval on top of it.
        """
        return estimates.count(self, a, b)

    def moment(self, p: int) -> Estimate:
        """Estimate ``tr(H^p) / n``. Up to degree 2m - 1 the quadrature is exact: the error is sampling."""
        return estimates.moment(self, p)

    def trace(self) -> Estimate:
        """Estimate ``tr H`` with a t-interval across probes, longer on the side on which they are skewed."""
        return estimates.trace(self)

    def spectral_sum(self, f: Callable[[Tensor], Tensor]) -> Estimate:
        """Estimate ``tr f(H)``, f acting elementwise on float64 tensors of eigenvalues.

        Raises
        ------
        ValueError
            If f is not finite on a node (a logarithm of a negative one, say: shift the operator first).
        """
        return estimates.spectral_sum(self, f)

    def largest_eigenvalue(self) -> Estimate:
        """Estimate the largest eigenvalue: a lower bound by its nature, with a random-start upper bound."""
        return estimates.extreme(self, largest=True)

    def smallest_eigenvalue(self) -> Estimate:
        """Estimate the smallest (most negative) eigenvalue: an upper bound, with a random-start lower one."""
        return estimates.extreme(self, largest=False)

    def negative_mass(self, threshold: float | None = None) -> Estimate:
        """Estimate the share of eigenvalues below ``-threshold``; default: the rounding of the nodes.

        Exact zeros, of which a network's Hessian has many, sit within rounding of zero. In few steps the
        sandwich at zero is wide wherever much of the spectrum is near zero; the interval says so.
        """
        return estimates.negative_mass(self, threshold)

    def negative_curvature(self) -> Estimate:
        """Estimate the share of curvature that is negative, ``sum of -lambda_i < 0 / sum of |lambda_i|``."""
        return estimates.negative_curvature(self)

    def wasserstein(self) -> Tensor:
        """Bound the Wasserstein-1 distance of each quadrature to what its probe sees: ``[K]``, float64.

        In the units of the eigenvalues, on the interval ``bounds`` (of the eigenvalues that were sampled,
        where others are known); the sampling error comes on top.
        """
        return bands.wasserstein(self)

    def sampling_distance(self) -> float:
        """Return the sampling error of the distribution function, integrated: a Wasserstein-1 half-width.

        Each point's 95 % t-interval across probes, in the units of the eigenvalues; ``inf`` for one probe.
        """
        return bands.sampling_distance(self)

    def save(self, path: str | os.PathLike[str], *, state: bool = False) -> None:
        """Write a results file, beside ``path`` and then renamed; read it with ``hesscope.load``.

        Parameters
        ----------
        path
            The file, by custom ``*.safetensors``; replaced if it exists.
        state
            Also write the vectors to continue from (2n numbers a probe). Needs ``keep_state=True``.

        Raises
        ------
        ValueError
            If ``state=True`` and the result holds no state.
        OSError
            If the file cannot be written; a file that was there before is intact.
        """
        files.save(self, path, state=state)

    def plot(self, **options: Any) -> Any:
        """Draw the density with matplotlib (extra ``plot``); options as in ``hesscope.report.plot``."""
        from hesscope.report.plot import plot

        return plot(self, **options)

    def __repr__(self) -> str:
        known = "" if self.deflation is None else f"deflated={len(self.deflation)}, "
        return (
            f"SpectralDensity(n={self.n}, num_probes={self.num_probes}, num_steps={self.num_steps}, {known}"
            f"products={self.products}, status={self.status.name})"
        )
