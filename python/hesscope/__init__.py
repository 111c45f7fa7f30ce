"""Hessian spectra, and how they change, for any PyTorch model."""

from hesscope._ops import build_info
from hesscope.curvature import fisher, ggn, gradient_covariance, hessian
from hesscope.krylov.basis_plan import BasisPlan, plan_basis
from hesscope.krylov.eigen import eigenpairs
from hesscope.krylov.low_rank import low_rank_inverse
from hesscope.krylov.solve import solve
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
from hesscope.results import (
    Band,
    CurvatureStability,
    Eigenpairs,
    EigenvalueGradient,
    Estimate,
    GradientEstimate,
    InjectiveNorm,
    LipschitzEstimate,
    LogDeterminant,
    RunFailed,
    Solution,
    Status,
    VectorEstimate,
    load,
)
from hesscope.spectrum import (
    SpectralDensity,
    block_densities,
    condition_number,
    count,
    diagonal,
    effective_rank,
    frobenius_norm,
    logdet,
    nuclear_norm,
    participation,
    resume,
    spectral_density,
    spectral_sum,
    trace,
    trace_inverse,
)
from hesscope.third_order import ProjectedTensor, ThirdOrder, curvature_stability, third_order

__version__: str = build_info()["version"]

__all__ = [
    "Band",
    "BasisPlan",
    "CurvatureStability",
    "Eigenpairs",
    "EigenvalueGradient",
    "Estimate",
    "GradientEstimate",
    "InjectiveNorm",
    "LipschitzEstimate",
    "LogDeterminant",
    "Objective",
    "ProjectedTensor",
    "RunFailed",
    "Solution",
    "SpectralDensity",
    "Status",
    "SymmetricOperator",
    "ThirdOrder",
    "VectorEstimate",
    "attention_heads",
    "block",
    "block_densities",
    "condition_number",
    "count",
    "curvature_stability",
    "diagonal",
    "effective_rank",
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
    "logdet",
    "low_rank_inverse",
    "nuclear_norm",
    "parameter_groups",
    "participation",
    "plan_basis",
    "resume",
    "scaled",
    "shifted",
    "solve",
    "spectral_density",
    "spectral_sum",
    "third_order",
    "trace",
    "trace_inverse",
]
