"""tridiagonal_eigen and sturm_count: against LAPACK, quadrature rules, and their contracts."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis.strategies import integers

from hesscope import _ops
from tridiagonal_cases import EPS, MATRICES, dense, random_matrix, tensor, value_bound


@pytest.fixture(autouse=True)
def poisoned_outputs():
    """Let torch fill what the ops allocate with NaN, so that an element nobody writes is seen."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def check_eigen(alpha, beta, backend, device, *, scale=1.0):
    """Compare with numpy at a scale where it is safe; return what came."""
    a, b = tensor(alpha[None] * scale, device), tensor(beta[None] * scale, device)
    nodes, first, last = (t[0].cpu().numpy() for t in _ops.tridiagonal_eigen(a, b, backend=backend))
    values, vectors = np.linalg.eigh(dense(alpha, beta))
    bound = value_bound(alpha, beta)
    assert (np.abs(nodes / scale - values) <= bound).all()
    assert (np.diff(nodes) >= 0).all()
    assert (first >= 0).all()
    # A unit eigenvector turns by at most bound / gap (Davis & Kahan 1970), over sqrt(2) for the sine.
    gap = np.diff(values, prepend=-np.inf, append=np.inf)
    turn = 2 * bound / np.maximum(np.minimum(gap[:-1], gap[1:]), bound)
    assert (np.abs(first - np.abs(vectors[0])) <= turn).all()
    assert (np.abs(np.abs(last) - np.abs(vectors[-1])) <= turn).all()
    if len(alpha) > 1:  # relative sign, where both are well above their error
        clear = (first > turn) & (np.abs(last) > turn)
        assert (np.sign(last[clear]) == np.sign(vectors[0] * vectors[-1])[clear]).all()
    assert abs((first**2).sum() - 1) <= 2 * len(alpha) * EPS + 8 * EPS
    assert abs((last**2).sum() - 1) <= 2 * len(alpha) * EPS + 8 * EPS
    return nodes, first, last


@pytest.mark.parametrize("name", MATRICES)
def test_matches_numpy(name, backend, device):
    check_eigen(*MATRICES[name], backend, device)


@pytest.mark.parametrize("scale", [2.0**-996, 2.0**-500, 2.0**500, 2.0**996], ids="{:.0e}".format)
def test_scale_changes_the_nodes_only(scale, backend, device):
    plain = check_eigen(*random_matrix(30), backend, device)
    scaled = check_eigen(*random_matrix(30), backend, device, scale=scale)
    assert (scaled[0] == plain[0] * scale).all()
    assert (scaled[1] == plain[1]).all()
    assert (scaled[2] == plain[2]).all()


def test_a_thousand_rows_match_lapack(backend, device):
    if backend == "reference":
        pytest.skip("the reference is a dense Jacobi iteration, O(m^3)")
    alpha, beta = random_matrix(1000)
    got = _ops.tridiagonal_eigen(tensor(alpha[None], device), tensor(beta[None], device), backend=backend)
    nodes, first, _ = (t[0].cpu().numpy() for t in got)
    values, vectors = scipy.linalg.eigh_tridiagonal(alpha, beta[:-1])
    assert np.abs(nodes - values).max() <= value_bound(alpha, beta)
    # Distribution functions of the two quadratures, where the gaps are clear of the error.
    clear = np.flatnonzero(np.diff(values) > 1e8 * value_bound(alpha, beta))
    assert len(clear) > 900
    gap = np.cumsum(first**2) - np.cumsum(vectors[0] ** 2)
    assert np.abs(gap[clear]).max() <= 1e-8 + 2000 * EPS


def legendre(m):
    j = np.arange(1.0, m + 1)
    return np.zeros(m), j / np.sqrt(4 * j**2 - 1)


def hermite(m):
    return np.zeros(m), np.sqrt(np.arange(1.0, m + 1) / 2)


@pytest.mark.parametrize("m", [1, 2, 5, 32, 64])
@pytest.mark.parametrize(
    ("jacobi", "rule", "mass"),
    [
        (legendre, np.polynomial.legendre.leggauss, 2.0),
        (hermite, np.polynomial.hermite.hermgauss, np.sqrt(np.pi)),
    ],
    ids=["Legendre", "Hermite"],
)
def test_gauss_rules(jacobi, rule, mass, m, backend, device):
    alpha, beta = jacobi(m)
    nodes, first, _ = check_eigen(alpha, beta, backend, device)
    want_nodes, want_weights = rule(m)
    bound = value_bound(alpha, beta)
    gap = np.diff(want_nodes, prepend=-np.inf, append=np.inf)
    assert (np.abs(nodes - want_nodes) <= bound).all()
    # weights: (first + turn)^2, with the turn of an eigenvector as in check_eigen
    turn = 2 * bound / np.minimum(gap[:-1], gap[1:])
    assert (np.abs(mass * first**2 - want_weights) <= mass * turn * (2 * first + turn)).all()


