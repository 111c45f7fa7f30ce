"""Densities of blocks of an operator, all of them in one run."""

from __future__ import annotations

import time
import warnings
from collections.abc import Hashable, Mapping
from typing import Any

import torch
from torch import Tensor

from hesscope import _checks, _ops
from hesscope.krylov import memory
from hesscope.krylov.lanczos import LanczosRun, lanczos
from hesscope.krylov.recurrence import Recurrence, aligned_rows, squared_norms
from hesscope.objective import Objective
from hesscope.operators.base import SymmetricOperator
from hesscope.operators.block import Coordinates, Indices, block, coordinates, size
from hesscope.results import RunFailed, Status
from hesscope.spectrum.result import SpectralDensity

_WHERE = "block_densities"


def block_densities(
    operator: SymmetricOperator,
    groups: Objective | Mapping[str, Indices],
    *,
    num_probes: int = 4,
    num_steps: int = 100,
    seed: int = 0,
    distribution: str = "rademacher",
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
    ``num_probes * num_steps`` products a block: H couples the blocks, so no product serves two of them.
    They go through the operator together, B K rows at once, which share what an engine does once for all
    rows; as many blocks as fit into half of the free memory at a time, those with fewer rows than half of
    the steps apart. Memory: for each block and probe 3 vectors as long as the largest block, and 2 of
    length n.
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
        "tol": None,
        "bounds": None,
    }
    blocks = _blocks(operator, groups)
    done: dict[str, SpectralDensity] = {}
    for names in _passes(operator, blocks, settings):
        chosen = {name: blocks[name] for name in names}
        try:
            done |= _measure(operator, chosen, settings, progress=progress)
        except RunFailed as failure:
            raise RunFailed(str(failure), done | failure.partial) from failure.__cause__
        for status in {rho.status for rho in done.values()} & {Status.INTERRUPTED, Status.NONFINITE_OPERATOR}:
            msg = f"{_WHERE}: {status.value} Returned: {len(done)} of {len(blocks)} blocks."
            warnings.warn(msg, RuntimeWarning, stacklevel=2)
            return {name: done[name] for name in blocks if name in done}
    return {name: done[name] for name in blocks}


def _blocks(operator: SymmetricOperator, groups: Objective | Mapping[str, Indices]) -> dict[str, Coordinates]:
    named = groups.slices if isinstance(groups, Objective) else groups
    if not isinstance(named, Mapping) or not named:
        got = "an empty one" if isinstance(named, Mapping) else type(named).__name__
        msg = f"{_WHERE}: groups must be an Objective or indices by name, got {got}"
        raise TypeError(msg)
    return {name: coordinates(_WHERE, f"groups[{name!r}]", part, operator) for name, part in named.items()}


def _passes(
    operator: SymmetricOperator, blocks: Mapping[str, Coordinates], settings: dict[str, Any]
) -> list[list[str]]:
    """Distribute the blocks over as few runs as fit, largest first, so that rows of a run are alike."""
    k, steps, n, dtype = settings["num_probes"], settings["num_steps"], operator.shape[0], operator.dtype

    def needed(count: int, longest: int) -> int:
        whole: int = 2 * count * k * n * dtype.itemsize
        return memory.run_bytes(count * k, steps, longest, dtype) + whole

    order = sorted(blocks, key=lambda name: -size(blocks[name]))
    memory.check(_WHERE, needed(1, size(blocks[order[0]])), operator.device)
    free = memory.available(operator.device)
    passes: list[list[str]] = []
    for name in order:
        longest = size(blocks[passes[-1][0]]) if passes else 0
        full = free is not None and needed(len(passes[-1]) + 1, longest) > free // 2 if passes else True
        # A recurrence that has ended goes on being multiplied as long as others have not.
        short = 2 * min(steps, size(blocks[name])) < min(steps, longest)
        if full or short:
            passes.append([])
        passes[-1].append(name)
    return passes


