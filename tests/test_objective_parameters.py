"""Which parameters an objective differentiates, and their order in a vector."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hesscope.objective import Objective


class Tied(nn.Module):
    """An embedding whose table is the output layer as well, and a branch that is never used."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(5, 3)
        self.mix = nn.Linear(3, 3)
        self.unused = nn.Linear(2, 2)
        self.head = nn.Linear(3, 5, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens):
        return self.head(self.mix(self.embed(tokens)))


def objective(**options):
    torch.manual_seed(0)
    return Objective(Tied(), F.cross_entropy, (torch.arange(5), torch.arange(5)), **options)


def test_order_is_that_of_named_parameters_with_a_shared_one_once():
    o = objective()
    assert list(o.parameters) == [name for name, _ in o.model.named_parameters()]
    assert "head.weight" not in o.parameters
    assert o.n == 15 + 12 + 6
    assert o.slices["mix.bias"] == slice(24, 27)


def test_flatten_and_unflatten_are_inverse():
    o = objective()
    vector = torch.arange(float(o.n))
    cut = o.unflatten(vector)
    assert {k: v.shape for k, v in cut.items()} == {k: p.shape for k, p in o.parameters.items()}
    assert torch.equal(o.flatten(cut), vector)
    cut["mix.bias"].zero_()  # views
    assert vector[24:27].abs().sum() == 0
    assert torch.equal(o.flatten(dict(reversed(list(cut.items())))), vector)


def test_the_gradient_is_that_of_autograd_and_zero_where_unused():
    o = objective()
    F.cross_entropy(o.model(torch.arange(5)), torch.arange(5)).backward()
    expected = {k: torch.zeros_like(p) if p.grad is None else p.grad for k, p in o.parameters.items()}
    bound = 32 * torch.finfo(torch.float32).eps
    assert (o.gradient() - o.flatten(expected)).abs().max() <= bound
    assert o.gradient()[o.slices["unused.weight"]].abs().sum() == 0


@pytest.mark.parametrize(
    ("params", "names"),
    [
        (None, ["embed.weight", "mix.weight", "mix.bias", "unused.weight", "unused.bias"]),
        ("mix.*", ["mix.weight", "mix.bias"]),
        ("*.bias", ["mix.bias", "unused.bias"]),
        (["unused.bias", "mix.weight"], ["mix.weight", "unused.bias"]),
        ("head.weight", ["embed.weight"]),  # by its other name
        (lambda _name, p: p.ndim == 2, ["embed.weight", "mix.weight", "unused.weight"]),
    ],
)
def test_selection(params, names):
    assert list(objective(params=params).parameters) == names


def test_frozen_parameters_are_excluded_even_if_named():
    model = Tied()
    model.mix.requires_grad_(False)
    data = (torch.arange(5), torch.arange(5))
    assert list(Objective(model, F.cross_entropy, data, params="*.bias").parameters) == ["unused.bias"]
    with pytest.raises(ValueError, match=r"params must match a parameter with requires_grad, got 'mix\.\*'"):
        Objective(model, F.cross_entropy, data, params="mix.*")
    with pytest.raises(ValueError, match="model must have a parameter with requires_grad"):
        Objective(model.requires_grad_(False), F.cross_entropy, data)


def test_a_selection_of_nothing_names_what_there_is():
    with pytest.raises(ValueError, match=r"got 'nope'; there are embed\.weight, mix\.weight"):
        objective(params=["mix.*", "nope"])
    with pytest.raises(ValueError, match=r"params must select.*embed\.weight"):
        objective(params=lambda _name, _p: False)
    with pytest.raises(ValueError, match="params must select"):
        objective(params=[])


def test_others_keep_requires_grad_and_no_gradient_is_stored():
    o = objective(params="mix.*")
    o.model.unused.bias.requires_grad_(False)
    before = {k: p.requires_grad for k, p in o.model.named_parameters()}
    o.gradient()
    assert {k: p.requires_grad for k, p in o.model.named_parameters()} == before
    assert all(p.grad is None for p in o.model.parameters())


def test_a_loss_that_only_depends_on_other_parameters_is_refused():
    with pytest.raises(ValueError, match="depend on the selected parameters"):
        objective(params="unused.*").gradient()


def test_flatten_names_what_is_wrong():
    o = objective()
    values = o.unflatten(torch.zeros(o.n))
    missing = {k: v for k, v in values.items() if k != "mix.bias"}
    with pytest.raises(ValueError, match=r"missing \['mix.bias'\], unknown \['x'\]"):
        o.flatten(missing | {"x": torch.ones(1)})
    with pytest.raises(ValueError, match=r"mix.bias must have shape \[3\], got \[2\]"):
        o.flatten(values | {"mix.bias": torch.ones(2)})
    with pytest.raises(ValueError, match=r"vector must have shape \[33\], got \[32\]"):
        o.unflatten(torch.zeros(32))


def test_the_dtype_of_vectors_follows_the_parameters():
    class Mixed(nn.Module):
        def __init__(self, *dtypes):
            super().__init__()
            self.p = nn.ParameterList([nn.Parameter(torch.ones(2, dtype=d)) for d in dtypes])

    def dtype(*dtypes):
        return Objective(Mixed(*dtypes), lambda _m, _b: 0, torch.ones(1)).dtype

    assert dtype(torch.float32) == dtype(torch.bfloat16) == dtype(torch.bfloat16, torch.float32)
    assert dtype(torch.bfloat16) == torch.float32
    assert dtype(torch.float64) == dtype(torch.float32, torch.float64) == torch.float64
    with pytest.raises(TypeError, match=r"real floating-point tensors, got torch\.complex64 for p\.1"):
        dtype(torch.float32, torch.complex64)


def test_lazy_parameters_and_several_devices_are_refused():
    with pytest.raises(ValueError, match="model must be initialised, got lazy parameter"):
        Objective(nn.LazyLinear(2), F.mse_loss, (torch.ones(1, 2), torch.ones(1, 2)))
    split = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2, device="meta"))
    with pytest.raises(ValueError, match="must be on one device, got cpu, meta"):
        Objective(split, F.mse_loss, (torch.ones(1, 2), torch.ones(1, 2)))
    assert Objective(split, F.mse_loss, (torch.ones(1, 2),) * 2, params="0.*").n == 6
