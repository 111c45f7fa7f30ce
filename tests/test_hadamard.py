"""walsh_hadamard: against the matrix, its identities, and the same bits however it is computed."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import pytest
import scipy.linalg
import torch

from hesscope import _ops

# Around the vector (8), the chunk (2^11, 2^12), the block (2^15, 2^16) and the passes above it.
BITS = [0, 1, 2, 3, 4, 5, 9, 10, 11, 12]
LARGE_BITS = [13, 15, 16, 17, 18]


def normal(k, bits, *, dtype=torch.float64, device="cpu", padding=3):
    """Rows with padding between them, so that no row but the first is aligned; NaN in the padding."""
    wide = torch.full((k, 2**bits + padding), torch.nan, dtype=dtype, device=device)
    wide[:, : 2**bits] = torch.randn(k, 2**bits, generator=torch.Generator().manual_seed(bits), dtype=dtype)
    return wide[:, : 2**bits]


def bound(x, scale):
    """One rounding a butterfly, of a number no larger than |x|_1, and two of the scale (Higham 2002)."""
    bits = math.log2(x.shape[1])
    return (bits + 3) * torch.finfo(x.dtype).eps * abs(scale) * x.double().abs().sum(1, keepdim=True)


def plain(x):
    """Transform in float64 by the definition W_{2n} = [[W, W], [W, -W]]."""
    if x.shape[1] == 1:
        return x
    low, high = (plain(part) for part in x.chunk(2, dim=1))
    return torch.cat([low + high, low - high], dim=1)


def test_four_by_hand(dtype, backend, device):
    x = torch.tensor([[1, 2, 3, 4], [0, 0, 1, 0]], dtype=dtype, device=device)
    got = _ops.walsh_hadamard(x, scale=0.5, backend=backend)
    assert got is x
    assert x.tolist() == [[5, -1, -2, 0], [0.5, 0.5, -0.5, -0.5]]


@pytest.mark.parametrize("bits", range(10))
def test_is_the_hadamard_matrix(bits, dtype, backend, device):
    identity = torch.eye(2**bits, dtype=dtype, device=device)
    want = torch.from_numpy(scipy.linalg.hadamard(2**bits)).to(dtype)
    assert torch.equal(_ops.walsh_hadamard(identity, backend=backend).cpu(), want)


@pytest.mark.parametrize("bits", BITS + LARGE_BITS)
@pytest.mark.parametrize("k", [1, 3])
def test_matches_the_recursion(k, bits, dtype, backend, device):
    if backend == "reference" and bits > 12:
        pytest.skip("the reference is the definition, O(n^2)")
    x = normal(k, bits, dtype=dtype, device=device)
    want, limit = -0.3 * plain(x.double()), bound(x, 0.3)
    got = _ops.walsh_hadamard(x, scale=-0.3, backend=backend)
    assert got.data_ptr() == x.data_ptr()
    assert ((got.double() - want).abs() <= limit).all()


def test_leaves_the_padding_alone(backend, device):
    x = normal(2, 6, device=device)
    _ops.walsh_hadamard(x, backend=backend)
    assert x.isfinite().all()
    assert x.as_strided((2, 3), (x.stride(0), 1), 64).isnan().all()


@pytest.mark.parametrize("bits", [0, 5, 12, 17])
def test_is_orthogonal_and_its_own_inverse(bits, dtype, backend, device):
    if backend == "reference" and bits > 12:
        pytest.skip("the reference is the definition, O(n^2)")
    x = normal(2, bits, dtype=dtype, device=device)
    scale = 2.0 ** (-bits / 2)
    once = _ops.walsh_hadamard(x.clone(), scale=scale, backend=backend)
    # Normwise: every butterfly is sqrt(2) times a rotation, so each of the bits + 3 roundings counts once.
    limit = (bits + 3) * torch.finfo(dtype).eps * x.double().norm(dim=1)
    assert ((once.double().norm(dim=1) - x.double().norm(dim=1)).abs() <= limit).all()
    twice = _ops.walsh_hadamard(once, scale=scale, backend=backend)
    assert ((twice.double() - x.double()).norm(dim=1) <= 2 * limit).all()


@pytest.mark.parametrize("bits", [2, 12, 17, 18])
def test_batch_and_threads_do_not_change_a_bit(bits, dtype, backend, device):
    if backend == "reference" and bits > 12:
        pytest.skip("the reference is the definition, O(n^2)")
    x = normal(5, bits, dtype=dtype, device=device)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        together = _ops.walsh_hadamard(x.clone(), scale=0.3, backend=backend)
        torch.set_num_threads(1)
        alone = torch.cat(
            [_ops.walsh_hadamard(x[r : r + 1].clone(), scale=0.3, backend=backend) for r in range(5)]
        )
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(together, alone)


@pytest.mark.parametrize("bits", [1, 7, 13, 17])
def test_butterflies_are_applied_in_the_order_of_the_bits(bits, dtype, backend, device):
    """So CPU and CUDA agree to the last bit, and with this loop."""
    if backend == "reference":
        pytest.skip("the reference sums in long double")
    x = normal(1, bits, dtype=dtype, device=device)
    want = x.clone()
    for bit in range(bits):
        pairs = want.view(-1, 2, 2**bit)
        want = torch.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], dim=1).view(1, -1)
    factor = torch.tensor(0.3, dtype=dtype, device=device)
    assert torch.equal(_ops.walsh_hadamard(x, scale=0.3, backend=backend), want * factor)


def test_a_nan_spoils_only_its_row(backend, device):
    x = normal(3, 10, device=device)
    want = _ops.walsh_hadamard(x.clone(), backend=backend)
    x[1, 77] = torch.nan
    got = _ops.walsh_hadamard(x, backend=backend)
    assert torch.equal(got[[0, 2]], want[[0, 2]])
    assert got[1].isnan().all()


SCRIPT = """
import hashlib
import torch
from hesscope import _core, _ops
digest = hashlib.sha256()
for dtype in (torch.float32, torch.float64):
    for bits in (1, 3, 12, 17):
        x = torch.randn(2, 2**bits, generator=torch.Generator().manual_seed(bits), dtype=dtype)
        digest.update(_ops.walsh_hadamard(x, scale=0.3).numpy().tobytes())
