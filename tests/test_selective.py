"""Selective reorthogonalisation: orthogonal to sqrt(eps), no ghosts, and fewer projections than full."""

from __future__ import annotations

import pytest
import torch

import hesscope as hs
from hesscope.krylov.omega import OmegaRecurrence
from hesscope.testing import prescribed_spectrum

STEPS = 100


def spectra():
    rng = torch.Generator().manual_seed(0)
    n = 2**13
    normal = torch.randn(n, generator=rng, dtype=torch.float64)
    outliers = 0.02 * normal
    outliers[:10] = torch.linspace(1, 3, 10, dtype=torch.float64)
    decay = 1.2 ** -torch.arange(n).double()
    return {"outliers": outliers, "decay": decay, "normal": normal, "both": torch.cat([outliers, -outliers])}


@pytest.mark.parametrize("name", spectra())
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("factor", [1.0, 1e-9])
def test_semi_orthogonality_in_fewer_projections(name, dtype, factor):
    h = prescribed_spectrum(factor * spectra()[name], dtype=dtype)
    runs = {
        mode: hs.spectral_density(h, num_probes=2, num_steps=STEPS, reorthogonalize=mode)
        for mode in ("full", "selective")
    }
    full, selective = runs["full"], runs["selective"]
    eps = torch.finfo(dtype).eps
    assert full.orthogonality <= 4 * STEPS**0.5 * eps
    assert selective.orthogonality <= 2 * eps**0.5
    steps = full.products // 2  # the last look of a recurrence that ends comes a few steps later
    assert full.projections == steps
    # Where couplings decay, every step loses orthogonality, and few can be left out.
    allowed = 1.0 if name == "decay" else 0.5 if dtype == torch.float64 else 0.7
    assert selective.projections <= allowed * steps
    # No ghosts: semi-orthogonality makes T the projection of H to rounding, so Ritz values agree.
    size = float(full.nodes.abs().max())
    for end in (slice(0, 5), slice(-5, None)):
        assert (full.nodes[:, end] - selective.nodes[:, end]).abs().max() <= 32 * eps * size


def test_without_it_orthogonality_is_lost_and_ghosts_come():
    """What the other tests would not notice on a spectrum where nothing happens."""
    h = prescribed_spectrum(spectra()["outliers"], dtype=torch.float32)
    options = {"num_probes": 1, "num_steps": STEPS}
    none = hs.spectral_density(h, **options)
    full = hs.spectral_density(h, reorthogonalize="full", **options)
    assert int((none.nodes > 0.9).sum()) > int((full.nodes > 0.9).sum()) == 10


def test_the_estimate_bounds_the_loss_it_stands_for():
    """Without projecting, the estimates of the recurrence stay above what is measured, until all is lost."""
    values, eps = spectra()["outliers"], torch.finfo(torch.float32).eps
    h = prescribed_spectrum(values, dtype=torch.float32)
    omega = OmegaRecurrence(1, 40, eps=eps)
    v = _first_vector(h)
    vectors, before, beta = [v], torch.zeros_like(v), 0.0
    for j in range(40):
        w = h.rows(vectors[-1]) - beta * before
        alpha = float((w.double() * vectors[-1].double()).sum())
        w = w - alpha * vectors[-1]
        before, beta = vectors[-1], float(w.double().norm())
        omega._alpha[0, j], omega._beta[0, j] = alpha, beta
        estimate, _ = omega._next(j)
        omega._before, omega._omega, omega._j = omega._omega, estimate, j + 1
        q = torch.cat(vectors).double()
        vectors.append(w / beta)
        lost = float((q @ vectors[-1][0].double()).abs().max())
        if lost > 0.01:
            break
        assert lost <= 4 * float(estimate[0, : j + 1].abs().max())
    assert lost > 0.01


def _first_vector(h):
    rng = torch.Generator().manual_seed(3)
    v = torch.randn(1, h.shape[0], generator=rng)
    return v / v.norm()


def test_projections_come_in_pairs():
    """Both vectors of the recurrence must be clean, or the loss comes back with the older one."""
    omega = OmegaRecurrence(1, 50, eps=1e-7)
    answers = []
    rng = torch.Generator().manual_seed(0)
    for _ in range(50):
        alpha = torch.randn(1, generator=rng, dtype=torch.float64)
        answers.append(omega.needs_projection(alpha, torch.ones(1, dtype=torch.float64)))
    first = answers.index(True)
    assert answers[first : first + 2] == [True, True]
    assert not all(answers[first:])


def test_a_recurrence_that_ends_does_not_ask_for_projections_forever():
    values = torch.tensor([1.0, 2.0, 4.0, -3.0]).double().repeat_interleave(64)
    rho = hs.spectral_density(prescribed_spectrum(values), num_probes=3, reorthogonalize="selective")
    assert rho.status is hs.Status.INVARIANT_SUBSPACE
    assert rho.num_steps == 4
    assert (rho.nodes - torch.tensor([-3.0, 1.0, 2.0, 4.0])).abs().max() <= 1e-13
