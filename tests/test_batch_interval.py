"""Intervals over the data: they hold the truth of a known population, and are what theory says they are."""

from __future__ import annotations

import math

import pytest
import scipy.stats
import torch
from torch import nn

import hesscope as hs
from hesscope.spectrum.batch_interval import delete_group_jackknife

N, GROUPS = 24, 8
GRID = torch.tensor([-0.5, 0.4, 1.1], dtype=torch.float64)


def population():
    """The Hessian of endlessly many batches."""
    values = torch.cat([torch.linspace(-1, 1, N - 2, dtype=torch.float64), torch.tensor([1.5, 2.0])])
    q = torch.linalg.qr(torch.randn(N, N, dtype=torch.float64, generator=torch.Generator().manual_seed(5))).Q
    return (q * values) @ q.T, values


def sample(truth, seed, *, noise=1.2, batches=None):
    """Draw Hessians of groups: the truth and symmetric noise, less of it in larger groups."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [1.0] * GROUPS if batches is None else batches
    out = []
    for size in sizes:
        e = torch.randn(N, N, dtype=torch.float64, generator=generator) * noise / math.sqrt(N * size)
        shift = 0.15 * torch.randn(1, dtype=torch.float64, generator=generator) / math.sqrt(size)
        out.append(hs.from_matrix(truth + (e + e.T) / 2**0.5 + shift * torch.eye(N, dtype=torch.float64)))
    return out


def holds(result, truth):
    return result.interval[0] <= truth <= result.interval[1]


def coverage(statistic, truth_of, runs, **options):
    """Shares of runs in which the population's and the data's interval hold the population's value."""
    truth, values = population()
    want = truth_of(values)
    inside = outside = 0
    for seed in range(runs):
        groups = sample(truth, seed, batches=options.get("weights"))
        both = hs.batch_interval(groups, lambda h, seed=seed: statistic(h, seed), **options)
        inside += holds(both.population, want)
        outside += holds(both.on_data, want)
    return inside / runs, outside / runs


@pytest.mark.slow
def test_traces_cover_the_population_and_the_interval_over_probes_does_not():
    def trace(h, seed):
        return hs.trace(h, method="rademacher", products=48, seed=seed)

    both, probes = coverage(trace, lambda v: float(v.sum()), 200, resample="group")
    assert both >= 0.93
    assert probes <= 0.9


@pytest.mark.slow
@pytest.mark.parametrize("weights", [None, [1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 3.0, 4.0]])
def test_moments_cover_the_population_although_means_of_few_are_biased(weights):
    def second(h, seed):
        return hs.spectral_density(h, num_probes=24, num_steps=2, seed=seed).moment(2)

    both, probes = coverage(second, lambda v: float(v.square().mean()), 150, weights=weights)
    assert both >= 0.93
    assert probes <= 0.8


@pytest.mark.slow
def test_smoothed_densities_cover_the_population():
    truth, values = population()
    z = (GRID[:, None] - values) / 0.5
    want = torch.exp(-z.square() / 2).mean(dim=1) / (0.5 * math.sqrt(2 * math.pi))
    hits = torch.zeros(len(GRID))
    runs = 100
    for seed in range(runs):

        def band(h, seed=seed):
            rho = hs.spectral_density(h, num_probes=4, num_steps=12, seed=seed)
            return rho.density_band(GRID, sigma=0.5)

        curve = hs.batch_interval(sample(truth, seed), band).population
        hits += (curve.lower <= want) & (want <= curve.upper)
    assert float(hits.min()) / runs >= 0.92


def test_the_bias_of_a_square_is_taken_out_exactly():
    """tr(mean H)^2 is too large by the variance of the mean; the jackknife estimates that without error."""
    truth, _ = population()
    groups = sample(truth, 1)
    dense = [h.rows(torch.eye(N, dtype=torch.float64)) for h in groups]
    mean = sum(dense) / GROUPS
    spread = sum(float((h - mean).square().sum()) for h in dense) / (GROUPS - 1)

    def square(h):
        rho = hs.spectral_density(h, num_probes=N, num_steps=2)
        rows = h.rows(torch.eye(N, dtype=torch.float64))
        return hs.Estimate(float(rows.square().sum()), 0.0, (0.0, 0.0), 0, "exact", rho.status)

    both = hs.batch_interval(groups, square)
    assert both.bias == pytest.approx(spread / GROUPS, rel=1e-10)
    assert both.population.value == pytest.approx(float(mean.square().sum()) - spread / GROUPS)
    assert both.num_groups == GROUPS


