"""As many probes as an answer needs, and intervals that stay right although somebody looked."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hesscope import _checks
from hesscope.operators.base import SymmetricOperator
from hesscope.results import Status
from hesscope.spectrum import bands
from hesscope.spectrum.measure import measure
from hesscope.spectrum.result import SpectralDensity
from hesscope.spectrum.sampling import CONFIDENCE
from hesscope.spectrum.widen import widened

FIRST_LOOK = 8  # probes; a t-interval of fewer is wide, and rough where samples are skewed
Until = float | Callable[[SpectralDensity], bool]


def look_counts(first: int, most: int) -> list[int]:
    """Numbers of samples at which a run looks: doubling from ``first``, the last one ``most``."""
    counts = [first]
    while counts[-1] < most:
        counts.append(min(2 * counts[-1], most))
    return counts


def look_level(num_looks: int) -> float:
    """Level of each look so that all of them hold at once at 95 %: a union bound (Bonferroni)."""
    return 1 - (1 - CONFIDENCE) / num_looks


def check_until(where: str, until: object, max_probes: int) -> dict[str, Any]:
    """Return the settings of an adaptive run, or raise TypeError or ValueError."""
    most = _checks.integer(where, "max_probes", max_probes, least=FIRST_LOOK, below=2**32)
    if callable(until):
        return {"max_probes": most, "until": "a function"}
    tolerance = _checks.real(where, "until", until)
    if tolerance <= 0:
        msg = f"{where}: until must be positive, or a function of the density, got {tolerance}"
        raise ValueError(msg)
    return {"max_probes": most, "until": tolerance}


def measure_until(
    operator: SymmetricOperator,
    settings: dict[str, Any],
    until: Until,
    *,
    progress: bool,
    keep_state: bool,
) -> SpectralDensity:
    """Run with 8, 16, 32, ... probes until ``until`` is content; see :func:`hesscope.spectral_density`."""
    first = min(max(settings["num_probes"], FIRST_LOOK), settings["max_probes"])
    counts = look_counts(first, settings["max_probes"])
    settings = {**settings, "num_probes": first, "level": look_level(len(counts))}
    density = measure(operator, settings, progress=progress, keep_state=keep_state)
    for count in counts[1:]:
        if density.status in (Status.INTERRUPTED, Status.NONFINITE_OPERATOR) or content(density, until):
            break
        began, products = time.perf_counter(), operator.products
        wider = replace(density, settings={**density.settings, "num_probes": count})
        wider = widened("spectral_density", wider, operator, progress=progress, keep_state=keep_state)
        density = replace(
            wider,
            products=density.products + operator.products - products,
            seconds=density.seconds + time.perf_counter() - began,
        )
    if density.status in (Status.COMPLETE, Status.CONVERGED):
        status = Status.CONVERGED if content(density, until) else Status.MAX_PRODUCTS
        settings = {
            **density.settings,
            "num_steps": density.num_steps,
        }  # no step is missing, whatever tol said
        return replace(density, status=status, settings=settings)
    return density


def content(density: SpectralDensity, until: Until) -> bool:
    """Tell whether a density has reached ``until``."""
    if callable(until):
        return bool(until(density))
    spread = float(density.nodes.max() - density.nodes.min())
    return bands.sampling_distance(density) <= until * spread
