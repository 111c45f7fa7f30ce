"""``hesscope info``: what is installed, what was compiled, what it can run on."""

from __future__ import annotations

import argparse
import platform

import torch

from hesscope._ops import build_info
from hesscope.cli import console


def info(options: argparse.Namespace) -> int:
    """Serve ``hesscope info`` and return the exit code."""
    del options
    rows = facts()
    width = max(len(name) for name, _ in rows) + 2
    for name, value in rows:
        console.say(f"{name:<{width}}{value}")
    return console.OK


def facts() -> list[tuple[str, str]]:
    """Return pairs of name and value."""
    build = build_info()
    return [
        ("hesscope", build["version"]),
        ("torch", torch.__version__),
        ("python", platform.python_version()),
        ("compiler", build["compiler"]),
        ("CPU backend", f"{build['cpu_level']}, {torch.get_num_threads()} threads"),
        ("CUDA backend", _cuda_backend(build["cuda"])),
        ("devices", ", ".join(_devices(build["cuda"]))),
    ]


def _cuda_backend(compiled: str) -> str:
    if compiled == "off":
        return "not compiled (build with HESSCOPE_CUDA=ON and the CUDA toolkit)"
    if compiled == "emulated":
        return "emulated on the CPU, for tests"
    return f"compiled with CUDA {compiled}"


def _devices(compiled: str) -> list[str]:
    devices = ["cpu"]
    if torch.cuda.is_available():
        usable = (
            "" if compiled not in ("off", "emulated") else " (seen by torch; hesscope has no CUDA backend)"
        )
        devices += [
            f"cuda:{i} {torch.cuda.get_device_name(i)}{usable}" for i in range(torch.cuda.device_count())
        ]
    elif torch.version.cuda is None:
        devices.append("no GPU (this torch is a CPU build)")
    else:
        devices.append("no GPU found by torch")
    return devices
