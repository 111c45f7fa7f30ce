"""f(H) b against dense truth, with a basis and without one."""

from __future__ import annotations

import math

import pytest
import torch

import hesscope as hs
from apply_function_cases import N, definite, dense, indefinite, rhs
from hesscope.testing import prescribed_spectrum

FUNCTIONS = {
    "exp": torch.exp,
    "square root of the modulus": lambda x: x.abs().sqrt(),
    "inverse": lambda x: (x + 8).reciprocal(),
    "modulus": torch.abs,
    "logarithm": lambda x: (x + 8).log(),
    "oscillating": lambda x: torch.sin(5 * x),
}


@pytest.mark.parametrize("f", FUNCTIONS.values(), ids=FUNCTIONS.keys())
@pytest.mark.parametrize("spectrum", [definite, indefinite])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("basis", [None, "recompute", "disk"])
def test_the_error_is_what_the_estimate_says(f, spectrum, dtype, basis):
    h, b = prescribed_spectrum(spectrum(), dtype=dtype), rhs(dtype=dtype)
    truth = dense(h, f, b)
    for steps in (12, 40, 120):
        got = hs.apply_function(h, f, b, num_steps=steps, basis=basis)
        error = (got.x.double() - truth).norm(dim=1)
        # An estimate, no bound: where f has a kink inside the spectrum it may be a few times too small.
        assert (error <= 5 * got.estimate).all()
        assert torch.allclose(got.relative, got.estimate / got.x.double().norm(dim=1), rtol=1e-12)
        assert got.x.dtype == dtype
        assert got.products == (2 if basis == "recompute" else 1) * 3 * steps
    if spectrum is definite and dtype == torch.float64 and f is not FUNCTIONS["square root of the modulus"]:
        assert (got.relative <= 1e-10).all()


