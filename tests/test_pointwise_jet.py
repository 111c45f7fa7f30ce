"""pointwise_jet: coefficients through elementwise functions, against mpmath and truncated polynomials."""

from __future__ import annotations

import functools
import itertools
import math

import mpmath
import pytest
import torch

from hesscope import _ops

SIZES = [1, 3, 16, 511, 1025]
EXPONENTS = {
    "one": [(0, 0), (1, 0)],
    "two": [(0, 0), (1, 0), (2, 0)],
    "three": [(0, 0), (1, 0), (2, 0), (3, 0)],
    "mixed": [(0, 0), (1, 0), (0, 1), (1, 1)],
}
ORDER = {"one": 1, "two": 2, "three": 3, "mixed": 2}


def times(kind, a, b):
    """Product of two polynomials in s and t, by the exponents of their monomials."""
    places = EXPONENTS[kind]
    out = [torch.zeros_like(t) for t in a]
    for (i, (p, q)), (j, (r, s)) in itertools.product(enumerate(places), repeat=2):
        if (p + r, q + s) in places:
            k = places.index((p + r, q + s))
            out[k] = out[k] + a[i] * b[j]
    return out


def polynomials(kind, taylor, x, g_value, g):
    """The coefficients of g f(x) by Horner's rule, and the sum of absolute terms."""

    def of(taylor, x, g_value, g):
        u = [torch.zeros_like(x[0]), *x]
        total = [torch.zeros_like(t) for t in u]
        for row in reversed(taylor):
            total = times(kind, total, u)
            total[0] = total[0] + row
        return total if g_value is None else times(kind, total, [g_value.expand_as(x[0]), *g])

    absolute = lambda ts: [t.abs() for t in ts]  # noqa: E731
    sizes = of(absolute(taylor), absolute(x), None if g_value is None else g_value.abs(), absolute(g))
    return of(taylor, x, g_value, g)[1:], sizes[1:]


def random(rng, dtype, *shape):
    return torch.randn(*shape, generator=rng, dtype=torch.float64).to(dtype).double()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", EXPONENTS)
@pytest.mark.parametrize("product", [False, True])
@pytest.mark.parametrize("missing", [(), (1,)])
def test_coefficients_are_those_of_polynomials(size, kind, product, missing, dtype, backend, device, rng):
    k, count = 2, len(EXPONENTS[kind]) - 1
    taylor = random(rng, dtype, ORDER[kind] + 1, size)
    x = [random(rng, dtype, k, size) * (i not in missing) for i in range(count)]
    g_value = random(rng, dtype, size) if product else None
    g = [random(rng, dtype, k, size) * (i not in missing) for i in range(count)] if product else []
    want, sizes = polynomials(kind, taylor, x, g_value, g)
    there = lambda t: t.to(device, dtype)  # noqa: E731
    given = lambda ts: [None if i in missing else there(t) for i, t in enumerate(ts)]  # noqa: E731
    padded = torch.full((len(taylor), size + 5), torch.nan, dtype=dtype, device=device)[:, :size]
    got = _ops.pointwise_jet(
        padded.copy_(taylor),
        given(x),
        None if g_value is None else there(g_value),
        given(g),
        mixed=kind == "mixed",
        backend=backend,
    )
    for a, b, terms in zip(got, want, sizes, strict=True):
        assert ((a.cpu().double() - b).abs() <= 16 * torch.finfo(dtype).eps * terms).all()


FUNCTIONS = {"exp": mpmath.exp, "tanh": mpmath.tanh, "erf": mpmath.erf, "cube": lambda x: x**3}


def composed(f, at, x, t):
    return f(at + t * (x[0] + t * (x[1] + t * x[2])))


def weighted(g, path, t):
    return (g[0] + t * (g[1] + t * (g[2] + t * g[3]))) * path(t)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_coefficients_are_the_derivatives_that_mpmath_finds(name, backend, device):
    f, points = FUNCTIONS[name], [-1.25, 0.5, 2.0]
    x, g = [0.75, -0.5, 1.5], [2.0, 0.25, -1.0, 0.5]
    with mpmath.workdps(40):
        rows = [[float(c) for c in mpmath.taylor(f, at, 3)] for at in points]
        want = []
        for at in points:
            path = functools.partial(composed, f, at, x)
            product = functools.partial(weighted, g, path)
            want.append([[float(c) for c in mpmath.taylor(part, 0, 3)] for part in (path, product)])
    there = lambda values: torch.tensor(values, dtype=torch.float64, device=device)  # noqa: E731
    taylor = there(rows).T.contiguous()
    coefficients = [there([[value] * 3]) for value in x]
    plain = _ops.pointwise_jet(taylor, coefficients, backend=backend)
    moved = [there([[value] * 3]) for value in g[1:]]
    product = _ops.pointwise_jet(taylor, coefficients, there([g[0]] * 3), moved, backend=backend)
    for k in range(3):
        for i in range(3):
            for got, expected in ((plain, want[i][0]), (product, want[i][1])):
                limit = 64 * torch.finfo(torch.float64).eps * (1 + sum(map(abs, rows[i])))
                assert math.isclose(got[k][0, i].item(), expected[k + 1], abs_tol=limit)


