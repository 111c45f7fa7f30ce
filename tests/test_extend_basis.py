"""extend_basis: against float64, its contracts, and its messages."""

from __future__ import annotations

import pytest
import torch

from hesscope import _ops
from hesscope.testing import axpy_bound, dot_bound

SIZES = [0, 1, 31, 63, 64, 65, 4095, 4097, 70_001]


@pytest.fixture
def operands(rng, device):
    """Return a maker of operands; rows have padding between them, so that none but the first is aligned."""

    def make(batch, rows, n, dtype, padding=3):
        def normal(*shape, dtype=torch.float64, padding=0):
            wide = torch.randn(*shape[:-1], shape[-1] + padding, generator=rng, dtype=torch.float64)
            return wide.to(device=device, dtype=dtype)[..., : shape[-1]]

        q = normal(batch, rows, n, dtype=dtype, padding=padding)
        v, w = (normal(batch, n, dtype=dtype, padding=padding) for _ in range(2))
        q[:, -1] = torch.nan  # written, not read
        return q, v, w, normal(batch, rows), normal(batch, rows + 1)

    return make


def test_by_hand(backend, device):
    q = torch.tensor([[[1.0, 2, 3], [torch.nan] * 3]], dtype=torch.float64, device=device)
    v = torch.tensor([[1.0, 0, 1]], dtype=torch.float64, device=device)
    w = torch.tensor([[0.0, 1, 1]], dtype=torch.float64, device=device)
    before = torch.tensor([[-1.0, 2]], dtype=torch.float64, device=device)
    after = torch.tensor([[1.0, -2, 10]], dtype=torch.float64, device=device)
    d = _ops.extend_basis(q, v, w, before, after, backend=backend)
    assert q.tolist() == [[[1, 2, 3], [1, -2, -1]]]
    assert v.tolist() == [[-1, 16, 15]]
    assert d.tolist() == [[76, -48, 482]]
    assert w.tolist() == [[0, 1, 1]]


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("rows", [1, 2, 9])
def test_is_within_the_rounding_bound(rows, n, dtype, backend, device, operands):
    q, v, w, before, after = operands(3, rows, n, dtype)
    old_v, j = v.clone(), rows - 1
    start = torch.arange(3 * (rows + 1), dtype=torch.float64, device=device).reshape(3, rows + 1)
    d = _ops.extend_basis(q, v, w, before, after, d=start.clone(), backend=backend)

    def close(got, rows, coefficients, vector, factor):
        scaled = factor[:, None] * vector.double()
        want = scaled + torch.einsum("bk,bkn->bn", coefficients, rows.double())
        bound = axpy_bound(rows, coefficients, scaled.to(dtype), 1.0)
        return ((got.double() - want).abs() <= bound + torch.finfo(dtype).tiny).all()

    assert close(q[:, j], q[:, :j], before[:, :j], old_v, before[:, j])
    assert close(v, q, after[:, : j + 1], w, after[:, j + 1])
    left = torch.cat([q, v[:, None]], dim=1)
    want = start + (left.double() * v.double()[:, None]).sum(-1)
    bound = dot_bound(left, v[:, None]) + 4 * torch.finfo(torch.float64).eps * start.abs()
    assert ((d - want).abs() <= bound).all()


def test_leaves_the_rest_alone(dtype, backend, operands):
    q, v, w, before, after = operands(2, 4, 100, dtype)
    wide = q.as_strided((2, 4, 103), q.stride())
    wide[:, :, 100:] = torch.nan
    kept = [q[:, :3].clone(), w.clone(), before.clone(), after.clone()]
    _ops.extend_basis(q, v, w, before, after, backend=backend)
    assert all(torch.equal(x, y) for x, y in zip(kept, [q[:, :3], w, before, after], strict=True))
    assert wide[:, :, 100:].isnan().all()
    assert q.isfinite().all()
    assert v.isfinite().all()


