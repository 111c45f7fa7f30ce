"""What hesscope_spectrum refuses: a sentence, an exit code, no number and no file."""

from __future__ import annotations

import os

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from program_cases import Run, classes, program, weights

pytestmark = pytest.mark.slow


@pytest.fixture
def run(core_build, tmp_path) -> Run:
    return program(core_build.objects, tmp_path)


def spoiled(tensor: Tensor, index: int, value: float) -> Tensor:
    tensor = tensor.clone()
    tensor.view(-1)[index] = value
    return tensor


def ones(*shape: int, dtype=torch.float64) -> Tensor:
    return torch.ones(shape, dtype=dtype)


BAD_WEIGHTS = {
    "2.weight is missing": {k: v for k, v in weights().items() if k != "2.weight"},
    "2.bias is missing, while another layer has a bias": {
        k: v for k, v in weights().items() if k != "2.bias"
    },
    "must hold weights and biases of dense layers and nothing else, got 1.running_mean [7] float64": weights()
    | {"1.running_mean": ones(7)},
    "2.weight [6, 8] float64 cannot follow 0.weight [7, 5] float64": weights() | {"2.weight": ones(6, 8)},
    "a bias must have shape [6] as 2.weight [6, 7] float64 has rows, got 2.bias [5] float64": weights()
    | {"2.bias": ones(5)},
    "a weight must have shape [out, in], got 0.weight [35] float64": weights() | {"0.weight": ones(35)},
    "must be all float32 or all float64, got 0.bias [7] float64 and 2.weight [6, 7] float32": weights()
    | {"2.weight": ones(6, 7, dtype=torch.float32)},
    "got 0.bias [7] int64 and 0.bias [7] int64": {k: v.long() for k, v in weights().items()},
    "2.weight must be finite, but entry 9 is nan": weights()
    | {"2.weight": spoiled(weights()["2.weight"], 9, torch.nan)},
    "0.bias must be finite, but entry 6 is -inf": weights()
    | {"0.bias": spoiled(weights()["0.bias"], 6, -torch.inf)},
    'must be F32, F64, BF16, I32, I64 or U8, got "F16"': {k: v.half() for k, v in weights().items()},
    "must hold the weight of at least one layer": {"0.bias": ones(7)},
}


@pytest.mark.parametrize("message", BAD_WEIGHTS)
def test_weights_that_are_wrong_give_a_sentence_and_no_file(message, run, tmp_path):
    named = BAD_WEIGHTS[message]
    arguments = ["--layers", "0,2,4"] if message == "2.weight is missing" else []
    done = run(named, classes(), *arguments)
    assert done.returncode == 2, done.stdout
    assert message in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "rho.safetensors").exists()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"inputs": ones(11, 5)}, "targets is missing"),
        ({"targets": ones(11)}, "inputs is missing"),
        (
            classes() | {"mask": ones(11)},
            "must hold inputs and targets and nothing else, got mask [11] float64",
        ),
        (
            classes(dtype=torch.float32),
            "must have the dtype of the weights, float64, got inputs [11, 5] float32",
        ),
        (classes(shape=(4,)), "inputs must have shape [M, 5], M at least 1, got inputs [11, 4] float64"),
        (classes() | {"inputs": ones(0, 5)}, "got inputs [0, 5] float64"),
        (classes() | {"inputs": ones(5)}, "got inputs [5] float64"),
        (classes() | {"targets": ones(10).long()}, "with M = 11, got targets [10] int64"),
        (classes() | {"targets": ones(11, 2)}, "got targets [11, 2] float64"),
        (classes() | {"targets": 3 * ones(11).long()}, "classes from 0 to 2, but entry 0 is 3"),
        (classes() | {"targets": torch.tensor([0] * 10 + [-1])}, "classes from 0 to 2, but entry 10 is -1"),
        (
            classes() | {"inputs": spoiled(ones(11, 5), 13, torch.nan)},
            "inputs must be finite, but entry 13 is nan",
        ),
        (
            classes() | {"targets": spoiled(ones(11, 3), 4, torch.inf)},
            "targets must be finite, but entry 4 is inf",
        ),
    ],
)
def test_data_that_is_wrong_gives_a_sentence_and_no_file(data, message, run, tmp_path):
    done = run(weights(), data)
    assert done.returncode == 2, done.stdout
    assert message in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "rho.safetensors").exists()


