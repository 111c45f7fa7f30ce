"""Every question about a spectrum, asked of networks whose Hessian is known densely."""

from __future__ import annotations

import math

import pytest
import torch

import hesscope as hs
from dense_networks import digits, traceless

NETWORKS = {"digits": digits, "traceless": traceless}
BOTH = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


@pytest.fixture(params=NETWORKS.values(), ids=NETWORKS.keys())
def net(request):
    return request.param()


def inside(estimate, truth, slack=0.0):
    return estimate.interval[0] - slack <= float(truth) <= estimate.interval[1] + slack


def rounding(net, dtype):
    """What rounding of the products may change in a sum over the spectrum."""
    return 4 * torch.finfo(dtype).eps * len(net.values) ** 0.5 * float(net.values.norm())


def entropy(values):
    p = values.abs() / values.abs().sum()
    return (-torch.special.xlogy(p, p).sum()).exp()


def test_the_networks_are_what_they_are_for():
    for make in NETWORKS.values():
        net = make()
        assert len(net.values) <= 3000
        assert net.values.min() < 0 < net.values.max()
        engine = net.operator().rows(torch.eye(len(net.values), dtype=torch.float64))
        assert (engine - net.hessian).abs().max() <= 1e-12 * net.values.abs().max()
    flat = traceless().values
    assert flat.sum().abs() <= 1e-12 * flat.abs().sum()
    assert (digits().values.abs() < 1e-14).sum() > 50  # dead pixels


def scaled_exp(size):
    return lambda x: (x / size).exp()


def scaled_cube(size):
    return lambda x: (x / size) ** 3


def negative(x):
    return x.clamp(max=0)


# By name: how it is asked for, of an operator of this size, and the truth.
SUMS = {
    "exp": (
        lambda h, size, **o: hs.spectral_sum(h, scaled_exp(size), **o),
        lambda v, size: scaled_exp(size)(v).sum(),
    ),
    "cube": (
        lambda h, size, **o: hs.spectral_sum(h, scaled_cube(size), **o),
        lambda v, size: scaled_cube(size)(v).sum(),
    ),
    "nuclear": (lambda h, _, **o: hs.nuclear_norm(h, **o), lambda v, _: v.abs().sum()),
    "inverse": (
        lambda h, size, **o: hs.trace_inverse(h, shift=1.5 * size, **o),
        lambda v, size: (v + 1.5 * size).reciprocal().sum(),
    ),
    "logdet": (
        lambda h, size, **o: hs.logdet(h, shift=1.5 * size, **o),
        lambda v, size: (v + 1.5 * size).log().sum(),
    ),
    "negative": (lambda h, _, **o: hs.spectral_sum(h, negative, **o), lambda v, _: negative(v).sum()),
    "entropy rank": (lambda h, _, **o: hs.effective_rank(h, **o), lambda v, _: entropy(v)),
    "participation rank": (
        lambda h, _, **o: hs.effective_rank(h, kind="participation", **o),
        lambda v, _: v.abs().sum() ** 2 / v.square().sum(),
    ),
}


@BOTH
@pytest.mark.parametrize("name", SUMS)
def test_sums_over_the_spectrum(net, dtype, name):
    function, truth = SUMS[name]
    h, size = net.operator(dtype), float(net.values.abs().max())
    true = float(truth(net.values, size))
    plain = function(h, size, num_probes=16)
    assert inside(plain, true)
    assert 0 < plain.error < math.inf
    pairs = hs.eigenpairs(h, 10, which="magnitude")
    known = function(h, size, num_probes=16, eigenpairs=pairs)
    assert inside(known, true)
    if len(net.values) > 500:  # the other network has no outliers
        assert known.error < plain.error
    reached = function(h, size, tol=0.25, num_probes=4, num_steps=40, eigenpairs=pairs)
    assert reached.status is hs.Status.CONVERGED
    assert inside(reached, true)


def test_a_trace_with_mean_zero_ends_within_a_tolerance_of_the_nuclear_norm():
    net = traceless()
    h = net.operator()
    for got in (hs.spectral_sum(h, lambda x: x, tol=0.05, num_steps=30), hs.trace(h, tol=0.05)):
        assert got.status is hs.Status.CONVERGED
        assert inside(got, 0.0)
        assert got.error <= 0.06 * float(net.values.abs().sum())
        assert got.products <= 30_000


