"""Hessian spectra, and how they change, for any PyTorch model."""

from hesscope._ops import build_info
from hesscope.curvature import hessian
from hesscope.objective import Objective
from hesscope.operators import SymmetricOperator, from_function, from_matrix, from_scipy, scaled, shifted
from hesscope.results import Band, Estimate, RunFailed, Status, load
from hesscope.spectrum import SpectralDensity, resume, spectral_density

__version__: str = build_info()["version"]

__all__ = [
    "Band",
    "Estimate",
    "Objective",
    "RunFailed",
    "SpectralDensity",
    "Status",
    "SymmetricOperator",
    "from_function",
    "from_matrix",
    "from_scipy",
    "hessian",
    "load",
    "resume",
    "scaled",
    "shifted",
    "spectral_density",
]
