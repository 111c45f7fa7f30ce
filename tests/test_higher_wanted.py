"""Coefficients that are zero, or that nothing needs, are not computed: counted in matrix products."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import hesscope as hs
from hesscope.curvature.allocations import Allocations
from third_order_cases import assert_third_order

ROWS, WIDTHS = 7, (3, 5, 6, 4)
SIZES = [2 * ROWS * a * b for a, b in itertools.pairwise(WIDTHS)]  # of one product of each layer

# Products of matrices by layer. The first layer: forward of order 1, and the weight's of order 2. The last:
# two coefficients of two products each forward and back, and the three of x, g of order 2 for its weight.
# Between them piecewise linear activations leave nothing of order 2 in what enters the second layer, and
# nothing that needs order 1 of what its backward returns.
PIECEWISE = (2, 7, 11)
SMOOTH = (2, 11, 11)


def objective_of(activation):
    torch.manual_seed(0)
    layers = [nn.Linear(WIDTHS[0], WIDTHS[1]), activation, nn.Linear(WIDTHS[1], WIDTHS[2]), activation]
    model = nn.Sequential(*layers, nn.Linear(WIDTHS[2], WIDTHS[3])).double()
    batch = torch.randn(ROWS, WIDTHS[0], dtype=torch.float64), torch.arange(ROWS) % WIDTHS[3]
    return hs.Objective(model, F.cross_entropy, batch)


@pytest.mark.parametrize(
    ("activation", "products"),
    [
        (nn.ReLU(), PIECEWISE),
        (nn.LeakyReLU(0.1), PIECEWISE),
        (nn.Hardtanh(), PIECEWISE),
        (nn.Softshrink(0.1), PIECEWISE),
        (nn.Tanh(), SMOOTH),
    ],
)
@pytest.mark.parametrize("k", [1, 3])
def test_products_of_matrices_that_are_zero_or_not_needed_are_left_out(activation, products, k):
    objective = objective_of(activation)
    u = torch.randn(k, objective.n, dtype=torch.float64)
    d3 = hs.third_order(objective, engine="jets")
    d3.contract(u, u)
    with Allocations() as counter:
        d3.contract(u, u)
    assert counter.flops == k * sum(n * size for n, size in zip(products, SIZES, strict=True))


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.LeakyReLU(0.1), nn.Hardtanh(), nn.Softshrink(0.1)])
def test_what_is_left_is_the_third_derivative(activation):
    assert_third_order(objective_of(activation))


class Frozen(nn.Module):
    """Products and convolutions of which one factor does not move, between such of which both do."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.out = nn.Conv2d(2, 3, 3), nn.Conv2d(3, 3, 3), nn.Linear(3, 2)
        self.register_buffer("mask", torch.randn(3, 1, 1))
        self.register_buffer("still", torch.randn(3, 3))
        self.second.requires_grad_(False)

    def forward(self, x):
        x = self.second(torch.tanh(self.first(x)) * self.mask)
        return self.out(torch.sin(torch.addcmul(x, x, self.mask).mean((2, 3)) @ self.still))


def test_factors_that_do_not_move_pass_every_coefficient():
    torch.manual_seed(0)
    batch = torch.randn(4, 2, 6, 6, dtype=torch.float64), torch.arange(4) % 2
    assert_third_order(hs.Objective(Frozen().double(), F.cross_entropy, batch))
