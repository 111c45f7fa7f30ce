"""curvature_stability: every number against dense matrices and finite differences."""

from __future__ import annotations

import dataclasses
import math
import re

import pytest
import torch
from torch import nn

import hesscope as hs
from hesscope.third_order.displaced import displaced
from hesscope.third_order.doubling import bracket, search
from jets_cases import vectors
from test_eigenvalue_gradient import dense, move
from third_order_cases import DOUBLE, assert_close, difference, objective_of, objective_of_tensor


def estimate(value):
    return hs.Estimate(value, 0.0, (value, value), 0, "", hs.Status.COMPLETE)


def trained(steps=40, l2=0.0):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    objective = hs.Objective(
        model, nn.CrossEntropyLoss(), (vectors(40, 5).contiguous(), torch.arange(40) % 3), l2=l2
    )
    for _ in range(steps):
        move(objective, -0.5 * objective.gradient())
    return objective


@pytest.fixture(scope="module")
def found():
    objective = trained(l2=1e-3)
    before = [p.detach().clone() for p in objective.parameter_set.tensors]
    result = hs.curvature_stability(objective, tol=1e-10)
    assert all(torch.equal(p, b) for p, b in zip(objective.parameter_set.tensors, before, strict=True))
    return objective, result


def test_sharpness_and_its_gradient_are_those_of_the_dense_hessian(found):
    objective, result = found
    values, columns = torch.linalg.eigh(dense(objective))
    assert result.sharpness.value == pytest.approx(float(values[-1]), rel=1e-9)
    assert result.eigenvalues.tolist() == pytest.approx(values[-4:].flip(0).tolist(), rel=1e-6)
    x = columns[:, -1]
    exact = hs.third_order(objective, engine="autograd").contract(x, x)
    assert_close(result.gradient, exact, 0.0, 1e-6)
    assert abs(result.slope.value - float(exact.norm())) <= result.slope.error
    assert result.members == (0,)


def test_alpha_is_how_fast_gradient_descent_sharpens(found):
    objective, result = found
    gradient = objective.gradient()
    expected = -difference(
        objective, lambda: torch.linalg.eigvalsh(dense(objective))[-1], gradient / gradient.norm(), first=4e-3
    ) * float(gradient.norm())
    assert result.alpha.value == pytest.approx(float(expected), rel=1e-6)
    assert result.alpha.error < 1e-3 * abs(result.alpha.value)
    assert result.loss_slope == pytest.approx(float(gradient.norm()))
    assert result.loss == pytest.approx(objective.loss())


def test_beta_is_what_is_beside_the_eigenvector(found):
    objective, result = found
    x = torch.linalg.eigh(dense(objective))[1][:, -1]
    beside = result.gradient - (x @ result.gradient) * x
    assert abs(result.beta.value - float(beside @ beside)) <= result.beta.error + 1e-9 * result.beta.value
    assert 0 < result.beta.value < result.slope.value**2
    along = float(objective.gradient() @ x) * float(result.gradient @ x)
    assert result.alpha_beside.value == pytest.approx(result.alpha.value + along, rel=1e-6)


def test_the_sharpness_doubles_where_evaluations_say(found):
    objective, result = found
    lower, upper = result.distance.interval
    assert lower < result.distance.value < upper
    assert upper - lower <= 0.25 * upper
    at = {}
    with displaced(objective, result.gradient / result.gradient.norm()) as displacement:
        for t in (lower, upper):
            displacement.move(t)
            at[t] = float(torch.linalg.eigvalsh(dense(objective))[-1])
    assert at[lower] < 2 * result.sharpness.value <= at[upper]
    assert result.predicted_distance == pytest.approx(result.sharpness.value / result.slope.value)
    assert result.relative_distance == pytest.approx(result.distance.value / result.parameter_norm)
    assert result.sharpnesses[0] == pytest.approx(result.sharpness.value)
    assert len(result.positions) == len(result.sharpnesses) <= 7


def test_the_prediction_holds_nearby(found):
    objective, result = found
    direction = result.gradient / result.gradient.norm()
    errors = []
    with displaced(objective, direction) as displacement:
        for t in (1e-2, 5e-3):
            displacement.move(t)
            value = float(torch.linalg.eigvalsh(dense(objective))[-1])
            errors.append(abs(value - result.sharpness.value - t * result.slope.value))
    assert errors[1] <= 0.3 * errors[0]


