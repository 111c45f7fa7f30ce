"""What the autograd engine keeps, when it notices a change, and what it frees."""

import functools
import gc
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from hesscope import curvature
from hesscope.curvature import AutogradHessian, FiniteDifferenceHessian
from hesscope.objective import Objective
from hesscope.objective.checksum import checksum

hessian = functools.partial(curvature.hessian, engine="autograd")


def problem(split=3, rows=12):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    x, y = torch.randn(rows, 3, dtype=torch.float64), torch.randint(0, 3, (rows,))
    return model, list(zip(x.split(split), y.split(split), strict=True))


def counting(calls):
    """Return a loss(model, batch) that records its calls: it is never merged."""

    def loss(model, batch):
        calls.append(1)
        return F.cross_entropy(model(batch[0]), batch[1])

    return loss


def vector(h, seed=1):
    return torch.randn(2, h.shape[0], dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_graphs_are_built_once_and_shared_by_all_vectors():
    model, data = problem()
    calls = []
    h = hessian(Objective(model, counting(calls), data))
    first = h.rows(vector(h))
    assert len(calls) == len(data) + 1  # the determinism check
    assert torch.equal(h.rows(vector(h)), first)
    assert len(calls) == len(data) + 1


def fresh(model, data):
    return AutogradHessian(Objective(model, F.cross_entropy, data))


CHANGES = {
    "optimizer": lambda m, _d: step(m),
    "data attribute": lambda m, _d: m[0].weight.data.add_(0.1),
    "one entry, behind autograd": lambda m, _d: m[2].bias.data.view(-1)[1:2].mul_(-1),
    "a new storage": lambda m, _d: setattr(m[0].weight, "data", m[0].weight.data * 2),
    "a batch in place": lambda _m, d: d[2][0].mul_(2),
    "a target through numpy": lambda _m, d: d[2][1].numpy().__setitem__(0, (d[2][1][0] + 1) % 3),
    "a batch replaced": lambda _m, d: d.__setitem__(1, (d[1][0] + 1, d[1][1])),
    "a batch more": lambda _m, d: d.append((d[0][0] * 2, d[0][1])),
}


def step(model):
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    torch.optim.SGD(model.parameters(), lr=0.1).step()


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("merged", [True, False])
def test_changes_are_noticed(name, merged):
    model, data = problem()
    loss = F.cross_entropy if merged else counting([])
    h = hessian(Objective(model, loss, data))
    before, key = h.rows(vector(h)), h.fingerprint()
    assert h.fingerprint() == key
    CHANGES[name](model, data)
    after = h.rows(vector(h))
    assert h.fingerprint() != key
    assert not torch.equal(after, before)
    expected = fresh(model, data).rows(vector(h))
    assert (after - expected).abs().max() <= 100 * torch.finfo(torch.float64).eps * expected.abs().max()


def test_changed_buffers_and_modes_are_noticed():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 3)).double().eval()
    _, data = problem()
    h = hessian(Objective(model, F.cross_entropy, data))
    evaluated = h.rows(vector(h))
    model[1].running_var.data.mul_(2)
    scaled = h.rows(vector(h))
    assert not torch.equal(scaled, evaluated)
    model.train()
    buffers = [b.clone() for b in model.buffers()]
    trained = h.rows(vector(h))
    assert not torch.equal(trained, scaled)
    assert torch.equal(h.rows(vector(h)), trained)
    assert all(torch.equal(a, b) for a, b in zip(buffers, model.buffers(), strict=True))


def test_a_replaced_parameter_is_an_error():
    model, data = problem()
    h = hessian(Objective(model, F.cross_entropy, data))
    model[0].weight = nn.Parameter(model[0].weight.detach().clone())
    with pytest.raises(ValueError, match=r"model must keep its parameters, got another 0\.weight"):
        h.rows(vector(h))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.bool, torch.complex64])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 33])
