"""What apply_function keeps where f is not defined: the Krylov space, for another f or shift."""

from __future__ import annotations

import gc

import pytest
import torch

import hesscope as hs
from apply_function_cases import N, dense, indefinite, rhs
from hesscope.testing import prescribed_spectrum

STEPS = 60


def kept(h, b, **options):
    """The space that a logarithm of an indefinite operator leaves."""
    with pytest.raises(hs.NotDefinedError, match=r"apply_function: f must be finite .* at the node -") as got:
        hs.apply_function(h, torch.log, b, num_steps=STEPS, **options)
    assert "60 steps of 3 vectors are kept" in str(got.value)
    assert isinstance(got.value, ValueError)
    return got.value.partial


@pytest.mark.parametrize("basis", [None, "float64", "host", "disk", "recompute"])
def test_another_function_or_shift_has_the_bits_of_a_run_of_its_own(basis):
    h, b = prescribed_spectrum(indefinite()), rhs()
    space = kept(h, b, basis=basis)
    assert space.products == STEPS * 3
    before = h.products
    for f, shift in ((torch.log, 8.0), (torch.abs, 0.0), (torch.exp, -1.0)):
        got = space.apply(f, shift=shift)
        other = prescribed_spectrum(indefinite())
        want = hs.apply_function(other, f, b, shift=shift, num_steps=STEPS, basis=basis)
        assert torch.equal(got.x, want.x)
        assert torch.equal(got.estimate, want.estimate)
        assert torch.equal(got.nodes, space.nodes)
        assert got.status is hs.Status.COMPLETE
    second_pass = STEPS * 3 if basis == "recompute" else 0
    assert h.products - before == 3 * second_pass


def test_what_it_gives_is_right():
    h, b = prescribed_spectrum(indefinite()), rhs()
    got = kept(h, b).apply(torch.log, shift=8.0)
    error = (got.x - dense(h, lambda v: (v + 8).log(), b)).norm(dim=1)
    assert float((error / got.x.norm(dim=1)).max()) < 1e-13


def test_a_function_undefined_again_keeps_the_space():
    space = kept(prescribed_spectrum(indefinite()), rhs())
    with pytest.raises(hs.NotDefinedError, match="f must be finite on the spectrum") as caught:
        space.apply(torch.sqrt)
    assert caught.value.partial is space
    assert space.apply(torch.square).x.shape == (3, N)


def test_with_a_tolerance_the_run_ends_at_the_first_look():
    h = prescribed_spectrum(indefinite())
    with pytest.raises(hs.NotDefinedError, match=r"8 steps of 3 vectors are kept") as caught:
        hs.apply_function(h, torch.log, rhs(), tol=1e-6)
    assert h.products == 8 * 3
    assert caught.value.partial.nodes.shape == (3, 8)


def test_rows_of_zeros_stay_zero():
    b = rhs()
    b[1] = 0
    with pytest.raises(hs.NotDefinedError, match="60 steps of 2 vectors") as caught:
        hs.apply_function(prescribed_spectrum(indefinite()), torch.log, b, num_steps=STEPS)
    x = caught.value.partial.apply(torch.exp).x
    assert not x[1].any()
    assert x[0].any()


def test_an_operator_that_fails_before_leaves_its_steps():
    h, calls = prescribed_spectrum(indefinite()), 0

    def failing(v):
        nonlocal calls
        calls += 1
        if calls == 20:
            msg = "no more memory on this device"
            raise RuntimeError(msg)
        return h.rows(v)

    broken = hs.from_function(failing, N, dtype=torch.float64, batched=True, check_symmetric=False)
    with pytest.raises(hs.NotDefinedError, match=r"19 steps of 3 vectors are kept") as caught:
        hs.apply_function(broken, torch.log, rhs(), num_steps=STEPS)
    assert caught.value.partial.apply(torch.exp).nodes.shape == (3, 19)


@pytest.mark.parametrize("basis", ["float64", "disk"])
def test_the_vectors_are_given_back(basis, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    space = kept(prescribed_spectrum(indefinite()), rhs(), basis=basis)
    stored = space._stored
    closed, close = [], stored.close
    monkeypatch.setattr(stored, "close", lambda: closed.append(True))  # the finalizer holds the method itself
    space.close()
    with pytest.raises(ValueError, match=r"KrylovSpace.apply: the space must not be closed"):
        space.apply(torch.exp)
    space.close()  # again is nothing
    del space
    gc.collect()
    monkeypatch.setattr(stored, "close", close)
    if basis == "float64":
        assert stored.tensor.numel() == 0


def test_bad_arguments_are_named():
    space = kept(prescribed_spectrum(indefinite()), rhs())
    with pytest.raises(TypeError, match=r"KrylovSpace.apply: f must be callable, got int"):
        space.apply(3)
    with pytest.raises(ValueError, match=r"KrylovSpace.apply: shift must be finite"):
        space.apply(torch.exp, shift=float("inf"))
