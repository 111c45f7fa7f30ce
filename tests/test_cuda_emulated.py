"""Every op test again with backend="cuda", its kernels executed on the CPU by tests/cuda/emulation."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OP_TESTS = sorted(
    path.relative_to(ROOT)
    for path in (ROOT / "tests").glob("test_*.py")
    if not path.stem.startswith("test_cuda") and "backend, device" in path.read_text()
)
SANITIZERS = ["address,undefined", "thread"]
MEMORY = "buffer"  # no ops: test_benchmarks.py runs on it
CHECKED = sorted(
    path.stem.removeprefix("bench_")
    for path in (ROOT / "benchmarks" / "cpp").glob("bench_*.cpp")
    if path.stem != "bench_slq"  # the same kernels together, for minutes
)
FAMILIES = (ROOT / "csrc" / "backends" / "cuda").glob("*.cu")


@pytest.mark.slow
@pytest.mark.parametrize("order", ["forward", "reverse", "random:1"])
def test_op_tests_pass_on_emulated_kernels(order, core_build):
    if not core_build.emulated:
        pytest.skip("NVIDIA's headers (cuda_bf16.h) are not on this machine")
    environment = os.environ | {
        "PYTHONPATH": str(core_build.python_path),
        "HESSCOPE_EMULATION_ORDER": order,
        "OMP_NUM_THREADS": "1",
    }
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-k",
        "cuda",
        "-m",
        "not slow",
        "-p",
        "no:cacheprovider",
        *OP_TESTS,
    ]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    summary = done.stdout.splitlines()[-1]
    assert " passed" in summary
    assert "needs a CUDA device" not in done.stdout, done.stdout[-3000:]


def test_every_family_has_a_cuda_file_and_an_op_test():
    families = {path.stem for path in FAMILIES}
    assert families == {path.stem for path in (ROOT / "csrc" / "backends" / "no_cuda").glob("*.cpp")}
    tested = " ".join(path.stem for path in OP_TESTS)
    assert all(family in tested for family in families - {MEMORY}), (families, tested)


@pytest.fixture(scope="module", params=SANITIZERS)
def checkers(request, tmp_path_factory) -> tuple[str, Path]:
    """A sanitizer, and a folder of benchmark executables built with it and with emulated kernels."""
    build = tmp_path_factory.mktemp("sanitized")
    options = {
        "CMAKE_BUILD_TYPE": "RelWithDebInfo",
        "HESSCOPE_CUDA": "EMULATED",
        "HESSCOPE_BENCHMARKS": "ON",
        "HESSCOPE_WERROR": "ON",
        "HESSCOPE_SANITIZE": request.param,
    }
    definitions = [f"-D{name}={value}" for name, value in options.items()]
    configure = ["cmake", "-G", "Ninja", "-S", ROOT, "-B", build, *definitions]
    done = subprocess.run(configure, capture_output=True, text=True, check=False)
    if "needs NVIDIA's headers" in done.stderr:
        pytest.skip("NVIDIA's headers (cuda_bf16.h) are not on this machine")
    assert done.returncode == 0, done.stderr
    done = subprocess.run(["cmake", "--build", build], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:]
    return request.param, build / "benchmarks" / "cpp"


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["cpu", "cuda"])
@pytest.mark.parametrize("family", CHECKED)
def test_kernels_are_right_and_clean_under_sanitizers(family, backend, checkers):
    sanitizer, folder = checkers
    # Only blocks that run side by side can race with each other.
    environment = os.environ | {"HESSCOPE_EMULATION_PARALLEL": "1" if sanitizer == "thread" else "0"}
    command = [folder / f"bench_{family}", "--check", "--backend", backend, "--threads", "4"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
