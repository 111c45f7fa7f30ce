"""The jets engine on models of ``transformers``, with dict batches and their own loss."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("transformers", reason="needs transformers, which the extra `test` installs")

from hesscope.curvature import hessian
from hesscope.objective import Objective
from jets_cases import RELATIVE, vectors
from jets_models import hub
from jets_models.claims import assert_as_good_in_float32, assert_exact

ATTENTION = ["eager", "sdpa"]
CASES = {
    "gpt2": hub.gpt2,
    "gpt2_masked": lambda attention: hub.gpt2(attention, masked=True),
    "llama": hub.llama,
    "llama_masked": lambda attention: hub.llama(attention, masked=True),
    "llama_tied": lambda attention: hub.llama(attention, tied=True),
    "vision": hub.vision,
    "bert": hub.bert,
}


@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize("name", CASES)
def test_products_are_exact_symmetric_and_linear(name, attention):
    assert_exact(CASES[name](attention))


@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize("name", ["gpt2", "llama", "vision"])
def test_float32_is_as_good_as_double_backward(name, attention):
    assert_as_good_in_float32(CASES[name](attention))


def test_masks_of_another_shape_of_path_are_captured_again():
    """A model skips an attention mask of ones: two batches of one signature take two paths."""
    case, other = hub.llama("sdpa", masked=True), hub.text(masked=True)
    other["attention_mask"][:] = 1
    case.batch = [case.batch, other]
    objective = case.objective(torch.float64)
    jets = hessian(objective, engine="jets")
    v = vectors(2, objective.n)
    expected = hessian(objective, engine="autograd").rows(v)
    assert (jets.rows(v) - expected).norm() <= RELATIVE * expected.norm()
    assert len(jets._programs) == 2


def test_dropout_is_fixed_by_a_seed():
    case = hub.gpt2("eager", dropout=0.1)
    case.options = {"mode": "train", "rng_seed": 5}
    assert_exact(case)
    with pytest.raises(ValueError, match="dropout must be off or fixed by a seed"):
        Objective(case.model, case.loss, case.batch, mode="train")
