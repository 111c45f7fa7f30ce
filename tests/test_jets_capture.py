"""Capturing gradients: what is recorded once, what is recorded anew, what is refused by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hesscope.curvature import hessian
from hesscope.curvature.jets import capturing
from hesscope.curvature.jets.capture import CaptureError, capture, signature
from hesscope.objective import Objective
from jets_cases import assert_agrees, cube, vectors


def problem(rows=6, dtype=torch.float64):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 3)).to(dtype)
    return model, vectors(rows, 4, dtype=dtype).contiguous(), torch.arange(rows) % 3


def names(objective, batch):
    return [str(instruction.target) for instruction in capture(objective, batch, 0).code.code]


def test_nothing_is_computed_twice_or_in_vain():
    model, x, y = problem()
    found = names(Objective(model, F.cross_entropy, (x, y)), (x, y))
    assert found.count("hesscope_jets.normalize.default") == 1
    assert "hesscope_jets.normalized.default" not in found  # the backward takes that of the forward
    assert not any("detach" in name or "native_layer_norm" in name for name in found)
    twice = Objective(model, lambda m, b: F.cross_entropy(m(b[0]) + m(b[0]), b[1]), (x, y))
    assert names(twice, (x, y)).count("aten.tanh.default") == 1


def test_what_does_not_depend_on_the_parameters_is_no_part_of_a_product():
    model, x, y = problem()
    objective = Objective(model, lambda m, b: F.cross_entropy(m(b[0].sin() * 2), b[1]), (x, y))
    h = hessian(objective, engine="jets")
    h @ vectors(1, h.shape[0])[0]
    (program,) = h._programs.values()
    moving = [str(item.instruction.target) for item in program.parts.moving.values()]
    assert "aten.sin.default" not in moving
    assert "aten.nll_loss_backward.default" not in moving
    assert "aten.tanh.default" in moving


def test_a_signature_is_captured_once_and_a_new_one_again(monkeypatch):
    model, x, y = problem(rows=10)
    calls = []
    record = capturing.capture
    monkeypatch.setattr(capturing, "capture", lambda *a: calls.append(1) or record(*a))
    data = [(x[:4], y[:4]), (x[4:8], y[4:8]), (x[8:], y[8:])]
    objective = Objective(model, lambda m, b: F.cross_entropy(m(b[0]), b[1]), data)
    h = assert_agrees(objective)
    assert len(calls) == 2
    with torch.no_grad():
        model[0].weight.mul_(2)  # other values, the same signature
    v = vectors(2, h.shape[0])
    expected = hessian(objective, engine="autograd").rows(v)
    assert (h.rows(v) - expected).norm() <= 1e-10 * expected.norm()
    assert len(calls) == 2


def test_signatures_tell_apart_what_a_graph_cannot_share():
    model, x, y = problem()
    objective = Objective(model, lambda m, b: F.cross_entropy(m(b[0]), b[1]), (x, y))
    same = signature(objective, (x.clone(), y))
    assert signature(objective, (x, y)) == same
    others = [(x[:5], y[:5]), (x.t().contiguous().t(), y), (x.float(), y), [x, y], (x, y, True), (x, x)]
    found = {signature(objective, batch) for batch in others}
    assert len(found) == len(others)
    assert same not in found
    assert signature(objective, (x, y, 1)) != signature(objective, (x, y, 2))
    assert signature(objective, (x, x)) != signature(objective, (x, x.clone()))
    model.eval()
    assert signature(objective, (x, y)) != same


def test_number_of_a_batch_may_be_anything_hashable():
    model, x, y = problem()
    data = [(x, y, 0.5), (x, y, 2.0)]
    assert_agrees(Objective(model, lambda m, b: F.cross_entropy(m(b[0]) * b[2], b[1]), data))


@pytest.mark.parametrize(
    "read",
    [
        lambda out: out * float(out.detach().norm()),
        lambda out: out * out.detach().max().item(),
        lambda out: out * out.detach().numpy().max(),
        lambda out: out * np.asarray(out.detach()).max(),
        lambda out: out * max(out.detach().flatten().tolist()),
    ],
    ids=["float", "item", "numpy", "asarray", "tolist"],
)
def test_a_number_that_depends_on_the_parameters_is_refused(read):
    model, x, y = problem()
    objective = Objective(model, lambda m, b: F.cross_entropy(read(m(b[0])), b[1]), (x, y))
    with pytest.raises(CaptureError, match=r"_local_scalar_dense"):
        hessian(objective, engine="jets") @ vectors(1, objective.n)[0]


def test_a_path_that_tracing_cannot_see_is_found_by_the_check():
    model, x, y = problem()

    class Hidden:
        """A factor that is another one for every batch."""

        def __init__(self, factor):
            self.factor = factor

    hidden = [Hidden(1.0), Hidden(3.0)]
    state = {"factor": 1.0}

    def loss(m, batch):
        return F.cross_entropy(m(batch[0]) * state["factor"], batch[1])

    class Data:
        def __len__(self):
            return 2

        def __iter__(self):
            for item in hidden:
                state["factor"] = item.factor
                yield x, y

    objective = Objective(model, loss, Data())
    h = hessian(objective, engine="jets", memory_budget=0)  # so that data is read as it is evaluated
    with pytest.raises(CaptureError, match=r"gradient of batch 1 is off.*depends on values"):
        h @ vectors(1, objective.n)[0]


def test_an_operator_without_a_rule_is_named():
    model, x, y = problem()
    objective = Objective(model, lambda m, b: cube(m(b[0])).sum(), (x, y))
    with pytest.raises(CaptureError, match=r"no rule for hesscope_tests\.cube\.default"):
        hessian(objective, engine="jets") @ vectors(1, objective.n)[0]


def test_complex_numbers_have_no_rules():
    model, x, y = problem()
    objective = Objective(model, lambda m, b: torch.complex(m(b[0]), m(b[0])).abs().sum(), (x, y))
    with pytest.raises(CaptureError, match=r"no rule for aten\.complex"):
        hessian(objective, engine="jets") @ vectors(1, objective.n)[0]


def test_a_number_of_the_model_that_has_changed_is_captured_anew():
    model, x, y = problem()
    model.temperature = 1.0
    objective = Objective(model, lambda m, b: F.cross_entropy(m(b[0]) / m.temperature, b[1]), (x, y))
    h = assert_agrees(objective)
    model.temperature = 3.0
    with torch.no_grad():
        model[0].weight.add_(0.1)
    v = vectors(2, objective.n)
    expected = hessian(objective, engine="autograd").rows(v)
    assert (h.rows(v) - expected).norm() <= 1e-10 * expected.norm()


def test_activation_checkpointing_is_seen_through():
    from torch.utils.checkpoint import checkpoint

    model, x, y = problem()

    def loss(m, batch):
        return F.cross_entropy(m[3](checkpoint(m[:3], batch[0], use_reentrant=False)), batch[1])

    assert_agrees(Objective(model, loss, (x, y)))


def test_a_parameter_without_entries():
    model, x, y = problem()
    model.register_parameter("empty", nn.Parameter(torch.empty(0, 3, dtype=torch.float64)))
    loss = lambda m, b: F.cross_entropy(m(b[0]), b[1]) + m.empty.sum()  # noqa: E731
    assert_agrees(Objective(model, loss, (x, y)))


def test_capture_changes_neither_the_model_nor_random_numbers():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).double()
    x, y = vectors(6, 4), torch.arange(6) % 3
    before = {name: t.clone() for name, t in model.state_dict().items()}
    state = torch.get_rng_state()
    assert_agrees(Objective(model, F.cross_entropy, (x, y)))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert all(p.grad is None and type(p) is nn.Parameter for p in model.parameters())
