"""A small symmetric tensor of order 3: a third derivative on a basis."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

import torch
from torch import Tensor

from hesscope import _checks, _ops
from hesscope.results.files import Description, register, write

KIND = "projected_tensor"
_STARTS_PER_SIDE = 16  # of the power iteration
_ROUND, _ROUNDS = 32, 64  # steps between looks, and looks
_SETTLED = 1e-12  # relative residual of an eigenvector


@dataclass(frozen=True, eq=False)
class ProjectedTensor:
    """``T[q_i, q_j, q_l]`` on an orthonormal basis of k vectors.

    Attributes
    ----------
    packed
        Shape ``[k (k + 1) (k + 2) / 6]``, float64: the entries with ``i <= j <= l``, l fastest and i slowest.
    k
        Vectors of the basis.
    asymmetry
        Largest difference between an entry and its mean over the orders of its indices that were computed:
        the size of rounding.
    contractions
        How many were computed.
    """

    packed: Tensor
    k: int
    asymmetry: float
    contractions: int

    def dense(self) -> Tensor:
        """Return all entries: ``[k, k, k]``, float64."""
        full = self.packed.new_zeros(self.k, self.k, self.k)
        i, j, l = packed_positions(self.k, self.packed.device)  # noqa: E741
        for place in ((i, j, l), (i, l, j), (j, i, l), (j, l, i), (l, i, j), (l, j, i)):
            full[place] = self.packed
        return full

    def contract(self, u: Tensor, v: Tensor) -> Tensor:
        """Contract with coefficients in the basis.

        Parameters
        ----------
        u, v
            ``[k]`` or rows ``[B, k]``, float64.

        Returns
        -------
        Tensor
            ``[k]`` or ``[B, k]``: the coefficients of the projection of ``T[Q'u, Q'v, .]``.

        Raises
        ------
        ValueError, TypeError
            If a shape or dtype does not fit.
        """
        single = u.ndim == 1 and v.ndim == 1
        first, second = torch.broadcast_tensors(torch.atleast_2d(u), torch.atleast_2d(v))
        out = _ops.contract3(self.packed, first.contiguous(), second.contiguous())
        return out[0] if single else out

    def frobenius_norm(self) -> float:
        """Return the root of the sum of all squared entries: a lower bound of that of T."""
        i, j, l = packed_positions(self.k, self.packed.device)  # noqa: E741
        orders = torch.where((i == j) & (j == l), 1.0, torch.where((i == j) | (j == l), 3.0, 6.0))
        return math.sqrt(float((orders.double() * self.packed.square()).sum()))

    def injective_norm(self, *, num_starts: int | None = None, seed: int = 0) -> tuple[float, Tensor]:
        """Search for ``max T[x, x, x]`` over unit vectors of the space, by SS-HOPM from many starts.

        Parameters
        ----------
        num_starts
            Random starts beside the vectors of the basis; default: 16 k.
        seed
            Of the starts.

        Returns
        -------
        value
            The largest that was found: a lower bound of the injective norm of T.
        x
            ``[k]``: coefficients of where.

        Notes
        -----
        No contraction of T. The shift is twice the Frobenius norm, so that values only rise.

        References
        ----------
        Kolda, Mayo (2011), SIAM J. Matrix Anal. Appl. 32, 1095-1124.
        """
        where = "injective_norm"
        count = _STARTS_PER_SIDE * self.k if num_starts is None else num_starts
        count = _checks.integer(where, "num_starts", count, below=2**31)
        starts = _ops.probes(count, self.k, kind="gaussian", seed=seed, dtype=torch.float64)
        units = torch.eye(self.k, dtype=torch.float64)
        x = torch.cat([units, -units, starts]).to(self.packed.device)
        size = self.frobenius_norm()
        value = x.new_zeros(len(x))
        for _ in range(_ROUNDS):
            value, residual = _ops.higher_order_power(self.packed, x, shift=2 * size, num_steps=_ROUND)
            if float(residual.max()) <= _SETTLED * size:
                break
        best = int(value.argmax())
        return float(value[best]), x[best]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a results file, beside ``path`` and then renamed; read it with ``hesscope.load``.

        Raises
        ------
        OSError
            If the file cannot be written; a file that was there before is intact.
        """
        description = {"k": self.k, "asymmetry": self.asymmetry, "contractions": self.contractions}
        write(path, KIND, description, {"packed": self.packed})

    def __str__(self) -> str:
        entries = len(self.packed)
        return (
            f"third derivative on {self.k} directions: {entries} entries, Frobenius norm "
            f"{self.frobenius_norm():.6g}, asymmetry {self.asymmetry:.1g}, {self.contractions} contractions"
        )


def packed_positions(k: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return the indices ``i <= j <= l`` of all entries that are stored, in their order."""
    side = torch.arange(k, device=device)
    i, j, l = torch.meshgrid(side, side, side, indexing="ij")  # noqa: E741
    kept = (i <= j) & (j <= l)
    return i[kept], j[kept], l[kept]


def _read(description: Description, tensors: dict[str, Tensor]) -> ProjectedTensor:
    names = ("k", "asymmetry", "contractions")
    return ProjectedTensor(tensors["packed"], *(description[name] for name in names))


register(KIND, _read)
