"""Traces when something is wrong: arguments, operators, products."""

from __future__ import annotations

import signal

import pytest
import torch

import hesscope as hs
from hesscope.testing import prescribed_spectrum


def outliers(n=256):
    values = torch.linspace(-1, 1, n, dtype=torch.float64)
    values[:2] = torch.tensor([30.0, -8.0])
    return values


def bad_at(call, action):
    """An operator that does ``action`` to its products at one call."""
    h, calls = prescribed_spectrum(outliers()), 0

    def f(v):
        nonlocal calls
        calls += 1
        w = h.rows(v)
        return action(w) if calls == call else w

    return hs.from_function(f, 256, dtype=torch.float64, batched=True, check_symmetric=False)


def test_products_that_are_not_finite():
    got = hs.trace(bad_at(3, lambda w: w * torch.nan), method="rademacher", products=32)
    assert got.status is hs.Status.NONFINITE_OPERATOR
    assert got.value == hs.trace(prescribed_spectrum(outliers()), method="rademacher", products=16).value
    with pytest.raises(ValueError, match="frobenius_norm: operator must return finite products"):
        hs.frobenius_norm(bad_at(1, lambda w: w / 0))
    with pytest.raises(ValueError, match="trace: operator must return finite products"):
        hs.trace(bad_at(2, lambda w: w / 0), method="xtrace")


def test_ctrl_c_keeps_what_was_sampled():
    def press(w):
        signal.raise_signal(signal.SIGINT)
        return w

    got = hs.trace(bad_at(2, press), method="rademacher", products=32)
    assert got.status is hs.Status.INTERRUPTED
    assert got.products == 16
    assert got.value == hs.trace(prescribed_spectrum(outliers()), method="rademacher", products=16).value


def test_an_operator_that_changes_is_an_error():
    class Changing(type(prescribed_spectrum(outliers()))):
        def fingerprint(self):
            return self.products > 10

    with pytest.raises(RuntimeError, match="trace: operator must not change"):
        hs.trace(Changing(outliers()))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"method": "magic"}, ValueError, "trace: method must be one of 'auto'.*got 'magic'"),
        ({"products": 0}, ValueError, "trace: products must be at least 1, got 0"),
        ({"products": 3, "method": "xtrace"}, ValueError, "trace: products must be at least 4, got 3"),
        ({"products": 3, "method": "hutch++"}, ValueError, "trace: products must be at least 4, got 3"),
        ({"products": 1.5}, TypeError, "trace: products must be an integer, got float 1.5"),
        ({"seed": -1}, ValueError, "trace: seed must be at least 0, got -1"),
        ({"method": "deflated"}, ValueError, "trace: eigenpairs must be given for method='deflated'"),
        ({"eigenpairs": 3}, TypeError, "trace: eigenpairs must be an Eigenpairs"),
    ],
)
def test_bad_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        hs.trace(prescribed_spectrum(outliers()), **arguments)


def test_bad_operators_and_pairs_are_named():
    with pytest.raises(TypeError, match=r"trace: operator must be a SymmetricOperator.*got Tensor"):
        hs.trace(torch.eye(3))
    h = prescribed_spectrum(outliers())
    pairs = hs.eigenpairs(h, 2)
    with pytest.raises(ValueError, match="trace: eigenpairs must be None for method='xtrace'"):
        hs.trace(h, method="xtrace", eigenpairs=pairs)
    with pytest.raises(
        ValueError, match=r"eigenpairs must be those of the operator.*n = 128, got .* n = 256"
    ):
        hs.trace(prescribed_spectrum(outliers(128)), eigenpairs=pairs)
    with pytest.raises(ValueError, match=r"eigenpairs must be those of the operator, torch\.float32"):
        hs.trace(prescribed_spectrum(outliers(), dtype=torch.float32), eigenpairs=pairs)
