"""The jets engine on recurrent classifiers, against double backward."""

from __future__ import annotations

import pytest

from jets_models import recurrent
from jets_models.claims import assert_as_good_in_float32, assert_exact


@pytest.mark.parametrize("name", recurrent.LAYERS)
def test_products_are_exact_symmetric_and_linear(name):
    assert_exact(recurrent.classifier(name))


@pytest.mark.parametrize("name", ["lstm", "gru", "own_cell"])
def test_float32_is_as_good_as_double_backward(name):
    assert_as_good_in_float32(recurrent.classifier(name))


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_packed_sequences(name):
    assert_exact(recurrent.packed(name))
