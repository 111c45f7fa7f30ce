"""Gradients of the trace and of sums over the spectrum: closed forms, differences, coverage."""

from __future__ import annotations

import signal

import pytest
import torch
from torch import nn

import hesscope as hs
from jets_cases import vectors
from test_eigenvalue_gradient import cubic, dense
from third_order_cases import DOUBLE, assert_close, difference, objective_of


def small(l2=0.0):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2)).double()
    data = (vectors(8, 2).contiguous(), torch.arange(8) % 2)
    return hs.Objective(model, nn.CrossEntropyLoss(), data, l2=l2)


def exact(objective, function):
    """The gradient of a function of the dense Hessian, entry by entry."""
    units = torch.eye(objective.n, dtype=DOUBLE)
    return torch.stack(
        [difference(objective, lambda: function(dense(objective)), u, first=4e-3) for u in units]
    )


def test_the_trace_is_exact_with_as_many_probes_as_entries():
    objective = small(l2=0.3)
    got = hs.third_order(objective).trace_gradient(num_probes=objective.n)
    assert_close(got.value, exact(objective, torch.trace), 0.0, 1e-8)
    assert got.contractions == objective.n
    assert 0 < float(got.error.max()) < 1e-12


SUMS = {
    "exp": (
        lambda d3, seed: d3.spectral_sum_gradient(torch.exp, num_probes=16, seed=seed),
        lambda h: h.matrix_exp().trace(),
    ),
    "square": (
        lambda d3, seed: d3.spectral_sum_gradient(torch.square, num_probes=16, seed=seed),
        lambda h: h.square().sum(),
    ),
    "logdet": (
        lambda d3, seed: d3.logdet_gradient(shift=1.0, num_probes=16, seed=seed),
        lambda h: torch.logdet(h + torch.eye(len(h), dtype=DOUBLE)),
    ),
    "trace": (lambda d3, seed: d3.trace_gradient(num_probes=16, seed=seed), torch.trace),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SUMS)
def test_intervals_cover_differences_of_the_dense_hessian(name):
    estimate, function = SUMS[name]
    objective = small(l2=0.1)
    expected = exact(objective, function)
    d3 = hs.third_order(objective)
    covered, values = [], []
    for seed in range(30):
        got = estimate(d3, seed)
        covered.append((got.value - expected).abs() <= got.error)
        values.append(got.value)
    covered, mean = torch.stack(covered).double(), torch.stack(values)
    assert float(covered.mean()) >= 0.92  # at 95 %, over 30 runs of 17 entries
    spread = mean.std(0) / 30**0.5
    assert ((mean.mean(0) - expected).abs() <= 4.5 * spread + 1e-7).all()  # no bias
    assert float(covered.mean()) < 1 or name == "trace"  # the intervals are not idle


def test_a_power_of_h_agrees_with_its_own_derivative():
    objective = objective_of("perceptron")
    d3 = hs.third_order(objective)
    by_autograd = d3.spectral_sum_gradient(lambda x: x**3 / 3, num_probes=2, num_steps=8)
    given = d3.spectral_sum_gradient(torch.square, derivative=torch.square, num_probes=2, num_steps=8)
    assert_close(by_autograd.value, given.value, 0.0)
    assert by_autograd.products == 2 * 8 + 6  # and with a quarter fewer in the first group
    # f'(H) z = H^2 z exactly after 3 steps: no error of the quadrature, and the definition of the estimate.
    assert float(given.quadrature.max()) <= 1e-10 * given.norm
    h, z = hs.hessian(objective), hs._ops.probes(2, objective.n, dtype=DOUBLE)
    assert_close(given.value, d3.contract(z, h.rows(h.rows(z))).mean(0), 0.0)


def test_few_steps_show_in_the_quadrature_error():
    objective = objective_of("perceptron")
    d3 = hs.third_order(objective)
    converged = d3.logdet_gradient(shift=0.8, num_probes=2, num_steps=60)
    rough = d3.logdet_gradient(shift=0.8, num_probes=2, num_steps=4)
    off = (rough.value - converged.value).norm()
    assert rough.quadrature.norm() >= 0.3 * off > 0
    assert converged.quadrature.norm() <= 1e-6 * converged.norm


def test_closed_form_of_a_cubic():
    model, objective = cubic()
    values = model.c * (model.a @ model.theta.detach())
    got = hs.third_order(objective).logdet_gradient(shift=8.0, num_probes=64)
    expected = (model.c / (values + 8)) @ model.a
    assert ((got.value - expected).abs() <= 2 * got.error).all()
    assert got.norm_error < got.norm


