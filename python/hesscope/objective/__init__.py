"""Objectives: what is differentiated."""

from hesscope.objective.objective import Objective

__all__ = ["Objective"]
