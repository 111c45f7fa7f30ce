"""Large memory of the host is advised to be in pages of 2 MB; small memory is left alone."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from hesscope import _ops

CPU = torch.device("cpu")


def flags(address):
    """Return the flags of the mapping that holds an address."""
    inside = False
    for line in Path("/proc/self/smaps").read_text(encoding="ascii", errors="replace").splitlines():
        head = line.split(maxsplit=1)[0]
        if "-" in head and not head.endswith(":"):
            begin, end = (int(part, 16) for part in head.split("-"))
            inside = begin <= address < end
        elif inside and head == "VmFlags:":
            return line.split()[1:]
    return []


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_large_memory_is_advised_and_small_is_not():
    if not Path("/sys/kernel/mm/transparent_hugepage/enabled").exists():
        pytest.skip("this kernel has no transparent huge pages")
    large = _ops.empty_in_huge_pages(1, 20, 2**19, dtype=torch.float32, device=CPU)
    middle = large.data_ptr() + large.numel() * 2
    assert "hg" in flags(middle)
    small = torch.empty(2**22, dtype=torch.float32)  # 16 MB
    like = _ops.empty_in_huge_pages(2**22, dtype=torch.float32, device=CPU)
    assert ("hg" in flags(like.data_ptr())) == ("hg" in flags(small.data_ptr()))


@pytest.mark.parametrize("shape", [(0,), (3, 0, 5), (2, 3), (1, 9, 2**20 + 3)])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64], ids=str)
def test_the_tensor_is_as_asked_for_and_can_be_written(shape, dtype):
    t = _ops.empty_in_huge_pages(*shape, dtype=dtype, device=CPU)
    assert t.shape == shape
    assert t.dtype == dtype
    assert t.is_contiguous()
    assert bool((t.fill_(1.5) == 1.5).all())
