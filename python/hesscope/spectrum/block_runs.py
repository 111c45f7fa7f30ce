"""One run of the recurrences of several blocks side by side."""

from __future__ import annotations

import time
from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from hesscope import _ops
from hesscope.krylov import memory
from hesscope.krylov.lanczos import LanczosRun, lanczos
from hesscope.krylov.recurrence import Recurrence, aligned_rows, squared_norms
from hesscope.operators.base import SymmetricOperator
from hesscope.operators.block import Coordinates, block, size
from hesscope.results import RunFailed, Status
from hesscope.spectrum.measure import settled
from hesscope.spectrum.result import SpectralDensity

_WHERE = "block_densities"


def passes(
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
    found: list[list[str]] = []
    for name in order:
        longest = size(blocks[found[-1][0]]) if found else 0
        full = free is not None and needed(len(found[-1]) + 1, longest) > free // 2 if found else True
        # A recurrence that has ended goes on being multiplied as long as others have not.
        short = 2 * min(steps, size(blocks[name])) < min(steps, longest)
        if full or short:
            found.append([])
        found[-1].append(name)
    return found


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

    def begin(self, settings: dict[str, Any], first_probe: int) -> Recurrence:
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
                first_probe=first_probe,
                dtype=self.dtype,
                device=self.device,
            )
        scalars = torch.zeros(len(v), len(_ops.LanczosState), dtype=torch.float64, device=self.device)
        scalars[:, _ops.LanczosState.SCALE] = squared_norms(v).rsqrt()
        return Recurrence(v, v_prev, scalars)

    def fingerprint(self) -> Hashable:
        """Return that of the whole operator."""
        return self._operator.fingerprint()


class _Settled:
    """The test of ``tol``, block by block: the steps after which each had settled."""

    def __init__(self, blocks: list[Coordinates], settings: dict[str, Any]) -> None:
        self.steps: list[int | None] = [None] * len(blocks)
        self._num_probes = settings["num_probes"]
        self._tests = [settled(settings, size(part), None) for part in blocks]

    def __call__(self, alpha: Tensor, beta: Tensor) -> bool:
        for b, test in enumerate(self._tests):
            if self.steps[b] is None and test is not None:
                rows = slice(b * self._num_probes, (b + 1) * self._num_probes)
                long = alpha.shape[1]
                if test(alpha[rows].contiguous(), beta[rows].contiguous()):
                    self.steps[b] = long
        return all(steps is not None for steps in self.steps)


def measure_blocks(
    operator: SymmetricOperator,
    blocks: Mapping[str, Coordinates],
    settings: dict[str, Any],
    *,
    first_probe: int = 0,
    num_steps: Mapping[str, int] | None = None,
    progress: bool,
) -> dict[str, SpectralDensity]:
    """Run one pass: probes ``first_probe`` and on of every block; not more than ``num_steps`` of a block.

    Raises
    ------
    ValueError
        If the first products are not finite.
    RunFailed
        As :func:`hesscope.krylov.lanczos.lanczos`; ``partial`` is the dictionary so far.
    """
    began, k, parts = time.perf_counter(), settings["num_probes"], list(blocks.values())
    side_by_side = _Blocks(operator, parts, k)
    start = side_by_side.begin(settings, first_probe)
    limits = {name: min(settings["num_steps"], size(part)) for name, part in blocks.items()}
    limits |= num_steps or {}
    test = None if settings["tol"] is None else _Settled(parts, settings)

    def results(run: LanczosRun) -> dict[str, SpectralDensity]:
        seconds = (time.perf_counter() - began) / len(blocks)
        found = {}
        for b, (name, part) in enumerate(blocks.items()):
            enough = None if test is None else test.steps[b]
            rho = _density(operator, part, run, slice(b * k, (b + 1) * k), settings, limits[name], enough)
            found[name] = replace(rho, seconds=seconds)
        return found

    try:
        run = lanczos(side_by_side, start, num_steps=max(limits.values()), converged=test, progress=progress)
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
    limit: int,
    enough: int | None,
) -> SpectralDensity:
    """Cut one block out of a run: its rows, and the steps before it ended or had settled."""
    n, k = size(part), settings["num_probes"]
    steps = min(limit, run.alpha.shape[1])
    status: Status = Status.COMPLETE if run.status is Status.CONVERGED else run.status
    if enough is not None and enough <= steps:
        steps, status = enough, Status.CONVERGED
    alpha, beta = run.alpha[rows, :steps], run.beta[rows, :steps]
    if bool((beta == 0).any(dim=1).all()):
        steps, status = int((beta == 0).long().argmax(dim=1).max()) + 1, Status.INVARIANT_SUBSPACE
    return SpectralDensity(
        alpha=alpha[:, :steps].contiguous(),
        beta=beta[:, :steps].contiguous(),
        n=n,
        products=k * run.alpha.shape[1],
        status=status,
        seconds=0.0,
        memory_bytes=memory.run_bytes(k, steps, n, operator.dtype),
        orthogonality=None,
        settings=settings,
        operator=block(operator, part).description(),
    )
