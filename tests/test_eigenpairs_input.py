"""Eigenpairs when something is wrong: arguments, products, precision, patience."""

from __future__ import annotations

import signal

import pytest
import torch

import hesscope as hs
from hesscope.krylov import memory
from hesscope.testing import prescribed_spectrum

N = 256
SPECTRUM = torch.linspace(-1, 1, N, dtype=torch.float64)
SPECTRUM[-5:] = torch.tensor([1.5, 2.0, 2.5, 3.0, 4.0])


def operator(f=None, dtype=torch.float64):
    """The matrix, its K-row products handed through ``f(products, number of products before)``."""
    h = prescribed_spectrum(SPECTRUM, dtype=dtype)
    if f is None:
        return h
    return hs.from_function(
        lambda v: f(h.rows(v), h.products - len(v)), N, dtype=dtype, batched=True, check_symmetric=False
    )


def assert_honest(eig):
    """Residuals of the recurrence: never too small, too large by couplings below the tolerance at most."""
    residuals = (operator().rows(eig.vectors) - eig.values[:, None] * eig.vectors).norm(dim=1)
    assert (residuals <= eig.residuals + 1e-12).all()
    assert (eig.residuals <= residuals + eig.tol * eig.norm).all()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"k": 0}, ValueError, "eigenpairs: k must be at least 1, got 0"),
        ({"k": N + 1}, ValueError, f"eigenpairs: k must be at most n = {N}, got {N + 1}"),
        ({"k": 2.0}, TypeError, "eigenpairs: k must be an integer, got float 2.0"),
        ({"which": "middle"}, ValueError, "eigenpairs: which must be one of 'largest'.*got 'middle'"),
        ({"tol": 0}, ValueError, "eigenpairs: tol must be positive and finite, got 0"),
        ({"tol": -1e-3}, ValueError, "eigenpairs: tol must be positive and finite, got -0.001"),
        ({"tol": float("nan")}, ValueError, "eigenpairs: tol must not be NaN"),
        ({"tol": float("inf")}, ValueError, "eigenpairs: tol must be positive and finite, got inf"),
        ({"tol": "fine"}, TypeError, "eigenpairs: tol must be a number, got str 'fine'"),
        ({"max_products": 0}, ValueError, "eigenpairs: max_products must be at least 1, got 0"),
        ({"seed": -1}, ValueError, "eigenpairs: seed must be at least 0, got -1"),
        ({"block_size": 0}, ValueError, "eigenpairs: block_size must be at least 1, got 0"),
        ({"block_size": N + 1}, ValueError, f"eigenpairs: block_size must be below {N + 1}"),
        ({"initial": [1.0]}, TypeError, rf"initial must be a tensor \[j, {N}\], got list"),
        (
            {"initial": torch.ones(N).double()},
            ValueError,
            rf"initial must have shape \[j, {N}\].*got \[{N}\]",
        ),
        ({"initial": torch.ones(2, N - 1).double()}, ValueError, rf"got \[2, {N - 1}\]"),
        ({"initial": torch.ones(0, N).double()}, ValueError, rf"got \[0, {N}\]"),
        ({"initial": torch.ones(1, N)}, TypeError, "initial must be torch.float64, got torch.float32"),
        (
            {"initial": torch.ones(1, N, device="meta").double()},
            ValueError,
            "initial must be on cpu, got meta",
        ),
        ({"initial": torch.full((1, N), float("nan")).double()}, ValueError, "initial must be finite"),
        ({"initial": torch.zeros(1, N).double()}, ValueError, "initial must have no row of zeros"),
        ({"initial": torch.ones(2, N).double()}, ValueError, "initial must have independent rows"),
    ],
)
def test_bad_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        hs.eigenpairs(operator(), **arguments)


def test_an_operator_is_asked_for():
    with pytest.raises(TypeError, match=r"eigenpairs: operator must be a SymmetricOperator.*got Tensor"):
        hs.eigenpairs(torch.eye(3))


def test_rows_of_very_different_size_are_independent():
    start = torch.zeros(2, N, dtype=torch.float64)
    start[0, 0], start[1, 1] = 1e-150, 1e150
    assert hs.eigenpairs(operator(), k=2, initial=start).status is hs.Status.CONVERGED


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("at", [1, 3, 12, 40])
def test_a_product_that_is_not_finite_ends_the_run_and_keeps_what_was_done(bad, at):
    h = operator(lambda w, before: w if before < at else w * bad)
    with pytest.warns(RuntimeWarning, match="eigenpairs: The operator returned NaN or inf"):
        eig = hs.eigenpairs(h, k=5)
    assert eig.status is hs.Status.NONFINITE_OPERATOR
    assert len(eig) == min(at, 5)
    assert eig.vectors.isfinite().all()
    assert not eig.verified
    assert_honest(eig)


