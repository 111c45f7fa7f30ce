"""Every op test again with backend="cuda", its kernels executed on the CPU by tests/cuda/emulation."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hesscope import _core

ROOT = Path(__file__).parents[1]
OP_TESTS = sorted(p.relative_to(ROOT) for p in (ROOT / "tests").glob("test_*.py") if "backend" in p.read_text())
FAMILIES = (ROOT / "csrc" / "backends" / "cuda").glob("*.cu")


def run(command, **options):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def emulated_package(tmp_path_factory) -> Path:
    """A copy of the package whose core runs CUDA kernels on the CPU; the folder to put on PYTHONPATH."""
    if _core.build_info()["cuda"] == "emulated":
        pytest.skip("this is the emulated build")
    root = tmp_path_factory.mktemp("emulated")
    package, build = root / "package" / "hesscope", root / "build"
    shutil.copytree(
        ROOT / "python" / "hesscope", package, ignore=shutil.ignore_patterns("_core*.so", "__pycache__")
    )
    options = {
        "CMAKE_BUILD_TYPE": "Release",
        "HESSCOPE_CUDA": "EMULATED",
        "HESSCOPE_PYTHON": "ON",
        "HESSCOPE_WERROR": "ON",
        "HESSCOPE_MODULE_DIR": package,
        "Python_EXECUTABLE": sys.executable,
    }
    configure = ["cmake", "-G", "Ninja", "-S", ROOT, "-B", build, *(f"-D{k}={v}" for k, v in options.items())]
    done = subprocess.run(configure, capture_output=True, text=True, check=False)
    if "needs NVIDIA's headers" in done.stderr:
        pytest.skip("NVIDIA's headers (cuda_bf16.h) are not on this machine")
    assert done.returncode == 0, done.stderr
    run(["cmake", "--build", build])
    return package.parent


@pytest.mark.slow
@pytest.mark.parametrize("order", ["forward", "reverse", "random:1"])
def test_op_tests_pass_on_emulated_kernels(order, emulated_package):
    environment = os.environ | {
        "PYTHONPATH": str(emulated_package),
        "HESSCOPE_EMULATION_ORDER": order,
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-k", "cuda", "-p", "no:cacheprovider", *OP_TESTS]
    report = run(command, cwd=ROOT, env=environment)
    assert " passed" in report
    assert "skipped" not in report.splitlines()[-1], report


def test_every_family_has_a_cuda_file_and_an_op_test():
    families = {path.stem for path in FAMILIES}
    assert families == {path.stem for path in (ROOT / "csrc" / "backends" / "no_cuda").glob("*.cpp")}
    tested = " ".join(path.stem for path in OP_TESTS)
    assert all(family in tested for family in families), (families, tested)
