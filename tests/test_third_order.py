"""third_order on whole models, closed forms, and over its life."""

from __future__ import annotations

import itertools
import re
import warnings
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import hesscope as hs
from hesscope.third_order.elementary_norms import ElementaryNorms
from jets_cases import RELATIVE, vectors
from test_jets_models import MODELS, problem
from third_order_cases import assert_close, difference, units

DOUBLE = torch.float64


def objective_of(name, mode="keep", **options):
    model, x, y = problem(name)
    return hs.Objective(model, nn.CrossEntropyLoss(label_smoothing=0.1), (x, y), mode=mode, **options)


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("name", MODELS)
def test_contractions_are_differences_of_products_with_h(name, mode):
    if mode == "eval" and name not in ("batch_norm", "instance_norm"):
        pytest.skip("the same as in training mode")
    objective = objective_of(name, mode, l2=0.1)
    d3, h = hs.third_order(objective, engine="jets"), hs.hessian(objective, engine="autograd")
    u, v = units(2, objective.n, 3)
    pair = torch.stack([u, v])
    both = difference(objective, lambda: h.rows(pair), u, first=4e-3)
    size = float(h.rows(pair).norm())
    for got, expected in zip((d3.contract(u, u), d3.contract(u, v)), both, strict=True):
        assert expected.norm() > 0.01 * size
        assert_close(got, expected, 0.0, 1e-7)
    assert_close(d3.quadratic_form(pair), (h.rows(pair) * pair).sum(1), size)
    assert_close(d3.cubic_form(u), both[0] @ u, size, 1e-7)


@pytest.mark.parametrize("name", ["perceptron", "batch_norm", "gpt"])
def test_t_is_symmetric_and_multilinear(name):
    objective = objective_of(name)
    d3 = hs.third_order(objective, engine="jets")
    three = list(units(3, objective.n, 5))
    size = float(d3.contract(three[0], three[0]).norm())
    values = torch.stack([d3.contract(*order) for order in itertools.permutations(three)])
    assert_close(values, values[:1].expand(6), 6**0.5 * size)
    u, v, w = three
    assert_close(d3.contract(2 * u - 3 * w, v), 2 * d3.contract(u, v) - 3 * d3.contract(w, v), size)
    polarised = d3.contract(u + v, u + v) - d3.contract(u, u) - d3.contract(v, v)
    assert_close(2 * d3.contract(u, v), polarised, size)
    assert_close(d3.contract(u, v, u), d3.contract(u, u) @ v, size)
    assert_close(d3.contract(v, u, u), d3.contract(u, u) @ v, size)
    assert_close(d3.contract(u, u, u), d3.contract(u, u) @ u, size)


@pytest.mark.parametrize("engine", ["jets", "autograd"])
def test_rows_are_paired_and_one_vector_goes_with_all(engine):
    objective = objective_of("perceptron", l2=0.3)
    d3 = hs.third_order(objective, engine=engine)
    u, v, w = (vectors(5, objective.n, seed=i) for i in range(3))
    apart = torch.stack([d3.contract(*pair) for pair in zip(u, v, strict=True)])
    size = float(apart.norm())
    assert_close(d3.contract(u, v), apart, size)
    assert_close(d3.contract(u, v, w), (apart * w).sum(1), size)
    assert_close(d3.contract(u[0], v), torch.stack([d3.contract(u[0], row) for row in v]), size)
    assert_close(d3.contract(v, u[0]), d3.contract(u[0], v), size)
    assert_close(d3.contract(u, v, reduction="sum"), apart.sum(0), size)
    assert_close(d3.contract(u, u, reduction="sum"), d3.contract(u, u).sum(0), size)
    assert_close(d3.quadratic_form(u, reduction="sum"), d3.quadratic_form(u).sum(), size)
    assert_close(d3.contract(u, u, u, reduction="sum"), d3.cubic_form(u).sum(), size)
    assert d3.contract(u[0], v[0]).shape == (objective.n,)
    assert d3.contract(u[0], v[0], w[0]).shape == d3.cubic_form(u[0]).shape == ()
    assert d3.contract(u[:0], v[:0]).shape == (0, objective.n)
    assert d3.contract(u[:0], v[:0], reduction="sum").abs().sum() == 0
    assert d3.cubic_form(u[:0]).shape == d3.quadratic_form(u[:0]).shape == (0,)


