"""The value of an objective does not depend on how its data is cut into batches."""

import functools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hesscope.objective import Objective
from hesscope.objective.criteria import make_criterion

SPLITS = {"1x100": [100], "10x10": [10] * 10, "ragged": [7, 31, 62]}


def batches(inputs, target, split):
    return list(zip(inputs.split(split), target.split(split), strict=True))


def rounding(terms, *values):
    """Bound on the difference of two sums of `terms` products in float64, each of size `values`."""
    return 4 * terms * torch.finfo(torch.float64).eps * max(float(v.abs().max()) for v in values)


def classification(seed=0, rows=100, classes=5):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 6, generator=g, dtype=torch.float64)
    y = torch.randint(0, classes, (rows,), generator=g)
    model = nn.Sequential(nn.Linear(6, 7), nn.Tanh(), nn.Linear(7, classes)).double()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=g, dtype=p.dtype) / 2)
    return model, x, y


CLASS_WEIGHTS = torch.tensor([0.5, 1.0, 2.0, 0.0, 3.0], dtype=torch.float64)
CRITERIA = {
    "plain": nn.CrossEntropyLoss(),
    "sum": nn.CrossEntropyLoss(reduction="sum"),
    "ignored": nn.CrossEntropyLoss(ignore_index=2),
    "weighted": nn.CrossEntropyLoss(weight=CLASS_WEIGHTS),
    "weighted, ignored, smooth": nn.CrossEntropyLoss(
        weight=CLASS_WEIGHTS, ignore_index=0, label_smoothing=0.1
    ),
    "functional": F.cross_entropy,
    "partial": functools.partial(F.cross_entropy, weight=CLASS_WEIGHTS, ignore_index=1),
    "partial of sum": functools.partial(F.cross_entropy, reduction="sum"),
}


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("name", CRITERIA)
def test_any_split_gives_the_same_value_and_gradient(name, reduction):
    model, x, y = classification()
    whole = Objective(model, CRITERIA[name], (x, y), reduction=reduction)
    value, gradient = whole.loss(), whole.gradient()
    for split in SPLITS.values():
        cut = Objective(model, CRITERIA[name], batches(x, y, split), reduction=reduction)
        scale = 100 if reduction == "sum" else 1
        assert abs(cut.loss() - value) <= rounding(100, torch.tensor(5.0 * scale))
        assert (cut.gradient() - gradient).abs().max() <= rounding(100, torch.tensor(5.0 * scale))


def test_mean_and_sum_of_an_objective_normalise_whatever_the_criterion_does():
    model, x, y = classification()
    for reduction in ("mean", "sum"):
        criterion = nn.CrossEntropyLoss(ignore_index=2, reduction=reduction)
        total = F.cross_entropy(model(x), y, ignore_index=2, reduction="sum").item()
        data = batches(x, y, SPLITS["ragged"])
        tolerance = rounding(100, torch.tensor(total))
        assert abs(Objective(model, criterion, data, reduction="sum").loss() - total) <= tolerance
        mean = total / int((y != 2).sum())
        assert abs(Objective(model, criterion, data).loss() - mean) <= tolerance


