"""What is sampled for a trace: z'Hz, or what is left of it when a part of H is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hesscope.results import Eigenpairs, Estimate
from hesscope.spectrum.balanced import single
from hesscope.spectrum.probing import Prober, dots, project
from hesscope.spectrum.sampling import CONFIDENCE, half_width
from hesscope.spectrum.sketch import Sketch

_ROUNDINGS = 4


@dataclass(frozen=True)
class Plan:
    """A sample, and the part of the trace that is known besides.

    Attributes
    ----------
    correct
        Maps probes ``z [K, n]`` and forms ``z'Hz [K]`` to samples ``[K]``.
    known
        What their mean is added to.
    method
        What to call it.
    """

    correct: Callable[[Tensor, Tensor], Tensor]
    known: float
    method: str

    def estimate(self, prober: Prober) -> Estimate:
        """Spend the products that are left."""
        samples = prober.forms(prober.budget - prober.used, self.correct)
        return sampled(prober, single(samples), self.known, self.method)


def plain() -> Plan:
    """Return the forms themselves."""
    return Plan(lambda _, forms: forms, 0.0, "mean of z'Hz over random signs, t-interval")


def without(prober: Prober, pairs: Eigenpairs) -> Plan:
    """Return what is left of H without eigenpairs."""
    vectors, values = pairs.vectors, pairs.values.to(prober.device)

    def remainder(z: Tensor, forms: Tensor) -> Tensor:
        return forms - project(vectors, z).square() @ values

    known = float(values @ dots(vectors, vectors))
    return Plan(remainder, known, f"{len(pairs)} eigenpairs, and mean of z'Hz without them, t-interval")


def beyond(sketch: Sketch, name: str) -> Plan:
    """Return the trace on the basis of a sketch, and what is outside it for fresh probes."""
    basis, images, square = sketch.basis, sketch.basis_images, sketch.compressed()

    def remainder(z: Tensor, forms: Tensor) -> Tensor:
        # y'Hy for y = z - QQ'z, from z'Hz and HQ.
        inside = project(basis, z)
        cross = (project(images, z) * inside).sum(dim=1)
        return forms - 2 * cross + ((inside @ square.to(inside.device)) * inside).sum(dim=1)

    method = f"{name}: {basis.shape[0]} directions measured, mean of z'Hz outside them, t-interval"
    return Plan(remainder, float(torch.trace(square)), method)


def sampled(
    prober: Prober, samples: Tensor, known: float, method: str, *, level: float = CONFIDENCE
) -> Estimate:
    """Return a known part plus the mean of independent samples ``[K]``."""
    value, sampling = known + float(samples.mean()), float(half_width(samples, level))
    # Of the products themselves: all that is left where a basis holds everything.
    rounding = _ROUNDINGS * torch.finfo(prober.dtype).eps * (abs(known) + float(samples.abs().mean()))
    error = sampling + rounding
    interval = (value - error, value + error)
    return Estimate(value, error, interval, prober.used, method, prober.status, sampling=sampling)
