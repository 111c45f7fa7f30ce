"""Objectives: what is differentiated."""

from hesscope.objective.groups import attention_heads, parameter_groups
from hesscope.objective.objective import Objective

__all__ = ["Objective", "attention_heads", "parameter_groups"]
