"""Small batches are merged where, and only where, that gives the same H."""

import functools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hesscope.curvature import hessian
from hesscope.objective import Objective


@pytest.fixture(params=["auto", "autograd"], autouse=True)
def engine(request, monkeypatch):
    """Every test of this file, by either engine."""
    monkeypatch.setitem(globals(), "hessian", functools.partial(hessian, engine=request.param))
    return request.param


CLASS_WEIGHTS = torch.tensor([0.5, 2.0, 3.0], dtype=torch.float64)


def perceptron():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 3)).double()


def cut(x, y, split):
    return list(zip(x.split(split), y.split(split), strict=True))


def classification(rows=100):
    g = torch.Generator().manual_seed(1)
    y = torch.randint(0, 3, (rows,), generator=g)
    y[::7] = -100
    return torch.randn(rows, 3, generator=g, dtype=torch.float64), y


def unmerged(model, criterion, data, **options):
    """The same objective, with the criterion hidden, weighted by what it counts."""
    reference = Objective(model, criterion, data, **options)
    total = sum(reference.coefficients(b)[1] for b in data)
    rows = []
    for batch in data:
        h = hessian(Objective(model, lambda m, b: criterion(m(b[0]), b[1]), batch))
        rows.append(reference.coefficients(batch)[0] * products(h))
    return sum(rows) / (total if reference.reduction == "mean" else 1)


def products(h):
    return h.rows(torch.eye(h.shape[0], dtype=h.dtype))


CRITERIA = {
    "mean": nn.CrossEntropyLoss(),
    "sum": nn.CrossEntropyLoss(reduction="sum"),
    "weighted": nn.CrossEntropyLoss(weight=CLASS_WEIGHTS),
    "smooth": functools.partial(F.cross_entropy, weight=CLASS_WEIGHTS, label_smoothing=0.1),
}


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("split", [[10] * 10, [7, 31, 62]], ids=["even", "ragged"])
@pytest.mark.parametrize("name", CRITERIA)
def test_merging_gives_the_same_hessian(name, split, reduction):
    model, (x, y) = perceptron(), classification()
    data = cut(x, y, split)
    h = hessian(Objective(model, CRITERIA[name], data, reduction=reduction))
    got = products(h)
    assert "merged into 1" in h.explain()
    reference = unmerged(model, CRITERIA[name], data, reduction=reduction)
    whole = products(hessian(Objective(model, CRITERIA[name], (x, y), reduction=reduction)))
    bound = 100 * torch.finfo(torch.float64).eps * float(reference.abs().sum(dim=1).max())
    assert (got - reference).abs().max() <= bound
    assert (got - whole).abs().max() <= bound


def test_groups_are_of_one_signature_and_bounded():
    model = perceptron()
    g = torch.Generator().manual_seed(0)
    sizes = [100, 100, 100, 300, 40]
    x = [torch.randn(n, 3, generator=g, dtype=torch.float64) for n in sizes]
    x.append(torch.randn(4, 2, 3, generator=g, dtype=torch.float64))
    y = [torch.randn(*a.shape, generator=g, dtype=torch.float64) for a in x]
    data = list(zip(x, y, strict=True))
    h = hessian(Objective(model, nn.MSELoss(), data))
    got = products(h)
    assert [len(group.entries) for group in h._plan.groups] == [2, 1, 1, 1, 1]
    reference = unmerged(model, nn.MSELoss(), data)
    bound = 100 * torch.finfo(torch.float64).eps * float(reference.abs().sum(dim=1).max())
    assert (got - reference).abs().max() <= bound


def test_inputs_of_several_tensors_are_merged():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = perceptron()

        def forward(self, left, right):
            return self.body(left * right)

    model, (x, y) = Two(), classification()
    data = [((a, a + 1), b) for a, b in cut(x, y, [50, 50])]
    data_by_name = [({"left": a, "right": a + 1}, b) for a, b in cut(x, y, [50, 50])]
    by_name = hessian(Objective(model, F.cross_entropy, data_by_name))
    by_place = hessian(Objective(model, F.cross_entropy, data))
    assert torch.equal(products(by_name), products(by_place))
    assert "merged into 1" in by_place.explain()


def reason(model, loss, data, **options):
    budget = options.pop("memory_budget", None)
    h = hessian(Objective(model, loss, data, **options), memory_budget=budget)
    h.rows(torch.ones(1, h.shape[0], dtype=h.dtype))
    assert len(h._plan.groups) == len(data)
    return h.explain()


def test_what_is_not_merged_says_why():
    model, (x, y) = perceptron(), classification()
    data = cut(x, y, 50)

    def loss(m, batch):
        return F.cross_entropy(m(batch[0]), batch[1])

    assert "not a known criterion" in reason(model, loss, data)
    assert "not a known criterion" in reason(model, None, data, criterion=lambda o, t: F.cross_entropy(o, t))
    assert "weight= is given" in reason(model, F.cross_entropy, data, weight=lambda _b: 1.0)
    assert "beyond memory_budget" in reason(model, F.cross_entropy, data, memory_budget=0)
    dropout = nn.Sequential(model, nn.Dropout(0.1))
    assert "dropout draws" in reason(dropout, F.cross_entropy, data, rng_seed=0)
    norm = nn.Sequential(model, nn.BatchNorm1d(3)).double()
    assert "1 normalises over the batch" in reason(norm, F.cross_entropy, data)
    stateless = nn.Sequential(model, nn.BatchNorm1d(3, track_running_stats=False)).double().eval()
    assert "1 normalises over the batch" in reason(stateless, F.cross_entropy, data)
    per_batch = nn.BCEWithLogitsLoss(weight=torch.rand(50, 3, dtype=torch.float64))
    assert "not a known criterion" in reason(model, per_batch, cut(x, torch.rand(100, 3).double(), 50))


class SequenceFirst(nn.Module):
    """Takes [time, batch, features]: concatenation along dimension 0 would join sequences."""

    def __init__(self, scale=1.0):
        super().__init__()
        self.rnn = nn.RNN(3, 4)
        self.head = nn.Linear(4, 3)
        with torch.no_grad():
            self.rnn.weight_hh_l0.mul_(scale)

    def forward(self, x):
        return self.head(self.rnn(x)[0]).transpose(1, 2)


class Standardised(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = perceptron()

    def forward(self, x):
        h = self.body(x)
        return h - h.mean(dim=0, keepdim=True)


class FixedBatch(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = perceptron()

    def forward(self, x):
        return self.body(x.view(10, 3))


@pytest.mark.parametrize(
    "build", [SequenceFirst, functools.partial(SequenceFirst, 0.0), Standardised, FixedBatch]
)
def test_a_model_that_mixes_samples_is_not_merged(build):
    torch.manual_seed(0)
    model = build().double()
    g = torch.Generator().manual_seed(0)
    shape = (10, 2) if isinstance(model, SequenceFirst) else (10,)
    data = [
        (torch.randn(*shape, 3, generator=g, dtype=torch.float64), torch.randint(0, 3, shape, generator=g))
        for _ in range(3)
    ]
    h = hessian(Objective(model, nn.CrossEntropyLoss(), data))
    got = products(h)
    assert "the model mixes samples" in h.explain()
    reference = unmerged(model, nn.CrossEntropyLoss(), data)
    bound = 100 * torch.finfo(torch.float64).eps * float(reference.abs().sum(dim=1).max())
    assert (got - reference).abs().max() <= bound