def test_one_direction_given_twice_costs_less():
    objective = objective_of("perceptron")
    d3 = hs.third_order(objective, engine="jets")
    u = vectors(3, objective.n)
    d3.contract(u, u)
    d3.contract(u, u.view_as(u))  # another tensor, the same storage
    assert "s, t, st" not in d3.explain()
    got = d3.contract(u, u.clone())
    assert "s, t, st" in d3.explain()
    assert_close(got, d3.contract(u, u), 0.0)
    assert d3.contractions == 12


class Cubic(nn.Module):
    """sum_r c_r (a_r' theta)^3 / 6 with orthonormal directions."""

    def __init__(self):
        super().__init__()
        g = torch.Generator().manual_seed(0)
        self.register_buffer("a", torch.linalg.qr(torch.randn(7, 7, generator=g, dtype=DOUBLE))[0])
        self.register_buffer("c", torch.tensor([3.0, -2.0, 1.0, 0.5, 0.0, -1.0, 2.0], dtype=DOUBLE))
        self.theta = nn.Parameter(torch.randn(7, generator=g, dtype=DOUBLE))

    def forward(self, scale):
        return scale * (self.c * (self.a @ self.theta) ** 3).sum() / 6


def test_a_cubic_form():
    model = Cubic()
    d3 = hs.third_order(hs.Objective(model, lambda m, s: m(s), torch.tensor(1.0, dtype=DOUBLE)))
    u, v, w = vectors(3, 7)
    a, c = model.a, model.c
    expected = a.t() @ (c * (a @ u) * (a @ v))
    assert_close(d3.contract(u, v), expected, 0.0)
    assert_close(d3.contract(u, v, w), expected @ w, float(expected.norm()))
    assert_close(d3.cubic_form(u), (c * (a @ u) ** 3).sum(), 0.0)
    assert_close(d3.quadratic_form(u), (c * (a @ model.theta.detach()) * (a @ u) ** 2).sum(), 0.0)
    with torch.no_grad():
        model.theta.zero_()
    assert_close(d3.contract(u, v), expected, 0.0)  # T does not depend on the place
    assert d3.quadratic_form(u) == 0


def test_a_fourth_power():
    model = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(model.weight, 3.0)
    objective = hs.Objective(model, lambda m, x: (m(x) ** 4).sum(), torch.ones(1, 1, dtype=DOUBLE))
    one = torch.ones(1, dtype=DOUBLE)
    for engine in ("jets", "autograd"):
        d3 = hs.third_order(objective, engine=engine)
        values = [objective.gradient(), d3.quadratic_form(one), d3.contract(one, one), d3.cubic_form(one)]
        assert [float(value) for value in values] == [108.0, 108.0, 72.0, 72.0]


def test_logistic_regression():
    torch.manual_seed(0)
    x, y = vectors(20, 4).contiguous(), (torch.arange(20) % 2).double()
    model = nn.Linear(4, 1, bias=False).double()
    objective = hs.Objective(
        model, lambda m, b: F.binary_cross_entropy_with_logits(m(b[0])[:, 0], b[1]), (x, y)
    )
    d3 = hs.third_order(objective, engine="jets")
    p = torch.sigmoid(x @ model.weight.detach()[0])
    third = p * (1 - p) * (1 - 2 * p)
    u, v = vectors(2, 4, seed=2)
    assert_close(d3.contract(u, v), x.t() @ (third * (x @ u) * (x @ v)) / 20, 0.0)
    assert_close(d3.quadratic_form(u), (p * (1 - p) * (x @ u) ** 2).mean(), 0.0)


