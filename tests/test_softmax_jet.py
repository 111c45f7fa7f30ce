"""softmax and coefficients through it: against truncated power series, mpmath and float64."""

from __future__ import annotations

import mpmath
import pytest
import torch

from hesscope import _ops

F64 = torch.finfo(torch.float64).eps
COLUMNS = [1, 2, 16, 37, 700, 5000]


def normal(rng, *shape):
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def times(a, b):
    """Product of two power series, as lists of coefficients, up to their common length."""
    return [sum(a[i] * b[k - i] for i in range(k + 1)) for k in range(len(a))]


def exponential(x):
    """Coefficients of exp(x), the value of x taken out: 1 + u + u^2 / 2 + u^3 / 6."""
    u = [0 * x[0], *x[1:]]
    square = times(u, u)
    cube = times(square, u)
    one = [1 + 0 * x[0]] + [0 * t for t in x[1:]]
    return [o + a + b / 2 + c / 6 for o, a, b, c in zip(one, u, square, cube, strict=True)]


def softmax_series(x):
    """Coefficients of softmax(x): p exp(u) / sum(p exp(u)), 1 / s = 1 - t + t^2 - t^3 with t = s - 1."""
    p = x[0].softmax(-1)
    raised = [p * t for t in exponential(x)]
    total = [t.sum(-1, keepdim=True) for t in raised]
    t = [0 * total[0], *total[1:]]
    square = times(t, t)
    inverse = [-a + b - c for a, b, c in zip(t, square, times(square, t), strict=True)]
    inverse[0] = 1 + inverse[0]
    logarithm = [a - b / 2 + c / 3 for a, b, c in zip(t, square, times(square, t), strict=True)]
    return times(raised, inverse), [a - b for a, b in zip(x, logarithm, strict=True)]


def bound(dtype, order, coefficients):
    """Rounding of the formula: eps times products of sizes of coefficients, loosely."""
    sizes = [1 + t.abs().amax(-1, keepdim=True) for t in coefficients]
    terms = sizes[0] ** order
    if order >= 2:
        terms = terms + sizes[1] * sizes[0]
    if order >= 3:
        terms = terms + sizes[2]
    return 16 * torch.finfo(dtype).eps * terms


