"""Eigenpairs against prescribed spectra, dense truth and SciPy, with their residuals and products."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import eigsh
from torch.nn.functional import cross_entropy

import hesscope as hs
from hesscope.testing import prescribed_spectrum

WHICH = ["largest", "smallest", "both_ends", "magnitude"]


def wanted(values, which, k):
    """The k eigenvalues asked for, in the order of a result."""
    values = values.double().sort(descending=True).values
    if which == "largest":
        return values[:k]
    if which == "smallest":
        return values.flip(0)[:k]
    if which == "magnitude":
        return values[values.abs().argsort(descending=True, stable=True)][:k]
    return torch.cat([values[: k - k // 2], values[len(values) - k // 2 :]])


def indefinite(n):
    """Outliers at both ends, two clusters, a bulk, and half of all eigenvalues exactly 0."""
    rng = torch.Generator().manual_seed(n)
    values = torch.zeros(n, dtype=torch.float64)
    values[: n // 2] = 0.05 * torch.randn(n // 2, generator=rng, dtype=torch.float64).clamp(-3, 3)
    values[:6] = torch.tensor([3.0, 2.0, 2.0 - 1e-3, 1.0, 0.9, 0.8])
    values[6:12] = torch.tensor([-2.9, -1.95, -1.95 + 1e-3, -1.1, -0.7, -0.6])
    return values[torch.randperm(n, generator=rng)]


def check(eig, operator, values, which, k):
    """Status, values to within their residuals, order, orthonormality, and residuals measured again."""
    assert eig.status is hs.Status.CONVERGED, eig.message
    assert len(eig) == k
    assert eig.converged.all()
    assert eig.verified
    truth = wanted(values, which, k)
    size = float(values.abs().max())
    eps = torch.finfo(operator.dtype).eps
    # Of sums over the basis and of the dense eigenproblem on it: 2 m eps, m <= 2 k + 30 its size.
    rounding = 2 * (2 * k + 30) * eps
    # A symmetric matrix has an eigenvalue within the residual; that it is the wanted one is the claim.
    assert ((eig.values - truth).abs() <= eig.residuals + rounding * size).all()
    x = eig.vectors.double()
    assert (x @ x.T - torch.eye(k, dtype=torch.float64)).abs().max() <= rounding
    assert (x.norm(dim=1) - 1).abs().max() <= 8 * eps  # however many restarts there were
    again = (operator.rows(eig.vectors).double() - eig.values[:, None] * x).norm(dim=1)
    # Rounding each entry of H x - value x to the dtype moves the norm by at most eps |H|, a few times.
    assert ((again - eig.residuals).abs() <= 4 * eps * size).all()
    assert (again <= eig.tol * size).all()
    assert eig.norm <= (1 + rounding) * size
    assert eig.norm >= 0.99 * size or which in ("largest", "smallest")
    parts = eig.search_products + eig.check_products + eig.verification_products
    assert eig.products == parts


@pytest.mark.parametrize("which", WHICH)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("n", [2**8, 2**12])
def test_prescribed_spectra(which, dtype, n):
    h = prescribed_spectrum(indefinite(n), dtype=dtype)
    eig = hs.eigenpairs(h, k=6, which=which, tol=1e-5 if dtype == torch.float32 else None)
    assert eig.products == h.products
    assert eig.missed == "none found"
    check(eig, h, h.eigenvalues, which, 6)


def test_a_large_one():
    h = prescribed_spectrum(indefinite(2**16), dtype=torch.float32)
    check(hs.eigenpairs(h, k=12, which="both_ends"), h, h.eigenvalues, "both_ends", 12)


@pytest.mark.parametrize("k", [1, 2, 7])
def test_a_spectrum_without_gaps(k):
    h = prescribed_spectrum(torch.linspace(-1, 1, 2**10, dtype=torch.float64))
    eig = hs.eigenpairs(h, k=k, tol=1e-6)
    check(eig, h, h.eigenvalues, "largest", k)
    assert eig.restarts > 3


def repeated(n, top):
    values = torch.linspace(-1, 1, n, dtype=torch.float64)
    values[: len(top)] = torch.tensor(top, dtype=torch.float64)
    return values


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_multiple_eigenvalues_are_found_with_their_multiplicity(dtype):
    top = [5.0, 5.0, 5.0, 4.0, 3.0, 3.0, 2.5]
    h = prescribed_spectrum(repeated(2**10, top), dtype=dtype)
    eig = hs.eigenpairs(h, k=7)
    check(eig, h, h.eigenvalues, "largest", 7)
    seen = hs.eigenpairs(h, k=3, tol=1e-3)
    assert (seen.values - 5).abs().max() <= 1e-3 * 5
    blind = hs.eigenpairs(h, k=3, tol=1e-3, check_missed=False)
    assert blind.values[1] < 4.1  # one starting vector cannot see copies
    assert blind.missed == "not checked"


def test_a_block_sees_copies_without_a_check():
    h = prescribed_spectrum(repeated(2**10, [5.0, 5.0, 5.0, 4.0]))
    check(hs.eigenpairs(h, k=4, block_size=3, check_missed=False), h, h.eigenvalues, "largest", 4)


@pytest.mark.parametrize("block_size", [1, 2, 5])
def test_few_distinct_eigenvalues_end_the_recurrence_again_and_again(block_size):
    values = torch.tensor([3.0, 2.0, -1.0, 0.0]).double().repeat_interleave(64)
    h = prescribed_spectrum(values)
    for which, k in [("largest", 70), ("magnitude", 66), ("both_ends", 9)]:
        check(hs.eigenpairs(h, k=k, which=which, block_size=block_size), h, values, which, k)


@pytest.mark.parametrize("value", [0.0, 1.0, -2.5])
def test_multiples_of_the_identity(value):
    h = hs.from_function(lambda v: v if value == 1.0 else value * v, 100, dtype=torch.float64)
    eig = hs.eigenpairs(h, k=5)
    assert eig.status is hs.Status.CONVERGED
    assert (eig.values - value).abs().max() <= 1e-14
    x = eig.vectors
    assert (x @ x.T - torch.eye(5, dtype=torch.float64)).abs().max() <= 1e-14


@pytest.mark.parametrize("n", [1, 2, 3, 11, 29, 31, 40])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_small_matrices_and_all_pairs(n, dtype, rng):
    a = torch.randn(n, n, generator=rng, dtype=torch.float64)
    a = (a + a.T).to(dtype)
    h = hs.from_matrix(a)
    truth = torch.linalg.eigvalsh(a.double())
    for k in sorted({1, max(n // 2, 1), n}):
        for which in WHICH:
            eig = hs.eigenpairs(h, k=k, which=which)
            check(eig, h, truth, which, k)
            assert eig.search_products <= max(n, eig.search_products if n > 2 * k + 20 else 0)


@pytest.mark.parametrize("factor", [1e-12, 1.0, 1e12])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_scale_of_the_operator_does_not_matter(factor, dtype):
    values = indefinite(2**10)
    want = hs.eigenpairs(prescribed_spectrum(values, dtype=dtype), k=5)
    h = prescribed_spectrum(values * factor, dtype=dtype)
    got = hs.eigenpairs(h, k=5)
    check(got, h, h.eigenvalues, "largest", 5)
    assert abs(got.products - want.products) <= 2  # rounding may shift a step


SPECTRA = {
    "outliers": lambda n, rng: torch.cat(
        [torch.linspace(1, 3, 12), 0.01 * torch.randn(n - 12, generator=rng)]
    ),
    "normal": lambda n, rng: torch.randn(n, generator=rng),
    "atom": lambda n, rng: torch.cat(
        [torch.linspace(0.5, 1, 100), -0.3 * torch.rand(50, generator=rng), torch.zeros(n - 150)]
    ),
    "decay": lambda n, _: 1.5 ** -torch.arange(n).double(),
}


@pytest.mark.parametrize("name", SPECTRA)
def test_at_most_the_products_of_scipy(name, rng):
    """ARPACK's criterion is relative to each value; ours to |H|: give ours the strictest of ARPACK's."""
    n, k, tol = 2**12, 10, 1e-4
    h = prescribed_spectrum(SPECTRA[name](n, rng).double())
    start = np.random.default_rng(0).standard_normal(n)
    theirs, _ = eigsh(h.to_scipy(), k, which="LA", tol=tol, v0=start)
    products = h.products
    size = float(h.eigenvalues.abs().max())
    eig = hs.eigenpairs(h, k, tol=tol * float(np.abs(theirs).min()) / size)
    assert np.abs(eig.values.numpy() - theirs[::-1]).max() <= tol * size
    assert eig.search_products <= products


@pytest.fixture(scope="module")
def network():
    """A 12-20-5 tanh network, its operator in float64, and its dense Hessian."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(12, 20), torch.nn.Tanh(), torch.nn.Linear(20, 5)).double()
    batch = torch.randn(64, 12, dtype=torch.float64), torch.randint(5, (64,))
    objective = hs.Objective(model, cross_entropy, batch)
    h = hs.hessian(objective)
    return objective, h, h.rows(torch.eye(h.shape[0], dtype=torch.float64))


