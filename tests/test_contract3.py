"""Small symmetric tensors: against dense sums, published eigenvalues, and their contracts."""

from __future__ import annotations

from itertools import combinations_with_replacement, pairwise, permutations

import pytest
import torch

from hesscope import _ops

EPS = torch.finfo(torch.float64).eps
SIDES = [1, 2, 3, 7, 33, 64]
OPS = ["contract3", "contract3_scalar"]

# Kofidis & Regalia (2002), as in example 3.6 of Kolda & Mayo (2011): 111, 112, 113, 122, 123, 133, 222, ...
PUBLISHED = [-0.1281, 0.0516, -0.0954, -0.1958, -0.1790, -0.2676, 0.3251, 0.2513, 0.1773, 0.0338]


def random_tensor(rng, k, device="cpu"):
    size = k * (k + 1) * (k + 2) // 6
    return torch.randn(size, generator=rng, dtype=torch.float64).to(device)


def dense(t, k):
    """T [k, k, k] from its packed entries."""
    full = torch.full((k, k, k), torch.nan, dtype=torch.float64)
    for value, index in zip(t.tolist(), combinations_with_replacement(range(k), 3), strict=True):
        for place in permutations(index):
            full[place] = value
    return full


def vectors(rng, count, batch, k, device="cpu"):
    """Rows with padding between them."""
    return torch.randn(count, batch, k + 3, generator=rng, dtype=torch.float64).to(device)[..., :k]


def contraction_bound(full, u, v):
    """At most 2 k^2 terms in any order, each with a few roundings."""
    k = u.shape[1]
    return (2 * k * k + 8) * EPS * torch.einsum("ijl,bi,bj->bl", full.abs(), u.abs(), v.abs())


def test_side_two_by_hand(backend, device):
    t = torch.tensor([1.0, 2, 3, 4], dtype=torch.float64, device=device)  # 111, 112, 122, 222
    u = torch.tensor([[1.0, 0], [1, 1]], dtype=torch.float64, device=device)
    v = torch.tensor([[0.0, 1], [1, -1]], dtype=torch.float64, device=device)
    assert _ops.contract3(t, u, v, backend=backend).tolist() == [[2, 3], [-2, -2]]
    assert _ops.contract3_scalar(t, u, v, u, backend=backend).tolist() == [2, -4]


@pytest.mark.parametrize("batch", [1, 8, 9])
@pytest.mark.parametrize("k", SIDES)
def test_contractions_are_those_of_the_dense_tensor(k, batch, backend, device, rng):
    t = random_tensor(rng, k, device)
    u, v, w = vectors(rng, 3, batch, k, device)
    full = dense(t.cpu(), k)
    host = [x.cpu() for x in (u, v, w)]
    want, bound = torch.einsum("ijl,bi,bj->bl", full, *host[:2]), contraction_bound(full, *host[:2])
    assert ((_ops.contract3(t, u, v, backend=backend).cpu() - want).abs() <= bound).all()
    got = _ops.contract3_scalar(t, u, v, w, backend=backend).cpu()
    slack = (bound * host[2].abs()).sum(1) * 2
    assert ((got - (want * host[2]).sum(1)).abs() <= slack).all()


def test_every_permutation_of_the_vectors_gives_the_same_number(backend, device, rng):
    k = 20
    t, chosen = random_tensor(rng, k, device), vectors(rng, 3, 5, k, device)
    values = torch.stack(
        [
            _ops.contract3_scalar(t, *(chosen[i] for i in order), backend=backend)
            for order in permutations(range(3))
        ]
    ).cpu()
    full, host = dense(t.cpu(), k), chosen.cpu().abs()
    bound = 4 * k * k * EPS * torch.einsum("ijl,bi,bj,bl->b", full.abs(), *host)
    assert ((values - values[0]).abs() <= bound).all()


