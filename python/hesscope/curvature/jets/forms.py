"""Quadratic forms v'Hv without a backward pass, beside the products of a captured gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from hesscope import _ops
from hesscope.curvature.jets.capture import CaptureError
from hesscope.curvature.jets.engine import JetsHessian
from hesscope.curvature.jets.higher.algebra import SQUARE
from hesscope.curvature.jets.higher.engine import JetsDerivatives
from hesscope.curvature.jets.verify import curvature_tolerance
from hesscope.curvature.plan import Plan


class ForwardForms:
    """Second-order coefficients of the captured loss, as long as they agree with products.

    The first vector of the first call after a change goes through a product as well: products are checked
    against double backward, and a loss that cannot be captured to second order, or whose second derivative
    is not that of its gradient, is left to them.

    Parameters
    ----------
    hessian
        The Hessian of the objective.
    derivatives
        Of the same objective, for the same batches.
    """

    def __init__(self, hessian: JetsHessian, derivatives: JetsDerivatives) -> None:
        self._hessian, self._derivatives = hessian, derivatives
        self._agrees_on: Plan | None = None
        self._possible = True

    def compute(self, vectors: Tensor) -> Tensor | None:
        """Return ``v'Hv`` of rows ``[K, n]`` as ``[K]``, float64; None if products have to do it."""
        if not self._possible:
            return None
        try:
            if self._agrees_on is None or self._agrees_on is not self._hessian.plan:
                product = self._hessian._rows(vectors[:1])  # cuts batches that are too large, too
                if self._hessian.engine != "jets" or not self._agree(vectors[:1], product):
                    self._possible = False
                    return None
                self._agrees_on = self._hessian.plan
            return self._forward(vectors)
        except CaptureError:
            self._possible = False
            return None

    def _forward(self, vectors: Tensor) -> Tensor:
        with torch.inference_mode(False):
            out = torch.empty(len(vectors), 1, dtype=vectors.dtype, device=vectors.device)
        self._derivatives.add(SQUARE, [vectors], out, scalar=True)
        forms = out[:, 0].double()
        if self._hessian.l2 != 0:
            forms += self._hessian.l2 * _ops.multi_dot(vectors[:, None, :], vectors)[:, 0]
        return forms

    def _agree(self, vector: Tensor, product: Tensor) -> bool:
        forward, expected = float(self._forward(vector)), float(vector[0].double() @ product[0].double())
        size = float(vector.double().norm() * product.double().norm())
        return abs(forward - expected) <= curvature_tolerance(self._hessian.objective) * size