def test_a_linear_statistic_gives_the_t_interval_of_the_groups():
    truth, _ = population()
    groups = sample(truth, 3)

    def trace(h):
        return hs.trace(h, method="rademacher", products=4)

    alone = torch.tensor([trace(h).value for h in groups], dtype=torch.float64)
    low, high = scipy.stats.t.interval(
        0.95, GROUPS - 1, loc=float(alone.mean()), scale=float(alone.std()) / math.sqrt(GROUPS)
    )
    cheap = hs.batch_interval(groups, trace, resample="group")
    dear = hs.batch_interval(groups, trace)
    for both in (cheap, dear):
        assert both.data_error == pytest.approx((high - low) / 2)
        assert both.bias == pytest.approx(0.0, abs=1e-9)
        assert both.population.value == pytest.approx(both.on_data.value)
        expected = math.hypot(both.on_data.error, both.data_error)
        assert both.population.error == pytest.approx(expected)
    assert cheap.population.products == 2 * 4
    assert dear.population.products == GROUPS * 4
    assert "8 groups of batches" in dear.population.method
    assert "on these data" in str(dear)


def test_groups_of_unequal_weight():
    """Busing, Meijer and van der Leeden (1999): pseudo-values of a mean are the groups' own values."""
    shares = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    alone = torch.tensor([[3.0, 0.0], [1.0, 1.0], [-2.0, 4.0], [0.5, 2.0]], dtype=torch.float64)
    whole = shares @ alone
    left_out = (whole - shares[:, None] * alone) / (1 - shares[:, None])
    centre, half = delete_group_jackknife(whole, left_out, shares)
    assert torch.allclose(centre, whole, atol=1e-14)
    times = 1 / shares[:, None]
    variance = ((alone - whole).square() / (times - 1)).mean(dim=0)
    assert torch.allclose(half, scipy.stats.t.ppf(0.975, 3) * variance.sqrt())


def test_a_sample_that_is_half_of_its_population_knows_more():
    truth, _ = population()
    groups = sample(truth, 3)

    def second(h):
        return hs.spectral_density(h, num_probes=4, num_steps=2).moment(2)

    endless, half = (hs.batch_interval(groups, second, fraction=part) for part in (0.0, 0.5))
    assert half.data_error == pytest.approx(endless.data_error / 2**0.5)
    assert half.bias == pytest.approx(endless.bias / 2)
    one = hs.batch_interval(groups, lambda h: hs.trace(h, method="rademacher", products=1))
    assert one.population.error == math.inf


@pytest.fixture
def objective():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    sizes = [5 + i % 3 for i in range(11)]
    data = [(torch.randn(size, 4, dtype=torch.float64), torch.randint(3, (size,))) for size in sizes]
    return hs.Objective(model, nn.CrossEntropyLoss(), data, l2=0.1)


class Stream:
    """A re-iterable that is no list."""

    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)


@pytest.mark.parametrize("source", ["list", "stream"])
def test_groups_of_batches_add_up_to_the_objective(objective, source):
    batches = objective.data.source
    if source == "stream":
        objective = hs.Objective(objective.model, nn.CrossEntropyLoss(), Stream(batches), l2=0.1)
    groups = hs.batch_groups(objective, 4)
    total = sum(groups.weights)
    parts = [w / total * o.gradient() for w, o in zip(groups.weights, groups.objectives, strict=True)]
    assert torch.allclose(sum(parts), objective.gradient(), rtol=1e-12, atol=1e-14)
    assert groups.weights[0] == sum(len(batch[0]) for batch in batches[::4])
    h = hs.hessian(objective)
    operators = [hs.hessian(o) for o in groups.objectives]
    both = hs.batch_interval(
        operators, lambda m: hs.spectral_density(m, num_steps=5).moment(2), weights=groups.weights
    )
    assert both.on_data.value == pytest.approx(hs.spectral_density(h, num_steps=5).moment(2).value, rel=1e-9)
    assert both.data_error > 0