@pytest.mark.parametrize("name", OPS)
def test_a_row_does_not_depend_on_its_neighbours_or_the_threads(name, backend, device, rng):
    t, (u, v, w) = random_tensor(rng, 40, device), vectors(rng, 3, 19, 40, device)
    op = getattr(_ops, name)
    operands = (u, v) if name == "contract3" else (u, v, w)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        together = op(t, *operands, backend=backend)
    finally:
        torch.set_num_threads(threads)
    alone = [op(t, *(x[b : b + 1] for x in operands), backend=backend) for b in range(19)]
    assert torch.equal(together, torch.cat(alone))


def unit(x):
    return x / x.norm(dim=1, keepdim=True)


def test_the_power_iteration_finds_the_published_eigenvalues(backend, device, rng):
    """Kolda & Mayo (2011), table 3.2: the local maxima are 0.8730, 0.4306, 0.0180 and -0.0006, reached from
    40, 29, 18 and 13 of 100 random starts with shift 1.
    """
    t = torch.tensor(PUBLISHED, dtype=torch.float64, device=device)
    starts, steps = (100, 2000) if backend == "cpu" else (30, 300)
    x = vectors(rng, 1, starts, 3, device)[0]
    value, residual = _ops.higher_order_power(t, x, shift=1.0, num_steps=steps, backend=backend)
    assert (residual <= 1e-9).all() or backend != "cpu"
    found = value.round(decimals=4).unique()
    assert found.tolist() == [-0.0006, 0.0180, 0.4306, 0.8730]
    best = x[value.argmax()].cpu() * x[value.argmax()].cpu()[1].sign()
    want = torch.tensor([-0.3922, 0.7249, 0.5664], dtype=torch.float64)
    assert (best - want).abs().max() <= 1e-4


@pytest.mark.parametrize("k", [1, 5, 64])
def test_values_and_residuals_are_those_of_the_unit_vectors(k, backend, device, rng):
    t, starts = random_tensor(rng, k, device), vectors(rng, 1, 9, k, device)[0]
    full = dense(t.cpu(), k)
    for steps in (0, 3):
        x = starts.clone()
        value, residual = _ops.higher_order_power(t, x, shift=0.5, num_steps=steps, backend=backend)
        want = unit(starts.cpu())
        for _ in range(steps):
            want = unit(torch.einsum("ijl,bi,bj->bl", full, want, want) + 0.5 * want)
        # A step multiplies an error by at most 2 |T| / |y|; starts here keep it below 10 a step.
        tolerance = 10 ** (steps + 1) * k * k * EPS
        x = x.cpu()
        assert (x - want).abs().max() <= tolerance
        assert ((x.norm(dim=1) - 1).abs() <= (k + 4) * EPS).all()
        image = torch.einsum("ijl,bi,bj->bl", full, x, x)
        size = 4 * k * k * EPS * full.norm()
        exact = (image * x).sum(1)
        assert ((value.cpu() - exact).abs() <= size).all()
        assert ((residual.cpu() - (image - exact[:, None] * x).norm(dim=1)).abs() <= size).all()


def test_values_rise_with_a_sufficient_shift(backend, device, rng):
    k = 6
    t, x = random_tensor(rng, k, device), vectors(rng, 1, 12, k, device)[0]
    norm = dense(t.cpu(), k).norm().item()
    values = [
        _ops.higher_order_power(t, x, shift=2 * norm, num_steps=steps, backend=backend)[0].cpu()
        for steps in (0, 1, 1, 1, 5, 50)
    ]
    assert all((later - earlier >= -8 * k * k * EPS * norm).all() for earlier, later in pairwise(values))
    assert (values[-1] > values[0]).all()


def test_orthogonal_components_are_found_exactly(backend, device):
    """T = sum_i c_i e_i^(3): plain power iteration converges quadratically to one of the axes."""
    k, coefficients = 4, [5.0, 4.0, 3.0, 2.0]
    full_index = list(combinations_with_replacement(range(k), 3))
    t = torch.tensor([coefficients[i[0]] if i[0] == i[2] else 0.0 for i in full_index], dtype=torch.float64)
    x = (torch.full((k, k), 0.3, dtype=torch.float64) + torch.eye(k, dtype=torch.float64)).to(device)
    value, residual = _ops.higher_order_power(t.to(device), x, shift=0.0, num_steps=12, backend=backend)
    assert value.tolist() == coefficients
    assert (residual <= 1e-14).all()
    assert torch.equal(x.cpu(), torch.eye(k, dtype=torch.float64))


