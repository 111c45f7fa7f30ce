"""Convolutions, pooling, resampling, padding and norms in 1 to 3 dimensions, against double backward."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from jets_cases import assert_agrees, function_objective, positive, smooth

SIZES = (7, 6, 5)
DIMENSIONS = pytest.mark.parametrize("d", [1, 2, 3])
CONVOLUTIONS = {
    "plain": {},
    "stride": {"stride": 2},
    "padding": {"padding": 1},
    "dilation": {"dilation": 2},
    "groups": {"groups": 2},
    "depthwise": {"groups": 4},
    "all": {"stride": 2, "padding": 1, "dilation": 2, "groups": 2},
    "same": {"padding": "same"},
}
TRANSPOSED = {
    "plain": {},
    "stride": {"stride": 2, "output_padding": 1, "padding": 1},
    "dilation": {"dilation": 2},
    "groups": {"groups": 2},
    "all": {"stride": 2, "padding": 1, "dilation": 2, "groups": 2},
}


@DIMENSIONS
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions(d, name, bias):
    options = CONVOLUTIONS[name]
    kernel = smooth(4, 4 // options.get("groups", 1), *[2] * d, seed=1)
    inputs = [smooth(2, 4, *SIZES[:d]), kernel, *([smooth(4, seed=2)] if bias else [])]
    assert_agrees(function_objective(lambda *a: getattr(F, f"conv{d}d")(*a, **options), *inputs))


@DIMENSIONS
@pytest.mark.parametrize("name", TRANSPOSED)
def test_transposed_convolutions(d, name):
    options = TRANSPOSED[name]
    inputs = [
        smooth(2, 4, *SIZES[:d]),
        smooth(4, 2, *[2] * d, seed=1),
        smooth(2 * options.get("groups", 1), seed=2),
    ]
    assert_agrees(function_objective(lambda *a: getattr(F, f"conv_transpose{d}d")(*a, **options), *inputs))


@DIMENSIONS
def test_convolutions_of_one_image(d):
    inputs = [smooth(4, *SIZES[:d]), smooth(3, 4, *[2] * d, seed=1), smooth(3, seed=2)]
    assert_agrees(function_objective(getattr(F, f"conv{d}d"), *inputs))


POOLING = {
    "max_pool": [(2,), (3, 2, 1), {"kernel_size": 2, "stride": 1, "dilation": 2}],
    "avg_pool": [(2,), (3, 2, 1), {"kernel_size": 2, "ceil_mode": True, "count_include_pad": False}],
    "adaptive_max_pool": [(2,), (1,)],
    "adaptive_avg_pool": [(2,), (1,), (3,)],
}


@DIMENSIONS
@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize(
    ("kind", "number"), [(k, i) for k, found in POOLING.items() for i in range(len(found))]
)
def test_pooling(d, kind, number, batched):
    pool, options = getattr(F, f"{kind}{d}d"), POOLING[kind][number]

    def function(x):
        return pool(x, **options) if isinstance(options, dict) else pool(x, *options)

    assert_agrees(function_objective(function, smooth(*([2] if batched else []), 3, *SIZES[:d])))


@DIMENSIONS
def test_power_average_pooling(d):
    assert_agrees(
        function_objective(lambda x: getattr(F, f"lp_pool{d}d")(x, 2.0, 2), positive(2, 3, *SIZES[:d]))
    )


@DIMENSIONS
def test_unpooling(d):
    def function(x):
        return getattr(F, f"max_unpool{d}d")(*getattr(F, f"max_pool{d}d")(x, 2, return_indices=True), 2)

    assert_agrees(function_objective(function, smooth(2, 3, *[4] * d)))


INTERPOLATION = {
    1: ["nearest", "nearest-exact", "area", "linear"],
    2: ["nearest", "nearest-exact", "area", "bilinear", "bicubic"],
    3: ["nearest", "nearest-exact", "area", "trilinear"],
}


@pytest.mark.parametrize(("d", "mode"), [(d, mode) for d, modes in INTERPOLATION.items() for mode in modes])
def test_resampling(d, mode):
    x = smooth(2, 3, *SIZES[:d])
    assert_agrees(function_objective(lambda x: F.interpolate(x, scale_factor=2, mode=mode), x))
    if "linear" in mode or mode == "bicubic":
        size = [s + 1 for s in SIZES[:d]]
        assert_agrees(
            function_objective(lambda x: F.interpolate(x, size=size, mode=mode, align_corners=True), x)
        )


@DIMENSIONS
@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_padding(d, mode):
    assert_agrees(function_objective(lambda x: F.pad(x, (1, 2) * d, mode=mode), smooth(2, 3, *SIZES[:d])))


MEAN, VARIANCE = smooth(4, seed=7), positive(4, seed=8)
NORMS = {
    "batch_train": lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True),
    "batch_eval": lambda x, w, b: F.batch_norm(x, MEAN, VARIANCE, w, b),
    "batch_plain": lambda x, *_: F.batch_norm(x * x, None, None, training=True),
    "instance": lambda x, w, b: F.instance_norm(x, weight=w, bias=b),
    "instance_running": lambda x, w, b: F.instance_norm(x, MEAN, VARIANCE, w, b, use_input_stats=False),
    "group": lambda x, w, b: F.group_norm(x, 2, w, b),
    "group_plain": lambda x, *_: F.group_norm(x * x, 4),
    "layer": lambda x, w, b: F.layer_norm(x.movedim(1, -1), (4,), w, b),
    "layer_without_shift": lambda x, w, b: F.layer_norm(x.movedim(1, -1), (4,), w) * b,
    "rms": lambda x, w, b: F.rms_norm(x.movedim(1, -1), (4,), w, 1e-6) * b,
    "response": lambda x, *_: F.local_response_norm(x, 2),
}


@DIMENSIONS
@pytest.mark.parametrize("name", NORMS)
def test_norms(d, name):
    inputs = [smooth(3, 4, *(4, 3, 2)[:d]), smooth(4), smooth(4, seed=1)]
    assert_agrees(function_objective(NORMS[name], *inputs))


OTHERS = {
    "pixel_shuffle": (lambda x: F.pixel_shuffle(x, 2), (2, 4, 3, 3)),
    "pixel_unshuffle": (lambda x: F.pixel_unshuffle(x, 2), (2, 1, 4, 4)),
    "channel_shuffle": (lambda x: F.channel_shuffle(x, 2), (2, 4, 3, 3)),
    "unfold": (lambda x: F.unfold(x, 2), (2, 3, 4, 4)),
    "fold": (lambda x: F.fold(x, (4, 4), 2, stride=2), (2, 12, 4)),
    "affine_grid": (lambda x: F.affine_grid(x, (2, 1, 3, 3), align_corners=False), (2, 2, 3)),
    "normalize": (lambda x: F.normalize(x, dim=1), (2, 3, 4)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_functions_of_images(name):
    function, shape = OTHERS[name]
    assert_agrees(function_objective(function, smooth(*shape)))


def test_sampling_at_a_grid():
    def function(x, grid):
        return F.grid_sample(x, grid.tanh(), align_corners=False)

    assert_agrees(function_objective(function, smooth(2, 3, 4, 4), 0.5 * smooth(2, 3, 3, 2)))


def test_channels_last():
    x = smooth(2, 4, 6, 5).contiguous(memory_format=torch.channels_last)
    w = smooth(3, 4, 2, 2, seed=1).contiguous(memory_format=torch.channels_last)

    def function(x, w):
        return F.avg_pool2d(F.group_norm(F.conv2d(x, w, padding=1), 3).relu(), 2)

    assert_agrees(function_objective(function, x, w))
