"""Functions of H when something is wrong: undefined functions, indefinite operators, arguments."""

from __future__ import annotations

import math
import signal

import pytest
import torch

import hesscope as hs
from hesscope.testing import prescribed_spectrum

SAMPLED = [
    lambda h, **o: hs.spectral_sum(h, torch.exp, **o),
    hs.nuclear_norm,
    hs.effective_rank,
    hs.trace_inverse,
    hs.logdet,
]
NAMES = ["spectral_sum", "nuclear_norm", "effective_rank", "trace_inverse", "logdet"]

CASES = list(zip(SAMPLED, NAMES, strict=True))


def mean_zero(n=256):
    half = torch.linspace(0.1, 1, n // 2, dtype=torch.float64)
    return torch.cat([half, -half])


def test_a_log_determinant_of_an_indefinite_operator_is_refused_with_the_node_and_a_shift():
    h = prescribed_spectrum(mean_zero())
    with pytest.raises(
        ValueError, match=r"logdet: H \+ shift I must be positive definite.*value -(1|0\.99)"
    ) as error:
        hs.logdet(h)
    assert "absolute=True" in str(error.value)
    shift = float(str(error.value).split("Pass a shift above ")[1].split(";")[0])
    assert 1 - 1e-6 <= shift < 1.1
    got = hs.logdet(h, shift=shift + 1e-3)
    assert got.lower_bound >= -1e-6
    truth = float((mean_zero() + shift + 1e-3).log().sum())
    assert got.interval[0] <= truth <= got.interval[1]


@pytest.mark.parametrize("low", [0.0, -1e-18, 1e-18])
def test_singular_operators_are_refused(low):
    values = torch.cat([torch.full((64,), low), torch.linspace(1, 2, 192)]).double()
    h = prescribed_spectrum(values)
    for function, name in ((hs.logdet, "logdet"), (hs.trace_inverse, "trace_inverse")):
        with pytest.raises(ValueError, match=rf"{name}: H \+ shift I must .* (singular|zero) to rounding"):
            function(h)
    with pytest.raises(ValueError, match="must not be singular"):
        hs.logdet(h, absolute=True)


def test_the_inverse_of_an_indefinite_operator_is_refused():
    with pytest.raises(ValueError, match=r"trace_inverse: H \+ shift I must be definite, but is indefinite"):
        hs.trace_inverse(prescribed_spectrum(mean_zero()))


def test_a_function_that_is_not_finite_on_a_node_is_refused_with_the_node():
    h = prescribed_spectrum(mean_zero())
    with pytest.raises(ValueError, match=r"spectral_sum: f must be finite .* is nan at the node -1 .*shift="):
        hs.spectral_sum(h, torch.log)
    with pytest.raises(ValueError, match=r"node -1 \+ shift 0\.5"):
        hs.spectral_sum(h, torch.log, shift=0.5)
    with pytest.raises(ValueError, match=r"f must map a tensor .* to one of the same shape, got float"):
        hs.spectral_sum(h, lambda _: 1.0)
    with pytest.raises(TypeError, match="spectral_sum: f must be callable, got int"):
        hs.spectral_sum(h, 3)


def test_the_rank_of_zero_is_refused():
    with pytest.raises(ValueError, match="effective_rank: operator must not be zero"):
        hs.effective_rank(prescribed_spectrum(torch.zeros(64)))


@pytest.mark.parametrize(("function", "name"), CASES)
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"num_probes": 0}, ValueError, "num_probes must be at least 1, got 0"),
        ({"num_steps": 1.5}, TypeError, "num_steps must be an integer, got float 1.5"),
        ({"tol": 0.0}, ValueError, "tol must be positive and finite, got 0.0"),
        ({"tol": math.inf}, ValueError, "tol must be positive and finite, got inf"),
        ({"tol": 0.1, "num_probes": 1}, ValueError, "num_probes must be at least 2 with tol, got 1"),
        ({"tol": 0.1, "max_products": 3}, ValueError, "max_products must be at least 800, got 3"),
        ({"max_products": 3}, ValueError, "max_products must be None without tol"),
        ({"seed": -1}, ValueError, "seed must be at least 0, got -1"),
        ({"eigenpairs": 3}, TypeError, "eigenpairs must be an Eigenpairs"),
    ],
)
def test_bad_arguments_are_named_before_any_product(function, name, options, error, message):
    h = prescribed_spectrum(torch.linspace(1, 2, 256, dtype=torch.float64))
    with pytest.raises(error, match=f"{name}: {message}"):
        function(h, **options)
    assert h.products == 0