def test_zero_vectors_and_zero_tensors_stay_as_they_are(backend, device):
    t = torch.zeros(10, dtype=torch.float64, device=device)
    x = torch.tensor([[0.0, 0, 0], [3, 0, 4]], dtype=torch.float64, device=device)
    value, residual = _ops.higher_order_power(t, x, shift=0.0, num_steps=3, backend=backend)
    assert value.tolist() == residual.tolist() == [0, 0]
    assert (x.cpu() - torch.tensor([[0, 0, 0], [0.6, 0, 0.8]], dtype=torch.float64)).abs().max() <= EPS


def test_an_empty_batch_is_legal(backend, device):
    t, x = (
        torch.zeros(10, dtype=torch.float64, device=device),
        torch.zeros(0, 3, dtype=torch.float64, device=device),
    )
    assert _ops.contract3(t, x, x, backend=backend).shape == (0, 3)
    assert _ops.contract3_scalar(t, x, x, x, backend=backend).shape == (0,)
    assert _ops.higher_order_power(t, x, shift=0.0, num_steps=3, backend=backend)[0].shape == (0,)


def test_nan_poisons_its_own_row_only(backend, device):
    t, x = (
        torch.ones(20, dtype=torch.float64, device=device),
        torch.ones(9, 4, dtype=torch.float64, device=device),
    )
    x[3, 2] = torch.nan
    out = _ops.contract3(t, x, x, backend=backend)
    assert out[3].isnan().all()
    assert out.isnan().sum() == 4


def test_messages_name_the_arguments(backend, device):
    ones = lambda *shape, dtype=torch.float64: torch.ones(*shape, dtype=dtype, device=device)  # noqa: E731
    with pytest.raises(
        ValueError, match=r"contract3: t must have k \(k \+ 1\) .* = 10 entries .* k = 3, got t \[9\]"
    ):
        _ops.contract3(ones(9), ones(2, 3), ones(2, 3), backend=backend)
    with pytest.raises(ValueError, match=r"contract3: the vectors must have 1 to 64 entries, got 65"):
        _ops.contract3(ones(47905), ones(2, 65), ones(2, 65), backend=backend)
    with pytest.raises(ValueError, match=r"contract3: v must have shape \[2, 3\], got v \[1, 3\]"):
        _ops.contract3(ones(10), ones(2, 3), ones(1, 3), backend=backend)
    with pytest.raises(TypeError, match=r"contract3: t must be float64, got t \[10\] float32"):
        _ops.contract3(ones(10, dtype=torch.float32), ones(2, 3), ones(2, 3), backend=backend)
    with pytest.raises(ValueError, match=r"contract3: t must be contiguous, got stride 2"):
        _ops.contract3(ones(20)[::2], ones(2, 3), ones(2, 3), backend=backend)
    with pytest.raises(ValueError, match=r"contract3_scalar: w must have shape \[2, 3\], got w \[2, 2\]"):
        _ops.contract3_scalar(ones(10), ones(2, 3), ones(2, 3), ones(2, 2), backend=backend)
    with pytest.raises(ValueError, match=r"higher_order_power: num_steps must not be negative, got -1"):
        _ops.higher_order_power(ones(10), ones(2, 3), shift=0.0, num_steps=-1, backend=backend)
    with pytest.raises(ValueError, match=r"higher_order_power: shift must be finite, got nan"):
        _ops.higher_order_power(ones(10), ones(2, 3), shift=float("nan"), num_steps=1, backend=backend)


def test_torch_operator_contract(device):
    t, x = (
        torch.randn(10, dtype=torch.float64, device=device),
        torch.randn(2, 3, dtype=torch.float64, device=device),
    )
    torch.library.opcheck(torch.ops.hesscope.contract3, (t, x, x))
    torch.library.opcheck(torch.ops.hesscope.contract3_scalar, (t, x, x, x))
    torch.library.opcheck(torch.ops.hesscope.higher_order_power, (t, x.clone(), 1.0, 2))
