"""Third order: how the Hessian changes from place to place."""

from hesscope.third_order.contract import ThirdOrder, third_order

__all__ = ["ThirdOrder", "third_order"]
