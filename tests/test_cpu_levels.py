"""The CPU kernels give the same bits for x86-64-v2, v3 and v4."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """
import hashlib, torch
from hesscope import _ops
rng = torch.Generator().manual_seed(0)
normal = lambda *shape: torch.randn(*shape, generator=rng, dtype=torch.float64)
digest = hashlib.sha256()
def add(*tensors):
    for x in tensors:
        digest.update(x.contiguous().numpy().tobytes())
for dtype in (torch.float32, torch.float64):
    for n in (7, 4099, 9001):
        for storage in (torch.bfloat16, torch.float32, torch.float64):
            q, w = normal(2, 19, n).to(storage), normal(2, n).to(dtype)
            c = _ops.multi_dot(q, w, backend="cpu")
            add(c, _ops.multi_axpy(q, c, w, scale=-1 / n, backend="cpu"))
        q, v, w = normal(2, 9, n).to(dtype), normal(2, n).to(dtype), normal(2, n).to(dtype)
        add(_ops.extend_basis(q, v, w, normal(2, 9), normal(2, 10), backend="cpu"), q, v)
        w, v, v_prev = normal(3, 2, n).to(dtype)
        state, (alpha, beta) = normal(2, 4).abs(), torch.zeros(2, 2, dtype=torch.float64)
        _ops.lanczos_update(
            w, v, v_prev, v_prev, state, alpha, beta, breakdown_tolerance=0.0, backend="cpu"
        )
        add(v_prev, state, alpha, beta)
fused = hashlib.sha256()
for dtype in (torch.float32, torch.float64):
    a, x = normal(2, 37, 301).to(dtype), normal(2, 301, 71).to(dtype)
    fused.update(_ops.gemm(a, x, alpha=0.3, backend="cpu").numpy().tobytes())
from hesscope import _core
print(_core.build_info()["cpu_level"], digest.hexdigest(), fused.hexdigest())
"""


def run(level: int) -> list[str]:
    environment = os.environ | {"HESSCOPE_CPU_LEVEL": str(level), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.slow
def test_every_instruction_set_gives_the_same_bits():
    results = [run(level) for level in (4, 3, 2)]
    levels, digests, fused = zip(*results, strict=True)
    if len(set(levels)) == 1:
        pytest.skip("this machine has one level")
    assert len(set(digests)) == 1, results
    assert levels[1] == "2" or fused[0] == fused[1], "v2 has no fused multiply-add, v3 and v4 have"