def test_a_first_product_that_is_not_finite_is_an_error():
    with pytest.raises(ValueError, match="operator must return finite products, but the first is not"):
        hs.eigenpairs(operator(lambda w, _: w * torch.nan))


def test_a_limit_on_products_is_kept():
    with pytest.warns(RuntimeWarning, match=r"The limit on products.*of 5 pairs converged to 1e-08 \|H\|"):
        eig = hs.eigenpairs(operator(), k=5, max_products=20)
    assert eig.status is hs.Status.MAX_PRODUCTS
    assert eig.search_products <= 20
    assert eig.verification_products == 5
    assert eig.verified
    assert 0 < eig.converged.sum() < 5 or eig.residuals.max() > 1e-8 * eig.norm
    with pytest.warns(RuntimeWarning, match="The limit on products"):
        assert len(hs.eigenpairs(operator(), k=5, max_products=3)) == 3


def test_a_check_that_meets_the_limit_says_so():
    whole = hs.eigenpairs(operator(), k=5)
    eig = hs.eigenpairs(operator(), k=5, max_products=whole.search_products + 3)
    assert eig.status is hs.Status.CONVERGED
    assert eig.missed == "unfinished"
    assert eig.check_products == 3


@pytest.mark.parametrize("at", [4, 15, 30])
def test_ctrl_c_returns_what_is_done(at):
    def f(w, before):
        if before == at:
            signal.raise_signal(signal.SIGINT)
        return w

    with pytest.warns(RuntimeWarning, match="eigenpairs: Stopped by the user"):
        eig = hs.eigenpairs(operator(f), k=5)
    assert eig.status is hs.Status.INTERRUPTED
    assert eig.products == at + 1
    assert_honest(eig)
    assert torch.equal(eig.converged, eig.residuals <= eig.tol * eig.norm)
    resumed = hs.eigenpairs(operator(), k=5, initial=eig.vectors)
    assert resumed.status is hs.Status.CONVERGED


@pytest.mark.parametrize("at", [4, 15, 25, 45])
def test_an_error_of_the_operator_keeps_the_pairs_before(at):
    def f(w, before):
        if before >= at:
            msg = "out of memory, say"
            raise RuntimeError(msg)
        return w

    with pytest.raises(
        hs.RunFailed, match=rf"eigenpairs: the operator failed in product {at + 1}.*say"
    ) as caught:
        hs.eigenpairs(operator(f), k=5)
    eig = caught.value.partial
    assert str(caught.value.__cause__) == "out of memory, say"
    assert eig.status is hs.Status.OPERATOR_FAILED
    assert eig.products == at
    assert_honest(eig)
    with pytest.raises(RuntimeError, match=r"^out of memory, say$"):
        hs.eigenpairs(operator(lambda w, _: f(w, at)), k=5)


@pytest.mark.parametrize(("dtype", "tol"), [(torch.float32, 1e-9), (torch.float64, 1e-18)])
def test_a_tolerance_below_the_precision_of_the_products_is_reported(dtype, tol):
    with pytest.warns(RuntimeWarning, match=r"too noisy.*of 5 pairs converged to 1e-.. \|H\|"):
        eig = hs.eigenpairs(operator(dtype=dtype), k=5, tol=tol)
    assert eig.status is hs.Status.NOISE_FLOOR
    assert eig.residuals.max() <= 16 * torch.finfo(dtype).eps * eig.norm
    assert (eig.values - SPECTRUM.flip(0)[:5]).abs().max() <= 16 * torch.finfo(dtype).eps * eig.norm


@pytest.mark.parametrize("noise", [1e-6, 1e-3])
def test_noisy_products_are_reported_and_their_residuals_are_honest(noise):
    rng = torch.Generator().manual_seed(0)

    def f(w, before):
        return w + noise * torch.randn(w.shape, generator=rng, dtype=w.dtype) / 16  # norm ~ noise

    with pytest.warns(RuntimeWarning, match="too noisy"):
        eig = hs.eigenpairs(operator(f), k=5, tol=1e-10)
    assert eig.status is hs.Status.NOISE_FLOOR
    assert 0.5 * noise <= eig.residuals.max() <= 10 * noise
    assert (eig.values - SPECTRUM.flip(0)[:5]).abs().max() <= 10 * noise
    assert eig.products < 500