class _Blocks(SymmetricOperator):
    """Blocks side by side: row r belongs to block r // K, in its first entries; the others are zero."""

    def __init__(self, operator: SymmetricOperator, blocks: list[Coordinates], num_probes: int) -> None:
        longest = max(size(part) for part in blocks)
        super().__init__(longest, dtype=operator.dtype, device=operator.device)
        self._operator, self._parts = operator, blocks
        self._rows_of = [slice(b * num_probes, (b + 1) * num_probes) for b in range(len(blocks))]
        shape = (len(blocks) * num_probes, operator.shape[0])
        self._whole = torch.zeros(shape, dtype=self.dtype, device=self.device)

    def _rows(self, vectors: Tensor) -> Tensor:
        for rows, part in zip(self._rows_of, self._parts, strict=True):
            self._whole[rows, part] = vectors[rows, : size(part)]
        products = self._operator.rows(self._whole)
        out = torch.zeros_like(vectors)
        for rows, part in zip(self._rows_of, self._parts, strict=True):
            out[rows, : size(part)] = products[rows, part]
        return out

    def begin(self, settings: dict[str, Any]) -> Recurrence:
        """Start each block from the probes that it would have by itself."""
        k, length = settings["num_probes"], self.shape[0]
        shape = (len(self._parts) * k, length)
        v, v_prev = (aligned_rows(*shape, dtype=self.dtype, device=self.device) for _ in range(2))
        v.zero_()
        for rows, part in zip(self._rows_of, self._parts, strict=True):
            v[rows, : size(part)] = _ops.probes(
                k,
                size(part),
                kind=settings["distribution"],
                seed=settings["seed"],
                dtype=self.dtype,
                device=self.device,
            )
        scalars = torch.zeros(len(v), len(_ops.LanczosState), dtype=torch.float64, device=self.device)
        scalars[:, _ops.LanczosState.SCALE] = squared_norms(v).rsqrt()
        return Recurrence(v, v_prev, scalars)

    def fingerprint(self) -> Hashable:
        """Return that of the whole operator."""
        return self._operator.fingerprint()


def _measure(
    operator: SymmetricOperator, blocks: dict[str, Coordinates], settings: dict[str, Any], *, progress: bool
) -> dict[str, SpectralDensity]:
    """Run one pass."""
    began, k = time.perf_counter(), settings["num_probes"]
    side_by_side = _Blocks(operator, list(blocks.values()), k)
    start = side_by_side.begin(settings)
    steps = min(settings["num_steps"], side_by_side.shape[0])

    def results(run: LanczosRun) -> dict[str, SpectralDensity]:
        seconds = (time.perf_counter() - began) / len(blocks)
        return {
            name: _density(operator, part, run, slice(b * k, (b + 1) * k), settings, seconds)
            for b, (name, part) in enumerate(blocks.items())
        }

    try:
        run = lanczos(side_by_side, start, num_steps=steps, progress=progress)
    except RunFailed as failure:
        raise RunFailed(str(failure), results(failure.partial)) from failure.__cause__
    if run.alpha.shape[1] == 0:
        msg = f"{_WHERE}: operator must return finite products, but the first is not. {run.status.value}"
        raise ValueError(msg)
    return results(run)


def _density(
    operator: SymmetricOperator,
    part: Coordinates,
    run: LanczosRun,
    rows: slice,
    settings: dict[str, Any],
    seconds: float,
) -> SpectralDensity:
    """Cut one block out of a run: its rows, and the steps before its recurrences ended."""
    n, k = size(part), settings["num_probes"]
    steps = min(n, run.alpha.shape[1])
    alpha, beta = run.alpha[rows, :steps], run.beta[rows, :steps]
    ended = bool((beta == 0).any(dim=1).all())
    if ended:
        steps = int((beta == 0).long().argmax(dim=1).max()) + 1
    status = Status.INVARIANT_SUBSPACE if ended else run.status
    return SpectralDensity(
        alpha=alpha[:, :steps].contiguous(),
        beta=beta[:, :steps].contiguous(),
        n=n,
        products=k * run.alpha.shape[1],
        status=status,
        seconds=seconds,
        memory_bytes=memory.run_bytes(k, steps, n, operator.dtype),
        orthogonality=None,
        settings=settings,
        operator=block(operator, part).description(),
    )