TARGETS = {
    "elements": lambda g: (torch.randn(9, 4, generator=g), torch.randn(9, 4, generator=g)),
    "binary": lambda g: (torch.rand(9, 4, generator=g), torch.rand(9, 4, generator=g)),
    "signs": lambda g: (torch.randn(9, 4, generator=g), torch.randn(9, 4, generator=g).sign()),
    "classes": lambda g: (torch.randn(9, 4, generator=g), torch.randint(0, 4, (9,), generator=g)),
    "tokens": lambda g: (torch.randn(3, 4, 5, generator=g), torch.randint(0, 4, (3, 5), generator=g)),
    "one": lambda g: (torch.randn(4, generator=g), torch.tensor(2)),
    "probabilities": lambda g: (torch.randn(9, 4, generator=g), torch.rand(9, 4, generator=g)),
    "token probabilities": lambda g: (torch.randn(3, 4, 5, generator=g), torch.rand(3, 4, 5, generator=g)),
    "labels": lambda g: (torch.randn(9, 4, generator=g), torch.randint(0, 2, (9, 4), generator=g)),
    "float labels": lambda g: (torch.randn(9, 4, generator=g), torch.rand(9, 4, generator=g).round()),
}
KNOWN = [
    (nn.MSELoss, {}, "elements"),
    (nn.L1Loss, {}, "elements"),
    (nn.SmoothL1Loss, {}, "elements"),
    (nn.HuberLoss, {"delta": 0.5}, "elements"),
    (nn.BCELoss, {}, "binary"),
    (nn.BCELoss, {"weight": torch.arange(1.0, 5.0)}, "binary"),
    (nn.BCEWithLogitsLoss, {"pos_weight": torch.arange(1.0, 5.0)}, "binary"),
    (nn.PoissonNLLLoss, {}, "binary"),
    (nn.SoftMarginLoss, {}, "signs"),
    (nn.HingeEmbeddingLoss, {}, "signs"),
    (nn.KLDivLoss, {"log_target": True}, "elements"),
    (nn.MultiMarginLoss, {}, "classes"),
    (nn.MultiMarginLoss, {"weight": torch.arange(1.0, 5.0)}, "classes"),
    (nn.MultiLabelMarginLoss, {}, "labels"),
    (nn.MultiLabelSoftMarginLoss, {"weight": torch.arange(1.0, 5.0)}, "float labels"),
    (nn.NLLLoss, {"weight": torch.arange(1.0, 5.0)}, "classes"),
    (nn.NLLLoss, {"ignore_index": 1}, "tokens"),
    (nn.CrossEntropyLoss, {}, "one"),
    (nn.CrossEntropyLoss, {"weight": torch.arange(1.0, 5.0), "ignore_index": 3}, "tokens"),
    (nn.CrossEntropyLoss, {"label_smoothing": 0.2, "ignore_index": 3}, "tokens"),
    (nn.CrossEntropyLoss, {"label_smoothing": 0.2, "weight": torch.arange(1.0, 5.0)}, "classes"),
    (nn.CrossEntropyLoss, {}, "probabilities"),
    (nn.CrossEntropyLoss, {"weight": torch.arange(1.0, 5.0)}, "token probabilities"),
]


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")
@pytest.mark.parametrize(("module", "settings", "kind"), KNOWN)
def test_count_is_what_the_mean_of_a_known_criterion_divides_by(module, settings, kind):
    output, target = TARGETS[kind](torch.Generator().manual_seed(1))
    criterion = make_criterion(module(**settings))
    mean = module(**settings)(output, target)
    total = module(**settings, reduction="sum")(output, target)
    error = abs(float(mean) * criterion.count(target) - float(total))
    assert error <= 64 * torch.finfo(torch.float32).eps * abs(float(total))


def test_batchmean_divides_by_the_batch():
    output, target = TARGETS["elements"](torch.Generator().manual_seed(1))
    loss = nn.KLDivLoss(log_target=True, reduction="batchmean")
    total = nn.KLDivLoss(log_target=True, reduction="sum")(output, target)
    assert make_criterion(loss).count(target) == 9
    assert abs(loss(output, target).item() * 9 - float(total)) <= 1e-5 * abs(float(total))


def zero(model, batch, *, scale):
    return 0


def test_only_criteria_are_recognised_as_criteria():
    model, x, y = classification(rows=4)
    takes_pair = [nn.MSELoss(), F.nll_loss, functools.partial(F.cross_entropy, label_smoothing=0.1)]
    takes_pair.append(functools.partial(nn.CrossEntropyLoss()))
    for loss in takes_pair:
        assert Objective(model, loss, (x, y)).criterion is not None
    for loss in (lambda _m, _b: 0, functools.partial(zero, scale=1), torch.mean):
        assert Objective(model, loss, (x, y)).criterion is None
    assert Objective(model, None, (x, y), criterion=lambda _o, _t: 0).criterion is not None


def test_a_subclass_with_a_forward_of_its_own_is_not_a_known_criterion():
    class Doubled(nn.CrossEntropyLoss):
        def forward(self, output, target):
            return 2 * super().forward(output, target)

    class Renamed(nn.CrossEntropyLoss):
        pass

    assert make_criterion(Doubled()).count is None
    assert make_criterion(Renamed()).count is not None


