"""The Fisher matrices: against gradients of single samples, closed forms and each other."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import hesscope as hs
from jets_cases import smooth, vectors
from output_cases import CRITERIA, ENGINES, LABELS, X, assert_close, dense, mlp

TOKENS = torch.arange(24).view(6, 4) * 5 % 3
TOKENS[0] = -100  # a sample in which nothing counts
TOKENS[3, 1:] = -100


class Tagger(nn.Module):
    """Labels for each place of a sequence: output [B, classes, T]."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.table, self.head = nn.Embedding(5, 3), nn.Linear(3, 3)

    def forward(self, tokens):
        x = self.table(tokens)
        return self.head(torch.tanh(x + x.cumsum(1))).transpose(1, 2)


def tagging(**options):
    x = torch.arange(24).view(6, 4) * 7 % 5
    weight = torch.tensor([0.5, 2.0, 1.0]).double()
    return Tagger().double(), nn.CrossEntropyLoss(weight=weight, **options), x, TOKENS


def problem(name, **options):
    if name == "tagging":
        return tagging(**options)
    criterion, y = CRITERIA[name]
    return mlp(), criterion, X, y


def by_samples(model, criterion, x, y, **options):
    """Gradients of the objective on every sample alone, as a batch of one, and the samples' weights."""
    gradients, weights = [], []
    for i in range(len(x)):
        batch = (x[i : i + 1], y[i : i + 1])
        objective = hs.Objective(model, criterion, batch, **options)
        _, weight = objective.coefficients(batch)
        if weight > 0:
            gradients.append(objective.gradient())
            weights.append(weight)
    return torch.stack(gradients), torch.tensor(weights, dtype=torch.float64)


EMPIRICAL = ["cross_entropy", "class weights", "ignored", "soft targets", "summed", "mse", "huber", "tagging"]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", EMPIRICAL)
def test_the_empirical_one_is_the_second_moment_of_the_samples_gradients(name, engine):
    model, criterion, x, y = problem(name)
    g, w = by_samples(model, criterion, x, y)
    expected = g.T @ (w[:, None] * g) / w.sum()
    ragged = [(x[:1], y[:1]), (x[1:4], y[1:4]), (x[4:], y[4:])]
    for data in ((x, y), ragged):
        objective = hs.Objective(model, criterion, data, l2=0.7)  # l2 is not part of it
        assert_close(dense(hs.fisher(objective, kind="empirical", engine=engine)), expected)
    total = hs.Objective(model, criterion, ragged, reduction="sum")
    assert_close(dense(hs.fisher(total, kind="empirical", engine=engine)), expected * w.sum())


@pytest.mark.parametrize("engine", ENGINES)
def test_weights_of_batches_are_those_of_their_samples(engine):
    model, criterion, x, y = problem("mse")
    ragged = [(x[:5], y[:5]), (x[5:], y[5:])]
    objective = hs.Objective(model, criterion, ragged, weight=lambda b: 3.0 if len(b[0]) == 5 else 1.0)
    g, _ = by_samples(model, criterion, x, y)
    w = torch.tensor([3 / 4 / 5] * 5 + [1 / 4 / 7] * 7, dtype=torch.float64)
    assert_close(dense(hs.fisher(objective, kind="empirical", engine=engine)), g.T @ (w[:, None] * g))


LIKELIHOODS = [
    "cross_entropy",
    "class weights",
    "ignored",
    "smoothing",
    "soft targets",
    "summed",
    "mse",
    "bce",
]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", [*LIKELIHOODS, "tagging", "tagging, smoothed"])
def test_the_exact_one_is_the_ggn_of_natural_parameters(name, engine):
    first, _, smoothed = name.partition(", ")
    model, criterion, x, y = problem(first, **({"label_smoothing": 0.3} if smoothed else {}))
    ragged = [(x[:2], y[:2]), (x[2:], y[2:])]
    objective = hs.Objective(model, criterion, ragged)
    exact = dense(hs.fisher(objective, kind="exact", engine=engine))
    assert_close(exact, dense(hs.ggn(objective, engine=engine)))
    assert torch.linalg.eigvalsh(exact).min() >= -1e-13 * exact.norm()