def test_a_squared_error_takes_no_classes(run):
    done = run(weights(), classes(), "--loss", "squared_error")
    assert done.returncode == 2
    assert "targets must be values [M, 3] of float64 with M = 11, got targets [11] int64" in done.stderr


def test_a_network_that_overflows_gives_no_numbers(run, tmp_path):
    huge = {name: 1e200 * t for name, t in weights().items()}
    done = run(
        huge, classes() | {"targets": 1e200 * ones(11, 3)}, "--loss", "squared_error", "--activation", "relu"
    )
    assert done.returncode == 1
    assert "the loss must be finite" in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "rho.safetensors").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--activation", "swish"], "the activation must be one of identity, relu"),
        (["--activation", "tanh,tanh"], "one for each of the 3 layers, got 2"),
        (["--loss", "hinge"], "--loss must be cross_entropy or squared_error, got hinge"),
        (["--reduction", "none"], "--reduction must be mean or sum, got none"),
        (["--device", "tpu"], "--device must be cpu or cuda, got tpu"),
        (["--probes", "0"], "--probes must be a whole number, at least 1"),
        (["--steps", "x"], "--steps must be a whole number, at least 1, got x"),
        (["--seed", "-1"], "--seed must be a whole number, at least 0, got -1"),
        (["--layers", "0,2,4,6"], "6.weight is missing"),
        (["--layers", "0,2"], "nothing else, got 4.bias [3] float64"),
        (["--quick"], "there is no option --quick"),
        (["--out"], "--out needs FILE"),
        (["--out", "/no/such/folder/rho"], "--out: there is no folder /no/such/folder"),
        (["--out", "/tmp"], "--out: /tmp is a folder"),
        (["--weights", "/no/such/file"], "/no/such/file: cannot be read"),
        (["--weights", "/tmp"], "/tmp: "),
    ],
)
def test_bad_arguments_are_named(arguments, message, run):
    done = run(weights(), classes(), *arguments)
    assert done.returncode == 2
    assert message in done.stderr


@pytest.mark.parametrize("name", ["weights", "data"])
def test_no_input_is_overwritten(name, run, tmp_path):
    before = tmp_path / f"{name}.safetensors"
    link = tmp_path / "out.safetensors"
    link.symlink_to(before)
    for out in (before, link):
        done = run(weights(), classes(), out=out)
        assert done.returncode == 2
        assert "is a file that is read; the results need one of their own" in done.stderr
    assert set(load_file(before)) == set(weights() if name == "weights" else classes())


def test_help_lists_the_options(run):
    done = run(weights(), classes(), "--help")
    assert done.returncode == 0
    for flag in ("--weights FILE", "--data FILE", "--device NAME", "--seed S", "Exit code"):
        assert flag in done.stdout


def test_a_file_that_cannot_be_replaced_is_intact_and_nothing_is_left(run, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    out = folder / "rho.safetensors"
    out.write_bytes(b"before")
    folder.chmod(0o500)
    try:
        if os.access(folder, os.W_OK):
            pytest.skip("this user may write everywhere")
        done = run(weights(), classes(), out=out)
    finally:
        folder.chmod(0o700)
    assert done.returncode == 1
    assert "cannot be written" in done.stderr
    assert out.read_bytes() == b"before"
    assert [path.name for path in folder.iterdir()] == ["rho.safetensors"]


def test_a_full_disk_leaves_the_old_file(run, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    out = folder / "rho.safetensors"
    out.write_bytes(b"before")
    done = run(weights(), classes(), out=out, largest_file=16)
    assert done.returncode == 1
    assert "rho.safetensors: cannot be written (File too large)" in done.stderr
    assert done.stdout == ""
    assert out.read_bytes() == b"before"
    assert [path.name for path in folder.iterdir()] == ["rho.safetensors"]