def test_only_what_is_wanted_is_computed(backend, device):
    ones = torch.ones(2, 40, device=device)
    taylor = torch.ones(4, 40, device=device)
    got = _ops.pointwise_jet(taylor, [ones] * 3, wanted=[2], backend=backend)
    assert got[:2] == [None, None]
    assert (got[2] == 4).all()  # f_1 + 2 f_2 + f_3


def test_rows_that_are_not_read_may_hold_anything(backend, device):
    taylor = torch.ones(3, 20, device=device)
    taylor[0] = torch.nan
    got = _ops.pointwise_jet(taylor, [torch.ones(1, 20, device=device)] * 2, backend=backend)
    assert (got[1] == 2).all()


def test_probes_and_threads_do_not_change_the_bits(dtype, backend, device, rng):
    size = 70_001 if backend == "cpu" else 300
    taylor = torch.randn(4, size, generator=rng, dtype=torch.float64).to(device, dtype)
    x = [torch.randn(3, size, generator=rng, dtype=torch.float64).to(device, dtype) for _ in range(3)]
    want = _ops.pointwise_jet(taylor, x, taylor[0], x, backend=backend)
    one = [t[1:2] for t in x]
    single = _ops.pointwise_jet(taylor, one, taylor[0], one, backend=backend)
    assert all(torch.equal(a, b[1:2]) for a, b in zip(single, want, strict=True))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        again = _ops.pointwise_jet(taylor, x, taylor[0], x, backend=backend)
    finally:
        torch.set_num_threads(threads)
    assert all(map(torch.equal, again, want))


def test_empty_problems_are_legal(backend, device):
    for shape in [(0, 3), (2, 0)]:
        (out,) = _ops.pointwise_jet(
            torch.ones(2, shape[1], device=device), [torch.ones(shape, device=device)], backend=backend
        )
        assert out.shape == shape


def test_messages_name_the_arguments(backend, device):
    ones = lambda *shape, dtype=torch.float32: torch.ones(*shape, dtype=dtype, device=device)  # noqa: E731
    taylor, x = ones(3, 5), ones(2, 5)
    run = lambda *args, **options: _ops.pointwise_jet(*args, backend=backend, **options)  # noqa: E731
    with pytest.raises(ValueError, match=r"pointwise_jet: x must have 1 to 3 coefficients, .*, got 4"):
        run(taylor, [x] * 4)
    with pytest.raises(ValueError, match=r"3 if mixed, got 2"):
        run(taylor, [x] * 2, mixed=True)
    with pytest.raises(ValueError, match=r"pointwise_jet: x must have a coefficient, got none"):
        run(taylor, [None, None])
    with pytest.raises(ValueError, match=r"taylor must have shape \[3, 5\], got taylor \[4, 5\]"):
        run(ones(4, 5), [x, x])
    with pytest.raises(ValueError, match=r"pointwise_jet: x\[1\] must have shape \[2, 5\]"):
        run(taylor, [x, ones(2, 6)])
    with pytest.raises(ValueError, match=r"g must have as many entries as x with g_value .*, got 1"):
        run(taylor, [x, x], ones(5), [x])
    with pytest.raises(ValueError, match=r"g_value must have shape \[5\]"):
        run(taylor, [x, x], ones(6), [x, x])
    with pytest.raises(TypeError, match=r"taylor must have the dtype of x\[0\]"):
        run(taylor.double(), [x, x])


def test_torch_operator_contract(device):
    taylor, x, g = (torch.randn(s, device=device) for s in [(3, 5), (2, 5), (5,)])
    torch.library.opcheck(torch.ops.hesscope.pointwise_jet, (taylor, [x, None], None, [], False))
    inputs = (taylor, [x, x.clone(), None], g, [None, x.clone(), x.clone()], True)
    torch.library.opcheck(torch.ops.hesscope.pointwise_jet, inputs)
