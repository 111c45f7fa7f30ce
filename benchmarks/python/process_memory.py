"""The memory that a job needs at its peak, as the kernel counts it, in processes of their own."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import re
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any


def held(line: str) -> int:
    """Bytes of a line of /proc/self/status (VmRSS now, VmHWM at most)."""
    return 1024 * int(re.search(rf"{line}:\s+(\d+)", Path("/proc/self/status").read_text())[1])


def peak(make: Callable[[], Callable[[], object]]) -> int:
    """Bytes at the peak of a second run of what ``make`` returns, over the process before it was made."""
    trim = ctypes.CDLL("libc.so.6").malloc_trim
    gc.collect()
    trim(0)
    before = held("VmRSS")
    job = make()
    job()
    gc.collect()
    trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    job()
    return held("VmHWM") - before


def _run(send: Any, function: Callable[..., int], arguments: tuple[Any, ...]) -> None:
    send.send(function(*arguments))


def in_processes(function: Callable[..., int], *arguments: Any, repeats: int) -> float:
    """Median of what a function of a module returns in new processes, in MiB."""
    context = multiprocessing.get_context("spawn")
    sizes = []
    for _ in range(repeats):
        receive, send = context.Pipe(duplex=False)
        process = context.Process(target=_run, args=(send, function, arguments))
        process.start()
        sizes.append(receive.recv())
        process.join()
    return statistics.median(sizes) / 2**20
