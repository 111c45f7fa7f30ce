"""Hessian spectra, and how they change, for any PyTorch model."""

from hesscope._ops import build_info
from hesscope.curvature import fisher, ggn, gradient_covariance, hessian
from hesscope.krylov.eigen import eigenpairs
from hesscope.objective import Objective, attention_heads, parameter_groups
from hesscope.operators import (
    SymmetricOperator,
    block,
    from_function,
    from_matrix,
    from_scipy,
    scaled,
    shifted,
)
from hesscope.results import Band, Eigenpairs, Estimate, RunFailed, Status, VectorEstimate, load
from hesscope.spectrum import (
    SpectralDensity,
    block_densities,
    diagonal,
    frobenius_norm,
    participation,
    resume,
    spectral_density,
    trace,
)
from hesscope.third_order import ThirdOrder, third_order

__version__: str = build_info()["version"]

__all__ = [
    "Band",
    "Eigenpairs",
    "Estimate",
    "Objective",
    "RunFailed",
    "SpectralDensity",
    "Status",
    "SymmetricOperator",
    "ThirdOrder",
    "VectorEstimate",
    "attention_heads",
    "block",
    "block_densities",
    "diagonal",
    "eigenpairs",
    "fisher",
    "frobenius_norm",
    "from_function",
    "from_matrix",
    "from_scipy",
    "ggn",
    "gradient_covariance",
    "hessian",
    "load",
    "parameter_groups",
    "participation",
    "resume",
    "scaled",
    "shifted",
    "spectral_density",
    "third_order",
    "trace",
]
