"""f(H) b when a run stops early: what is kept, what is refused."""

from __future__ import annotations

import math
import os
import signal

import pytest
import torch

import hesscope as hs
from apply_function_cases import N, definite, dense, rhs
from hesscope.testing import prescribed_spectrum


def failing(h, at, action):
    """H, whose product number ``at`` first does something."""
    calls = 0

    def f(v):
        nonlocal calls
        calls += 1
        changed = action() if calls == at else None
        return h.rows(v) if changed is None else changed(h.rows(v))

    return hs.from_function(f, N, dtype=h.dtype, batched=True, check_symmetric=False)


def fails():
    msg = "no more memory on this device"
    raise RuntimeError(msg)


class TestStops:
    def test_an_operator_that_fails_keeps_the_iterate_before(self):
        h, b = prescribed_spectrum(definite()), rhs()
        with pytest.raises(hs.RunFailed, match="failed in step 21: RuntimeError: no more memory") as caught:
            hs.apply_function(failing(h, 21, fails), torch.exp, b)
        partial = caught.value.partial
        assert partial.status is hs.Status.OPERATOR_FAILED
        assert torch.equal(partial.x, hs.apply_function(h, torch.exp, b, num_steps=20).x)

    def test_failures_of_the_second_pass_keep_what_was_added_up(self):
        h, b = prescribed_spectrum(definite()), rhs()
        truth = dense(h, torch.exp, b)
        for at in (21, 25):
            with pytest.raises(hs.RunFailed, match=f"failed in step {at - 20} of the second pass") as caught:
                hs.apply_function(failing(h, at, fails), torch.exp, b, num_steps=20, basis="recompute")
            partial = caught.value.partial
            error = (partial.x - truth).norm(dim=1)
            assert (error <= partial.estimate).all()
            assert (partial.estimate <= 1.1 * error).all()
        assert (error < 0.1 * truth.norm(dim=1)).all()

    @pytest.mark.parametrize("size", [1e-3, math.nan])
    def test_an_operator_that_changes_between_the_passes_is_refused(self, size):
        h, b = prescribed_spectrum(definite()), rhs()
        other = failing(h, 23, lambda: lambda product: product * (1 + size))
        with pytest.raises(hs.RunFailed, match="must return the same products in the second pass") as caught:
            hs.apply_function(other, torch.exp, b, num_steps=20, basis="recompute")
        partial = caught.value.partial
        assert partial.x.abs().max() == 0
        assert (partial.estimate >= dense(h, torch.exp, b).norm(dim=1) * (1 - 1e-12)).all()

    def test_noise_of_products_is_in_the_estimate(self):
        h, b = prescribed_spectrum(definite()), rhs()
        generator = torch.Generator().manual_seed(0)

        def noisy(v):
            product = h.rows(v)
            return product + 1e-11 * product.norm() * torch.randn(
                product.shape, generator=generator, dtype=v.dtype
            ) / math.sqrt(N)

        operator = hs.from_function(noisy, N, dtype=torch.float64, batched=True, check_symmetric=False)
        got = hs.apply_function(operator, torch.exp, b, num_steps=12, basis="recompute")
        error = (got.x - dense(h, torch.exp, b)).norm(dim=1)
        assert (error > 1e-12 * got.x.norm(dim=1)).any()
        assert (error <= 5 * got.estimate).all()

    def test_weights_that_change_between_the_passes_are_refused(self):
        model = torch.nn.Linear(4, 3).double()
        data = (torch.randn(8, 4).double(), torch.randn(8, 3).double())
        h = hs.hessian(hs.Objective(model, torch.nn.MSELoss(), data))

        def f(x):
            model.weight.data.mul_(2)  # a quadratic loss: the Hessian stays what it was
            return x.exp()

        with pytest.raises(hs.RunFailed, match="must return the same products in the second pass"):
            hs.apply_function(h, f, torch.ones(15, dtype=torch.float64), num_steps=4, basis="recompute")

    @pytest.mark.parametrize(("basis", "at", "terms"), [(None, 11, 11), ("recompute", 26, 6)])
    def test_ctrl_c_returns_what_is_done(self, basis, at, terms):
        h, b = prescribed_spectrum(definite()), rhs()
        operator = failing(h, at, lambda: os.kill(os.getpid(), signal.SIGINT))
        with pytest.warns(RuntimeWarning, match="Stopped by the user"):
            got = hs.apply_function(operator, torch.exp, b, num_steps=20, basis=basis)
        assert got.status is hs.Status.INTERRUPTED
        error = (got.x - dense(h, torch.exp, b)).norm(dim=1)
        assert (error <= 5 * got.estimate).all()
        assert got.products == 3 * (terms if basis is None else 20 + terms)

    def test_the_first_product_must_be_finite(self):
        broken = failing(prescribed_spectrum(definite()), 1, lambda: lambda product: product * math.nan)
        with pytest.raises(ValueError, match="apply_function: operator must return finite products"):
            hs.apply_function(broken, torch.exp, rhs())
        later = failing(prescribed_spectrum(definite()), 7, lambda: lambda product: product * math.nan)
        with pytest.warns(RuntimeWarning, match="returned NaN or inf"):
            got = hs.apply_function(later, torch.exp, rhs())
        assert got.status is hs.Status.NONFINITE_OPERATOR
        assert got.x.isfinite().all()
        assert got.nodes.shape == (3, 6)
