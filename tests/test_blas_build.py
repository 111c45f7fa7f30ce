"""A build whose matrix products go to OpenBLAS: configured, linked, used, and right."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class BlasBuild:
    programs: Path
    log: str


@pytest.fixture(scope="module")
def blas(tmp_path_factory) -> BlasBuild:
    library = pytest.importorskip("scipy_openblas32")
    if shutil.which("pkg-config") is None:
        pytest.skip("needs pkg-config")
    build = tmp_path_factory.mktemp("blas")
    options = {
        "CMAKE_BUILD_TYPE": "Release",
        "HESSCOPE_BLAS": "ON",
        "HESSCOPE_CUDA": "OFF",
        "HESSCOPE_BENCHMARKS": "ON",
        "HESSCOPE_PROGRAMS": "OFF",
        "HESSCOPE_WERROR": "ON",
    }
    environment = os.environ | {"PKG_CONFIG_PATH": str(Path(library.get_lib_dir()) / "pkgconfig")}
    configure = ["cmake", "-G", "Ninja", "-S", ROOT, "-B", build, *(f"-D{k}={v}" for k, v in options.items())]
    done = subprocess.run(configure, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    command = ["cmake", "--build", build, "--target", "bench_gemm", "bench_hvp", "bench_third_order"]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout[-6000:]
    return BlasBuild(build / "benchmarks" / "cpp", done.stdout)


def test_configuring_says_which_library_it_takes(blas):
    assert "Matrix products on the CPU: scipy-openblas" in blas.log


@pytest.mark.parametrize("name", ["gemm", "hvp", "third_order"])
@pytest.mark.parametrize("threads", [1, 4])
def test_results_are_within_the_bounds_of_our_own_kernel(name, threads, blas, tmp_path):
    path = tmp_path / "out.json"
    command = [blas.programs / f"bench_{name}", "--check", "--threads", str(threads), "--json", path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(path.read_text())
    assert result["environment"]["blas"].startswith("scipy-openblas ")
    assert any(case["error_over_bound"] > 0 for case in result["cases"])
    assert all(case["error_over_bound"] <= 1 for case in result["cases"])


def test_products_are_the_librarys(blas):
    symbols = subprocess.run(
        ["nm", "-D", "--undefined-only", blas.programs / "bench_hvp"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "scipy_cblas_sgemm" in symbols
    assert "scipy_cblas_dgemm" in symbols
