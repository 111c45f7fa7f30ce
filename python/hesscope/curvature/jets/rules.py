"""The table of all rules."""

from __future__ import annotations

from typing import Any

import torch

from hesscope.curvature.jets import (
    rules_bilinear,
    rules_convolution,
    rules_general,
    rules_indexing,
    rules_linear,
    rules_pointwise,
    rules_selection,
    rules_special,
    rules_structured,
)
from hesscope.curvature.jets.call import Rule
from hesscope.curvature.jets.trace import stop

aten = torch.ops.aten

RULES: dict[Any, Rule] = (
    rules_general.TABLE
    | rules_special.TABLE
    | rules_selection.TABLE
    | rules_linear.TABLE
    | rules_indexing.TABLE
    | rules_bilinear.TABLE
    | rules_convolution.TABLE
    | rules_pointwise.TABLE
    | rules_structured.TABLE
)

# Operators whose derivative is zero wherever there is one.
CONSTANT: frozenset[Any] = frozenset(
    [
        stop,
        aten.ones_like.default,
        aten.zeros_like.default,
        aten.empty_like.default,
        aten.full_like.default,
        aten.rand_like.default,
        aten.randn_like.default,
        aten.new_zeros.default,
        aten.new_ones.default,
        aten.new_empty.default,
        aten.new_empty_strided.default,
        aten.empty_strided.default,
        aten.new_full.default,
        aten.zero.default,
        aten.fill.Scalar,
        aten.normal_functional.default,
        aten.uniform.default,
        aten.exponential.default,
        aten.sign.default,
        aten.sgn.default,
        aten.floor.default,
        aten.ceil.default,
        aten.round.default,
        aten.trunc.default,
        aten.heaviside.default,
        aten.bernoulli.p,
        aten.bernoulli.default,
    ]
)

# what there is to say about an operator; the first table that has it
_KINDS = (
    ("structured", rules_structured.TABLE | rules_selection.TABLE),
    ("pointwise", rules_pointwise.TABLE | rules_special.TABLE),
    ("bilinear", rules_bilinear.TABLE),
    ("linear", rules_linear.TABLE | rules_indexing.TABLE),
)


def kind(target: Any) -> str:
    """Return the kind of an operator's rule; "other" are rare ones that take one vector at a time."""
    return next((name for name, table in _KINDS if target in table), "other")
