"""Random vectors that are addressed by (seed, probe, index): ``probes`` and ``probe_dot``."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from hesscope import _core
from hesscope._ops._call import call, workspace
from hesscope._ops._library import register

ProbeKind = Literal["rademacher", "gaussian"]


def _spec(op: str, kind: str, seed: int, first_probe: int, first_index: int) -> _core.ProbeSpec:
    for name, value in (("seed", seed), ("first_probe", first_probe), ("first_index", first_index)):
        if not 0 <= value < 2**63:
            msg = f"{op}: {name} must be in [0, 2**63), got {value}"
            raise ValueError(msg)
    if kind not in ("rademacher", "gaussian"):
        msg = f"{op}: kind must be 'rademacher' or 'gaussian', got {kind!r}"
        raise ValueError(msg)
    return _core.ProbeSpec(kind=kind, seed=seed, first_probe=first_probe, first_index=first_index)


def probes(
    num_probes: int,
    n: int,
    *,
    kind: ProbeKind = "rademacher",
    seed: int = 0,
    first_probe: int = 0,
    first_index: int = 0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    out: Tensor | None = None,
    backend: str = "auto",
) -> Tensor:
    """Rows of independent random numbers with mean 0 and variance 1.

    Entry ``[r, i]`` depends on ``(kind, seed, first_probe + r, first_index + i)`` and nothing else:
    not on the device, the batch, the number of threads or how a vector is cut into shards. (Gaussian
    numbers made on a device may differ from those of the CPU by 4 ulp of float64.)

    Parameters
    ----------
    num_probes, n
        Shape of the result, K rows of n.
    kind
        ``"rademacher"`` is ±1; ``"gaussian"`` is the normal distribution, float64 rounded to the dtype.
    seed
        In ``[0, 2**63)``.
    first_probe
        Number of the first row, in ``[0, 2**32 - K]``.
    first_index
        Index of the first column: where this shard begins in the whole vector.
    dtype, device
        Of the result, float32 or float64; ignored if ``out`` is given.
    out
        Shape ``[K, n]``, rows contiguous: written and returned.
    backend
        ``"auto"`` follows the device; ``"reference"``, ``"cpu"`` and ``"cuda"`` are for tests.

    Returns
    -------
    Tensor
        Shape ``[K, n]``.

    Raises
    ------
    ValueError
        If ``out`` has another shape, or a number is out of its range.
    TypeError
        If the dtype is neither float32 nor float64.
    """
    spec = _spec("probes", kind, seed, first_probe, first_index)
    if out is None:
        out = torch.empty(num_probes, n, dtype=dtype, device=device)
    elif tuple(out.shape) != (num_probes, n):
        msg = f"probes: out must have shape [{num_probes}, {n}], got {list(out.shape)}"
        raise ValueError(msg)
    _core.probes(spec, out=out.detach(), call=call(out.device, backend))
    return out


def probe_dot(
    w: Tensor,
    *,
    kind: ProbeKind = "rademacher",
    seed: int = 0,
    first_probe: int = 0,
    first_index: int = 0,
    backend: str = "auto",
) -> Tensor:
    """Dot products ``c[r] = <z[r], w[r]>`` with probes that are regenerated instead of read.

    Parameters
    ----------
    w
        Shape ``[K, n]``, float32 or float64, rows contiguous.
    kind, seed, first_probe, first_index, backend
        As in :func:`probes`: ``z`` is what it returns in the dtype of ``w``.

    Returns
    -------
    Tensor
        Shape ``[K]``, float64. The bits do not depend on K or on the number of threads.

    Raises
    ------
    ValueError
        If ``w`` is not a matrix with contiguous rows, or a number is out of its range.
    TypeError
        If the dtype is neither float32 nor float64.
    """
    spec = _spec("probe_dot", kind, seed, first_probe, first_index)
    w = w.detach()
    out = torch.empty(w.shape[:1], dtype=torch.float64, device=w.device)
    scratch = workspace(_core.probe_dot_workspace_bytes(*w.shape) if w.ndim == 2 else 0, w.device)
    _core.probe_dot(spec, w, out=out, workspace=scratch, call=call(w.device, backend))
    return out


def _probes_impl(out: Tensor, kind: ProbeKind, seed: int, first_probe: int, first_index: int) -> None:
    rows, n = out.shape
    probes(rows, n, kind=kind, seed=seed, first_probe=first_probe, first_index=first_index, out=out)


def _probe_dot_impl(w: Tensor, kind: ProbeKind, seed: int, first_probe: int, first_index: int) -> Tensor:
    return probe_dot(w, kind=kind, seed=seed, first_probe=first_probe, first_index=first_index)


register(
    "probes(Tensor(a!) out, str kind, int seed, int first_probe, int first_index) -> ()",
    _probes_impl,
    lambda out, kind, seed, first_probe, first_index: None,  # noqa: ARG005
)
register(
    "probe_dot(Tensor w, str kind, int seed, int first_probe, int first_index) -> Tensor",
    _probe_dot_impl,
    lambda w, kind, seed, first_probe, first_index: w.new_empty(  # noqa: ARG005
        w.shape[:1], dtype=torch.float64
    ),
)
