"""csr_matvec and csr_check: against dense products, bit for bit across K, threads and instruction sets."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis.strategies import integers

from hesscope import _ops

INDEX = [torch.int32, torch.int64]


@pytest.fixture(autouse=True)
def poisoned_outputs():
    """Let torch fill what the ops allocate with NaN, so that an element nobody writes is seen."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def random_csr(rows, cols, nnz, *, seed=0, dtype=torch.float64, index=torch.int64, device="cpu"):
    """Rows of random length (some empty, unless there is one row); columns in any order, repeats allowed."""
    rng = np.random.default_rng(seed)
    row_start = np.concatenate(
        [[0], np.sort(rng.integers(0, nnz + 1, size=max(rows - 1, 0))), [nnz] * (rows > 0)]
    )
    columns = torch.from_numpy(rng.integers(0, max(cols, 1), size=nnz)).to(index)
    values = torch.from_numpy(rng.normal(size=nnz)).to(dtype)
    return torch.from_numpy(row_start).to(device), columns.to(device), values.to(device)


def dense(row_start, columns, values, cols):
    """Dense float64 matrices of the values and of their sizes, [rows, cols]."""
    row = torch.repeat_interleave(torch.arange(len(row_start) - 1), row_start.cpu().diff())
    shape = (len(row_start) - 1, cols)
    where, values = (row, columns.cpu().long()), values.cpu().double()
    return tuple(
        torch.zeros(shape).double().index_put(where, v, accumulate=True) for v in (values, values.abs())
    )


def row_bound(row_start, sizes, x, dtype):
    """A row of n_i entries summed in any order in `dtype`: (n_i + 1) eps sum |a x| (Higham 2002, 3.1)."""
    terms = 1 + row_start.cpu().diff().double()
    return terms * torch.finfo(dtype).eps * (x.cpu().double().abs() @ sizes.T)


def normal(*shape, seed=1, dtype=torch.float64, device="cpu", padding=3):
    """Rows with padding between them, so that no row but the first is aligned."""
    wide = torch.randn(
        *shape[:-1], shape[-1] + padding, generator=torch.Generator().manual_seed(seed)
    ).double()
    return wide.to(device=device, dtype=dtype)[..., : shape[-1]]


def test_two_by_three_by_hand(backend, device):
    row_start = torch.tensor([0, 2, 3], device=device)
    columns = torch.tensor([0, 2, 1], device=device)
    values = torch.tensor([1.0, 2, -3], device=device)
    x = torch.tensor([[1.0, 10, 100], [0, 1, 0]], device=device)
    assert _ops.csr_matvec(row_start, columns, values, x, backend=backend).tolist() == [[201, -30], [0, -3]]


@pytest.mark.parametrize("index", INDEX, ids=str)
@pytest.mark.parametrize(
    ("rows", "cols", "nnz"),
    [(1, 1, 1), (5, 3, 0), (64, 65, 200), (65, 64, 3000), (33, 1000, 70), (1000, 7, 5000), (3, 50, 900)],
)
@pytest.mark.parametrize("k", [1, 2, 3, 5, 8, 19])
def test_matches_the_dense_product(k, rows, cols, nnz, index, dtype, backend, device):
    row_start, columns, values = random_csr(rows, cols, nnz, dtype=dtype, index=index, device=device)
    x = normal(k, cols, dtype=dtype, device=device)
    matrix, sizes = dense(row_start, columns, values, cols)
    y = _ops.csr_matvec(row_start, columns, values, x, backend=backend)
    assert y.shape == (k, rows)
    assert y.dtype == dtype
    error = (y.cpu().double() - x.cpu().double() @ matrix.T).abs()
    assert (error <= row_bound(row_start, sizes, x, dtype)).all()


