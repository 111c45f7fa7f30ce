"""What stops a function of the spectrum keeps what was computed before it."""

from __future__ import annotations

import os

import pytest
import torch

import hesscope as hs
from hesscope.testing import prescribed_spectrum

N = 256


def indefinite():
    return torch.linspace(-1, 1, N, dtype=torch.float64)


def positive():
    return torch.linspace(0.1, 1, N, dtype=torch.float64)


@pytest.mark.parametrize(
    ("function", "again"),
    [
        (hs.logdet, lambda rho: hs.logdet(rho, shift=2.0)),
        (hs.trace_inverse, lambda rho: hs.trace_inverse(rho, shift=2.0)),
        (
            lambda h, **o: hs.spectral_sum(h, torch.log, **o),
            lambda rho: hs.spectral_sum(rho, torch.log, shift=2.0),
        ),
        (lambda h, **o: hs.logdet(h, tol=0.1, **o), lambda rho: hs.logdet(rho, absolute=True)),
    ],
)
def test_a_density_outlives_the_function_that_is_not_defined_on_it(function, again):
    h = prescribed_spectrum(indefinite())
    with pytest.raises(hs.NotDefinedError) as caught:
        function(h, num_probes=4, num_steps=24)
    rho = caught.value.partial
    assert isinstance(caught.value, ValueError)
    assert (rho.num_probes, rho.num_steps) == (4, 24)
    assert torch.equal(rho.alpha, hs.spectral_density(h, num_probes=4, num_steps=24).alpha)
    before = h.products
    assert again(rho).products == 96
    assert h.products == before


def failing(h, at):
    calls = 0

    def f(v):
        nonlocal calls
        calls += 1
        if calls == at:
            msg = "no more memory on this device"
            raise RuntimeError(msg)
        return h.rows(v)

    return hs.from_function(f, N, dtype=torch.float64, batched=True, check_symmetric=False)


SAMPLED = [hs.nuclear_norm, hs.effective_rank, hs.logdet, hs.trace_inverse]


@pytest.mark.parametrize("function", SAMPLED)
@pytest.mark.parametrize(("at", "options"), [(9, {}), (30, {"tol": 1e-4})])
def test_an_operator_that_fails_leaves_the_density_so_far(function, at, options):
    h = prescribed_spectrum(positive())
    with pytest.raises(hs.RunFailed, match="no more memory on this device") as caught:
        function(failing(h, at), num_probes=4, num_steps=16, **options)
    rho = caught.value.partial
    assert rho.status is hs.Status.OPERATOR_FAILED
    assert rho.num_steps >= 8
    got = function(rho)
    assert got.interval[0] <= got.value <= got.interval[1]


def test_weights_that_change_within_a_run_are_noticed():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2)).double()
    data = torch.randn(8, 4).double(), torch.randn(8, 2).double()
    h, calls = hs.hessian(hs.Objective(model, torch.nn.MSELoss(), data)), 0

    class Watched(hs.SymmetricOperator):
        def __init__(self):
            super().__init__(h.shape[0], dtype=h.dtype, device=h.device)

        def _rows(self, vectors):
            nonlocal calls
            calls += 1
            if calls == 12:
                model[0].weight.data.mul_(2)
            return h.rows(vectors)

        def fingerprint(self):
            return h.fingerprint()

    with pytest.raises(hs.RunFailed, match="operator must not change during a run") as caught:
        hs.nuclear_norm(Watched(), num_probes=2, num_steps=30)
    assert caught.value.partial.num_steps == 8


def test_a_disk_that_fills_leaves_the_iterate_so_far(monkeypatch):
    h, b = prescribed_spectrum(positive()), torch.ones(2, N, dtype=torch.float64)
    pwrite, writes = os.pwrite, 0

    def full(*arguments):
        nonlocal writes
        writes += 1
        if writes > 20:
            raise OSError(28, "No space left on device")
        return pwrite(*arguments)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(hs.RunFailed, match=r"the basis could not be stored in step \d+: .*disk") as caught:
        hs.apply_function(h, torch.exp, b, num_steps=40, basis="disk")
    monkeypatch.undo()
    partial = caught.value.partial
    steps = partial.nodes.shape[1]
    assert partial.status is hs.Status.STORAGE_FAILED
    assert 2 <= steps < 40
    assert torch.equal(partial.x, hs.apply_function(h, torch.exp, b, num_steps=steps, basis="float64").x)
