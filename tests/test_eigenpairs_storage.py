"""Eigenpairs with a basis away from memory or in bfloat16, and runs that go on where they stopped."""

from __future__ import annotations

import dataclasses
import errno
import os
import signal

import pytest
import torch

import hesscope as hs
from hesscope.krylov import far_rows
from hesscope.testing import prescribed_spectrum


def values_of(n):
    """Outliers, a pair of copies and a close pair at both ends of a bulk; a quarter of all exactly 0."""
    rng = torch.Generator().manual_seed(n)
    values = 0.2 * torch.randn(n, generator=rng, dtype=torch.float64).clamp(-3, 3)
    values[: n // 4] = 0
    values[:5] = torch.tensor([3.0, 2.0, 2.0, 1.5, 1.499])
    values[5:10] = torch.tensor([-3.5, -2.5, -2.5, -1.2, -1.199])
    return values[torch.randperm(n, generator=rng)]


def same(a, b):
    return torch.equal(a.values, b.values) and torch.equal(a.vectors, b.vectors) and a.products == b.products


@pytest.mark.parametrize("storage", ["host", "disk"])
@pytest.mark.parametrize("block_size", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_far_basis_gives_the_bits_of_one_in_memory(storage, block_size, dtype, monkeypatch):
    monkeypatch.setattr(far_rows, "CHUNK_BYTES", 2**16)  # strips of a slab: four of them
    h = prescribed_spectrum(values_of(2**14), dtype=dtype)
    options = {"which": "both_ends", "block_size": block_size}
    near, far = hs.eigenpairs(h, 8, **options), hs.eigenpairs(h, 8, basis=storage, **options)
    assert near.restarts >= 1
    assert same(near, far)
    assert far.basis == f"{storage}, as asked for."


@pytest.mark.parametrize("which", ["largest", "both_ends"])
def test_bfloat16_after_refinement_is_as_good_as_float32(which):
    n, k = 2**17, 6
    h = prescribed_spectrum(values_of(n), dtype=torch.float32)
    fine, coarse = (
        hs.eigenpairs(h, k, which=which, tol=1e-5, basis=basis) for basis in ("float32", "bfloat16")
    )
    assert coarse.status is hs.Status.CONVERGED
    assert coarse.missed == "none found"
    assert (coarse.residuals <= 1e-5 * coarse.norm).all()
    assert (coarse.values - fine.values).abs().max() <= 2e-5 * fine.norm
    assert coarse.memory_bytes < fine.memory_bytes
    assert coarse.products <= 2 * fine.products


def test_a_memory_budget_moves_the_basis(monkeypatch):
    n, k = 2**17, 6
    h = prescribed_spectrum(values_of(n), dtype=torch.float32)
    in_memory = hs.eigenpairs(h, k)
    assert in_memory.basis.startswith("float32: ")
    tight = hs.eigenpairs(h, k, memory_budget=in_memory.memory_bytes - 1)
    assert tight.basis.startswith("bfloat16: float32 needs 0.0")
    assert tight.memory_bytes < in_memory.memory_bytes
    smallest = hs.eigenpairs(h, k, basis="disk")
    assert same(smallest, in_memory)
    with pytest.raises(MemoryError, match=r"disk: needs .* on cpu, 1e-05 GB are allowed or free"):
        hs.eigenpairs(h, k, memory_budget=10_000)


def test_a_disk_that_fills_keeps_the_pairs(monkeypatch):
    write, calls = os.pwrite, []

    def filling(*arguments):
        calls.append(arguments)
        if len(calls) > 20:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(*arguments)

    monkeypatch.setattr(os, "pwrite", filling)
    h = prescribed_spectrum(values_of(2**10), dtype=torch.float32)
    with pytest.raises(hs.RunFailed, match=r"eigenpairs: basis: the disk of .* is full") as caught:
        hs.eigenpairs(h, 4, basis="disk")
    part = caught.value.partial
    assert part.status is hs.Status.STORAGE_FAILED
    assert len(part) == 4
    again = (h.rows(part.vectors).double() - part.values[:, None] * part.vectors.double()).norm(dim=1)
    assert (again <= 1.1 * part.residuals + 1e-5 * part.norm).all()


class Stopping:
    """Rows of H, with Ctrl-C during one product."""

    def __init__(self, h, at):
        self.h, self.at, self.calls = h, at, 0

    def __call__(self, v):
        self.calls += 1
        if self.calls == self.at:
            os.kill(os.getpid(), signal.SIGINT)
        return self.h.rows(v)


@pytest.mark.parametrize("basis", ["float32", "disk", "bfloat16"])
@pytest.mark.parametrize("at", [7, 30, 45, 47])
def test_an_interrupted_run_goes_on_with_the_same_bits(at, basis, tmp_path):
    """In the first cycle, in the check for missed pairs, and in the refinement of bfloat16."""
    if at == 47 and basis != "bfloat16":
        pytest.skip("the run is over by then")
    h = prescribed_spectrum(values_of(2**12), dtype=torch.float32)

    def operator(stop):
        f = Stopping(h, stop)
        return hs.from_function(f, h.shape[0], batched=True, check_symmetric=False)

    whole = hs.eigenpairs(operator(0), 5, basis=basis)
    assert whole.products > at
    with pytest.warns(RuntimeWarning, match="Stopped by the user"):
        stopped = hs.eigenpairs(operator(at), 5, basis=basis, keep_state=True)
    assert stopped.status is hs.Status.INTERRUPTED
    stopped.save(tmp_path / "pairs.safetensors", state=True)
    again = hs.eigenpairs(operator(0), 5, basis=basis, initial=hs.load(tmp_path / "pairs.safetensors"))
    assert again.status is hs.Status.CONVERGED
    assert torch.equal(again.values, whole.values)
    assert torch.equal(again.vectors, whole.vectors)
    assert again.missed == whole.missed
    assert again.restarts == whole.restarts
    assert again.products == whole.products + 1  # the one that checks the operator


def test_a_run_that_met_its_limit_goes_on(tmp_path):
    h = prescribed_spectrum(values_of(2**12), dtype=torch.float64)
    whole = hs.eigenpairs(h, 5)
    with pytest.warns(RuntimeWarning, match="limit on products"):
        part = hs.eigenpairs(h, 5, max_products=40, keep_state=True)
    again = hs.eigenpairs(h, 5, initial=part)
    assert torch.equal(again.vectors, whole.vectors)
    assert again.products == whole.products + 1 + 5  # the residuals of the part were measured, too


class TestContinuingRefuses:
    @pytest.fixture
    def part(self):
        h = prescribed_spectrum(values_of(2**10), dtype=torch.float64)
        with pytest.warns(RuntimeWarning):
            return hs.eigenpairs(h, 5, max_products=30, keep_state=True)

    def test_another_operator(self, part):
        other = prescribed_spectrum(1.1 * values_of(2**10), dtype=torch.float64)
        with pytest.raises(ValueError, match="initial must be the state of a run with the same operator"):
            hs.eigenpairs(other, 5, initial=part)

    @pytest.mark.parametrize("options", [{"k": 4}, {"which": "smallest"}, {"tol": 1e-3}, {"basis": "disk"}])
    def test_other_arguments(self, part, options):
        h = prescribed_spectrum(values_of(2**10), dtype=torch.float64)
        with pytest.raises(ValueError, match=r"initial holds the state of a run with \w+="):
            hs.eigenpairs(h, **({"k": 5} | options), initial=part)

    def test_another_size(self, part):
        with pytest.raises(ValueError, match=r"initial holds a state with n=1024 and torch.float64, got n=4"):
            hs.eigenpairs(hs.from_matrix(torch.eye(4, dtype=torch.float64)), 2, initial=part)

    def test_saving_a_state_that_is_not_there(self, part, tmp_path):
        bare = dataclasses.replace(part, state=None)
        with pytest.raises(ValueError, match="save: state=True needs a result that holds its state"):
            bare.save(tmp_path / "x.safetensors", state=True)


def test_an_operator_that_changes_keeps_what_is_done():
    model = torch.nn.Linear(6, 3).double()
    batch = torch.randn(32, 6, dtype=torch.float64), torch.randint(3, (32,))
    h = hs.hessian(hs.Objective(model, torch.nn.functional.cross_entropy, batch))
    rows, calls = h.rows, []

    class Changing(type(h)):
        def rows(self, v, **options):
            calls.append(1)
            if len(calls) == 10:
                with torch.no_grad():
                    model.weight.add_(0.1)
            return rows(v, **options)

    h.__class__ = Changing
    with pytest.raises(hs.RunFailed, match="operator must not change during a run") as caught:
        hs.eigenpairs(h, 3)
    assert caught.value.partial.status is hs.Status.OPERATOR_FAILED
    assert len(caught.value.partial) == 3


@pytest.mark.slow
@pytest.mark.parametrize("basis", ["float32", "bfloat16"])
def test_a_million_parameters_with_clusters_copies_and_an_atom(basis):
    """Top and bottom 20 of n = 2^20, indefinite: residuals within tol, none missed."""
    n, k = 2**20, 40
    rng = torch.Generator().manual_seed(5)
    values = 0.05 * torch.randn(n, generator=rng, dtype=torch.float64).clamp(-4, 4)
    values[: n // 2] = 0
    top = torch.cat(
        [torch.linspace(1, 5, 14), torch.tensor([3.0001, 3.0002, 2.0, 2.0, 1.5, 1.5001])]
    ).double()
    values[:20], values[20:40] = top, -0.8 * top
    h = prescribed_spectrum(values[torch.randperm(n, generator=rng)], dtype=torch.float32)
    eig = hs.eigenpairs(h, k, which="both_ends", basis=basis)
    assert eig.status is hs.Status.CONVERGED, eig.message
    assert (eig.residuals <= 1e-4 * eig.norm).all()
    ordered = values.sort(descending=True).values
    truth = torch.cat([ordered[:20], ordered[-20:]])
    assert (eig.values - truth).abs().max() <= 1e-4 * eig.norm
    x = eig.vectors.double()
    assert (x @ x.T - torch.eye(k, dtype=torch.float64)).abs().max() <= 1e-5
