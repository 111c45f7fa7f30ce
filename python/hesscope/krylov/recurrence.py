"""The state of K Lanczos recurrences: what a run starts from, and what it can be continued from."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hesscope import _ops
from hesscope._ops.probes import ProbeKind

_LEAST_NORM = 1e-150
_LEAST_SPREAD = 2**14  # shorter rows stay in cache, and a KB would count
ROW_ALIGNMENT = 32  # elements; so that every row of our own buffers is aligned for vector loads


@dataclass(eq=False)
class Recurrence:
    """K recurrences between two steps. A run writes into these tensors.

    Attributes
    ----------
    v, v_prev
        Shape ``[K, n]``, rows contiguous: the current and the previous Lanczos vectors, unnormalised.
    scalars
        Shape ``[K, 4]``, float64, same device: ``scale, scale_prev, beta_prev, largest``, see
        ``_ops.LanczosState``.
    """

    v: Tensor
    v_prev: Tensor
    scalars: Tensor

    def copy(self) -> Recurrence:
        """Return a copy in aligned buffers, so that a run leaves this one alone."""
        k, n = self.v.shape
        v = aligned_rows(k, n, dtype=self.v.dtype, device=self.v.device)
        v_prev = aligned_rows(k, n, dtype=self.v.dtype, device=self.v.device)
        return Recurrence(v.copy_(self.v), v_prev.copy_(self.v_prev), self.scalars.clone())


def from_probes(
    num_probes: int,
    n: int,
    *,
    seed: int,
    first_probe: int = 0,
    kind: ProbeKind,
    dtype: torch.dtype,
    device: torch.device,
) -> Recurrence:
    """Start K recurrences from random probes: ``q_1 = z / |z|``."""
    v = aligned_rows(num_probes, n, dtype=dtype, device=device)
    v_prev = aligned_rows(num_probes, n, dtype=dtype, device=device)
    _ops.probes(
        num_probes, n, kind=kind, seed=seed, first_probe=first_probe, dtype=dtype, device=device, out=v
    )
    scalars = torch.zeros(num_probes, len(_ops.LanczosState), dtype=torch.float64, device=device)
    scalars[:, _ops.LanczosState.SCALE] = squared_norms(v).rsqrt()
    return Recurrence(v, v_prev, scalars)


def is_extreme(recurrence: Recurrence) -> bool:
    """Tell whether the operator's norm, squared, may leave the range of the vectors' dtype.

    An unnormalised vector is as large as the norm, and its product as large as the square. Raises ValueError
    where float64 does not hold the square of a tiny one, in which norms are found.
    """
    sizes = recurrence.scalars[:, _ops.LanczosState.LARGEST]
    largest, info = float(sizes.max()), torch.finfo(recurrence.v.dtype)
    if not math.isfinite(largest) or largest == 0:
        return False
    if largest < _LEAST_NORM:
        msg = f"operator must have a norm of at least {_LEAST_NORM}, got {largest:.2g}; hesscope.scaled gives it one"
        raise ValueError(msg)
    low, high = info.tiny ** (1 / 3), info.max ** (1 / 3)
    return largest > high or bool(((sizes > 0) & (sizes < low)).any())


def normalize(recurrence: Recurrence) -> None:
    """Scale the current vectors to norms between 1/2 and 1, by powers of two, so that nothing is rounded."""
    scale = recurrence.scalars[:, _ops.LanczosState.SCALE]
    factor = torch.exp2(torch.frexp(scale).exponent.double() - 1).masked_fill(scale == 0, 1.0)
    recurrence.v *= factor.to(recurrence.v.dtype)[:, None]
    scale /= factor


def aligned_rows(*shape: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Allocate ``[..., n]`` with a row stride of n rounded up to 32 elements."""
    *leading, n = shape
    stride = row_stride(n)
    return torch.empty(*leading, stride, dtype=dtype, device=device)[..., :n]


def row_stride(n: int) -> int:
    """Return n rounded up to the alignment of rows."""
    return -(-n // ROW_ALIGNMENT) * ROW_ALIGNMENT


def basis_stride(n: int, itemsize: int) -> int:
    """Return the row stride of a basis, in elements: at least ``row_stride(n)``.

    Many rows are read side by side. Where they begin at odd multiples of 512 bytes from each other, modulo
    1024, that was measured a quarter to a third faster than at other distances, at up to 1 KB a row.
    """
    stride = row_stride(n)
    if n < _LEAST_SPREAD:
        return stride
    unit = 512 // itemsize
    return stride + (unit - stride) % (2 * unit)


def squared_norms(rows: Tensor) -> Tensor:
    """Squared norms of rows ``[K, n] -> [K]``, summed in float64."""
    return _ops.multi_dot(rows[:, None, :], rows)[:, 0]