@pytest.mark.parametrize(("function", "name"), CASES)
def test_options_of_a_run_do_not_go_with_a_density(function, name):
    h = prescribed_spectrum(torch.linspace(1, 2, 256, dtype=torch.float64))
    rho = hs.spectral_density(h, num_steps=4)
    for option in ({"num_probes": 2}, {"tol": 0.1}, {"num_steps": 3}, {"max_products": 9}):
        (key,) = option
        with pytest.raises(ValueError, match=f"{name}: {key} must be None with a SpectralDensity"):
            function(rho, **option)
    with pytest.raises(TypeError, match=rf"{name}: operator must be a SymmetricOperator .* got Tensor"):
        function(torch.eye(3))
    small = hs.eigenpairs(prescribed_spectrum(torch.ones(16, dtype=torch.float64)), 1)
    with pytest.raises(ValueError, match=rf"{name}: eigenpairs must be those .* n = 256, got n = 16"):
        function(rho, eigenpairs=small)
    single = hs.eigenpairs(prescribed_spectrum(torch.linspace(1, 2, 256), dtype=torch.float32), 1)
    with pytest.raises(TypeError, match=rf"{name}: eigenpairs must be torch.float64 as the density"):
        function(rho, eigenpairs=single)


def test_other_bad_arguments():
    h = prescribed_spectrum(torch.linspace(1, 2, 256, dtype=torch.float64))
    rho = hs.spectral_density(h, num_steps=4)
    for call, error, message in [
        (lambda: hs.count(h, 2, 1), ValueError, "count: a must be at most b"),
        (lambda: hs.count(3, 0, 1), TypeError, "count: operator must be"),
        (lambda: hs.effective_rank(h, kind="stable"), ValueError, "effective_rank: kind must be one of"),
        (lambda: hs.logdet(h, shift=math.inf), ValueError, "logdet: shift must be finite, got inf"),
        (lambda: hs.condition_number(rho, tol=0.1), ValueError, "condition_number: tol must be None with"),
        (lambda: hs.condition_number(3), TypeError, "condition_number: operator must be a SymmetricOperator"),
        (
            lambda: hs.condition_number(hs.eigenpairs(h, 2)),
            ValueError,
            "must be of both ends .*which='largest'",
        ),
    ]:
        with pytest.raises(error, match=message):
            call()


def test_ctrl_c_in_an_adaptive_run_keeps_what_was_sampled():
    h, calls = prescribed_spectrum(mean_zero()), 0

    def f(v):
        nonlocal calls
        calls += 1
        if calls == 20:
            signal.raise_signal(signal.SIGINT)
        return h.rows(v)

    operator = hs.from_function(f, 256, dtype=torch.float64, batched=True, check_symmetric=False)
    with pytest.warns(RuntimeWarning, match="Stopped by the user"):
        got = hs.nuclear_norm(operator, tol=1e-6, num_steps=16)
    assert got.status is hs.Status.INTERRUPTED
    assert got.interval[0] <= float(mean_zero().abs().sum()) <= got.interval[1]


def test_complex_functions_are_refused_rather_than_cut_to_their_real_part():
    h = hs.from_matrix(torch.diag(torch.tensor([-4.0, 9.0], dtype=torch.float64)))
    rho = hs.spectral_density(h)
    b = torch.ones(2, dtype=torch.float64)

    def root(x):
        return x.to(torch.complex128).sqrt()

    for call in (
        lambda: hs.spectral_sum(h, root),
        lambda: rho.spectral_sum(root),
        lambda: hs.apply_function(h, root, b),
    ):
        with pytest.raises(ValueError, match=r"f must be real, got torch\.complex128"):
            call()
    assert hs.spectral_sum(rho, lambda x: root(x).imag).value == pytest.approx(2)
