"""How much memory there is: the default of every memory budget."""

from __future__ import annotations

import os
from pathlib import Path

import torch

_UNKNOWN = 2 << 30  # where the system does not say


def available_memory(device: torch.device) -> int:
    """Return the bytes free on a device; on the host, within the limit of the control group too."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return min(_host_available(), _group_available())


def _host_available() -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:  # other systems say only how much there is
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, ValueError, OSError):
        return _UNKNOWN


def _group_available() -> int:
    unlimited = 1 << 62
    for limit, usage in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        try:
            most, used = Path(limit).read_text().strip(), Path(usage).read_text().strip()
        except OSError:
            continue
        if most.isdigit() and used.isdigit():
            return max(int(most) - int(used), 0)
    return unlimited
