"""Where a basis is kept: the same bits everywhere, bfloat16 as good as it can be, and what does not fit."""

from __future__ import annotations

import errno
import math
import os

import pytest
import torch

import hesscope as hs
from hesscope.krylov import basis_plan, far_rows, memory
from hesscope.krylov.far_rows import DiskRows, HostRows
from hesscope.krylov.rows import MemoryRows
from hesscope.testing import prescribed_spectrum, wasserstein1

N = 2**12
LONG = 2**14  # four slabs


def spectrum(n, seed=0):
    """Outliers at both ends of a bulk: full reorthogonalisation has something to do."""
    rng = torch.Generator().manual_seed(seed)
    values = 0.1 * torch.randn(n, generator=rng, dtype=torch.float64)
    values[:6] = torch.tensor([3.0, 2.5, 2.0, -1.5, -2.0, -2.5])
    return values


@pytest.fixture
def small_chunks(monkeypatch):
    """Chunks of a few rows, and strips of one slab: every loop of the far storages goes round."""
    monkeypatch.setattr(far_rows, "CHUNK_BYTES", 3 * LONG * 4)
    monkeypatch.setattr(far_rows, "COLUMNS", 4096)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("storage", ["host", "disk"])
@pytest.mark.parametrize("mode", ["full", "selective"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_far_basis_gives_the_bits_of_one_in_memory(storage, mode, dtype):
    h = prescribed_spectrum(spectrum(LONG), dtype=dtype)
    near = hs.spectral_density(h, num_probes=2, num_steps=60, reorthogonalize=mode)
    far = hs.spectral_density(h, num_probes=2, num_steps=60, reorthogonalize=mode, basis=storage)
    assert torch.equal(near.alpha, far.alpha)
    assert torch.equal(near.beta, far.beta)
    assert near.projections == far.projections > 0
    # The measurement itself sums strip by strip: float64 rounding of it is all that may differ.
    assert far.orthogonality == pytest.approx(near.orthogonality, abs=1e-14)
    assert far.basis == f"{storage}, as asked for."
    assert near.basis.startswith(str(dtype).removeprefix("torch."))


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["host", "disk"])
def test_a_far_basis_gives_the_bits_of_one_in_memory_at_a_million(storage):
    """Chunks and strips of their real size: 4 rows, or 140,000 columns of 30."""
    n = 2**20
    h = prescribed_spectrum(spectrum(n), dtype=torch.float32)
    options = {"num_probes": 1, "num_steps": 30, "reorthogonalize": "full"}
    near, far = hs.spectral_density(h, **options), hs.spectral_density(h, basis=storage, **options)
    assert torch.equal(near.alpha, far.alpha)
    assert torch.equal(near.beta, far.beta)
    pairs, again = hs.eigenpairs(h, 3), hs.eigenpairs(h, 3, basis=storage)
    assert torch.equal(pairs.values, again.values)
    assert torch.equal(pairs.vectors, again.vectors)


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("kind", [HostRows, DiskRows])
@pytest.mark.usefixtures("small_chunks")
def test_every_operation_of_a_far_basis(kind, k, rng):
    like = {"dtype": torch.float32, "device": torch.device("cpu")}
    near = MemoryRows(k, 7, LONG, storage=torch.float32, **like)
    far = kind(k, 7, LONG, **like)
    scale = torch.tensor([2.0, 0.5, 3.0], dtype=torch.float64)[:k]
    for j in range(7):
        v = torch.randn(k, LONG, generator=rng)
        for rows in (near, far):
            rows.put(j, v, scale=scale if j % 2 else None)
    w = torch.randn(max(k, 2) if k == 1 else k, LONG, generator=rng)
    c = near.dot(w, 6, start=1)
    assert torch.equal(far.dot(w, 6, start=1), c)
    after = [w.clone(), w.clone()]
    near.axpy(c, after[0], start=1)
    far.axpy(c, after[1], start=1)
    assert torch.equal(*after)
    assert not torch.equal(after[0], w)
    before, after = (torch.randn(k, j, generator=rng, dtype=torch.float64) for j in (6, 7))
    ends = [w[:k].clone(), w[:k].clone()]
    found = [rows.extend(5, v, w[:k] + 1, before, after) for rows, v in zip((near, far), ends, strict=True)]
    assert torch.equal(*ends)
    assert torch.equal(*found)
    assert torch.equal(near.dot(w[:k], 6, start=5), far.dot(w[:k], 6, start=5))
    if k == 1:
        turn = torch.randn(3, 7, generator=rng, dtype=torch.float64)
        outs = [torch.zeros(3, LONG), torch.zeros(3, LONG)]
        near.combine(turn, outs[0])
        far.combine(turn, outs[1])
        assert torch.equal(*outs)
        near.combine(turn, None)
        far.combine(turn, None)
        near.normalize(3)
        far.normalize(3)
        assert torch.equal(near.get(0, 7), far.get(0, 7))
        assert (far.get(0, 3).norm(dim=1) - 1).abs().max() <= 1e-6
    assert far.defect(5) == pytest.approx(near.defect(5), rel=1e-12)
    far.close()


def test_a_basis_in_bfloat16_keeps_the_recurrence_in_float32():
    """Rows rounded to 2^-9 are orthogonal enough at n = 2^17: nodes are those of float32, no ghosts."""
    n = 2**17
    h = prescribed_spectrum(spectrum(n), dtype=torch.float32)
    fine, coarse = (
        hs.spectral_density(h, num_probes=1, num_steps=60, reorthogonalize="full", basis=basis)
        for basis in ("float32", "bfloat16")
    )
    size = float(fine.nodes.abs().max())
    distance = wasserstein1(fine.nodes[0], fine.weights[0], coarse.nodes[0], coarse.weights[0])
    assert distance <= 1e-5 * size
    for end in (slice(0, 3), slice(-3, None)):  # the outliers once each, to float32 accuracy
        assert (fine.nodes[0, end] - coarse.nodes[0, end]).abs().max() <= 1e-5 * size
    ghosts = hs.spectral_density(h, num_probes=1, num_steps=60)
    assert (ghosts.nodes[0, -3:] - fine.nodes[0, -3:]).abs().max() > 0.1 * size
    assert coarse.memory_bytes <= 0.55 * fine.memory_bytes


@pytest.mark.parametrize("n", [1, 100, 2**14, 99_999, 2**20, 10**6])
@pytest.mark.parametrize("storage", [torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_long_rows_begin_at_odd_multiples_of_512_bytes(n, storage):
    rows = MemoryRows(2, 3, n, storage=storage, dtype=torch.float32, device=torch.device("cpu"))
    pitch = rows.tensor.stride(1) * storage.itemsize
    assert rows.tensor.shape == (2, 3, n)
    assert 0 <= pitch - n * storage.itemsize <= 1024 + 32 * storage.itemsize
    assert pitch % 32 == 0
    if n >= 2**14:
        assert pitch % 1024 == 512


class TestPlan:
    def test_takes_the_first_that_fits(self, monkeypatch):
        n, m = 200_000, 100
        row = n * 4
        monkeypatch.setattr(memory, "available", lambda _: 10**12)
        plan = lambda budget, n=n: hs.plan_basis(n, m, memory_budget=budget)  # noqa: E731
        assert plan(None).storage == "float32"
        # Three working vectors; rows of the basis begin at odd multiples of 512 bytes.
        fine, coarse = 3 * row + m * (row + 256), 3 * row + m * (row // 2 + 896)
        assert plan(fine).storage == "float32"
        assert plan(fine - 1).storage == "bfloat16"
        assert plan(coarse).storage == "bfloat16"
        away = plan(coarse - 1)
        assert away.storage == "disk"
        assert away.disk_bytes == m * row
        assert "bfloat16 needs" in away.reason
        assert plan(103 * 50_000 * 4, 50_000).storage == "disk"  # too short for bfloat16

    def test_goes_to_the_host_before_the_disk_where_the_operator_is_elsewhere(self, monkeypatch):
        monkeypatch.setattr(memory, "available", lambda device: 10**8 if device.type == "cuda" else 10**12)
        plan = hs.plan_basis(1_000_000, 100, device="cuda")
        assert plan.storage == "host"
        assert plan.host_bytes == 4 * 10**8

    def test_says_what_would_be_enough(self, monkeypatch):
        class Usage:
            free = 1000

        monkeypatch.setattr(basis_plan.shutil, "disk_usage", lambda _: Usage)
        h = prescribed_spectrum(spectrum(N), dtype=torch.float32)
        message = (
            r"spectral_density: a basis of 50 vectors of length 4096 does not fit. float32: needs 0.000868 "
            r"GB on cpu, 0.0005 GB are allowed or free; disk: needs"
        )
        with pytest.raises(MemoryError, match=message):
            hs.spectral_density(h, num_probes=1, num_steps=50, reorthogonalize="full", memory_budget=500_000)
        with pytest.raises(MemoryError, match=r"0.000819 GB on the disk of .*, 1e-06 GB are free \(TMPDIR"):
            hs.spectral_density(h, num_probes=1, num_steps=50, reorthogonalize="full", basis="disk")
        assert h.products == 0

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"basis": "tape"}, "basis must be one of 'float32'"),
            ({"basis": "float64"}, "basis must be 'float32', as the operator"),
            ({"memory_budget": 0}, "memory_budget must be at least 1"),
        ],
    )
    def test_names_bad_arguments(self, options, message):
        with pytest.raises(ValueError, match=f"plan_basis: {message}"):
            hs.plan_basis(100, 10, **options)

    @pytest.mark.parametrize(
        ("n", "num_vectors", "options", "error", "message"),
        [
            (-1, 10, {}, ValueError, "n must be at least 1, got -1"),
            (100, math.nan, {}, TypeError, "num_vectors must be an integer, got float"),
            (100, True, {}, TypeError, "num_vectors must be an integer, got bool"),
            (100, 10, {"working_vectors": -1}, ValueError, "working_vectors must be at least 0, got -1"),
            (100, 10, {"dtype": torch.int32}, TypeError, r"dtype must be torch\.float32 .*got torch\.int32"),
            (100, 10, {"dtype": "x"}, TypeError, r"dtype must be torch\.float32 or .*, got x"),
            (100, 10, {"device": "foo"}, ValueError, "device must be a torch.device or .*got 'foo'"),
            (100, 10, {"device": 0.5}, TypeError, "device must be a torch.device or .*got float"),
        ],
    )
    def test_plans_nothing_for_what_is_no_basis(self, n, num_vectors, options, error, message):
        with pytest.raises(error, match=f"plan_basis: {message}"):
            hs.plan_basis(n, num_vectors, **options)

    @pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without a GPU")
    def test_plans_for_a_device_that_is_not_here_with_a_budget_only(self):
        with pytest.raises(ValueError, match="plan_basis: device must be there unless memory_budget"):
            hs.plan_basis(100, 10, device="cuda")
        assert hs.plan_basis(100, 10, device="cuda", memory_budget=10**6).storage == "float32"

    def test_a_basis_without_reorthogonalisation_is_refused(self):
        with pytest.raises(ValueError, match="basis must be None with reorthogonalize='none'"):
            hs.spectral_density(hs.from_matrix(torch.eye(4)), basis="disk")