def test_a_sum_of_exponentials():
    a = vectors(6, 4).contiguous()
    model = nn.Linear(4, 1, bias=False).double()
    objective = hs.Objective(model, lambda m, x: m(x).exp().sum(), a)
    d3 = hs.third_order(objective, engine="jets")
    weights = (a @ model.weight.detach()[0]).exp()
    u, v = vectors(2, 4, seed=3)
    assert_close(d3.contract(u, v), a.t() @ (weights * (a @ u) * (a @ v)), 0.0)


class Scalar(nn.Module):
    def __init__(self, t, function):
        super().__init__()
        self.t, self.function = nn.Parameter(torch.tensor(t, dtype=DOUBLE)), function

    def forward(self, scale):
        return scale * self.function(self.t)


def layer_norm(t):
    x = torch.stack((t, t.new_zeros(()))).reshape(1, 2)
    weight = torch.tensor([1.0, 2.0], dtype=DOUBLE)
    return F.layer_norm(x, [2], weight=weight, bias=weight.new_zeros(2), eps=0.25).sum()


def batch_norm(t):
    x = torch.stack([(i + 1) * t + (i % 3 - 1) * t * t + i for i in range(8)]).reshape(2, 2, 2)
    weight, bias = torch.tensor([[1.5, -0.5], [0.25, 1.0]], dtype=DOUBLE)
    y = F.batch_norm(x, None, None, weight=weight, bias=bias, training=True, eps=0.25)
    return (y * torch.arange(1, 9, dtype=DOUBLE).reshape(2, 2, 2)).sum()


@pytest.mark.parametrize("engine", ["jets", "autograd"])
@pytest.mark.parametrize(
    ("function", "t", "second"),
    [(layer_norm, 0.7, 0.7749142079590942), (batch_norm, -6.0, -0.20703015646993195)],
)
def test_norms_that_nested_derivatives_get_wrong(function, t, second, engine):
    """PyTorch issues 196700 and 196699 give the second derivatives; the third is their difference."""
    model = Scalar(t, function)
    objective = hs.Objective(model, lambda m, s: m(s), torch.tensor(1.0, dtype=DOUBLE))
    d3 = hs.third_order(objective, engine=engine)
    one = torch.ones(1, dtype=DOUBLE)
    assert float(d3.quadratic_form(one)) == pytest.approx(second, rel=1e-12)
    h = hs.hessian(objective, engine="jets")
    expected = difference(objective, lambda: h @ one, one)
    assert_close(d3.cubic_form(one), expected[0], 0.0, 1e-8)
    assert_close(d3.contract(one, one), expected, 0.0, 1e-8)


def nodes(tensor):
    """The names of all nodes of a graph, in one string."""
    found, stack = set(), [tensor.grad_fn]
    while stack:
        node = stack.pop()
        if node is not None and node not in found:
            found.add(node)
            stack += [following for following, _ in node.next_functions]
    return " ".join(type(node).__name__ for node in found)


def test_elementary_norms_are_the_norms():
    x, w, b = vectors(6, 4).reshape(3, 2, 4), vectors(1, 4, seed=2)[0], vectors(1, 4, seed=3)[0]
    channels = x.transpose(1, 2).contiguous().requires_grad_()
    x.requires_grad_()
    mean, var = w * 0.1, b.abs() + 1
    calls = [
        lambda: F.layer_norm(x, (4,), w, b),
        lambda: torch.layer_norm(x, (2, 4)),
        lambda: F.rms_norm(x, (4,), w),
        lambda: F.group_norm(channels, 2, w, b),
        lambda: F.instance_norm(channels, weight=w, bias=b),
        lambda: F.batch_norm(channels, None, None, w, b, training=True, eps=0.1),
        lambda: F.batch_norm(channels, mean, var, w, b),
        lambda: torch.batch_norm(channels, w, b, None, None, True, 0.1, 1e-3, False),
        lambda: torch.instance_norm(channels, w, b, None, None, True, 0.1, 1e-3, False),
    ]
    for call in calls:
        expected = call()
        with ElementaryNorms():
            got = call()
        assert_close(got.detach(), expected.detach(), 0.0)
        assert "Norm" not in nodes(got)
    assert "Norm" in nodes(calls[0]())


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


