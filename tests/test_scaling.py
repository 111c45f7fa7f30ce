"""scale_columns: exact products, in place and not, and its messages."""

from __future__ import annotations

import pytest
import torch

from hesscope import _ops


def rows(rng, k, n, dtype, device, padding=3):
    """Rows with padding between them, so that no row but the first is aligned."""
    return torch.randn(k, n + padding, generator=rng, dtype=torch.float64).to(device, dtype)[:, :n]


@pytest.mark.parametrize("n", [0, 1, 31, 33, 4095, 4096, 4097, 70_001])
@pytest.mark.parametrize("padding", [0, 3])
def test_every_product_is_rounded_once(n, padding, dtype, backend, device, rng):
    d, x = rows(rng, 1, n, dtype, device)[0], rows(rng, 3, n, dtype, device, padding)
    out = torch.full((3, n + 5), torch.nan, dtype=dtype, device=device)[:, :n]
    assert torch.equal(_ops.scale_columns(d, x, out=out, backend=backend), d * x)


def test_in_place_and_the_padding_stays(dtype, backend, device, rng):
    wide = torch.full((3, 40), torch.nan, dtype=dtype, device=device)
    x = wide[:, :37].copy_(rows(rng, 3, 37, dtype, device))
    d = rows(rng, 1, 37, dtype, device)[0]
    want = d * x
    _ops.scale_columns(d, x, out=x, backend=backend)
    assert torch.equal(x, want)
    assert wide[:, 37:].isnan().all()


def test_no_rows_is_no_work(backend, device):
    assert _ops.scale_columns(
        torch.ones(5, device=device), torch.ones(0, 5, device=device), backend=backend
    ).shape == (0, 5)


def test_messages_name_the_arguments(backend, device):
    ones = lambda *shape, dtype=torch.float32: torch.ones(*shape, dtype=dtype, device=device)  # noqa: E731
    with pytest.raises(ValueError, match=r"scale_columns: d must have shape \[3\], got d \[4\]"):
        _ops.scale_columns(ones(4), ones(2, 3), backend=backend)
    with pytest.raises(ValueError, match=r"scale_columns: d must be contiguous"):
        _ops.scale_columns(ones(6)[::2], ones(2, 3), backend=backend)
    with pytest.raises(TypeError, match=r"x must have the dtype of d"):
        _ops.scale_columns(ones(3), ones(2, 3, dtype=torch.float64), backend=backend)
    with pytest.raises(TypeError, match=r"x must be float32 or float64"):
        _ops.scale_columns(ones(3, dtype=torch.int32), ones(2, 3, dtype=torch.int32), backend=backend)
    with pytest.raises(ValueError, match=r"rows of y must not overlap"):
        _ops.scale_columns(ones(3), ones(2, 3), out=ones(1, 3).expand(2, 3), backend=backend)


def test_torch_operator_contract(device):
    torch.library.opcheck(
        torch.ops.hesscope.scale_columns, (torch.randn(5, device=device), torch.randn(2, 5, device=device))
    )
