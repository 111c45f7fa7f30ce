"""The CUDA emulator must be right about right kernels, and notice wrong ones.

``tests/cuda/emulator`` is built three times: plain, with the address and undefined-behaviour sanitizers,
and with the thread sanitizer. Each deliberately wrong kernel must be caught by the build named here.
"""

import functools
import os
import re
import shutil
import subprocess
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # three builds

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [
    ROOT / "tests/cuda/emulator" / name for name in ("main.cpp", "right.cu", "launch_checks.cu", "mutants.cu")
]

FLAGS = ["-std=c++20", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"]
FLAGS += ["-ffp-contract=off", "-pthread"]
BUILDS = {
    "plain": [],
    "address": ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"],
    "thread": ["-fsanitize=thread"],
}
ORDERS = ["forward", "reverse", "random:1", "random:2"]

RIGHT, ERROR, WRONG_VALUE = 0, 3, 4  # exit codes: emulator.h
SANITIZER = 99

REPORT = {
    "address": re.compile(r"AddressSanitizer: (heap-buffer-overflow|use-after-poison)|runtime error: index"),
    "thread": re.compile(r"ThreadSanitizer: data race"),
}

# Caught by the emulator itself or by its values: in every build and every order.
ALWAYS = {
    "wrong_shuffle_offset": WRONG_VALUE,
    "divergent_shuffle": ERROR,
    "shuffle_in_both_branches": ERROR,
    "returned_lane_in_mask": ERROR,
    "divergent_barrier": ERROR,
    "barrier_in_both_branches": ERROR,
    "deadlock": ERROR,
    "misaligned_load": ERROR,
    "uninitialised_static_shared": WRONG_VALUE,
    "uninitialised_dynamic_shared": WRONG_VALUE,
    "uninitialised_output": WRONG_VALUE,
}
# Caught in some orders only: this is why there is more than one.
BY_ORDER = {
    "missing_barrier": {"forward", "reverse", "random:1", "random:2"},
    "missing_barrier_after_broadcast": {"reverse", "random:1", "random:2"},
    "needs_block_order": {"reverse"},
}
# Writes past the end of shared memory meet a guard in the plain build, a trap in the address build.
OVERRUNS = ["static_shared_overrun", "dynamic_shared_overrun"]
OUT_OF_BOUNDS = [*OVERRUNS, "global_overrun", "global_overread"]
RACES_IN_A_BLOCK = [
    "missing_barrier",
    "missing_barrier_after_broadcast",
    "missing_second_barrier",
    "missing_syncwarp",
    "lost_update_in_block",
]
RACES_BETWEEN_BLOCKS = [
    "lost_update_between_blocks",
    "needs_block_order",
    "missing_writer_fence",
    "missing_reader_fence",
]


def header_folders():
    """Where NVIDIA's headers may be: a toolkit's folder, or the site-packages of the runtime's wheels."""
    if home := os.environ.get("CUDA_HOME"):
        yield Path(home) / "include"
    if nvcc := shutil.which("nvcc"):  # perhaps a script that runs the real one, which knows its TOP
        dryrun = subprocess.run([nvcc, "--dryrun", "-x", "cu", os.devnull], capture_output=True, text=True)
        if top := re.search(r"^#\$ TOP=(.+)$", dryrun.stderr, re.MULTILINE):
            yield Path(top[1]) / "include"
    yield Path("/usr/local/cuda/include")
    yield from (Path(sysconfig.get_path("purelib")) / "nvidia").glob("*/include")


def cuda_headers():
    for folder in header_folders():
        if (folder / "cuda_bf16.h").exists() and (folder / "crt/host_defines.h").exists():
            return folder
    return None


def build(name, folder, headers):
    compiler = os.environ.get("CXX", "g++")
    executable = folder / name
    includes = ["csrc", "csrc/include", "tests/cuda/emulation"]
    command = [compiler, *FLAGS, *BUILDS[name], *(f"-I{ROOT / path}" for path in includes)]
    command += ["-isystem", headers, "-x", "c++", *SOURCES, "-o", executable]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stderr}"
    return executable


@pytest.fixture(scope="module")
def executables(tmp_path_factory):
    if shutil.which(os.environ.get("CXX", "g++")) is None:
        pytest.skip("no C++ compiler: set CXX")
    headers = cuda_headers()
    if headers is None:
        pytest.skip("no CUDA headers: set CUDA_HOME or install nvidia-cuda-runtime, -crt and -cccl")
    folder = tmp_path_factory.mktemp("emulator")
    with ThreadPoolExecutor(2) as pool:
        return dict(
            zip(
                BUILDS,
                pool.map(functools.partial(build, folder=folder, headers=headers), BUILDS),
                strict=True,
            )
        )


