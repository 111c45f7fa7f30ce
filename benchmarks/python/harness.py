"""What the job benchmarks share: interleaved timing, the environment, and the record they write."""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


def interleaved(
    jobs: dict[str, Callable[[], Any]], repeats: int, *, clock: str = "wall"
) -> dict[str, list[float]]:
    """Seconds of each job, run in turn `repeats` times: a slow spell of the machine hits all alike.

    Seconds of the processor are for one thread on a machine where other jobs run, too.
    """
    now = CLOCKS[clock]
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(repeats):
        for name, job in jobs.items():
            start = now()
            job()
            seconds[name].append(now() - start)
    return seconds


def median_ratio(slower: list[float], faster: list[float]) -> float:
    """Median of the ratios of runs that followed each other."""
    return statistics.median(a / b for a, b in zip(slower, faster, strict=True))


def environment() -> dict[str, Any]:
    cpu = next(
        (line.split(":")[1].strip() for line in open("/proc/cpuinfo") if "model name" in line),  # noqa: PTH123, SIM115
        platform.processor(),
    )
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "cpu": cpu,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": commit,
    }


def arguments(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the record to this file")
    return parser


def record(path: Path | None, result: dict[str, Any]) -> None:
    if path is not None:
        path.write_text(json.dumps({"environment": environment()} | result, indent=2) + "\n")
