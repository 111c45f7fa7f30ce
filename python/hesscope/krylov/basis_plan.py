"""Where a basis is kept: the first storage whose memory fits, in the order of its cost."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass

import torch

from hesscope import _checks
from hesscope.krylov import memory
from hesscope.krylov.far_rows import DiskRows, FarRows, HostRows, chunk_bytes
from hesscope.krylov.recurrence import basis_stride, row_stride
from hesscope.krylov.rows import MemoryRows, Rows

LEAST_BFLOAT16 = 100_000  # n from which rounding of rows averages out: to 2^-9 / sqrt(n) in a dot product
BASES = ("float32", "float64", "bfloat16", "host", "disk")


@dataclass(frozen=True)
class BasisPlan:
    """Where the vectors of a Krylov run are kept, and what that takes.

    Attributes
    ----------
    storage
        "float32" or "float64" (the dtype of the vectors), "bfloat16", "host" or "disk".
    num_vectors
        Vectors of the basis.
    device_bytes, host_bytes, disk_bytes
        What the run keeps on the device of the operator (its working vectors included), in the memory of
        the host besides, and on disk.
    reason
        Why this storage, in a sentence.
    """

    storage: str
    num_vectors: int
    device_bytes: int
    host_bytes: int
    disk_bytes: int
    reason: str

    def rows(self, k: int, n: int, *, dtype: torch.dtype, device: torch.device) -> Rows:
        """Allocate the basis: ``[k, num_vectors / k, n]``."""
        capacity = self.num_vectors // k
        if self.storage in ("host", "disk"):
            kind: type[FarRows] = HostRows if self.storage == "host" else DiskRows
            return kind(k, capacity, n, dtype=dtype, device=device)
        storage = torch.bfloat16 if self.storage == "bfloat16" else dtype
        return MemoryRows(k, capacity, n, storage=storage, dtype=dtype, device=device)


def plan_basis(
    n: int,
    num_vectors: int,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    working_vectors: int = 3,
    basis: str | None = None,
    memory_budget: int | None = None,
    where: str = "plan_basis",
) -> BasisPlan:
    """Choose where a Krylov run keeps its vectors; nothing is allocated.

    Parameters
    ----------
    n
        Length of a vector.
    num_vectors
        Vectors of the basis: ``num_probes * num_steps`` with full or selective reorthogonalisation,
        ``max(2 k + 10, k + 20)`` for eigenpairs.
    dtype, device
        Of the operator.
    working_vectors
        Vectors kept beside the basis, always on the device.
    basis
        One of "float32" and "float64" (which must be the dtype), "bfloat16", "host", "disk". Default: the
        first that fits of the dtype, bfloat16 (n of at least 100,000 only), host (where the operator is on
        another device) and disk.
    memory_budget
        Bytes on the device of the operator. Default: what is free.
    where
        Who asks, for messages.

    Returns
    -------
    BasisPlan

    Raises
    ------
    TypeError, ValueError
        If an argument is not one of those.
    MemoryError
        If nothing fits, or what was asked for does not; it says what would be enough.
    """
    n = _checks.integer(where, "n", n, least=1)
    num_vectors = _checks.integer(where, "num_vectors", num_vectors, least=1)
    working_vectors = _checks.integer(where, "working_vectors", working_vectors)
    if dtype not in (torch.float32, torch.float64):
        msg = f"{where}: dtype must be torch.float32 or torch.float64, got {dtype}"
        raise TypeError(msg)
    device = _device(where, device)
    name = str(dtype).removeprefix("torch.")
    if basis is not None:
        _checks.choice(where, "basis", basis, BASES)
        if basis in ("float32", "float64") and basis != name:
            msg = f"{where}: basis must be {name!r}, as the operator, or another storage, got {basis!r}"
            raise ValueError(msg)
    if memory_budget is not None:
        memory_budget = _checks.integer(where, "memory_budget", memory_budget, least=1)
    candidates = [
        _plan(storage, n, num_vectors, working_vectors, dtype, device)
        for storage in (name, "bfloat16", "host", "disk")
        if (storage == basis if basis is not None else _sensible(storage, n, device))
    ]
    budget = _free(where, device) if memory_budget is None else memory_budget
    tried: list[tuple[BasisPlan, str]] = []
    for plan in candidates:
        shortage = _shortage(plan, budget, device)
        if shortage is None:
            return _explained(plan, tried, basis)
        tried.append((plan, shortage))
    wants = "; ".join(f"{plan.storage}: {shortage}" for plan, shortage in tried)
    msg = f"{where}: a basis of {num_vectors} vectors of length {n} does not fit. {wants}"
    raise MemoryError(msg)


def _device(where: str, device: object) -> torch.device:
    if isinstance(device, torch.device):
        return device
    if not isinstance(device, str):
        msg = f"{where}: device must be a torch.device or the name of one, got {type(device).__name__}"
        raise TypeError(msg)
    try:
        return torch.device(device)
    except RuntimeError as error:
        msg = f"{where}: device must be a torch.device or the name of one, got {device!r}"
        raise ValueError(msg) from error


def _free(where: str, device: torch.device) -> int | None:
    try:
        return memory.available(device)
    except (AssertionError, RuntimeError) as error:  # torch raises either where there is none
        msg = f"{where}: device must be there unless memory_budget is given, got {device}: {error}"
        raise ValueError(msg) from error


def _sensible(storage: str, n: int, device: torch.device) -> bool:
    if storage == "bfloat16":
        return n >= LEAST_BFLOAT16
    return storage != "host" or device.type != "cpu"


def _plan(
    storage: str, n: int, count: int, working: int, dtype: torch.dtype, device: torch.device
) -> BasisPlan:
    size = dtype.itemsize
    near, far = working * row_stride(n) * size, count * n * size
    if storage not in ("host", "disk"):
        width = 2 if storage == "bfloat16" else size
        return BasisPlan(storage, count, near + count * basis_stride(n, width) * width, 0, 0, "")
    near += chunk_bytes(count, n, size)
    if storage == "disk":
        host = chunk_bytes(count, n, size) if device.type != "cpu" else 0
        return BasisPlan(storage, count, near, host, far, "")
    if device.type == "cpu":
        return BasisPlan(storage, count, near + far, 0, 0, "")
    return BasisPlan(storage, count, near, far, 0, "")


def _shortage(plan: BasisPlan, budget: int | None, device: torch.device) -> str | None:
    """Say what is lacking, with what would be enough, or return None."""
    if budget is not None and plan.device_bytes > budget:
        return f"needs {_gigabytes(plan.device_bytes)} on {device}, {_gigabytes(budget)} are allowed or free"
    host = memory.available(torch.device("cpu"))
    if plan.host_bytes and host is not None and plan.host_bytes > host:
        return f"needs {_gigabytes(plan.host_bytes)} of host memory, {_gigabytes(host)} are free"
    if plan.disk_bytes:
        folder = tempfile.gettempdir()
        free = shutil.disk_usage(folder).free
        if plan.disk_bytes > free:
            return (
                f"needs {_gigabytes(plan.disk_bytes)} on the disk of {folder}, {_gigabytes(free)} are free "
                "(TMPDIR names another folder)"
            )
    return None


def _explained(plan: BasisPlan, tried: list[tuple[BasisPlan, str]], basis: str | None) -> BasisPlan:
    if basis is not None:
        reason = f"{plan.storage}, as asked for."
    elif not tried:
        reason = f"{plan.storage}: {_gigabytes(plan.device_bytes)} fit."
    else:
        reason = f"{plan.storage}: " + "; ".join(f"{p.storage} {shortage}" for p, shortage in tried) + "."
    return BasisPlan(
        plan.storage, plan.num_vectors, plan.device_bytes, plan.host_bytes, plan.disk_bytes, reason
    )


def _gigabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.3g} GB"
