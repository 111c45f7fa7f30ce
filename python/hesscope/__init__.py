"""Hessian spectra, and how they change, for any PyTorch model."""

from hesscope._ops import build_info
from hesscope.curvature import hessian
from hesscope.krylov.basis_plan import BasisPlan, plan_basis
from hesscope.krylov.eigen import eigenpairs
from hesscope.objective import Objective
from hesscope.operators import SymmetricOperator, from_function, from_matrix, from_scipy, scaled, shifted
from hesscope.results import Band, Eigenpairs, Estimate, RunFailed, Status, VectorEstimate, load
from hesscope.spectrum import (
    SpectralDensity,
    diagonal,
    frobenius_norm,
    participation,
    resume,
    spectral_density,
    trace,
)

__version__: str = build_info()["version"]

__all__ = [
    "Band",
    "BasisPlan",
    "Eigenpairs",
    "Estimate",
    "Objective",
    "RunFailed",
    "SpectralDensity",
    "Status",
    "SymmetricOperator",
    "VectorEstimate",
    "diagonal",
    "eigenpairs",
    "frobenius_norm",
    "from_function",
    "from_matrix",
    "from_scipy",
    "hessian",
    "load",
    "participation",
    "plan_basis",
    "resume",
    "scaled",
    "shifted",
    "spectral_density",
    "trace",
]
