"""Rows more than 2^32 elements apart: addresses need 64 bits. Only the rows' own pages are touched."""

from __future__ import annotations

import pytest
import torch

from hesscope import _ops

ROWS, N = 3, 1024
STRIDE = 2**31 + 32  # row 2 starts at element 2^32 + 64


@pytest.fixture(scope="module")
def memory() -> torch.Tensor:
    """17 GiB of addresses, of which a few pages become memory."""
    try:
        return torch.empty(2 * STRIDE + 8 * N, dtype=torch.float32)
    except RuntimeError:
        pytest.skip("this machine does not promise 17 GiB of addresses")


@pytest.fixture
def far(memory, backend, device):
    """Rows ``[3, N]`` with N a power of two, copied to where they are far apart."""
    if device.type != "cpu":
        pytest.skip("the addresses are the host's")

    def place(rows: torch.Tensor, slot: int) -> torch.Tensor:
        view = memory.as_strided((ROWS, N), (STRIDE, 1), storage_offset=slot * N)
        return view.copy_(rows)

    return place


def rows(seed: int) -> torch.Tensor:
    return torch.randn(ROWS, N, generator=torch.Generator().manual_seed(seed))


def test_bases(far, backend):
    q, w = rows(0), rows(1)
    c = _ops.multi_dot(q[:, None], w, backend=backend)
    far_q, far_w = far(q, 0), far(w, 1)
    assert torch.equal(_ops.multi_dot(far_q[:, None], far_w, backend=backend), c)
    basis = far_q[None].expand(ROWS, ROWS, N)
    near = _ops.multi_dot(q[None].expand(ROWS, ROWS, N), w, backend=backend)
    assert torch.equal(_ops.multi_dot(basis, far_w, backend=backend), near)
    want = _ops.multi_axpy(q[:, None], c, w.clone(), scale=-1.0, backend=backend)
    assert torch.equal(_ops.multi_axpy(far_q[:, None], c, far_w, scale=-1.0, backend=backend), want)


def test_a_lanczos_step(far, backend):
    results = []
    for place in (lambda x, _: x.clone(), far):
        w, v, v_prev, following = (place(rows(i), i) for i in range(4))
        state = torch.tensor([[0.5, 0.25, 2.0, 3.0]], dtype=torch.float64).repeat(ROWS, 1)
        alpha, beta = torch.zeros(2, ROWS, dtype=torch.float64)
        _ops.lanczos_update(
            w, v, v_prev, following, state, alpha, beta, breakdown_tolerance=0.0, backend=backend
        )
        results.append([following.clone(), state, alpha, beta])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_probes(far, backend):
    out = far(torch.full((ROWS, N), torch.nan), 0)
    z = _ops.probes(ROWS, N, seed=3, backend=backend)
    assert torch.equal(_ops.probes(ROWS, N, seed=3, out=out, backend=backend), z)
    w = rows(2)
    near = _ops.probe_dot(w, seed=3, backend=backend)
    assert torch.equal(_ops.probe_dot(far(w, 1), seed=3, backend=backend), near)


def test_operators(far, backend):
    x, d = rows(4), rows(5)[0].contiguous()
    near = _ops.walsh_hadamard(x.clone(), scale=2.0**-5, backend=backend)
    assert torch.equal(_ops.walsh_hadamard(far(x, 0), scale=2.0**-5, backend=backend), near)
    assert torch.equal(_ops.scale_columns(d, far(x, 1), backend=backend), d * x)
    start, columns = torch.arange(N + 1), torch.arange(N - 1, -1, -1, dtype=torch.int32)
    product = _ops.csr_matvec(start, columns, d, far(x, 2), backend=backend)
    assert torch.equal(product, d * x.flip(1))