@pytest.mark.parametrize("which", WHICH)
def test_a_network_against_its_dense_hessian(network, which):
    _, h, dense = network
    check(hs.eigenpairs(h, k=8, which=which), h, torch.linalg.eigvalsh(dense), which, 8)


def test_participation_of_layers(network):
    objective, h, dense = network
    eig = hs.eigenpairs(h, k=4)
    shares = hs.participation(eig, objective)
    assert list(shares) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert (sum(shares.values()) - 1).abs().max() <= 1e-14
    vectors = torch.linalg.eigh(dense).eigenvectors.flip(1)[:, :4]
    want = vectors[240:260].square().sum(dim=0)
    assert (shares["0.bias"] - want).abs().max() <= 1e-6
    halves = hs.participation(eig, {"first": slice(0, 260), "second": slice(260, 365)})
    assert (halves["first"] - shares["0.weight"] - shares["0.bias"]).abs().max() <= 1e-14
    with pytest.raises(ValueError, match=r"participation: slice 'x' must lie within \[0, 365\)"):
        hs.participation(eig, {"x": slice(300, 400)})


class TestWarmStart:
    values = indefinite(2**10)

    def moved(self, size):
        """H plus a symmetric matrix of rank two and norm about ``size``."""
        h = prescribed_spectrum(self.values)
        rng = torch.Generator().manual_seed(1)
        u, v = torch.randn(2, 2**10, generator=rng, dtype=torch.float64) / 2**5

        def f(x):
            return h.rows(x) + size * ((x @ u)[:, None] * v + (x @ v)[:, None] * u)

        return hs.from_function(f, 2**10, dtype=torch.float64, batched=True)

    def test_vectors_that_still_hold_cost_one_product_each(self):
        h = prescribed_spectrum(self.values)
        first = hs.eigenpairs(h, k=5, tol=1e-6)
        for tol in (1e-4, 1.0001e-6):
            again = hs.eigenpairs(h, k=5, tol=tol, initial=first.vectors)
            assert again.products == 5
            check(again, h, self.values, "largest", 5)

    @pytest.mark.parametrize("which", WHICH)
    def test_vectors_that_moved_a_little_cost_few(self, which):
        before = hs.eigenpairs(prescribed_spectrum(self.values), k=6, which=which, tol=1e-5)
        h = self.moved(1e-2)
        cold = hs.eigenpairs(h, k=6, which=which, tol=1e-5)
        warm = hs.eigenpairs(h, k=6, which=which, tol=1e-5, initial=before.vectors)
        assert warm.status is hs.Status.CONVERGED
        assert warm.search_products <= 0.85 * cold.search_products
        assert (warm.values - cold.values).abs().max() <= 1e-5 * warm.norm

    @pytest.mark.parametrize("rows", [1, 3, 6, 20, 64])
    def test_any_number_of_rows_in_any_basis(self, rows, rng):
        h = prescribed_spectrum(self.values)
        exact = hs.eigenpairs(h, k=6).vectors
        mixed = torch.randn(rows, 6, generator=rng, dtype=torch.float64) @ exact
        start = mixed + 1e-2 * torch.randn(rows, 2**10, generator=rng, dtype=torch.float64)
        check(hs.eigenpairs(h, k=6, initial=start, check_missed=True), h, self.values, "largest", 6)

    def test_useless_rows_still_lead_to_the_answer(self):
        h = prescribed_spectrum(self.values)
        bottom = hs.eigenpairs(h, k=6, which="smallest").vectors
        check(hs.eigenpairs(h, k=6, initial=bottom, check_missed=True), h, self.values, "largest", 6)

    def test_all_of_a_small_space(self, rng):
        a = torch.randn(9, 9, generator=rng, dtype=torch.float64)
        h = hs.from_matrix(a + a.T)
        eig = hs.eigenpairs(h, k=9, initial=torch.eye(9, dtype=torch.float64))
        check(eig, h, torch.linalg.eigvalsh(a + a.T), "largest", 9)
        assert eig.products == 9


def test_results_do_not_depend_on_the_seed_and_repeat_bitwise():
    h = prescribed_spectrum(indefinite(2**10))
    a, b, c = (hs.eigenpairs(h, k=4, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(a.values, b.values)
    assert torch.equal(a.vectors, b.vectors)
    assert (a.values - c.values).abs().max() <= 1e-12
    assert not torch.equal(a.vectors, c.vectors)
    assert "pairs converged" in str(a)


def test_what_is_saved_comes_back_and_can_be_continued(tmp_path):
    h = prescribed_spectrum(indefinite(2**8), dtype=torch.float32)
    eig = hs.eigenpairs(h, k=4, which="both_ends")
    eig.save(tmp_path / "pairs.safetensors")
    back = hs.load(tmp_path / "pairs.safetensors")
    for field in dataclasses.fields(eig):
        before, after = getattr(eig, field.name), getattr(back, field.name)
        same = torch.equal(before, after) if isinstance(before, torch.Tensor) else before == after
        assert same, field.name
    assert hs.eigenpairs(h, k=4, which="both_ends", initial=back.vectors).products == 4