@pytest.fixture(scope="module")
def run(executables):
    def run(build, what, *, order="forward", parallel=False):
        environment = os.environ | {
            "HESSCOPE_EMULATION_ORDER": order,
            "HESSCOPE_EMULATION_PARALLEL": "1" if parallel else "0",
            "ASAN_OPTIONS": f"exitcode={SANITIZER}",
            "UBSAN_OPTIONS": f"exitcode={SANITIZER}",
            "TSAN_OPTIONS": f"exitcode={SANITIZER}",
        }
        return subprocess.run(
            [executables[build], what], env=environment, capture_output=True, text=True, timeout=120
        )

    return run


def text(done):
    return f"exit code {done.returncode}\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("build", "parallel"),
    [("plain", False), ("plain", True), ("address", False), ("thread", False), ("thread", True)],
)
def test_right_kernels_pass(run, build, parallel, order):
    done = run(build, "right", order=order, parallel=parallel)
    assert done.returncode == RIGHT, text(done)
    assert " ok" in done.stdout


@pytest.mark.parametrize("build", BUILDS)
def test_refusals_are_clear_and_leave_no_trace(run, build):
    done = run(build, "launch")
    assert done.returncode == RIGHT, text(done)


def test_an_unknown_order_is_an_error(run):
    done = run("plain", "control", order="sideways")
    assert done.returncode == ERROR
    assert "HESSCOPE_EMULATION_ORDER must be forward, reverse or random:SEED, got sideways" in done.stdout


def test_every_mutant_is_asked_for(run):
    named = {*ALWAYS, *BY_ORDER, *OUT_OF_BOUNDS, *RACES_IN_A_BLOCK, *RACES_BETWEEN_BLOCKS, "control"}
    assert set(run("plain", "list").stdout.split()) == named


@pytest.mark.parametrize("build", BUILDS)
def test_a_mutant_without_a_mistake_passes(run, build):
    done = run(build, "control", parallel=True)
    assert done.returncode == RIGHT, text(done)


@pytest.mark.parametrize("mutant", ALWAYS)
def test_broken_rules_are_caught_in_every_order(run, mutant):
    for build, order in [
        *(("plain", order) for order in ORDERS),
        ("address", "forward"),
        ("thread", "forward"),
    ]:
        done = run(build, mutant, order=order)
        assert done.returncode == ALWAYS[mutant], f"{build}, {order}: {text(done)}"


def test_an_error_names_block_thread_and_line(run):
    done = run("plain", "barrier_in_both_branches")
    assert re.search(
        r"run_mutant.*\(mutants\.cu:\d+\): divergent __syncthreads.*"
        r"\[block \(0, 0, 0\), thread \(16, 0, 0\), mutants\.cu:\d+\]",
        done.stdout,
    )


@pytest.mark.parametrize("mutant", BY_ORDER)
def test_dependence_on_the_order_shows_in_another_order(run, mutant):
    caught = {order for order in ORDERS if run("plain", mutant, order=order).returncode == WRONG_VALUE}
    assert caught >= BY_ORDER[mutant]


@pytest.mark.parametrize("mutant", OVERRUNS)
def test_guards_catch_shared_overruns_without_a_sanitizer(run, mutant):
    done = run("plain", mutant)
    assert done.returncode == ERROR, text(done)
    assert "a write past the end of" in done.stdout


@pytest.mark.parametrize("mutant", OUT_OF_BOUNDS)
def test_address_build_catches_out_of_bounds(run, mutant):
    done = run("address", mutant)
    assert done.returncode == SANITIZER, text(done)
    assert REPORT["address"].search(done.stderr), text(done)


@pytest.mark.parametrize("mutant", RACES_IN_A_BLOCK)
@pytest.mark.parametrize("order", ["forward", "reverse"])
def test_thread_build_catches_races_in_a_block(run, mutant, order):
    done = run("thread", mutant, order=order)
    assert done.returncode == SANITIZER, text(done)
    assert REPORT["thread"].search(done.stderr), text(done)


@pytest.mark.parametrize("mutant", RACES_BETWEEN_BLOCKS)
@pytest.mark.parametrize("order", ["forward", "reverse"])
def test_thread_build_with_parallel_blocks_catches_races_between_blocks(run, mutant, order):
    done = run("thread", mutant, order=order, parallel=True)
    assert done.returncode == SANITIZER, text(done)
    assert REPORT["thread"].search(done.stderr), text(done)
