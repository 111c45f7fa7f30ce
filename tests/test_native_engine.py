"""engine="native": against the other engines, what it notices, and what it refuses."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import hesscope as hs
from hesscope.curvature import hessian
from hesscope.objective import Objective

ACTIVATIONS = [
    nn.Identity,
    nn.ReLU,
    nn.Tanh,
    nn.Sigmoid,
    nn.GELU,
    nn.SiLU,
    nn.Softplus,
    partial(nn.GELU, "tanh"),
]


def network(activation=nn.Tanh, widths=(6, 9, 7, 4), dtype=torch.float64, bias=True):
    torch.manual_seed(0)
    modules = [nn.Flatten()]
    for a, b in pairwise(widths):
        modules += [nn.Linear(a, b, bias=bias), activation()]
    return nn.Sequential(*modules[:-1]).to(dtype)


def classes(rows=12, dtype=torch.float64):
    return torch.randn(rows, 2, 3, dtype=dtype), torch.randint(0, 4, (rows,))


def vectors(n, k=3, dtype=torch.float64):
    return torch.randn(k, n, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)


def agree(objective, tolerance=1e-10):
    native = hessian(objective, engine="native")
    v = vectors(objective.n, dtype=objective.dtype)
    want = hessian(objective, engine="autograd").rows(v)
    got = native.rows(v)
    assert (got - want).norm() <= tolerance * want.norm()
    assert native.products == len(v)
    assert ((native.quadratic(v) - (got * v).sum(1)).abs() <= 10 * tolerance * (got * v).abs().sum(1)).all()
    return native


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_products_are_those_of_double_backward(activation):
    agree(Objective(network(activation), nn.CrossEntropyLoss(), classes()))


@pytest.mark.parametrize(
    "criterion",
    [
        nn.CrossEntropyLoss(reduction="sum"),
        nn.CrossEntropyLoss(label_smoothing=0.1),
        nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 0.5, 3.0], dtype=torch.float64)),
        nn.CrossEntropyLoss(
            weight=torch.tensor([1.0, 2.0, 0.5, 3.0], dtype=torch.float64),
            ignore_index=2,
            label_smoothing=0.2,
        ),
        partial(F.cross_entropy, label_smoothing=0.3),
        F.cross_entropy,
    ],
    ids=range(6),
)
@pytest.mark.parametrize("batches", [1, 3])
def test_cross_entropies_of_every_setting(criterion, batches):
    torch.manual_seed(1)
    data = [classes(rows) for rows in (12, 5, 8)[:batches]]
    agree(Objective(network(), criterion, data))


@pytest.mark.parametrize("criterion", [nn.MSELoss(), nn.MSELoss(reduction="sum"), F.mse_loss])
def test_squared_errors_and_class_probabilities(criterion):
    inputs = torch.randn(10, 6, dtype=torch.float64)
    agree(Objective(network(), criterion, (inputs, torch.randn(10, 4, dtype=torch.float64))))
    probabilities = torch.rand(10, 4, dtype=torch.float64).softmax(1)
    agree(Objective(network(), nn.CrossEntropyLoss(label_smoothing=0.1), (inputs, probabilities)))


def test_float32_other_shapes_and_weight_decay():
    objective = Objective(
        network(nn.GELU, dtype=torch.float32, bias=False),
        nn.CrossEntropyLoss(),
        classes(dtype=torch.float32),
        l2=0.1,
    )
    agree(objective, tolerance=1e-5)
    agree(
        Objective(
            nn.Linear(6, 4).double(), nn.MSELoss(), (torch.ones(3, 6).double(), torch.zeros(3, 4).double())
        )
    )


@pytest.mark.filterwarnings("ignore:hessian")
def test_the_jets_engine_agrees():
    objective = Objective(network(nn.SiLU), nn.CrossEntropyLoss(), classes())
    v = vectors(objective.n)
    want = hessian(objective, engine="jets").rows(v)
    assert (hessian(objective, engine="native").rows(v) - want).norm() <= 1e-12 * want.norm()


def test_the_third_order_is_the_derivative_of_products():
    """Richardson's difference along u: error O(h^4) and eps / h."""
    model = network(nn.Tanh)
    objective = Objective(model, nn.CrossEntropyLoss(), [classes(), classes(5)], l2=0.3)
    native = hessian(objective, engine="native")
    u, v = vectors(objective.n, 2)[:, None]
    contraction, cubic = native.contract(u, v), native.cubic(v)
    start = {name: p.detach().clone() for name, p in objective.parameters.items()}
    step = objective.unflatten(u[0])

    def products(h):
        with torch.no_grad():
            for name, p in objective.parameters.items():
                p.copy_(start[name] + h * step[name])
        return native.rows(v)

    def difference(h):
        return (products(h) - products(-h)) / (2 * h)

    want = (4 * difference(1e-3) - difference(2e-3)) / 3
    assert (contraction - want).norm() <= 1e-7 * want.norm()
    products(0.0)
    assert cubic == pytest.approx((native.contract(v, v) * v).sum().item(), rel=1e-11)