def test_negative_nodes_are_kept():
    net = traceless()
    rho = hs.spectral_density(net.operator(), num_probes=32, num_steps=60)
    negative = net.values < -1e-10 * net.values.max()
    assert inside(rho.negative_curvature(), 0.5)
    assert inside(rho.negative_mass(), negative.double().mean())
    assert rho.weights[rho.nodes < -1e-10].sum() / 32 == pytest.approx(
        float(negative.double().mean()), abs=0.05
    )
    with pytest.raises(ValueError, match=r"logdet: H \+ shift I must"):
        hs.logdet(rho)
    with pytest.raises(ValueError, match=r"trace_inverse: H \+ shift I must be definite"):
        hs.trace_inverse(rho)


@BOTH
def test_traces_diagonals_and_norms(net, dtype):
    h, values = net.operator(dtype), net.values
    slack = rounding(net, dtype)
    pairs = hs.eigenpairs(h, 10, which="magnitude")
    for method in ("auto", "rademacher", "deflated", "hutch++", "xtrace"):
        options = {"eigenpairs": pairs} if method == "deflated" else {}
        got = hs.trace(h, method=method, products=64, **options)
        assert abs(got.value - float(values.sum())) <= 2 * got.error + slack
        assert got.error < float(values.abs().sum())
    assert inside(hs.frobenius_norm(h, eigenpairs=pairs), values.norm(), slack)
    diagonal = hs.diagonal(h, method="deflated", products=128, eigenpairs=pairs)
    truth = net.hessian.diagonal()
    within = (diagonal.value - truth).abs() <= diagonal.error + slack
    assert within.double().mean() >= 0.9  # each entry at 95 % by itself, and they are correlated
    assert (diagonal.value - truth).norm() <= 0.5 * (net.hessian - torch.diag(truth)).norm()


@BOTH
def test_density_moments_counts_and_ends(net, dtype):
    h, values, eps = hs.from_matrix(net.hessian, dtype=dtype), net.values, torch.finfo(dtype).eps
    low, high = float(values.min()), float(values.max())
    runs = [hs.spectral_density(h, num_probes=16, num_steps=60, seed=seed) for seed in range(8)]
    missed = [sum(not inside(rho.trace(), values.sum(), rounding(net, dtype)) for rho in runs)]
    for p in range(1, 6):
        slack = 64 * eps * float(values.abs().max()) ** p
        missed.append(sum(not inside(rho.moment(p), (values**p).mean(), slack) for rho in runs))
    for a, b in [(high / 10, math.inf), (high / 3, math.inf), (-math.inf, low / 3), (low / 5, high / 5)]:
        truth = int(((values >= a) & (values <= b)).sum())
        missed.append(sum(not inside(rho.count(a, b), truth) for rho in runs))
        assert inside(hs.count(h, a, b, num_probes=16, num_steps=60), truth)
    assert max(missed) <= 2, missed  # three of eight at 95 %: one time in 170
    for rho in runs:
        assert rho.largest_eigenvalue().value == pytest.approx(high, abs=8 * eps * high + 1e-5 * high)
        assert rho.smallest_eigenvalue().value == pytest.approx(low, abs=8 * eps * high - 1e-2 * low)


@BOTH
@pytest.mark.parametrize("which", ["largest", "smallest", "both_ends", "magnitude"])
def test_eigenpairs_and_where_they_live(net, dtype, which):
    h, values = net.operator(dtype), net.values
    eig = hs.eigenpairs(h, 6, which=which)
    order = {
        "largest": values.argsort(descending=True),
        "smallest": values.argsort(),
        "magnitude": values.abs().argsort(descending=True),
    }
    if which == "both_ends":
        expected = torch.cat([values[order["largest"][:3]], values[order["smallest"][:3]].flip(0)])
    else:
        expected = values[order[which][:6]]
    size = values.abs().max()
    near = 1e-6 if dtype == torch.float32 else 1e-12
    got = eig.values
    if which == "magnitude":  # of pairs ± either comes first
        got, expected = got.abs(), expected.abs()
    assert (got.sort().values - expected.sort().values).abs().max() <= 10 * near * size
    x = eig.vectors.double()
    residual = (x @ net.hessian - eig.values[:, None] * x).norm(dim=1)
    assert (residual <= eig.residuals + near * size).all()
    shares = hs.participation(eig, net.objective)
    for name, part in net.objective.slices.items():
        assert torch.allclose(shares[name], x[:, part].square().sum(dim=1), atol=1e-5)
    assert torch.allclose(sum(shares.values()), torch.ones(6, dtype=torch.float64), atol=1e-5)


