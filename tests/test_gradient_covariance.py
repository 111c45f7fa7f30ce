"""The covariance of gradients: against the gradients of samples and batches themselves."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import hesscope as hs
from jets_cases import vectors
from output_cases import CRITERIA, ENGINES, LABELS, X, assert_close, dense, mlp

RAGGED = (slice(0, 5), slice(5, 6), slice(6, 12))


def covariance(g, p):
    p = p / p.sum()
    centred = g - p @ g
    return centred.T @ (p[:, None] * centred)


def gradients(model, loss, batches):
    return torch.stack([hs.Objective(model, loss, batch).gradient() for batch in batches])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("name", ["class weights", "mse", "summed"])
def test_over_samples(name, reduction, engine):
    model, (criterion, y) = mlp(), CRITERIA[name]
    rows = [(X[i : i + 1], y[i : i + 1]) for i in range(12)]
    p = torch.tensor([hs.Objective(model, criterion, [row]).coefficients(row)[1] for row in rows]).double()
    expected = covariance(gradients(model, criterion, rows), p)
    data = [(X[s], y[s]) for s in RAGGED]
    objective = hs.Objective(model, criterion, data, reduction=reduction, l2=0.4)
    got = hs.gradient_covariance(objective, engine=engine)
    assert_close(dense(got), expected)
    assert_close(got.rows(vectors(3, objective.n)), vectors(3, objective.n) @ expected)


@pytest.mark.parametrize("loss", ["criterion", "sum", "own", "weighted"])
@pytest.mark.parametrize("budget", [None, 0, 500])
def test_over_batches(loss, budget):
    model = mlp()
    data = [(X[s], LABELS[s]) for s in RAGGED]
    options, sizes = {}, torch.tensor([5.0, 1.0, 6.0]).double()
    function = {"criterion": F.cross_entropy, "sum": nn.CrossEntropyLoss(reduction="sum")}.get(loss)
    if function is None:
        function = lambda m, b: F.cross_entropy(m(b[0]), b[1])  # noqa: E731
    if loss == "weighted":
        options, sizes = {"weight": lambda b: len(b[0]) ** 2}, sizes**2
    expected = covariance(gradients(model, F.cross_entropy, data), sizes)
    objective = hs.Objective(model, function, data, l2=0.4, **options)
    got = hs.gradient_covariance(objective, over="batches", memory_budget=budget)
    for _ in range(2):
        assert_close(dense(got), expected)
    assert got.memory == {None: 3, 0: 0, 500: 1}[budget] * objective.n * 8


def test_over_batches_it_takes_models_that_mix_samples():
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).double()
    data = [(X[:6], LABELS[:6]), (X[6:], LABELS[6:])]
    objective = hs.Objective(model, F.cross_entropy, data)
    expected = covariance(gradients(model, F.cross_entropy, data), torch.tensor([1.0, 1.0]).double())
    assert_close(dense(hs.gradient_covariance(objective, over="batches")), expected)
    with pytest.raises(ValueError, match="gradient_covariance: the loss of a sample must"):
        hs.gradient_covariance(objective)


@pytest.mark.parametrize("over", ["samples", "batches"])
def test_changes_are_noticed(over):
    model = mlp()
    objective = hs.Objective(model, F.cross_entropy, [(X[:6], LABELS[:6]), (X[6:], LABELS[6:])])
    got = hs.gradient_covariance(objective, over=over)
    before, key = dense(got), got.fingerprint()
    with torch.no_grad():
        model[0].weight.mul_(1.5)
    assert got.fingerprint() != key
    assert (dense(got) - before).norm() > 1e-3 * before.norm()
    assert_close(dense(got), dense(hs.gradient_covariance(objective, over=over)), 1e-12)


def test_its_trace_gives_the_noise_of_a_batch():
    """The mean squared distance of a random batch's gradient from the whole one is trace / batch size."""
    model = mlp()
    objective = hs.Objective(model, F.cross_entropy, (X, LABELS))
    c = hs.gradient_covariance(objective)
    estimate = hs.trace(c, products=64)
    exact = float(dense(c).diagonal().sum())
    assert abs(estimate.value - exact) <= 2 * estimate.error
    g = torch.Generator().manual_seed(0)
    whole, total = objective.gradient(), 0.0
    for _ in range(400):
        rows = torch.randint(12, (3,), generator=g)
        total += float(
            (gradients(model, F.cross_entropy, [(X[rows], LABELS[rows])])[0] - whole).square().sum()
        )
    assert abs(total / 400 - exact / 3) < 0.25 * exact / 3
    rho = hs.spectral_density(c, num_probes=2, num_steps=11)
    assert rho.nodes.min() >= -1e-10
    for over in ("samples", "batches"):
        description = hs.gradient_covariance(objective, over=over).description()
        assert {"operator": "gradient_covariance", "over": over}.items() <= description.items()


def test_what_it_says():
    objective = hs.Objective(mlp(), F.cross_entropy, [(X[:6], LABELS[:6]), (X[6:], LABELS[6:])])
    c = hs.gradient_covariance(objective, over="batches")
    assert "nothing is computed yet" in c.explain()
    c.rows(vectors(1, objective.n))
    assert "2 of 2 kept" in c.explain()
    c.release()
    assert c.memory == 0
    assert "less the outer product" in hs.gradient_covariance(objective).explain()


def test_input_that_is_refused():
    objective = hs.Objective(mlp(), F.cross_entropy, (X, LABELS))
    for over in ("samples", "batches"):
        with pytest.raises(TypeError, match="gradient_covariance: objective must be an Objective, got int"):
            hs.gradient_covariance(3, over=over)
        with pytest.raises(ValueError, match=r"gradient_covariance: engine must be .auto.*got .fast"):
            hs.gradient_covariance(objective, over=over, engine="fast")
        with pytest.raises(ValueError, match="gradient_covariance: memory_budget must not be negative"):
            hs.gradient_covariance(objective, over=over, memory_budget=-1)
    with pytest.raises(ValueError, match="over must be 'samples' or 'batches', got 'rows'"):
        hs.gradient_covariance(objective, over="rows")
    with pytest.raises(ValueError, match="must have at least 2 batches that count, got 1"):
        dense(hs.gradient_covariance(objective, over="batches"))
    own = hs.Objective(mlp(), lambda m, b: F.cross_entropy(m(b[0]), b[1]), (X, LABELS))
    with pytest.raises(ValueError, match="gradient_covariance: objective must have a criterion"):
        hs.gradient_covariance(own)
