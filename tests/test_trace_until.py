"""A trace to a tolerance: bounds of tr|H|, balanced signs, and when it stops."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

import hesscope as hs
from hesscope.results import Status
from hesscope.spectrum.balanced import PLAIN, balanced, variances
from hesscope.spectrum.probing import Prober
from hesscope.spectrum.scale import NuclearBound, least_modulus
from hesscope.spectrum.trace_until import _Search
from hesscope.testing import prescribed_spectrum


class Layered(hs.SymmetricOperator):
    """A dense matrix that says which coordinates belong together."""

    def __init__(self, matrix, layers):
        super().__init__(len(matrix), dtype=matrix.dtype, device="cpu")
        self.matrix, self.parts = matrix, tuple(layers)

    def _rows(self, vectors):
        return vectors @ self.matrix

    def layers(self):
        return self.parts


def matrix(n=120, *, between=1.0, within=1.0, diagonal=0.0, layers=6):
    """Random entries within blocks and between them."""
    a = torch.randn(n, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    block = torch.arange(n) * layers // n
    same = block[:, None] == block[None]
    a = torch.where(same, within * a, between * a)
    a = (a + a.T) / 2
    size = n // layers
    a.diagonal().copy_(torch.full((n,), diagonal, dtype=torch.float64))
    return Layered(a, [slice(i, i + size) for i in range(0, n, size)])


def nuclear(h):
    return float(torch.linalg.eigvalsh(h.matrix).abs().sum())


def bounds(operator, *, seed=0, pairs=None):
    bound = NuclearBound(Prober("trace", operator, products=100, seed=seed, least=1), pairs)
    values = [bound.value]
    while not bound.exhausted:
        bound.step()
        values.append(bound.value)
    return values


@pytest.mark.parametrize("kind", ["flat", "heavy", "positive", "low rank"])
def test_the_bound_of_the_nuclear_norm_grows_and_stays_below_it(kind):
    n = 4096
    k = torch.arange(n, dtype=torch.float64)
    spectrum = {
        "flat": torch.linspace(-1, 1.3, n, dtype=torch.float64),
        "heavy": (1 - 2 * (k % 2)) / (1 + k),
        "positive": torch.linspace(0.5, 2, n, dtype=torch.float64),
        "low rank": torch.where(k < 3, 1 - 2 * (k % 2), 0.0),
    }[kind]
    truth = float(spectrum.abs().sum())
    noise = 8 * float(spectrum.norm()) / truth  # of what one probe sees
    for seed in range(5):
        found = bounds(prescribed_spectrum(spectrum), seed=seed)
        assert found == sorted(found)
        assert found[-1] <= truth * (1 + noise)
    if kind == "flat":
        assert found[-1] >= 0.9 * truth
    if kind == "positive":  # |x| = x: the first product says it all
        assert found[1] == pytest.approx(truth, rel=noise)
        assert found[1] == pytest.approx(found[-1], rel=1e-12)


def test_known_pairs_count_as_they_are():
    spectrum = torch.cat([torch.tensor([50.0, -40.0]), torch.linspace(-1, 1, 510)]).double()
    h = prescribed_spectrum(spectrum)
    pairs = hs.eigenpairs(h, 2, which="magnitude", tol=1e-10)
    found, truth = bounds(h, pairs=pairs), float(spectrum.abs().sum())
    assert found[0] == pytest.approx(90)
    assert 0.9 * truth <= found[-1] <= 1.05 * truth


def test_the_least_modulus_is_that_of_the_extremal_measure():
    """Of all measures with moments 0, a, 0, b the least mean of |x| is a^(3/2) / b^(1/2) (Hoelder)."""
    second, fourth = 2.0, 10.0
    alpha = torch.zeros(1, 2, dtype=torch.float64)
    beta = torch.tensor([[second, fourth / second - second]], dtype=torch.float64).sqrt()
    assert least_modulus(alpha + 1e-9, beta) == pytest.approx(second**1.5 / fourth**0.5, rel=1e-6)
    assert least_modulus(alpha[:, :1] + 0.5, beta[:, :1]) == pytest.approx(0.5)  # Jensen
    assert math.isfinite(least_modulus(alpha, beta))  # 0 is a node already


@pytest.mark.parametrize("count", [2, 3, 4, 6])
def test_balanced_signs_cancel_entries_between_colours_exactly(count):
    h = matrix(n=24, layers=count, within=0.0, diagonal=1.5)
    signs = balanced(h.layers())
    z = torch.ones(1, 24, dtype=torch.float64)
    z[:, ::3] = -1
    probes = signs.expand(z)
    assert probes.shape == (signs.members, 24)
    assert torch.equal(probes.abs(), torch.ones_like(probes))
    mean = float(h.quadratic_forms(probes).mean())
    colour = torch.arange(24) * count // 24 % signs.members
    kept = torch.where(colour[:, None] == colour[None], h.matrix, 0.0)
    assert mean == pytest.approx(float(z[0] @ kept @ z[0]), abs=1e-12)
    if count <= 4:
        assert mean == pytest.approx(36.0)  # the trace itself


def test_one_layer_has_plain_signs_and_vectors_stay_as_they_are():
    assert balanced([slice(0, 5)]) is PLAIN
    z = torch.ones(3, 5)
    assert PLAIN.expand(z) is z
    signs = balanced([slice(0, 2), slice(2, 5), slice(5, 8)])
    z = torch.ones(2, 8)
    signs.expand(z).zero_()
    assert bool((z == 1).all())


def test_variances_tell_entries_between_layers_from_those_within():
    generator = torch.Generator().manual_seed(0)
    for between, within in [(1.0, 0.01), (0.01, 1.0)]:
        h = matrix(between=between, within=within, layers=4)
        z = torch.randint(0, 2, (400, 120), generator=generator).double() * 2 - 1
        forms = h.quadratic_forms(balanced(h.layers()).expand(z)).view(400, 4)
        grouped, alone = variances(forms)
        exact = 2 * float(h.matrix.square().sum() - h.matrix.diagonal().square().sum())
        assert alone == pytest.approx(exact, rel=0.2)
        assert grouped < 0.01 * alone if between > within else grouped == pytest.approx(4 * alone, rel=0.3)


def test_entries_between_layers_cost_nothing():
    h = matrix(between=1.0, within=0.05, layers=4, diagonal=0.3)
    auto = hs.trace(h, tol=0.02)
    plain = hs.trace(h, tol=0.02, method="rademacher")
    assert auto.status is Status.CONVERGED
    assert "balanced between layers" in auto.method
    assert auto.products <= 24 < 0.2 * plain.products
    assert abs(auto.value - 36) <= auto.error <= 0.02 * nuclear(h)


def test_entries_within_layers_bring_plain_signs_back():
    """Balanced signs see them a quarter as often."""
    h = matrix(between=0.05, within=1.0, layers=3, diagonal=0.3)
    got = [hs.trace(h, tol=0.1, seed=seed) for seed in range(20)]
    assert sum("balanced" not in e.method for e in got) >= 15
    assert all(abs(e.value - 36) <= e.error for e in got)


COVERED = {
    "between": {"between": 1.0, "within": 0.05, "layers": 4},
    "within": {"between": 0.05, "within": 1.0, "layers": 3},
    "both": {"between": 1.0, "within": 1.0, "layers": 6},
}


@pytest.mark.parametrize("kind", COVERED)
def test_intervals_hold_whatever_the_first_look_decides(kind):
    h = matrix(**COVERED[kind], diagonal=0.2)
    runs = [hs.trace(h, tol=0.07, seed=seed, products=600) for seed in range(200)]
    assert sum(abs(e.value - 24) <= e.error for e in runs) >= 0.95 * 200
    converged = [e for e in runs if e.status is Status.CONVERGED]
    assert len(converged) >= 0.9 * 200
    noise = 3 * float(h.matrix.norm()) / nuclear(h)  # of what one probe sees of tr|H|
    assert max(e.error for e in converged) <= 0.07 * (1 + noise) * nuclear(h)
    assert max(e.products for e in runs) <= 600


def test_products_for_the_nuclear_norm_are_spent_only_where_they_decide():
    """|tr H| is a bound already; of a definite matrix the first product is enough."""
    definite = prescribed_spectrum(torch.linspace(0.9, 1.1, 1024, dtype=torch.float64))
    assert hs.trace(definite, tol=0.02).products == 8
    hopeless = hs.trace(
        prescribed_spectrum(torch.linspace(-1, 1.3, 1024, dtype=torch.float64)),
        tol=1e-4,
        method="rademacher",
        products=64,
    )
    assert hopeless.status is Status.MAX_PRODUCTS
    assert hopeless.products == 56 + 3


@pytest.mark.parametrize(
    ("value", "half", "enough"),
    [(30.0, 9.9, True), (-30.0, 9.9, True), (30.0, 10.1, False), (0.0, 1.0, False), (0.0, 0.0, True)],
)
def test_the_end_of_the_interval_nearer_to_zero_bounds_the_nuclear_norm(value, half, enough):
    search = _Search(Prober("trace", matrix(), products=10, seed=0, least=1), 0.5, Exhausted())
    assert search._enough(value, half) is enough


class Exhausted:
    """A bound that knows nothing, and learns nothing."""

    value, steps, exhausted = 0.0, 8, True


def test_a_trace_of_zero_never_stops_by_itself():
    """A tolerance relative to the trace would go on for ever, one relative to a wrong tr|H| stop at once."""
    half = torch.linspace(0.1, 1, 512, dtype=torch.float64)
    h = prescribed_spectrum(torch.cat([half, -half]))
    truth = float(2 * half.sum())
    for tol, seed in itertools.product([0.02, 0.05], range(10)):
        got = hs.trace(h, tol=tol, seed=seed)
        assert got.status is Status.CONVERGED
        assert got.error <= 1.05 * tol * truth


def test_a_sketch_is_left_out_where_plain_samples_are_soon_enough():
    h = prescribed_spectrum(torch.linspace(-1, 1.3, 4096, dtype=torch.float64))
    got = hs.trace(h, tol=0.02)
    assert got.status is Status.CONVERGED
    assert "sketch" not in got.method


def test_a_network_stops_at_the_tolerance_and_holds_the_truth():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3)
    ).double()
    x, y = torch.randn(64, 8, dtype=torch.float64), torch.randint(3, (64,))
    H = hs.hessian(hs.Objective(model, nn.CrossEntropyLoss(), (x, y)), engine="jets")
    full = H.rows(torch.eye(H.shape[0], dtype=torch.float64))
    truth, norm = float(full.trace()), float(torch.linalg.eigvalsh(full).abs().sum())
    runs = [hs.trace(H, tol=0.05, seed=seed) for seed in range(60)]
    assert sum(abs(e.value - truth) <= e.error for e in runs) >= 57
    assert all(e.error <= 1.25 * 0.05 * norm for e in runs if e.status is Status.CONVERGED)


@pytest.mark.parametrize("bad", [17, 21, 40])
def test_nan_after_the_first_look_keeps_it(bad):
    h, calls = matrix(within=1.0, between=1.0), itertools.count(1)
    products = h._rows
    h._rows = lambda v: products(v) * (math.nan if next(calls) * 8 >= bad else 1.0)
    got = hs.trace(h, tol=1e-3, products=200)
    assert got.status is Status.NONFINITE_OPERATOR
    assert math.isfinite(got.error)
    assert math.isfinite(got.value)
