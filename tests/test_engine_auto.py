"""What ``hessian`` does by default: jets, and double backward, visibly, where that is impossible."""

from __future__ import annotations

import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable
from torch.utils.data import DataLoader, TensorDataset

import hesscope as hs
from hesscope.curvature.jets import rules
from hesscope.curvature.jets.call import Rule
from hesscope.curvature.jets.capture import CaptureError
from jets_cases import RELATIVE, cube, vectors


def problem(loss=None, rows=12, **options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    x, y = vectors(rows, 4).contiguous(), torch.arange(rows) % 3
    data = list(zip(x.split(rows // 3), y.split(rows // 3), strict=True))
    loss = loss or (lambda m, b: F.cross_entropy(m(b[0]), b[1]))
    return hs.Objective(model, loss, data, **options)


def without_rule(model, batch):
    return cube(model(batch[0])).sum() + model(batch[0]).square().sum()


def close(got, expected, relative=RELATIVE):
    return float((got - expected).norm()) <= relative * float(expected.norm())


def test_the_default_is_the_jets_engine_and_says_so():
    h = hs.hessian(problem())
    assert h.description()["engine"] == "jets"
    h.rows(vectors(2, h.shape[0]))
    assert "engine: jets" in h.explain()
    assert h.engine == "jets"


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_densities_traces_and_eigenpairs_are_those_of_double_backward(reduction):
    objective = problem(F.cross_entropy, reduction=reduction, l2=0.01)
    auto, oracle = hs.hessian(objective), hs.hessian(objective, engine="autograd")
    a, b = (hs.spectral_density(h, num_probes=3, num_steps=12) for h in (auto, oracle))
    assert close(a.alpha, b.alpha, 1e-7)
    assert close(a.beta, b.beta, 1e-7)
    assert a.trace().value == pytest.approx(b.trace().value, rel=1e-9)
    one, other = (hs.eigenpairs(h, k=3).values for h in (auto, oracle))
    assert close(one, other, 1e-8)
    one, other = (hs.trace(h, products=objective.n).value for h in (auto, oracle))
    assert one == pytest.approx(other, rel=1e-10)


def test_a_run_of_either_engine_is_resumed_by_the_other(tmp_path):
    objective = problem(F.cross_entropy)
    auto, oracle = hs.hessian(objective), hs.hessian(objective, engine="autograd")
    whole = hs.spectral_density(oracle, num_probes=2, num_steps=8)
    for first, second in ((auto, oracle), (oracle, auto)):
        half = hs.spectral_density(first, num_probes=2, num_steps=4, keep_state=True)
        half.save(tmp_path / "half", state=True)
        got = hs.resume(hs.load(tmp_path / "half"), second, num_steps=8)
        assert close(got.alpha, whole.alpha, 1e-8)


def test_a_loader_whose_last_batch_is_smaller():
    whole = problem()
    x, y = (torch.cat(parts) for parts in zip(*whole.data.source, strict=True))
    loader = DataLoader(TensorDataset(x, y), batch_size=5)
    h = hs.hessian(hs.Objective(whole.model, F.cross_entropy, loader))
    v = vectors(2, whole.n)
    assert close(h.rows(v), hs.hessian(whole, engine="autograd").rows(v))


def test_falling_back_is_one_warning_that_says_what_to_do_and_loses_nothing():
    objective = problem(without_rule)
    h, oracle = hs.hessian(objective), hs.hessian(objective, engine="autograd")
    wanted = r"falling back to engine='autograd'.*no rule for .*cube.*rewrite what is named, or pass"
    with pytest.warns(UserWarning, match=wanted) as record:
        rho = hs.spectral_density(h, num_probes=2, num_steps=6)
    assert len(record) == 1
    assert h.products == 12
    assert close(rho.alpha, hs.spectral_density(oracle, num_probes=2, num_steps=6).alpha, 1e-8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hs.trace(h, products=4)
        h.release()
        v = vectors(2, objective.n)
        assert close(h.rows(v), oracle.rows(v))
    assert h.description()["engine"] == "autograd"
    assert "no rule for" in h.explain()
    assert "hesscope_tests.cube" in h.explain()


def test_a_change_midway_is_noticed_after_falling_back():
    objective = problem(without_rule)
    h, v = hs.hessian(objective), vectors(1, objective.n)
    with pytest.warns(UserWarning, match="falling back"):
        before = h.rows(v)
    with torch.no_grad():
        objective.model[0].weight.mul_(2)
    after = h.rows(v)
    assert not close(after, before)
    assert close(after, hs.hessian(objective, engine="autograd").rows(v))


def test_a_rule_that_fails_on_the_values_of_a_batch_is_named(monkeypatch):
    def failing(call):
        msg = "no such layout"
        raise NotImplementedError(msg)

    monkeypatch.setitem(rules.RULES, torch.ops.aten.tanh.default, Rule(failing))
    objective = problem(lambda m, b: m(b[0]).tanh().square().sum())
    v = vectors(1, objective.n)
    with pytest.raises(CaptureError, match=r"NotImplementedError at aten\.tanh\.default: no such layout"):
        hs.hessian(objective, engine="jets").rows(v)
    with pytest.warns(UserWarning, match=r"aten\.tanh\.default: no such layout"):
        got = hs.hessian(objective).rows(v)
    assert close(got, hs.hessian(objective, engine="autograd").rows(v))


class Square(torch.autograd.Function):
    """x², with a backward that autograd must not differentiate; it may leave torch on its way."""

    @staticmethod
    def forward(ctx, x, opaque):
        ctx.save_for_backward(x)
        ctx.opaque = opaque
        return x * x

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 2 * gradient * (torch.from_numpy(x.numpy() * 1.0) if ctx.opaque else x), None


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_backward_that_autograd_cannot_differentiate_is_captured_or_refused(dtype):
    objectives = [
        problem(lambda m, b, f=f: f(m(b[0].to(dtype))).sum())
        for f in (lambda z: z * z, lambda z: Square.apply(z, False), lambda z: Square.apply(z, True))
    ]
    for objective in objectives:
        objective.model.to(dtype)
    plain, readable, opaque = (hs.Objective(o.model, o._loss, o.data.source) for o in objectives)
    v = vectors(2, plain.n, dtype=dtype)
    expected = hs.hessian(plain, engine="autograd").rows(v)
    assert close(hs.hessian(readable).rows(v), expected, 1e-5 if dtype == torch.float32 else RELATIVE)
    with pytest.raises(CaptureError, match=r"differs from the difference of gradients .* for a constant"):
        hs.hessian(opaque, engine="jets").rows(v)
    with (
        pytest.warns(UserWarning, match="taken for a constant"),
        pytest.raises(RuntimeError, match=r"second derivative, got Square.*engine='finite_difference'"),
    ):
        hs.hessian(opaque).rows(v)


class Wavy(torch.autograd.Function):
    """2 x sin(x), in two steps."""

    @staticmethod
    def forward(ctx, x):
        twice = x * 2
        ctx.save_for_backward(x)
        return twice * x.sin()

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * 2 * (x.sin() + x * x.cos())


class Rounded(torch.autograd.Function):
    """Rounding that passes gradients on: its derivative is not that of what it computes."""

    @staticmethod
    def forward(ctx, x):  # noqa: ARG004
        return x.round()

    @staticmethod
    def backward(ctx, gradient):  # noqa: ARG004
        return gradient


def test_custom_functions_are_captured_where_their_backward_is_their_derivative():
    v = vectors(2, 43)
    for function in (
        Wavy.apply,
        lambda z: z * Wavy.apply(z.detach()),
        lambda z: z + z * torch.no_grad()(Wavy.apply)(z),
    ):
        objective = problem(lambda m, b, f=function: F.cross_entropy(f(m(b[0])), b[1]))
        h = hs.hessian(objective)
        assert close(h.rows(v), hs.hessian(objective, engine="autograd").rows(v))
        assert h.engine == "jets"
    through = problem(lambda m, b: F.cross_entropy(Rounded.apply(3 * m(b[0])), b[1]))
    with pytest.warns(UserWarning, match="differs from double backward"):
        got = hs.hessian(through).rows(v)
    assert close(got, hs.hessian(through, engine="autograd").rows(v))