@pytest.mark.parametrize("engine", ENGINES)
def test_log_probabilities_have_a_fisher_although_their_ggn_vanishes(engine):
    model, criterion, x, y = problem("class weights")
    weighted = nn.NLLLoss(weight=criterion.weight)
    objective = hs.Objective(nn.Sequential(model, nn.LogSoftmax(-1)), weighted, (x, y))
    expected = dense(hs.fisher(hs.Objective(model, criterion, (x, y)), engine=engine))
    assert (dense(hs.ggn(objective, engine=engine)) == 0).all()
    assert_close(dense(hs.fisher(objective, engine=engine)), expected)


@pytest.mark.parametrize(
    "name", ["class weights", "soft targets", "mse", "bce", "tagging", "log-probabilities"]
)
def test_draws_have_the_exact_one_as_their_mean(name):
    if name == "log-probabilities":
        model, _, x, y = problem("cross_entropy")
        model, criterion = nn.Sequential(model, nn.LogSoftmax(-1)), nn.NLLLoss()
    else:
        model, criterion, x, y = problem(name)
    objective = hs.Objective(model, criterion, [(x[:2], y[:2]), (x[2:], y[2:])])
    exact = dense(hs.fisher(objective, engine="autograd"))
    draws = torch.stack(
        [
            dense(hs.fisher(objective, kind="monte_carlo", num_samples=4, seed=s, engine="autograd"))
            for s in range(100)
        ]
    )
    values, vectors = torch.linalg.eigh(exact)
    for v in (vectors[:, -1], vectors[:, -2], vectors[:, len(values) // 2]):
        samples = torch.einsum("i,sij,j->s", v, draws, v)
        spread = samples.std() / len(draws) ** 0.5
        assert spread < 0.2 * v @ exact @ v + 1e-12
        # six standard deviations do not happen by chance; 1e-14 is rounding where there is no spread
        assert abs(samples.mean() - v @ exact @ v) <= 6 * spread + 1e-14 * exact.norm()


def test_more_samples_come_closer():
    objective = hs.Objective(mlp(), F.cross_entropy, (X, LABELS))
    exact = dense(hs.fisher(objective, engine="autograd"))

    def error(num_samples):
        made = [
            hs.fisher(objective, kind="monte_carlo", num_samples=num_samples, seed=s, engine="autograd")
            for s in range(10)
        ]
        return sum(float((dense(f) - exact).square().sum()) for f in made) / 10

    assert 8 < error(1) / error(16) < 32


@pytest.mark.parametrize("name", ["cross_entropy", "mse", "bce"])
def test_draws_depend_on_the_seed_and_nothing_else(name):
    model, criterion, x, y = problem(name)
    objective = hs.Objective(model, criterion, [(x[:5], y[:5]), (x[5:], y[5:])])

    def made(seed, **options):
        return dense(hs.fisher(objective, kind="monte_carlo", num_samples=2, seed=seed, **options))

    torch.manual_seed(0)
    first = made(1, engine="autograd")
    torch.manual_seed(7)
    assert torch.equal(made(1, engine="autograd"), first)
    assert_close(made(1, engine="autograd", memory_budget=0), first, 1e-14)
    assert_close(made(1, engine="jets"), first)
    assert_close(made(1, engine="jets", memory_budget=0), first)
    assert (made(2, engine="autograd") - first).norm() > 0.01 * first.norm()
    twice = hs.Objective(model, criterion, [(x[:5], y[:5]), (x[:5], y[:5])])
    once = hs.Objective(model, criterion, (x[:5], y[:5]))
    options = {"kind": "monte_carlo", "engine": "autograd"}  # each batch has draws of its own
    difference = dense(hs.fisher(twice, **options)) - dense(hs.fisher(once, **options))
    assert difference.norm() > 0.01 * first.norm()


def test_weights_that_change_are_noticed():
    model = mlp()
    objective = hs.Objective(model, F.cross_entropy, (X, LABELS))
    for kind in ("exact", "monte_carlo", "empirical"):
        made = hs.fisher(objective, kind=kind)
        before = dense(made)
        with torch.no_grad():
            model[2].weight.mul_(1.5)
        after = dense(made)
        assert (after - before).norm() > 1e-3 * before.norm()
        assert_close(after, dense(hs.fisher(objective, kind=kind, engine="autograd")))


def test_krylov_methods_take_it_and_it_says_what_it_is():
    objective = hs.Objective(mlp(), F.cross_entropy, (X, LABELS))
    made = hs.fisher(objective, kind="monte_carlo", num_samples=3, seed=5)
    values = torch.linalg.eigvalsh(dense(made))
    assert_close(hs.eigenpairs(made, 2, which="largest").values.sort().values, values[-2:], 1e-7)
    rho = hs.spectral_density(made, num_probes=2, num_steps=20)
    assert rho.nodes.min() >= -1e-10
    description = made.description()
    expected = {"operator": "fisher", "kind": "monte_carlo", "num_samples": 3, "seed": 5}
    assert expected.items() <= description.items()
    assert "captured outputs" in made.explain()


def test_no_gradient_of_a_sample_is_made():
    """200 samples of 2,612 parameters would be 2 MiB; the outputs are 5 kB."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 200), nn.Tanh(), nn.Linear(200, 3)).double()
    x, y = smooth(200, 4), torch.arange(200) % 3
    objective = hs.Objective(model, F.cross_entropy, (x, y))
    for engine in ENGINES:
        made = hs.fisher(objective, kind="empirical", engine=engine)
        made.rows(vectors(1, objective.n))
        assert made.memory < 200 * objective.n * 8 / 2


def test_input_that_is_refused():
    model = mlp()
    objective = hs.Objective(model, F.cross_entropy, (X, LABELS))
    with pytest.raises(TypeError, match="fisher: objective must be an Objective, got Sequential"):
        hs.fisher(model)
    whole = hs.Objective(model, lambda m, b: F.cross_entropy(m(b[0]), b[1]), (X, LABELS))
    with pytest.raises(ValueError, match="fisher: objective must have a criterion"):
        hs.fisher(whole)
    with pytest.raises(
        ValueError, match="fisher: kind must be 'exact', 'monte_carlo' or 'empirical', got 'mc'"
    ):
        hs.fisher(objective, kind="mc")
    with pytest.raises(ValueError, match="fisher: num_samples must be at least 1, got 0"):
        hs.fisher(objective, kind="monte_carlo", num_samples=0)
    with pytest.raises(ValueError, match=r"fisher: seed must be in \[0, 2\*\*63\), got -1"):
        hs.fisher(objective, seed=-1)
    with pytest.raises(ValueError, match="fisher: engine must be 'auto', 'jets' or 'autograd', got 'fast'"):
        hs.fisher(objective, engine="fast")
    unknown = hs.Objective(model, nn.HuberLoss(), (X, smooth(12, 3)))
    for kind in ("exact", "monte_carlo"):
        with pytest.raises(ValueError, match=r"fisher: criterion must belong to a known .*, got HuberLoss"):
            hs.fisher(unknown, kind=kind)
    own = hs.Objective(model, None, (X, LABELS), criterion=lambda f, y: F.cross_entropy(f, y))
    with pytest.raises(ValueError, match=r"fisher: criterion must be one of torch\.nn\.functional"):
        hs.fisher(own, kind="empirical")


def test_samples_that_mix_are_refused():
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).double()
    objective = hs.Objective(model, F.cross_entropy, (X, LABELS))
    with pytest.raises(
        ValueError, match=r"fisher: the loss of a sample must .* but 1 normalises over the batch"
    ):
        hs.fisher(objective, kind="empirical")
    still = hs.Objective(model, F.cross_entropy, (X, LABELS), mode="eval")
    assert dense(hs.fisher(still, kind="empirical")).norm() > 0


@pytest.mark.parametrize("engine", ENGINES)
def test_outputs_without_a_row_for_each_sample_are_refused(engine):
    single = hs.Objective(mlp(), F.cross_entropy, (X[0], torch.tensor(1)))
    assert_close(dense(hs.fisher(single, engine=engine)), dense(hs.ggn(single, engine=engine)))
    with pytest.raises(
        ValueError, match=r"fisher: .* one row for each sample of batch 0, got \[3\] and \[\]"
    ):
        dense(hs.fisher(single, kind="empirical", engine=engine))
