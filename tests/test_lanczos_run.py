"""The Lanczos driver: identities at every depth, bits, early ends, and what stops it."""

from __future__ import annotations

import itertools
import subprocess
import sys

import pytest
import torch

import hesscope as hs
from hesscope.krylov import lanczos as lanczos_module
from hesscope.krylov.lanczos import lanczos
from hesscope.krylov.recurrence import from_probes
from hesscope.operators import SymmetricOperator
from hesscope.spectrum.quadrature import gauss
from hesscope.testing import prescribed_spectrum

EPS = torch.finfo(torch.float64).eps
MODES = ["none", "full"]


class Recorder(SymmetricOperator):
    """Passes products on, and keeps the vectors that were asked for."""

    def __init__(self, operator):
        super().__init__(operator.shape[0], dtype=operator.dtype, device=operator.device)
        self.operator, self.seen = operator, []

    def _rows(self, vectors):
        self.seen.append(vectors.clone())
        return self.operator.rows(vectors)

    def basis(self, row):
        """Normalised Lanczos vectors of one recurrence, ``[m, n]``."""
        vectors = torch.stack([block[row] for block in self.seen]).double()
        return vectors / vectors.norm(dim=1, keepdim=True)


@pytest.fixture
def kept(monkeypatch):
    """The bases of runs with reorthogonalisation, in order: the vectors multiplied are not clean yet."""
    bases, make = [], lanczos_module.make_basis

    def keeping(*arguments, **options):
        basis = make(*arguments, **options)
        monkeypatch.setattr(basis.rows, "close", lambda: None)
        bases.append(basis.rows.tensor)
        return basis

    monkeypatch.setattr(lanczos_module, "make_basis", keeping)
    return bases


