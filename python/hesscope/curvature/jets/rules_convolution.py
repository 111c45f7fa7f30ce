"""Rules of convolutions, which are bilinear: ``B(x, w)`` has the coefficient ``B(x', w) + B(x, w')``.

Where only the image moves, K is folded into its batch. Where the kernel or a gradient moves, the vectors
go one by one: folding them into channels was measured and gains nothing from 8 x 8 pixels on.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from hesscope.curvature.jets.call import Call, Rule, Step
from hesscope.curvature.jets.layout import rows_like, shaped_like, stacked

aten = torch.ops.aten


def _convolution(call: Call) -> Step:
    x, w, _, *settings = call.args
    return functools.partial(
        _convolution_step,
        x if 1 in call.carries else None,
        w if 0 in call.carries else None,
        2 in call.carries,
        tuple(settings),
    )


def _convolution_step(
    x: Tensor | None, w: Tensor | None, shifts: bool, settings: tuple[Any, ...], *coefficients: Tensor
) -> Tensor:
    rest = iter(coefficients)
    out: Tensor | None = None
    if w is not None:
        dx = next(rest)
        folded = torch.convolution(dx.reshape(-1, *dx.shape[2:]), w, None, *settings)
        out = folded.view(dx.shape[0], -1, *folded.shape[1:])
    dw = None if x is None else next(rest)
    shift = next(rest) if shifts else None
    if dw is not None and x is not None:
        for k, kernel in enumerate(dw):
            part = torch.convolution(x, kernel, None if shift is None else shift[k], *settings)
            if w is not None and out is not None:
                out[k].add_(part)
            elif len(dw) == 1:
                out = part[None]
            else:
                out = rows_like(part, len(dw)) if out is None else out
                out[k].copy_(part)
        return out if out is not None else dw.new_empty(0)
    assert out is not None
    if shift is not None:
        out += shift.reshape(shift.shape[0], 1, -1, *[1] * (out.ndim - 3))
    return out


def _convolution_backward(call: Call) -> Step:
    g, x, w, _, *settings, mask = call.args
    wanted = [bool(m) and i in call.used for i, m in enumerate(mask)]
    carries = [i in call.carries for i in range(3)]
    saved = (
        g if (carries[1] and wanted[1]) or (carries[2] and wanted[0]) else None,
        x if carries[0] and wanted[1] else None,
        w if carries[0] and wanted[0] else None,
    )
    shapes = (tuple(x.shape), tuple(w.shape))
    return functools.partial(_conv_backward_step, saved, shapes, tuple(settings), wanted, carries)


def _convolution_backward_outputs(carries: tuple[Any, ...]) -> tuple[int, ...]:
    """Input, weight and bias parts depend on (g, w), (g, x) and g."""
    needs = ((0, 2), (0, 1), (0,))
    return tuple(i for i, positions in enumerate(needs) if any(p in carries for p in positions))


def _conv_backward_step(
    saved: tuple[Tensor | None, Tensor | None, Tensor | None],
    shapes: tuple[tuple[int, ...], tuple[int, ...]],
    settings: tuple[Any, ...],
    wanted: list[bool],
    carries: list[bool],
    *coefficients: Tensor,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    rest = iter(coefficients)
    dg, dx, dw = (next(rest) if carried else None for carried in carries)
    g, x, w = saved
    inputs = _input_part(g, w, dg, dw, shapes[0], settings) if wanted[0] else None
    weights = _weight_part(g, x, dg, dx, shapes[1], settings) if wanted[1] else None
    bias = dg.sum([1, *range(3, dg.ndim)]) if wanted[2] and dg is not None else None
    return inputs, weights, bias


def _input_part(
    g: Tensor | None,
    w: Tensor | None,
    dg: Tensor | None,
    dw: Tensor | None,
    shape: tuple[int, ...],
    settings: tuple[Any, ...],
) -> Tensor | None:
    mask = [True, False, False]
    out: Tensor | None = None
    if dg is not None and w is not None:
        g_rows = dg.reshape(-1, *dg.shape[2:])
        like = shaped_like(w, (g_rows.shape[0], *shape[1:]))
        rows = aten.convolution_backward(g_rows, like, w, None, *settings, mask)[0]
        out = rows.view(dg.shape[0], *shape)
    if dw is not None and g is not None:
        like = shaped_like(g, shape)
        parts = [aten.convolution_backward(g, like, k, None, *settings, mask)[0] for k in dw]
        out = _add_rows(out, parts)
    return out


def _weight_part(
    g: Tensor | None,
    x: Tensor | None,
    dg: Tensor | None,
    dx: Tensor | None,
    shape: tuple[int, ...],
    settings: tuple[Any, ...],
) -> Tensor | None:
    mask = [False, True, False]
    out: Tensor | None = None
    if dg is not None and x is not None:
        like = x.new_empty(shape)
        parts = [aten.convolution_backward(k, x, like, None, *settings, mask)[1] for k in dg]
        out = _add_rows(None, parts)
    if dx is not None and g is not None:
        like = g.new_empty(shape)
        parts = [aten.convolution_backward(g, k, like, None, *settings, mask)[1] for k in dx]
        out = _add_rows(out, parts)
    return out


def _add_rows(total: Tensor | None, parts: list[Tensor]) -> Tensor:
    if total is None:
        return stacked(parts)
    for row, part in zip(total, parts, strict=True):
        row.add_(part)
    return total


TABLE: dict[Any, Rule] = {
    aten.convolution.default: Rule(_convolution),
    aten.convolution_backward.default: Rule(
        _convolution_backward, positions=(0, 1, 2), outputs=_convolution_backward_outputs
    ),
}
