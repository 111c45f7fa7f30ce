"""hesscope_spectrum: the numbers of the Python package, from files alone."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn

import hesscope as hs
from hesscope.curvature import hessian
from hesscope.spectrum.sampling import half_width
from program_cases import Run, classes, network, program, weights

pytestmark = pytest.mark.slow


@pytest.fixture
def run(core_build, tmp_path) -> Run:
    return program(core_build.objects, tmp_path)


CASES = {
    "tanh": (network(), nn.CrossEntropyLoss(), classes(), []),
    "names-sorted-as-numbers": (
        network((5, 4, 4, 4, 4, 4, 3), nn.GELU),
        nn.CrossEntropyLoss(),
        classes(),
        ["--activation", "gelu", "--distribution", "gaussian"],
    ),
    "int32-classes-of-images": (
        nn.Sequential(nn.Flatten(), *network((6, 8, 3), nn.Softplus, bias=False)),
        nn.CrossEntropyLoss(reduction="sum"),
        classes(shape=(2, 3)) | {"targets": torch.tensor([0, 1, 2] * 3 + [1, 0], dtype=torch.int32)},
        ["--activation", "softplus", "--reduction", "sum"],
    ),
    "squares": (
        network((5, 9, 2), nn.SiLU),
        nn.MSELoss(),
        classes() | {"targets": torch.randn(11, 2, dtype=torch.float64)},
        ["--activation", "silu,identity", "--loss", "squared_error"],
    ),
    "probabilities": (
        network((5, 8, 3), nn.Sigmoid),
        nn.CrossEntropyLoss(),
        classes() | {"targets": torch.rand(11, 3, dtype=torch.float64).softmax(1)},
        ["--activation", "sigmoid"],
    ),
    "one-layer": (nn.Linear(5, 3).double(), nn.CrossEntropyLoss(), classes(), []),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_file_is_what_python_computes(case, device, run, core_build, tmp_path):
    if device == "cuda" and not core_build.emulated:
        pytest.skip("needs a build with HESSCOPE_CUDA=EMULATED")
    model, criterion, data, arguments = case
    options = ["--probes", 3, "--steps", 7, "--seed", 7, "--device", device]
    done = run(dict(model.state_dict()), data, *options, *arguments)
    assert done.returncode == 0, done.stderr
    rho = hs.load(tmp_path / "rho.safetensors")
    targets = data["targets"] if data["targets"].is_floating_point() else data["targets"].long()
    reduction = "sum" if "sum" in arguments else "mean"
    objective = hs.Objective(model, criterion, (data["inputs"], targets), reduction=reduction)
    settings = {"num_probes": 3, "num_steps": 7, "seed": 7, "distribution": rho.settings["distribution"]}
    for engine in ("native", "autograd"):
        want = hs.spectral_density(hessian(objective, engine=engine), **settings)
        scale = float(want.nodes.abs().max())
        # Few steps: a Ritz value that has converged would amplify the rounding of products without bound.
        eps = 2**12 * torch.finfo(torch.float64).eps
        assert (rho.nodes - want.nodes).abs().max() <= eps * scale
        assert (rho.weights - want.weights).abs().max() <= eps
        grid = want.grid(64)
        got_band, want_band = rho.density_band(grid, sigma=want.sigma()), want.density_band(grid)
        for end in ("lower", "value", "upper"):
            error = (getattr(got_band, end) - getattr(want_band, end)).abs().max()
            assert error <= 64 * eps * want_band.value.max(), end
        for name in ("trace", "largest_eigenvalue", "smallest_eigenvalue", "negative_curvature"):
            got_estimate, want_estimate = getattr(rho, name)(), getattr(want, name)()
            unit = scale * rho.n * eps
            assert got_estimate.value == pytest.approx(want_estimate.value, abs=unit), name
            assert got_estimate.interval == pytest.approx(want_estimate.interval, abs=16 * unit), name
        assert dict(rho.settings) == dict(want.settings)
        assert (rho.n, rho.products, rho.status) == (want.n, want.products, want.status)
        assert rho.operator["dtype"] == want.operator["dtype"]


def test_the_recipe_of_the_documentation_runs(core_build, tmp_path, monkeypatch, capsys):
    page = (Path(__file__).parents[1] / "docs" / "native.md").read_text(encoding="utf-8")
    recipe = page.split("## A spectrum without Python")[1]
    export, read = re.findall(r"^```python\n(.*?)^```$", recipe, re.MULTILINE | re.DOTALL)
    (command,) = re.findall(r"^```bash\n(.*?)^```$", recipe, re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(export, names)
    programs = core_build.objects / "csrc" / "programs"
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(["sh", "-c", command], env=os.environ | {"PATH": path}, check=False)
    assert done.returncode == 0
    exec(read, names)
    assert "±" in capsys.readouterr().out
    objective = hs.Objective(names["model"], nn.CrossEntropyLoss(), (names["inputs"], names["targets"]))
    want = hs.spectral_density(hessian(objective, engine="native"), num_probes=8, num_steps=40, seed=0)
    assert names["rho"].trace().value == pytest.approx(want.trace().value, rel=1e-4)


def test_the_summary_is_that_of_the_result(run, tmp_path):
    done = run(weights(), classes(), "--probes", 5, "--steps", 15, "--progress")
    rho = hs.load(tmp_path / "rho.safetensors")
    number = r"(-?[0-9.e+-]+)"
    trace = re.search(rf"trace {number} \+- {number} ", done.stdout)
    low = re.search(rf"smallest eigenvalue {number}, above {number} ", done.stdout)
    high = re.search(rf"largest eigenvalue {number}, below {number} ", done.stdout)
    distance = re.search(rf"quadrature within {number} ", done.stdout)
    loss = re.search(rf"loss {number}, parameters 111", done.stdout)
    assert all((trace, low, high, distance, loss)), done.stdout
    printed = [float(x) for match in (trace, low, high, distance) for x in match.groups()]
    plain = float(half_width(rho.n * rho.alpha[:, 0]))  # the program knows nothing of skewness
    want = [rho.trace().value, plain, float(rho.nodes.min()), rho.bounds.lower]
    want += [float(rho.nodes.max()), rho.bounds.upper, float(rho.wasserstein().mean())]
    assert printed == pytest.approx(want, rel=1e-5)
    data = classes()
    with torch.no_grad():
        exact = nn.functional.cross_entropy(network()(data["inputs"]), data["targets"])
    assert float(loss[1]) == pytest.approx(float(exact), rel=1e-9)
    assert done.stderr.replace("\r", "\n").split("\n")[-2:] == ["step 15 of 15", ""]


def test_float32_and_the_same_bits_for_any_number_of_threads(run, tmp_path):
    single = {name: t.float() for name, t in weights().items()}
    files = []
    for threads in (1, 2):
        done = run(single, classes(dtype=torch.float32), "--steps", 10, "--threads", threads)
        assert done.returncode == 0, done.stderr
        files.append(hs.load(tmp_path / "rho.safetensors"))
    assert files[0].operator["dtype"] == "torch.float32"
    assert torch.equal(files[0].alpha, files[1].alpha)
    objective = hs.Objective(
        network(dtype=torch.float32), nn.CrossEntropyLoss(), tuple(classes(dtype=torch.float32).values())
    )
    want = hs.spectral_density(hessian(objective, engine="native"), num_steps=10)
    assert torch.allclose(files[0].nodes, want.nodes, atol=1e-4 * float(want.nodes.abs().max()))


def test_an_exhausted_space_ends_where_python_ends_it(run, tmp_path):
    """Four parameters: no more than four steps say anything."""
    model = nn.Linear(1, 2).double()
    data = {"inputs": torch.tensor([[1.0], [2.0], [-1.0]]).double(), "targets": torch.tensor([0, 1, 1])}
    done = run(dict(model.state_dict()), data, "--steps", 20)
    assert done.returncode == 0, done.stderr
    rho = hs.load(tmp_path / "rho.safetensors")
    objective = hs.Objective(model, nn.CrossEntropyLoss(), tuple(data.values()))
    want = hs.spectral_density(hessian(objective, engine="native"), num_steps=20)
    assert rho.status is want.status
    assert rho.alpha.shape == want.alpha.shape
    assert torch.allclose(rho.alpha, want.alpha, atol=1e-12)


def test_layers_in_an_order_that_their_names_do_not_tell(run, tmp_path):
    named = dict(
        zip(
            ["b.weight", "b.bias", "a.weight", "a.bias"],
            network((5, 4, 3)).state_dict().values(),
            strict=True,
        )
    )
    refused = run(named, classes())
    assert refused.returncode == 2
    assert "b.weight [4, 5] float64 cannot follow a.weight [3, 4] float64" in refused.stderr
    assert run(named, classes(), "--layers", "b,a").returncode == 0
    assert hs.load(tmp_path / "rho.safetensors").n == 39


def test_a_link_keeps_pointing_where_it_points(run, tmp_path):
    target = tmp_path / "target.safetensors"
    target.write_bytes(b"before")
    link = tmp_path / "rho.safetensors"
    link.symlink_to(target)
    assert run(weights(), classes(), "--steps", 5).returncode == 0
    assert link.is_symlink()
    assert hs.load(target).num_steps == 5
    with safe_open(target, framework="pt") as file:  # as the library itself reads it
        assert sorted(file.keys()) == ["alpha", "beta"]
    assert not list(tmp_path.glob(".*partial"))
