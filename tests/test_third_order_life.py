"""third_order over its life: batches, memory, changes, fallback, wrong arguments, documentation."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import hesscope as hs
from jets_cases import RELATIVE, vectors
from test_jets_models import problem
from third_order_cases import DOUBLE, assert_close, objective_of


def test_several_weighted_batches_merging_and_streams():
    model, x, y = problem("perceptron", rows=11)
    data = [(x[:4], y[:4]), (x[4:8], y[4:8]), (x[8:], y[8:])]
    weights = torch.tensor([0.5, 1.0, 3.0], dtype=DOUBLE)
    loader = DataLoader(TensorDataset(x, y), batch_size=4)
    for source, options in ((data, {}), (data, {"reduction": "sum"}), (loader, {"l2": 0.2})):
        objective = hs.Objective(model, nn.CrossEntropyLoss(weight=weights), source, **options)
        u, v = vectors(2, objective.n)
        for budget in (None, 0):
            d3 = hs.third_order(objective, engine="jets", memory_budget=budget)
            oracle = hs.third_order(objective, engine="autograd")
            expected = oracle.contract(u, v)
            assert_close(d3.contract(u, v), expected, 0.0)
            assert_close(d3.contract(u, v), expected, 0.0)
            assert_close(d3.cubic_form(u), oracle.cubic_form(u), 0.0)
            assert_close(d3.quadratic_form(u), u @ (hs.hessian(objective) @ u), 0.0)
            assert d3.memory == 0 or budget is None


def test_contractions_read_a_loader_that_is_held_once():
    """A shuffled loader gives other batches each time; within one reading of it there is no contradiction."""
    model, x, y = problem("perceptron", rows=12)
    loader = DataLoader(TensorDataset(x, y), batch_size=4, shuffle=True)
    d3 = hs.third_order(hs.Objective(model, F.cross_entropy, loader))
    whole = hs.third_order(hs.Objective(model, F.cross_entropy, (x, y)))
    u, v = vectors(2, whole.objective.n)
    assert_close(d3.contract(u, v), whole.contract(u, v), 0.0)
    assert_close(d3.quadratic_form(u), whole.quadratic_form(u), 0.0)


def test_chunks_of_rows_and_the_budget():
    def loss(m, batch):  # no known criterion, so that batches are not merged
        return F.cross_entropy(m(batch[0]), batch[1])

    model, x, y = problem("perceptron", rows=12)
    objective = hs.Objective(model, loss, list(zip(x.split(4), y.split(4), strict=True)))
    u = vectors(6, objective.n)
    full = hs.third_order(objective, engine="jets")
    expected = [full.contract(u, u), full.contract(u, u, reduction="sum"), full.cubic_form(u)]
    kept = full._engines.now.kept
    assert kept > 0
    small = hs.third_order(objective, engine="jets", memory_budget=kept // 2)
    got = [small.contract(u, u), small.contract(u, u, reduction="sum"), small.cubic_form(u)]
    for a, b in zip(got, expected, strict=True):
        assert_close(a, b, 0.0)
    assert 0 < small.memory <= kept // 2
    full.release()
    assert full.memory == 0


@pytest.mark.parametrize("change", ["add", "data", "mode", "batch"])
def test_changes_are_noticed(change):
    model, x, y = problem("batch_norm")
    objective = hs.Objective(model, F.cross_entropy, (x, y))
    d3, u = hs.third_order(objective, engine="jets"), vectors(1, objective.n)[0]
    before = [d3.contract(u, u), d3.cubic_form(u)]
    if change == "add":
        with torch.no_grad():
            model[0].weight.add_(0.5)
    elif change == "data":
        model[0].weight.data.mul_(2)  # bypasses the version counter
    elif change == "mode":
        model.eval()
    else:
        x.mul_(3)
    fresh = hs.third_order(objective, engine="jets")
    for old, new, expected in zip(
        before,
        [d3.contract(u, u), d3.cubic_form(u)],
        [fresh.contract(u, u), fresh.cubic_form(u)],
        strict=True,
    ):
        assert_close(new, expected, 0.0)
        assert (new - old).norm() > RELATIVE * old.norm()


def test_a_loss_whose_path_depends_on_values():
    model, x, y = problem("perceptron")

    def loss(m, batch):
        out = m(batch[0])
        return out.square().mean().sin() if bool(batch[0].sum() > 0) else F.cross_entropy(out, batch[1])

    data = [(x.abs(), y), (-x.abs(), y)]
    objective = hs.Objective(model, loss, data)
    u, v = vectors(2, objective.n)
    d3, oracle = (hs.third_order(objective, engine=e) for e in ("jets", "autograd"))
    assert_close(d3.contract(u, v), oracle.contract(u, v), 0.0)
    assert_close(d3.cubic_form(u), oracle.cubic_form(u), 0.0)


def test_wrong_arguments_are_named():
    objective = objective_of("perceptron")
    d3, n = hs.third_order(objective), objective.n
    u = vectors(2, n)
    cases = [
        (lambda: d3.contract(u[:, 1:], u), ValueError, rf"contract: u must have shape \[{n}\] or \[K, {n}\]"),
        (
            lambda: d3.contract(u, u[0].float()),
            TypeError,
            r"contract: v must be torch.float64, got .*float32",
        ),
        (lambda: d3.contract(u, vectors(3, n)), ValueError, r"contract: v must have as many rows as u, 2"),
        (lambda: d3.contract(u, u, [1.0]), TypeError, r"contract: w must be a tensor, got list"),
        (lambda: d3.contract(u, u, reduction="mean"), ValueError, r"contract: reduction must be one of"),
        (lambda: d3.quadratic_form(u.to("meta")), ValueError, r"quadratic_form: v must be on cpu, got meta"),
        (lambda: d3.operator(u), ValueError, rf"operator: d must have shape \[{n}\], got \[2, {n}\]"),
        (lambda: hs.third_order(objective, engine="fast"), ValueError, r"third_order: engine must be one of"),
        (lambda: hs.third_order(objective, memory_budget=-1), ValueError, r"memory_budget must be at least"),
        (lambda: hs.third_order(3), TypeError, r"third_order: objective must be an Objective, got int"),
    ]
    for call, error, message in cases:
        with pytest.raises(error, match=message):
            call()


def test_falling_back_warns_once():
    model, x, y = problem("perceptron")

    def loss(m, batch):
        return torch.linalg.inv(m(batch[0])[:3] + 3 * torch.eye(3)).sum() + m(batch[0]).square().sum()

    objective = hs.Objective(model, loss, (x, y))
    u = vectors(2, objective.n)
    d3 = hs.third_order(objective)
    with pytest.warns(UserWarning, match=r"third_order: falling back.*aten\.linalg_inv_ex"):
        got = d3.cubic_form(u)
    assert "autograd" in d3.explain()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_close(d3.contract(u, u, u), got, 0.0)


def test_the_examples_of_the_documentation_run(tmp_path, monkeypatch):
    page = (Path(__file__).parents[1] / "docs" / "third_order.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 4
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "docs/third_order.md", "exec"), names)
    third, v = names["D3"], names["v"]
    assert third.engine == "jets"
    assert_close(third.contract(v, v) @ v, third.cubic_form(v), 0.0, 1e-4)  # float32
    assert hs.load(tmp_path / "stability.safetensors").sharpness == names["found"].sharpness
    assert names["top"].value <= names["D3"].frobenius_norm(num_pairs=64).interval[1]


def test_the_hessian_is_shared():
    objective = objective_of("perceptron", l2=0.3)
    v = vectors(3, objective.n)
    for engine in ("jets", "autograd", "auto"):
        d3 = hs.third_order(objective, engine=engine)
        assert_close(d3.hessian.rows(v), hs.hessian(objective, engine="autograd").rows(v), 0.0)
        assert d3.hessian is d3.hessian
        assert d3.hessian.products == 3
        d3.contract(v, v)
        assert d3.engine == ("autograd" if engine == "autograd" else "jets")