def test_every_entry_counts_in_the_checksum(dtype, size):
    wide = torch.ones(size + 1, 2).to(dtype)
    for tensor in (wide[1:, :].contiguous(), wide[1:, 0], wide.reshape(-1)[1 : size + 1]):
        before = checksum([tensor])
        for i in range(tensor.numel()):
            flat = tensor.view(-1) if tensor.is_contiguous() else tensor
            index = i if flat.ndim == 1 else (i // 2, i % 2)
            old = flat[index].clone()
            flat[index] = 0
            assert checksum([tensor]) != before
            flat[index] = old
        assert checksum([tensor]) == before
    assert checksum([]) == checksum([torch.ones(0)]) == 0


def test_graphs_are_kept_within_the_budget():
    model, data = problem()
    calls = []
    free = hessian(Objective(model, counting(calls), data))
    expected = free.rows(vector(free))
    one = free.memory // len(data)
    for budget, kept in ((0, 0), (one - 1, 0), (2 * one, 2), (len(data) * one, len(data))):
        h = hessian(Objective(model, counting(calls), data), memory_budget=budget)
        assert torch.equal(h.rows(vector(h)), expected)
        assert h.memory == kept * one
        assert h.memory <= budget
        assert f"graphs: {kept} of {len(data)} kept" in h.explain()
        calls.clear()
        assert torch.equal(h.rows(vector(h)), expected)
        assert len(calls) == len(data) - kept


def test_the_size_of_a_graph_is_what_its_tensors_occupy():
    rows, inner, outer = 50, 20, 10
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, inner), nn.Tanh(), nn.Linear(inner, outer))
    x, y = torch.randn(rows, 6), torch.randint(0, outer, (rows,))
    h = hessian(Objective(model, F.cross_entropy, (x, y)))
    h.rows(torch.ones(1, h.shape[0]))
    # tanh's output, log-softmax's output, its gradient and theirs with respect to both layers' outputs,
    # the gradient itself, and the inputs; a factor of 2 for what else torch chooses to save.
    least = 4 * (2 * rows * inner + 2 * rows * outer + h.shape[0] + rows * 6)
    assert least <= h.memory <= 2 * least


def test_release_frees_the_graphs_and_nothing_leaks():
    model, data = problem()
    h = hessian(Objective(model, F.cross_entropy, data))
    gc.collect()
    gc.disable()  # reference counting alone must do it
    try:
        h.rows(vector(h))
        held = [weakref.ref(g) for group in h._plan.groups for g in group.graph.gradients]
        assert all(ref() is not None for ref in held)
        h.release()
        assert all(ref() is None for ref in held)
        assert h.memory == 0
        assert "nothing is built yet" in h.explain()
        expected = h.rows(vector(h))
        held = [weakref.ref(g) for group in h._plan.groups for g in group.graph.gradients]
        model[0].weight.data.add_(1.0)
        assert not torch.equal(h.rows(vector(h)), expected)  # rebuilding drops the old ones
        assert all(ref() is None for ref in held)
        held = [weakref.ref(g) for group in h._plan.groups for g in group.graph.gradients]
        del h
        assert all(ref() is None for ref in held)
    finally:
        gc.enable()


class Stream:
    """Makes its batches anew every time, and counts how often."""

    def __init__(self, data, change=None):
        self.data, self.change, self.passes = data, change, 0

    def __iter__(self):
        self.passes += 1
        for i, (x, y) in enumerate(self.data):
            yield (x + self.passes if i == self.change else x.clone()), y.clone()


