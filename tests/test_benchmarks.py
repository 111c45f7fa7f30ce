"""The benchmark executables: what they verify, what they write, and what they refuse."""

from __future__ import annotations

import json
import math
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import scipy.sparse as sp
import torch

from hesscope import _ops

pytestmark = pytest.mark.slow

FAMILIES = [
    "activation",
    "contract3",
    "density",
    "factor_sum",
    "extend_basis",
    "gemm",
    "gram",
    "hadamard",
    "hvp",
    "lanczos",
    "norm_jet",
    "orthogonalize",
    "pointwise_jet",
    "probes",
    "product_sum",
    "softmax_jet",
    "sparse",
    "third_order",
    "tridiagonal",
    "slq",
]


@pytest.fixture
def run(core_build):
    """Run an executable: ``run("slq", "--check")``."""

    def call(name: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [core_build.objects / "benchmarks" / "cpp" / f"bench_{name}", *map(str, arguments)]
        return subprocess.run(
            command, env=os.environ | environment, capture_output=True, text=True, check=False
        )

    return call


@pytest.fixture
def slq(run, tmp_path):
    """Run bench_slq and return its only case."""

    def call(*arguments: object) -> dict:
        path = tmp_path / "slq.json"
        done = run("slq", *arguments, "--json", path)
        assert done.returncode == 0, done.stdout + done.stderr
        (case,) = json.loads(path.read_text())["cases"]
        return case

    return call


def all_verified(done: subprocess.CompletedProcess[str]) -> bool:
    last = done.stdout.splitlines()[-1]
    count = int(last.split()[0])
    return done.returncode == 0 and count > 0 and last == f"{count} cases verified, 0 wrong"


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("level", ["2", "4"])
def test_every_case_is_within_its_bound(name, level, run):
    done = run(name, "--check", "--threads", "2", HESSCOPE_CPU_LEVEL=level)
    assert all_verified(done), done.stdout + done.stderr


@pytest.mark.parametrize("name", FAMILIES)
def test_every_case_is_within_its_bound_on_emulated_kernels(name, run, core_build):
    if not core_build.emulated:
        pytest.skip("NVIDIA's headers (cuda_bf16.h) are not on this machine")
    done = run(name, "--check", "--backend", "cuda")
    assert all_verified(done), done.stdout + done.stderr


def test_a_timed_run_says_where_it_ran_and_how_fast(run, tmp_path):
    path = tmp_path / "out.json"
    label = "lanczos_update dtype=float32 K=8 n=65536"
    done = run("lanczos", "--filter", label, "--min-time", 0.02, "--threads", 1, "--json", path)
    assert done.returncode == 0, done.stderr
    assert label in done.stdout
    result = json.loads(path.read_text())
    environment = result["environment"]
    assert environment["threads"] == 1
    assert environment["backend"] == "cpu"
    assert all(environment[key] for key in ("cpu", "cpu_level", "compiler", "commit", "version", "date"))
    (case,) = result["cases"]
    assert 0 < case["p10_s"] <= case["median_s"] <= case["p90_s"]
    assert case["samples"] >= 2
    assert case["noise"] >= 0
    assert 0 <= case["error_over_bound"] <= 1
    assert case["bytes"] == 7 * 8 * 65536 * 4
    assert case["gb_per_s"] == pytest.approx(case["bytes"] / case["median_s"] * 1e-9)
    assert case["percent_of_copy"] == pytest.approx(100 * case["gb_per_s"] / case["copy_gb_per_s"])


def test_a_network_is_timed_beside_its_gradient_and_gemm(run, tmp_path):
    path = tmp_path / "out.json"
    network = ["--widths", "16-24-5", "--rows", 7, "--vectors", 3, "--activation", "gelu"]
    done = run("hvp", *network, "--min-time", 0.02, "--threads", 1, "--json", path)
    assert done.returncode == 0, done.stderr
    cases = {case["op"]: case for case in json.loads(path.read_text())["cases"]}
    assert list(cases) == ["gradient", "products", "quadratic"]
    first, second = 2 * 7 * 16 * 24, 2 * 7 * 24 * 5  # operations of one product with each layer's weights
    assert cases["gradient"]["flops"] == 2 * first + 3 * second
    products = cases["products"]
    assert products["flops"] == 3 * (2 * first + 6 * second)
    assert products["us_a_direction"] == pytest.approx(1e6 * products["median_s"] / 3)
    ratio = products["median_s"] / 3 / cases["gradient"]["median_s"]
    assert products["gradients_a_direction"] == pytest.approx(ratio)
    share = products["gflop_per_s"] / products["gemm_gflop_per_s"]
    assert products["percent_of_gemm"] == pytest.approx(100 * share)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--widths", "5"], "--widths must be at least IN-OUT, got 5"),
        (["--widths", "5-0-3"], "--widths must be a whole number, at least 1"),
        (["--vectors", "0"], "--vectors must be a whole number, at least 1"),
        (["--activation", "swish"], "the activation must be one of identity, relu"),
        (["--loss", "hinge"], "--loss must be cross_entropy or squared_error, got hinge"),
    ],
)
def test_a_network_that_is_none_is_refused(arguments, message, run):
    done = run("third_order", *arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_slq_on_a_prescribed_spectrum_reports_the_truth_beside_the_estimate(slq):
    case = slq("--n", "2^12", "--steps", 50, "--probes", 4, "--min-time", 0.01)
    assert case["ms_per_step_and_probe"] == pytest.approx(1e3 * case["median_s"] / 200)
    weights = np.array(case["weights"])
    assert weights.shape == (4, 50)
    assert (weights >= 0).all()
    # Golub-Welsch rotations keep the norm of the first row to a few m eps.
    assert np.abs(weights.sum(1) - 1).max() <= 50 * 50 * np.finfo(float).eps
    # 4 Rademacher probes: the standard deviation of the trace is at most |H|_F sqrt(2 / 4), and six of
    # them do not happen by chance. |H|_F^2 <= 0.8 n / 7 + 10 * 16 for this spectrum.
    deviation = math.sqrt((0.8 * 4096 / 7 + 160) / 2)
    assert abs(case["trace"] - case["trace_exact"]) <= 6 * deviation
    assert 0 < case["trace_error"] < 40 * deviation
    assert case["w1_to_truth"] < 0.02


def symmetric(n: int, seed: int = 0) -> sp.coo_matrix:
    rng = np.random.default_rng(seed)
    upper = sp.random(n, n, density=0.05, random_state=rng, data_rvs=rng.standard_normal)
    return (upper + upper.T + sp.diags(rng.standard_normal(n))).tocoo()


@pytest.mark.parametrize("symmetry", ["symmetric", "general"])
def test_slq_on_a_matrix_market_file_agrees_with_numpy(symmetry, slq, tmp_path):
    a = symmetric(80)
    path = tmp_path / "a.mtx"
    scipy.io.mmwrite(path, a, comment="two lines\nof comment", symmetry=symmetry, precision=17)
    case = slq(
        *("--check", "--matrix", path, "--dtype", "float64", "--probes", 2),
        *("--steps", 80, "--reorthogonalize", "full"),
    )
    dense = a.toarray()
    values = np.linalg.eigvalsh(dense)
    norm = np.abs(values).max()
    nodes, weights = np.array(case["nodes"]), np.array(case["weights"])
    for row in nodes:  # every Ritz value lies at an eigenvalue, and every eigenvalue at a Ritz value
        gaps = np.abs(row[:, None] - values)
        assert gaps.min(1).max() <= 1e-10 * norm
        assert gaps.min(0).max() <= 1e-10 * norm
    assert case["trace_exact"] == pytest.approx(a.diagonal().sum(), rel=1e-14)

    probes = _ops.probes(2, 80, seed=0, dtype=torch.float64).numpy()
    for z, row, weight in zip(probes, nodes, weights, strict=True):
        product = z
        for power in range(1, 8):
            product = dense @ product
            error = abs((weight * row**power).sum() - z @ product / 80)
            assert error <= 80 * 80 * np.finfo(float).eps * norm**power, power


def test_slq_reads_integers_patterns_and_repeated_entries(slq, tmp_path):
    path = tmp_path / "a.mtx"
    path.write_text(
        "%%MatrixMarket matrix coordinate integer symmetric\n% a comment\n\n3 3 5\n"
        "1 1 +2\n2 1 -1\n3\t3  4\r\n3 3 1\n  3 2 7\n"
    )
    whole = ("--check", "--dtype", "float64", "--reorthogonalize", "full", "--steps", 3, "--matrix", path)
    case = slq(*whole)
    want = np.linalg.eigvalsh([[2, -1, 0], [-1, 0, 7], [0, 7, 5]])
    assert np.abs(np.array(case["nodes"][0]) - want).max() <= 100 * np.finfo(float).eps * np.abs(want).max()

    path.write_text("%%MatrixMarket MATRIX Coordinate pattern general\n2 2 3\n1 2\n2 1\n2 2\n")
    assert slq(*whole)["trace_exact"] == 1


HEADER = "%%MatrixMarket matrix coordinate real general\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"a.mtx:0: a Matrix Market file must begin with %%MatrixMarket"),
        ("hello\n", r"a.mtx:1: a Matrix Market file must begin with %%MatrixMarket"),
        ("%%MatrixMarket matrix array real general\n", r"a.mtx:1: .*'matrix coordinate', got 'matrix array'"),
        ("%%MatrixMarket matrix coordinate complex general\n", r"a.mtx:1: .*got 'complex'"),
        ("%%MatrixMarket matrix coordinate real hermitian\n", r"a.mtx:1: .*got 'hermitian'"),
        (HEADER, r"a.mtx:1: the line of sizes is missing"),
        (HEADER + "2 x 1\n1 1 1\n", r"a.mtx:2: the number of columns must be .*, got 'x'"),
        (HEADER + "0 0 0\n", r"a.mtx:2: the number of rows must be .*, got '0'"),
        (HEADER + "2 2 2\n1 1 1\n", r"a.mtx:3: the file ends after 1 of 2 entries"),
        (HEADER + "2 2 1\n1 1 1\n2 2 1\n", r"a.mtx:4: there are more than the 1 entries"),
        (HEADER + "2 2 1\n3 1 1\n", r"a.mtx:3: the row must be a whole number from 1 to 2, got '3'"),
        (HEADER + "2 2 1\n1 0 1\n", r"a.mtx:3: the column must be .*, got '0'"),
        (HEADER + "2 2 1\n% comment\n1 1 nan\n", r"a.mtx:4: the value must be a finite number, got 'nan'"),
        (HEADER + "2 2 1\n1 1\n", r"a.mtx:3: the value must be a finite number, got ''"),
        (HEADER + "2 2 1\n1 1 1 1\n", r"a.mtx:3: nothing must follow, got '1'"),
        (HEADER + "2 3 1\n1 1 1\n", r"must be square, got \[2, 3\]"),
        (HEADER + "2 2 1\n1 2 5\n", r"must be symmetric, but .*row 1, column 2.* are 5 and 0"),
    ],
)
def test_a_malformed_file_is_refused_with_its_line(text, message, run, tmp_path):
    path = tmp_path / "a.mtx"
    path.write_text(text)
    done = run("slq", "--check", "--matrix", path)
    assert done.returncode == 2, done.stdout + done.stderr
    with pytest.raises(ValueError, match=message):
        raise ValueError(done.stderr)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dtype", "float16"], "--dtype must be float32 or float64, got float16"),
        (["--backend", "tpu"], "--backend must be cpu, reference or cuda, got tpu"),
        (["--threads", "0"], "--threads must be a whole number, at least 1 and at most 1024, got 0"),
        (["--threads"], "--threads needs T"),
        (["--random-csr", "10"], "--random-csr needs N NNZ"),
        (["--min-time", "soon"], "--min-time must be a number of seconds, at least 0, got soon"),
        (["--n", "1000"], "the number of eigenvalues must be a power of two, got 1000"),
        (["--steps", "2^70"], "--steps must be a whole number, at least 1, got 2^70"),
        (["--reorthogonalize", "half"], "--reorthogonalize must be none or full, got half"),
        (["--fast"], "there is no option --fast"),
        (["--check", "--filter", "nothing"], "no case matches --filter nothing"),
        (["--matrix", "/no/such/file"], "/no/such/file: cannot be read"),
        (["--check", "--filter", "n=32 ", "--json", "/no/such/file"], "--json: cannot write /no/such/file"),
    ],
)
def test_bad_arguments_are_named(arguments, message, run):
    done = run("slq", *arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_the_cuda_backend_is_refused_where_it_was_not_compiled(run, core_build):
    if core_build.emulated:
        pytest.skip("this build has the emulated backend")
    done = run("lanczos", "--check", "--backend", "cuda")
    assert done.returncode == 2
    assert "no CUDA backend" in done.stderr


def test_help_lists_the_options(run):
    done = run("slq", "--help")
    assert done.returncode == 0
    for flag in ("--n N", "--matrix FILE", "--json FILE", "--check", "Exit code"):
        assert flag in done.stdout


def test_the_executables_need_no_python():
    sources = (Path(__file__).parents[1] / "benchmarks" / "cpp").iterdir()
    assert not [
        path.name for path in sources if "Python.h" in path.read_text() or "torch" in path.read_text()
    ]