def test_an_unknown_loss_is_weighted_by_the_length_of_the_first_tensor():
    model, x, y = classification()

    def loss(m, batch):
        return F.cross_entropy(m(batch["x"]), batch["y"])

    data = [{"x": a, "y": b} for a, b in batches(x, y, SPLITS["ragged"])]
    whole = F.cross_entropy(model(x), y).item()
    assert abs(Objective(model, loss, data).loss() - whole) <= rounding(100, torch.tensor(whole))
    added = sum(loss(model, b).item() for b in data)
    assert abs(Objective(model, loss, data, reduction="sum").loss() - added) <= rounding(
        100, torch.tensor(added)
    )


def test_an_unknown_criterion_that_says_it_adds_is_added():
    class Summed(nn.Module):
        reduction = "sum"

        def forward(self, output, target):
            return F.cross_entropy(output, target, reduction="sum")

    model, x, y = classification()
    cut = Objective(model, Summed(), batches(x, y, SPLITS["ragged"])).loss()
    whole = F.cross_entropy(model(x), y).item()
    assert abs(cut - whole) <= rounding(100, torch.tensor(whole))


def test_weight_overrides_the_default():
    model, x, y = classification()
    data = batches(x, y, [50, 50])
    losses = [F.cross_entropy(model(a), b).item() for a, b in data]
    weights = iter([1.0, 3.0] * 2)
    objective = Objective(model, F.cross_entropy, data, weight=lambda _batch: next(weights))
    expected = (losses[0] + 3 * losses[1]) / 4
    assert abs(objective.loss() - expected) <= rounding(100, torch.tensor(expected))
    summed = Objective(model, F.cross_entropy, data, weight=lambda _b: 2.0, reduction="sum")
    assert abs(summed.loss() - 2 * sum(losses)) <= rounding(100, torch.tensor(sum(losses)))


def test_a_batch_whose_targets_are_all_ignored_counts_nothing():
    model, x, y = classification()
    y = y.clone()
    y[:10] = 2
    data = batches(x, y, [10] * 10)
    whole = F.cross_entropy(model(x), y, ignore_index=2).item()
    cut = Objective(model, nn.CrossEntropyLoss(ignore_index=2), data)
    assert abs(cut.loss() - whole) <= rounding(100, torch.tensor(whole))
    assert cut.gradient().isfinite().all()


def test_data_in_which_nothing_counts_is_refused():
    model, x, _ = classification(rows=4)
    nothing = torch.full((4,), -100)
    for reduction in ("mean", "sum"):
        objective = Objective(model, nn.CrossEntropyLoss(), (x, nothing), reduction=reduction)
        with pytest.raises(ValueError, match="data must have a target that counts"):
            objective.loss()
        with pytest.raises(ValueError, match="data must have a target that counts"):
            objective.gradient()


@pytest.mark.parametrize("weight", [-1.0, float("nan")])
def test_weights_must_be_finite_and_not_negative(weight):
    model, x, y = classification(rows=4)
    objective = Objective(model, F.cross_entropy, (x, y), weight=lambda _b: weight)
    with pytest.raises(ValueError, match="weight of a batch must be finite and not negative"):
        objective.loss()


def test_a_criterion_without_reduction_is_refused():
    model, x, y = classification(rows=4)
    with pytest.raises(ValueError, match=r"must reduce to a scalar.*reduction='none'"):
        Objective(model, nn.CrossEntropyLoss(reduction="none"), (x, y))
    with pytest.raises(ValueError, match="must bind keywords only"):
        Objective(model, functools.partial(F.cross_entropy, y), (x, y))


def test_l2_is_added_once_over_the_selected_parameters():
    model, x, y = classification()
    data = batches(x, y, SPLITS["10x10"])
    for reduction in ("mean", "sum"):
        plain = Objective(model, F.cross_entropy, data, params="2.*", reduction=reduction)
        decayed = Objective(model, F.cross_entropy, data, params="2.*", l2=0.25, reduction=reduction)
        theta = plain.flatten(plain.parameters)
        bound = rounding(100, torch.tensor(plain.loss()))
        assert abs(decayed.loss() - plain.loss() - 0.125 * float(theta @ theta)) <= bound
        assert (decayed.gradient() - plain.gradient() - 0.25 * theta).abs().max() <= bound
