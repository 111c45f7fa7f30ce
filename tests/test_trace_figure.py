"""What the published curves of XTrace, Hutch++ and XDiag show, on the six standard spectra.

Orders and slopes, not digits: those of figure 1 of Epperly, Tropp and Webber (2024).
"""

from __future__ import annotations

import math

import pytest
import torch

import hesscope as hs

N = 1000


@pytest.fixture(scope="module")
def rotation():
    q = torch.randn(N, N, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return torch.linalg.qr(q).Q


def spectrum(name):
    k = torch.arange(1, N + 1, dtype=torch.float64)
    return {
        "flat": 3 - 2 * (k - 1) / (N - 1),
        "poly": k**-2,
        "exp 0.9": 0.9 ** (k - 1),
        "exp 0.7": 0.7 ** (k - 1),
        "step 1e-3": torch.where(k <= 50, 1.0, 1e-3).double(),
        "step 1e-8": torch.where(k <= 50, 1.0, 1e-8).double(),
    }[name]


def errors(rotation, name, method, budgets, runs=8):
    """Root mean square error over seeds, relative to the trace, at each number of products."""
    a = (rotation * spectrum(name)) @ rotation.T
    h, truth = hs.from_matrix((a + a.T) / 2), float(spectrum(name).sum())
    found = []
    for m in budgets:
        got = [hs.trace(h, method=method, products=m, seed=s).value - truth for s in range(runs)]
        found.append(math.sqrt(sum(x * x for x in got) / runs) / truth)
    return found


def slope(budgets, found):
    """Exponent of the error in the number of products."""
    return math.log(found[-1] / found[0]) / math.log(budgets[-1] / budgets[0])


@pytest.mark.parametrize("name", ["flat", "poly", "exp 0.9", "step 1e-3"])
def test_plain_sampling_falls_as_a_square_root(rotation, name):
    budgets = [16, 256]
    assert -0.75 < slope(budgets, errors(rotation, name, "rademacher", budgets, runs=20)) < -0.25


def test_on_a_flat_spectrum_nothing_beats_plain_sampling(rotation):
    found = {m: errors(rotation, "flat", m, [150], runs=16)[0] for m in ("rademacher", "hutch++", "xtrace")}
    assert found["hutch++"] > 0.7 * found["rademacher"]
    assert found["xtrace"] < 2 * found["rademacher"]


@pytest.mark.parametrize("name", ["poly", "exp 0.9", "exp 0.7", "step 1e-3", "step 1e-8"])
def test_on_decaying_spectra_xtrace_beats_hutchpp_beats_sampling(rotation, name):
    at = {"exp 0.7": 36, "step 1e-3": 180, "step 1e-8": 180}.get(name, 132)
    plain, hutch, left_out = (errors(rotation, name, m, [at])[0] for m in ("rademacher", "hutch++", "xtrace"))
    assert left_out < hutch < plain
    assert hutch < 0.5 * plain


def test_polynomial_decay_gives_a_power(rotation):
    """Eigenvalues 1/k^2: the tail after m directions falls as m^-1.5 in norm, with m^-0.5 of sampling."""
    budgets = [24, 192]
    assert -2.6 < slope(budgets, errors(rotation, "poly", "xtrace", budgets)) < -1.4
    assert -2.6 < slope(budgets, errors(rotation, "poly", "hutch++", budgets)) < -1.4


@pytest.mark.parametrize(("method", "share"), [("xtrace", 2), ("hutch++", 3)])
@pytest.mark.parametrize("rate", [0.9, 0.7])
def test_exponential_decay_is_reproduced_with_its_rate(rotation, method, share, rate):
    """The error falls as rate^(m / share): half of the products, or a third, find directions."""
    more = 48 if rate == 0.9 else 18
    low, high = errors(rotation, f"exp {rate}", method, [36, 36 + more])
    found, expected = math.log(high / low), more / share * math.log(rate)
    assert 1.6 * expected < found < 0.6 * expected


def test_a_step_is_passed_when_the_sketch_holds_it(rotation):
    """Fifty ones: XTrace needs 2 x 50 products and a few, Hutch++ 3 x 50; then the floor shows."""
    for method, share in (("xtrace", 2), ("hutch++", 3)):
        before, after = errors(rotation, "step 1e-8", method, [share * 40, share * 60])
        assert before > 1e-3
        assert after < 1e-7
        assert errors(rotation, "step 1e-3", method, [share * 60])[0] > 1e-6


@pytest.mark.parametrize("name", ["exp 0.7", "step 1e-8"])
def test_xdiag_reaches_the_diagonal_where_the_spectrum_ends(rotation, name):
    a = (rotation * spectrum(name)) @ rotation.T
    h, truth = hs.from_matrix((a + a.T) / 2), a.diagonal()

    def error(method, products):
        got = hs.diagonal(h, method=method, products=products).value
        return float((got - truth).norm() / truth.norm())

    assert error("xdiag", 140) < 1e-5
    assert error("rademacher", 140) > 1e-2
    assert error("xdiag", 30) > error("xdiag", 140)
