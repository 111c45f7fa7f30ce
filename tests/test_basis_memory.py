"""What a basis takes of the memory of the process, measured from outside: a run in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

SCRIPT = """
import json, re, sys
from pathlib import Path
import torch
import hesscope as hs

def peak():
    # not ru_maxrss, which a process inherits from the one that started it
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

basis, n, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(1)
values = 0.1 * torch.randn(n, generator=torch.Generator().manual_seed(0))
values[:5] = torch.linspace(1, 3, 5)
def operator(n):
    return hs.from_function(lambda v: v * values[:n], n, batched=True, check_symmetric=False)
options = {"num_probes": 1, "reorthogonalize": "full"}
hs.spectral_density(operator(100_000), num_steps=3, basis=basis, **options)  # what is loaded at first use
before = peak()
rho = hs.spectral_density(operator(n), num_steps=steps, basis=basis, **options)
print(json.dumps({"peak": peak() - before, "planned": rho.memory_bytes, "top": float(rho.nodes[0, -1])}))
"""


def run(basis: str, n: int, steps: int) -> dict[str, float]:
    command = [sys.executable, "-c", SCRIPT, basis, str(n), str(steps)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/status")
def test_a_basis_in_bfloat16_halves_the_peak_of_the_process():
    n, steps = 1_000_000, 80
    fine, coarse = (run(basis, n, steps) for basis in ("float32", "bfloat16"))
    assert fine["top"] == pytest.approx(3, abs=1e-4)
    assert coarse["top"] == pytest.approx(3, abs=1e-3)
    assert fine["peak"] >= 4 * n * steps  # the measurement sees the basis
    assert coarse["peak"] <= 0.55 * fine["peak"]
    for result in (fine, coarse):  # and what was announced holds, with two vectors of the operator
        assert result["peak"] <= result["planned"] + 3 * 4 * n