print(_core.build_info()["cpu_level"], digest.hexdigest())
"""


def test_every_instruction_set_gives_the_same_bits():
    digests = {}
    for level in "234":
        environment = {**os.environ, "HESSCOPE_CPU_LEVEL": level}
        command = [sys.executable, "-c", SCRIPT]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        name, digest = done.stdout.split()
        digests[name] = digest
    assert len(set(digests.values())) == 1, digests


@pytest.mark.slow
def test_two_to_the_25(dtype):
    """Three passes over memory in float64. Known answers, since plain() would need gigabytes."""
    x = torch.zeros(1, 2**25, dtype=dtype)
    where = [3, 2**14 + 5, 2**24 + 2**20 + 1]
    x[0, where] = torch.tensor([1.0, 2.0, 4.0], dtype=dtype)
    _ops.walsh_hadamard(x, scale=0.5)
    want = torch.zeros(2**25, dtype=dtype)
    for value, j in zip([0.5, 1.0, 2.0], where, strict=True):
        column = torch.ones(1, dtype=dtype)  # W[:, j] is a Kronecker product of [1, 1] and [1, -1]
        for bit in range(25):
            column = torch.cat([column, -column if j >> bit & 1 else column])
        want += value * column
    assert torch.equal(x[0], want)


def test_an_empty_batch(backend, device):
    assert _ops.walsh_hadamard(torch.zeros(0, 8, device=device), backend=backend).shape == (0, 8)


def test_messages_name_the_argument(backend, device):
    ones = lambda *shape, dtype=torch.float32: torch.ones(*shape, dtype=dtype, device=device)  # noqa: E731
    for n in (0, 3, 12):
        message = rf"walsh_hadamard: x must have a power of two of columns, got x \[2, {n}\]"
        with pytest.raises(ValueError, match=message):
            _ops.walsh_hadamard(ones(2, n), backend=backend)
    with pytest.raises(ValueError, match=r"walsh_hadamard: x must have 2 dimensions, got x \[4\]"):
        _ops.walsh_hadamard(ones(4), backend=backend)
    with pytest.raises(ValueError, match=r"walsh_hadamard: rows of x must not overlap"):
        _ops.walsh_hadamard(ones(1, 4).expand(2, 4), backend=backend)
    with pytest.raises(ValueError, match=r"walsh_hadamard: x must have contiguous rows"):
        _ops.walsh_hadamard(ones(2, 8)[:, ::2], backend=backend)
    with pytest.raises(
        TypeError, match=r"walsh_hadamard: x must be float32 or float64, got x \[2, 4\] int64"
    ):
        _ops.walsh_hadamard(ones(2, 4, dtype=torch.int64), backend=backend)


def test_torch_operator_contract(device):
    torch.library.opcheck(torch.ops.hesscope.walsh_hadamard, (torch.randn(2, 8, device=device), 0.5))