def test_dropout_masks_differ_between_the_groups(objective):
    model = nn.Sequential(objective.model[0], nn.Dropout(0.5), objective.model[2])
    batch = (torch.ones(4, 4, dtype=torch.float64), torch.zeros(4, dtype=torch.long))
    fixed = hs.Objective(model, nn.CrossEntropyLoss(), [batch] * 6, rng_seed=3, mode="train")
    losses = {o.loss() for o in hs.batch_groups(fixed, 3).objectives}
    assert len(losses) == 3


def test_bad_groups_are_named(objective):
    with pytest.raises(TypeError, match="batch_groups: objective must be an Objective, got int"):
        hs.batch_groups(3)
    with pytest.raises(ValueError, match="at least num_groups = 12 batches, got 11"):
        hs.batch_groups(objective, 12)
    with pytest.raises(ValueError, match="num_groups must be at least 2, got 1"):
        hs.batch_groups(objective, 1)
    batch = objective.data.source[0]
    single = hs.Objective(objective.model, nn.CrossEntropyLoss(), batch)
    with pytest.raises(ValueError, match="got 1; a single batch can be split into a list"):
        hs.batch_groups(single, 2)
    added = hs.Objective(objective.model, nn.CrossEntropyLoss(), [batch] * 4, reduction="sum")
    with pytest.raises(ValueError, match="must have reduction='mean', got 'sum'"):
        hs.batch_groups(added, 2)


def test_bad_statistics_and_operators_are_named():
    truth, _ = population()
    groups = sample(truth, 0)

    def trace(h):
        return hs.trace(h, method="rademacher", products=2)

    with pytest.raises(ValueError, match="operators must be at least 3, one for each group"):
        hs.batch_interval(groups[:2], trace)
    with pytest.raises(TypeError, match="operators must be SymmetricOperators, got Tensor"):
        hs.batch_interval([truth] * 3, trace)
    for wrong, kind in ((None, "NoneType"), (groups[0], "_Dense")):
        with pytest.raises(TypeError, match=f"operators must be a sequence of Sym.*, got {kind}"):
            hs.batch_interval(wrong, trace)
    with pytest.raises(TypeError, match="weights must be a sequence of numbers, got int"):
        hs.batch_interval(groups, trace, weights=5)
    with pytest.raises(TypeError, match="statistic must be callable, got str"):
        hs.batch_interval(groups, "trace")
    with pytest.raises(ValueError, match="operators must agree in size"):
        hs.batch_interval([*groups, hs.from_matrix(torch.eye(3, dtype=torch.float64))], trace)
    with pytest.raises(ValueError, match="weights must be 8 positive numbers"):
        hs.batch_interval(groups, trace, weights=[1.0] * 7)
    with pytest.raises(ValueError, match=r"fraction must be in \[0, 1\), got 1"):
        hs.batch_interval(groups, trace, fraction=1.0)
    with pytest.raises(ValueError, match="resample must be one of"):
        hs.batch_interval(groups, trace, resample="bootstrap")
    with pytest.raises(TypeError, match="must return an Estimate or a Band, got float"):
        hs.batch_interval(groups, lambda _: 1.0)
    with pytest.raises(ValueError, match="must be linear in H with resample='group'"):
        hs.batch_interval(groups, lambda h: hs.spectral_density(h).moment(2), resample="group")

    def own_grid(h):
        rho = hs.spectral_density(h, num_steps=8)
        return rho.density_band(rho.grid(16))

    with pytest.raises(ValueError, match="every Band on one grid"):
        hs.batch_interval(groups, own_grid)

    def broken(h):
        return hs.Estimate(math.nan, 0.0, (0.0, 0.0), 0, "none", trace(h).status)

    with pytest.raises(ValueError, match="statistic must be finite for every group"):
        hs.batch_interval(groups, broken)
