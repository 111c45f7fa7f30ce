"""Curvature engines: from an objective to a symmetric operator."""

from hesscope.curvature.autograd import AutogradHessian
from hesscope.curvature.covariance import gradient_covariance
from hesscope.curvature.finite_difference import FiniteDifferenceHessian
from hesscope.curvature.fisher import fisher
from hesscope.curvature.ggn import ggn
from hesscope.curvature.select import hessian

__all__ = ["AutogradHessian", "FiniteDifferenceHessian", "fisher", "ggn", "gradient_covariance", "hessian"]
