"""Losses whose path through Python depends on values: every path is captured, its conditions checked."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hesscope.curvature import hessian
from hesscope.objective import Objective
from jets_cases import RELATIVE, assert_agrees, vectors


def problem(loss, *batches):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    return model, Objective(model, loss, list(batches), mode="eval")


def batch(seed, rows=6):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 4, generator=g, dtype=torch.float64)
    return x, torch.randint(0, 3, (rows,), generator=g)


def assert_still_agrees(jets):
    v = vectors(3, jets.shape[0])
    expected = hessian(jets.objective, engine="autograd").rows(v)
    assert (jets.rows(v) - expected).norm() <= RELATIVE * expected.norm()


def branch(model, data):
    out = model(data[0])
    return F.cross_entropy(out * 3 if out.sum() > 0 else out.sin(), data[1])


def test_each_side_of_a_branch_is_captured_once():
    model, objective = problem(branch, *map(batch, range(4)))
    sums = [float(model(batch(i)[0]).sum().detach()) for i in range(4)]
    assert min(sums) < 0 < max(sums)
    jets = assert_agrees(objective)
    assert len(jets._programs) == 2
    with torch.no_grad():  # every batch takes the other path
        model[2].weight.neg_()
        model[2].bias.neg_()
    assert_still_agrees(jets)
    assert len(jets._programs) == 2


def test_a_branch_changes_sides_when_the_weights_do():
    model, objective = problem(branch, batch(0))
    jets = assert_agrees(objective)
    with torch.no_grad():
        model[2].bias.fill_(5.0 if float(model(batch(0)[0]).sum().detach()) < 0 else -5.0)
    assert_still_agrees(jets)
    assert len(jets._programs) == 2


def positives(model, data):
    chosen = model(data[0])[data[1] > 0]
    return chosen.square().mean()


def counted(model, data):
    return model(data[0]).square().sum() / int((data[1] == 1).sum())


def listed(model, data):
    out = model(data[0])
    return sum(out[i, k] ** 3 for i, k in enumerate(data[1].tolist()))


def one_hot(model, data):
    chosen = F.one_hot(data[1]).double()  # as wide as the batch's largest class
    return (model(data[0])[:, : chosen.shape[1]] * chosen).square().sum()


def same(model, data):
    return model(data[0]).square().sum() * (2.0 if torch.equal(data[1], data[1].clamp_max(1)) else 1.0)


def scaled(model, data):
    return model(data[0] / float(data[0].abs().max())).square().sum()


@pytest.mark.parametrize(
    "loss", [positives, counted, listed, one_hot, same, scaled], ids=lambda f: f.__name__
)
def test_what_is_read_from_a_batch_is_part_of_its_path(loss):
    _, objective = problem(loss, *map(batch, range(4)))
    jets = assert_agrees(objective)
    assert 1 <= len(jets._programs) <= 4
    again = JetsAgain(objective)
    assert again.captures == len(jets._programs)  # batches of one path share it


class JetsAgain:
    """How often a fresh engine captures, without memory for what it computed."""

    def __init__(self, objective):
        self.engine = hessian(objective, engine="jets", memory_budget=0)
        for _ in range(2):
            self.engine.rows(vectors(2, objective.n))
        self.captures = len(self.engine._programs)


def test_a_loss_without_values_to_read_has_one_path():
    _, objective = problem(lambda m, b: F.cross_entropy(m(b[0]), b[1]), batch(0), batch(1))
    assert len(assert_agrees(objective)._programs) == 1


WRITES = {
    "column": lambda out: out.index_fill(1, torch.tensor([0]), 0.0),
    "slice": lambda out: assign(out, (slice(None), slice(0, 2)), out[:, 1:] * out[:, :1]),
    "select": lambda out: assign(out, (slice(None), 0), 0.5),
    "row": lambda out: assign(out, 1, out[0] ** 2),
    "mask": lambda out: assign(out, out.detach() > 0, 0.0),
    "entries": lambda out: assign(out, (torch.tensor([0, 2]), torch.tensor([1, 1])), out[:2, 0] ** 2),
    "view": lambda out: through(out, lambda t: t.view(2, -1)[1].mul_(2)),
    "transpose": lambda out: through(out, lambda t: t.t()[1].sin_()),
    "diagonal": lambda out: through(out, lambda t: t[:3].diagonal().add_(1.0).mul_(2)),
    "two_views": lambda out: through(out, lambda t: (t[:4].mul_(2), t[2:].cos_())),
    "buffer": lambda out: fill(out),
}


def assign(out, index, value):
    copy = out * 1.0
    before = copy.sum()
    copy[index] = value
    return copy + before


def through(out, write):
    copy = out * 1.0
    view = copy[:, :1]  # taken before, read after
    write(copy)
    return copy + view


def fill(out):
    states = torch.zeros(len(out), 2, 3, dtype=out.dtype)
    states[:, 0] = out
    states[:, 1].copy_(out.sin())
    states[:, 1].mul_(2.0)
    return states.flatten(1)


@pytest.mark.parametrize("name", WRITES)
def test_writing_in_place_is_seen_by_every_later_reader(name):
    def loss(model, data):
        return (WRITES[name](model(data[0])) ** 2).sum() + model(data[0]).exp().mean()

    _, objective = problem(loss, batch(0))
    assert_agrees(objective)


def test_pieces_of_a_tensor_may_be_written_where_nothing_is_differentiated():
    def loss(model, data):
        with torch.no_grad():
            table = torch.ones(3, len(data[0]), dtype=torch.float64)
            table.unbind(0)[1].copy_(data[0][:, 0])
            table.split([1, 2])[1].mul_(3.0)
            table.t_()
        return (model(data[0]) * table).square().sum()

    _, objective = problem(loss, batch(0), batch(1))
    assert_agrees(objective)
