"""trace(method="auto"): what it measures decides, with eigenpairs given or not."""

from __future__ import annotations

import pytest
import torch

import hesscope as hs
from hesscope.testing import prescribed_spectrum

N = 1024
TOP = torch.tensor([40.0, 30.0, -20.0], dtype=torch.float64)


def spectrum(kind):
    """Three outliers over a flat or a decaying rest, both indefinite."""
    k = torch.arange(N - 3, dtype=torch.float64)
    signs = 1 - 2 * (k % 3 == 0).double()
    rest = {"flat": signs * torch.linspace(0.5, 1.5, N - 3, dtype=torch.float64), "decaying": signs * 0.8**k}
    return torch.cat([TOP, rest[kind]])


def mean_error(kind, method, *, given, products=64, runs=30):
    values = spectrum(kind)
    h = prescribed_spectrum(values)
    eig = hs.eigenpairs(h, 3, which="magnitude") if given else None
    got = [hs.trace(h, method=method, products=products, seed=s, eigenpairs=eig) for s in range(runs)]
    assert all(e.products <= products for e in got)
    return sum(abs(e.value - float(values.sum())) for e in got) / runs, got


def test_a_flat_rest_is_sampled_and_costs_little():
    auto, got = mean_error("flat", "auto", given=True)
    plain, _ = mean_error("flat", "deflated", given=True)
    assert auto <= 1.35 * plain
    assert all(e.method.startswith("3 eigenpairs, and without them small sketch") for e in got)


def test_a_decaying_rest_is_sketched():
    auto, got = mean_error("decaying", "auto", given=True)
    plain, _ = mean_error("decaying", "deflated", given=True)
    assert auto <= 0.02 * plain
    assert all(e.method.startswith("3 eigenpairs, and without them XTrace") for e in got)
    unknown, _ = mean_error("decaying", "auto", given=False)
    assert auto <= 1.5 * unknown


def test_the_choice_is_as_good_as_the_best_of_its_options():
    """Within a factor of two, on each spectrum, of whichever method happens to be best there."""
    for kind in ("flat", "decaying"):
        errors = {m: mean_error(kind, m, given=False)[0] for m in ("auto", "rademacher", "xtrace", "hutch++")}
        assert errors["auto"] <= 2 * min(errors.values()), (kind, errors)


@pytest.mark.parametrize("given", [True, False])
def test_intervals_owe_nothing_to_the_choice(given):
    values = spectrum("flat")[:256] if given else spectrum("flat")[-256:]  # with outliers only if known
    h, truth = prescribed_spectrum(values), float(values.sum())
    eig = hs.eigenpairs(h, 3, which="magnitude") if given else None
    runs = [hs.trace(h, products=48, seed=s, eigenpairs=eig) for s in range(1000)]
    assert all("t-interval" in e.method for e in runs)
    share = sum(e.interval[0] <= truth <= e.interval[1] for e in runs) / len(runs)
    assert 0.93 <= share <= 0.97


def test_wrong_eigenpairs_cost_variance_only():
    other = hs.eigenpairs(prescribed_spectrum(spectrum("flat"), seed=9), 3, which="magnitude")
    h = prescribed_spectrum(spectrum("flat"))
    values = torch.tensor(
        [hs.trace(h, products=64, seed=s, eigenpairs=other).value for s in range(300)], dtype=torch.float64
    )
    error = float(values.mean()) - float(spectrum("flat").sum())
    assert abs(error) <= 4 * float(values.std()) / 300**0.5