def test_an_operator_that_changes_midway_is_an_error():
    class Changing(type(operator())):
        def fingerprint(self):
            return self.products > 20

    h = Changing(SPECTRUM)
    with pytest.raises(RuntimeError, match="eigenpairs: operator must not change during a run"):
        hs.eigenpairs(h)
    assert h.products <= 21 + 8  # it is looked at every 8 products


def test_a_basis_too_large_for_the_memory_is_refused_before_any_product(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda _: 50_000)
    h = operator()
    with pytest.raises(MemoryError, match=r"eigenpairs: a basis of 30 vectors of length 256 does not fit"):
        hs.eigenpairs(h, k=10)
    assert h.products == 0


def test_a_function_that_returns_its_argument_is_left_alone():
    h = hs.from_function(lambda v: v, 50, batched=True, dtype=torch.float64)
    assert hs.eigenpairs(h, k=3).status is hs.Status.CONVERGED


def test_rows_in_any_layout(rng):
    """Products and starts that are transposed, and starts that require a gradient."""
    a = torch.randn(40, 40, generator=rng, dtype=torch.float64)
    a = a + a.T
    h = hs.from_function(lambda v: (a @ v.T).T, 40, batched=True, dtype=torch.float64)
    start = torch.randn(40, 3, generator=rng, dtype=torch.float64).T.requires_grad_()
    truth = torch.linalg.eigvalsh(a).flip(0)
    for options in ({}, {"initial": start}, {"initial": start, "check_missed": True, "block_size": 2}):
        eig = hs.eigenpairs(h, k=3, **options)
        assert (eig.values - truth[:3]).abs().max() <= 1e-7
        assert not eig.vectors.requires_grad
    assert hs.trace(h, products=40).value == pytest.approx(float(a.trace()), abs=1e-12)
    for method in ("xtrace", "rademacher", "hutch++"):
        assert abs(hs.trace(h, method=method, products=20).value - float(a.trace())) <= 40 * 20
    assert hs.diagonal(h).value.shape == (40,)
    assert hs.frobenius_norm(h).value > 0


def test_progress_goes_to_stderr(capsys):
    hs.eigenpairs(operator(), k=2, progress=True)
    captured = capsys.readouterr()
    assert "eigenpairs" in captured.err
    assert not captured.out


@pytest.mark.parametrize("k", [1, 8])
def test_noise_in_a_space_that_is_full(k, rng):
    """The residual of the last product is noise, not a direction that a space of 8 could still take."""
    a = torch.diag(torch.arange(8, dtype=torch.float64))

    def f(v):
        return v @ a + 1e-3 * torch.randn(v.shape, generator=rng, dtype=v.dtype)

    h = hs.from_function(f, 8, batched=True, dtype=torch.float64, check_symmetric=False)
    with pytest.warns(RuntimeWarning, match="too noisy"):
        eig = hs.eigenpairs(h, k=k)
    assert eig.status is hs.Status.NOISE_FLOOR
    assert (eig.values - torch.arange(8.0).flip(0)[:k]).abs().max() <= 1e-2
    assert (eig.vectors @ eig.vectors.T - torch.eye(k, dtype=torch.float64)).abs().max() <= 1e-14


def test_products_less_precise_than_the_recurrence_believes_are_searched_on(rng):
    """One bad product early in the run, and the relation of the recurrence no longer holds."""
    wrong = torch.randn(N, generator=rng, dtype=torch.float64) / 16

    h = operator(lambda w, before: w + 1e-4 * wrong if before == 3 else w)
    eig = hs.eigenpairs(h, k=5, tol=1e-10)
    assert eig.status is hs.Status.CONVERGED
    assert eig.verification_products >= 10  # measured, found too large, searched on, measured again
    assert (eig.values - SPECTRUM.flip(0)[:5]).abs().max() <= 1e-12
    assert_honest(eig)


def test_noise_in_one_direction_is_not_taken_for_noise_in_all(rng):
    """The norm of the noise is overestimated by far; what goes on improving is not stopped for it."""
    a = torch.linspace(-1, 1, 4096, dtype=torch.float64)
    a[:5] = torch.tensor([4.0, 3.0, 2.5, 2.0, 1.5])

    def f(v):
        w = v * a
        w[:, 0] += 1e-6 * torch.randn(len(v), generator=rng, dtype=v.dtype)
        return w

    h = hs.from_function(f, 4096, batched=True, dtype=torch.float64, check_symmetric=False)
    assert hs.eigenpairs(h, k=5, tol=1e-6).status is hs.Status.CONVERGED