@pytest.mark.parametrize("index", INDEX, ids=str)
def test_a_vector_does_not_depend_on_its_batch_or_on_the_threads(index, dtype, backend, device):
    row_start, columns, values = random_csr(5001, 4999, 60_000, dtype=dtype, index=index, device=device)
    x = normal(17, 4999, dtype=dtype, device=device)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        together = _ops.csr_matvec(row_start, columns, values, x, backend=backend)
        torch.set_num_threads(1)
        for k in (1, 2, 3, 4, 7, 8, 9):
            part = _ops.csr_matvec(row_start, columns, values, x[-k:], backend=backend)
            assert torch.equal(part, together[-k:])
    finally:
        torch.set_num_threads(threads)


def test_a_row_is_summed_in_the_order_of_its_entries(dtype):
    row_start, columns, values = random_csr(50, 40, 900, dtype=dtype)
    x = normal(3, 40, dtype=dtype)
    y = _ops.csr_matvec(row_start, columns, values, x, backend="cpu")
    for i in range(50):
        sums = torch.zeros(3, dtype=dtype)
        for p in range(row_start[i], row_start[i + 1]):
            sums = sums + values[p] * x[:, columns[p]]
        assert torch.equal(y[:, i], sums)


SCRIPT = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
import torch
from hesscope import _core, _ops
from test_sparse import normal, random_csr
digest = hashlib.sha256()
for dtype in (torch.float32, torch.float64):
    for k in (1, 2, 4, 8, 11):
        matrix = random_csr(501, 499, 6000, dtype=dtype, index=torch.int32)
        digest.update(_ops.csr_matvec(*matrix, normal(k, 499, dtype=dtype)).numpy().tobytes())
