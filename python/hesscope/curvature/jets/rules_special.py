"""Rules of elementwise operators that models use now and then, by the derivatives that autograd has."""

from __future__ import annotations

import functools
from typing import Any

import torch

from hesscope.curvature.jets.call import Rule
from hesscope.curvature.jets.rules_pointwise import _by_autograd, pointwise

aten = torch.ops.aten

# positions of the arguments that the result depends on smoothly; None for all
_SPECIAL: dict[Any, tuple[int, ...] | None] = {
    aten.acosh.default: None,
    aten.asinh.default: None,
    aten.atanh.default: None,
    aten.deg2rad.default: None,
    aten.rad2deg.default: None,
    aten.exp2.default: None,
    aten.log10.default: None,
    aten.logit.default: None,
    aten.sinc.default: None,
    aten.frac.default: None,
    aten.nan_to_num.default: None,
    aten.digamma.default: None,
    aten.lgamma.default: None,
    aten.polygamma.default: (1,),
    aten.erfinv.default: None,
    aten.i0.default: None,
    aten.special_i0e.default: None,
    aten.special_i1.default: None,
    aten.special_i1e.default: None,
    aten.special_erfcx.default: None,
    aten.special_entr.default: None,
    aten.special_log_ndtr.default: None,
    aten.special_ndtri.default: None,
    aten.special_xlog1py.default: None,
    aten.hypot.default: None,
    aten.fmod.Tensor: None,
    aten.fmod.Scalar: (0,),
    aten.remainder.Tensor: None,
    aten.remainder.Scalar: (0,),
    aten.div.Tensor_mode: None,
    aten.fmax.default: None,
    aten.fmin.default: None,
    aten.copysign.Tensor: None,
    aten.copysign.Scalar: (0,),
    aten.logaddexp.default: None,
    aten.logaddexp2.default: None,
    aten.lerp.Tensor: None,
    aten.threshold.default: (0,),
    aten.softshrink.default: (0,),
    aten.softshrink_backward.default: (0,),
    aten.hardshrink.default: (0,),
    aten.hardshrink_backward.default: (0,),
}

TABLE: dict[Any, Rule] = {
    target: Rule(functools.partial(pointwise, partials=_by_autograd), positions=positions)
    for target, positions in _SPECIAL.items()
}
