"""Spectra of diagonal blocks: layers, heads, any indices, against the blocks of a dense Hessian."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import hesscope as hs
from hesscope.results import RunFailed
from hesscope.testing import prescribed_spectrum


@pytest.fixture
def network():
    """A small network in float64, its objective, its Hessian, and the same as a dense matrix."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    x, y = torch.randn(20, 6, dtype=torch.float64), torch.randint(3, (20,))
    objective = hs.Objective(model, nn.CrossEntropyLoss(), (x, y))
    h = hs.hessian(objective)
    return objective, h, h.rows(torch.eye(objective.n, dtype=torch.float64))


def test_layers_agree_with_the_blocks_of_a_dense_hessian(network):
    objective, h, dense = network
    groups = hs.parameter_groups(objective)
    assert list(groups) == ["0", "2", "4"]
    before = h.products
    rho = hs.block_densities(h, groups, num_probes=3, num_steps=100)
    assert sum(r.products for r in rho.values()) == h.products - before
    total = 0.0
    for name, part in groups.items():
        rows = dense[part, part]
        values = torch.linalg.eigvalsh(rows)
        got = rho[name]
        assert got.n == part.stop - part.start
        z = hs._ops.probes(3, got.n, seed=0, dtype=torch.float64)
        power = z
        for p in range(1, 9):  # the measure that a probe sees of the block, by its moments
            power = power @ rows
            assert torch.allclose(
                (got.weights * got.nodes**p).sum(dim=1), (z * power).sum(dim=1) / got.n, rtol=1e-10, atol=0
            )
        assert got.largest_eigenvalue().value == pytest.approx(values.max().item())
        assert abs(got.trace().value - values.sum().item()) <= 2 * got.trace().error
        total += values.sum().item()
    assert total == pytest.approx(dense.trace().item())


@pytest.mark.parametrize("distribution", ["rademacher", "gaussian"])
def test_a_block_is_what_its_own_run_gives(network, distribution):
    objective, h, _ = network
    rho = hs.block_densities(h, objective, num_probes=2, num_steps=12, distribution=distribution, seed=5)
    assert list(rho) == list(objective.slices)
    for name, part in objective.slices.items():
        alone = hs.spectral_density(
            hs.block(h, part), num_probes=2, num_steps=12, distribution=distribution, seed=5
        )
        got = rho[name]
        assert got.status is alone.status
        assert got.num_steps == alone.num_steps
        assert torch.allclose(got.alpha, alone.alpha, rtol=0, atol=1e-9)
        assert torch.allclose(got.weights, alone.weights, rtol=0, atol=1e-6)
        assert got.settings == alone.settings


def test_short_blocks_do_not_wait_for_long_ones(network):
    objective, h, _ = network
    before = h.products
    rho = hs.block_densities(h, objective, num_probes=1, num_steps=40)
    assert h.products - before < 6 * 40
    assert rho["4.bias"].num_steps <= 3
    assert sum(r.products for r in rho.values()) == h.products - before


def test_a_block_can_be_extended(network):
    objective, h, _ = network
    part = objective.slices["0.weight"]
    rho = hs.block_densities(h, {"first": part}, num_probes=2, num_steps=8)["first"]
    more = hs.resume(rho, hs.block(h, part), num_probes=4)
    fresh = hs.block_densities(h, {"first": part}, num_probes=4, num_steps=8)["first"]
    assert torch.allclose(more.alpha, fresh.alpha, rtol=0, atol=1e-10)


