"""spectral_density and its result refuse bad input with a name, and keep what a NaN came after."""

from __future__ import annotations

import math

import pytest
import torch

import hesscope as hs

BAD = [
    ({"num_probes": 0}, ValueError, "num_probes must be at least 1, got 0"),
    ({"num_probes": 2.0}, TypeError, "num_probes must be an integer, got float"),
    ({"num_steps": 0}, ValueError, "num_steps must be at least 1, got 0"),
    ({"num_steps": True}, TypeError, "num_steps must be an integer, got bool"),
    ({"seed": -1}, ValueError, "seed must be at least 0"),
    (
        {"reorthogonalize": "maybe"},
        ValueError,
        "reorthogonalize must be one of 'none', 'full', 'sel",
    ),
    ({"distribution": "cauchy"}, ValueError, "distribution must be one of 'rademacher', 'gaussian'"),
    ({"tol": 0.0}, ValueError, "tol must be positive"),
    ({"tol": math.nan}, ValueError, "tol must not be NaN"),
    ({"bounds": (1.0, 0.0)}, ValueError, "bounds must be finite with lower < upper"),
    ({"bounds": 3}, ValueError, "bounds must be two numbers"),
    ({"keep_state": True, "reorthogonalize": "full"}, ValueError, "keep_state must be False"),
]


@pytest.mark.parametrize(("options", "error", "message"), BAD, ids=lambda x: str(x)[:30])
def test_bad_arguments_are_named(options, error, message):
    h = hs.from_matrix(torch.eye(4))
    with pytest.raises(error, match=f"spectral_density: {message}"):
        hs.spectral_density(h, **options)
    assert h.products == 0


def test_bad_operators_and_points_are_named():
    with pytest.raises(TypeError, match=r"operator must be a SymmetricOperator .* got Tensor"):
        hs.spectral_density(torch.eye(3))
    nan = hs.from_function(lambda v: v * torch.nan, 5, check_symmetric=False)
    with pytest.raises(ValueError, match="operator must return finite products, but the first is not"):
        hs.spectral_density(nan)
    huge = hs.from_function(lambda v: v, 2**40, batched=True, check_symmetric=False)
    with pytest.raises(MemoryError, match=r"the vectors of this run need .* use fewer num_probes"):
        hs.spectral_density(huge)
    rho = hs.spectral_density(hs.from_matrix(torch.diag(torch.arange(9.0))))
    for call, message in [
        (lambda: rho.count(2, 1), "count: a must be at most b"),
        (lambda: rho.count(math.nan, 1), "count: a must not be NaN"),
        (lambda: rho.moment(-1), "moment: p must be at least 0"),
        (lambda: rho.density(torch.tensor([math.nan])), "density: grid must not contain NaN"),
        (lambda: rho.density(torch.zeros(2, 2)), r"density: grid must have shape \[G\]"),
        (lambda: rho.density(torch.zeros(2), sigma=0.0), "density: sigma must be positive"),
        (lambda: rho.negative_mass(-1.0), "negative_mass: threshold must be at least 0"),
        (lambda: rho.grid(1), "grid: num_points must be at least 2"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()


def test_nan_midway_keeps_what_was_done_and_warns():
    calls = 0

    def breaks(v):
        nonlocal calls
        calls += 1
        return v * torch.arange(1.0, 31.0) if calls < 20 else v * torch.nan

    h = hs.from_function(breaks, 30, batched=True, check_symmetric=False)
    with pytest.warns(RuntimeWarning, match=r"returned NaN or inf\..* Returned: 2 probes, 19 steps"):
        rho = hs.spectral_density(h, num_probes=2, num_steps=30)
    assert rho.status is hs.Status.NONFINITE_OPERATOR
    assert rho.num_steps == 19
    assert rho.nodes.isfinite().all()


def test_a_bar_is_shown_if_asked_for(capsys):
    h = hs.from_matrix(torch.diag(torch.arange(1.0, 30.0)))
    hs.spectral_density(h, num_probes=2, num_steps=9)
    assert capsys.readouterr().err == ""
    hs.spectral_density(h, num_probes=2, num_steps=9, progress=True)
    shown = capsys.readouterr().err
    assert "Lanczos, 2 probes" in shown
    assert "9/9" in shown
