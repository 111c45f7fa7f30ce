"""The gate on spills and narrow loads must itself be able to fail."""

import importlib.util
import itertools
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CUDA = Path(__file__).resolve().parent / "cuda"
SAMPLES = CUDA / "resource_samples.cu"


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


resources = load(CUDA / "resources.py")

PTXAS = """\
ptxas info    : Compiling entry function '_Z1aPf' for 'sm_90'
ptxas info    : Function properties for _Z1aPf
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 22 registers, used 1 barriers, 64 bytes smem, 384 bytes cmem[0]
ptxas info    : Compile time = 1.0 ms
ptxas info    : Compiling entry function '_Z1bPf' for 'sm_90'
ptxas info    : Function properties for _Z1bPf
    16 bytes stack frame, 4 bytes spill stores, 8 bytes spill loads
ptxas info    : Used 255 registers, 384 bytes cmem[0]
ptxas info    : Function properties for _Z6calledf
    32 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
"""


def test_reads_ptxas():
    clean, spilling = resources.parse_ptxas(PTXAS, 90)
    assert (clean.symbol, clean.registers, clean.shared, clean.stack, clean.spills) == (
        "_Z1aPf",
        22,
        64,
        0,
        0,
    )
    assert (spilling.registers, spilling.shared, spilling.stack, spilling.spills) == (255, 0, 48, 12)


def test_refuses_ptxas_output_it_cannot_read():
    with pytest.raises(resources.ToolError, match="registers _Z1aPf uses"):
        list(resources.parse_ptxas("Compiling entry function '_Z1aPf' for 'sm_90'\n", 90))


@pytest.mark.parametrize(
    ("long", "short"),
    [
        (
            "void hesscope::cuda::(anonymous namespace)::dot_kernel<float, hesscope::bfloat16>(float const*)",
            "dot_kernel<float, bfloat16>",
        ),
        ("hesscope::cuda::plain_kernel(double*)", "plain_kernel"),
        ("void k<(int)4, (a::B)1>(int)", "k<(int)4, (B)1>"),
    ],
)
def test_shortens_names(long, short):
    assert resources.shorten(long) == short


def test_occupancy_is_that_of_cuda_occupancy_h(tmp_path):
    headers = Path("/usr/local/cuda/include")
    if not (headers / "cuda_occupancy.h").exists() or shutil.which("g++") is None:
        pytest.skip("needs g++ and the toolkit's cuda_occupancy.h")
    helper = tmp_path / "occupancy"
    command = ["g++", "-std=c++20", "-isystem", headers, CUDA / "occupancy.cpp", "-o", helper]
    subprocess.run(command, check=True)
    cases = list(
        itertools.product(
            resources.SHARED_PER_SM,
            [1, 16, 24, 32, 33, 40, 64, 65, 96, 128, 168, 255],
            [0, 64, 1024, 4096, 20000, 48 << 10],
            [1, 32, 33, 96, 128, 160, 256, 512, 768, 1024],
        )
    )
    lines = "\n".join(" ".join(map(str, case)) for case in cases)
    done = subprocess.run([helper], input=lines, capture_output=True, text=True, check=True)
    want = [int(line) for line in done.stdout.split()]
    assert [round(resources.occupancy(*case) * 64) for case in cases] == want


def run(*arguments):
    if shutil.which("nvcc") is None:
        pytest.skip("needs nvcc")
    command = [sys.executable, CUDA / "resources.py", "--arch", "90", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture
def clean_source(tmp_path):
    """The samples without the kernel that spills."""
    text = SAMPLES.read_text()
    start, end = text.index("constexpr int kLive"), text.index("template <typename T>")
    source = tmp_path / "clean.cu"
    source.write_text(text[:start] + text[end:])
    return source


def test_a_spill_fails(tmp_path):
    markdown = tmp_path / "table.md"
    done = run("--markdown", markdown, SAMPLES)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "spilling_kernel on sm_90" in done.stdout
    rows = [line for line in markdown.read_text().splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == [
        "narrow_kernel<float>",
        "spilling_kernel",
        "wide_kernel<double>",
        "wide_kernel<float>",
    ]
    assert "| 1024 | 0 | 0 |" in rows[0]
    assert rows[0].endswith("100%* |")
    assert rows[3].endswith("100% |")


def test_kernels_without_spills_pass(clean_source):
    done = run(clean_source)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 kernels: no spills" in done.stdout


def test_a_source_that_does_not_compile_is_an_error(tmp_path):
    source = tmp_path / "broken.cu"
    source.write_text("__global__ void broken() { not_declared(); }\n")
    done = run(source)
    assert done.returncode == 2
    assert "not_declared" in done.stdout


@pytest.mark.skipif(resources.find_nvdisasm("nvcc") is None, reason="needs nvdisasm")
@pytest.mark.parametrize(("regex", "code"), [("wide", 0), ("narrow", 1), ("nothing", 1)])
def test_narrow_loads_fail_where_wide_ones_are_required(clean_source, regex, code):
    done = run("--require-wide", regex, clean_source)
    assert done.returncode == code, done.stdout + done.stderr


@pytest.mark.skipif(resources.find_nvdisasm("nvcc") is not None, reason="nvdisasm is here")
def test_says_when_nobody_looked_at_the_sass(clean_source):
    done = run("--require-wide", "narrow", clean_source)
    assert done.returncode == 0
    assert "SASS not checked" in done.stdout