@pytest.mark.parametrize("merged", [True, False])
def test_a_stream_is_read_once_if_it_fits_and_every_time_if_not(merged):
    model, data = problem()
    loss = F.cross_entropy if merged else counting([])
    expected = fresh(model, data).rows(vector(fresh(model, data)))
    bound = 100 * torch.finfo(torch.float64).eps * expected.abs().max()
    for budget, again in ((None, False), (600, True), (0, True)):
        stream = Stream(data)
        h = hessian(Objective(model, loss, stream), memory_budget=budget)
        assert (h.rows(vector(h)) - expected).abs().max() <= bound
        key, passes = h.fingerprint(), stream.passes
        assert (h.rows(vector(h)) - expected).abs().max() <= bound
        assert h.fingerprint() == key
        assert (stream.passes > passes) == again
        assert ("read again for every call" in h.explain()) == again
        assert h.memory <= h.memory_budget


def test_a_stream_that_changes_is_refused_unless_it_is_held():
    model, data = problem()
    h = hessian(Objective(model, counting([]), Stream(data, change=2)), memory_budget=0)
    with pytest.raises(ValueError, match="same batches in the same order every time, got another batch 2"):
        h.rows(vector(h))
    held = hessian(Objective(model, counting([]), Stream(data, change=2)))
    assert torch.equal(held.rows(vector(held)), held.rows(vector(held)))


def test_a_shuffled_loader_is_held_or_refused():
    model, data = problem()
    x, y = (torch.cat(column) for column in zip(*data, strict=True))
    loader = DataLoader(TensorDataset(x, y), batch_size=1, shuffle=True)
    held = hessian(Objective(model, F.cross_entropy, loader))
    assert torch.equal(held.rows(vector(held)), held.rows(vector(held)))
    again = hessian(Objective(model, F.cross_entropy, loader), memory_budget=0)
    with pytest.raises(ValueError, match="switch off shuffling"):
        again.rows(torch.ones(5, again.shape[0], dtype=torch.float64))


def test_batches_of_a_stream_that_are_shared_and_changed_are_noticed():
    model, data = problem()

    class View:
        def __iter__(self):
            return iter(data)

    h = hessian(Objective(model, F.cross_entropy, View()))
    h.rows(vector(h))
    data[1][0].mul_(2)
    with pytest.raises(ValueError, match=r"got another batch 1.*or make a new Objective of other data"):
        h.rows(vector(h))


def test_activation_checkpointing_is_recomputed_in_the_right_state():
    from torch.utils.checkpoint import checkpoint

    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.norm, self.b = nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)

        def forward(self, x, *, split=True):
            def body(h):
                return self.norm(self.a(h)).tanh()

            return self.b(checkpoint(body, x, use_reentrant=False) if split else body(x))

    torch.manual_seed(0)
    model = Checkpointed().double()
    _, data = problem(split=12)
    buffers = [b.clone() for b in model.buffers()]
    h = hessian(Objective(model, F.cross_entropy, data[0]))
    plain = Objective(model, lambda m, b: F.cross_entropy(m(b[0], split=False), b[1]), data[0])
    expected = hessian(plain).rows(vector(h))
    bound = 100 * torch.finfo(torch.float64).eps * expected.abs().max()
    for _ in range(2):
        assert (h.rows(vector(h)) - expected).abs().max() <= bound
    assert all(torch.equal(a, b) for a, b in zip(buffers, model.buffers(), strict=True))


def test_description_is_json_able():
    import json

    model, data = problem()
    text = json.dumps(hessian(Objective(model, F.cross_entropy, data)).description())
    assert "autograd" in text


@pytest.mark.parametrize(
    ("dtype", "other"), [(torch.bfloat16, torch.float32), (torch.float32, torch.float64)]
)
def test_a_kept_graph_is_built_again_after_an_engine_of_another_precision(dtype, other):
    """It lends the parameters data of its precision, which cuts a graph off from them."""
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)).to(dtype)
    objective = Objective(model, F.mse_loss, (torch.randn(7, 3, dtype=dtype), torch.randn(7, 2, dtype=dtype)))
    h = hessian(objective)
    v = vector(h).to(h.dtype)
    before = h.rows(v)
    assert before.norm() > 0
    FiniteDifferenceHessian(objective, precision=other).rows(v)
    assert torch.equal(h.rows(v), before)
