"""f(H) z for a few vectors, by Lanczos with all its vectors kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hesscope.krylov.recurrence import squared_norms
from hesscope.operators import SymmetricOperator
from hesscope.spectrum.probing import dots

_BREAKDOWN = 8  # a residual of so many roundings of the operator's size is none


@dataclass(frozen=True, eq=False)
class FunctionRows:
    """``f(H) z`` of K vectors.

    Attributes
    ----------
    value, change
        Shape ``[K, n]``: the result, and what the last quarter of the steps changed.
    nodes
        All Ritz values, float64, CPU.
    rounding
        By how much rounding may move a node.
    """

    value: Tensor
    change: Tensor
    nodes: Tensor
    rounding: float


def function_rows(
    operator: SymmetricOperator, f: Callable[[Tensor], Tensor], z: Tensor, *, num_steps: int
) -> FunctionRows:
    """Compute ``|z| Q f(T) e_1`` for rows ``z [K, n]``, with full reorthogonalisation.

    f maps nodes ``[m]``, float64, CPU, to values. Memory: ``num_steps`` rows for each row. All is NaN if a
    product is not finite.
    """
    k, steps = len(z), min(num_steps, z.shape[1])
    norms = squared_norms(z).sqrt()
    eps = torch.finfo(z.dtype).eps
    basis = z.new_zeros(steps, *z.shape)
    alpha, beta = (torch.zeros(k, steps, dtype=torch.float64, device=z.device) for _ in range(2))
    length = torch.full((k,), steps)
    q, size = _divided(z, norms), torch.zeros(k, dtype=torch.float64, device=z.device)
    for j in range(steps):
        basis[j] = q
        w = operator.rows(q).detach()
        alpha[:, j] = dots(q, w)
        kept = basis[: j + 1].transpose(0, 1).double()
        rest = w.double()
        for _ in range(2):
            rest = rest - torch.einsum("kj,kjn->kn", torch.einsum("kjn,kn->kj", kept, rest), kept)
        beta[:, j] = rest.norm(dim=1)
        size = torch.maximum(size, alpha[:, j].abs() + beta[:, j])
        ended = (beta[:, j] <= _BREAKDOWN * eps * size).cpu()
        length = torch.where(ended & (length == steps), j + 1, length)
        if bool((length <= j + 1).all()):
            break
        q = _divided(rest, beta[:, j]).to(z.dtype)
    if not bool(torch.isfinite(alpha).all() & torch.isfinite(beta).all()):
        wrong = torch.full_like(z, torch.nan)
        return FunctionRows(wrong, wrong, alpha.flatten().cpu(), 0.0)
    return _combined(f, basis, alpha.cpu(), beta.cpu(), length.tolist(), norms, eps * float(size.max()))


def _combined(
    f: Callable[[Tensor], Tensor],
    basis: Tensor,
    alpha: Tensor,
    beta: Tensor,
    length: list[int],
    norms: Tensor,
    rounding: float,
) -> FunctionRows:
    """Put results together from the vectors, at all steps and at three quarters of them."""
    value, change, nodes = torch.zeros_like(basis[0]), torch.zeros_like(basis[0]), []
    for r, m in enumerate(length):
        theta, full = _coefficients(f, alpha[r, :m], beta[r, : m - 1])
        nodes.append(theta)
        shorter = torch.zeros_like(full)
        short = max(m - max(m // 4, 1), 1) if m > 1 else m
        ended = m < len(basis) or m == basis.shape[2]  # an invariant space: nothing is left out
        if ended:
            shorter = full
        else:
            shorter[:short] = _coefficients(f, alpha[r, :short], beta[r, : short - 1])[1]
        columns = torch.stack([full, full - shorter]).to(basis.device, basis.dtype) * norms[r].to(basis.dtype)
        value[r], change[r] = columns @ basis[:m, r]
    return FunctionRows(value, change, torch.cat(nodes), _BREAKDOWN * rounding)


def _coefficients(f: Callable[[Tensor], Tensor], alpha: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
    t = alpha.diag() + beta.diag(1) + beta.diag(-1)
    theta, s = torch.linalg.eigh(t)
    return theta, s @ (f(theta) * s[0])


def _divided(rows: Tensor, by: Tensor) -> Tensor:
    safe = torch.where(by > 0, by, torch.ones_like(by))
    return rows / safe.to(rows.dtype)[:, None]
