"""Bad input of the jets engine: an error or a visible fallback that names what is wrong and what to do."""

from __future__ import annotations

import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hesscope.curvature import hessian
from hesscope.curvature.jets.capture import CaptureError
from hesscope.curvature.jets.engine import JetsHessian
from hesscope.objective import Objective
from jets_cases import RELATIVE, assert_agrees, cube, vectors


def problem(model=None, loss=None, **options):
    torch.manual_seed(0)
    model = model or nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    batch = (vectors(6, 4).contiguous(), torch.arange(6) % 3)
    loss = loss or (lambda m, b: F.cross_entropy(m(b[0]), b[1]))
    return Objective(model, loss, batch, **options)


def product(objective, **options):
    return JetsHessian(objective, **options) @ vectors(1, objective.n)[0]


def test_all_operators_without_a_rule_are_named():
    def loss(model, batch):
        out = model(batch[0])
        return cube(out).sum() + out.logcumsumexp(1).sum() + out.square().sum()

    objective = problem(loss=loss)
    with pytest.raises(CaptureError, match=r"no rule for .*cube.*aten\.logcumsumexp"):
        product(objective)
    with pytest.warns(UserWarning, match=r"falling back to engine='autograd'.*hesscope_tests\.cube"):
        got = product(objective, fallback="autograd")
    expected = hessian(objective, engine="autograd") @ vectors(1, objective.n)[0]
    assert torch.equal(got, expected)


def test_a_number_read_from_the_model_says_what_to_do():
    objective = problem(loss=lambda m, b: m(b[0]).square().sum() * float(m(b[0]).detach().norm()))
    with pytest.raises(CaptureError, match=r"_local_scalar_dense.*keep it a tensor, with \.detach"):
        product(objective)


def test_a_gradient_that_is_not_finite_names_the_parameter():
    def loss(model, batch):
        return model(batch[0]).square().sum() + (model[2].bias * 0).sqrt().sum()

    with pytest.raises(
        ValueError, match=r"gradient must be finite, got NaN or infinity for 2\.bias in batch 0"
    ):
        product(problem(loss=loss))


@pytest.mark.parametrize("engine", ["auto", "jets", "autograd"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: setattr(m[0], "weight", nn.Parameter(m[0].weight.detach() * 2)), r"got another 0\.weight"),
        (lambda m: m.float(), r"keep its precision, got torch\.float32 for 0\.weight"),
        (
            lambda m: setattr(m[0].weight, "data", torch.ones(2, 4).double()),
            r"0\.weight with 8 entries on cpu",
        ),
        (lambda m: m.to("meta"), r"model must .*, got (another )?0\.weight.*make a new Objective"),
    ],
    ids=["replaced", "other precision", "other shape", "other device"],
)
def test_parameters_that_are_replaced_or_moved_after_capture(engine, change, message):
    objective = problem()
    h = hessian(objective, engine=engine)
    v = vectors(1, objective.n)[0]
    h @ v
    change(objective.model)
    with pytest.raises(ValueError, match=message):
        h @ v


def test_an_error_keeps_what_is_done():
    objective = problem()
    h, v = JetsHessian(objective), vectors(1, objective.n)[0]
    before, weight = h @ v, objective.model[0].weight
    objective.model[0].weight = nn.Parameter(weight.detach() * 2)
    with pytest.raises(ValueError, match="make a new Objective"):
        h @ v
    objective.model[0].weight = weight
    seconds = h.capture_seconds
    assert torch.equal(h @ v, before)
    assert h.capture_seconds == seconds  # nothing is captured again


