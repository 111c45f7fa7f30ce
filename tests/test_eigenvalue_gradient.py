"""Gradients of eigenvalues: closed forms, differences of eigenpairs, clusters, errors, predictions."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import hesscope as hs
from jets_cases import vectors
from third_order_cases import DOUBLE, Cubic, assert_close, difference, objective_of


def dense(objective):
    h = hs.hessian(objective, engine="autograd").rows(torch.eye(objective.n, dtype=DOUBLE))
    return (h + h.T) / 2


def cubic():
    model = Cubic()
    return model, hs.Objective(model, lambda m, s: m(s), torch.tensor(1.0, dtype=DOUBLE))


def test_of_a_cubic_form_in_closed_form():
    model, objective = cubic()
    values = model.c * (model.a @ model.theta.detach())
    eig = hs.eigenpairs(hs.hessian(objective), k=3)
    d3 = hs.third_order(objective)
    for i in range(2):
        r = int((values - eig.values[i]).abs().argmin())
        got = d3.eigenvalue_gradient(eig, i)
        assert float((got.value - model.c[r] * model.a[r]).norm()) <= got.error <= 1e-9
        assert got.norm == pytest.approx(abs(float(model.c[r])))
        assert got.members == (i,)


@pytest.mark.parametrize("name", ["perceptron", "batch_norm", "gpt"])
def test_is_the_difference_of_eigenvalues(name):
    objective = objective_of(name, l2=0.1)
    eig = hs.eigenpairs(hs.hessian(objective), k=3, tol=1e-10)
    d3 = hs.third_order(objective)
    direction = vectors(1, objective.n, seed=4)[0]
    direction = direction / direction.norm()

    def largest():
        return hs.eigenpairs(
            hs.hessian(objective, engine="autograd"), k=2, tol=1e-11, initial=eig.vectors[:2]
        ).values

    expected = difference(objective, largest, direction, steps=4, first=4e-3)
    for i in range(2):
        got = d3.eigenvalue_gradient(eig, i)
        assert_close(got.value @ direction, expected[i], float(eig.values[0]), 1e-6)


def test_the_mean_of_a_cluster_is_the_difference_of_means():
    """Two copies of one network without coupling: every eigenvalue is double, at any weights of one copy."""

    def loss(m, batch):
        x, y = batch
        return F.mse_loss(m[0](x), y) + F.mse_loss(m[1](x), y)

    torch.manual_seed(0)
    first = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    second = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    second.load_state_dict(first.state_dict())
    model = nn.ModuleList([first, second])
    objective = hs.Objective(model, loss, (vectors(9, 3).contiguous(), vectors(9, 1, seed=2).contiguous()))
    eig = hs.eigenpairs(hs.hessian(objective), k=5, tol=1e-10)
    assert float((eig.values[0] - eig.values[1]).abs()) < 1e-8
    d3 = hs.third_order(objective)
    got = d3.eigenvalue_gradient(eig, (0, 1))
    # Any basis of the eigenspace gives the same mean, but not the same T[x, x, .].
    mixed = torch.tensor([[0.6, 0.8], [-0.8, 0.6]], dtype=DOUBLE) @ eig.vectors[:2]
    assert_close(d3.contract(mixed, mixed).mean(0), got.value, 0.0)
    apart = d3.contract(mixed[0], mixed[0]) - d3.contract(eig.vectors[0], eig.vectors[0])
    assert apart.norm() > 0.01 * got.value.norm()
    direction = vectors(1, objective.n, seed=5)[0]
    direction = direction / direction.norm()
    expected = difference(
        objective, lambda: torch.linalg.eigvalsh(dense(objective))[-2:].mean(), direction, first=4e-3
    )
    assert_close(got.value @ direction, expected, float(eig.values[0]), 1e-7)
    for part in (0, 1, (1,), (0, 2)):
        with pytest.raises(ValueError, match=r"index must hold whole clusters.*pairs 0, 1.*index=\(0, 1\)"):
            d3.eigenvalue_gradient(eig, part)
    with pytest.raises(ValueError, match="index must hold whole clusters"):
        d3.eigenvalue_gradient(eig, (0, 1), cluster_tol=1e3)


@pytest.mark.parametrize("tol", [1e-2, 1e-3, 1e-5])
def test_the_error_bounds_the_error(tol):
    objective = objective_of("perceptron")
    d3 = hs.third_order(objective)
    values, columns = torch.linalg.eigh(dense(objective))
    exact = d3.contract(columns[:, -1], columns[:, -1])
    eig = hs.eigenpairs(hs.hessian(objective), k=3, tol=tol)
    vector = columns[:, -1] + tol * vectors(1, objective.n, seed=7)[0] / objective.n**0.5
    vector = vector / vector.norm()
    product = hs.hessian(objective) @ vector
    rough = dataclasses.replace(
        eig,
        vectors=torch.cat([vector[None], columns[:, -3:-1].flip(1).T]),
        values=torch.stack([vector @ product, values[-2], values[-3]]),
        residuals=torch.tensor([float((product - (vector @ product) * vector).norm()), 0.0, 0.0]),
    )
    for pairs in (eig, rough):
        got = d3.eigenvalue_gradient(pairs, 0)
        error = float((got.value - exact).norm())
        assert error <= got.error
        assert got.error <= 100 * max(error, tol * got.slope)
    assert error > 1e-3 * tol * got.slope


def test_without_a_gap_the_error_is_not_known():
    objective = objective_of("perceptron")
    d3, h = hs.third_order(objective), hs.hessian(objective)
    got = d3.eigenvalue_gradient(hs.eigenpairs(h, k=1), 0)
    assert got.gap == 0
    assert got.error == float("inf")
    assert "more eigenpairs" in got.method
    both = hs.eigenpairs(h, k=4, which="both_ends")
    assert d3.eigenvalue_gradient(both, 0).gap == pytest.approx(
        float(both.values[0] - both.values[1]), rel=1e-6
    )
    assert d3.eigenvalue_gradient(both, 3).error < 1e-3
    assert d3.eigenvalue_gradient(both, 1).gap == d3.eigenvalue_gradient(both, 2).gap == 0
    smallest = hs.eigenpairs(h, k=2, which="smallest")
    assert d3.eigenvalue_gradient(smallest, 0).gap > 0
    assert d3.eigenvalue_gradient(smallest, 1).gap == 0
    magnitude = hs.eigenpairs(h, k=3, which="magnitude")
    assert d3.eigenvalue_gradient(magnitude, 0).gap > 0
    unknown = d3.eigenvalue_gradient(both, 0, norm_steps=0)
    assert unknown.error == float("inf")
    assert "norm_steps" in unknown.method
    assert torch.equal(unknown.value, d3.eigenvalue_gradient(both, 0).value)


def test_predicts_the_sharpness_after_a_step_of_gradient_descent_to_second_order():
    """A training run: the error of the prediction falls with the square of the step."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 3)).double()
    x = vectors(40, 5).contiguous()
    y = torch.arange(40) % 3
    objective = hs.Objective(model, nn.CrossEntropyLoss(), (x, y))
    h, rate = hs.hessian(objective), 0.5
    for step in range(60):
        gradient = objective.gradient()
        if step % 20 == 19:
            eig = hs.eigenpairs(h, k=3, tol=1e-10)
            slope = hs.third_order(objective).eigenvalue_gradient(eig, 0)
            errors = []
            for size in (rate / 8, rate / 16):
                move(objective, -size * gradient)
                after = hs.eigenpairs(h, k=1, tol=1e-10, initial=eig.vectors)
                errors.append(abs(slope.predict(-size * gradient) - float(after.values[0])))
                change = abs(float(after.values[0]) - slope.eigenvalue)
                move(objective, size * gradient)
            assert errors[1] <= 0.3 * errors[0]  # a quarter, and what is of third order
            assert errors[1] <= 0.1 * change
        move(objective, -rate * gradient)


