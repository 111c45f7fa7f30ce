"""Eigenpairs that are given: those of another operator are refused where they would make an answer wrong."""

from __future__ import annotations

import re

import pytest
import torch

import hesscope as hs
from hesscope.testing import prescribed_spectrum

N = 128
BULK = torch.linspace(0, 2, N, dtype=torch.float64)
OUTLIERS = torch.cat([torch.linspace(0, 1, N - 8, dtype=torch.float64), torch.arange(10.0, 18.0)])

DEFLATING = [
    lambda h, eig: hs.spectral_density(h, eigenpairs=eig, num_steps=5),
    lambda h, eig: hs.count(h, 12, 17, eigenpairs=eig, num_steps=5),
]


@pytest.mark.parametrize("run", DEFLATING, ids=["spectral_density", "count"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_pairs_of_another_operator_are_refused_by_one_product(run, dtype):
    other = hs.eigenpairs(prescribed_spectrum(OUTLIERS, dtype=dtype), 4)
    h = prescribed_spectrum(BULK, dtype=dtype)
    said = r"eigenpairs must be those of this operator, with a residual of at most \S+ together, got \d"
    with pytest.raises(ValueError, match=said):
        run(h, other)
    assert h.products == 1


@pytest.mark.parametrize("run", DEFLATING, ids=["spectral_density", "count"])
def test_pairs_gone_stale_are_refused(run):
    """Weights that moved a little: the residual is 1e-3 of the operator's norm, not 1e-8."""
    eig = hs.eigenpairs(prescribed_spectrum(OUTLIERS), 4)
    with pytest.raises(ValueError, match="or of other weights or data"):
        run(prescribed_spectrum(OUTLIERS * 1.001), eig)


@pytest.mark.parametrize("run", DEFLATING, ids=["spectral_density", "count"])
@pytest.mark.parametrize("tol", [1e-2, None])
def test_pairs_as_accurate_as_they_say_are_taken_and_the_check_is_counted(run, tol):
    h = prescribed_spectrum(OUTLIERS)
    eig = hs.eigenpairs(h, 4, tol=tol)
    before = h.products
    result = run(h, eig)
    assert result.products == h.products - before > 1


def test_a_trace_is_right_with_the_pairs_of_another_operator():
    eig = hs.eigenpairs(prescribed_spectrum(OUTLIERS), 4)
    low, high = hs.trace(prescribed_spectrum(BULK), eigenpairs=eig, products=64).interval
    assert low <= float(BULK.sum()) <= high


def test_what_is_no_eigenpairs_is_named_by_its_type():
    with pytest.raises(TypeError, match=re.escape("trace: eigenpairs must be an Eigenpairs")) as caught:
        hs.trace(prescribed_spectrum(BULK), eigenpairs=torch.zeros(4, N))
    assert str(caught.value).endswith("got Tensor")
