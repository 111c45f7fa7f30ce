"""Hessian spectra, and how they change, for any PyTorch model."""

from hesscope._ops import build_info
from hesscope.curvature import fisher, ggn, gradient_covariance, hessian
from hesscope.krylov.apply_function import apply_function
from hesscope.krylov.basis_plan import BasisPlan, plan_basis
from hesscope.krylov.eigen import eigenpairs
from hesscope.krylov.low_rank import low_rank_inverse
from hesscope.krylov.solve import solve
from hesscope.objective import Objective, adam_preconditioner, attention_heads, parameter_groups
from hesscope.operators import (
    SymmetricOperator,
    block,
    from_function,
    from_matrix,
    from_scipy,
    preconditioned,
    scaled,
    shifted,
)
from hesscope.results import (
    Band,
    Eigenpairs,
    Estimate,
    FunctionProduct,
    LogDeterminant,
    NotDefinedError,
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
from hesscope.third_order import ThirdOrder, third_order

__version__: str = build_info()["version"]

__all__ = [
    "Band",
    "BasisPlan",
    "Eigenpairs",
    "Estimate",
    "FunctionProduct",
    "LogDeterminant",
    "NotDefinedError",
    "Objective",
    "RunFailed",
    "Solution",
    "SpectralDensity",
    "Status",
    "SymmetricOperator",
    "ThirdOrder",
    "VectorEstimate",
    "adam_preconditioner",
    "apply_function",
    "attention_heads",
    "block",
    "block_densities",
    "condition_number",
    "count",
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
    "preconditioned",
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
