"""A disk that fills, by the operating system's own limit on the size of files: what is done is kept."""

from __future__ import annotations

import contextlib
import sys

import pytest
import torch

import hesscope as hs
from hesscope.testing import prescribed_spectrum

resource = pytest.importorskip("resource", reason="limits of a process are POSIX")
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="posix_fallocate is Linux's")

N = 2**12
ROW = 4 * N


@contextlib.contextmanager
def files_of_at_most(num_bytes):
    """Let the process write to no place in a file beyond so many bytes (Python ignores the signal)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class Filling:
    """Products of H; in product number ``at`` the disk turns out to end after ``rows`` rows."""

    def __init__(self, h, *, at, rows, stack):
        self.h, self.at, self.rows, self.stack, self.calls = h, at, rows, stack, 0

    def __call__(self, v):
        self.calls += 1
        if self.calls == self.at:
            self.stack.enter_context(files_of_at_most(self.rows * ROW))
        return self.h.rows(v)


def problem():
    values = 0.2 * torch.randn(N, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values[:4], values[4:8] = torch.tensor([3.0, 2.0, 2.0, 1.5]), torch.tensor([-3.0, -2.5, -2.0, -1.5])
    return prescribed_spectrum(values, dtype=torch.float32)


def operator(f):
    return hs.from_function(f, N, batched=True, check_symmetric=False)


def test_a_file_that_may_not_be_as_large_is_named_before_any_product():
    h = problem()
    message = r"the disk of .* failed \(File too large\); the basis takes 0.000655 GB there. Make room"
    with files_of_at_most(10 * ROW), pytest.raises(OSError, match=message):
        hs.spectral_density(h, num_probes=1, num_steps=40, reorthogonalize="full", basis="disk")
    assert h.products == 0


@pytest.mark.parametrize("mode", ["full", "selective"])
def test_the_steps_before_are_kept(mode):
    h, options = problem(), {"num_probes": 1, "reorthogonalize": mode}
    whole = hs.spectral_density(h, num_steps=12, **options)
    with contextlib.ExitStack() as stack:
        filling = operator(Filling(h, at=5, rows=12, stack=stack))
        with pytest.raises(hs.RunFailed, match="the basis could not be stored in step 13") as caught:
            hs.spectral_density(filling, num_steps=40, basis="disk", **options)
    part = caught.value.partial
    assert part.status is hs.Status.STORAGE_FAILED
    assert torch.equal(part.alpha, whole.alpha)
    assert torch.equal(part.beta, whole.beta)


def test_the_pairs_before_are_kept_and_the_run_goes_on_where_there_is_room(tmp_path):
    h, k = problem(), 4
    whole = hs.eigenpairs(h, k, basis="disk")
    with contextlib.ExitStack() as stack:
        filling = operator(Filling(h, at=10, rows=15, stack=stack))
        with pytest.raises(hs.RunFailed, match=r"eigenpairs: basis: the disk of .* failed") as caught:
            hs.eigenpairs(filling, k, basis="disk", keep_state=True)
    part = caught.value.partial
    assert part.status is hs.Status.STORAGE_FAILED
    assert len(part) == k
    part.save(tmp_path / "part.safetensors", state=True)
    again = hs.eigenpairs(h, k, basis="disk", initial=hs.load(tmp_path / "part.safetensors"))
    assert again.status is hs.Status.CONVERGED
    assert torch.equal(again.values, whole.values)
    assert torch.equal(again.vectors, whole.vectors)
    assert again.products == whole.products + 1  # the one that checks the operator