@pytest.mark.parametrize("n", [33, 70_001])
def test_a_row_does_not_depend_on_its_batch_or_on_the_threads(n, dtype, backend, operands):
    q, v, w, before, after = operands(4, 6, n, dtype)
    q_alone, v_alone = q.clone(), v.clone()
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        together = _ops.extend_basis(q, v, w, before, after, backend=backend)
        torch.set_num_threads(1)
        alone = [
            _ops.extend_basis(
                q_alone[b : b + 1],
                v_alone[b : b + 1],
                w[b : b + 1],
                before[b : b + 1],
                after[b : b + 1],
                backend=backend,
            )
            for b in range(4)
        ]
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(together, torch.cat(alone))
    assert torch.equal(q, q_alone)
    assert torch.equal(v, v_alone)


def test_the_bits_do_not_depend_on_the_alignment_of_rows(dtype, backend, operands):
    n, results = 4099, []
    q, v, w, before, after = operands(2, 5, n, dtype)
    for padding in (0, 1):
        moved = [
            torch.zeros(*x.shape[:-1], 4160, dtype=dtype, device=x.device)[..., padding : padding + n].copy_(
                x
            )
            for x in (q, v, w)
        ]
        results.append((_ops.extend_basis(*moved, before, after, backend=backend), moved[0], moved[1]))
    assert all(torch.equal(x, y) for x, y in zip(*results, strict=True))


def test_strips_of_whole_slabs_give_the_bits_of_one_call(dtype, backend, operands):
    n, strip = 70_001, 3 * 4096
    q, v, w, before, after = operands(2, 5, n, dtype)
    q_strips, v_strips = q.clone(), v.clone()
    whole = _ops.extend_basis(q, v, w, before, after, backend=backend)
    if backend == "reference":
        pytest.skip("sums the whole of a row in one go, in long double")
    d = torch.zeros_like(whole)
    for begin in range(0, n, strip):
        part = slice(begin, begin + strip)
        _ops.extend_basis(
            q_strips[..., part], v_strips[:, part], w[:, part], before, after, d=d, backend=backend
        )
    assert torch.equal(d, whole)
    assert torch.equal(q, q_strips)
    assert torch.equal(v, v_strips)


def test_messages_name_the_arguments(device, backend):
    def run(**changes):
        ones = lambda *shape: torch.ones(*shape, dtype=torch.float64, device=device)  # noqa: E731
        given = {"q": ones(2, 3, 5), "v": ones(2, 5), "w": ones(2, 5), "before": ones(2, 3)}
        given |= {"after": ones(2, 4)} | changes
        _ops.extend_basis(*given.values(), backend=backend)

    def ones(*shape, dtype=torch.float64):
        return torch.ones(*shape, dtype=dtype, device=device)

    with pytest.raises(ValueError, match=r"extend_basis: q must have room for a row, got q \[2, 0, 5\]"):
        run(q=ones(2, 0, 5))
    with pytest.raises(ValueError, match=r"extend_basis: q must have one basis per row of v, for it is"):
        run(q=ones(1, 3, 5).expand(2, -1, -1))
    with pytest.raises(ValueError, match=r"extend_basis: v must have shape \[2, 5\]"):
        run(v=ones(2, 6))
    with pytest.raises(ValueError, match=r"extend_basis: w must have shape \[2, 5\]"):
        run(w=ones(3, 5))
    with pytest.raises(ValueError, match=r"extend_basis: before must have shape \[2, 3\]"):
        run(before=ones(2, 4))
    with pytest.raises(ValueError, match=r"extend_basis: after must have shape \[2, 4\]"):
        run(after=ones(2, 3))
    with pytest.raises(ValueError, match=r"extend_basis: rows of v must not overlap"):
        run(v=ones(1, 5).expand(2, -1))
    with pytest.raises(TypeError, match=r"extend_basis: q must be float32 or float64, got q .* bfloat16"):
        run(q=ones(2, 3, 5, dtype=torch.bfloat16))
    with pytest.raises(TypeError, match=r"extend_basis: w .*float32"):
        run(w=ones(2, 5, dtype=torch.float32))
    with pytest.raises(TypeError, match=r"extend_basis: before must be float64"):
        run(before=ones(2, 3, dtype=torch.float32))


def test_torch_operator_contract(device):
    q, v, w = (torch.randn(*shape, device=device) for shape in ((2, 3, 5), (2, 5), (2, 5)))
    before, after, d = (torch.randn(2, k, dtype=torch.float64, device=device) for k in (3, 4, 4))
    torch.library.opcheck(torch.ops.hesscope.extend_basis, (q, v, w, before, after, d))
