"""norm_jet and norm_jet_backward: coefficients through a normalisation, against truncated power series."""

from __future__ import annotations

import math

import pytest
import torch

from hesscope import _ops

SHAPES = [(1, 5, 37), (4, 3, 16), (2, 2, 1), (3, 1, 700), (1, 2, 5000)]  # [O, G, I]
EPSILON = 0.01


def normal(rng, *shape):
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def mean(t):
    return t.mean((-3, -1), keepdim=True)


def times(a, b):
    """Product of two power series, as lists of coefficients, up to their common length."""
    return [sum(a[i] * b[k - i] for i in range(k + 1)) for k in range(len(a))]


def series(x, centred):
    """Coefficients of y, mean and rstd from those of x; rstd by Newton's iteration for v^(-1/2)."""
    means = [mean(c) if centred else 0 * mean(c) for c in x]
    c = [t - m for t, m in zip(x, means, strict=True)]
    v = [mean(t) for t in times(c, c)]
    v[0] = v[0] + EPSILON
    rstd = [v[0] ** -0.5] + [0 * t for t in v[1:]]
    for _ in range(2):  # doubles the number of right coefficients
        rest = [-t / 2 for t in times(v, times(rstd, rstd))]
        rest[0] = rest[0] + 1.5
        rstd = times(rstd, rest)
    return times(c, rstd), means, rstd


def bound(dtype, order, y, rstd, coefficients):
    """Rounding of values and of the formula: eps times a sum of absolute terms of the group, loosely."""
    a = [1 + rstd * c.abs().amax((-3, -1), keepdim=True) for c in coefficients[:order]]
    terms = sum(a) + math.prod(a) + a[0] ** order
    return 8 * torch.finfo(dtype).eps * terms * (1 + y.square().amax((-3, -1), keepdim=True)) ** order


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("centred", [True, False])
def test_coefficients_are_those_of_power_series(shape, order, centred, dtype, backend, device, rng):
    x = 0.5 + normal(rng, *shape)
    coefficients = [1 + normal(rng, 2, *shape) for _ in range(order)]
    want = series([x.expand(2, *shape), *coefficients], centred)
    y, rstd = want[0][0][0], want[2][0][0]
    out, mean, inverse = _ops.norm_jet(
        [c.to(device, dtype) for c in coefficients],
        y.to(device, dtype),
        rstd.flatten().to(device, dtype),
        centred=centred,
        backend=backend,
    )
    for k in range(order):
        limit = bound(dtype, k + 1, y, rstd, coefficients)
        got = (out[k], mean[k][:, None, :, None], inverse[k][:, None, :, None])
        scales = (1.0, 1 / rstd, rstd)
        for value, expected, scale in zip(got, want, scales, strict=True):
            assert ((value.cpu().double() - expected[k + 1]).abs() <= limit * scale).all()


