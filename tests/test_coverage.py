"""The coverage benchmark in short: 300 runs of the quick error bars, with bounds for so many runs."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
import torch

import hesscope as hs
from hesscope.spectrum import bands, estimates, sampling
from hesscope.spectrum.skewness import reaches
from hesscope.testing import prescribed_spectrum

BENCHMARKS = Path(__file__).parents[1] / "benchmarks" / "python"
RUNS, N = 300, 256
QUICK = [
    "density: trace, 8 probes",
    "density: moment 2, 8 probes",
    "density_band, 8 probes, 5 points",
    "cdf_band, 8 probes, 5 points",
    "count of the positive",
    "negative_curvature",
    "density deflated: trace",
    "density deflated, tol: moment 2",
    "density_band, deflated",
    "cdf_band, deflated, tol",
    "spectral_sum(exp)",
    "logdet",
    "frobenius_norm, deflated",
    "trace, rademacher, 48 products",
]


@pytest.fixture(scope="module")
def benchmark():
    """Return the modules of benchmarks/python/coverage.py, whose name another package has."""
    names = ["harness", "coverage_cases", "coverage_table", "coverage"]
    before = {name: sys.modules.pop(name, None) for name in names}
    sys.path.insert(0, str(BENCHMARKS))
    found = {name: importlib.import_module(name) for name in names}
    yield found
    sys.path.remove(str(BENCHMARKS))
    for name in names:
        del sys.modules[name]
        if before[name] is not None:
            sys.modules[name] = before[name]


def verdicts(benchmark, spectrum, names, runs=RUNS, which="tuned"):
    values = benchmark["coverage"].SPECTRA[which](N)[spectrum]
    problem = benchmark["coverage_cases"].Problem(prescribed_spectrum(values), spectrum)
    found = {}
    for case in benchmark["coverage_table"].CASES:
        if case.name in names:
            outcome = case.run(problem, runs)
            covered = benchmark["coverage"].share(outcome)
            found[case.name] = (benchmark["coverage"].verdict(case, outcome, covered, runs), covered)
    assert len(found) == len(names)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("spectrum", ["flat", "power law", "network", "clusters"])
def test_quick_error_bars_cover(benchmark, spectrum):
    for name, (verdict, covered) in verdicts(benchmark, spectrum, QUICK).items():
        assert verdict == "ok", (name, covered)


@pytest.mark.slow
@pytest.mark.parametrize("spectrum", ["covariance", "0.9^k", "log-uniform", "one giant", "heavy tail"])
def test_quick_error_bars_cover_where_nothing_was_tuned(benchmark, spectrum):
    names = ["density: trace, 8 probes", "density_band, 8 probes, 5 points", "negative_curvature", "logdet"]
    found = verdicts(benchmark, spectrum, names, which="unseen")
    for name, (verdict, covered) in found.items():
        assert verdict == "ok", (name, covered)


@pytest.mark.slow
def test_a_share_of_negative_curvature_allows_for_skewness(benchmark, monkeypatch):
    """One eigenvalue that is a fifth of tr |H|: with Student's t alone 87 to 89 %."""
    monkeypatch.setattr(estimates, "reaches", lambda count, _, level: reaches(count, 0.0, level))
    found = verdicts(benchmark, "one giant", ["negative_curvature"], 600, which="unseen")
    assert found["negative_curvature"][0] == "TOO LOW", found


@pytest.mark.slow
def test_an_interval_that_is_a_quarter_too_narrow_is_noticed(benchmark, monkeypatch):
    half_width = sampling.half_width
    monkeypatch.setattr(bands, "half_width", lambda *a: 0.75 * half_width(*a))
    monkeypatch.setattr(bands, "hall_shift", lambda skew, *_: 0 * skew)
    found = verdicts(benchmark, "network", ["density_band, 8 probes, 5 points"])
    assert all(verdict == "TOO LOW" for verdict, _ in found.values()), found


@pytest.mark.slow
def test_skewed_samples_are_what_the_band_allows_for(benchmark, monkeypatch):
    """Without the allowance the band of a spectrum with outliers misses half as often again."""
    name = "density_band, 8 probes, 5 points"
    allowed = verdicts(benchmark, "network", [name], 600)[name][1]
    monkeypatch.setattr(bands, "hall_shift", lambda skew, *_: 0 * skew)
    plain = verdicts(benchmark, "network", [name], 600)[name][1]
    assert allowed >= 0.93
    assert 1 - plain >= 1.4 * (1 - allowed)


def test_the_skewness_of_a_smoothed_density_is_that_of_its_sum():
    """One eigenvalue far from the others is one chi-square variable: skewness sqrt(8), as its probes show."""
    values = torch.cat([0.1 * torch.linspace(-1, 1, 255, dtype=torch.float64), torch.tensor([10.0])])
    rho = hs.spectral_density(prescribed_spectrum(values.double()), num_probes=400, num_steps=12)
    points = torch.tensor([0.0, 10.0], dtype=torch.float64)
    found = bands._smoothed_skewness(rho, points, 0.5)
    assert float(found[1]) == pytest.approx(8**0.5, rel=0.05)
    samples = hs._ops.smoothed_density(rho.nodes, rho.weights, points[1:], sigma=0.5)[:, 0]
    third = float(((samples - samples.mean()) / samples.std()).pow(3).mean())
    assert float(found[1]) == pytest.approx(third, rel=0.35)
    # beside it, the complement: a probe that sees more of the outlier sees less of the rest
    assert float(found[0]) < 0


def test_the_table_marks_what_does_not_cover(benchmark):
    rows = [
        {"spectrum": "flat", "case": "a", "kind": "sampling", "coverage": 0.95, "verdict": "ok"},
        {"spectrum": "other", "case": "a", "kind": "sampling", "coverage": 0.5, "verdict": "TOO LOW"},
    ]
    last = benchmark["coverage"].table(rows).splitlines()[-1]
    assert last == "| a | sampling | 95.0 | 50.0 ↓ |"