def test_changed_weights_and_data_are_noticed():
    objective = Objective(network(), nn.CrossEntropyLoss(), classes())
    native = hessian(objective, engine="native")
    v = vectors(objective.n)
    before = native.rows(v)
    with torch.no_grad():
        objective.model[1].weight.mul_(1.5)
    after = native.rows(v)
    assert not torch.equal(before, after)
    want = hessian(objective, engine="autograd").rows(v)
    assert (after - want).norm() <= 1e-10 * want.norm()


def test_nothing_is_kept_without_a_budget():
    objective = Objective(network(), nn.CrossEntropyLoss(), [classes(), classes(300), classes(400)])
    frugal, usual = (hessian(objective, engine="native", memory_budget=b) for b in (0, None))
    v = vectors(objective.n)
    assert torch.equal(frugal.rows(v), usual.rows(v))
    assert frugal.memory == 0 < usual.memory
    assert "native" in usual.explain()
    usual.release()
    assert usual.memory == 0


def test_a_density_runs_on_it():
    objective = Objective(network(), nn.CrossEntropyLoss(), classes())
    native = hs.spectral_density(hessian(objective, engine="native"), num_probes=2, num_steps=10)
    other = hs.spectral_density(hessian(objective, engine="autograd"), num_probes=2, num_steps=10)
    assert (native.nodes - other.nodes).abs().max() <= 1e-9 * other.nodes.abs().max()


class Scaled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


def tied():
    layer = nn.Linear(6, 6)
    return nn.Sequential(layer, nn.Tanh(), layer)


@pytest.mark.parametrize(
    ("model", "criterion", "options", "message"),
    [
        (
            nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4)),
            nn.CrossEntropyLoss(),
            {},
            r"BatchNorm1d.* at position 1",
        ),
        (
            nn.Sequential(nn.Tanh(), nn.Linear(6, 4)),
            nn.CrossEntropyLoss(),
            {},
            r"a model with Tanh\(\) at position 0",
        ),
        (
            nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Tanh()),
            nn.CrossEntropyLoss(),
            {},
            r"Tanh\(\) at position 2",
        ),
        (nn.Sequential(nn.Linear(6, 4), nn.Softplus(beta=2)), nn.CrossEntropyLoss(), {}, r"Softplus\(beta=2"),
        (Scaled(6, 4), nn.CrossEntropyLoss(), {}, r"a model with Scaled"),
        (tied(), nn.CrossEntropyLoss(), {}, r"parameters that layers share"),
        (nn.Linear(6, 4), nn.CrossEntropyLoss(), {"params": "weight"}, r"a selection of the parameters"),
        (nn.Linear(6, 4).bfloat16(), nn.CrossEntropyLoss(), {}, r"parameters of torch.bfloat16"),
        (nn.Linear(6, 4), nn.L1Loss(), {}, r"the criterion L1Loss"),
        (nn.Linear(6, 4), lambda model, batch: model(batch[0]).sum(), {}, r"a loss of \(model, batch\)"),
    ],
)
def test_everything_else_is_refused_with_a_sentence(model, criterion, options, message):
    objective = Objective(model, criterion, (torch.ones(3, 6), torch.zeros(3, dtype=torch.long)), **options)
    with pytest.raises(
        ValueError, match=r"hessian: engine='native' must be given a dense network .*" + message
    ):
        hessian(objective, engine="native")


def test_targets_and_inputs_of_other_shapes_are_refused():
    model = nn.Linear(6, 4)
    objective = Objective(model, nn.MSELoss(), (torch.ones(2, 3, 6), torch.zeros(2, 3, 4)))
    with pytest.raises(ValueError, match=r"got an input that is no \[M, 6\], but \[2, 3, 6\]"):
        hessian(objective, engine="native").rows(vectors(objective.n, dtype=torch.float32))


def test_a_hook_that_changes_the_output_is_found_out():
    model = network()
    model[1].register_forward_hook(lambda module, inputs, output: 2 * output)  # noqa: ARG005
    objective = Objective(model, nn.CrossEntropyLoss(), classes())
    with pytest.raises(
        ValueError, match=r"engine='native' must have the gradient of autograd, but .* is off by"
    ):
        hessian(objective, engine="native").rows(vectors(objective.n))
