"""Stochastic Lanczos quadrature: the density of the eigenvalues of a symmetric operator."""

from __future__ import annotations

from hesscope.operators import SymmetricOperator
from hesscope.spectrum.result import SpectralDensity


def spectral_density(
    operator: SymmetricOperator,
    *,
    num_probes: int = 4,
    num_steps: int = 100,
    seed: int = 0,
    reorthogonalize: str = "none",
    distribution: str = "rademacher",
    tol: float | None = None,
    bounds: tuple[float, float] | None = None,
    progress: bool = False,
    keep_state: bool = False,
) -> SpectralDensity:
    """Estimate the distribution of the eigenvalues (signature; the body follows)."""
    raise NotImplementedError


def resume(
    density: SpectralDensity,
    operator: SymmetricOperator,
    *,
    num_steps: int | None = None,
    num_probes: int | None = None,
    progress: bool = False,
    keep_state: bool = False,
) -> SpectralDensity:
    """Continue a run (signature; the body follows)."""
    raise NotImplementedError