def gaussian_matrix(n, dtype=torch.float64):
    a = torch.randn(n, n, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return ((a + a.T) / (2 * n**0.5)).to(dtype)


def start(operator, k=3, seed=0):
    return from_probes(
        k, operator.shape[0], seed=seed, kind="rademacher", dtype=operator.dtype, device=operator.device
    )


def run(operator, num_steps, *, k=3, reorthogonalize="none", seed=0):
    return lanczos(operator, start(operator, k, seed), num_steps=num_steps, reorthogonalize=reorthogonalize)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("n", [2, 33, 150])
def test_recurrence_holds_for_every_depth(mode, dtype, n, kept):
    """``H q_j = beta_{j-1} q_{j-1} + alpha_j q_j + beta_j q_{j+1}``, with or without orthogonality."""
    a = gaussian_matrix(n, dtype)
    h = Recorder(hs.from_matrix(a))
    got = run(h, min(n, 60), reorthogonalize=mode)
    m = got.alpha.shape[1]
    size = torch.linalg.matrix_norm(a.double(), 2)
    for row in range(3):
        alpha, beta = got.alpha[row], got.beta[row]
        q = kept[0][row, :m].double() if kept else h.basis(row)[:m]
        left = q @ a.double()
        left -= alpha[:, None] * q
        left[1:] -= beta[:-1, None] * q[:-1]
        left[:-1] -= beta[:-1, None] * q[1:]
        assert left[-1].norm() <= beta[-1] + 8 * torch.finfo(dtype).eps * size
        # What is left of step j is the rounding of a product, of two updates and of the vectors: a few
        # eps |H| in the 2-norm; where beta_j is small the normalised vectors do not magnify it.
        assert (left[:-1].norm(dim=1) <= 16 * torch.finfo(dtype).eps * size).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_full_reorthogonalisation_keeps_the_basis_orthogonal(dtype, kept):
    eigenvalues = torch.cat([torch.tensor([100.0, 50.0, -30.0]), torch.linspace(-1, 1, 253)]).double()
    h = Recorder(prescribed_spectrum(eigenvalues, dtype=dtype))
    got = run(h, 120, reorthogonalize="full")
    q = kept[0][0, :120].double()
    loss = (q @ q.T - torch.eye(120, dtype=torch.float64)).abs().max().item()
    assert got.orthogonality is not None
    # Twice is enough: |Q'r| is a few eps of |r|, and n = 256 roundings of the vectors add incoherently.
    assert loss <= 16 * torch.finfo(dtype).eps
    assert got.orthogonality <= 16 * torch.finfo(dtype).eps
    without = Recorder(prescribed_spectrum(eigenvalues, dtype=dtype))
    assert run(without, 120).orthogonality is None
    q = without.basis(0)
    assert (q @ q.T - torch.eye(120, dtype=torch.float64)).abs().max() > 0.1  # the test can tell


@pytest.mark.parametrize("mode", MODES)
def test_rows_do_not_depend_on_their_batch_or_on_the_threads(mode):
    h = prescribed_spectrum(torch.linspace(-1, 3, 2**13, dtype=torch.float64), dtype=torch.float32)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        together = run(h, 30, k=8, reorthogonalize=mode)
        torch.set_num_threads(1)
        for r in (0, 5, 7):
            begin = from_probes(
                1, h.shape[0], seed=0, first_probe=r, kind="rademacher", dtype=h.dtype, device=h.device
            )
            alone = lanczos(h, begin, num_steps=30, reorthogonalize=mode)
            assert torch.equal(alone.alpha[0], together.alpha[r])
            assert torch.equal(alone.beta[0], together.beta[r])
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("power", [-40, 40])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_scaling_by_a_power_of_two_changes_nothing_else(mode, power, dtype):
    """2^-40 is about 1e-12: no threshold in the run is absolute."""
    eigenvalues = torch.linspace(-1, 2, 512, dtype=torch.float64)
    plain = run(prescribed_spectrum(eigenvalues, dtype=dtype), 50, reorthogonalize=mode)
    scaled = run(prescribed_spectrum(eigenvalues * 2.0**power, dtype=dtype), 50, reorthogonalize=mode)
    assert torch.equal(scaled.alpha, plain.alpha * 2.0**power)
    assert torch.equal(scaled.beta, plain.beta * 2.0**power)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("value", [0.0, 2.5, -1e-12])
def test_a_multiple_of_the_identity_ends_after_one_step(mode, dtype, value):
    h = hs.from_function(lambda v: value * v, 100, dtype=dtype, batched=True)
    got = run(h, 30, reorthogonalize=mode)
    assert got.status is hs.Status.INVARIANT_SUBSPACE
    assert got.alpha.shape == (3, 1)
    assert torch.allclose(got.alpha, torch.full((3, 1), value, dtype=torch.float64), rtol=1e-6, atol=0)
    assert (got.beta == 0).all()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_recurrence_ends_with_the_distinct_eigenvalues(mode, dtype):
    """The Kneser graph K(9, 4) has 126 vertices and 5 distinct eigenvalues, (-1)^i C(5 - i, 4 - i)."""
    sets = list(itertools.combinations(range(9), 4))
    members = torch.tensor([[float(i in s) for i in range(9)] for s in sets])
    h = hs.from_matrix((members @ members.T == 0).to(dtype))
    got = run(h, 100, reorthogonalize=mode)
    assert got.status is hs.Status.INVARIANT_SUBSPACE
    assert got.alpha.shape[1] == 5
    nodes = gauss(got.alpha, got.beta).nodes
    want = torch.tensor([-4.0, -2, 1, 3, 5], dtype=torch.float64).expand(3, -1)
    assert torch.allclose(nodes, want, rtol=0, atol=8 * torch.finfo(dtype).eps * 5)


@pytest.mark.parametrize("mode", MODES)
def test_a_small_coupling_is_not_an_end(mode):
    """Three clusters of width 1e-9: beta_3 is of that order, a million times the rounding of float64."""
    clusters = torch.tensor([-2.0, 0.0, 1.0, 1.0], dtype=torch.float64).repeat_interleave(32)
    got = run(prescribed_spectrum(clusters + 1e-9 * torch.linspace(-1, 1, 128)), 6, reorthogonalize=mode)
    assert got.status is hs.Status.COMPLETE
    assert ((got.beta[:, 2] > 1e-11) & (got.beta[:, 2] < 1e-8)).all()


def test_recurrences_end_one_by_one():
    """Probes that see fewer eigenvalues stop earlier; their zeros stay zeros while the others go on."""
    diagonal = torch.arange(1.0, 65.0, dtype=torch.float64)
    h = hs.from_matrix(torch.diag(diagonal))
    begin = start(h)
    begin.v[0, 3:] = 0
    begin.scalars[0, 0] = 3**-0.5
    got = lanczos(h, begin, num_steps=40)
    assert got.status is hs.Status.COMPLETE
    assert (got.beta[0] == 0).nonzero()[0].item() == 2
    assert (got.alpha[0, 3:] == 0).all()
    assert (got.beta[0, 3:] == 0).all()
    assert (got.beta[1:] > 0).all()


def test_nan_stops_the_run_and_keeps_the_steps_before():
    calls = 0
    a = gaussian_matrix(50)

    def breaks(v):
        nonlocal calls
        calls += 1
        return v @ a if calls < 13 else v * torch.nan

    h = hs.from_function(breaks, 50, dtype=torch.float64, batched=True, check_symmetric=False)
    want = run(hs.from_function(lambda v: v @ a, 50, dtype=torch.float64, batched=True), 12)
    got = run(h, 40)
    assert got.status is hs.Status.NONFINITE_OPERATOR
    assert torch.equal(got.alpha, want.alpha)
    assert calls == 16  # the host looks every eight steps


def test_a_change_of_the_operator_stops_the_run():
    class Live(Recorder):
        def fingerprint(self):
            return len(self.seen) > 5

    with pytest.raises(RuntimeError, match="lanczos: operator must not change during a run"):
        run(Live(hs.from_matrix(gaussian_matrix(30))), 20)


def test_products_may_have_any_strides():
    a = gaussian_matrix(40)
    plain = run(hs.from_function(lambda v: (a @ v.T).T, 40, dtype=torch.float64, batched=True), 20)
    packed = run(
        hs.from_function(lambda v: (a @ v.T).T.contiguous(), 40, dtype=torch.float64, batched=True), 20
    )
    assert torch.equal(plain.alpha, packed.alpha)


def test_products_that_require_gradients_are_detached():
    a = gaussian_matrix(20).requires_grad_()
    got = run(hs.from_function(lambda v: v @ a, 20, dtype=torch.float64, batched=True), 5)
    assert not got.alpha.requires_grad


MEMORY = """
import pathlib, torch, hesscope as hs
def peak():
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
n, k = 2**22 + 3, 2
d = torch.linspace(-1, 1, n)
h = hs.from_function(lambda v: v * d, n, batched=True, check_symmetric=False)
hs.spectral_density(hs.from_matrix(torch.eye(5)), num_probes=k, num_steps=3)  # warm
before = peak()
rho = hs.spectral_density(h, num_probes=k, num_steps=12)
print((peak() - before) / (4 * n * k), rho.memory_bytes / (4 * n * k))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_run_keeps_three_vectors_a_probe():
    out = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True).stdout
    measured, reported = map(float, out.split())
    assert reported == pytest.approx(3, rel=1e-3)
    assert measured <= 3.1