def test_convergence_is_not_claimed_before_it_happens():
    """Where the error is large the estimate must be, and where it is at rounding level, too."""
    h, b = prescribed_spectrum(definite()), rhs(1)
    truth = dense(h, torch.sqrt, b)
    ratios = []
    for steps in range(4, 60, 4):
        got = hs.apply_function(h, torch.sqrt, b, num_steps=steps)
        ratios.append(float(got.estimate / (got.x - truth).norm()))
    assert min(ratios) >= 1
    assert sorted(ratios)[len(ratios) // 2] <= 100


@pytest.mark.parametrize("largest", [1e4, 1e6])
def test_nothing_is_claimed_of_a_function_that_vanishes_on_the_ritz_values_so_far(largest):
    """exp(-x) is seen only by Ritz values near 0; at 1e6 it is 0 in float64 on all of the first ones."""
    h = hs.from_matrix(torch.diag(torch.linspace(0, largest, 2000, dtype=torch.float64)))
    b = rhs(1, n=2000)
    truth = (-torch.linspace(0, largest, 2000, dtype=torch.float64)).exp() * b
    few = hs.apply_function(h, lambda x: (-x).exp(), b, num_steps=20)
    assert (few.x - truth).norm() > 0.9 * truth.norm()
    assert float(few.estimate) == float(few.relative) == math.inf
    for steps in (5, 10, 40, 80, 160, 320):
        got = hs.apply_function(h, lambda x: (-x).exp(), b, num_steps=steps)
        assert (got.x - truth).norm() <= 5 * got.estimate
    done = hs.apply_function(h, lambda x: (-x).exp(), b, tol=1e-6, num_steps=2000)
    assert done.status is hs.Status.CONVERGED
    assert (done.x - truth).norm() <= 1e-6 * truth.norm()


@pytest.mark.parametrize("basis", [None, "host", "disk", "recompute"])
def test_every_storage_gives_the_iterate_of_every_other(basis):
    h, b = prescribed_spectrum(indefinite(), dtype=torch.float32), rhs(dtype=torch.float32)
    one = hs.apply_function(h, torch.exp, b, num_steps=30, basis="float32")
    other = hs.apply_function(h, torch.exp, b, num_steps=30, basis=basis)
    if basis == "recompute":  # rounded once a step, not once
        assert (one.x - other.x).norm() <= 30 * torch.finfo(torch.float32).eps * one.x.norm()
        assert torch.equal(one.nodes, other.nodes)
    else:
        assert torch.equal(one.x, other.x)


def test_rows_are_independent_and_zero_gives_zero():
    h, b = prescribed_spectrum(definite()), rhs(4)
    b[1] = 0
    b[2] *= 1e-200
    together = hs.apply_function(h, torch.log, b, num_steps=20)
    for i in (0, 2, 3):
        alone = hs.apply_function(h, torch.log, b[i], num_steps=20)
        assert alone.x.shape == (N,)
        assert (together.x[i] - alone.x).norm() <= 1e-13 * alone.x.norm()
    assert together.x[1].abs().max() == 0
    assert together.estimate[1] == together.relative[1] == 0
    assert together.products == 60
    nothing = hs.apply_function(h, torch.log, torch.zeros(N, dtype=torch.float64))
    assert nothing.x.abs().max() == 0
    assert nothing.products == 0
    assert nothing.status is hs.Status.COMPLETE


@pytest.mark.parametrize("basis", [None, "recompute"])
def test_an_exhausted_space_is_exact(basis):
    values = torch.tensor([-3.0, 1.0, 2.0, 2.0], dtype=torch.float64).repeat(64)
    h, b = prescribed_spectrum(values), rhs(2)
    b[1] = h.rows(b[1:])[0] + 3 * b[1]  # nothing of -3 in it: ends a step sooner
    got = hs.apply_function(h, torch.exp, b, basis=basis)
    assert got.status is hs.Status.INVARIANT_SUBSPACE
    assert got.steps.tolist() == [3, 2]
    assert (got.x - dense(h, torch.exp, b)).norm() <= 1e-13 * got.x.norm()
    assert (got.relative < 1e-13).all()


def test_the_identity_and_constants_are_exact_after_their_degree():
    h, b = prescribed_spectrum(indefinite()), rhs(2)
    once = hs.apply_function(h, torch.ones_like, b, num_steps=1)
    assert torch.allclose(once.x, b, rtol=1e-14)
    assert (once.estimate == math.inf).all()  # one step shows no convergence
    cubic = hs.apply_function(h, lambda x: x**3, b, num_steps=4)
    truth = h.rows(h.rows(h.rows(b)))
    assert (cubic.x - truth).norm() <= 1e-13 * truth.norm()
    shifted = hs.apply_function(h, lambda x: x**3, b, num_steps=4, shift=0.5)
    again = hs.apply_function(hs.shifted(h, 0.5), lambda x: x**3, b, num_steps=4)
    assert (shifted.x - again.x).norm() <= 1e-13 * again.x.norm()


class TestTolerance:
    @pytest.mark.parametrize("basis", [None, "recompute"])
    @pytest.mark.parametrize("tol", [1e-2, 1e-6, 1e-12])
    def test_it_is_reached_in_as_few_steps_as_needed(self, tol, basis):
        h, b = prescribed_spectrum(definite()), rhs()
        got = hs.apply_function(h, torch.sqrt, b, tol=tol, basis=basis)
        truth = dense(h, torch.sqrt, b)
        assert got.status is hs.Status.CONVERGED
        assert ((got.x - truth).norm(dim=1) <= tol * truth.norm(dim=1)).all()
        steps = got.products // 3 // (2 if basis == "recompute" else 1)
        assert steps <= 130
        short = hs.apply_function(h, torch.sqrt, b, num_steps=max(steps // 3, 1))
        assert ((short.x - truth).norm(dim=1) > tol * truth.norm(dim=1)).any()

    def test_the_limit_and_the_noise_floor_are_named(self):
        h, b = prescribed_spectrum(indefinite()), rhs()
        with pytest.warns(RuntimeWarning, match=r"apply_function: The limit on products .* of \|x\|"):
            got = hs.apply_function(h, torch.abs, b, tol=1e-9, num_steps=20)
        assert got.status is hs.Status.MAX_PRODUCTS
        assert got.products == 60
        single = prescribed_spectrum(definite(), dtype=torch.float32)
        with pytest.warns(RuntimeWarning, match="apply_function: Products with H are too noisy"):
            got = hs.apply_function(single, torch.exp, b.float(), tol=1e-9)
        assert got.status is hs.Status.NOISE_FLOOR
        assert got.products <= 3 * 16
        assert (got.relative < 1e-5).all()


class TestRefusals:
    def test_a_function_that_is_not_defined_on_a_ritz_value_names_it(self):
        h, b = prescribed_spectrum(indefinite()), rhs()
        with pytest.raises(ValueError, match=r"apply_function: f must be finite .* is nan at the node -5\."):
            hs.apply_function(h, torch.log, b)
        with pytest.raises(ValueError, match=r"node -5\.\d+ \+ shift 1"):
            hs.apply_function(h, torch.log, b, shift=1.0, tol=1e-3)
        with pytest.raises(ValueError, match=r"f must map a tensor .* got float"):
            hs.apply_function(h, lambda _: 1.0, b)

    @pytest.mark.parametrize(
        ("change", "error", "message"),
        [
            ({"operator": 3}, TypeError, "operator must be a SymmetricOperator .* got int"),
            ({"f": 3}, TypeError, "f must be callable, got int"),
            ({"b": 3}, TypeError, r"b must be a tensor \[256\] or \[K, 256\], got int"),
            ({"b": torch.ones(3, dtype=torch.float64)}, ValueError, r"b must have shape .* got \[3\]"),
            ({"b": torch.ones(N)}, TypeError, "b must be torch.float64, got torch.float32"),
            ({"b": torch.full((N,), math.nan).double()}, ValueError, "b must be finite"),
            ({"num_steps": 0}, ValueError, "num_steps must be at least 1, got 0"),
            ({"tol": 0.0}, ValueError, "tol must be positive, got 0.0"),
            ({"tol": math.nan}, ValueError, "tol must not be NaN"),
            ({"shift": math.inf}, ValueError, "shift must be finite, got inf"),
            ({"basis": "bfloat16"}, ValueError, "basis must be one of 'float32'"),
            ({"basis": "float32"}, ValueError, "basis must be 'float64', as the operator"),
            ({"memory_budget": 0}, ValueError, "memory_budget must be at least 1"),
            ({"memory_budget": 1000}, MemoryError, "the vectors of this run need .* are allowed"),
        ],
    )
    def test_bad_arguments_are_named_before_any_product(self, change, error, message):
        h = prescribed_spectrum(definite())
        arguments = {"operator": h, "f": torch.exp, "b": torch.ones(N, dtype=torch.float64)} | change
        operator, f, b = (arguments.pop(name) for name in ("operator", "f", "b"))
        with pytest.raises(error, match=f"apply_function: {message}"):
            hs.apply_function(operator, f, b, **arguments)
        assert h.products == 0

    def test_a_budget_decides_where_the_basis_goes(self):
        h, b = prescribed_spectrum(definite()), torch.ones(N, dtype=torch.float64)
        roomy = hs.apply_function(h, torch.exp, b, num_steps=20)
        assert roomy.basis.startswith("float64")
        tight = hs.apply_function(h, torch.exp, b, num_steps=20, memory_budget=8 * N * 8)
        assert tight.basis.startswith("recomputed in a second pass: a basis of 20 vectors")
        assert (roomy.x - tight.x).norm() <= 1e-13 * roomy.x.norm()
        with pytest.raises(MemoryError, match=r"apply_function: a basis of 20 vectors .* needs"):
            hs.apply_function(h, torch.exp, b, num_steps=20, basis="float64", memory_budget=8 * N * 8)
