"""Objectives: what is differentiated."""

from hesscope.objective.adaptive import adam_preconditioner
from hesscope.objective.groups import attention_heads, parameter_groups
from hesscope.objective.objective import Objective

__all__ = ["Objective", "adam_preconditioner", "attention_heads", "parameter_groups"]
