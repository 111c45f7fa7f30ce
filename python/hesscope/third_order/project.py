"""The third derivative on a small basis, from about a quarter of the pairs of its vectors."""

from __future__ import annotations

import torch
from torch import Tensor

from hesscope.third_order.directions import rows
from hesscope.third_order.form import TrilinearForm
from hesscope.third_order.projected import ProjectedTensor, packed_positions

LARGEST = 64  # vectors, as many as packed tensors have
_WHERE = "project"
_ORTHONORMAL = 64  # roundings, times the square root of n


def project(third: TrilinearForm, basis: Tensor) -> ProjectedTensor:
    """Compute ``T[q_i, q_j, q_l]`` for all vectors of an orthonormal basis; see ``ThirdOrder.project``."""
    q = _checked(third, basis)
    k = len(q)
    before = third.contractions
    found = torch.zeros(k, k, k, dtype=torch.float64, device=q.device)
    known = torch.zeros(k, k, k, dtype=torch.bool)

    def fill(i: int, j: int, contraction: Tensor) -> None:
        found[i, j] = found[j, i] = q.double() @ contraction.double()
        known[i, j] = known[j, i] = True

    for i, contraction in enumerate(third.contract(q, q)):
        fill(i, i, contraction)
    for half in (range(k // 2), range(k // 2, k)):
        for i in half[:-1]:
            following = half[half.index(i) + 1 :]
            found_here = third.contract(q[i], q[following.start : half.stop])
            for j, contraction in zip(following, found_here, strict=True):
                fill(i, j, contraction)
    return _packed(found, known.to(q.device), third.contractions - before)


def _packed(found: Tensor, known: Tensor, contractions: int) -> ProjectedTensor:
    """Average the one to three values that are known of every entry; their spread is the asymmetry."""
    i, j, l = packed_positions(len(found), found.device)  # noqa: E741
    places = ((i, j, l), (i, l, j), (j, l, i))
    values = torch.stack([found[place] for place in places])
    seen = torch.stack([known[place[0], place[1], place[2]] for place in places])
    mean = (values * seen).sum(0) / seen.sum(0)
    spread = ((values - mean).abs() * seen).max() if len(mean) else found.new_zeros(())
    return ProjectedTensor(mean, len(found), float(spread), contractions)


def _checked(third: TrilinearForm, basis: Tensor) -> Tensor:
    (q,) = rows(third.objective, _WHERE, basis=basis)
    if len(q) > LARGEST:
        msg = f"{_WHERE}: basis must have at most {LARGEST} vectors, got {len(q)}"
        raise ValueError(msg)
    if len(q) == 0:
        msg = f"{_WHERE}: basis must have at least one vector, got none"
        raise ValueError(msg)
    double = q.double()
    defect = float((double @ double.T - torch.eye(len(q), dtype=torch.float64, device=q.device)).abs().max())
    if not defect <= _ORTHONORMAL * torch.finfo(q.dtype).eps * third.objective.n**0.5:
        msg = (
            f"{_WHERE}: basis must have orthonormal rows, but |QQ' - I| has an entry of {defect:.2g}; "
            "torch.linalg.qr(basis.T)[0].T is an orthonormal basis of the same space"
        )
        raise ValueError(msg)
    return q