def test_what_is_undefined_is_refused():
    objective = objective_of("perceptron")
    d3 = hs.third_order(objective)
    cases = [
        (
            lambda: d3.logdet_gradient(),
            ValueError,
            r"logdet_gradient: H \+ shift I must be positive definite",
        ),
        (lambda: d3.logdet_gradient(shift=float("inf")), ValueError, "logdet_gradient: shift must be finite"),
        (
            lambda: d3.spectral_sum_gradient(torch.exp, derivative=torch.log, num_probes=1),
            ValueError,
            "spectral_sum_gradient: f' must be finite.* but is nan at the node -.*Pass a shift",
        ),
        (lambda: d3.spectral_sum_gradient(3.0), TypeError, "f must be callable, got float"),
        (lambda: d3.spectral_sum_gradient(torch.exp, derivative=2), TypeError, "derivative must be callable"),
        (lambda: d3.spectral_sum_gradient(torch.sum), ValueError, r"f must map a tensor \[\d+\].*got \[\]"),
        (lambda: d3.spectral_sum_gradient(lambda x: x.detach()), ValueError, "pass its derivative="),
        (
            lambda: d3.trace_gradient(num_probes=0),
            ValueError,
            "trace_gradient: num_probes must be at least 1",
        ),
        (lambda: d3.trace_gradient(seed=-1), ValueError, "trace_gradient: seed must be at least 0"),
    ]
    for call, error, message in cases:
        with pytest.raises(error, match=message):
            call()


def test_f_itself_must_be_defined_and_real():
    """log has the derivative 1/x where it is NaN; a complex root has no imaginary part to be lost."""
    d3 = hs.third_order(objective_of("perceptron"))

    def root(x):
        return x.to(torch.complex128).sqrt()

    cases = [
        (torch.log, None, "f must be finite on the spectrum, but is nan at the node -"),
        (torch.log, torch.reciprocal, "f must be finite on the spectrum, but is nan at the node -"),
        (root, None, r"f must be real, got torch\.complex128"),
        (torch.exp, root, r"derivative must be real, got torch\.complex128"),
    ]
    for f, derivative, message in cases:
        with pytest.raises(ValueError, match=f"spectral_sum_gradient: {message}"):
            d3.spectral_sum_gradient(f, derivative=derivative)


def test_ctrl_c_keeps_the_groups_before(monkeypatch):
    objective = objective_of("perceptron")
    d3 = hs.third_order(objective)
    contract, calls = d3.contract, []

    def interrupting(*args, **options):
        calls.append(1)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return contract(*args, **options)

    monkeypatch.setattr(d3, "contract", interrupting)
    got = d3.trace_gradient(num_probes=32)
    assert got.status is hs.Status.INTERRUPTED
    assert got.contractions == 12
    assert "3 groups of 4" in got.method


def test_ctrl_c_within_a_function_of_h_drops_that_group(monkeypatch):
    d3 = hs.third_order(objective_of("perceptron"))
    rows, calls = type(d3.hessian)._rows_into, []

    def interrupting(self, vectors, out):
        calls.append(1)
        if len(calls) == stop:
            signal.raise_signal(signal.SIGINT)
        rows(self, vectors, out)

    monkeypatch.setattr(type(d3.hessian), "_rows_into", interrupting)
    stop = 10 + 7 + 10 + 3  # the first group takes 10 and 7 for its error, the second 10: in the third
    got = d3.spectral_sum_gradient(torch.exp, num_probes=8, num_steps=10)
    assert got.status is hs.Status.INTERRUPTED
    assert "over 2 groups of 1" in got.method
    calls.clear()
    stop = 3
    with pytest.raises(KeyboardInterrupt):  # nothing to return
        d3.spectral_sum_gradient(torch.exp, num_probes=8, num_steps=10)


def test_probes_are_rounded_up_to_whole_groups():
    d3 = hs.third_order(objective_of("perceptron"))
    assert d3.trace_gradient(num_probes=3).contractions == 3
    assert d3.trace_gradient(num_probes=12).contractions == 16


def test_a_change_of_the_weights_midway_is_an_error(monkeypatch):
    objective = objective_of("perceptron")
    d3 = hs.third_order(objective)
    contract = d3.contract

    def changing(*args, **options):
        with torch.no_grad():
            objective.parameter_set.tensors[0].add_(1e-3)
        return contract(*args, **options)

    monkeypatch.setattr(d3, "contract", changing)
    with pytest.raises(RuntimeError, match="trace_gradient: objective must not change during a run"):
        d3.trace_gradient()


def test_a_bar_is_shown_if_asked_for(capsys):
    d3 = hs.third_order(objective_of("perceptron"))
    d3.trace_gradient(num_probes=8, progress=True)
    d3.injective_norm(num_starts=1, num_steps=3, num_pairs=8, progress=True)
    shown = capsys.readouterr().err
    assert "trace_gradient: 100%" in shown
    assert "injective_norm" in shown
    assert "frobenius_norm: 100%" in shown
    d3.trace_gradient(num_probes=8)
    assert capsys.readouterr().err == ""
