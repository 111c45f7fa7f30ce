"""The jets engine on networks written out, against double backward: exact in float64, as good in float32."""

from __future__ import annotations

import pytest

from jets_models import networks
from jets_models.claims import assert_as_good_in_float32, assert_exact

# torch.func.hessian compiles decompositions of its own by a deprecated function
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")

CASES = {
    "perceptron": networks.perceptron,
    "resnet18_train": lambda: networks.resnet18("train"),
    "resnet18_eval": lambda: networks.resnet18("eval"),
    "group_norm_cnn": networks.group_norm_cnn,
    "autoencoder": lambda: networks.autoencoder("batch"),
    "autoencoder_with_a_seed": lambda: networks.autoencoder("seed"),
    "burgers": lambda: networks.burgers(networks.by_autograd),
    "burgers_by_transforms": lambda: networks.burgers(networks.by_transforms),
}


@pytest.mark.parametrize("name", CASES)
def test_products_are_exact_symmetric_and_linear(name):
    assert_exact(CASES[name]())


@pytest.mark.parametrize("name", [name for name in CASES if name != "autoencoder_with_a_seed"])
def test_float32_is_as_good_as_double_backward(name):
    # noise drawn from a seed is another one in float32
    assert_as_good_in_float32(CASES[name]())
