"""What the estimators from random probes share: checked arguments, counted products, samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator

import torch
from torch import Tensor

from hesscope import _checks, _ops
from hesscope._ops.probes import ProbeKind
from hesscope.krylov.interrupt import deferred_interrupt
from hesscope.krylov.recurrence import aligned_rows, squared_norms
from hesscope.operators.base import SymmetricOperator
from hesscope.results import Eigenpairs, Status
from hesscope.spectrum.balanced import PLAIN, Signs

BATCH = 8  # probes multiplied together: the memory of an estimator that keeps no vectors
_PRODUCT_NOISE = 256  # eps of |H| by which products of two engines, or two runs, may differ


class NonFiniteError(ValueError):
    """A product holds NaN or inf."""


class Prober:
    """An operator whose products are checked and counted for one estimate.

    Parameters
    ----------
    where
        Name of the function, for messages.
    operator
        n x n.
    products
        The number of products that may be spent.
    seed
        Of the probes.
    least
        The fewest products the method works with.
    """

    def __init__(self, where: str, operator: object, *, products: int, seed: int, least: int) -> None:
        if not isinstance(operator, SymmetricOperator):
            msg = (
                f"{where}: operator must be a SymmetricOperator (hesscope.from_matrix, from_function and "
                f"from_scipy make one), got {type(operator).__name__}"
            )
            raise TypeError(msg)
        self.where, self.operator = where, operator
        self.budget = _checks.integer(where, "products", products, least=least, below=2**31)
        self.seed = _checks.integer(where, "seed", seed)
        self.n, self.dtype, self.device = operator.shape[0], operator.dtype, operator.device
        self.status = Status.COMPLETE
        self.used = 0
        self._next_probe = 0
        self._fingerprint: Hashable = operator.fingerprint()

    def probes(self, count: int, *, kind: ProbeKind = "rademacher") -> Tensor:
        """Return the next ``count`` probes: ``[count, n]``; Gaussian ones with norm sqrt(n) exactly."""
        out = aligned_rows(count, self.n, dtype=self.dtype, device=self.device)
        first, self._next_probe = self._next_probe, self._next_probe + count
        _ops.probes(count, self.n, kind=kind, seed=self.seed, first_probe=first, out=out)
        if kind == "gaussian":
            out *= (self.n / squared_norms(out)).sqrt().to(self.dtype)[:, None]
        return out

    def rows(self, vectors: Tensor) -> Tensor:
        """Multiply rows ``[K, n]``.

        Raises
        ------
        NonFiniteError
            If a product is not finite.
        RuntimeError
            If what the operator depends on has changed.
        """
        products = self.operator.rows(vectors).detach().contiguous()
        self._check(len(vectors), squared_norms(products))
        return products

    def quadratic_forms(self, vectors: Tensor) -> Tensor:
        """Return ``v'Hv`` of rows ``[K, n]``: ``[K]``, each a product; raises as :meth:`rows` does."""
        forms = self.operator.quadratic_forms(vectors).detach()
        self._check(len(vectors), forms)
        return forms

    def _check(self, count: int, sizes: Tensor) -> None:
        self.used += count
        if self.operator.fingerprint() != self._fingerprint:
            what = "its parameters, buffers or data"
            msg = f"{self.where}: operator must not change during a run, but {what} did"
            raise RuntimeError(msg)
        if not bool(sizes.isfinite().all()):
            msg = f"{self.where}: operator must return finite products. {Status.NONFINITE_OPERATOR.value}"
            raise NonFiniteError(msg)

    def samples(self, count: int, statistic: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Return ``statistic(z, H z)``, one number per probe, for ``count`` probes: ``[count]``, CPU."""
        return torch.cat([statistic(z, w).cpu() for z, w in self.pairs(count)])

    def forms(
        self, count: int, correct: Callable[[Tensor, Tensor], Tensor], *, signs: Signs = PLAIN
    ) -> Tensor:
        """Return ``correct(z, z'Hz)`` for ``count`` probes: ``[G, members]`` of the signs, CPU."""
        found = [correct(z, q).cpu() for z, q in self._each(count, self.quadratic_forms, signs)]
        return torch.cat(found).view(-1, signs.members)

    def pairs(self, count: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches of probes and their products, up to ``count`` probes.

        Ctrl-C, or a product that is not finite, ends the sequence early and sets ``status``, unless it
        is in the first batch.
        """
        return self._each(count, self.rows, PLAIN)

    def _each(
        self, count: int, apply: Callable[[Tensor], Tensor], signs: Signs
    ) -> Iterator[tuple[Tensor, Tensor]]:
        with deferred_interrupt() as interruption:
            for first in range(0, count, BATCH):
                z = signs.expand(self.probes(min(BATCH, count - first) // signs.members))
                try:
                    w = apply(z)
                except NonFiniteError:
                    if first == 0:
                        raise
                    self.status = Status.NONFINITE_OPERATOR
                    return
                yield z, w
                if interruption.requested:
                    self.status = Status.INTERRUPTED
                    return


def dots(a: Tensor, b: Tensor) -> Tensor:
    """Row by row ``<a_r, b_r>``, summed in float64: ``[K, n], [K, n] -> [K]``."""
    return _ops.multi_dot(a[:, None, :], b)[:, 0]


def project(basis: Tensor, vectors: Tensor) -> Tensor:
    """Coefficients of rows in a basis, in float64: ``[k, n], [K, n] -> [K, k]``."""
    return _ops.multi_dot(basis.expand(vectors.shape[0], -1, -1), vectors)


def check_eigenpairs(where: str, eigenpairs: object, operator: SymmetricOperator) -> Eigenpairs:
    """Return the eigenpairs if they fit the operator; raise TypeError or ValueError if not."""
    if not isinstance(eigenpairs, Eigenpairs):
        got = type(eigenpairs).__name__
        msg = f"{where}: eigenpairs must be an Eigenpairs, as hesscope.eigenpairs returns, got {got}"
        raise TypeError(msg)
    vectors = eigenpairs.vectors
    same = vectors.dtype == operator.dtype and vectors.device == operator.device
    if vectors.shape[1] != operator.shape[0] or not same:
        msg = (
            f"{where}: eigenpairs must be those of the operator, {operator.dtype} on {operator.device} with "
            f"n = {operator.shape[0]}, got {vectors.dtype} on {vectors.device} with n = {vectors.shape[1]}"
        )
        raise ValueError(msg)
    return eigenpairs


def check_residual(where: str, pairs: Eigenpairs, operator: SymmetricOperator) -> None:
    """Raise ValueError if the pairs are another operator's; one product, with a random combination of them.

    Those that have not converged are left out where others have: their residuals would allow anything.
    """
    keep = pairs.converged if bool(pairs.converged.any()) else torch.ones_like(pairs.converged)
    signs = _ops.probes(1, len(pairs), kind="rademacher", dtype=torch.float64)[0] * keep
    coefficients = torch.stack([signs, signs * pairs.values]).to(pairs.vectors)
    combined, expected = coefficients @ pairs.vectors
    product = operator.rows(combined[None]).detach()
    found = float(squared_norms((product - expected).contiguous()).sqrt())
    noise = _PRODUCT_NOISE * torch.finfo(pairs.vectors.dtype).eps
    allowed = float(pairs.residuals[keep].sum())
    allowed += math.sqrt(int(keep.sum())) * (pairs.tol + noise) * pairs.norm
    if math.isfinite(found) and found > allowed:  # products that are not finite are for the run to report
        msg = (
            f"{where}: eigenpairs must be those of this operator, with a residual of at most {allowed:.2g} "
            f"together, got {found:.2g}: of another operator, or of other weights or data"
        )
        raise ValueError(msg)
