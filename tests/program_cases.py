"""The program hesscope_spectrum, and small networks and data to run it on."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from resource import RLIMIT_FSIZE, setrlimit

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

Run = Callable[..., subprocess.CompletedProcess[str]]
Named = dict[str, Tensor]


def program(objects: Path, tmp_path: Path) -> Run:
    """Return what writes two files and runs the program on them: ``run(weights, data, "--steps", 9)``."""

    def call(
        weights: Named,
        data: Named,
        *arguments: object,
        out: Path | None = None,
        largest_file: int | None = None,
    ):
        files = []
        for name, content in {"weights": weights, "data": data}.items():
            save_file(content, tmp_path / f"{name}.safetensors")
            files += [f"--{name}", tmp_path / f"{name}.safetensors"]
        program = objects / "csrc" / "programs" / "hesscope_spectrum"
        command = [program, *files, "--out", out or tmp_path / "rho.safetensors", *arguments]
        limit = None if largest_file is None else partial(setrlimit, RLIMIT_FSIZE, (largest_file,) * 2)
        return subprocess.run(
            list(map(str, command)),
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=limit,
            restore_signals=False,  # Python ignores SIGXFSZ: a write beyond the limit fails instead
        )

    return call


def network(widths=(5, 7, 6, 3), activation=nn.Tanh, dtype=torch.float64, bias=True) -> nn.Sequential:
    torch.manual_seed(0)
    modules: list[nn.Module] = []
    for a, b in pairwise(widths):
        modules += [nn.Linear(a, b, bias=bias), activation()]
    return nn.Sequential(*modules[:-1]).to(dtype)


def classes(rows=11, dtype=torch.float64, shape=(5,)) -> Named:
    torch.manual_seed(1)
    return {"inputs": torch.randn(rows, *shape, dtype=dtype), "targets": torch.randint(0, 3, (rows,))}


def weights() -> Named:
    return dict(network().state_dict())
