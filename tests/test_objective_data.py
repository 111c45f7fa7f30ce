"""Data of an objective: what is one batch, what is a sequence, and what is refused."""

from collections import UserDict, namedtuple

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from hesscope.objective import Objective
from hesscope.objective.data import concatenate, signature, tensors


def linear():
    torch.manual_seed(0)
    return nn.Linear(3, 2), torch.randn(8, 3), torch.randint(0, 2, (8,))


class Reiterable:
    def __init__(self, items):
        self.items = items

    def __iter__(self):
        return iter(self.items)


def test_every_form_of_the_same_data_gives_the_same_gradient():
    model, x, y = linear()
    whole = Objective(model, F.cross_entropy, (x, y)).gradient()
    pairs = list(zip(x.split(4), y.split(4), strict=True))
    forms = [
        pairs,
        [list(p) for p in pairs],
        Reiterable(pairs),
        DataLoader(TensorDataset(x, y), batch_size=4),
    ]
    for data in forms:
        gradient = Objective(model, F.cross_entropy, data).gradient()
        assert (gradient - whole).abs().max() <= 32 * torch.finfo(torch.float32).eps


def test_inputs_are_passed_as_the_model_takes_them():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3))

        def forward(self, left, right):
            return (left - right) * self.scale

    left, right, target = torch.randn(4, 3), torch.randn(4, 3), torch.randn(4, 3)
    model = Two()
    expected = F.mse_loss(left - right, target).item()
    for inputs in ((left, right), [left, right], {"right": right, "left": left}):
        assert Objective(model, F.mse_loss, (inputs, target)).loss() == pytest.approx(expected, rel=1e-6)


def test_a_tensor_a_mapping_or_a_named_tuple_is_one_batch():
    model, x, y = linear()
    seen = []

    def loss(m, batch):
        seen.append(batch)
        return m(tensors(batch)[0]).square().mean()

    Pair = namedtuple("Pair", ["x", "y"])
    for data in (x, {"x": x, "y": y}, UserDict(x=x, y=y), Pair(x, y), ({"deep": [x, (y,)]}, 3)):
        seen.clear()
        Objective(model, loss, data).loss()
        assert type(seen[0]) is type(data)
        assert len({id(b) for b in seen}) <= 2  # the batch, and its copy for the determinism check
    assert Objective(model, loss, x).data.kind == "batch"


def test_a_list_is_a_sequence_so_a_pair_in_a_list_is_explained():
    model, x, y = linear()
    with pytest.raises(ValueError, match=r"every batch must be \(input, target\).*a list is a sequence"):
        Objective(model, F.cross_entropy, [x, y]).loss()
    with pytest.raises(ValueError, match="got a tuple of 3"):
        Objective(model, F.cross_entropy, (x, y, y)).loss()


def test_one_shot_data_is_refused():
    model, x, y = linear()
    for data in ((b for b in [(x, y)]), iter([(x, y)]), map(tuple, [(x, y)])):
        with pytest.raises(ValueError, match="data must be re-iterable, got a one-shot"):
            Objective(model, F.cross_entropy, data)


def test_empty_data_is_refused():
    model, x, y = linear()
    for data in ([], (), {}, DataLoader(TensorDataset(x[:0], y[:0]), batch_size=2)):
        with pytest.raises(ValueError, match="data must contain a batch"):
            Objective(model, F.cross_entropy, data)
    with pytest.raises(ValueError, match="data must contain a batch"):
        Objective(model, F.cross_entropy, Reiterable([])).loss()
    with pytest.raises(ValueError, match="data must have a target that counts"):
        Objective(model, F.cross_entropy, (x[:0], y[:0])).loss()


class Fewer:
    """Gives a batch less at every reading."""

    def __init__(self, items):
        self.items, self.readings = items, 0

    def __iter__(self):
        self.readings += 1
        return iter(self.items[: len(self.items) + 1 - self.readings])


class More(Fewer):
    """Gives a batch more at every reading."""

    def __iter__(self):
        self.readings += 1
        return iter(self.items[: self.readings])


def test_every_reading_of_a_stream_must_give_the_batches_of_the_first():
    model, x, y = linear()
    pairs = list(zip(x.split(2), y.split(2), strict=True))
    loader = DataLoader(TensorDataset(x, y), batch_size=2, shuffle=True)
    for data, got in (
        (loader, "another batch"),
        (Fewer(pairs), "3 batches after 4"),
        (More(pairs), "another"),
    ):
        objective = Objective(model, F.cross_entropy, data)
        objective.gradient()
        with pytest.raises(ValueError, match=f"same batches in the same order every time, got {got}"):
            objective.loss()


