"""Rules above first order of functions that few models use, against differences of products with H."""

from __future__ import annotations

import pytest
import torch

import test_jets_activations as activations
from jets_cases import function_objective, positive, smooth
from test_higher_rules import assert_is_difference


def named(name):
    module, _, short = name.rpartition(".")
    return getattr(torch.special if module else torch, short)


@pytest.mark.parametrize("name", activations.SPECIAL)
def test_special_functions(name):
    function = named(name)
    x = positive(3, 4) + (1 if name == "acosh" else 0)
    assert_is_difference(function_objective(lambda x: function(x + 0.1 * x.sin()) + x * x, x), "jets")


@pytest.mark.parametrize("name", activations.INSIDE)
def test_special_functions_between_0_and_1(name):
    function = named(name)
    assert_is_difference(function_objective(lambda x: function(x.sigmoid()), smooth(3, 4)), "jets")


@pytest.mark.parametrize("name", activations.BINARY)
def test_binary_functions(name):
    function = activations.BINARY[name]
    a, b = positive(3, 4), positive(3, 4, seed=1)
    assert_is_difference(function_objective(lambda a, b: function(a + 0.1 * a * a, b), a, b), "jets")
