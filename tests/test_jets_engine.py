"""The jets engine over its life: budgets, changes, fallback, what it says."""

from __future__ import annotations

import json
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from hesscope.curvature import hessian
from hesscope.curvature.jets.capture import CaptureError
from hesscope.curvature.jets.engine import JetsHessian
from hesscope.objective import Objective
from jets_cases import RELATIVE, assert_agrees, cube, vectors


def problem(rows=12):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    x, y = vectors(rows, 4).contiguous(), torch.arange(rows) % 3
    return model, list(zip(x.split(rows // 3), y.split(rows // 3), strict=True))


def objective_of(model, data, **options):
    """A loss that is no known criterion, so that batches are not merged."""
    return Objective(model, lambda m, b: F.cross_entropy(m(b[0]), b[1]), data, **options)


def test_values_are_kept_within_the_budget_and_the_result_is_the_same():
    model, data = problem()
    objective = objective_of(model, data)
    v = vectors(6, objective.n)
    full = JetsHessian(objective)
    expected = full.rows(v)
    assert len(full._prepared) == 3
    (program,) = full._programs.values()
    size, need = full.memory // 3, program.footprint
    one = need.peak(1, kept=False)  # values that are not kept, and a vector
    budgets = ((0, 0), (one, 0), (one + size, 1), (2 * size + need.probe + size - 1, 1), (100 * size, 3))
    for budget, kept in budgets:
        h = JetsHessian(objective, memory_budget=budget)
        for _ in range(2):  # small budgets take one vector at a time
            assert (h.rows(v) - expected).norm() <= RELATIVE * expected.norm()
        assert len(h._prepared) == kept
        assert h.memory <= budget
    full.release()
    assert full.memory == 0
    assert torch.equal(full.rows(v), expected)


def test_the_primal_is_computed_once(monkeypatch):
    from hesscope.curvature.jets.program import Program

    model, data = problem()
    calls = []
    prepare = Program.prepare
    monkeypatch.setattr(Program, "prepare", lambda *a, **b: calls.append(1) or prepare(*a, **b))
    h = JetsHessian(objective_of(model, data))
    for _ in range(3):
        h.rows(vectors(2, h.shape[0]))
    assert len(calls) == 3
    assert h.products == 6


@pytest.mark.parametrize("change", ["add", "data", "mode", "batch"])
def test_changes_are_noticed(change):
    model, data = problem()
    model.insert(1, nn.BatchNorm1d(5).double())
    objective = objective_of(model, data)
    h, v = JetsHessian(objective), vectors(2, objective.n)
    before, key = h.rows(v), h.fingerprint()
    if change == "add":
        with torch.no_grad():
            model[0].weight.add_(0.5)
    elif change == "data":
        model[0].weight.data.mul_(2)  # bypasses the version counter
    elif change == "mode":
        model.eval()
    else:
        data[1][0].mul_(3)
    assert h.fingerprint() != key
    after, expected = h.rows(v), hessian(objective, engine="autograd").rows(v)
    assert (after - expected).norm() <= RELATIVE * expected.norm()
    assert (after - before).norm() > RELATIVE * before.norm()


def test_a_loader_is_read_once_or_streams():
    model, data = problem()
    x, y = (torch.cat(parts) for parts in zip(*data, strict=True))
    loader = DataLoader(TensorDataset(x, y), batch_size=5)
    for budget in (None, 0):
        objective = Objective(model, F.cross_entropy, loader)
        got = JetsHessian(objective, memory_budget=budget).rows(vectors(2, objective.n))
        expected = hessian(Objective(model, F.cross_entropy, (x, y))).rows(vectors(2, objective.n))
        assert (got - expected).norm() <= RELATIVE * expected.norm()


def test_products_do_not_depend_on_the_callers_grad_mode():
    model, data = problem()
    objective = objective_of(model, data, l2=0.1)
    v = vectors(2, objective.n).contiguous().requires_grad_()
    expected = JetsHessian(objective).rows(v)
    assert not expected.requires_grad
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            assert torch.equal(JetsHessian(objective).rows(v), expected)
    assert all(p.grad is None for p in model.parameters())


def unsupported(model, data):
    def loss(m, batch):
        return cube(m(batch[0])).sum() + m(batch[0]).square().sum()

    return Objective(model, loss, data)


def test_falling_back_warns_once_and_names_the_operator():
    model, data = problem()
    objective = unsupported(model, data)
    v = vectors(2, objective.n)
    with pytest.raises(CaptureError, match=r"engine='jets' must.*hesscope_tests\.cube"):
        JetsHessian(objective).rows(v)
    h = JetsHessian(objective, fallback="autograd")
    with pytest.warns(UserWarning, match=r"falling back to engine='autograd'.*hesscope_tests\.cube"):
        got = h.rows(v)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(h.rows(v), got)
    assert torch.equal(hessian(objective, engine="autograd").rows(v), got)
    assert h.engine == "autograd"
    assert "double backward" in h.explain()
    assert h.memory > 0
    h.release()
    assert h.memory == 0


def test_what_it_says():
    model, data = problem()
    h = JetsHessian(objective_of(model, data))
    assert "nothing is captured yet" in h.explain()
    h.rows(vectors(1, h.shape[0]))
    text = h.explain()
    for piece in ("engine: jets", "captured: 1 in", "batches: 3", "3 of 3 batches kept", "MiB"):
        assert piece in text
    description = json.loads(json.dumps(h.description()))
    assert description["engine"] == "jets"


def test_bad_losses_are_refused_as_by_the_other_engine():
    model, data = problem()
    for loss, message in (
        (lambda m, b: m(b[0]).sum() * float("nan"), "must be finite"),
        (lambda m, b: m(b[0]), "must return a scalar"),
        (lambda _, b: b[0].sum(), "must depend on the selected parameters"),
    ):
        objective = Objective(model, loss, data)
        with pytest.raises(ValueError, match=message):
            JetsHessian(objective).rows(vectors(1, objective.n))
    with pytest.raises(ValueError, match="memory_budget must not be negative"):
        JetsHessian(objective, memory_budget=-1)


def test_a_linear_loss_has_no_curvature():
    model = nn.Linear(4, 1).double()
    objective = Objective(model, lambda m, b: m(b).sum(), vectors(5, 4).clone())
    out = JetsHessian(objective).rows(vectors(3, objective.n))
    assert (out == 0).all()


def test_nan_in_a_vector_stays_in_its_row():
    model, data = problem()
    h = JetsHessian(objective_of(model, data))
    v = vectors(3, h.shape[0]).clone()
    v[1] = float("nan")
    out = h.rows(v)
    assert out[1].isnan().any()
    assert not out[[0, 2]].isnan().any()


def test_vectors_in_any_layout():
    model, data = problem()
    h = assert_agrees(objective_of(model, data))
    v = vectors(4, h.shape[0])
    assert torch.equal(h.rows(v.t().contiguous().t()), h.rows(v))
    assert torch.equal(h @ v.T, h.rows(v).T)