@pytest.mark.parametrize("columns", COLUMNS)
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("logarithm", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_coefficients_are_those_of_power_series(
    columns, order, logarithm, weighted, dtype, backend, device, rng
):
    rows, k = 3, 2
    x = 2 * normal(rng, rows, columns)
    coefficients = [1 + normal(rng, k, rows, columns).to(dtype).double() for _ in range(order)]
    p = x.softmax(-1).to(dtype).double()
    p = p / p.sum(-1, keepdim=True)  # the value the series starts from
    w = 1 + normal(rng, rows).abs().to(dtype).double() if weighted else None
    soft, log = softmax_series([p.log().expand(k, rows, columns), *coefficients])
    got = _ops.softmax_jet(
        [c.to(device, dtype) for c in coefficients],
        p.to(device, dtype),
        None if w is None else w.to(device, dtype),
        logarithm=logarithm,
        backend=backend,
    )
    scale = torch.ones(rows, 1, dtype=torch.float64) if w is None else w[:, None]
    for j in range(order):
        want = scale * (log if logarithm else soft)[j + 1]
        limit = scale * bound(dtype, j + 1, coefficients) * (1 if logarithm else p)
        assert ((got[j].cpu().double() - want).abs() <= limit).all(), j


def test_coefficients_are_the_derivatives_that_mpmath_finds(backend, device):
    x0, x1, x2, x3 = [0.3, -1.2, 2.0], [1.0, -0.5, 0.25], [0.7, 0.1, -2.0], [-0.4, 0.9, 1.3]

    def logit(c, t):
        return mpmath.mpf(x0[c]) + t * (mpmath.mpf(x1[c]) + t * (mpmath.mpf(x2[c]) + t * mpmath.mpf(x3[c])))

    def softmax(c, t):
        return mpmath.exp(logit(c, t)) / mpmath.fsum(mpmath.exp(logit(i, t)) for i in range(3))

    there = [torch.tensor(x, dtype=torch.float64, device=device).view(1, 1, 3) for x in (x1, x2, x3)]
    p = torch.tensor([x0], dtype=torch.float64, device=device).softmax(-1)
    with mpmath.workdps(40):
        for logarithm in (False, True):
            got = _ops.softmax_jet(there, p, logarithm=logarithm, backend=backend)
            for c in range(3):
                function = lambda t, c=c: mpmath.log(softmax(c, t)) if logarithm else softmax(c, t)  # noqa: B023, E731
                want = mpmath.taylor(function, 0, 3)
                for k in range(3):
                    assert abs(float(want[k + 1]) - got[k][0, 0, c].item()) <= 64 * F64


def test_a_weighted_cross_entropy_moves_as_the_weighted_softmax(dtype, backend, device, rng):
    z, v = normal(rng, 4, 33), normal(rng, 2, 4, 33)
    w, target = normal(rng, 4).abs(), torch.tensor([0, 32, 5, 7])
    z.requires_grad_()
    losses = w * torch.nn.functional.cross_entropy(z, target, reduction="none")
    (gradient,) = torch.autograd.grad(losses.sum(), z, create_graph=True)
    want = [torch.autograd.grad(gradient, z, row, retain_graph=True)[0] for row in v]
    (got,) = _ops.softmax_jet(
        [v.to(device, dtype)], z.detach().softmax(-1).to(device, dtype), w.to(device, dtype), backend=backend
    )
    limit = 16 * torch.finfo(dtype).eps * w[:, None] * v.abs().amax(-1, keepdim=True)
    assert ((got.cpu().double() - torch.stack(want)).abs() <= limit).all()


@pytest.mark.parametrize("columns", COLUMNS)
@pytest.mark.parametrize("present", [(True, True), (True, False), (False, True)])
def test_backward_is_the_derivative_of_the_pulled_back_gradient(
    columns, present, dtype, backend, device, rng
):
    g, p = normal(rng, 3, columns), (2 * normal(rng, 3, columns)).softmax(-1)
    moving = (normal(rng, 2, 3, columns), p * normal(rng, 2, 3, columns))
    dg, dp = (m if here else torch.zeros_like(m) for m, here in zip(moving, present, strict=True))
    along = [part.sum(-1, keepdim=True) for part in times([p, dp], [g, dg])]
    want = times([p, dp], [part - a for part, a in zip([g, dg], along, strict=True)])[1]
    there = lambda t: t.to(device, dtype)  # noqa: E731
    got = _ops.softmax_jet_backward(
        *(there(m) if here else None for m, here in zip(moving, present, strict=True)),
        *map(there, (g, p, (p * g).sum(-1))),
        backend=backend,
    )
    largest = lambda t: 1 + t.abs().amax(-1, keepdim=True)  # noqa: E731
    limit = 16 * torch.finfo(dtype).eps * largest(g) * largest(dg) * (p + dp.abs())
    assert ((got.cpu().double() - want).abs() <= limit + p * limit.sum(-1, keepdim=True)).all()


def test_logits_that_are_shifted_by_constants_give_no_coefficients(dtype, backend, device, rng):
    p = normal(rng, 3, 50).softmax(-1).to(device, dtype)
    shift = torch.full((2, 3, 50), 3.0, dtype=dtype, device=device)
    for t in _ops.softmax_jet([shift, -shift, shift], p, backend=backend):
        assert (t.abs() <= 32 * torch.finfo(dtype).eps * 40 * p).all()


def test_a_masked_row_stays_zero(backend, device, rng):
    p = torch.zeros(1, 20, device=device)
    (got,) = _ops.softmax_jet([normal(rng, 2, 1, 20).to(device, p.dtype)], p, backend=backend)
    assert (got == 0).all()


def test_probes_and_threads_do_not_change_the_bits(dtype, backend, device, rng):
    columns = 9001 if backend == "cpu" else 300
    x = [normal(rng, 4, 3, columns).to(device, dtype) for _ in range(3)]
    p = normal(rng, 3, columns).softmax(-1).to(device, dtype)
    want = _ops.softmax_jet(x, p, backend=backend)
    one = _ops.softmax_jet([t[2:3] for t in x], p, backend=backend)
    assert all(torch.equal(a, b[2:3]) for a, b in zip(one, want, strict=True))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        again = _ops.softmax_jet(x, p, backend=backend)
    finally:
        torch.set_num_threads(threads)
    assert all(map(torch.equal, again, want))


@pytest.mark.parametrize("columns", [1, 2, 31, 33, 100])
def test_softmax_is_that_of_float64(columns, dtype, backend, device, rng):
    x = 5 * torch.randn(4, columns + 3, generator=rng, dtype=torch.float64)
    x = x.to(device=device, dtype=dtype)[:, :columns]
    p, log_sum = _ops.softmax(x, backend=backend)
    want = x.double().softmax(1)
    eps = torch.finfo(dtype).eps
    assert ((p.double() - want).abs() <= (eps + 2 * (columns + 40) * F64) * want).all()
    want = x.double().logsumexp(1, keepdim=True)
    assert ((log_sum.double() - want).abs() <= 2 * eps * (want.abs() + 1)).all()


def test_softmax_of_huge_entries_is_finite(backend, device):
    p, log_sum = _ops.softmax(torch.tensor([[1e30, 1e30, -1e30]], device=device), backend=backend)
    assert p.tolist() == [[0.5, 0.5, 0]]
    assert log_sum.item() == torch.tensor(1e30).item()


def test_nan_poisons_its_own_row_only(backend, device):
    x = torch.zeros(3, 5, device=device)
    x[1, 2] = torch.nan
    p, log_sum = _ops.softmax(x, backend=backend)
    assert p.isnan().any(1).tolist() == log_sum[:, 0].isnan().tolist() == [False, True, False]
    (moved,) = _ops.softmax_jet([x[None]], torch.full_like(x, 0.2), backend=backend)
    assert moved[0].isnan().any(1).tolist() == [False, True, False]


def test_empty_problems_are_legal(backend, device):
    assert _ops.softmax(torch.ones(0, 3, device=device), backend=backend)[0].shape == (0, 3)
    for shape in [(0, 2, 3), (2, 0, 3)]:
        x = torch.ones(shape, device=device)
        (out,) = _ops.softmax_jet([x], x.new_ones(shape[1:]), backend=backend)
        assert out.shape == shape


def test_messages_name_the_arguments(backend, device):
    ones = lambda *shape, dtype=torch.float32: torch.ones(*shape, dtype=dtype, device=device)  # noqa: E731
    x, p = ones(2, 3, 4), ones(3, 4)
    run = lambda x, p, w=None: _ops.softmax_jet(x, p, w, backend=backend)  # noqa: E731
    with pytest.raises(ValueError, match=r"softmax: x must have at least one column, got x \[2, 0\]"):
        _ops.softmax(ones(2, 0), backend=backend)
    with pytest.raises(ValueError, match=r"softmax_jet: x must have 1 to 3 coefficients, got 4"):
        run([x] * 4, p)
    with pytest.raises(ValueError, match=r"softmax_jet: p must have shape \[3, 4\], got p \[3, 5\]"):
        run([x], ones(3, 5))
    with pytest.raises(ValueError, match=r"softmax_jet: w must have shape \[3\], got w \[4\]"):
        run([x], p, ones(4))
    with pytest.raises(ValueError, match=r"softmax_jet: x\[1\] must be contiguous"):
        run([x, ones(2, 3, 8)[..., ::2]], p)
    with pytest.raises(ValueError, match=r"softmax_jet: x\[0\] must have at least one column"):
        run([ones(2, 3, 0)], ones(3, 0))
    with pytest.raises(TypeError, match=r"softmax_jet: p must have the dtype of x\[0\]"):
        run([x], p.double())
    with pytest.raises(ValueError, match=r"softmax_jet_backward: dg or dp must be given, got none"):
        _ops.softmax_jet_backward(None, None, p, p, ones(3), backend=backend)
    with pytest.raises(ValueError, match=r"softmax_jet_backward: along must have shape \[3\]"):
        _ops.softmax_jet_backward(x, None, p, p, ones(4), backend=backend)


def test_torch_operator_contract(device):
    x, p, w = (torch.rand(s, device=device) for s in [(2, 3, 4), (3, 4), (3,)])
    torch.library.opcheck(torch.ops.hesscope.softmax, (p,))
    for logarithm in (False, True):
        torch.library.opcheck(torch.ops.hesscope.softmax_jet, ([x, x.clone()], p, w, logarithm))
    torch.library.opcheck(torch.ops.hesscope.softmax_jet_backward, (x, None, p, p.clone(), w))