@pytest.mark.parametrize("m", [1, 2, 7, 20])
def test_a_gauss_rule_is_exact_to_degree_2m_minus_1(m, backend, device):
    nodes, first, _ = check_eigen(*legendre(m), backend, device)
    for degree in range(2 * m):
        want = 0.0 if degree % 2 else 2 / (degree + 1)
        bound = 2 * (1 + degree) * value_bound(*legendre(m)) + 4 * m * EPS
        assert abs(2 * (first**2 * nodes**degree).sum() - want) <= bound
    missed = 2 / (2 * m + 1) - 2 * (first**2 * nodes ** (2 * m)).sum()
    assert missed > 1e3 * EPS  # and not one degree further


def test_a_zero_coupling_ends_a_matrix(backend, device):
    alpha, beta = random_matrix(10)
    beta[5] = 0.0
    alpha[6:] = beta[6:] = np.nan  # not read
    got = _ops.tridiagonal_eigen(tensor(alpha[None], device), tensor(beta[None], device), backend=backend)
    short = _ops.tridiagonal_eigen(
        tensor(alpha[None, :6], device), tensor(beta[None, :6], device), backend=backend
    )
    for long, part in zip(got, short, strict=True):
        assert torch.equal(long[:, :6], part)
    assert (got[0][:, 6:] == short[0][:, -1:]).all()
    assert (got[1][:, 6:] == 0).all()
    assert (got[2][:, 6:] == 0).all()


