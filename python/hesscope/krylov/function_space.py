"""The Krylov space of a run of apply_function, for a function that is defined on it."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor

from hesscope.krylov.arguments import finite, function
from hesscope.krylov.lanczos import LanczosRun
from hesscope.krylov.rows import Rows
from hesscope.results import FunctionProduct, NotDefinedError

if TYPE_CHECKING:
    from hesscope.krylov.function_passes import Passes


class KrylovSpace:
    """What :func:`hesscope.apply_function` has computed when its f turns out not to be defined: ``partial``.

    Holds the Lanczos vectors where the run kept them, in memory or on disk, until it is deleted or closed.

    Attributes
    ----------
    nodes
        Shape ``[K, m]``, float64, CPU: the Ritz values of H, on which f must be defined.
    products
        Products with H so far.
    basis
        Where the Lanczos vectors are, or that they are computed again, and why, in a sentence.
    """

    def __init__(self, passes: Passes, run: LanczosRun, stored: Rows | None) -> None:
        self._passes, self._run, self._stored = passes, run, stored
        self.nodes = passes.nodes(run)
        self.products = passes.operator.products - passes.before
        self.basis = passes.reason
        self._close = None if stored is None else weakref.finalize(self, stored.close)

    def apply(self, f: Callable[[Tensor], Tensor], *, shift: float = 0.0) -> FunctionProduct:
        """Compute ``f(H + shift I) b`` for another f or shift, any number of times.

        Returns
        -------
        FunctionProduct
            As :func:`hesscope.apply_function`, of all the steps; a tolerance is not looked at again.

        Raises
        ------
        NotDefinedError
            If this f is not defined on a node, either; ``partial`` is this space.
        ValueError
            If the space was closed.
        TypeError, RunFailed
            As :func:`hesscope.apply_function`.

        Notes
        -----
        No product with a basis; without one a second pass, as many products as steps and vectors.
        """
        where = "KrylovSpace.apply"
        if self._close is not None and not self._close.alive:
            msg = f"{where}: the space must not be closed, but its vectors were given back"
            raise ValueError(msg)
        request = replace(
            self._passes.request, f=function(where, f), shift=finite(where, "shift", shift), tol=None
        )
        self._passes.request = request
        try:
            return self._passes.finish(self._run, self._stored, progress=False)
        except NotDefinedError as error:
            raise NotDefinedError(str(error), self) from error.__cause__

    def close(self) -> None:
        """Give the Lanczos vectors back."""
        if self._close is not None:
            self._close()
