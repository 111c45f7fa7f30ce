"""Densities of blocks of an operator, all of them in one run."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hesscope import _checks
from hesscope.krylov.arguments import positive
from hesscope.objective import Objective
from hesscope.operators.base import SymmetricOperator
from hesscope.operators.block import Coordinates, Indices, coordinates
from hesscope.results import RunFailed, Status
from hesscope.spectrum.adaptive import FIRST_LOOK, Until, check_until, content, look_counts, look_level
from hesscope.spectrum.block_runs import measure_blocks, passes
from hesscope.spectrum.result import SpectralDensity
from hesscope.spectrum.widen import beside

_WHERE = "block_densities"


def block_densities(
    operator: SymmetricOperator,
    groups: Objective | Mapping[str, Indices],
    *,
    num_probes: int = 4,
    num_steps: int = 100,
    seed: int = 0,
    distribution: str = "rademacher",
    tol: float | None = None,
    until: Until | None = None,
    max_probes: int = 64,
    progress: bool = False,
) -> dict[str, SpectralDensity]:
    """Estimate the spectrum of each diagonal block of an operator, all blocks in the same products.

    The block of a layer is the curvature that the loss has when this layer alone moves. Its eigenvalues lie
    between the extreme ones of H; the traces of blocks that partition the coordinates add up to that of H.

    Parameters
    ----------
    operator
        n x n and symmetric.
    groups
        An objective, for one block per parameter; or slices or indices by name, from
        :func:`hesscope.parameter_groups` (layers), :func:`hesscope.attention_heads`, or of your own. They may
        overlap, and need not cover everything.
    num_probes, num_steps, seed, distribution
        As in :func:`hesscope.spectral_density`, of each block. A block with fewer rows takes fewer steps.
    tol
        As in :func:`hesscope.spectral_density`, of each block by itself: one whose error bound has settled
        keeps the steps it has and is CONVERGED; the run ends when all have.
    until, max_probes
        As in :func:`hesscope.spectral_density`: probes are added, in one run each time, to the blocks that
        are not content. A function gets the density of one block. Every block has the level of its looks.
    progress
        Show a bar.

    Returns
    -------
    dict[str, SpectralDensity]
        By name, n being the size of the block: to rounding what ``spectral_density(block(H, indices))``
        gives, so ``resume`` with ``block(H, indices)`` extends one. All have the same probes: a sum over
        blocks has no valid interval, one block has.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or value, or the first products are not finite.
    MemoryError
        If not even one block at a time fits the free memory.
    RunFailed
        If a product raises an error or the operator changes after the first step; ``partial`` is the
        dictionary so far.

    Notes
    -----
    ``num_probes * num_steps`` products a block, fewer with ``tol`` and more with ``until``: H couples the
    blocks, so no product serves two of them. They go through the operator together, B K rows at once, which
    share what an engine does once for all rows; as many blocks as fit into half of the free memory at a
    time, those with fewer rows than half of the steps apart. A block that has settled goes on being
    multiplied as long as another of its run has not. Memory: for each block and probe 3 vectors as long as
    the largest block, and 2 of length n.
    """
    if not isinstance(operator, SymmetricOperator):
        msg = f"{_WHERE}: operator must be a SymmetricOperator, got {type(operator).__name__}"
        raise TypeError(msg)
    settings = {
        "num_probes": _checks.integer(_WHERE, "num_probes", num_probes, least=1, below=2**32),
        "num_steps": _checks.integer(_WHERE, "num_steps", num_steps, least=1),
        "seed": _checks.integer(_WHERE, "seed", seed),
        "reorthogonalize": "none",
        "distribution": _checks.choice(_WHERE, "distribution", distribution, ("rademacher", "gaussian")),
        "tol": None if tol is None else positive(_WHERE, "tol", tol),
        "bounds": None,
    }
    blocks = _blocks(operator, groups)
    if until is None:
        done = _run(operator, blocks, settings, first_probe=0, progress=progress)
    else:
        settings |= check_until(_WHERE, until, max_probes)
        done = _run_until(operator, blocks, settings, until, progress=progress)
    stopped = _stopped(done)
    if stopped is not None:
        msg = f"{_WHERE}: {stopped.value} Returned: {len(done)} of {len(blocks)} blocks."
        warnings.warn(msg, RuntimeWarning, stacklevel=2)
    return {name: done[name] for name in blocks if name in done}


def _run(
    operator: SymmetricOperator,
    blocks: dict[str, Coordinates],
    settings: dict[str, Any],
    **options: Any,
) -> dict[str, SpectralDensity]:
    """Measure the blocks in as many passes as memory asks for; fewer if the user or a NaN stops it."""
    done: dict[str, SpectralDensity] = {}
    for names in passes(operator, blocks, settings):
        chosen = {name: blocks[name] for name in names}
        try:
            done |= measure_blocks(operator, chosen, settings, **options)
        except RunFailed as failure:
            raise RunFailed(str(failure), done | failure.partial) from failure.__cause__
        if _stopped(done):
            break
    return done


def _run_until(
    operator: SymmetricOperator,
    blocks: dict[str, Coordinates],
    settings: dict[str, Any],
    until: Until,
    *,
    progress: bool,
) -> dict[str, SpectralDensity]:
    """Look at 8, 16, ... probes; the blocks that are not content get more, side by side."""
    first = min(max(settings["num_probes"], FIRST_LOOK), settings["max_probes"])
    counts = look_counts(first, settings["max_probes"])
    settings = {**settings, "num_probes": first, "level": look_level(len(counts))}
    done = _run(operator, blocks, settings, first_probe=0, progress=progress)
    for there, count in itertools.pairwise(counts):
        wanting = {name: blocks[name] for name, rho in done.items() if not content(rho, until)}
        if _stopped(done) or not wanting:
            break
        more = {**settings, "num_probes": count - there, "tol": None}
        steps = {name: done[name].num_steps for name in wanting if not done[name].sampled.ended.all()}
        try:
            new = _run(operator, wanting, more, first_probe=there, num_steps=steps, progress=progress)
        except RunFailed as failure:
            raise RunFailed(str(failure), done) from failure.__cause__
        stopped = _stopped(new)
        for name, rho in new.items():
            done[name] = replace(done[name], status=stopped) if stopped else _joined(done[name], rho)
    return {name: _judged(rho, until) for name, rho in done.items()}


def _joined(density: SpectralDensity, new: SpectralDensity) -> SpectralDensity:
    return replace(
        beside(density, new),
        products=density.products + new.products,
        seconds=density.seconds + new.seconds,
        settings={**density.settings, "num_probes": density.num_probes + new.num_probes},
    )


def _judged(density: SpectralDensity, until: Until) -> SpectralDensity:
    if density.status not in (Status.COMPLETE, Status.CONVERGED):
        return density
    status = Status.CONVERGED if content(density, until) else Status.MAX_PRODUCTS
    return replace(density, status=status, settings={**density.settings, "num_steps": density.num_steps})


def _stopped(done: Mapping[str, SpectralDensity]) -> Status | None:
    """Return why the user or a NaN stopped a run, if so."""
    stops = (Status.INTERRUPTED, Status.NONFINITE_OPERATOR)
    return next((rho.status for rho in done.values() if rho.status in stops), None)


def _blocks(operator: SymmetricOperator, groups: Objective | Mapping[str, Indices]) -> dict[str, Coordinates]:
    if isinstance(groups, Objective):
        check_size(_WHERE, "groups", groups, operator.shape[0], "the operator")
    named = groups.slices if isinstance(groups, Objective) else groups
    if not isinstance(named, Mapping) or not named:
        got = "an empty one" if isinstance(named, Mapping) else type(named).__name__
        msg = f"{_WHERE}: groups must be an Objective or indices by name, got {got}"
        raise TypeError(msg)
    return {name: coordinates(_WHERE, f"groups[{name!r}]", part, operator) for name, part in named.items()}


def check_size(where: str, name: str, objective: Objective, n: int, of: str) -> None:
    """Raise ValueError if the objective, whose parameters name parts of vectors, has another n."""
    if objective.n != n:
        msg = f"{where}: {name} must be the objective of {of}, with n = {n}, got n = {objective.n}"
        raise ValueError(msg)