print(_core.build_info()["cpu_level"], digest.hexdigest())
"""


def test_every_instruction_set_gives_the_same_bits():
    digests = {}
    for level in "234":
        command = [sys.executable, "-c", SCRIPT, str(Path(__file__).parent)]
        done = subprocess.run(
            command,
            env={**os.environ, "HESSCOPE_CPU_LEVEL": level},
            capture_output=True,
            text=True,
            check=True,
        )
        name, digest = done.stdout.split()
        digests[name] = digest
    assert len(set(digests.values())) == 1, digests


def test_a_missing_entry_keeps_infinities_out(backend, device):
    row_start = torch.tensor([0, 1, 1], device=device)
    columns, values = torch.tensor([0], device=device), torch.tensor([2.0], device=device)
    x = torch.tensor([[1.0, torch.inf], [3.0, torch.nan]], device=device)
    assert _ops.csr_matvec(row_start, columns, values, x, backend=backend).tolist() == [[2, 0], [6, 0]]


@pytest.mark.parametrize("k", [1, 3])
def test_empty_matrices(k, dtype, backend, device):
    zero, none = torch.zeros(1, dtype=torch.int64, device=device), torch.zeros(0, dtype=dtype, device=device)
    columns = torch.zeros(0, dtype=torch.int32, device=device)
    x = torch.ones(k, 4, dtype=dtype, device=device)
    assert _ops.csr_matvec(zero, columns, none, x, backend=backend).shape == (k, 0)
    y = _ops.csr_matvec(zero.expand(6).contiguous(), columns, none, x[:, :0], backend=backend)
    assert torch.equal(y, torch.zeros(k, 5, dtype=dtype, device=device))
    assert _ops.csr_matvec(zero.repeat(6), columns, none, x[:0], backend=backend).shape == (0, 5)


@given(
    rows=integers(1, 60), cols=integers(1, 60), nnz=integers(0, 400), k=integers(1, 10), seed=integers(0, 99)
)
@settings(deadline=None, max_examples=60)
def test_is_the_transpose_of_the_transpose(rows, cols, nnz, k, seed):
    """<A x, y> = <x, A^T y>, with A^T built by sorting the entries by column."""
    row_start, columns, values = random_csr(rows, cols, nnz, seed=seed)
    order = torch.argsort(columns, stable=True)
    row = torch.repeat_interleave(torch.arange(rows), row_start.diff())
    t_start = torch.cat(
        [torch.zeros(1, dtype=torch.int64), torch.bincount(columns, minlength=cols).cumsum(0)]
    )
    x, y = normal(k, cols, seed=seed), normal(k, rows, seed=seed + 1)
    left = (_ops.csr_matvec(row_start, columns, values, x) * y).sum(1)
    right = (_ops.csr_matvec(t_start, row[order], values[order], y) * x).sum(1)
    sizes = dense(row_start, columns, values, cols)[1]
    bound = (
        2 * (nnz + rows + cols + 2) * torch.finfo(torch.float64).eps * ((x.abs() @ sizes.T) * y.abs()).sum(1)
    )
    assert ((left - right).abs() <= bound).all()


def test_check_accepts_valid_patterns():
    for index in INDEX:
        row_start, columns, _ = random_csr(40, 30, 200, index=index)
        _ops.csr_check(row_start, columns, 30)
    _ops.csr_check(torch.zeros(1, dtype=torch.int64), torch.zeros(0, dtype=torch.int32), 0)


@pytest.mark.parametrize("index", INDEX, ids=str)
@pytest.mark.parametrize(
    ("row_start", "columns", "message"),
    [
        ([1, 2], [0, 0], r"csr_check: row_start\[0\] must be 0, got 1"),
        ([0, 2, 1, 2], [0, 0], r"row_start\[2\] must be at least row_start\[1\] = 2, got 1"),
        ([0, 1], [0, 0], r"row_start\[1\] must be the number of entries, 2, got 1"),
        ([0, 3], [0, 0], r"row_start\[1\] must be the number of entries, 2, got 3"),
        ([0, 2, 3], [0, 5, -7], r"columns\[1\] must be in \[0, 5\), got 5"),
        ([0, 2, 3], [0, 4, -7], r"columns\[2\] must be in \[0, 5\), got -7"),
        ([], [], r"row_start must have one entry more than the matrix has rows, got row_start \[0\]"),
    ],
)
def test_check_names_the_first_bad_entry(row_start, columns, message, index):
    with pytest.raises(ValueError, match=message):
        _ops.csr_check(torch.tensor(row_start, dtype=torch.int64), torch.tensor(columns, dtype=index), 5)


def test_messages_name_the_arguments(backend, device):
    row_start, columns, values = random_csr(4, 5, 6, device=device)
    x = torch.ones(2, 5, dtype=torch.float64, device=device)
    with pytest.raises(TypeError, match=r"csr_matvec: x must have the dtype of values, got values"):
        _ops.csr_matvec(row_start, columns, values, x.float(), backend=backend)
    with pytest.raises(TypeError, match=r"csr_matvec: row_start must be int64, got row_start \[5\] int32"):
        _ops.csr_matvec(row_start.int(), columns, values, x, backend=backend)
    with pytest.raises(
        TypeError, match=r"csr_matvec: columns must be int32 or int64, got columns \[6\] float64"
    ):
        _ops.csr_matvec(row_start, columns.double(), values, x, backend=backend)
    with pytest.raises(ValueError, match=r"csr_matvec: values must have shape \[6\], got values \[5\]"):
        _ops.csr_matvec(row_start, columns, values[:5], x, backend=backend)
    with pytest.raises(
        ValueError, match=r"csr_matvec: columns must be contiguous, got columns \[3\].*stride 2"
    ):
        _ops.csr_matvec(row_start, columns[::2], values[:3], x, backend=backend)
    with pytest.raises(ValueError, match=r"csr_matvec: x must have contiguous rows"):
        _ops.csr_matvec(row_start, columns, values, x.T.contiguous().T, backend=backend)
    with pytest.raises(ValueError, match=r"csr_matvec: x must have 2 dimensions, got x \[5\]"):
        _ops.csr_matvec(row_start, columns, values, x[0], backend=backend)


def test_torch_operator_contract(device):
    matrix = random_csr(4, 5, 6, device=device)
    torch.library.opcheck(torch.ops.hesscope.csr_matvec, (*matrix, normal(2, 5, device=device).contiguous()))
