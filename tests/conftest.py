"""Fixtures: every op test runs on every backend that this build and this machine have."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from hesscope import _core

ROOT = Path(__file__).parents[1]
EMULATED = _core.build_info()["cuda"] == "emulated"


def has_backend(backend: str) -> bool:
    if backend == "cuda":
        return EMULATED or (torch.cuda.is_available() and _core.build_info()["cuda"] != "off")
    return True


@pytest.fixture(
    params=["reference", "cpu", pytest.param("cuda", marks=[] if EMULATED else [pytest.mark.gpu])],
)
def backend(request: pytest.FixtureRequest) -> str:
    """A backend of the core. CUDA runs on a device, or on the CPU in an emulated build."""
    if not has_backend(request.param):
        pytest.skip("needs a CUDA device or a build with HESSCOPE_CUDA=EMULATED")
    return request.param


@pytest.fixture
def device(backend: str) -> torch.device:
    """The device whose tensors the backend takes."""
    return torch.device("cuda" if backend == "cuda" and not EMULATED else "cpu")


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return request.param


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@dataclass(frozen=True)
class CoreBuild:
    """A second build of the core, with its CUDA kernels emulated where NVIDIA's headers are found."""

    objects: Path  # CMake's build folder
    python_path: Path  # holds a copy of the package with this core in it
    emulated: bool


def cmake(source: Path, build: Path, **options: object) -> subprocess.CompletedProcess[str]:
    definitions = [f"-D{name}={value}" for name, value in options.items()]
    command = ["cmake", "-G", "Ninja", "-S", source, "-B", build, *definitions]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def core_build(tmp_path_factory: pytest.TempPathFactory) -> CoreBuild:
    root = tmp_path_factory.mktemp("core")
    package, build = root / "python" / "hesscope", root / "build"
    ignored = shutil.ignore_patterns("_core*.so", "__pycache__")
    shutil.copytree(ROOT / "python" / "hesscope", package, ignore=ignored)
    options: dict[str, object] = {
        "CMAKE_BUILD_TYPE": "Release",
        "HESSCOPE_PYTHON": "ON",
        "HESSCOPE_BENCHMARKS": "ON",
        "HESSCOPE_WERROR": "ON",
        "HESSCOPE_MODULE_DIR": package,
        "Python_EXECUTABLE": sys.executable,
    }
    configured = cmake(ROOT, build, HESSCOPE_CUDA="EMULATED", **options)
    emulated = "needs NVIDIA's headers" not in configured.stderr
    if not emulated:
        configured = cmake(ROOT, build, HESSCOPE_CUDA="OFF", **options)
    assert configured.returncode == 0, configured.stderr
    built = subprocess.run(["cmake", "--build", build], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout[-6000:] + built.stderr[-3000:]
    return CoreBuild(build, package.parent, emulated)