PRESENT = [(True, True, True), (True, False, False), (False, True, False), (False, False, True)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("present", PRESENT)
@pytest.mark.parametrize("centred", [True, False])
def test_backward_is_the_derivative_of_the_projection(shape, present, centred, dtype, backend, device, rng):
    g, y, rstd = normal(rng, *shape), normal(rng, *shape), normal(rng, shape[1]).abs()
    moving = (normal(rng, 2, *shape), normal(rng, 2, *shape), normal(rng, 2, shape[1]))

    zeros = [m if here else torch.zeros_like(m) for m, here in zip(moving, present, strict=True)]
    dual = [
        [t, d] for t, d in zip((g, y, rstd[:, None]), [*zeros[:2], zeros[2][:, None, :, None]], strict=True)
    ]
    along = [mean(t) for t in times(dual[0], dual[1])]
    inner = [t - (mean(t) if centred else 0) - p for t, p in zip(dual[0], times(dual[1], along), strict=True)]
    want = times(inner, dual[2])[1]
    moments = torch.stack([(mean(g) if centred else 0 * mean(g)).flatten(), mean(y * g).flatten()])
    there = lambda t: t.to(device, dtype)  # noqa: E731
    got = _ops.norm_jet_backward(
        *(there(m) if here else None for m, here in zip(moving, present, strict=True)),
        *map(there, (g, y, rstd, moments)),
        centred=centred,
        backend=backend,
    )
    largest = [t.abs().amax((-3, -1), keepdim=True) for t in (g, y, moving[0], moving[1])]
    scale = (rstd + moving[2].abs())[..., None, :, None] * (1 + largest[0] + largest[2])
    scale = scale * (1 + largest[1] + largest[3]) ** 2
    assert ((got.cpu().double() - want).abs() <= 8 * torch.finfo(dtype).eps * scale).all()


def test_probes_and_threads_do_not_change_the_bits(dtype, backend, device, rng):
    shape = (2, 3, 9001 if backend == "cpu" else 300)
    x = [normal(rng, 4, *shape).to(device, dtype) for _ in range(2)]
    y, rstd = normal(rng, *shape).to(device, dtype), normal(rng, 3).abs().to(device, dtype)
    want, _, _ = _ops.norm_jet(x, y, rstd, backend=backend)
    one, _, _ = _ops.norm_jet([c[2:3] for c in x], y, rstd, backend=backend)
    assert torch.equal(one[1], want[1][2:3])
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        again, _, _ = _ops.norm_jet(x, y, rstd, backend=backend)
    finally:
        torch.set_num_threads(threads)
    assert all(map(torch.equal, again, want))


def test_no_probes_and_no_groups_are_no_work(backend, device):
    for shape in [(0, 2, 3, 4), (2, 2, 0, 4)]:
        x = torch.ones(shape, device=device)
        out, mean, _ = _ops.norm_jet([x], x.new_ones(shape[1:]), x.new_ones(shape[2]), backend=backend)
        assert out[0].shape == shape
        assert mean[0].shape == (shape[0], shape[2])


def test_messages_name_the_arguments(backend, device):
    ones = lambda *shape, dtype=torch.float32: torch.ones(*shape, dtype=dtype, device=device)  # noqa: E731
    x, y, rstd = ones(2, 3, 4, 5), ones(3, 4, 5), ones(4)
    run = lambda x, y, rstd: _ops.norm_jet(x, y, rstd, backend=backend)  # noqa: E731
    with pytest.raises(ValueError, match=r"norm_jet: x must have 1 to 3 coefficients, got 4"):
        run([x] * 4, y, rstd)
    with pytest.raises(ValueError, match=r"norm_jet: y must have shape \[3, 4, 5\], got y \[3, 4, 6\]"):
        run([x], ones(3, 4, 6), rstd)
    with pytest.raises(ValueError, match=r"norm_jet: x\[1\] must be contiguous"):
        run([x, ones(2, 3, 4, 10)[..., ::2]], y, rstd)
    with pytest.raises(ValueError, match=r"x\[0\] must have elements in every group"):
        run([ones(2, 3, 4, 0)], ones(3, 4, 0), rstd)
    with pytest.raises(TypeError, match=r"rstd must have the dtype of x\[0\]"):
        run([x], y, rstd.double())
    with pytest.raises(ValueError, match=r"norm_jet_backward: dg, dy or drstd must be given"):
        _ops.norm_jet_backward(None, None, None, y, y, rstd, ones(2, 4), backend=backend)
    with pytest.raises(ValueError, match=r"norm_jet_backward: moments must have shape \[2, 4\]"):
        _ops.norm_jet_backward(x, None, None, y, y, rstd, ones(4), backend=backend)


def test_torch_operator_contract(device):
    x, y, rstd = (torch.randn(s, device=device) for s in [(2, 3, 4, 5), (3, 4, 5), (4,)])
    torch.library.opcheck(torch.ops.hesscope.norm_jet, ([x, x.clone()], y, rstd, True))
    moments = torch.randn(2, 4, device=device)
    inputs = (x, None, None, y, y.clone(), rstd, moments, False)
    torch.library.opcheck(torch.ops.hesscope.norm_jet_backward, inputs)
