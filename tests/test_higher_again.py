"""Results that are computed again: the same numbers in less memory, where not even one vector fits."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import hesscope as hs
from hesscope.curvature.allocations import Allocations
from hesscope.curvature.jets.higher import again, engine
from jets_cases import function_objective, smooth
from memory_cases import peak_bytes


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.first, self.second = (nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(2))
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(2))

    def forward(self, x):
        inner = F.relu(self.norms[0](self.first(x)))
        return F.relu(self.norms[1](self.second(inner)) + x)


def problem(depth=4, dtype=torch.float64):
    torch.manual_seed(0)
    stem = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.LeakyReLU(0.1)]
    blocks = [Residual(8) for _ in range(depth)]
    model = nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    batch = torch.randn(4, 3, 12, 12, dtype=dtype), torch.arange(4) % 3
    return hs.Objective(model.to(dtype).eval(), F.cross_entropy, batch)


@pytest.fixture
def no_vector_fits(monkeypatch):
    monkeypatch.setattr(engine, "working_set", lambda *_: 0)


def prepared_of(d3):
    return next(iter(d3._engines.now._prepared.values()))


def contracted(objective):
    d3 = hs.third_order(objective, engine="jets")
    u, v = torch.randn(2, 2, objective.n, dtype=objective.dtype, generator=torch.Generator().manual_seed(1))
    results = [d3.contract(u, u), d3.contract(u, v), d3.contract(u, u, reduction="sum")]
    return [*results, d3.quadratic_form(u), d3.cubic_form(u)]


def test_what_is_computed_again_is_what_was_held(monkeypatch):
    held = contracted(problem())
    monkeypatch.setattr(engine, "working_set", lambda *_: 0)
    for got, expected in zip(contracted(problem()), held, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-14)


def test_it_needs_less_memory_and_no_more_products(no_vector_fits, monkeypatch):
    del no_vector_fits
    objective = problem(dtype=torch.float32)
    d3, u = hs.third_order(objective, engine="jets"), torch.randn(1, objective.n)
    d3.contract(u, u)
    found = {}
    for sparing, size in ((True, 0), (False, 1 << 40)):
        monkeypatch.setattr(engine, "working_set", lambda *_, size=size: size)
        with Allocations() as counter:
            d3.contract(u, u)
        found[sparing] = peak_bytes(lambda: d3.contract(u, u)), counter.flops
    assert found[True][0] <= 0.85 * found[False][0]
    assert found[True][1] == found[False][1]


@pytest.mark.parametrize("depth", [1, 4])
def test_cheap_results_run_at_most_twice_and_others_once(depth):
    objective = problem(depth)
    d3, u = hs.third_order(objective, engine="jets"), torch.randn(1, objective.n, dtype=objective.dtype)
    d3.contract(u, u)
    parts = prepared_of(d3).program.parts
    order = [index for index, _ in again.schedule(parts)]
    times = {index: order.count(index) for index in parts.moving}
    assert set(times) == set(order)
    twice = [parts.moving[index].instruction.target for index, count in times.items() if count == 2]
    assert max(times.values()) == 2
    assert set(twice) <= again._CHEAP
    # the affine map and the activation of the stem and of the first norm of every block
    assert len(twice) == 2 * (1 + depth)
    assert all(not parts.moving[i].terms for i, count in times.items() if count == 2)


def test_a_gradient_that_does_not_move_has_nothing_to_compute_again(no_vector_fits):
    del no_vector_fits
    objective = function_objective(lambda x: x[:, 1:] * 2, smooth(3, 4))
    u = torch.randn(2, objective.n, dtype=objective.dtype)
    assert not hs.third_order(objective, engine="jets").contract(u, u).any()


def test_nothing_runs_again_where_a_vector_fits(monkeypatch):
    objective = problem()
    d3, u = hs.third_order(objective, engine="jets"), torch.randn(2, objective.n, dtype=objective.dtype)
    monkeypatch.setattr(again, "schedule", None)  # would fail
    d3.contract(u, u)
    assert "_sparing" not in vars(prepared_of(d3))