class Changing(nn.Module):
    """A model that changes a tensor of its own whenever it runs."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.layer = nn.Linear(4, 3)
        scale = torch.ones(3, dtype=torch.float64)
        if kind == "buffer":
            self.register_buffer("scale", scale)
        else:
            self.scale = scale

    def forward(self, x):
        out = self.layer(x) * self.scale.clone()
        with torch.no_grad():
            self.scale.mul_(0.5).add_(out.mean(0))
        return out.tanh()


def test_a_buffer_that_the_model_changes_is_put_back():
    objective = problem(Changing("buffer").double())
    before = objective.model.scale.clone()
    jets = assert_agrees(objective)
    assert torch.equal(objective.model.scale, before)
    v = vectors(2, objective.n)
    assert torch.equal(jets.rows(v), jets.rows(v))


def test_a_tensor_that_is_no_buffer_and_changes_is_refused():
    with pytest.raises(ValueError, match=r"loss must be deterministic"):
        product(problem(Changing("attribute").double()))


@pytest.mark.parametrize("momentum", [0.1, None])
def test_running_statistics_are_put_back(momentum):
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5, momentum=momentum), nn.Tanh(), nn.Linear(5, 3))
    objective = problem(model.double(), mode="train")
    before = {name: b.clone() for name, b in model.named_buffers()}
    assert_agrees(objective)
    assert all(torch.equal(b, before[name]) for name, b in model.named_buffers())


def noisy(model, batch):
    out = model(batch[0])
    return F.cross_entropy(out + 0.1 * torch.randn_like(out) + 0.1 * torch.rand(3).to(out), batch[1])


def test_random_numbers_are_fixed_by_a_seed_or_refused():
    assert_agrees(problem(loss=noisy, rng_seed=3))
    with pytest.raises(ValueError, match=r"loss must be deterministic.*rng_seed="):
        product(problem(loss=noisy))
    live = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5)).double()
    with pytest.raises(ValueError, match="dropout must be off or fixed by a seed"):
        problem(live)
    h = JetsHessian(problem(live, rng_seed=1))
    v = vectors(2, h.shape[0])
    assert torch.equal(h.rows(v), h.rows(v))
    live.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_agrees(problem(live))


def test_every_form_of_dropout_with_a_seed():
    model = nn.Sequential(
        nn.Linear(4, 8), nn.AlphaDropout(0.2), nn.Tanh(), nn.Dropout1d(0.3), nn.Linear(8, 3)
    )
    assert_agrees(problem(model.double(), rng_seed=2))


def test_a_batch_of_another_shape_is_captured_for_itself():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    data = [(vectors(rows, 4).contiguous(), torch.arange(rows) % 3) for rows in (6, 6, 5)]
    objective = Objective(model, lambda m, b: F.cross_entropy(m(b[0]), b[1]), data)
    jets, oracle = (hessian(objective, engine=engine) for engine in ("jets", "autograd"))
    v = vectors(2, objective.n)
    assert (jets.rows(v) - oracle.rows(v)).norm() <= RELATIVE * oracle.rows(v).norm()
    assert len(jets._programs) == 2


class Replacing(nn.Module):
    """A model that puts another tensor in place of its buffer whenever it runs."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.register_buffer("level", torch.zeros(3, dtype=torch.float64))

    def forward(self, x):
        out = self.layer(x)
        self.level = self.level * 0.9 + 0.1 * out.detach().mean(0)
        return (out - self.level).tanh()


def test_a_buffer_that_the_model_replaces_is_put_back():
    objective = problem(Replacing().double())
    buffer = objective.model.level
    jets = assert_agrees(objective)
    assert objective.model.level is buffer
    assert (buffer == 0).all()
    with torch.no_grad():
        buffer.fill_(1.0)  # the operator notices
    v = vectors(2, objective.n)
    expected = hessian(objective, engine="autograd").rows(v)
    assert (jets.rows(v) - expected).norm() <= RELATIVE * expected.norm()


@pytest.mark.parametrize("name", ["not finite", "not scalar", "random", "constant", "budget"])
def test_the_default_refuses_what_no_engine_can_take_and_does_not_fall_back(name):
    def infinite(model, batch):
        return model(batch[0]).square().sum() + (model[2].bias * 0).sqrt().sum()

    loss, error, message = {
        "not finite": (infinite, ValueError, r"NaN or infinity for 2\.bias in batch 0"),
        "not scalar": (lambda m, b: m(b[0]), ValueError, "must return a scalar"),
        "random": (noisy, ValueError, "must be deterministic"),
        "constant": (lambda _, b: b[0].sum(), ValueError, "must depend on the selected parameters"),
        "budget": (None, MemoryError, "memory_budget must be at least"),
    }[name]
    objective = problem(loss=loss)
    h = hessian(objective, memory_budget=64 if name == "budget" else None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            with pytest.raises(error, match=message):
                h @ vectors(1, objective.n)[0]
    assert h.engine == "jets"
