"""Property tests of the jets engine: any shapes, broadcasting, layouts, empty dimensions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from hesscope.curvature import hessian
from hesscope.objective import Objective
from jets_cases import RELATIVE, function_objective, smooth, vectors

shapes = st.lists(st.integers(0, 4), min_size=0, max_size=4).map(tuple)
few = settings(max_examples=25, deadline=None)


def assert_same(objective, rows=(1, 5)):
    """As ``assert_agrees``, for Hessians that may be zero or empty."""
    jets, oracle = hessian(objective, engine="jets"), hessian(objective, engine="autograd")
    for k in rows:
        v = vectors(k, objective.n)
        got, expected = jets.rows(v), oracle.rows(v)
        assert got.shape == expected.shape
        assert (got - expected).norm() <= RELATIVE * expected.norm()


def anchored(function, *inputs):
    """The objective of a function of tensors, any of which may be empty, and of one that is not."""

    def both(anchor, *inputs):
        return [function(*inputs), anchor**3]

    return function_objective(both, smooth(2, seed=9), *inputs)


def laid_out(shape, order, seed):
    """A tensor of this shape whose dimensions lie in storage in some order, with gaps."""
    order = order[: len(shape)] if sorted(order[: len(shape)]) == list(range(len(shape))) else None
    order = order or list(range(len(shape)))
    stored = smooth(*(2 * shape[d] for d in order), seed=seed)
    part = stored[tuple(slice(None, None, 2) for _ in order)]
    return part.permute([order.index(d) for d in range(len(order))])


@st.composite
def broadcastable(draw):
    """Two shapes that broadcast, with dimensions of length 0 and 1."""
    shape = draw(st.lists(st.integers(0, 3), max_size=4))
    sides = []
    for _ in range(2):
        side = [draw(st.sampled_from([1, d])) for d in shape]
        sides.append(tuple(side[draw(st.integers(0, len(side))) :]))
    return sides


@given(broadcastable(), st.sampled_from(["mul", "add", "where", "atan2", "minimum"]))
@few
def test_broadcasting(sides, name):
    functions = {
        "mul": lambda a, b: a * b,
        "add": lambda a, b: torch.add(a, b, alpha=2).sin(),
        "where": lambda a, b: torch.where(a.detach() > b.detach(), a * b, b.exp()),
        "atan2": torch.atan2,
        "minimum": lambda a, b: torch.minimum(a, b) ** 2,
    }
    inputs = [smooth(*side, seed=i) for i, side in enumerate(sides)]
    assert_same(anchored(functions[name], *inputs))


@given(
    shapes,
    st.permutations(range(4)),
    st.sampled_from(["tanh", "sum", "flatten", "softmax", "cumsum", "flip", "relu", "mean_square"]),
)
@few
def test_functions_of_one_tensor_in_any_layout(shape, order, name):
    functions = {
        "tanh": torch.tanh,
        "sum": lambda x: (x * x).sum(-1) if x.ndim else x,
        "flatten": lambda x: x.flatten().sin(),
        "softmax": lambda x: x.softmax(0) if x.ndim else x.exp(),
        "cumsum": lambda x: x.sin().cumsum(-1) if x.ndim else x,
        "flip": lambda x: x.flip(tuple(range(x.ndim))) * x,
        "relu": lambda x: x.relu() ** 2,
        "mean_square": lambda x: (x - x.mean(-1, keepdim=True)).square() if x.ndim and x.shape[-1] else x,
    }
    assert_same(anchored(functions[name], laid_out(shape, list(order), 0)))


@given(
    *(st.integers(0, 4) for _ in range(4)), st.booleans(), st.sampled_from(["mm", "addmm", "bmm", "linear"])
)
@few
def test_products_of_any_size(batch, n, k, m, transposed, name):
    a, b = smooth(n, k), smooth(m, k, seed=1).T if transposed else smooth(k, m, seed=1)
    functions = {
        "mm": (lambda a, b: (a @ b).tanh(), a, b),
        "addmm": (lambda a, b, c: torch.addmm(c, a, b).tanh(), a, b, smooth(m, seed=2)),
        "bmm": (torch.bmm, smooth(batch, n, k), smooth(batch, k, m, seed=1)),
        "linear": (lambda a, b, c: F.linear(a, b.T, c).sin(), smooth(batch, n, k), b, smooth(m, seed=2)),
    }
    function, *inputs = functions[name]
    assert_same(anchored(function, *inputs))


@given(
    st.integers(0, 3),
    st.integers(1, 2),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 2),
    st.integers(0, 2),
    st.sampled_from([1, 2]),
)
@few
def test_convolutions_of_any_kind(batch, width, size, stride, dilation, padding, groups):
    x = smooth(batch, 2 * width, 9, 8)
    w = smooth(2, 2 * width // groups, size, 2, seed=1)

    def function(x, w):
        return F.conv2d(x, w, None, stride, padding, dilation, groups).tanh()

    assert_same(anchored(function, x, w))


@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 6), st.sampled_from(["layer", "group", "batch"]))
@few
def test_norms_of_any_size(rows, channels, length, name):
    x, w = smooth(rows, 2 * channels, length + 2), smooth(2 * channels, seed=1)
    functions = {
        "layer": lambda x, w: F.layer_norm(x.mT, (2 * channels,), w),
        "group": lambda x, w: F.group_norm(x, channels, w),
        "batch": lambda x, w: F.batch_norm(x, None, None, w, training=True),
    }
    assert_same(anchored(functions[name], x, w))


@given(st.lists(st.integers(0, 6), min_size=1, max_size=12), st.integers(1, 4), st.sampled_from([None, 0, 3]))
@few
def test_embeddings_of_any_indices(indices, width, padding):
    def function(w):
        rows = F.embedding(torch.tensor(indices, dtype=torch.int64), w, padding_idx=padding)
        return (rows @ rows.T).tanh()

    assert_same(anchored(function, smooth(7, width)))


@given(st.integers(0, 5))
@few
def test_a_batch_without_samples(rows):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)).double()
    objective = Objective(
        model,
        lambda m, b: m(b).square().sum() + m[0].weight.pow(4).sum(),
        smooth(rows, 3),
        weight=lambda _: 1.0,
    )
    assert_same(objective)