@BOTH
def test_condition_numbers(net, dtype):
    h, size = net.operator(dtype), float(net.values.abs().max())
    damped = hs.shifted(h, 2 * size)
    moved = net.values + 2 * size
    got = hs.condition_number(damped)
    assert inside(got, moved.max() / moved.min(), 1e-4)
    assert got.error < 0.1 * got.value
    plain = hs.condition_number(h)
    assert plain.interval[1] == math.inf  # dead pixels, or pairs around zero: no end is claimed
    assert plain.interval[0] <= float(net.values.abs().max() / net.values.abs().min())


@BOTH
def test_linear_systems(net, dtype):
    h, n = net.operator(dtype), len(net.values)
    b = torch.randn(3, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    size, tol = float(net.values.abs().max()), 1e-4 if dtype == torch.float32 else 1e-10
    for shift in (1.5 * size, 0.1 * size):
        matrix = net.hessian + shift * torch.eye(n, dtype=torch.float64)
        truth = torch.linalg.solve(matrix, b.T).T
        closest = float((net.values + shift).abs().min())
        got = hs.solve(h, b.to(dtype), shift=shift, tol=tol)
        error = (got.x.double() - truth).norm(dim=1)
        assert (error <= 2 * tol * b.norm(dim=1) / closest).all()
        assert bool(got.negative_curvature.any()) <= bool((net.values + shift < 0).any())
    pairs = hs.eigenpairs(h, 10, which="magnitude")
    plain = hs.solve(h, b.to(dtype), shift=1.5 * size, tol=tol)
    known = hs.solve(h, b.to(dtype), shift=1.5 * size, tol=tol, preconditioner=pairs)
    assert known.products <= plain.products
    with pytest.raises(hs.RunFailed, match=r"solve: .*(negative curvature|singular)"):
        hs.solve(h, b.to(dtype), method="cg")


@BOTH
def test_functions_applied_to_vectors(net, dtype):
    h, n = net.operator(dtype), len(net.values)
    b = torch.randn(2, n, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    size = float(net.values.abs().max())
    functions = [
        lambda x: (x / size).exp(),
        lambda x: (x + 1.5 * size).rsqrt(),
        torch.abs,
        lambda x: x.clamp(min=0.0),
    ]
    for f in functions:
        truth = (b @ net.vectors * f(net.values)) @ net.vectors.T
        for basis in (None, "recompute"):
            got = hs.apply_function(h, f, b.to(dtype), basis=basis)
            error = (got.x.double() - truth).norm(dim=1)
            assert (error <= 5 * got.estimate + 64 * torch.finfo(dtype).eps * truth.norm(dim=1)).all()
            assert (error <= 0.01 * truth.norm(dim=1)).all()


@pytest.mark.slow
def test_a_network_with_almost_three_thousand_parameters():
    net = digits(hidden=38)
    h, values = net.operator(), net.values
    assert 2800 <= len(values) <= 3000
    pairs = hs.eigenpairs(h, 20, which="magnitude")
    assert torch.allclose(pairs.values.abs(), values.abs().sort(descending=True).values[:20], rtol=1e-6)
    rho = hs.spectral_density(h, num_probes=16, eigenpairs=pairs)
    size = float(values.abs().max())
    for got, truth in [
        (rho.trace(), values.sum()),
        (rho.moment(2), values.square().mean()),
        (rho.count(size / 20, math.inf), (values >= size / 20).sum()),
        (rho.negative_curvature(), values.clamp(max=0).abs().sum() / values.abs().sum()),
        (hs.nuclear_norm(h, eigenpairs=pairs), values.abs().sum()),
        (hs.effective_rank(h, eigenpairs=pairs), entropy(values)),
        (hs.logdet(h, shift=2 * size), (values + 2 * size).log().sum()),
        (hs.frobenius_norm(h, eigenpairs=pairs), values.norm()),
    ]:
        assert inside(got, truth)