def test_a_matrix_of_zeros(backend, device):
    zeros = torch.zeros(1, 5, dtype=torch.float64, device=device)
    nodes, first, last = _ops.tridiagonal_eigen(zeros, zeros, backend=backend)
    assert nodes.tolist() == [[0] * 5]
    assert first.tolist() == last.tolist() == [[1, 0, 0, 0, 0]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_bad_matrix_spoils_only_its_own_rows(bad, backend, device):
    alpha, beta = (
        np.stack(parts) for parts in zip(*(random_matrix(9, seed) for seed in range(4)), strict=True)
    )
    clean = _ops.tridiagonal_eigen(tensor(alpha, device), tensor(beta, device), backend=backend)
    alpha[1, 8] = bad
    beta[2, 0] = bad
    beta[:, 8] = bad  # not read
    spoilt = _ops.tridiagonal_eigen(tensor(alpha, device), tensor(beta, device), backend=backend)
    for before, after in zip(clean, spoilt, strict=True):
        assert torch.equal(before[[0, 3]], after[[0, 3]])
        assert after[1:3].isnan().all()


def test_inputs_may_have_strided_rows(backend, device):
    alpha, beta = (tensor(np.stack([part, -part]), device) for part in random_matrix(12))
    wide = torch.full((2, 2, 20), torch.nan, dtype=torch.float64, device=device)
    wide[0, :, 3:15], wide[1, :, 3:15] = alpha, beta
    strided = _ops.tridiagonal_eigen(wide[0, :, 3:15], wide[1, :, 3:15], backend=backend)
    for got, want in zip(strided, _ops.tridiagonal_eigen(alpha, beta, backend=backend), strict=True):
        assert torch.equal(got, want)


def test_batch_and_threads_do_not_change_a_bit(backend, device):
    alpha, beta = (torch.randn(13, 40, generator=torch.Generator().manual_seed(s)).double() for s in (0, 1))
    alpha, beta = alpha.to(device), beta.to(device)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        together = _ops.tridiagonal_eigen(alpha, beta, backend=backend)
        torch.set_num_threads(1)
        alone = [
            _ops.tridiagonal_eigen(alpha[b : b + 1], beta[b : b + 1], backend=backend) for b in range(13)
        ]
    finally:
        torch.set_num_threads(threads)
    for got, rows in zip(together, zip(*alone, strict=True), strict=True):
        assert torch.equal(got, torch.cat(rows))


@given(m=integers(1, 40), exponent=integers(-18, 0), seed=integers(0, 2**31))
@settings(deadline=None, max_examples=60)
def test_any_grading_matches_numpy(m, exponent, seed):
    rng = np.random.default_rng(seed)
    decay = 10.0 ** rng.uniform(exponent, 0, size=(2, m))
    check_eigen(rng.normal(size=m) * decay[0], rng.normal(size=m) * decay[1], "cpu", "cpu")


def counts_of(alpha, beta, x, backend, device):
    got = _ops.sturm_count(
        tensor(alpha[None], device), tensor(beta[None], device), tensor(x, device), backend=backend
    )
    return got[0].cpu().numpy()


@pytest.mark.parametrize("points", [1, 15, 16, 17, 300])
@pytest.mark.parametrize("name", MATRICES)
def test_sturm_counts_match_the_eigenvalues(name, points, backend, device):
    alpha, beta = MATRICES[name]
    values = np.linalg.eigvalsh(dense(alpha, beta))
    rng = np.random.default_rng(points)
    x = rng.uniform(values[0] - 0.1, values[-1] + 0.1, size=points) * 10.0 ** rng.integers(-3, 1, size=points)
    x = x[np.abs(x[:, None] - values).min(1) > value_bound(alpha, beta)]
    assert (counts_of(alpha, beta, x, backend, device) == (values < x[:, None]).sum(1)).all()


@pytest.mark.parametrize("scale", [2.0**-996, 2.0**996], ids="{:.0e}".format)
def test_sturm_counts_do_not_depend_on_the_scale(scale, backend, device):
    alpha, beta = random_matrix(30)
    x = np.linspace(-3, 3, 41)
    plain = counts_of(alpha, beta, x, backend, device)
    assert (counts_of(alpha * scale, beta * scale, x * scale, backend, device) == plain).all()


def test_an_eigenvalue_is_not_below_itself(backend, device):
    assert counts_of(np.array([2.0]), np.array([9.0]), [2.0, 2.5], backend, device).tolist() == [0, 1]
    # [[2, 1], [1, 2]]: 1 and 3.   [[0, b], [b, 0]] and a third row: the middle eigenvalue is 0.
    alpha, beta = np.array([2.0, 2.0]), np.array([1.0, 9.0])
    assert counts_of(alpha, beta, [1.0, 2.0, 3.0, 4.0], backend, device).tolist() == [0, 1, 1, 2]
    alpha, beta = np.array([0.0, -0.0, 0.0]), np.array([3.0, -4.0, 9.0])
    x = [-5.0, -0.0, 0.0, 5.0, 5.5]
    assert counts_of(alpha, beta, x, backend, device).tolist() == [0, 1, 1, 2, 3]


def test_infinite_and_undefined_points(backend, device):
    alpha, beta = random_matrix(7)
    x = [-np.inf, np.inf, np.nan, 0.0]
    want = [0, 7, -1, (np.linalg.eigvalsh(dense(alpha, beta)) < 0).sum()]
    assert counts_of(alpha, beta, x, backend, device).tolist() == want
    alpha[3] = np.nan
    assert counts_of(alpha, beta, x, backend, device).tolist() == [-1] * 4


def test_sturm_counts_end_at_a_zero_coupling(backend, device):
    alpha, beta = np.array([1.0, 2, np.nan, np.nan]), np.array([0.5, 0, np.nan, np.nan])
    assert counts_of(alpha, beta, [0.0, 1.5, np.inf], backend, device).tolist() == [0, 1, 2]


def test_sturm_counts_of_a_batch_at_strided_points(backend, device):
    alpha, beta = (
        tensor(np.stack(p), device) for p in zip(*(random_matrix(9, s) for s in range(3)), strict=True)
    )
    x = torch.linspace(-2, 2, 46, dtype=torch.float64, device=device)[::2]
    nodes = _ops.tridiagonal_eigen(alpha, beta, backend=backend)[0]
    want = (nodes[:, None] < x[:, None]).sum(-1)
    assert torch.equal(_ops.sturm_count(alpha, beta, x, backend=backend), want)


def test_empty_batches_and_points(backend, device):
    empty = torch.zeros(0, 4, dtype=torch.float64, device=device)
    assert [t.shape for t in _ops.tridiagonal_eigen(empty, empty, backend=backend)] == [(0, 4)] * 3
    x = torch.zeros(3, dtype=torch.float64, device=device)
    assert _ops.sturm_count(empty, empty, x, backend=backend).shape == (0, 3)
    ones = torch.ones(2, 4, dtype=torch.float64, device=device)
    assert _ops.sturm_count(ones, ones, x[:0], backend=backend).shape == (2, 0)


def test_messages_name_the_arguments(backend, device):
    ones = lambda *shape, dtype=torch.float64: torch.ones(*shape, dtype=dtype, device=device)  # noqa: E731
    with pytest.raises(ValueError, match=r"tridiagonal_eigen: alpha must have 2 dimensions, got alpha \[3\]"):
        _ops.tridiagonal_eigen(ones(3), ones(3), backend=backend)
    with pytest.raises(ValueError, match=r"beta must have shape \[2, 3\], got beta \[2, 2\]"):
        _ops.tridiagonal_eigen(ones(2, 3), ones(2, 2), backend=backend)
    with pytest.raises(ValueError, match=r"alpha must have at least one column, got alpha \[2, 0\]"):
        _ops.tridiagonal_eigen(ones(2, 0), ones(2, 0), backend=backend)
    with pytest.raises(
        TypeError, match=r"tridiagonal_eigen: alpha must be float64, got alpha \[2, 3\] float32"
    ):
        _ops.tridiagonal_eigen(ones(2, 3, dtype=torch.float32), ones(2, 3), backend=backend)
    with pytest.raises(ValueError, match=r"sturm_count: beta must have contiguous rows"):
        _ops.sturm_count(ones(2, 3), ones(2, 6)[:, ::2], ones(1), backend=backend)
    with pytest.raises(TypeError, match=r"sturm_count: x must be float64, got x \[1\] float32"):
        _ops.sturm_count(ones(2, 3), ones(2, 3), ones(1, dtype=torch.float32), backend=backend)


def test_torch_operator_contract(device):
    alpha, beta = (tensor(part[None], device) for part in random_matrix(5))
    torch.library.opcheck(torch.ops.hesscope.tridiagonal_eigen, (alpha, beta))
    torch.library.opcheck(torch.ops.hesscope.sturm_count, (alpha, beta, alpha[0]))
