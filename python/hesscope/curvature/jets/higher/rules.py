"""The table of rules above first order; an operator that is missing here is refused by name.

An operator is here in one of four ways: ``LINEAR`` (its rule of order 1 is used for every coefficient),
``TABLE`` with a bilinear, elementwise or structured builder ``(call, algebra, wanted, rule) -> step``.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from hesscope.curvature.jets import rules_general, rules_indexing, rules_linear, rules_selection
from hesscope.curvature.jets.call import Call, Rule, Step
from hesscope.curvature.jets.higher import bilinear, pointwise, products, structured
from hesscope.curvature.jets.higher.algebra import Algebra
from hesscope.curvature.jets.higher.parts import adding, linear

aten = torch.ops.aten

# Elementwise and piecewise linear: along the branch that the primal selects.
PIECEWISE_LINEAR: tuple[Any, ...] = (
    aten.relu.default,
    aten.threshold_backward.default,
    aten.leaky_relu.default,
    aten.leaky_relu_backward.default,
    aten.hardtanh.default,
    aten.hardtanh_backward.default,
    aten.abs.default,
    aten.clamp.default,
    aten.clamp_min.default,
    aten.clamp_max.default,
    aten.clamp.Tensor,
    aten.clamp_min.Tensor,
    aten.clamp_max.Tensor,
    aten.maximum.default,
    aten.minimum.default,
    aten.lerp.Scalar,
    aten.deg2rad.default,
    aten.rad2deg.default,
    aten.frac.default,
    aten.nan_to_num.default,
    aten.fmod.Tensor,
    aten.fmod.Scalar,
    aten.remainder.Tensor,
    aten.remainder.Scalar,
    aten.fmax.default,
    aten.fmin.default,
    aten.copysign.Tensor,
    aten.copysign.Scalar,
    aten.threshold.default,
    aten.softshrink.default,
    aten.softshrink_backward.default,
    aten.hardshrink.default,
    aten.hardshrink_backward.default,
)
# Selections by the primal are linear given the selection; the tables are of linear operators only.
LINEAR: frozenset[Any] = frozenset(
    [
        *rules_linear.TABLE,
        *rules_indexing.TABLE,
        *rules_general.LINEAR,
        *rules_selection.TABLE,
        *PIECEWISE_LINEAR,
        aten.mul.Scalar,
        aten.div.Scalar,
        aten.max_pool2d_with_indices.default,
        aten.adaptive_max_pool2d.default,
        aten.max.dim,
        aten.min.dim,
        aten.amax.default,
        aten.amin.default,
    ]
)
TABLE: dict[Any, Any] = bilinear.TABLE | products.TABLE | pointwise.TABLE | structured.TABLE


def has_rule(target: Any) -> bool:
    """Tell whether coefficients above first order can pass an operator."""
    return target in LINEAR or target in TABLE or target in bilinear.BY_OUTPUT


def build(
    call: Call,
    algebra: Algebra,
    wanted: Sequence[int],
    rule: Rule,
    by_output: Mapping[int, Sequence[int]] | None = None,
) -> Step:
    """Make the step of an operator on jets: ``(*jets) -> jet``, or a tuple of jets.

    ``by_output`` is ``wanted`` for each entry of a tuple that is used.
    """
    if call.target in bilinear.BY_OUTPUT:
        split: Step = bilinear.BY_OUTPUT[call.target](call, algebra, by_output, rule)
        return split
    if call.target in LINEAR:
        return linear(call, algebra, wanted, rule.build)
    step: Step = TABLE[call.target](call, algebra, wanted, rule)
    return step


def build_add(call: Call, algebra: Algebra, rule: Rule) -> Step:
    """Make the step that adds the last coefficient to a target, or says that there is none."""
    if call.target in LINEAR and rule.add is not None:
        return adding(call, algebra, rule.add)
    if call.target in bilinear.ADD and rule.add is not None:
        found: Step = bilinear.ADD[call.target](call, algebra, rule)
        return found
    return functools.partial(_add_top, build(call, algebra, (algebra.top,), rule), algebra.top)


def _add_top(step: Step, top: int, target: Any, scale: float, overwrite: bool, *jets: Any) -> bool:
    result = step(*jets)[top]
    if result is None:
        return False
    if overwrite:
        target.zero_()
    target.add_(result, alpha=scale)
    return True
