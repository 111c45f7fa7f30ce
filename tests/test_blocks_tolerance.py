"""Spectra of diagonal blocks with tolerances: each block stops by itself, and keeps what is done."""

from __future__ import annotations

import pytest
import torch

import hesscope as hs
from hesscope.results import RunFailed, Status
from hesscope.testing import prescribed_spectrum


def test_a_tolerance_is_of_each_block_by_itself():
    """A block of one cluster settles long before one with a wide spectrum; both are what they are alone."""
    values = torch.cat([torch.linspace(-1, 1, 256, dtype=torch.float64), torch.full((256,), 0.5).double()])
    h = hs.from_matrix(torch.diag(values + 1e-3 * torch.arange(512)))
    parts = {"wide": slice(0, 256), "narrow": slice(256, 512)}
    rho = hs.block_densities(h, parts, num_probes=2, num_steps=120, tol=0.02)
    loose = hs.block_densities(h, parts, num_probes=2, num_steps=120, tol=0.2)
    for name, part in parts.items():
        alone = hs.spectral_density(hs.block(h, part), num_probes=2, num_steps=120, tol=0.02)
        assert rho[name].status is alone.status is Status.CONVERGED
        assert rho[name].num_steps == alone.num_steps < 120
        assert torch.allclose(rho[name].alpha, alone.alpha, rtol=0, atol=1e-10)
        assert loose[name].num_steps < rho[name].num_steps
        assert rho[name].settings == alone.settings


def test_a_block_that_settles_first_keeps_its_steps():
    spread = torch.linspace(-1, 1, 256, dtype=torch.float64)
    easy = torch.cat([1e-3 * spread[:-2], torch.tensor([-1.0, 1.0], dtype=torch.float64)])
    h = hs.from_matrix(torch.diag(torch.cat([spread, easy])))
    parts = {"hard": slice(0, 256), "easy": slice(256, 512)}
    rho = hs.block_densities(h, parts, num_steps=120, tol=0.005)
    assert rho["easy"].num_steps < rho["hard"].num_steps < 120
    assert rho["easy"].status is rho["hard"].status is Status.CONVERGED


def test_probes_are_added_to_the_blocks_that_need_them():
    """Outliers of one block make its distribution uncertain; the other one is content at once."""
    flat = torch.linspace(-1, 1, 512, dtype=torch.float64)
    hard = torch.linspace(-1, 1, 24, dtype=torch.float64)
    h = prescribed_spectrum(torch.cat([flat, flat]))
    parts = {"large": slice(0, 900), "small": slice(900, 900 + len(hard))}
    rho = hs.block_densities(h, parts, num_steps=10, until=0.015, max_probes=64)
    assert rho["large"].num_probes < rho["small"].num_probes
    assert rho["large"].status is Status.CONVERGED
    for name, part in parts.items():
        alone = hs.spectral_density(hs.block(h, part), num_steps=10, until=0.015, max_probes=64)
        got = rho[name]
        assert (got.num_probes, got.num_steps, got.level) == (alone.num_probes, alone.num_steps, alone.level)
        assert got.status is alone.status
        assert torch.allclose(got.alpha, alone.alpha, rtol=0, atol=1e-9)
        assert got.trace().error == pytest.approx(alone.trace().error)
        assert got.products == alone.products == got.num_probes * got.num_steps
    asked = hs.block_densities(
        h, parts, num_steps=6, until=lambda r: r.n > 100 or r.num_probes >= 16, max_probes=32
    )
    assert (asked["large"].num_probes, asked["small"].num_probes) == (8, 16)


def test_what_is_done_survives_an_error_between_looks():
    h = prescribed_spectrum(torch.linspace(-1, 1, 64, dtype=torch.float64))
    calls = []

    def failing(rows):
        calls.append(1)
        if len(calls) > 9:
            msg = "out of memory"
            raise RuntimeError(msg)
        return h.rows(rows)

    bad = hs.from_function(failing, 64, dtype=torch.float64, batched=True, check_symmetric=False)
    with pytest.raises(RunFailed, match="out of memory") as caught:
        hs.block_densities(bad, {"a": slice(0, 30), "b": slice(30, 64)}, num_steps=6, until=1e-9)
    assert {rho.num_probes for rho in caught.value.partial.values()} == {8}
    with pytest.raises(ValueError, match="block_densities: tol must be positive, got 0"):
        hs.block_densities(h, {"a": slice(0, 4)}, tol=0.0)
    with pytest.raises(ValueError, match="block_densities: until must be positive"):
        hs.block_densities(h, {"a": slice(0, 4)}, until=0.0)
