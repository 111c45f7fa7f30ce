"""Rules of elementwise operators: the derivatives are computed once per batch, for all probes.

The coefficient of ``f(a, b, ...)`` is the sum of ``df/da * a'`` over the arguments that carry one. Where
no formula is given, the derivatives are those that autograd has for a single elementwise operator.
At a kink (relu at 0) it is the derivative of the branch that the operator selects.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from hesscope.curvature.jets import kernels
from hesscope.curvature.jets.call import Call, Rule, Step, align

aten = torch.ops.aten

Partials = Callable[[Call], list[Tensor | float]]


def pointwise(call: Call, partials: Partials) -> Step:
    """Build the rule from a function that returns df/d(argument) of every argument that carries."""
    factors = tuple(partials(call))
    out = call.out[0] if isinstance(call.out, tuple) else call.out
    dtype = out.dtype
    if len(factors) == 1 and not isinstance(factors[0], Tensor) and call.at(call.carries[0]).dtype == dtype:
        return functools.partial(_times, factors[0])
    if any(call.at(position).dtype != dtype for position in call.carries):
        return functools.partial(_converted, factors, out.ndim, dtype)
    step = kernels.sum_of_products(functools.partial(_combine, factors, out.ndim), call, factors)
    return functools.partial(_in_tuple, step) if out is not call.out else step


def _times(factor: float, t: Tensor) -> Tensor:
    """Multiply what is repeated once."""
    if 0 in t.stride():
        compact = t[tuple(slice(0, 1) if stride == 0 else slice(None) for stride in t.stride())]
        return (compact * factor).expand(t.shape)
    return t * factor


def _combine(factors: tuple[Tensor | float, ...], ndim: int, *coefficients: Tensor) -> Tensor:
    out: Tensor | None = None
    pairs = [(factor, align(t, ndim)) for factor, t in zip(factors, coefficients, strict=True)]
    if len(pairs) > 1:  # a broadcast one last: the first decides the order in memory
        pairs.sort(key=lambda pair: -pair[1].numel())
    for factor, t in pairs:
        if out is None:
            out = t * factor
        elif isinstance(factor, Tensor):
            out.addcmul_(factor, t)
        else:
            out.add_(t, alpha=factor)
    assert out is not None
    return out


def _in_tuple(step: Step, *coefficients: Tensor) -> tuple[Tensor]:
    return (step(*coefficients),)


def _converted(
    factors: tuple[Tensor | float, ...], ndim: int, dtype: torch.dtype, *coefficients: Tensor
) -> Tensor:
    return _combine(factors, ndim, *(t.to(dtype) for t in coefficients)).to(dtype)


def _by_autograd(call: Call) -> list[Tensor | float]:
    shape = (call.out[0] if isinstance(call.out, tuple) else call.out).shape
    leaves = [call.at(p).detach().expand(shape).requires_grad_() for p in call.carries]
    with torch.inference_mode(False), torch.enable_grad():
        out = call.target(*call.with_arguments(leaves), **call.kwargs)
        out = out[0] if isinstance(out, tuple) else out
        found = torch.autograd.grad(out, leaves, torch.ones_like(out), allow_unused=True)
    return [0.0 if p is None else p.detach() for p in found]


def _other_factor(call: Call) -> list[Tensor | float]:
    """Return the derivatives of a * b."""
    return [call.args[1 - p] for p in call.carries if isinstance(p, int)]


def _quotient(call: Call) -> list[Tensor | float]:
    a, b = call.args[:2]
    if not isinstance(b, Tensor):
        return [1 / b]
    b = b.to(call.out.dtype)  # the reciprocal of integers is float32
    found: dict[Any, Callable[[], Tensor]] = {0: b.reciprocal, 1: lambda: -(a / (b * b))}
    return [found[p]() for p in call.carries]


def _addcmul(call: Call) -> list[Tensor | float]:
    value = call.kwargs.get("value", 1)
    _, a, b = call.args[:3]
    found: dict[Any, Callable[[], Tensor | float]] = {
        0: lambda: torch.ones((), dtype=call.out.dtype, device=a.device).expand(call.out.shape),
        1: lambda: b if value == 1 else b * value,
        2: lambda: a if value == 1 else a * value,
    }
    return [found[p]() for p in call.carries]


def _relu(call: Call) -> Step:
    """Build from the output, which the next layer keeps anyway, instead of a mask."""
    return functools.partial(_where_above, call.out, 0)


def _threshold_backward(call: Call) -> Step:
    return functools.partial(_where_above, *call.args[1:3])


def _where_above(x: Tensor, threshold: float, t: Tensor) -> Tensor:
    """Return the coefficients where ``x`` is above the threshold, zeros elsewhere."""
    result: Tensor = aten.threshold_backward.default(t, x, threshold)
    return result


def _tanh(call: Call) -> list[Tensor | float]:
    return [1 - call.out * call.out]


def _sigmoid(call: Call) -> list[Tensor | float]:
    return [call.out * (1 - call.out)]


def _exp(call: Call) -> list[Tensor | float]:
    return [call.out]


def _silu_backward(call: Call) -> list[Tensor | float]:
    """Return the derivatives of g * silu'(x), which autograd does not know."""
    g, x = call.args[:2]
    s = torch.sigmoid(x)
    found: dict[Any, Callable[[], Tensor]] = {
        0: lambda: s * (1 + x * (1 - s)),
        1: lambda: g * s * (1 - s) * (2 + x * (1 - 2 * s)),
    }
    return [found[p]() for p in call.carries]


