"""What a spectrum means, in two sentences that follow from its numbers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from hesscope.report.numbers import interval_of, number, value_of
from hesscope.report.scale import quantile_of_size
from hesscope.results import Estimate
from hesscope.spectrum import SpectralDensity

# The bulk is this share of the eigenvalues, those smallest in size.
_BULK = 0.9
# From this ratio of the largest eigenvalue to the bulk on, a few directions are called sharp.
_SHARP = 10.0
# A Ritz value this many times as far below zero as rounding moves it is negative.
_ROUNDINGS = 4.0


@dataclass(frozen=True)
class Summary:
    """The numbers that a person asks of a spectrum first; no product with H.

    Attributes
    ----------
    rho
        The spectrum.
    """

    rho: SpectralDensity

    @cached_property
    def largest(self) -> Estimate:
        """The largest eigenvalue."""
        return self.rho.largest_eigenvalue()

    @cached_property
    def smallest(self) -> Estimate:
        """The smallest (most negative) eigenvalue."""
        return self.rho.smallest_eigenvalue()

    @cached_property
    def trace(self) -> Estimate:
        """The trace."""
        return self.rho.trace()

    @cached_property
    def negative_curvature(self) -> Estimate:
        """Sum of |negative eigenvalues| over the sum of all |eigenvalues|."""
        return self.rho.negative_curvature()

    @cached_property
    def bulk(self) -> float:
        """The size below which nine in ten eigenvalues lie."""
        return quantile_of_size(self.rho.nodes, self.rho.weights, _BULK)

    @property
    def noise(self) -> float:
        """How far below zero rounding alone may put an eigenvalue."""
        return _ROUNDINGS * self.rho.rounding

    def sentences(self) -> tuple[str, str]:
        """Return what the numbers say: sharp or flat, and saddle or minimum."""
        return self._sharpness(), self._signature()

    def _sharpness(self) -> str:
        top = self.largest.value
        if top <= self.noise:
            return f"No direction curves upwards: the largest eigenvalue is {number(top)}, zero to rounding."
        step = f"gradient descent is stable for step sizes below 2/λmax = {number(2 / top)}"
        if self.bulk <= self.noise:
            return (
                f"Sharp in few directions, flat in the rest: the largest eigenvalue is {number(top)} and "
                f"nine in ten are zero to rounding; {step}."
            )
        if top < _SHARP * self.bulk:
            return (
                f"Evenly curved: the largest eigenvalue, {number(top)}, is only {number(top / self.bulk)} "
                f"times the size that nine in ten stay below; {step}."
            )
        return (
            f"Sharp in few directions, flat in most: the largest eigenvalue, {number(top)}, is "
            f"{top / self.bulk:,.0f} times the size that nine in ten stay below; {step}."
        )

    def _signature(self) -> str:
        bottom, (lower, _) = self.smallest.value, self.smallest.interval
        if bottom < -self.noise:
            share = self.negative_curvature
            percent = value_of(share, scale=100, unit=" %")
            return (
                f"Saddle-like, not a minimum: the smallest eigenvalue, {number(bottom)}, is below zero by "
                f"more than rounding ({number(self.noise)}), and negative directions hold {percent} "
                f"{interval_of(share, scale=100)} of the curvature."
            )
        if lower >= -self.noise:
            return (
                f"Minimum-like: the smallest eigenvalue is {number(bottom)}, and none lies below zero"
                " by more than "
                "rounding."
            )
        return (
            f"No negative curvature was found, but an eigenvalue as low as {number(lower)} may have been "
            "missed: more steps would tell a minimum from a saddle."
        )
