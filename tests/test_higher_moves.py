"""Rules above first order of operators that only move or choose entries, against nested autograd."""

from __future__ import annotations

import pytest
import torch.nn.functional as F

import test_jets_images as images
import test_jets_selection as selection
from jets_cases import function_objective, smooth
from third_order_cases import assert_third_order

CHOICES = ["max_of_all", "ties", "median", "median_along", "aminmax", "kthvalue", "sort", "topk", "cummax"]
WITHOUT_RULE = {"scatter_sum", "scatter_mean", "scatter_max"}  # scatter_reduce
VOLUMES = {
    "nearest": lambda x: F.interpolate(x, scale_factor=2, mode="nearest"),
    "trilinear": lambda x: F.interpolate(x, scale_factor=2, mode="trilinear"),
    "replicate": lambda x: F.pad(x, (1, 2) * 3, mode="replicate"),
    "reflect": lambda x: F.pad(x, (1, 1) * 3, mode="reflect"),
    "max": lambda x: F.max_pool3d(x, 2, stride=1),
    "adaptive_max": lambda x: F.adaptive_max_pool3d(x, 2),
    "adaptive_average": lambda x: F.adaptive_avg_pool3d(x, 2),
}


def bent(function):
    """Give the argument coefficients of every order."""
    return lambda x: function(x.sin() + 0.5 * x)


@pytest.mark.parametrize("name", CHOICES)
def test_order_statistics(name):
    assert_third_order(function_objective(bent(selection.REDUCTIONS[name]), smooth(3, 4)))


@pytest.mark.parametrize("name", sorted(selection.MOVES.keys() - WITHOUT_RULE))
def test_scattering_and_gathering(name):
    assert_third_order(function_objective(bent(selection.MOVES[name]), smooth(2, 3, 4)))


@pytest.mark.parametrize("name", VOLUMES)
def test_volumes(name):
    assert_third_order(function_objective(bent(VOLUMES[name]), smooth(2, 2, 3, 3, 3)))


@pytest.mark.parametrize("name", images.OTHERS)
def test_other_functions_of_images(name):
    function, shape = images.OTHERS[name]
    assert_third_order(function_objective(bent(function), smooth(*shape)))
