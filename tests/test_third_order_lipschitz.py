"""How fast H changes along a segment: closed forms, kinks, weights that are put back."""

from __future__ import annotations

import contextlib
import math

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import hesscope as hs
from hesscope.third_order.displaced import displaced
from jets_cases import vectors
from test_eigenvalue_gradient import dense
from third_order_cases import DOUBLE, Cubic, objective_of


def bits(objective):
    return [p.detach().clone() for p in objective.parameter_set.tensors]


def unchanged(objective, before):
    return all(torch.equal(p, b) for p, b in zip(objective.parameter_set.tensors, before, strict=True))


def test_of_a_cubic_form_it_is_the_largest_slope():
    model = Cubic()
    objective = hs.Objective(model, lambda m, s: m(s), torch.tensor(1.0, dtype=DOUBLE))
    d = vectors(1, 7)[0]
    before = bits(objective)
    got = hs.third_order(objective).lipschitz(d, 0.3, num_segments=3, tol=1e-9)
    expected = float((model.c * (model.a @ (d / d.norm()))).abs().max())
    assert got.rates.tolist() == pytest.approx([expected] * 3, rel=1e-9)
    assert got.value == pytest.approx(expected)
    assert got.interval[0] <= got.value < got.interval[1] == math.inf
    assert got.positions.tolist() == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert unchanged(objective, before)
    assert got.status is hs.Status.CONVERGED


def test_of_a_fourth_power_it_grows_outwards():
    model = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(model.weight, 3.0)
    objective = hs.Objective(model, lambda m, x: (m(x) ** 4).sum(), torch.ones(1, 1, dtype=DOUBLE))
    got = hs.third_order(objective).lipschitz(torch.full((1,), 5.0, dtype=DOUBLE), 1.0, num_segments=2)
    assert got.rates.tolist() == pytest.approx([12 * 6.5, 12 * 7.5])  # 12 (b^2 - a^2) / (b - a)
    assert got.value == got.rates[1]


def test_of_a_network_it_is_the_norm_of_a_difference():
    objective = objective_of("perceptron", l2=0.2)
    d = vectors(1, objective.n, seed=6)[0]
    d = d / d.norm()
    got = hs.third_order(objective).lipschitz(3 * d, 0.5, num_segments=2, tol=1e-8)
    at = []
    with displaced(objective, d) as displacement:
        for t in (0.0, 0.25, 0.5):
            displacement.move(t)
            at.append(dense(objective))
    for i in range(2):
        expected = float(torch.linalg.matrix_norm(at[i + 1] - at[i], 2)) / 0.25
        assert abs(float(got.rates[i]) - expected) <= float(got.errors[i]) + 1e-7 * expected
        assert float(got.errors[i]) <= 1e-4 * expected
    small = hs.third_order(objective).lipschitz(d, 1e-3, num_segments=1, tol=1e-6)
    change = hs.third_order(objective).operator(d)
    slope = abs(float(hs.eigenpairs(change, k=1, which="magnitude").values[0]))
    assert small.value == pytest.approx(slope, rel=1e-2)  # and the third derivative as it shrinks


def test_it_sees_kinks_that_the_third_derivative_misses():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1)).double()
    x = vectors(12, 3).contiguous()
    objective = hs.Objective(model, lambda m, b: m(b).mean(), x)
    d3 = hs.third_order(objective)
    d = vectors(1, objective.n, seed=2)[0]
    with pytest.raises(ValueError, match=r"operations have kinks \(relu\).*lipschitz compares"):
        d3.contract(d, d)
    assert d3.lipschitz(d, 2.0).value > 0.01


def test_the_error_of_float32_is_told():
    objective = objective_of("perceptron")
    exact = hs.third_order(objective).lipschitz(
        vectors(1, objective.n, seed=6)[0], 1e-4, num_segments=1, tol=1e-6
    )
    objective.model.float()
    x, y = next(iter(objective.data))
    single = hs.Objective(objective.model, nn.CrossEntropyLoss(label_smoothing=0.1), (x.float(), y))
    got = hs.third_order(single).lipschitz(vectors(1, single.n, seed=6)[0].float(), 1e-4, num_segments=1)
    assert abs(got.value - exact.value) <= float(got.errors[0])
    assert float(got.errors[0]) > 1e-3 * exact.value  # a difference of nearly equal matrices


def test_weights_are_put_back_whatever_happens(monkeypatch):
    objective = objective_of("perceptron")
    before, d = bits(objective), vectors(1, objective.n)[0]
    d3 = hs.third_order(objective)
    loss = objective.criterion.function
    calls = []

    def failing(*args, **options):
        calls.append(1)
        if len(calls) == 12:
            msg = "broken"
            raise ArithmeticError(msg)
        return loss(*args, **options)

    monkeypatch.setattr(type(objective), "raw_loss", lambda self, b: failing(self.model(b[0]), b[1]))
    with pytest.raises(Exception, match="broken"):
        d3.lipschitz(d, 0.1)
    assert unchanged(objective, before)
    monkeypatch.undo()
    with contextlib.suppress(KeyboardInterrupt), displaced(objective, d) as displacement:
        displacement.move(1.0)
        assert not unchanged(objective, before)
        raise KeyboardInterrupt
    assert unchanged(objective, before)


def test_wrong_arguments_are_named():
    objective = objective_of("perceptron")
    d3, d = hs.third_order(objective), vectors(1, objective.n)[0]
    cases = [
        (
            lambda: d3.lipschitz(d[None], 1.0),
            rf"d must have shape \[{objective.n}\], got \[1, {objective.n}\]",
        ),
        (lambda: d3.lipschitz(0 * d, 1.0), "d must be finite and not zero, got a norm of 0"),
        (lambda: d3.lipschitz(d, 0.0), "radius must be positive and finite, got 0"),
        (lambda: d3.lipschitz(d, math.inf), "radius must be positive and finite, got inf"),
        (lambda: d3.lipschitz(d, 1.0, num_segments=0), "num_segments must be at least 1, got 0"),
        (lambda: d3.lipschitz(d, 1.0, tol=-1), "tol must be positive and finite"),
        (lambda: d3.lipschitz(d[1:], 1.0), rf"d must have shape \[{objective.n}\]"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=f"lipschitz: {message}"):
            call()


@pytest.mark.parametrize("after", ["gradient", "lipschitz", "curvature_stability"])
def test_hessians_of_other_data_are_not_compared(after):
    """Batch norm makes every cut of the data another objective; so does augmentation."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 1)).double()
    data = TensorDataset(vectors(64, 5).contiguous(), vectors(64, 1, seed=2).contiguous())
    loader = DataLoader(data, batch_size=16, shuffle=True)
    objective = hs.Objective(model, nn.MSELoss(), loader, mode="train")
    direction = vectors(1, objective.n, seed=3)[0]

    def measure():
        if after == "curvature_stability":
            hs.curvature_stability(objective)
        elif after == "lipschitz":
            hs.third_order(objective).lipschitz(direction, 1e-3)
        else:
            hs.hessian(objective) @ direction
            objective.gradient()

    with pytest.raises(ValueError, match="same batches in the same order every time"):
        measure()
    held = hs.Objective(model, nn.MSELoss(), list(loader), mode="train")
    assert hs.third_order(held).lipschitz(direction, 1e-3).value < 20
