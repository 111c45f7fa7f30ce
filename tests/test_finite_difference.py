"""The finite-difference engine: right within the error it reports, and silent about nothing."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import DataLoader, TensorDataset

import hesscope as hs
from hesscope.curvature import FiniteDifferenceHessian
from jets_cases import smooth, vectors
from output_cases import LABELS, X, assert_close, dense, mlp

# Central differences with a step of eps^(1/3): errors of eps^(2/3), times what higher derivatives and the
# accumulation of a gradient add. 4e-11 and 2e-5 are eps^(2/3).
BOUND = {torch.float64: 1e-8, torch.float32: 2e-3}


def single(model):
    """The same weights in float32, and in float64 again: both models compute the same function."""
    low = [p.detach().float() for p in model.parameters()]
    with torch.no_grad():
        for p, value in zip(model.parameters(), low, strict=True):
            p.copy_(value)
    return model


def in_precision(dtype):
    model = single(mlp())
    copy = mlp().to(dtype)
    copy.load_state_dict(model.state_dict())
    x = X.float().double()
    truth = hs.hessian(hs.Objective(model, F.cross_entropy, (x, LABELS)), engine="autograd")
    return hs.Objective(copy, F.cross_entropy, (x.to(dtype), LABELS)), truth


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_is_the_hessian_within_the_error_it_reports(dtype):
    objective, truth = in_precision(dtype)
    h = hs.hessian(objective, engine="finite_difference")
    for k in (1, 5):
        v = vectors(k, objective.n, dtype=dtype)
        expected = truth.rows(v.double())
        got = h.rows(v)
        assert got.dtype == dtype
        assert_close(got.double(), expected, BOUND[dtype])
        for row, right in zip(got.double(), expected, strict=True):  # random vectors, as in its own check
            assert (row - right).norm() <= 4 * h.error_estimate * right.norm()
    assert torch.finfo(dtype).eps < h.error_estimate < BOUND[dtype]
    assert torch.equal(h.rows(v[2:3]), got[2:3])  # a row does not depend on its neighbours


def test_float64_can_be_asked_for():
    objective, truth = in_precision(torch.float32)
    h = FiniteDifferenceHessian(objective, precision=torch.float64)
    v = vectors(2, objective.n, dtype=torch.float32)
    assert_close(h.rows(v).double(), truth.rows(v.double()), torch.finfo(torch.float32).eps)
    assert h.error_estimate < BOUND[torch.float64]
    assert next(objective.model.parameters()).dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_weights_move_in_a_float32_shadow(dtype):
    """In place, a step would be rounded away for most of them."""
    torch.manual_seed(0)
    make = lambda: nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3))  # noqa: E731
    low = make().to(dtype)
    low[3].weight.requires_grad_(False)  # not selected, but of low precision too
    high = make().double()
    high.load_state_dict(low.state_dict())
    high[3].weight.requires_grad_(False)
    x = X.to(dtype)
    truth = hs.hessian(hs.Objective(high, F.cross_entropy, (x.double(), LABELS), mode="eval"))
    before = {name: (t.clone(), t.data_ptr(), t._version) for name, t in low.state_dict().items()}
    objective = hs.Objective(low, F.cross_entropy, (x, LABELS), mode="eval")
    h = hs.hessian(objective, engine="finite_difference")
    v = vectors(3, objective.n, dtype=torch.float32)
    assert_close(h.rows(v).double(), truth.rows(v.double()), BOUND[torch.float32])
    for name, t in low.state_dict().items():
        assert torch.equal(t, before[name][0])
        assert (t.data_ptr(), t._version) == before[name][1:]
    assert low(x).dtype == dtype


def test_the_step_follows_the_vector_and_the_weights():
    objective, truth = in_precision(torch.float64)
    h = hs.hessian(objective, engine="finite_difference")
    v = vectors(1, objective.n).contiguous()
    for factor in (1e-12, 1e12):
        assert_close(h.rows(factor * v), factor * truth.rows(v), BOUND[torch.float64])
    for number in range(4):  # one tensor at a time: its own size counts
        alone = torch.zeros_like(v)
        part = list(objective.slices.values())[number]
        alone[:, part] = v[:, part]
        assert_close(h.rows(alone), truth.rows(alone), BOUND[torch.float64])
    for scale in (1e-4, 1e4):  # weights in other units: the same function, the Hessian scaled
        model = nn.Linear(4, 3).double()
        with torch.no_grad():
            model.weight.mul_(scale)
            model.bias.zero_()
        scaled = hs.Objective(model, F.cross_entropy, (X / scale, LABELS), params="weight")
        v = vectors(2, scaled.n)
        got = hs.hessian(scaled, engine="finite_difference").rows(v)
        assert_close(got, hs.hessian(scaled, engine="autograd").rows(v), BOUND[torch.float64])


def test_weights_batches_and_l2_count_as_for_the_other_engines():
    model = mlp()
    for data in (
        [(X[:5], LABELS[:5]), (X[5:], LABELS[5:])],
        DataLoader(TensorDataset(X, LABELS), batch_size=5),
    ):
        for options in ({}, {"reduction": "sum"}, {"weight": lambda b: len(b[0]) ** 2}):
            objective = hs.Objective(model, F.cross_entropy, data, l2=0.3, **options)
            v = vectors(2, objective.n)
            expected = hs.hessian(objective, engine="autograd").rows(v)
            for budget in (None, 0):
                h = hs.hessian(objective, engine="finite_difference", memory_budget=budget)
                assert_close(h.rows(v), expected, BOUND[torch.float64])


class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 2 * gradient * x


class Attention(nn.Module):
    def __init__(self, backend):
        super().__init__()
        torch.manual_seed(0)
        self.mix, self.backend = nn.Linear(4, 12).double(), backend

    def forward(self, x):
        q, k, v = (t.view(1, 1, 12, 4) for t in self.mix(x).chunk(3, -1))
        with sdpa_kernel(self.backend):
            return F.scaled_dot_product_attention(q, k, v).view(12, 4)


def opaque_and_elementary(name):
    if name == "custom function":
        return (lambda m, b: Square.apply(m(b)).mean(), lambda m, b: m(b).square().mean(), mlp(), mlp())
    if name == "cdist":
        loss = lambda m, b: torch.cdist(m(b), b[:, :3]).square().mean()  # noqa: E731
        other = lambda m, b: (m(b)[:, None] - b[None, :, :3]).square().sum(-1).mean()  # noqa: E731
        return loss, other, mlp(), mlp()
    loss = lambda m, b: m(b).square().mean()  # noqa: E731
    return loss, loss, Attention(SDPBackend.FLASH_ATTENTION), Attention(SDPBackend.MATH)


@pytest.mark.parametrize("name", ["custom function", "cdist", "flash attention"])
def test_what_has_no_second_derivative_is_named_and_works_here(name):
    loss, other, model, same = opaque_and_elementary(name)
    objective = hs.Objective(model, loss, X)
    v = vectors(2, objective.n)
    with pytest.raises(RuntimeError, match=r"must have a second derivative.*engine='finite_difference'"):
        hs.hessian(objective, engine="autograd").rows(v)
    expected = hs.hessian(hs.Objective(same, other, X), engine="autograd").rows(v)
    assert_close(hs.hessian(objective, engine="finite_difference").rows(v), expected, BOUND[torch.float64])


def test_fused_kernels_run_as_they_are():
    allowed = []

    def loss(m, b):
        allowed.append(torch.backends.cuda.flash_sdp_enabled())
        return m(b).square().mean()

    objective = hs.Objective(mlp(), loss, X)
    for engine, expected in (("finite_difference", True), ("autograd", False)):
        hs.hessian(objective, engine=engine).rows(vectors(1, objective.n))
        assert set(allowed) == {expected}
        allowed.clear()


def test_recurrent_layers_and_buffers():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.cell, self.norm, self.head = (
                nn.LSTM(4, 3, batch_first=True),
                nn.BatchNorm1d(3),
                nn.Linear(3, 3),
            )

        def forward(self, x):
            return self.head(self.norm(self.cell(x)[0][:, -1]))

    model, x = Model().double(), smooth(6, 5, 4)
    objective = hs.Objective(model, F.cross_entropy, (x, LABELS[:6]), mode="train")
    buffers = [b.clone() for b in model.buffers()]
    v = vectors(2, objective.n)
    got = hs.hessian(objective, engine="finite_difference").rows(v)
    assert_close(got, hs.hessian(objective, engine="autograd").rows(v), BOUND[torch.float64])
    assert all(torch.equal(a, b) for a, b in zip(model.buffers(), buffers, strict=True))


def test_krylov_methods_take_it():
    objective, truth = in_precision(torch.float64)
    h = hs.hessian(objective, engine="finite_difference")
    values = torch.linalg.eigvalsh(dense(truth))
    assert_close(hs.eigenpairs(h, 2, which="largest", tol=1e-6).values.sort().values, values[-2:], 1e-6)
    rho = hs.spectral_density(h, num_probes=2, num_steps=10)
    expected = hs.spectral_density(truth, num_probes=2, num_steps=10)
    assert_close(rho.nodes, expected.nodes, 1e-5)


def test_small_batches_are_merged_where_the_model_has_no_second_derivative():
    data = [(X[i : i + 3], LABELS[i : i + 3]) for i in range(0, len(X), 3)]
    model, same = mlp(), mlp()
    same.load_state_dict(model.state_dict())

    class Opaque(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, x):
            return Square.apply(self.inner(x))

    class Plain(Opaque):
        def forward(self, x):
            return self.inner(x) ** 2

    objective = hs.Objective(Opaque(), F.cross_entropy, data)
    v = vectors(2, objective.n)
    expected = hs.hessian(hs.Objective(Plain(), F.cross_entropy, data), engine="autograd").rows(v)
    h = hs.hessian(objective, engine="finite_difference")
    assert_close(h.rows(v), expected, BOUND[torch.float64])
    assert len(h._plan.groups) == 1
    assert "merged into 1" in h.explain()
    alone = hs.hessian(objective, engine="finite_difference", memory_budget=0)
    assert_close(alone.rows(v), expected, BOUND[torch.float64])
    assert "beyond memory_budget" in alone.explain()
    assert_close(hs.hessian(objective).rows(v), expected)  # captured, and merged without a graph
