"""Third order: how the Hessian changes from place to place."""

from hesscope.third_order.contract import ThirdOrder, third_order
from hesscope.third_order.projected import ProjectedTensor
from hesscope.third_order.stability import curvature_stability

__all__ = ["ProjectedTensor", "ThirdOrder", "curvature_stability", "third_order"]
