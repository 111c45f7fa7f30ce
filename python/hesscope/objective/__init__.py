"""Objectives: what is differentiated."""

from hesscope.objective.adaptive import adam_preconditioner
from hesscope.objective.batch_groups import BatchGroups, batch_groups
from hesscope.objective.groups import attention_heads, parameter_groups
from hesscope.objective.objective import Objective

__all__ = [
    "BatchGroups",
    "Objective",
    "adam_preconditioner",
    "attention_heads",
    "batch_groups",
    "parameter_groups",
]
