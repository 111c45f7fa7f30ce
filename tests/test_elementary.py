"""The core's exp, log, sinpi, cospi and normal distribution function: 2 ulp against mpmath, everywhere."""

from __future__ import annotations

import functools
import math
import os
import subprocess
import sys

import mpmath
import numpy as np
import pytest
import torch

from hesscope import _core
from hesscope._ops._call import call

SAMPLES = 2000
EXACT = {
    "exp": mpmath.exp,
    "log": mpmath.log,
    "sinpi": mpmath.sinpi,
    "cospi": mpmath.cospi,
    "normal_cdf": lambda x: mpmath.erfc(-x / mpmath.sqrt(2)) / 2,
}


def elementary(name, x, backend):
    out = torch.full_like(x, torch.nan)
    function = getattr(_core.ElementaryFunction, name)
    _core.elementary_map(function, x, out=out, call=call(x.device, backend))
    return out


def points(name):
    """Uniform over the whole range, and dense where the function is delicate."""
    rng = np.random.default_rng(0)
    tiny, huge = 5e-324, np.finfo(float).max
    around = lambda x: [np.nextafter(x, -np.inf), x, np.nextafter(x, np.inf)]  # noqa: E731
    if name == "exp":  # subnormal from -708.4, 0 below -745.13, infinite above 709.78
        parts = [
            rng.uniform(-745, 709.7, SAMPLES),
            rng.normal(size=SAMPLES),
            rng.uniform(-745.2, -708, 200),
            rng.normal(size=200) * 1e-12,
            [0.0, -0.0, tiny, 709.78, -745.1, *around(math.log(2) / 2), *around(-708.3964185322641)],
        ]
    elif name == "log":
        parts = [
            2.0 ** rng.uniform(-1074, 1023.9, SAMPLES),
            rng.uniform(0.4, 2.5, SAMPLES),
            1 + rng.normal(size=500) * 2.0 ** rng.uniform(-40, -2, 500),
            [tiny, 3 * tiny, *around(2.0**-1022), huge, *around(1.0), *around(math.sqrt(0.5)), *around(2.0)],
        ]
    elif name == "normal_cdf":
        parts = [
            rng.uniform(-38.4, 9, SAMPLES),
            rng.normal(size=SAMPLES),
            rng.uniform(-0.1, 0.1, 500),
            [0.0, -0.0, tiny, -tiny, *around(-4.0), -37.6, 8.5, 40.0],
        ]
    else:
        parts = [
            rng.uniform(-2, 2, SAMPLES),
            rng.uniform(-1, 1, 500) * 2.0**50,
            rng.integers(-9, 9, 500) / 2 + rng.normal(size=500) * 1e-9,
            [0.0, *around(0.25), *around(0.5), *around(0.75), *around(1.0), 2.0**50, -(2.0**50)],
        ]
    return np.concatenate([np.asarray(part, dtype=float) for part in parts])


@functools.cache
def exact(name):
    with mpmath.workdps(40):
        return [EXACT[name](mpmath.mpf(float(x))) for x in points(name)]


@pytest.mark.parametrize("name", EXACT)
def test_is_within_two_units_in_the_last_place(name, backend, device):
    x = torch.from_numpy(points(name)).to(device)
    got = elementary(name, x, backend).tolist()
    with mpmath.workdps(40):
        errors = [
            abs(mpmath.mpf(value) - want) / mpmath.mpf(float(np.spacing(abs(float(want)))))
            for value, want in zip(got, exact(name), strict=True)
        ]
    worst = max(range(len(errors)), key=errors.__getitem__)
    assert errors[worst] <= 2, (x[worst].item(), got[worst])


INF, NAN = math.inf, math.nan
SPECIAL = {
    "exp": [
        (-INF, 0),
        (INF, INF),
        (NAN, NAN),
        (0.0, 1),
        (1e308, INF),
        (-1e308, 0),
        (709.79, INF),
        (-745.2, 0),
    ],
    "log": [(0.0, -INF), (-0.0, -INF), (INF, INF), (NAN, NAN), (-1.0, NAN), (-INF, NAN), (1.0, 0)],
    "sinpi": [(0.0, 0), (1.0, 0), (0.5, 1), (1.5, -1), (-0.5, -1), (2.0**50, 0), (NAN, NAN)],
    "cospi": [(0.0, 1), (1.0, -1), (0.5, 0), (1.5, 0), (-1.0, -1), (2.0**50, 1), (NAN, NAN)],
    "normal_cdf": [
        (-INF, 0),
        (INF, 1),
        (NAN, NAN),
        (0.0, 0.5),
        (-0.0, 0.5),
        (1e308, 1),
        (-1e308, 0),
        (-39.0, 0),
    ],
}


@pytest.mark.parametrize("name", EXACT)
def test_special_values_are_exact(name, backend, device):
    x, want = torch.tensor(SPECIAL[name], dtype=torch.float64).T.contiguous()
    got = elementary(name, x.to(device), backend).cpu()
    torch.testing.assert_close(got, want, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("n", [0, 1, 7, 4097])
def test_elements_may_be_strided(n, backend, device, rng):
    x = torch.randn(n, 3, generator=rng, dtype=torch.float64).to(device)[:, 1]
    out = torch.full((n, 2), torch.nan, dtype=torch.float64, device=device)
    where = call(x.device, backend)
    _core.elementary_map(_core.ElementaryFunction.exp, x, out=out[:, 0], call=where)
    assert torch.equal(out[:, 0].contiguous(), elementary("exp", x.contiguous(), backend))
    assert out[:, 1].isnan().all()


LEVEL_SCRIPT = """
import hashlib, torch
from hesscope import _core, _ops
from hesscope._ops._call import call
digest = hashlib.sha256()
x = torch.linspace(0.001, 40, 5003, dtype=torch.float64)
for function in _core.ElementaryFunction.__members__.values():
    out = torch.empty_like(x)
    for signed in (x, -x):
        _core.elementary_map(function, signed, out=out, call=call(x.device))
        digest.update(out.nan_to_num().numpy().tobytes())
nodes, weights = x[:40].view(2, 20) * 200, x[:40].view(2, 20)
for sigma in (0.5, 3.0):
    digest.update(_ops.smoothed_density(nodes, weights, x, sigma=sigma).numpy().tobytes())
    digest.update(_ops.smoothed_cdf(nodes, weights, x, sigma=sigma).numpy().tobytes())
print(_core.build_info()["cpu_level"], digest.hexdigest())
"""


@pytest.mark.slow
def test_every_instruction_set_gives_the_same_bits():
    def run(level):
        environment = os.environ | {"HESSCOPE_CPU_LEVEL": level, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", LEVEL_SCRIPT]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return done.stdout.split()

    levels, digests = zip(*(run(level) for level in "234"), strict=True)
    assert levels[0] == "x86-64-v2"
    assert len(set(digests)) == 1


def test_messages_name_the_arguments(backend, device):
    x = torch.ones(3, dtype=torch.float64, device=device)
    run = lambda x, out: _core.elementary_map(  # noqa: E731
        _core.ElementaryFunction.exp, x, out=out, call=call(x.device, backend)
    )
    with pytest.raises(TypeError, match=r"elementary_map: x must be float64, got x \[3\] float32"):
        run(x.float(), x)
    with pytest.raises(ValueError, match=r"elementary_map: out must have shape \[3\]"):
        run(x, x[:2])