def _scale(call: Call) -> list[Tensor | float]:
    """Return the derivative of x * c and x / c with a number c."""
    number = call.args[1]
    return [1 / number if "div" in str(call.target) else number]


# Operators whose derivative autograd knows; positions of arguments that select a branch are left out.
_KNOWN_TO_AUTOGRAD: dict[Any, tuple[int, ...] | None] = {
    aten.gelu.default: None,
    aten.gelu_backward.default: None,
    aten.silu.default: None,
    aten.mish.default: None,
    aten.softplus.default: None,
    aten.softplus_backward.default: None,
    aten.elu.default: None,
    aten.elu_backward.default: None,
    aten.celu.default: None,
    aten.selu.default: None,
    aten.leaky_relu.default: None,
    aten.leaky_relu_backward.default: (0,),
    aten.hardtanh.default: None,
    aten.hardtanh_backward.default: (0,),
    aten.hardswish.default: None,
    aten.hardswish_backward.default: None,
    aten.hardsigmoid.default: None,
    aten.tanh_backward.default: None,
    aten.sigmoid_backward.default: None,
    aten.log_sigmoid_backward.default: (0, 1),
    aten.log.default: None,
    aten.log1p.default: None,
    aten.log2.default: None,
    aten.expm1.default: None,
    aten.sqrt.default: None,
    aten.rsqrt.default: None,
    aten.reciprocal.default: None,
    aten.square.default: None,
    aten.sin.default: None,
    aten.cos.default: None,
    aten.tan.default: None,
    aten.sinh.default: None,
    aten.cosh.default: None,
    aten.asin.default: None,
    aten.acos.default: None,
    aten.atan.default: None,
    aten.erf.default: None,
    aten.erfc.default: None,
    aten.abs.default: None,
    aten.pow.Tensor_Scalar: None,
    aten.pow.Tensor_Tensor: None,
    aten.pow.Scalar: (1,),
    aten.clamp.default: (0,),
    aten.clamp_min.default: (0,),
    aten.clamp_max.default: (0,),
    aten.clamp.Tensor: None,
    aten.clamp_min.Tensor: None,
    aten.clamp_max.Tensor: None,
    aten.maximum.default: None,
    aten.minimum.default: None,
    aten.atan2.default: None,
    aten.xlogy.Tensor: None,
    aten.lerp.Scalar: None,
    aten.addcdiv.default: None,
    aten._prelu_kernel.default: None,
}


def _table() -> dict[Any, Rule]:
    def rule(partials: Partials, **options: Any) -> Rule:
        return Rule(functools.partial(pointwise, partials=partials), **options)

    table = {t: rule(_by_autograd, positions=positions) for t, positions in _KNOWN_TO_AUTOGRAD.items()}
    table |= {
        aten.mul.Tensor: rule(_other_factor),
        aten.mul.Scalar: rule(_scale),
        aten.div.Scalar: rule(_scale),
        aten.div.Tensor: rule(_quotient),
        aten.addcmul.default: rule(_addcmul),
        aten.relu.default: Rule(_relu, reads=False, reads_output=True),
        aten.threshold_backward.default: Rule(_threshold_backward, positions=(0,)),
        aten.tanh.default: rule(_tanh, reads_output=True),
        aten.sigmoid.default: rule(_sigmoid, reads_output=True),
        aten.silu_backward.default: rule(_silu_backward),
        aten.exp.default: rule(_exp, reads_output=True),
        aten.log_sigmoid_forward.default: rule(_by_autograd, outputs=(0,)),
    }
    return table


TABLE: dict[Any, Rule] = _table()
