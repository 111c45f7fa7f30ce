"""Attention in every form of ``scaled_dot_product_attention``, embeddings and bags, weight norm."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hesscope.curvature import hessian
from hesscope.objective import Objective
from jets_cases import RELATIVE, assert_agrees, function_objective, smooth, vectors

CAUSAL = torch.ones(4, 4, dtype=torch.bool).tril()
FLOAT_MASK = smooth(2, 1, 4, 4, seed=8)
NOTHING_TO_SEE = CAUSAL.clone()
NOTHING_TO_SEE[0] = False
attend = F.scaled_dot_product_attention
FORMS = {
    "plain": attend,
    "causal": lambda q, k, v: attend(q, k, v, is_causal=True),
    "bool_mask": lambda q, k, v: attend(q, k, v, attn_mask=CAUSAL),
    "float_mask": lambda q, k, v: attend(q, k, v, attn_mask=FLOAT_MASK),
    "bias_of_the_model": lambda q, k, v: attend(q, k, v, attn_mask=(q @ k.mT).tanh()),
    "a_row_without_keys": lambda q, k, v: attend(q, k, v, attn_mask=NOTHING_TO_SEE),
    "scale": lambda q, k, v: attend(q, k, v, scale=0.3, dropout_p=0.0),
    "without_heads": lambda q, k, v: attend(q[0], k[0], v[0]),
    "fewer_queries": lambda q, k, v: attend(q[:, :, :2], k, v),
}


@pytest.mark.parametrize("name", FORMS)
def test_attention(name):
    assert_agrees(function_objective(FORMS[name], *(smooth(2, 2, 4, 3, seed=i) for i in range(3))))


@pytest.mark.parametrize("causal", [False, True])
def test_grouped_queries(causal):
    def function(q, k):
        return attend(q, k, k * k, enable_gqa=True, is_causal=causal)

    assert_agrees(function_objective(function, smooth(2, 4, 3, 3), smooth(2, 2, 3, 3, seed=1)))


@pytest.mark.parametrize(
    "options", [{}, {"bias": False}, {"kdim": 3, "vdim": 5}, {"add_bias_kv": True}], ids=str
)
def test_multihead_attention(options):
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(4, 2, batch_first=True, **options).double()
    batch = (smooth(2, 3, 4), smooth(2, 4, options.get("kdim", 4)), smooth(2, 4, options.get("vdim", 4)))

    def loss(model, data):
        mixed, weights = model(
            *data, key_padding_mask=torch.tensor([[False] * 4, [False, False, True, True]])
        )
        return mixed.square().sum() + weights.exp().sum()

    assert_agrees(Objective(layer, loss, batch))


INDICES = torch.tensor([[0, 2, 1], [2, 2, 0]])
FLAT, OFFSETS = torch.tensor([0, 1, 3, 1, 2]), torch.tensor([0, 2, 2])


def mixed(rows):
    """Rows meet each other, so that a derivative where there should be none would show."""
    return torch.tanh(rows @ rows.mT)


@pytest.mark.parametrize("options", [{}, {"padding_idx": 2}, {"scale_grad_by_freq": True}], ids=str)
def test_embeddings(options):
    assert_agrees(function_objective(lambda w: mixed(F.embedding(INDICES, w, **options)), smooth(4, 3)))


@pytest.mark.parametrize("padding_idx", [None, 1])
@pytest.mark.parametrize("mode", ["sum", "mean"])
def test_bags_are_sums_of_embeddings(mode, padding_idx):
    """Double backward has no second derivative of ``embedding_bag``; the sum of its rows has."""

    def bags(w):
        return mixed(F.embedding_bag(FLAT, w, OFFSETS, mode=mode, padding_idx=padding_idx))

    def written_out(w):
        rows = F.embedding(FLAT, w, padding_idx=padding_idx)
        counted = torch.ones(5, dtype=w.dtype) if padding_idx is None else (padding_idx != FLAT).to(w.dtype)
        found = []
        for start, stop in ((0, 2), (2, 2), (2, 5)):
            total = (rows * counted[:, None])[start:stop].sum(0)
            found.append(total / counted[start:stop].sum().clamp_min(1) if mode == "mean" else total)
        return mixed(torch.stack(found))

    got = hessian(function_objective(bags, smooth(4, 3)), engine="jets")
    expected = hessian(function_objective(written_out, smooth(4, 3)), engine="autograd")
    v = vectors(5, 12)
    assert (got.rows(v) - expected.rows(v)).norm() <= RELATIVE * expected.rows(v).norm()


def test_weights_of_bags():
    def bags(w, s):
        return mixed(F.embedding_bag(INDICES, w, per_sample_weights=s, mode="sum"))

    def written_out(w, s):
        return mixed((F.embedding(INDICES, w) * s[:, :, None]).sum(1))

    inputs = smooth(4, 3), smooth(2, 3, seed=1)
    got = hessian(function_objective(bags, *inputs), engine="jets")
    expected = hessian(function_objective(written_out, *inputs), engine="autograd")
    v = vectors(5, 18)
    assert (got.rows(v) - expected.rows(v)).norm() <= RELATIVE * expected.rows(v).norm()


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("dim", [0, 1, None])
def test_weight_norm_in_both_engines(old, dim):
    """PyTorch's own double backward takes the norms for constants; differences of gradients do not."""
    torch.manual_seed(0)
    normalise = nn.utils.weight_norm if old else nn.utils.parametrizations.weight_norm
    model = nn.Sequential(normalise(nn.Linear(4, 3), dim=dim), nn.Tanh(), nn.Linear(3, 2)).double()
    objective = Objective(model, nn.MSELoss(), (smooth(6, 4), smooth(6, 2, seed=1)))
    jets = assert_agrees(objective)
    v, step = vectors(1, objective.n)[0], 1e-5
    gradients = []
    for sign in (1, -1):
        with torch.no_grad():
            for part, p in zip(objective.slices.values(), objective.parameters.values(), strict=True):
                p.add_(v[part].view_as(p), alpha=sign * step)
        gradients.append(objective.gradient())
        with torch.no_grad():
            for part, p in zip(objective.slices.values(), objective.parameters.values(), strict=True):
                p.sub_(v[part].view_as(p), alpha=sign * step)
    difference = (gradients[0] - gradients[1]) / (2 * step)
    assert (jets @ v - difference).norm() <= 1e-6 * difference.norm()