def move(objective, step):
    with torch.no_grad():
        for p, part in zip(objective.parameter_set.tensors, objective.parameter_set.slices, strict=True):
            p += step[part].view(p.shape)


def test_wrong_arguments_are_named():
    objective = objective_of("perceptron")
    d3 = hs.third_order(objective)
    eig = hs.eigenpairs(hs.hessian(objective), k=2)
    other = hs.eigenpairs(hs.hessian(objective_of("batch_norm")), k=1)
    cases = [
        (
            lambda: d3.eigenvalue_gradient(eig.vectors),
            TypeError,
            "eigenpairs must be an Eigenpairs.*got Tensor",
        ),
        (
            lambda: d3.eigenvalue_gradient(other),
            ValueError,
            rf"eigenpairs must be those of.*n = {objective.n}",
        ),
        (lambda: d3.eigenvalue_gradient(eig, 2), ValueError, "index must be below 2, got 2"),
        (lambda: d3.eigenvalue_gradient(eig, ()), ValueError, "index must be one pair, or several"),
        (lambda: d3.eigenvalue_gradient(eig, (0, 0)), ValueError, "index must be one pair, or several"),
        (lambda: d3.eigenvalue_gradient(eig, "0"), TypeError, "index must be an integer, got str"),
        (lambda: d3.eigenvalue_gradient(eig, cluster_tol=-1.0), ValueError, "cluster_tol must be finite"),
        (lambda: d3.eigenvalue_gradient(eig, norm_steps=-1), ValueError, "norm_steps must be at least 0"),
    ]
    for call, error, message in cases:
        with pytest.raises(error, match=f"eigenvalue_gradient: {message}"):
            call()
    slope = d3.eigenvalue_gradient(eig, 0, norm_steps=0)
    with pytest.raises(ValueError, match=rf"predict: step must have shape \[{objective.n}\], got \[3\]"):
        slope.predict(torch.ones(3))
    with pytest.raises(TypeError, match="predict: step must be a tensor, got NoneType"):
        slope.predict(None)


