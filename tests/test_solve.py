"""Linear systems: dense truth, SciPy, indefinite and singular operators, many right-hand sides, failures."""

from __future__ import annotations

import math

import pytest
import scipy.sparse.linalg as sl
import torch

import hesscope as hs
from hesscope.testing import prescribed_spectrum

N = 256
POSITIVE = torch.logspace(-2, 0, N, dtype=torch.float64)
INDEFINITE = torch.cat([POSITIVE[::2], -POSITIVE[::2]])
SINGULAR = torch.cat(
    [torch.zeros(16, dtype=torch.float64), torch.logspace(-1, 0, N - 16, dtype=torch.float64)]
)


def rhs(k=3, n=N, dtype=torch.float64):
    return torch.randn(k, n, dtype=dtype, generator=torch.Generator().manual_seed(1))


def true_residual(h, x, b, shift=0.0):
    return (b - h.rows(x) - shift * x).norm(dim=1) / b.norm(dim=1)


@pytest.mark.parametrize("method", ["auto", "minres", "cg"])
@pytest.mark.parametrize(("dtype", "tol"), [(torch.float32, 1e-4), (torch.float64, 1e-8)], ids=str)
@pytest.mark.parametrize("shift", [0.0, 0.1])
def test_residuals_are_the_true_ones_and_within_the_tolerance(method, dtype, tol, shift):
    h, b = prescribed_spectrum(POSITIVE, dtype=dtype), rhs(dtype=dtype)
    b[1] *= 1e-12
    got = hs.solve(h, b, method=method, shift=shift)
    assert got.status is hs.Status.CONVERGED
    assert got.converged.all()
    assert not got.negative_curvature.any()
    assert got.relative.max() <= tol
    assert got.products == h.products
    assert got.relative == pytest.approx(true_residual(h, got.x, b, shift).double(), rel=1e-2, abs=1e-9)
    assert got.x.dtype == dtype


def test_a_dense_matrix_of_odd_size_is_solved_as_by_a_factorisation(rng):
    a = torch.randn(37, 37, generator=rng, dtype=torch.float64)
    a = a + a.T
    b = torch.randn(37, generator=rng, dtype=torch.float64)
    got = hs.solve(hs.from_matrix(a), b, tol=1e-12)
    want = torch.linalg.solve(a, b)
    assert got.x.shape == (37,)
    assert (got.x - want).norm() <= 1e-12 * torch.linalg.cond(a) * want.norm()
    assert got.negative_curvature.all()


def test_no_more_products_than_scipy():
    h, b = prescribed_spectrum(POSITIVE), rhs(1)
    before = h.products
    sl.cg(h.to_scipy(), b[0].numpy(), rtol=1e-8)
    theirs = h.products - before
    assert hs.solve(h, b, method="cg").products <= theirs + 2
    assert hs.solve(h, b).products <= theirs + 2


@pytest.mark.parametrize("shift", [0.0, 0.003])
def test_minres_solves_indefinite_systems_and_cg_refuses_them(shift):
    h, b = prescribed_spectrum(INDEFINITE), rhs()
    got = hs.solve(h, b, shift=shift, tol=1e-6)
    assert true_residual(h, got.x, b, shift).max() <= 1e-6
    assert got.negative_curvature.all()
    with pytest.raises(hs.RunFailed, match=r"solve: .* negative curvature.*Pass a shift") as failure:
        hs.solve(h, b, shift=shift, method="cg")
    partial = failure.value.partial
    assert partial.status is hs.Status.INDEFINITE
    assert partial.residuals.isfinite().all()
    assert hs.solve(h, b, shift=1.1, method="cg").converged.all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_singular_systems_have_a_solution_or_a_least_squares_one(dtype):
    h, b = prescribed_spectrum(SINGULAR, dtype=dtype), rhs(dtype=dtype)
    consistent = hs.solve(h, h.rows(b))
    assert consistent.status is hs.Status.CONVERGED
    with pytest.raises(hs.RunFailed, match=r"solve: .* singular .*least_squares=True") as failure:
        hs.solve(h, b)
    assert failure.value.partial.status is hs.Status.SINGULAR
    with pytest.raises(hs.RunFailed, match="singular"):
        hs.solve(h, b, method="cg")
    with pytest.warns(RuntimeWarning, match="singular"):
        got = hs.solve(h, b, least_squares=True)
    residual = b - h.rows(got.x)
    gradient = h.rows(residual).norm(dim=1) / residual.norm(dim=1)
    assert gradient.max() <= 4 * math.sqrt(torch.finfo(dtype).eps)
    assert hs.solve(h, b, shift=0.1).converged.all()


def test_each_system_is_solved_as_if_alone():
    h, b = prescribed_spectrum(INDEFINITE), rhs(4)
    b[2] = 0
    together = hs.solve(h, b, tol=1e-6)
    assert together.steps[2] == 0
    assert (together.x[2] == 0).all()
    for i in (0, 1, 3):
        alone = hs.solve(h, b[i], tol=1e-6)
        assert torch.equal(alone.x, together.x[i])
        assert alone.steps[0] == together.steps[i]


@pytest.mark.parametrize("method", ["minres", "cg"])
def test_eigenpairs_make_a_preconditioner(method):
    values = torch.cat([torch.logspace(2, 3, 16), torch.logspace(-1, 0, N - 16)]).double()
    h, b = prescribed_spectrum(values), rhs()
    pairs = hs.eigenpairs(h, 16)
    plain, better = (hs.solve(h, b, method=method, preconditioner=p) for p in (None, pairs))
    assert better.products < 0.5 * plain.products
    assert true_residual(h, better.x, b).max() <= 1e-8
    assert "preconditioned" in better.method