def test_a_fourth_power_in_closed_form():
    """H = 12 theta^2: slope 24 theta, doubled at sqrt(2) theta."""
    model = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(model.weight, 2.0)
    objective = hs.Objective(model, lambda m, x: (m(x) ** 4).sum(), torch.ones(1, 1, dtype=DOUBLE))
    got = hs.curvature_stability(objective)
    assert (got.sharpness.value, got.slope.value, got.predicted_distance) == pytest.approx((48, 48, 1))
    assert got.alpha.value == pytest.approx(-32 * 48)
    assert got.beta.value == pytest.approx(0, abs=1e-9)
    assert math.isnan(got.oscillation)  # nothing is beside the only eigenvector, but for rounding
    assert got.distance.value == pytest.approx(2 * (2**0.5 - 1), rel=0.05)
    assert got.largest_stable_step == pytest.approx(2 / 48)
    assert got.steps_to_edge(0.1) == 0.0
    assert got.steps_to_edge(1e-3) == math.inf


def test_a_cluster_is_taken_as_a_whole():
    """L = |theta|^2 / 2 + theta_1^3 / 6 on the first axis: all eigenvalues 1 at 0."""
    t = torch.zeros(4, 4, 4, dtype=DOUBLE)
    t[0, 0, 0] = 2.0
    plain = objective_of_tensor(t)
    objective = hs.Objective(plain.model, lambda m, s: m(s), torch.tensor(1.0, dtype=DOUBLE), l2=1.0)
    got = hs.curvature_stability(objective)
    assert got.members == (0, 1, 2, 3)
    assert got.slope.value == pytest.approx(0.5)  # the mean of 2, 0, 0, 0
    assert "mean of a cluster of 4" in str(got)


def test_it_is_saved_and_loaded(found, tmp_path):
    _, result = found
    result.save(tmp_path / "stability.safetensors")
    back = hs.load(tmp_path / "stability.safetensors")
    assert isinstance(back, hs.CurvatureStability)
    assert str(back) == str(result)
    assert torch.equal(back.gradient, result.gradient)
    assert (back.alpha, back.distance, back.members) == (result.alpha, result.distance, result.members)
    assert back.objective == result.objective
    for word in ("sharpness", "distance to doubling, predicted", "alpha", "beta", "% of |θ|"):
        assert word in str(result)
    assert max(len(line) for line in str(result).splitlines()) <= 110


def test_formulas_of_the_edge(found):
    _, result = found
    rate = 1.0 / result.sharpness.value
    alpha, beta = result.alpha.value, result.beta.value
    missing = 2 / rate - result.sharpness.value
    rising = dataclasses.replace(result, alpha=estimate(abs(alpha)), alpha_beside=estimate(0.02))
    assert rising.steps_to_edge(rate) == pytest.approx(missing / (rate * abs(alpha)))
    assert rising.oscillation == pytest.approx(math.sqrt(0.04 / beta))
    falling = dataclasses.replace(result, alpha=estimate(-abs(alpha)), alpha_beside=estimate(-0.02))
    assert falling.steps_to_edge(rate) == math.inf
    assert falling.oscillation == 0
    assert "gradient descent sharpens" in str(rising)
    assert "gradient descent flattens" in str(falling)
    for wrong in (0.0, -1.0, math.inf):
        with pytest.raises(ValueError, match="steps_to_edge: learning_rate must be positive and finite"):
            result.steps_to_edge(wrong)
    with pytest.raises(TypeError, match="steps_to_edge: learning_rate must be a number, got str 'a'"):
        result.steps_to_edge("a")


