"""Curvature engines: from an objective to a symmetric operator."""

from hesscope.curvature.autograd import AutogradHessian
from hesscope.curvature.select import hessian

__all__ = ["AutogradHessian", "hessian"]
