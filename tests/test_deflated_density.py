"""Densities with known eigenpairs taken out: atoms and samples add up to the whole, at a smaller error."""

from __future__ import annotations

import math

import pytest
import torch

import hesscope as hs
from hesscope.spectrum.deflation import deflated
from hesscope.testing import prescribed_spectrum, wasserstein1

N = 512
OUTLIERS = torch.tensor([9.0, 7.0, 7.0, 5.0, 3.0, -4.0], dtype=torch.float64)


def spectrum(n=N):
    """Six outliers, one double; a quarter zeros; a bulk of both signs."""
    zeros = torch.zeros(n // 4, dtype=torch.float64)
    bulk = torch.linspace(-0.4, 0.5, n - len(zeros) - len(OUTLIERS), dtype=torch.float64)
    return torch.cat([OUTLIERS, zeros, bulk])


def problem(dtype=torch.float64, k=6, seed=0, **options):
    h = prescribed_spectrum(spectrum(), seed=seed, dtype=dtype)
    return h, hs.eigenpairs(h, k, which="magnitude", **options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("mode", ["none", "full"])
def test_the_rest_is_lanczos_on_the_complement(dtype, mode):
    """Against a dense complement: nodes and weights are those of SLQ on (I - UU')H(I - UU')."""
    h, eig = problem(dtype)
    rho = hs.spectral_density(h, num_probes=2, num_steps=12, reorthogonalize=mode, eigenpairs=eig)
    dense = h.rows(torch.eye(N, dtype=dtype)).double()
    u = eig.vectors.double()
    p = torch.eye(N, dtype=torch.float64) - u.T @ u
    v = torch.empty(2, N, dtype=dtype)
    v = hs._ops.probes(2, N, seed=0, out=v).double() @ p
    v /= v.norm(dim=1, keepdim=True)
    q, alpha, beta = [v], [], []
    for _ in range(12):
        w = q[-1] @ (p @ dense @ p)
        alpha.append((w * q[-1]).sum(dim=1))
        for _ in range(2):
            for basis in q:
                w = w - (w * basis).sum(dim=1, keepdim=True) * basis
        beta.append(w.norm(dim=1))
        q.append(w / beta[-1][:, None])
    allowed = 1e4 * torch.finfo(dtype).eps
    assert (rho.alpha - torch.stack(alpha, dim=1)).abs().max() <= allowed
    assert (rho.beta - torch.stack(beta, dim=1)).abs().max() <= allowed
    assert rho.nodes.shape == rho.weights.shape == (2, 12 + 6)
    assert torch.allclose(rho.weights.sum(dim=1), torch.ones(2, dtype=torch.float64))
    assert (rho.nodes.diff(dim=1) >= 0).all()


def test_answers_hold_the_truth_with_smaller_errors():
    h, eig = problem()
    values = h.eigenvalues
    plain = hs.spectral_density(h, num_probes=8, num_steps=40)
    rho = hs.spectral_density(h, num_probes=8, num_steps=40, eigenpairs=eig)
    truths = {
        "trace": (values.sum().item(), lambda r: r.trace()),
        "second": ((values**2).mean().item(), lambda r: r.moment(2)),
        "nuclear": (values.abs().sum().item(), lambda r: r.spectral_sum(torch.abs)),
        "share": (
            (values.clamp(max=0).abs().sum() / values.abs().sum()).item(),
            lambda r: r.negative_curvature(),
        ),
    }
    for name, (truth, ask) in truths.items():
        got, was = ask(rho), ask(plain)
        assert abs(got.value - truth) <= 2 * got.error, name
        assert got.sampling < 0.35 * was.sampling, name
        assert got.method.startswith("6 eigenpairs given"), name
    assert rho.deflation is not None
    assert len(rho.deflation) == 6
    assert "deflated=6" in repr(rho)


def test_known_eigenvalues_are_counted_exactly():
    h, eig = problem()
    rho = hs.spectral_density(h, num_probes=8, num_steps=40, eigenpairs=eig)
    for a, b, truth in [(2.0, math.inf, 5), (6.5, 7.5, 2), (-math.inf, -1.0, 1), (1.0, 2.0, 0)]:
        got = rho.count(a, b)
        assert got.value == pytest.approx(truth)
        # Nothing forbids that the rest reaches beyond its last node, with at most that node's weight.
        assert truth == got.interval[0] <= got.interval[1] <= truth + 4
    # An end at a known eigenvalue: it may be in or out.
    assert rho.count(7.0, math.inf).interval[0] <= 3 <= rho.count(7.0, math.inf).interval[1]
    got = rho.count(0.1, math.inf)
    truth = (h.eigenvalues >= 0.1).sum().item()
    assert got.interval[0] <= truth <= got.interval[1]
    assert got.interval[0] >= 5


def test_distribution_and_density_hold_atoms():
    h, eig = problem()
    rho = hs.spectral_density(h, num_probes=4, num_steps=60, eigenpairs=eig)
    band = rho.cdf_band(torch.tensor([-1.0, 1.0, 4.0, 6.0, 8.0, 10.0]))
    expected = torch.tensor([1, N - 5, N - 4, N - 3, N - 1, N], dtype=torch.float64) / N
    assert torch.allclose(band.value, expected, rtol=0, atol=1e-12)
    assert (band.lower <= expected + 1e-12).all()
    assert (band.upper >= expected - 1e-12).all()
    # The steps at known eigenvalues are exact: the band is as wide on either side of each.
    width = (band.upper - band.lower)[1:4]
    assert torch.allclose(width, width[:1].expand(3), rtol=0, atol=1e-12)
    grid = rho.grid()
    assert torch.trapezoid(rho.density(grid), grid) == pytest.approx(1, abs=1e-3)
    width = 0.05
    at = rho.density(torch.tensor([9.0]), sigma=width)
    assert float(at) == pytest.approx(1 / N / (width * math.sqrt(2 * math.pi)), rel=1e-6)


def test_the_ends_are_bracketed_whoever_holds_them():
    h, eig = problem()
    for pairs, top in [(eig, 9.0), (hs.eigenpairs(h, 1, which="smallest"), 9.0)]:
        rho = hs.spectral_density(h, num_probes=4, num_steps=40, eigenpairs=pairs)
        got, low = rho.largest_eigenvalue(), rho.smallest_eigenvalue()
        assert got.interval[0] <= top + 1e-12
        assert top <= got.interval[1]
        assert got.value == pytest.approx(top, abs=1e-6)
        assert low.interval[0] <= -4.0 <= low.interval[1]
        assert rho.bounds.lower <= -4.0
        assert rho.bounds.upper >= 9.0


def test_the_distance_to_the_truth_is_bounded_and_smaller_for_the_same_products():
    h, eig = problem()
    truth = torch.full((N,), 1 / N, dtype=torch.float64)

    def distance(rho):
        k = rho.num_probes
        return wasserstein1(rho.nodes.flatten(), rho.weights.flatten() / k, h.eigenvalues, truth)

    plain = [hs.spectral_density(h, num_probes=1, num_steps=20, seed=s) for s in range(10)]
    known = [hs.spectral_density(h, num_probes=1, num_steps=20, seed=s, eigenpairs=eig) for s in range(10)]
    assert sum(map(distance, known)) < 0.4 * sum(map(distance, plain))
    assert float(known[0].wasserstein()) < 0.4 * float(plain[0].wasserstein())
    # What the probe sees of the rest, in the eigenbasis: within the bound, sampling aside.
    probe = hs._ops.probes(1, N, seed=0, dtype=torch.float64)
    seen = h.measure(probe)[0]
    seen[:6] = 0
    seen = seen / seen.sum() * (N - 6) / N
    seen[:6] = 1 / N
    true = wasserstein1(known[0].nodes[0], known[0].weights[0], h.eigenvalues, seen)
    assert true <= float(known[0].wasserstein()) + 1e-12


def test_a_bulk_far_from_zero_keeps_its_ends():
    """What rounding puts into the range taken out must not appear as an eigenvalue, at zero or at its own."""
    values = torch.cat([torch.linspace(1.0, 2.0, N - 2, dtype=torch.float64), torch.tensor([50.0, 80.0])])
    for dtype in (torch.float32, torch.float64):
        h = prescribed_spectrum(values, dtype=dtype)
        eig = hs.eigenpairs(h, 2)
        rho = hs.spectral_density(h, num_probes=2, num_steps=300, eigenpairs=eig)
        assert float(rho.nodes.min()) >= 1 - rho.rounding
        rest = rho.sampled.nodes
        assert float(rest.max()) <= 2 + rho.rounding
        assert rho.smallest_eigenvalue().value == pytest.approx(1.0, abs=1e-3)


def test_unconverged_pairs_are_left_in_the_spectrum():
    h = prescribed_spectrum(spectrum())
    with pytest.warns(RuntimeWarning):
        eig = hs.eigenpairs(h, 6, which="magnitude", tol=1e-12, max_products=14)
    converged = int(eig.converged.sum())
    assert converged < 6
    if converged == 0:
        with pytest.raises(ValueError, match="eigenpairs must hold at least one converged pair"):
            hs.spectral_density(h, eigenpairs=eig)
    else:
        assert len(hs.spectral_density(h, num_steps=5, eigenpairs=eig).deflation) == converged


@pytest.mark.parametrize("through_file", [False, True])
def test_deflated_runs_are_saved_and_extended(through_file, tmp_path):
    h, eig = problem()
    fresh = hs.spectral_density(h, num_probes=5, num_steps=30, eigenpairs=eig)
    rho = hs.spectral_density(h, num_probes=3, num_steps=10, eigenpairs=eig, keep_state=True)
    if through_file:
        rho.save(tmp_path / "rho.safetensors", state=True)
        rho = hs.load(tmp_path / "rho.safetensors")
    got = hs.resume(rho, h, num_steps=30, num_probes=5, eigenpairs=eig)
    assert torch.equal(got.alpha, fresh.alpha)
    assert torch.equal(got.beta, fresh.beta)
    assert torch.equal(got.nodes, fresh.nodes)
    assert got.deflation.shift == fresh.deflation.shift
    assert got.trace() == hs.resume(rho, h, num_steps=30, num_probes=5, eigenpairs=eig).trace()
    got.save(tmp_path / "got.safetensors")
    again = hs.load(tmp_path / "got.safetensors")
    assert torch.equal(again.nodes, got.nodes)
    assert torch.equal(again.weights, got.weights)
    assert again.count(2.0, math.inf) == got.count(2.0, math.inf)


def test_replaying_without_a_state():
    h, eig = problem()
    rho = hs.spectral_density(h, num_probes=2, num_steps=10, eigenpairs=eig)
    with pytest.warns(UserWarning, match="20 products are repeated"):
        got = hs.resume(rho, h, num_steps=20, eigenpairs=eig)
    assert torch.equal(got.alpha, hs.spectral_density(h, num_probes=2, num_steps=20, eigenpairs=eig).alpha)


def test_other_eigenpairs_are_refused():
    h, eig = problem()
    rho = hs.spectral_density(h, num_probes=2, num_steps=10, eigenpairs=eig)
    with pytest.raises(ValueError, match="resume: eigenpairs must be given: density was computed with 6"):
        hs.resume(rho, h, num_probes=3)
    with pytest.raises(ValueError, match=r"resume: eigenpairs must be those that density .* got 2 \("):
        hs.resume(rho, h, num_probes=3, eigenpairs=hs.eigenpairs(h, 2))
    plain = hs.spectral_density(h, num_probes=2, num_steps=10)
    with pytest.raises(ValueError, match="resume: eigenpairs must be None"):
        hs.resume(plain, h, num_probes=3, eigenpairs=eig)
    with pytest.raises(ValueError, match="eigenpairs must be those of the operator"):
        hs.spectral_density(prescribed_spectrum(spectrum(256)), eigenpairs=eig)
    with pytest.raises(TypeError, match="eigenpairs must be an Eigenpairs"):
        hs.spectral_density(h, eigenpairs=eig.vectors)


def test_the_whole_spectrum_may_be_known_but_for_one():
    h = hs.from_matrix(torch.diag(torch.tensor([1.0, 2.0, 3.0, 10.0], dtype=torch.float64)))
    rho = hs.spectral_density(h, num_probes=2, num_steps=50, eigenpairs=hs.eigenpairs(h, 3))
    assert rho.status is hs.Status.INVARIANT_SUBSPACE
    assert rho.trace().value == pytest.approx(16)
    assert rho.trace().error <= 1e-12
    assert rho.nodes[0].unique().tolist() == pytest.approx([1, 2, 3, 10])
    with pytest.raises(ValueError, match="fewer than n = 4, got 4 of 4"):
        deflated("spectral_density", h, hs.eigenpairs(h, 4))


def test_a_tolerance_is_reached_in_fewer_steps():
    h, eig = problem()
    plain = hs.spectral_density(h, num_probes=2, num_steps=300, tol=2e-3)
    rho = hs.spectral_density(h, num_probes=2, num_steps=300, tol=2e-3, eigenpairs=eig)
    assert plain.status is rho.status is hs.Status.CONVERGED
    assert rho.num_steps < plain.num_steps


def test_the_picture_shows_atoms(tmp_path):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    h, eig = problem()
    rho = hs.spectral_density(h, num_probes=4, num_steps=40, eigenpairs=eig)
    ax = rho.plot()
    shown = {text.get_text() for text in ax.texts}
    assert any("6 eigenpairs" in text for text in shown)
    assert {"9.00", "5.00", "3.00", "−4.00"} <= shown


def test_functions_of_a_deflated_density_hold_the_closed_form_and_refuse_the_pairs_again():
    h, eig = problem()
    rho = hs.spectral_density(h, num_probes=8, num_steps=24, eigenpairs=eig)
    plain = hs.spectral_density(h, num_probes=8, num_steps=24)
    truth = float(spectrum().abs().sum())
    found, wider = hs.nuclear_norm(rho), hs.nuclear_norm(plain)
    assert abs(found.value - truth) <= found.error
    assert found.error < 0.5 * wider.error
    with pytest.raises(ValueError, match="eigenpairs must be None with a density that was deflated"):
        hs.nuclear_norm(rho, eigenpairs=eig)
