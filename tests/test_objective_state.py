"""A model is after an evaluation as it was before, and what is random is refused or fixed."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hesscope.objective import Objective


def normed(dropout=0.0):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(dropout), nn.Tanh(), nn.Linear(4, 2))
    return model, (torch.randn(8, 3), torch.randint(0, 2, (8,)))


@pytest.mark.parametrize("mode", ["keep", "eval", "train"])
@pytest.mark.parametrize("training", [True, False])
def test_mode_decides_and_everything_is_put_back(mode, training):
    model, data = normed()
    model.train(training)
    model[1].train(False)
    flags = [m.training for m in model.modules()]
    before = copy.deepcopy(model.state_dict())
    buffers = [id(b) for b in model.buffers()]
    versions = [b._version for b in model.buffers()]
    objective = Objective(model, F.cross_entropy, data, mode=mode)
    value, _ = objective.loss(), objective.gradient()
    assert [m.training for m in model.modules()] == flags
    assert [id(b) for b in model.buffers()] == buffers
    assert [b._version for b in model.buffers()] == versions
    assert all(torch.equal(a, b) for a, b in zip(before.values(), model.state_dict().values(), strict=True))
    twin = copy.deepcopy(model)
    if mode != "keep":
        twin.train(mode == "train")
    assert value == pytest.approx(F.cross_entropy(twin(data[0]), data[1]).item(), rel=1e-6)


def test_everything_is_put_back_after_an_error():
    model, data = normed()

    def loss(m, batch):
        m(batch[0])
        raise KeyError

    before = copy.deepcopy(model.state_dict())
    with pytest.raises(KeyError):
        Objective(model, loss, data, mode="train", params="0.*").loss()
    assert all(torch.equal(a, b) for a, b in zip(before.values(), model.state_dict().values(), strict=True))
    assert all(p.requires_grad for p in model.parameters())
    assert torch.backends.mha.get_fastpath_enabled()


def test_live_dropout_is_refused_by_name_unless_a_seed_fixes_it():
    model, data = normed(dropout=0.5)
    with pytest.raises(ValueError, match=r"live dropout in 2; pass mode='eval', or rng_seed="):
        Objective(model, F.cross_entropy, data)
    with pytest.raises(ValueError, match="live dropout"):
        Objective(model.eval(), F.cross_entropy, data, mode="train")
    evaluated = Objective(model, F.cross_entropy, data)
    value = evaluated.loss()
    model.train()
    with pytest.raises(ValueError, match="live dropout"):
        evaluated.loss()
    assert Objective(model, F.cross_entropy, data, mode="eval").loss() == value


@pytest.mark.parametrize(
    "layer",
    [
        nn.LSTM(3, 3, num_layers=2, dropout=0.1),
        nn.MultiheadAttention(4, 2, dropout=0.1),
        nn.TransformerEncoderLayer(4, 2, 8),
        nn.AlphaDropout(0.1),
        nn.RReLU(),
    ],
)
def test_every_layer_that_draws_is_seen(layer):
    model = nn.ModuleList([nn.Linear(1, 1), layer])
    with pytest.raises(ValueError, match="live dropout in 1"):
        Objective(model, F.mse_loss, (torch.ones(1), torch.ones(1)))
    assert Objective(model, F.mse_loss, (torch.ones(1), torch.ones(1)), mode="eval").n > 0


def test_a_seed_fixes_one_mask_per_batch_and_leaves_the_generator_alone():
    model, data = normed(dropout=0.5)
    before = torch.get_rng_state()
    two = [data, data]
    objective = Objective(model, F.cross_entropy, two, rng_seed=3)
    value = objective.loss()
    assert value == objective.loss()
    assert torch.equal(objective.gradient(), objective.gradient())
    assert torch.equal(torch.get_rng_state(), before)
    assert value != Objective(model, F.cross_entropy, two, rng_seed=5).loss()
    # the second batch has a mask of its own
    assert value != Objective(model, F.cross_entropy, [data], rng_seed=3).loss()


def test_hidden_randomness_is_noticed_at_first_use():
    model, data = normed()

    def loss(m, batch):
        return F.cross_entropy(F.dropout(m(batch[0]), 0.5), batch[1])

    for use in (Objective.loss, Objective.gradient):
        with pytest.raises(ValueError, match=r"loss must be deterministic.*rng_seed="):
            use(Objective(model, loss, data))
        use(Objective(model, loss, data, rng_seed=0))


def test_the_determinism_check_costs_one_evaluation_once():
    model, data = normed()
    calls = []

    def loss(m, batch):
        calls.append(1)
        return F.cross_entropy(m(batch[0]), batch[1])

    objective = Objective(model, loss, [data] * 3)
    objective.loss()
    assert len(calls) == 4
    objective.gradient()
    assert len(calls) == 7


def test_a_loss_that_differentiates_inputs_can_be_evaluated():
    model, (x, _) = normed()

    def residual(m, batch):
        points = batch.clone().requires_grad_()
        (slope,) = torch.autograd.grad(m(points).sum(), points, create_graph=True)
        return (slope**2).mean()

    with torch.no_grad():
        objective = Objective(model, residual, x, mode="eval")
        assert objective.loss() > 0
        assert objective.gradient().isfinite().all()