def test_eigenpairs_of_another_operator_are_refused():
    objective = objective_of("perceptron")
    d3, h = hs.third_order(objective), hs.hessian(objective)
    scaling = torch.linspace(1, 2, objective.n, dtype=DOUBLE)
    model, (x, y) = objective.model, objective.data.source
    others = {
        "matrix": hs.ggn(objective),
        "scaled": hs.preconditioned(h, scaling),
        "diagonal": hs.from_matrix(torch.diag(scaling)),
        "data": hs.hessian(hs.Objective(model, objective.criterion.function, (x[:-1], y[:-1]))),
    }
    for operator in others.values():
        with pytest.raises(ValueError, match=r"those of the objective's Hessian at these.* for pair 0, got "):
            d3.eigenvalue_gradient(hs.eigenpairs(operator, k=3), 0)


def test_eigenpairs_from_before_a_step_are_refused():
    objective = objective_of("perceptron")
    d3 = hs.third_order(objective)
    eig = hs.eigenpairs(d3.hessian, k=3)
    move(objective, -0.1 * objective.gradient())
    with pytest.raises(ValueError, match="those of the objective's Hessian at these weights"):
        d3.eigenvalue_gradient(eig, 0)


def test_the_products_that_measure_residuals_are_counted():
    objective = objective_of("perceptron")
    d3 = hs.third_order(objective)
    eig = hs.eigenpairs(d3.hessian, k=3)
    before = d3.hessian.products
    got = d3.eigenvalue_gradient(eig, 0)
    assert d3.hessian.products - before == got.products == 1
    claimed = dataclasses.replace(eig, residuals=torch.zeros(3, dtype=DOUBLE))
    assert 0 < d3.eigenvalue_gradient(claimed, 0).residual <= 2 * float(eig.residuals[0]) + 1e-12


def test_it_is_saved_and_loaded(tmp_path):
    _, objective = cubic()
    eig = hs.eigenpairs(hs.hessian(objective), k=2)
    for index in (0, 1):  # the second has no gap: its error is infinite
        got = hs.third_order(objective).eigenvalue_gradient(eig, index)
        got.save(tmp_path / "slope.safetensors")
        back = hs.load(tmp_path / "slope.safetensors")
        assert isinstance(back, hs.EigenvalueGradient)
        assert torch.equal(back.value, got.value)
        assert str(back) == str(got)
        assert (back.error, back.gap, back.members) == (got.error, got.gap, got.members)
        assert (back.products, back.contractions) == (got.products, got.contractions)
        step = torch.ones(7, dtype=DOUBLE)
        assert back.predict(step) == got.predict(step)
