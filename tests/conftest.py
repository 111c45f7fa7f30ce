"""Fixtures: every op test runs on every backend that this build and this machine have."""

from __future__ import annotations

import pytest
import torch

from hesscope import _core

EMULATED = _core.build_info()["cuda"] == "emulated"


def has_backend(backend: str) -> bool:
    if backend == "cuda":
        return EMULATED or (torch.cuda.is_available() and _core.build_info()["cuda"] != "off")
    return True


@pytest.fixture(
    params=["reference", "cpu", pytest.param("cuda", marks=[] if EMULATED else [pytest.mark.gpu])],
)
def backend(request: pytest.FixtureRequest) -> str:
    """A backend of the core. CUDA runs on a device, or on the CPU in an emulated build."""
    if not has_backend(request.param):
        pytest.skip("needs a CUDA device or a build with HESSCOPE_CUDA=EMULATED")
    return request.param


@pytest.fixture
def device(backend: str) -> torch.device:
    """The device whose tensors the backend takes."""
    return torch.device("cuda" if backend == "cuda" and not EMULATED else "cpu")


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return request.param


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)