def test_a_disk_that_is_full_at_the_start_is_named_before_any_product(monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    h = prescribed_spectrum(spectrum(N), dtype=torch.float32)
    with pytest.raises(
        OSError, match=r"the disk of .* is full; the basis takes 0.000328 GB there. Make room"
    ):
        hs.spectral_density(h, num_probes=1, num_steps=20, reorthogonalize="full", basis="disk")
    assert h.products == 0


def test_a_disk_that_fills_keeps_the_steps_before(monkeypatch):
    write, calls = os.pwrite, []

    def filling(*arguments):
        calls.append(arguments)
        if len(calls) > 12:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(*arguments)

    h = prescribed_spectrum(spectrum(N), dtype=torch.float32)
    options = {"num_probes": 1, "reorthogonalize": "full"}
    whole = hs.spectral_density(h, num_steps=12, **options)
    monkeypatch.setattr(os, "pwrite", filling)
    with pytest.raises(hs.RunFailed, match=r"the basis could not be stored in step 13: .* is full") as caught:
        hs.spectral_density(h, num_steps=40, basis="disk", **options)
    part = caught.value.partial
    assert part.status is hs.Status.STORAGE_FAILED
    assert torch.equal(part.alpha, whole.alpha)


def test_the_file_of_a_basis_is_gone_at_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    h = prescribed_spectrum(spectrum(N), dtype=torch.float32)
    hs.spectral_density(h, num_probes=1, num_steps=10, reorthogonalize="full", basis="disk")
    assert not list(tmp_path.iterdir())