def test_the_low_rank_inverse_is_exact_for_what_it_knows():
    values = torch.full((N,), 0.5, dtype=torch.float64)
    values[:3] = torch.tensor([9.0, -4.0, 2.0])
    h, b = prescribed_spectrum(values), rhs()
    pairs = hs.eigenpairs(h, 3, which="magnitude")
    inverse = hs.low_rank_inverse(pairs, shift=0.5, rest=1.0)
    assert (h.rows(inverse.rows(b)) + 0.5 * inverse.rows(b) - b).abs().max() <= 1e-6
    spd = hs.low_rank_inverse(pairs, absolute=True)
    assert torch.linalg.eigvalsh(spd @ torch.eye(N, dtype=torch.float64)).min() > 0
    with pytest.raises(ValueError, match=r"low_rank_inverse: shift must not make a value zero"):
        hs.low_rank_inverse(pairs, shift=-float(pairs.values[0]))
    with pytest.raises(ValueError, match="low_rank_inverse: rest must be finite and not zero, got 0"):
        hs.low_rank_inverse(pairs, rest=0.0)


def test_a_start_that_is_right_costs_one_product():
    h, b = prescribed_spectrum(POSITIVE), rhs()
    x = hs.solve(h, b).x
    again = hs.solve(h, b, initial=x)
    assert again.products == 3
    assert again.converged.all()


def test_limits_and_noise_are_said():
    h, b = prescribed_spectrum(POSITIVE), rhs()
    with pytest.warns(RuntimeWarning, match="limit on products"):
        short = hs.solve(h, b, max_products=60)
    assert short.status is hs.Status.MAX_PRODUCTS
    assert short.products <= 60
    assert short.relative == pytest.approx(true_residual(h, short.x, b), rel=1e-6)
    single = prescribed_spectrum(POSITIVE, dtype=torch.float32)
    with pytest.warns(RuntimeWarning, match="too noisy"):
        noisy = hs.solve(single, b.float(), tol=1e-9)
    assert noisy.relative.max() < 1e-4


def test_an_operator_that_fails_or_changes_keeps_what_was_found():
    h, b, calls = prescribed_spectrum(POSITIVE), rhs(), 0

    def f(v):
        nonlocal calls
        calls += 1
        if calls == 9:
            msg = "out of order"
            raise RuntimeError(msg)
        return h.rows(v)

    operator = hs.from_function(f, N, dtype=torch.float64, batched=True, check_symmetric=False)
    with pytest.raises(hs.RunFailed, match="out of order") as failure:
        hs.solve(operator, b)
    assert true_residual(h, failure.value.partial.x, b).max() < 1
    nan = hs.from_function(
        lambda v: v * torch.nan, N, dtype=torch.float64, batched=True, check_symmetric=False
    )
    with pytest.raises(ValueError, match="solve: operator must return finite products"):
        hs.solve(nan, b)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_right_hand_side_in_the_null_space_is_singular_and_fails_no_other(dtype):
    h = hs.from_matrix(torch.diag(torch.tensor([1.0, 2.0, 0.0], dtype=dtype)))
    b = torch.tensor([[0.0, 0.0, 1.0], [1.0, 1.0, 0.0], [1.0, 0.0, 1.0]], dtype=dtype)
    with pytest.warns(RuntimeWarning, match="least-squares solution only"):
        found = hs.solve(h, b, least_squares=True)
    assert found.status is hs.Status.SINGULAR
    assert found.x[0].tolist() == [0.0, 0.0, 0.0]
    assert found.converged.tolist() == [False, True, False]
    assert found.x[1].tolist() == pytest.approx([1.0, 0.5, 0.0], rel=1e-6)
    assert float(found.x[2, 0]) == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize("method", ["minres", "cg"])
@pytest.mark.parametrize("signs", [[-1.0] * 5, [1.0, 1.0, 1.0, 1.0, -1.0]])
def test_a_preconditioner_with_negative_curvature_is_named(method, signs):
    h = hs.from_matrix(torch.diag(torch.arange(1.0, 6.0)))
    b = torch.tensor([1.0, 1.0, 1.0, 1.0, 0.3])
    with pytest.raises((ValueError, hs.RunFailed), match="preconditioner must be positive definite"):
        hs.solve(h, b, preconditioner=hs.from_matrix(torch.diag(torch.tensor(signs))), method=method)


@pytest.mark.parametrize(
    ("b", "options", "error", "message"),
    [
        (rhs(n=8), {}, ValueError, r"b must have shape \[256\] or \[K, 256\], got \[3, 8\]"),
        (rhs().float(), {}, TypeError, r"b must be torch.float64, got torch.float32"),
        (rhs() / 0, {}, ValueError, "b must be finite"),
        (3, {}, TypeError, "b must be a tensor"),
        (rhs(), {"method": "lu"}, ValueError, "method must be one of"),
        (rhs(), {"tol": 0}, ValueError, "tol must be positive and finite, got 0"),
        (rhs(), {"shift": math.inf}, ValueError, "shift must be finite, got inf"),
        (rhs(), {"max_products": 0}, ValueError, "max_products must be at least 1, got 0"),
        (rhs(), {"initial": rhs(2)}, ValueError, "initial must have the shape of b"),
        (rhs(), {"preconditioner": 3}, TypeError, "preconditioner must be an Eigenpairs or a"),
    ],
    ids=lambda x: str(x)[:20],
)
def test_bad_arguments_are_named(b, options, error, message):
    h = prescribed_spectrum(POSITIVE)
    with pytest.raises(error, match=f"solve: {message}"):
        hs.solve(h, b, **options)
    assert h.products == 0
