"""Arguments that mean nothing are refused by the function's name, and what came is shown in few words."""

from __future__ import annotations

import math

import pytest
import torch

import hesscope as hs
from hesscope.testing import prescribed_spectrum

H = prescribed_spectrum(torch.linspace(1, 2, 32, dtype=torch.float64))
RHO = hs.spectral_density(H, num_probes=2, num_steps=8)
EIG = hs.eigenpairs(H, 2)
DEFLATED = hs.spectral_density(H, num_probes=2, num_steps=8, eigenpairs=EIG)
EMPTY = torch.empty(0, dtype=torch.float64)
LONG = torch.zeros(1000, dtype=torch.float64)

REFUSED = [
    (lambda: RHO.cdf(math.nan), ValueError, "cdf: x must not contain NaN"),
    (lambda: RHO.cdf(torch.tensor([0.0, math.nan])), ValueError, "cdf: x must not contain NaN"),
    (lambda: RHO.cdf(EMPTY), ValueError, r"cdf: x must have shape \[G\] with G at least 1"),
    (lambda: RHO.kpm(EMPTY), ValueError, r"kpm: grid must have shape \[G\] with G at least 1"),
    (lambda: RHO.haydock(EMPTY), ValueError, r"haydock: grid must have shape \[G\] with G at least 1"),
    (lambda: RHO.cdf_band(EMPTY), ValueError, r"must have shape \[G\] with G at least 1, got \[0\]"),
    (lambda: hs.logdet(H, shift=True), TypeError, "logdet: shift must be a number, got bool True$"),
    (lambda: hs.logdet(H, tol=True), TypeError, "logdet: tol must be a number, got bool True$"),
    (lambda: hs.eigenpairs(H, 1, tol=True), TypeError, "tol must be a number, got bool True$"),
    (lambda: hs.solve(H, LONG[:32], tol=True), TypeError, "tol must be a number, got bool True$"),
    (lambda: hs.trace(H, tol=math.inf), ValueError, "trace: tol must be finite, got inf"),
    (lambda: hs.spectral_density(H, tol=math.inf), ValueError, "spectral_density: tol must be finite"),
    (
        lambda: hs.logdet(H, tol=LONG),
        TypeError,
        r"logdet: tol must be a number, got Tensor of shape \[1000\]$",
    ),
    (
        lambda: hs.trace(H, seed=LONG + 0.5),
        TypeError,
        r"seed must be an integer, got Tensor of shape \[1000\]$",
    ),
    (lambda: hs.trace(H, method="x" * 999), ValueError, "method must be one of .{0,150}$"),
    (lambda: hs.trace(H, eigenpairs=LONG), TypeError, "eigenpairs must be an Eigenpairs.* got Tensor$"),
    (
        lambda: hs.count(DEFLATED, 0, 1, eigenpairs=EIG),
        ValueError,
        "count: eigenpairs must be None with a density",
    ),
    (
        lambda: hs.logdet(DEFLATED, eigenpairs=EIG),
        ValueError,
        "logdet: eigenpairs must be None with a density",
    ),
]


@pytest.mark.parametrize(("call", "error", "said"), REFUSED, ids=[said for *_, said in REFUSED])
def test_what_means_nothing_is_refused_in_few_words(call, error, said):
    with pytest.raises(error, match=said):
        call()


def test_numbers_of_other_libraries_are_numbers():
    plain = hs.logdet(H, shift=0.5)
    for half in (torch.tensor(0.5), torch.tensor([0.5]), LONG.numpy()[0] + 0.5):
        assert hs.logdet(H, shift=half) == plain
