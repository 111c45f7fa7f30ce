"""Full reorthogonalisation that reads the basis once a step: delayed Gram-Schmidt with one reduction."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from hesscope import _ops
from hesscope.krylov.orthonormal import orthogonalize
from hesscope.krylov.recurrence import Recurrence, squared_norms
from hesscope.krylov.rows import Rows

_STATE = _ops.LanczosState
_REMOVED = 0.1  # of a squared norm: a step that leaves more along the basis is followed by a second pass


class DelayedStep(NamedTuple):
    """What a step found; all float64, on the device of the vectors.

    Attributes
    ----------
    alpha
        Shape ``[K]``: ``<q_j, H q_j>``.
    found
        Shape ``[K, j + 1]``: what the vector had along each row beyond ``known`` and ``alpha``.
    along
        Shape ``[K, j + 1]``: what it still has. Zero where it was cleaned at once.
    norm
        Shape ``[K]``: its norm without that.
    """

    alpha: Tensor
    found: Tensor
    along: Tensor
    norm: Tensor


def delayed_step(
    rows: Rows,
    j: int,
    v: Tensor,
    product: Tensor,
    *,
    measured: Tensor,
    scale: Tensor,
    along: Tensor,
    image: Tensor,
    known: Tensor,
) -> DelayedStep:
    """Write row j of a basis, ``q_j = scale v - Q along``, and ``H q_j - Q known - alpha q_j`` to ``v``.

    The one reading of the basis does both, and finds what the new vector has along the rows. Where that is
    most of it, the vector is cleaned at once.

    Parameters
    ----------
    rows
        The basis, with j rows; exact.
    v, product
        Shape ``[K, n]``: a vector that is not clean yet, written, and its product with H.
    measured
        Shape ``[K]``: ``<v, product>``.
    scale, along
        Shape ``[K]`` and ``[K, j]``: what makes ``v`` clean.
    image
        Shape ``[K, j]``: ``T along``, where ``H Q = Q T + q_j known'``.
    known
        Shape ``[K, j]``: the part of ``H q_j`` along the rows that is known beforehand.
    """
    overlap = (known * along).sum(dim=1)
    # <q_j, H q_j>, where scale v = q_j + Q along.
    alpha = scale.square() * measured - 2 * overlap - (along * image).sum(dim=1)
    after = torch.cat([-image - known, -(alpha + overlap)[:, None], scale[:, None]], dim=1)
    sums = rows.extend(j, v, product, torch.cat([-along, scale[:, None]], dim=1), after)
    found, squared = sums[:, :-1], sums[:, -1]
    removed = found.square().sum(dim=1)
    norm, left = (squared - removed).clamp(min=0.0).sqrt(), found
    if bool((removed > _REMOVED * squared).any()):
        rows.axpy(found.contiguous(), v)
        found = found + orthogonalize(rows, v, j + 1)
        norm, left = squared_norms(v).sqrt(), torch.zeros_like(found)
    # What was found along q_j belongs to alpha: the recurrence then holds.
    return DelayedStep(alpha + found[:, -1], found, left, norm)


class DelayedBasis:
    """The normalised Lanczos vectors of K recurrences, each orthogonal to those before it.

    A projection on the basis measures and then subtracts; both read all of it. Here the subtraction waits
    for the next step, where the same reading does both, each strip of columns while it is in cache
    (``_ops.extend_basis``). The product of that step is one with a vector that is not clean yet, ``v / beta =
    q_j + Q a``, where a is rounding times |H| / beta. But H is known on the basis, ``H Q a = Q T a +
    beta_(j-1) a_(j-1) q_j``: so what the product owes to ``Q a`` is subtracted with it, and nothing is left
    out but rounding. Where that is most of a vector, it is cleaned at once, as by classical Gram-Schmidt.

    Parameters
    ----------
    rows
        Where the vectors are kept, as they are: a storage that rounds them would be measured, too.
    num_steps
        Vectors of each recurrence.
    like
        Shape ``[K, n]``: the vectors of the recurrences.

    References
    ----------
    Bielich, Langou, Thomas, Swirydowicz, Yamazaki and Boman (2022), Parallel Comput. 112, 102940;
    Swirydowicz, Langou, Ananthan, Yang and Thomas (2021), Numer. Linear Algebra Appl. 28, e2343.
    """

    def __init__(self, rows: Rows, num_steps: int, like: Tensor) -> None:
        k, device = like.shape[0], like.device
        self.rows, self.length, self.projections = rows, 0, 0
        # T so far, and what the next vector, normalised, has along the rows.
        self._alpha = torch.zeros(k, num_steps, dtype=torch.float64, device=device)
        self._beta = torch.zeros_like(self._alpha)
        self._along = self._alpha[:, :0]

    def begin(self, recurrence: Recurrence) -> None:
        """Do nothing: a vector becomes a row when it is clean."""

    def advance(
        self,
        recurrence: Recurrence,
        product: Tensor,
        alpha: Tensor,
        beta: Tensor,
        *,
        breakdown_tolerance: float,
    ) -> None:
        """Take a step of every recurrence: ``v`` becomes a row of the basis, and the next vector.

        Parameters
        ----------
        recurrence
            Written; ``v_prev`` is not used.
        product
            Shape ``[K, n]``: the products of ``v``.
        alpha, beta
            Shape ``[K]``, float64: get the coefficients of the step.
        breakdown_tolerance
            A recurrence ends when beta is at most this times the largest |alpha| + beta seen.
        """
        j, v, scalars, a = self.length, recurrence.v, recurrence.scalars, self._along
        scale, beta_prev = scalars[:, _STATE.SCALE], scalars[:, _STATE.BETA_PREV]
        known = torch.zeros_like(a)
        if j:
            known[:, -1] = beta_prev
        step = delayed_step(
            self.rows,
            j,
            v,
            product,
            measured=_ops.multi_dot(v[:, None], product)[:, 0],
            scale=scale,
            along=a,
            image=self._times_t(a),
            known=known,
        )
        self.length += 1
        self.projections += 1
        alpha.copy_(step.alpha)
        norm, along = step.norm, step.along
        largest = torch.maximum(scalars[:, _STATE.LARGEST], alpha.abs() + norm)
        ended = norm <= breakdown_tolerance * largest
        beta.copy_(norm.masked_fill(ended, 0.0))
        if bool(ended.any()):  # seldom, and a pass over v
            v.masked_fill_(ended[:, None], 0.0)
        reciprocal = norm.reciprocal().masked_fill(ended, 0.0)
        self._along = (along * reciprocal[:, None]).masked_fill(ended[:, None], 0.0)
        self._alpha[:, j], self._beta[:, j] = alpha, beta
        scalars[:, _STATE.SCALE], scalars[:, _STATE.BETA_PREV] = reciprocal, beta
        scalars[:, _STATE.LARGEST] = largest

    def _times_t(self, a: Tensor) -> Tensor:
        """Return ``T a`` for ``a [K, j]``, T the projection of H on the first j rows."""
        j = a.shape[1]
        out = self._alpha[:, :j] * a
        out[:, 1:] += self._beta[:, : max(j - 1, 0)] * a[:, :-1]
        out[:, :-1] += self._beta[:, : max(j - 1, 0)] * a[:, 1:]
        return out

    def orthogonality(self) -> float:
        """Largest ``|q_i . q_j - delta_ij|`` of the vectors. Reads the basis once."""
        return self.rows.defect(self.length)