def test_index_sets_may_overlap_and_come_in_any_order(network):
    _, h, dense = network
    picks = {"some": [7, 3, 90, 41], "all": slice(None), "few": torch.tensor([3, 7])}
    rho = hs.block_densities(h, picks, num_probes=2, num_steps=200)
    for name, part in picks.items():
        rows = dense[part][:, part]
        values = torch.linalg.eigvalsh(rows)
        assert rho[name].largest_eigenvalue().value == pytest.approx(values.max().item(), abs=1e-10)
        v = torch.randn(rho[name].n, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        assert torch.allclose(hs.block(h, part) @ v, rows @ v, rtol=0, atol=1e-12)


def test_heads_of_an_attention_layer():
    torch.manual_seed(0)
    heads, width = 2, 4

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
            self.out = nn.Linear(width, 2)

        def forward(self, x):
            return self.out(self.attention(x, x, x, need_weights=False)[0].mean(dim=1))

    model = Attention().double()
    data = (torch.randn(6, 3, width, dtype=torch.float64), torch.randint(2, (6,)))
    objective = hs.Objective(model, nn.CrossEntropyLoss(), data)
    groups = hs.attention_heads(
        objective,
        heads,
        fused=["attention.in_proj_weight", "attention.in_proj_bias"],
        columns=["attention.out_proj.weight"],
    )
    assert list(groups) == ["head 0", "head 1"]
    # By hand: rows 0, 1 of query, key and value belong to head 0, as do columns 0, 1 of the output.
    marks = {name: torch.zeros_like(p) for name, p in objective.parameters.items()}
    for part in range(3):
        marks["attention.in_proj_weight"][part * width : part * width + 2] = 1
        marks["attention.in_proj_bias"][part * width : part * width + 2] = 1
    marks["attention.out_proj.weight"][:, :2] = 1
    expected = objective.flatten(marks).nonzero()[:, 0]
    assert torch.equal(groups["head 0"].sort().values, expected)
    assert not set(groups["head 0"].tolist()) & set(groups["head 1"].tolist())
    h = hs.hessian(objective)
    dense = h.rows(torch.eye(objective.n, dtype=torch.float64))
    rho = hs.block_densities(h, groups, num_probes=2, num_steps=60)
    for name, part in groups.items():
        values = torch.linalg.eigvalsh(dense[part][:, part])
        assert rho[name].largest_eigenvalue().value == pytest.approx(values.max().item(), rel=1e-6)


def test_groups_by_a_rule(network):
    objective, _, _ = network
    biases = hs.parameter_groups(objective, lambda name: "biases" if name.endswith("bias") else None)
    entries = [
        i for name, part in objective.slices.items() if "bias" in name for i in range(objective.n)[part]
    ]
    assert biases["biases"].tolist() == entries
    assert hs.parameter_groups(objective, "parameter") == dict(objective.slices)


def test_too_little_memory_means_more_passes(network, monkeypatch):
    objective, h, _ = network
    want = hs.block_densities(h, objective, num_probes=2, num_steps=6)
    runs = []
    original = hs.spectrum.block_runs.lanczos
    monkeypatch.setattr(
        hs.spectrum.block_runs, "lanczos", lambda *a, **k: runs.append(1) or original(*a, **k)
    )
    monkeypatch.setattr(hs.spectrum.block_runs.memory, "available", lambda _: 20_000)
    got = hs.block_densities(h, objective, num_probes=2, num_steps=6)
    assert len(runs) >= 5
    for name in want:
        assert torch.allclose(got[name].alpha, want[name].alpha, rtol=0, atol=1e-10)
    monkeypatch.setattr(hs.spectrum.block_runs.memory, "available", lambda _: 1000)
    with pytest.raises(MemoryError, match="block_densities: the vectors of this run need"):
        hs.block_densities(h, objective, num_probes=2, num_steps=6)


def test_what_is_done_survives_an_error():
    h = prescribed_spectrum(torch.linspace(-1, 1, 64, dtype=torch.float64))
    calls = []

    def failing(rows):
        calls.append(1)
        if len(calls) > 5:
            msg = "out of memory"
            raise RuntimeError(msg)
        return h.rows(rows)

    bad = hs.from_function(failing, 64, dtype=torch.float64, batched=True, check_symmetric=False)
    with pytest.raises(RunFailed, match="out of memory") as caught:
        hs.block_densities(bad, {"a": slice(0, 30), "b": slice(30, 64)}, num_steps=20)
    assert set(caught.value.partial) == {"a", "b"}
    assert caught.value.partial["a"].num_steps == 5
    broken = hs.from_function(
        lambda v: v * math.nan, 8, dtype=torch.float64, batched=True, check_symmetric=False
    )
    with pytest.raises(ValueError, match="operator must return finite products"):
        hs.block_densities(broken, {"a": slice(0, 4)})


@pytest.mark.parametrize(
    ("groups", "error", "message"),
    [
        ({}, TypeError, "groups must be an Objective or indices by name, got an empty one"),
        ([slice(0, 2)], TypeError, "got list"),
        ({"a": slice(3, 3)}, ValueError, r"groups\['a'\] must lie within \[0, 64\)"),
        ({"a": slice(0, 8, 2)}, ValueError, "with step 1"),
        ({"a": slice(0, 65)}, ValueError, "must lie within"),
        ({"a": [0, 64]}, ValueError, "got 0 to 64"),
        ({"a": [1, 1]}, ValueError, "must be distinct, got 1 twice"),
        ({"a": [0.5]}, TypeError, "must be a slice or integers"),
        ({"a": "head"}, TypeError, "must be a slice or integers, got str"),
    ],
)
def test_bad_groups_are_named(groups, error, message):
    h = prescribed_spectrum(torch.linspace(-1, 1, 64, dtype=torch.float64))
    with pytest.raises(error, match=message):
        hs.block_densities(h, groups)


def test_bad_names_are_named(network):
    objective, h, _ = network
    with pytest.raises(ValueError, match="by must be 'parameter', 'module' or a function"):
        hs.parameter_groups(objective, "layer")
    with pytest.raises(ValueError, match="by must leave a parameter"):
        hs.parameter_groups(objective, lambda _: None)
    with pytest.raises(TypeError, match="objective must be an Objective"):
        hs.parameter_groups(h)
    with pytest.raises(ValueError, match="must divide by 3, got"):
        hs.attention_heads(objective, 3, rows=["0.weight"])
    with pytest.raises(ValueError, match="parameters must be among"):
        hs.attention_heads(objective, 2, rows=["1.weight"])
    with pytest.raises(ValueError, match="with a parameter to split"):
        hs.attention_heads(objective, 2)
    with pytest.raises(TypeError, match="block: operator must be a SymmetricOperator"):
        hs.block(torch.eye(3), slice(0, 2))


def test_an_objective_of_another_size_is_refused(network):
    """Its first coordinates would be taken for all."""
    objective, h, _ = network
    small = hs.Objective(nn.Linear(3, 3).double(), nn.MSELoss(), (torch.ones(2, 3), torch.ones(2, 3)))
    said = f"must be the objective of the {{}}, with n = {objective.n}, got n = 12"
    with pytest.raises(ValueError, match="block_densities: groups " + said.format("operator")):
        hs.block_densities(h, small, num_steps=2)
    with pytest.raises(ValueError, match="participation: parts " + said.format("eigenvectors")):
        hs.participation(hs.eigenpairs(h, 1), small)
