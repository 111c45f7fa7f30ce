"""A log-determinant with its sign and its shift."""

from __future__ import annotations

from dataclasses import dataclass

from hesscope.results.estimate import Estimate


@dataclass(frozen=True)
class LogDeterminant(Estimate):
    """An :class:`Estimate` of ``log |det(H + shift I)|``.

    Attributes
    ----------
    sign
        Of the determinant: 1 where every Ritz value is positive; with ``absolute=True`` also -1, or 0 where
        the number of negative eigenvalues is not known to the unit.
    shift
        Of the operator.
    lowest
        The lowest Ritz value of ``H + shift I``: the lowest eigenvalue is at or below it.
    lower_bound
        What the lowest eigenvalue of ``H + shift I`` is at or above, as the density's ``bounds`` say. Where
        it is not positive, definiteness is what the probes saw, and not certain.
    """

    sign: int = 1
    shift: float = 0.0
    lowest: float = 0.0
    lower_bound: float = 0.0
