"""Intervals of skewed samples: outliers, few probes, no deflation. 1,000 runs each."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

import hesscope as hs
from hesscope.spectrum.sampling import student
from hesscope.spectrum.skewness import MOST, reaches, skewness
from hesscope.testing import prescribed_spectrum

RUNS = 1000


def outliers(n=256):
    """Four outliers of both signs over a bulk."""
    values = 0.1 * torch.randn(n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values -= values.mean()
    values[:4] = torch.tensor([20.0, -15.0, 8.0, -13.0])
    return values


def single(n=256):
    """One outlier that is everything."""
    values = 0.01 * torch.randn(n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values[0] = 10
    return values


def falling(n=256):
    return torch.arange(1, n + 1, dtype=torch.float64) ** -2.0


def entropy(values):
    p = values.abs() / values.abs().sum()
    return float((-torch.special.xlogy(p, p).sum()).exp())


def runs(values, num_probes, num_steps=24):
    """One run of 1,000 * K probes, cut: rows are independent of their batch."""
    h = prescribed_spectrum(values)
    rho = hs.spectral_density(h, num_probes=RUNS * num_probes, num_steps=num_steps, seed=5)
    for r in range(RUNS):
        rows = slice(r * num_probes, (r + 1) * num_probes)
        yield replace(rho, alpha=rho.alpha[rows], beta=rho.beta[rows])


FUNCTIONS = {
    "trace": (lambda rho: rho.trace(), lambda v: float(v.sum())),
    "second moment": (lambda rho: rho.moment(2), lambda v: float(v.square().mean())),
    "nuclear norm": (hs.nuclear_norm, lambda v: float(v.abs().sum())),
    "entropy rank": (hs.effective_rank, entropy),
    "participation rank": (
        lambda rho: hs.effective_rank(rho, kind="participation"),
        lambda v: float(v.abs().sum() ** 2 / v.square().sum()),
    ),
    "exponential": (
        lambda rho: rho.spectral_sum(lambda x: (x / 8).exp()),
        lambda v: float((v / 8).exp().sum()),
    ),
    "log-determinant": (lambda rho: hs.logdet(rho, shift=16.0), lambda v: float((v + 16).log().sum())),
}


@pytest.mark.slow
@pytest.mark.parametrize("spectrum", [outliers, single, falling])
def test_intervals_cover_without_deflation(spectrum):
    """Student's t alone: 0.86 to 0.93."""
    values = spectrum()
    densities, shares = list(runs(values, 8)), {}
    for name, (function, truth) in FUNCTIONS.items():
        got, true = [function(rho) for rho in densities], truth(values)
        shares[name] = sum(g.interval[0] <= true <= g.interval[1] for g in got) / RUNS
    # Three standard errors of 1,000 runs below 95 % are 0.93.
    assert min(shares.values()) >= 0.93, shares


def test_students_interval_alone_covers_too_little():
    """What the longer end is for: the same samples, the same standard error."""
    values = single()
    plain = skewed = 0
    for rho in runs(values, 8, 4):
        got, error = rho.trace(), float((256 * rho.alpha[:, 0]).std()) / math.sqrt(8)
        plain += abs(got.value - float(values.sum())) <= student(7) * error
        skewed += got.interval[0] <= float(values.sum()) <= got.interval[1]
    assert plain / RUNS <= 0.90
    assert skewed / RUNS >= 0.93


@pytest.mark.parametrize("count", [4, 8, 32, 200, 1000])
@pytest.mark.parametrize("skew", [0.5, 2.0, MOST])
def test_reaches_hold_for_gamma_samples(count, skew):
    """Of the skewness that is believed; drawn with another seed and by another library."""
    below, above = reaches(count, skew, 0.95)
    believed = 0.6 * skew
    shape, generator = 4 / believed**2, torch.Generator().manual_seed(1)
    rate = torch.ones(4000, count, dtype=torch.float64)
    samples = torch._standard_gamma(shape * rate, generator=generator)
    mean, error = samples.mean(dim=1), samples.std(dim=1) / math.sqrt(count)
    covered = ((mean - below * error <= shape) & (shape <= mean + above * error)).double().mean()
    assert 0.94 <= covered <= 0.985
    assert above >= below >= student(count - 1) * (1 - 1e-12)
    assert reaches(count, -skew, 0.95) == (above, below)


def test_reaches_without_skewness_are_students():
    assert reaches(8, 0.0, 0.95) == (student(7), student(7))
    assert reaches(8, 0.01, 0.99) == (student(7, 0.99), student(7, 0.99))
    assert reaches(1, 1.0, 0.95) == (math.inf, math.inf)
    # Smoothly into the expansion for many samples.
    few, many = reaches(256, 2.0, 0.95), reaches(257, 2.0, 0.95)
    assert few == pytest.approx(many, rel=0.03)


def test_skewness_is_that_of_chi_square_variables():
    assert skewness(1.0, 1.0) == pytest.approx(math.sqrt(8))
    assert skewness(4.0, 4.0) == pytest.approx(math.sqrt(8 / 4))  # four of them
    assert skewness(1.0, -0.5) == pytest.approx(-math.sqrt(2))
    assert reaches(8, 100.0, 0.95) == reaches(8, MOST / 0.6, 0.95)  # no sum is more skewed than one term
    assert skewness(0.0, 0.0) == 0.0


def test_eigenpairs_take_the_skewness_out():
    values = outliers()
    h = prescribed_spectrum(values)
    pairs = hs.eigenpairs(h, 4, which="magnitude")
    rho = hs.spectral_density(h, num_probes=8, num_steps=60)
    plain, known = (hs.nuclear_norm(rho, eigenpairs=p) for p in (None, pairs))

    def lopsided(estimate):
        return (estimate.interval[1] - estimate.value) / (estimate.value - estimate.interval[0])

    assert lopsided(plain) > 1.2
    assert lopsided(known) == pytest.approx(1, abs=0.05)
    deflated = hs.spectral_density(h, num_probes=8, num_steps=60, eigenpairs=pairs)
    assert lopsided(deflated.trace()) == pytest.approx(1, abs=0.05)
