"""The finite-difference engine leaves everything as it was, and refuses what is noise."""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import hesscope as hs
from hesscope.curvature import FiniteDifferenceHessian
from jets_cases import vectors
from output_cases import LABELS, X, assert_close, mlp


def snapshot(model):
    return [
        (id(p), p.data_ptr(), p._version, p.dtype, p.detach().clone().view(torch.uint8))
        for p in model.parameters()
    ]


def assert_same(model, before):
    for (*left, bits), (*right, expected) in zip(snapshot(model), before, strict=True):
        assert left == right
        assert torch.equal(bits, expected)
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("at", [1, 2, 7, 12])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_weights_are_the_same_to_the_bit_whatever_happens(dtype, at, error):
    calls, fails = [0], [True]

    def loss(m, batch):
        calls[0] += 1
        if fails[0] and calls[0] == at:
            raise error
        return F.cross_entropy(m(batch[0]), batch[1])

    model = mlp().to(dtype)
    before = snapshot(model)
    objective = hs.Objective(model, loss, (X.to(dtype), LABELS))
    h = hs.hessian(objective, engine="finite_difference")
    key = h.fingerprint()
    v = vectors(6, objective.n, dtype=objective.dtype)
    with pytest.raises(error):
        h.rows(v)
    assert calls[0] == at
    assert_same(model, before)
    assert h.fingerprint() == key
    fails[0] = False
    got = h.rows(v)
    assert torch.equal(hs.hessian(objective, engine="finite_difference").rows(v), got)
    assert_same(model, before)


def test_ctrl_c_while_the_weights_are_put_back(monkeypatch):
    from hesscope.curvature.shadow import Shadow

    model = mlp()
    before = snapshot(model)
    objective = hs.Objective(model, F.cross_entropy, (X, LABELS))
    shadow = Shadow(objective, torch.float32)

    class Pairs(list):
        """Interrupted twice on the way."""

        interruptions = 2

        def __iter__(self):
            for number, pair in enumerate(super().__iter__()):
                if number == 2 and self.interruptions:
                    self.interruptions -= 1
                    raise KeyboardInterrupt
                yield pair

    shadow._saved = Pairs(shadow._saved)

    def interrupted():
        with shadow:
            shadow.move([torch.ones_like(p) for p in model.parameters()], 0.5)

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert_same(model, before)


def test_graphs_that_are_kept_elsewhere_stay_valid():
    model = mlp()
    objective = hs.Objective(model, F.cross_entropy, (X, LABELS))
    kept = hs.hessian(objective, engine="autograd")
    v = vectors(2, objective.n)
    expected = kept.rows(v)
    loss = F.cross_entropy(model(X), LABELS)
    hs.hessian(objective, engine="finite_difference").rows(v)
    loss.backward()
    assert torch.equal(kept.rows(v), expected)


def test_changes_are_noticed():
    model = mlp()
    objective = hs.Objective(model, F.cross_entropy, (X, LABELS))
    h, v = hs.hessian(objective, engine="finite_difference"), vectors(2, objective.n)
    h.rows(v)
    with torch.no_grad():
        model[0].weight.mul_(1.5)
    assert_close(h.rows(v), hs.hessian(objective, engine="autograd").rows(v), 1e-8)


def test_noise_is_refused():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    before = snapshot(model)

    def hidden(m, batch):  # curvature below the rounding of a gradient that is a billion times larger
        return 1e5 * sum(p.sum() for p in m.parameters()) + 1e-4 * m(batch).square().mean()

    def random(m, batch):
        return m(batch).square().mean() + (torch.rand(()) * sum(p.sum() for p in m.parameters()))

    def straight(m, batch):
        return 3 * sum(p.sum() for p in m.parameters())

    for loss in (hidden, random, straight):
        objective = hs.Objective(model, loss, X.float())
        h = hs.hessian(objective, engine="finite_difference")
        with pytest.raises(
            RuntimeError, match=r"hessian: differences of gradients must rise above their noise"
        ):
            h.rows(vectors(1, objective.n, dtype=torch.float32))
        assert_same(model, before)
    finer = FiniteDifferenceHessian(hs.Objective(model, hidden, X.float()), precision=torch.float64)
    got = finer.rows(vectors(1, objective.n, dtype=torch.float32))
    truth = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    truth.load_state_dict(model.state_dict())
    expected = hs.hessian(hs.Objective(truth, hidden, X.float().double()), engine="autograd").rows(
        vectors(1, objective.n, dtype=torch.float32).double()
    )
    assert_close(got.double(), expected, 0.3)


def test_a_part_that_rounding_swallows_is_not_taken_for_flat():
    """A gradient of 1e6 + a does not change in float32 when a moves by a little; both steps agree on that."""
    model = nn.Linear(2, 1, bias=False)
    nn.init.ones_(model.weight)
    weights = torch.tensor([1e6, 0.0])

    def loss(m, batch):
        return (m.weight * batch).sum() + 0.5 * m.weight.square().sum()

    objective = hs.Objective(model, loss, weights)
    with pytest.raises(RuntimeError, match="must rise above their noise"):
        hs.hessian(objective, engine="finite_difference").rows(torch.ones(1, 2))
    got = FiniteDifferenceHessian(objective, precision=torch.float64).rows(torch.ones(1, 2))
    assert_close(got, torch.ones(1, 2), 1e-4)


def test_zeros_and_numbers_that_are_not_finite():
    objective = hs.Objective(mlp(), F.cross_entropy, (X, LABELS), l2=0.1)
    h = hs.hessian(objective, engine="finite_difference")
    v = vectors(4, objective.n).clone()
    expected = h.rows(v)
    v[1] = 0
    v[2, 3] = float("nan")
    v[3, 3] = float("inf")
    got = h.rows(v)
    assert torch.equal(got[0], expected[0])
    assert (got[1] == 0).all()
    assert got[2].isnan().all()
    assert not got[3].isfinite().any()


def test_bad_losses_and_options_are_refused():
    model = mlp()
    v = vectors(1, 43)
    for loss, message in (
        (lambda m, b: m(b[0]).sum() * float("nan"), "must be finite"),
        (lambda m, b: m(b[0]), "must return a scalar"),
        (lambda _, b: b[0].sum(), "must depend on the selected parameters"),
    ):
        with pytest.raises(ValueError, match=message):
            hs.hessian(hs.Objective(model, loss, (X, LABELS)), engine="finite_difference").rows(v)
    objective = hs.Objective(model, F.cross_entropy, (X, LABELS))
    with pytest.raises(
        ValueError, match=r"precision must be torch\.float32 or torch\.float64, got torch\.bfloat16"
    ):
        FiniteDifferenceHessian(objective, precision=torch.bfloat16)
    with pytest.raises(ValueError, match="hessian: memory_budget must not be negative"):
        FiniteDifferenceHessian(objective, memory_budget=-1)


def test_what_it_says():
    objective = hs.Objective(mlp(), F.cross_entropy, (X, LABELS))
    h = hs.hessian(objective, engine="finite_difference")
    assert h.error_estimate is None
    assert "nothing is computed yet" in h.explain()
    h.rows(vectors(1, objective.n))
    for piece in (
        "engine: finite_difference",
        "step: moves",
        f"error: {h.error_estimate:.1e}",
        "2 gradients",
    ):
        assert piece in h.explain()
    description = json.loads(json.dumps(h.description()))
    assert description["engine"] == "finite_difference"
    assert description["error_estimate"] == h.error_estimate
    assert h.products == 1
    h.release()
    assert h.error_estimate is None
