"""What a Krylov run without a basis keeps in memory, and whether that fits."""

from __future__ import annotations

from pathlib import Path

import torch

from hesscope.krylov.recurrence import row_stride

VECTORS = 3  # v, v_prev and the product


def run_bytes(num_probes: int, num_steps: int, n: int, dtype: torch.dtype) -> int:
    """Bytes of the vectors a run keeps, three a probe, and of its coefficients."""
    return num_probes * (VECTORS * row_stride(n) * dtype.itemsize + num_steps * 2 * 8)


def check(where: str, needed: int, device: torch.device, *, budget: int | None = None) -> None:
    """Raise MemoryError, before anything is computed, if a run cannot fit a budget or its device."""
    free = available(device) if budget is None else budget
    if free is None or needed <= free:
        return
    room = f"{device} has {gigabytes(free)} free" if budget is None else f"{gigabytes(free)} are allowed"
    msg = f"{where}: the vectors of this run need {gigabytes(needed)}, but {room}; use fewer num_probes"
    raise MemoryError(msg)


def available(device: torch.device) -> int | None:
    """Free bytes of a device, or None where that cannot be told."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def gigabytes(num_bytes: int) -> str:
    """Say a number of bytes."""
    return f"{num_bytes / 1e9:.3g} GB"