def test_a_loss_that_contains_derivatives():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 1)).double()

    def residual(m, batch):
        z = batch.detach().requires_grad_()
        u = m(z)
        (du,) = torch.autograd.grad(u.sum(), z, create_graph=True)
        (dxx,) = torch.autograd.grad(du[:, 1].sum(), z, create_graph=True)
        return ((du[:, 0] + u[:, 0] * du[:, 1] - 0.1 * dxx[:, 1]) ** 2).mean()

    objective = hs.Objective(model, residual, vectors(7, 2).contiguous())
    d3, h = hs.third_order(objective, engine="jets"), hs.hessian(objective, engine="autograd")
    u, v = units(2, objective.n, 3)
    expected = difference(objective, lambda: h @ v, u)
    assert_close(d3.contract(u, v), expected, 0.0, 1e-7)
    assert_close(d3.cubic_form(u), d3.contract(u, u) @ u, float(expected.norm()))
    oracle = hs.third_order(objective, engine="autograd")
    assert_close(d3.contract(u, v), oracle.contract(u, v), 0.0)


@pytest.mark.parametrize("name", ["perceptron", "gpt", "group_norm"])
def test_float32_is_as_good_as_nested_autograd(name):
    model, x, y = problem(name)
    exact = hs.Objective(model, F.cross_entropy, (x, y))
    u, v = vectors(3, exact.n), vectors(3, exact.n, seed=2)
    reference = hs.third_order(exact, engine="jets").contract(u, v)
    single = hs.Objective(
        problem(name)[0].float(), F.cross_entropy, (x.float() if x.is_floating_point() else x, y)
    )
    errors = [
        (hs.third_order(single, engine=engine).contract(u.float(), v.float()).double() - reference).norm()
        for engine in ("jets", "autograd")
    ]
    assert errors[0] <= 2 * errors[1]


def test_the_change_of_h_is_an_operator():
    objective = objective_of("perceptron")
    d3 = hs.third_order(objective, engine="jets")
    d, v = units(1, objective.n, 4)[0], vectors(3, objective.n)
    change = d3.operator(d)
    expected = d3.contract(d, v)
    assert_close(change.rows(v), expected, 0.0)
    assert change.products == 3
    key = change.fingerprint()
    dense = change.rows(torch.eye(objective.n, dtype=DOUBLE))
    assert_close(dense, dense.t(), 0.0)
    values = torch.linalg.eigvalsh(dense)
    eig = hs.eigenpairs(change, k=2, which="largest")
    assert_close(eig.values, values[-2:].flip(0), 0.0, 1e-6)
    rho = hs.spectral_density(change, num_probes=4, num_steps=20)
    assert rho.nodes.min() >= values[0] - 1e-9
    assert rho.nodes.max() <= values[-1] + 1e-9
    with torch.no_grad():
        objective.parameter_set.tensors[0].add_(0.1)
    assert change.fingerprint() != key
    d.zero_()  # the operator has a copy
    assert change.rows(v).norm() > 0


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


def test_the_example_of_the_documentation_runs():
    page = (Path(__file__).parents[1] / "docs" / "third_order.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(block, "docs/third_order.md", "exec"), names)
    third, v = names["D3"], names["v"]
    assert third.engine == "jets"
    assert_close(third.contract(v, v) @ v, third.cubic_form(v), 0.0, 1e-4)  # float32
