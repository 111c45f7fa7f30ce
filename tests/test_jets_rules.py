"""Every rule of the jets engine against double backward, in float64, for one vector and for five."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from jets_cases import assert_agrees, function_objective, positive, smooth

INDEX = torch.tensor([[0, 2, 1], [2, 2, 0]])
MASK = torch.tensor([True, False, True, True])

POINTWISE = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "mish": F.mish,
    "softplus": F.softplus,
    "elu": F.elu,
    "celu": F.celu,
    "selu": F.selu,
    "leaky_relu": F.leaky_relu,
    "hardtanh": F.hardtanh,
    "hardswish": F.hardswish,
    "relu6": F.relu6,
    "logsigmoid": F.logsigmoid,
    "exp": torch.exp,
    "expm1": torch.expm1,
    "sin": torch.sin,
    "cos": torch.cos,
    "tan": torch.tan,
    "atan": torch.atan,
    "sinh": torch.sinh,
    "cosh": torch.cosh,
    "erf": torch.erf,
    "abs": torch.abs,
    "square": torch.square,
    "cube": lambda x: x**3,
    "exponential": lambda x: 2.0**x,
    "clamp": lambda x: x.clamp(-0.5, 0.5),
    "clamp_min": lambda x: x.clamp_min(0.1),
    "where": lambda x: torch.where(x > 0, x * x, x.sin()),
    "masked_fill": lambda x: (x * x).masked_fill(MASK, 2.0),
    "numbers": lambda x: (3 - x * 2) / 5 + 1,
    "reversed": lambda x: torch.rsub(x, 2.0, alpha=3),
    "glu": lambda x: F.glu(x, -1),
}
POSITIVE = {
    "log": torch.log,
    "log1p": torch.log1p,
    "log2": torch.log2,
    "sqrt": torch.sqrt,
    "rsqrt": torch.rsqrt,
    "reciprocal": torch.reciprocal,
    "power": lambda x: x**0.7,
    "quotient": lambda x: 2 / x,
    "xlogy": lambda x: torch.xlogy(x, x + 1),
}


@pytest.mark.parametrize("name", POINTWISE)
def test_pointwise(name):
    assert_agrees(function_objective(POINTWISE[name], smooth(3, 4)))


@pytest.mark.parametrize("name", POSITIVE)
def test_pointwise_on_positive_numbers(name):
    assert_agrees(function_objective(POSITIVE[name], positive(3, 4)))


BINARY = {
    "add": lambda a, b: torch.add(a, b, alpha=2) * a,
    "sub": lambda a, b: torch.sub(a, b, alpha=3) * b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "pow": lambda a, b: a**b,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "atan2": torch.atan2,
    "addcmul": lambda a, b: torch.addcmul(a, a, b, value=0.5),
    "addcdiv": lambda a, b: torch.addcdiv(a, a, b, value=0.5),
    "lerp": lambda a, b: torch.lerp(a, b, 0.3),
    "where": lambda a, b: torch.where(MASK, a, b) * a,
    "where_one": lambda a, b: torch.where(MASK, a * b, 1.0),
}


@pytest.mark.parametrize("shapes", [((3, 4), (3, 4)), ((3, 4), (4,)), ((3, 1), (2, 1, 4)), ((), (3, 4))])
@pytest.mark.parametrize("name", BINARY)
def test_binary_with_broadcasting(name, shapes):
    a, b = (positive(*shape, seed=i) for i, shape in enumerate(shapes))
    assert_agrees(function_objective(BINARY[name], a, b))


SHAPES = {
    "transpose": lambda x: x.transpose(0, 2) * 2,
    "matrix_transpose": lambda x: x[0].t().mm(x[1]),
    "permute": lambda x: x.permute(2, 0, -2),
    "view": lambda x: x.view(6, 4),
    "reshape_of_transpose": lambda x: x.transpose(0, 1).reshape(6, 4),
    "flatten": lambda x: x.flatten(1),
    "unsqueeze": lambda x: x.unsqueeze(1).unsqueeze(-1),
    "squeeze": lambda x: x[:1].squeeze(0),
    "expand": lambda x: x[:, :1].expand(2, 5, 4),
    "slice": lambda x: x[:, 1:, ::2],
    "select": lambda x: x[1, :, -1],
    "index": lambda x: x[:, INDEX],
    "index_pairs": lambda x: x[torch.tensor([0, 1]), :, torch.tensor([3, 3])],
    "index_select": lambda x: x.index_select(1, torch.tensor([2, 0, 2])),
    "gather": lambda x: x.gather(1, INDEX[:, :, None].expand(2, 3, 4)),
    "scatter_add": lambda x: torch.zeros_like(x).scatter_add(1, INDEX[:, :, None].expand(2, 3, 4), x),
    "cat": lambda x: torch.cat([x, torch.ones(2, 1, 4, dtype=x.dtype), x * x], dim=1),
    "stack": lambda x: torch.stack([x, x.sin()], dim=-1),
    "split": lambda x: x.split([1, 3], dim=-1),
    "chunk": lambda x: x.chunk(2, dim=2)[1],
    "unbind": lambda x: x.unbind(1),
    "flip": lambda x: x.flip(0, -1),
    "roll": lambda x: x.roll(1, 2),
    "tril": torch.tril,
    "triu": torch.triu,
    "pad": lambda x: F.pad(x, (1, 2, 0, 1), value=3.0),
    "repeat": lambda x: x.repeat(2, 1, 1, 3),
    "cumsum": lambda x: x.cumsum(1),
    "diagonal": lambda x: x.diagonal(dim1=1, dim2=2),
    "unfold": lambda x: x.unfold(2, 2, 1),
    "sum": lambda x: (x * x).sum(),
    "sum_dims": lambda x: (x * x).sum((0, -1)),
    "sum_keep": lambda x: (x * x).sum(1, keepdim=True),
    "mean": lambda x: (x * x).mean() + x.mean(1),
    "var": lambda x: x.var(-1) + x.var(correction=0),
    "std": lambda x: x.std((0, 1), keepdim=True),
    "norm": lambda x: x.norm(dim=1),
    "logsumexp": lambda x: x.logsumexp(1),
    "max": lambda x: x.max(1).values,
    "amax": lambda x: x.amax((0, 2)),
    "softmax": lambda x: x.softmax(1),
    "log_softmax": lambda x: x.log_softmax(-1),
    "softmax_masked": lambda x: F.softmax(x.masked_fill(~MASK, float("-inf")), -1),
    "convert": lambda x: x.to(torch.float32).to(torch.float64),
    "in_place": lambda x: x.sin().mul_(x).add_(1.0),
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_indices_and_reductions(name):
    # rounding to float32 in between: derivatives are those of the rounded numbers
    assert_agrees(
        function_objective(SHAPES[name], smooth(2, 3, 4)), relative=1e-6 if name == "convert" else 1e-10
    )


@pytest.mark.parametrize("name", ["transpose", "view", "sum_dims", "softmax", "cat"])
def test_arguments_may_be_strided(name):
    strided = smooth(4, 3, 2).permute(2, 1, 0)  # [2, 3, 4], last dimension strided
    function = (lambda x: x.reshape(6, 4)) if name == "view" else SHAPES[name]
    assert_agrees(function_objective(function, strided))


PRODUCTS = {
    "mm": (lambda a, b: a @ b, (3, 4), (4, 5)),
    "mm_transposed": (lambda a, b: a.t() @ b.t(), (4, 3), (5, 4)),
    "mm_square": (lambda a: a @ a @ a.t(), (3, 3)),
    "mm_chain": (lambda a, b: torch.tanh(a @ b) @ b.t(), (3, 4), (4, 5)),
    "linear": (lambda x, w, b: F.linear(x, w, b), (2, 3, 4), (5, 4), (5,)),
    "bmm": (lambda a, b: torch.bmm(a, b), (2, 3, 4), (2, 4, 5)),
    "baddbmm": (lambda c, a, b: torch.baddbmm(c, a, b, beta=0.5, alpha=2), (3, 5), (2, 3, 4), (2, 4, 5)),
    "addmm": (lambda c, a, b: torch.addmm(c, a, b, beta=0.5, alpha=2), (5,), (3, 4), (4, 5)),
    "mv": (lambda a, b: a @ b, (3, 4), (4,)),
    "dot": (lambda a, b: a @ b, (4,), (4,)),
    "einsum": (lambda a, b: torch.einsum("bij,bkj->bik", a, b), (2, 3, 4), (2, 5, 4)),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_products(name):
    function, *shapes = PRODUCTS[name]
    assert_agrees(function_objective(function, *(smooth(*s, seed=i) for i, s in enumerate(shapes))))


@pytest.mark.parametrize(
    ("shape", "kernel", "options"),
    [
        ((2, 4, 6, 5), (3, 4, 3, 2), {}),
        ((2, 4, 6, 5), (3, 4, 3, 3), {"stride": 2, "padding": 1}),
        ((2, 4, 7, 7), (6, 2, 3, 3), {"groups": 2, "dilation": 2}),
        ((2, 4, 5, 5), (4, 1, 3, 3), {"groups": 4, "padding": 1}),
        ((2, 4, 9), (3, 4, 3), {"stride": 2}),
        ((1, 2, 4, 4, 4), (3, 2, 2, 2, 2), {}),
    ],
)
@pytest.mark.parametrize("bias", [False, True])
def test_convolutions(shape, kernel, options, bias):
    convolve = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}[len(shape)]
    inputs = [smooth(*shape), smooth(*kernel, seed=1)]
    if bias:
        inputs.append(smooth(kernel[0], seed=2))
    assert_agrees(function_objective(lambda *a: convolve(*a, **options).tanh(), *inputs))


@pytest.mark.parametrize("options", [{}, {"stride": 2, "padding": 1, "output_padding": 1}, {"groups": 2}])
def test_transposed_convolutions(options):
    kernel = smooth(4, 3, 3, 3, seed=1)
    assert_agrees(
        function_objective(
            lambda x, w, b: F.conv_transpose2d(x, w, b.repeat(options.get("groups", 1)), **options),
            smooth(2, 4, 5, 5),
            kernel,
            smooth(3),
        )
    )


POOLING = {
    "max": lambda x: F.max_pool2d(x, 2),
    "max_overlapping": lambda x: F.max_pool2d(x, 3, 2, 1),
    "adaptive_max": lambda x: F.adaptive_max_pool2d(x, 2),
    "average": lambda x: F.avg_pool2d(x, 2),
    "average_padded": lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    "adaptive_average": lambda x: F.adaptive_avg_pool2d(x, (3, 2)),
    "global_average": lambda x: F.adaptive_avg_pool2d(x, 1),
    "nearest": lambda x: F.interpolate(x, scale_factor=2),
    "reflected": lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect"),
}


@pytest.mark.parametrize("name", POOLING)
def test_pooling(name):
    assert_agrees(function_objective(POOLING[name], smooth(2, 3, 6, 6)))


NORMS = {
    "layer": lambda x, w, b: F.layer_norm(x, (4,), w, b),
    "layer_two_dimensions": lambda x, w, b: F.layer_norm(x, (3, 4), w.expand(3, 4), b.expand(3, 4)),
    "layer_plain": lambda x, w, b: F.layer_norm(x * w, (4,)) * b,
    "rms": lambda x, w, b: F.rms_norm(x, (4,), w, 1e-6) * b,
    "group": lambda x, w, b: F.group_norm(x.transpose(1, 2), 2, w, b),
    "instance": lambda x, w, b: F.instance_norm(x.transpose(1, 2), weight=w, bias=b),
    "batch": lambda x, w, b: F.batch_norm(x.transpose(1, 2), None, None, w, b, training=True),
    "batch_rows": lambda x, w, b: F.batch_norm(x[:, 0], None, None, w, b, training=True),
    "batch_eval": lambda x, w, b: F.batch_norm(x[:, 0], torch.ones(4).double(), torch.ones(4).double(), w, b),
}


@pytest.mark.parametrize("name", NORMS)
def test_norms(name):
    assert_agrees(function_objective(NORMS[name], smooth(5, 3, 4), smooth(4), smooth(4, seed=1)))


TARGET = torch.tensor([0, 2, 1, -100, 1])
LOSSES = {
    "cross_entropy": lambda x: F.cross_entropy(x, TARGET),
    "cross_entropy_sum": lambda x: F.cross_entropy(x, TARGET, reduction="sum"),
    "cross_entropy_weights": lambda x: F.cross_entropy(
        x, TARGET, weight=torch.tensor([0.3, 1.0, 2.0]).double()
    ),
    "cross_entropy_smooth": lambda x: F.cross_entropy(x, TARGET, label_smoothing=0.1),
    "cross_entropy_probabilities": lambda x: F.cross_entropy(x, torch.full((5, 3), 1 / 3).double()),
    "cross_entropy_2d": lambda x: F.cross_entropy(x.view(1, 3, 5), TARGET[None].abs() % 3),
    "nll": lambda x: F.nll_loss(x.log_softmax(1), TARGET.clamp_min(0)),
    "mse": lambda x: F.mse_loss(x, torch.ones_like(x)),
    "mse_sum": lambda x: F.mse_loss(x, torch.ones_like(x), reduction="sum"),
    "huber": lambda x: F.huber_loss(x, torch.ones_like(x)),
    "smooth_l1": lambda x: F.smooth_l1_loss(x, torch.ones_like(x)),
    "bce": lambda x: F.binary_cross_entropy(x.sigmoid(), torch.full_like(x, 0.3)),
    "bce_logits": lambda x: F.binary_cross_entropy_with_logits(
        x, torch.full_like(x, 0.3), pos_weight=torch.tensor([1.0, 2.0, 0.5]).double()
    ),
    "kl": lambda x: F.kl_div(x.log_softmax(1), torch.full_like(x, 1 / 3), reduction="batchmean"),
    "soft_margin": lambda x: F.soft_margin_loss(x, torch.ones_like(x)),
    "cosine": lambda x: F.cosine_similarity(x, x.flip(0), dim=1),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name):
    assert_agrees(function_objective(LOSSES[name], smooth(5, 3)))
