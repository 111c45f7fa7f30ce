"""Third order: how the Hessian changes from place to place."""

from hesscope.third_order.contract import ThirdOrder, third_order
from hesscope.third_order.projected import ProjectedTensor

__all__ = ["ProjectedTensor", "ThirdOrder", "third_order"]