def test_what_is_zero_within_its_error_is_not_determined(found):
    """sum p^4 at (1, 1): its eigenvalues are one cluster, and nothing is beside that but rounding."""
    plain = torch.nn.ParameterList([torch.ones(2, dtype=DOUBLE)])
    objective = hs.Objective(plain, lambda m, s: (s * m[0] ** 4).sum(), torch.ones(2, dtype=DOUBLE))
    got = hs.curvature_stability(objective)
    assert math.isnan(got.oscillation)
    assert re.search("oscillation at the edge +not determined", str(got))
    _, result = found
    vague = hs.Estimate(1e-14, 6e-13, (-6e-13, 6e-13), 0, "", hs.Status.COMPLETE)
    rate = 1.0 / result.sharpness.value
    unknown = dataclasses.replace(result, alpha=vague)
    assert math.isnan(unknown.steps_to_edge(rate))
    assert "not determined whether gradient descent sharpens" in str(unknown)
    assert math.isnan(dataclasses.replace(result, alpha_beside=estimate(0.02), beta=vague).oscillation)
    assert dataclasses.replace(result, alpha_beside=estimate(-0.02), beta=vague).oscillation == 0
    assert (
        dataclasses.replace(result, alpha_beside=estimate(0.02), beta=estimate(0.0)).oscillation == math.inf
    )


CURVES = {
    "linear": lambda t: 1 + t,
    "convex": lambda t: math.exp(3 * t) * 0.5 + 0.5,
    "concave": lambda t: 1 + 0.8 * math.sqrt(t),
    "late": lambda t: 1 + (t / 7) ** 4,
    "explodes": lambda t: 1 + t if t < 0.8 else math.inf,
}


@pytest.mark.parametrize("name", CURVES)
def test_the_search_brackets_the_place(name):
    known = search(CURVES[name], 1.0, 1.0, 8)
    low, high = bracket(known, 2.0)
    assert math.isfinite(high)
    assert CURVES[name](low) < 2 <= CURVES[name](high)
    assert high - low <= 0.2 * high
    assert len(known) <= 9


def test_the_search_ends_where_nothing_doubles():
    known = search(lambda t: 1 + 0.5 * t / (1 + t), 1.0, 1.0, 5)
    assert len(known) == 6
    assert bracket(known, 2.0) == (max(known), math.inf)
    assert search(lambda t: 1 + t, 1.0, 1.0, 0) == {0.0: 1.0}
    near = search(lambda t: 1 + t / 100, 1.0, 1.0, 9, reach=3.0)
    assert bracket(near, 2.0) == (3.0, math.inf)
    assert len(near) == 3


def test_without_evaluations_only_the_prediction():
    got = hs.curvature_stability(trained(), max_evaluations=0)
    assert got.positions.tolist() == [0.0]
    assert got.distance.interval == (0.0, math.inf)
    assert "not doubled up to there" in str(got)


def test_what_has_no_answer_is_refused():
    objective = objective_of("perceptron")
    low = nn.Linear(2, 1, bias=False).double()
    down = hs.Objective(low, lambda m, b: -m(b).square().sum(), vectors(5, 2).contiguous())
    cases = [
        (lambda: hs.curvature_stability(3), TypeError, "third_order: objective must be an Objective"),
        (
            lambda: hs.curvature_stability(objective, k=1),
            ValueError,
            "curvature_stability: k must be at least 2",
        ),
        (
            lambda: hs.curvature_stability(objective, max_evaluations=-1),
            ValueError,
            "max_evaluations must be at",
        ),
        (lambda: hs.curvature_stability(down), ValueError, "objective must have positive curvature here"),
    ]
    for call, error, message in cases:
        with pytest.raises(error, match=message):
            call()


@pytest.mark.slow
def test_full_batch_descent_settles_at_the_edge_of_stability():
    """Cohen et al. (2021): the sharpness rises to 2 / step and stays there."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 1))
    x = vectors(50, 10, dtype=torch.float32).contiguous()
    y = vectors(50, 1, seed=2, dtype=torch.float32).contiguous()
    objective = hs.Objective(model, nn.MSELoss(), (x, y))
    rate = 0.1
    seen = []
    for step in range(800):
        move(objective, -rate * objective.gradient())
        if step % 50 == 49:
            seen.append(hs.curvature_stability(objective, max_evaluations=0))
    steps = [found.largest_stable_step / rate for found in seen]
    assert steps[0] > 3
    assert all(0.9 < ratio < 1.15 for ratio in steps[-9:])
    # It was driven there: what descent makes of the sharpness, beside the oscillation, is to raise it.
    assert all(found.alpha_beside.value > 0 for found in seen[:6])