def test_a_reading_that_was_cut_off_is_continued_by_the_next():
    model, x, y = linear()
    pairs = list(zip(x.split(2), y.split(2), strict=True))
    objective = Objective(model, F.cross_entropy, Reiterable(pairs))
    next(iter(objective.batches()))
    assert objective.loss() == objective.loss()
    pairs[3] = pairs[2]
    with pytest.raises(ValueError, match="got another batch 3"):
        objective.loss()


@pytest.mark.parametrize("data", [None, 3, "text", TensorDataset(torch.ones(2, 3))])
def test_what_is_no_data_is_refused(data):
    model, x, _ = linear()
    with pytest.raises(TypeError, match="data must be tensors in batches"):
        Objective(model, F.cross_entropy, data)
    with pytest.raises(TypeError, match="got ndarray"):
        Objective(model, F.cross_entropy, x.numpy())


def test_batches_without_a_length_need_a_weight():
    model, x, _ = linear()
    data = [(torch.tensor(1.0), x)] * 2

    def loss(m, batch):
        return m(batch[1]).square().mean()

    with pytest.raises(ValueError, match=r"must start with a tensor that has a length.*pass weight="):
        Objective(model, loss, data).loss()
    assert Objective(model, loss, data, weight=lambda _b: 1.0).loss() > 0


def test_tensors_move_to_the_device_of_the_parameters():
    model = nn.Linear(3, 2, device="meta")
    objective = Objective(model, lambda _m, _b: 0, (torch.ones(2, 3), UserDict(y=torch.ones(2))))
    moved = objective.prepare(objective.data.source)
    assert [t.device.type for t in tensors(moved)] == ["meta", "meta"]


def test_the_loss_must_be_a_finite_scalar_that_depends_on_the_parameters():
    model, x, _ = linear()
    cases = [
        (lambda m, b: m(b), ValueError, r"scalar tensor, got shape \[8, 2\]"),
        (lambda _m, _b: 1.0, ValueError, "scalar tensor, got a float"),
        (lambda m, b: m(b).sum() * float("nan"), ValueError, "finite, got nan for batch 0"),
        (lambda _m, b: b.sum(), ValueError, "depend on the selected parameters"),
        (lambda _m, b: (b.requires_grad_() ** 2).sum(), ValueError, "depend on the selected parameters"),
        (lambda m, b: m(b).sum().to(torch.complex64), TypeError, "real floating-point"),
    ]
    for loss, error, message in cases:
        with pytest.raises(error, match=message):
            Objective(model, loss, x.clone()).gradient()


def test_arguments_are_checked():
    model, x, y = linear()
    with pytest.raises(TypeError, match=r"model must be an nn\.Module, got function"):
        Objective(lambda x: x, F.cross_entropy, (x, y))
    with pytest.raises(ValueError, match="reduction must be 'mean' or 'sum', got 'none'"):
        Objective(model, F.cross_entropy, (x, y), reduction="none")
    with pytest.raises(ValueError, match="mode must be"):
        Objective(model, F.cross_entropy, (x, y), mode="test")
    with pytest.raises(ValueError, match="l2 must be finite"):
        Objective(model, F.cross_entropy, (x, y), l2=float("inf"))
    with pytest.raises(ValueError, match="one of loss and criterion must be given, got neither"):
        Objective(model, None, (x, y))
    with pytest.raises(ValueError, match="one of loss and criterion must be given, got both"):
        Objective(model, F.cross_entropy, (x, y), criterion=F.cross_entropy)
    with pytest.raises(TypeError, match="loss must be callable, got str"):
        Objective(model, "mse", (x, y))


def test_only_batches_of_one_signature_are_concatenated():
    x, y = torch.ones(4, 3), torch.ones(4)
    assert signature((x, y)) == signature((x[:2], y[:2]))
    assert signature((x, y)) != signature((x.double(), y))
    assert signature((x, y)) != signature({"x": x, "y": y})
    for odd in ((x, y[:2]), (x, 3), (torch.tensor(1.0), y)):
        assert signature(odd) is None
    joined = concatenate([{"x": x, "y": (y,)}, {"x": x[:1], "y": (y[:1],)}])
    assert joined["x"].shape == (5, 3)
    assert joined["y"][0].shape == (5,)


def test_description_is_json_able():
    import json

    model, x, y = linear()
    text = json.dumps(Objective(model, F.cross_entropy, [(x, y)], params=["*weight"]).description())
    assert "cross_entropy" in text
    assert "Linear" in text
