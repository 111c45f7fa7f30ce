"""The only package that touches ``hesscope._core``.

Each function allocates outputs and workspace with torch (so memory is stream-ordered and visible to
``torch.cuda.memory_stats``) and passes the current stream and torch's number of threads. Shapes,
dtypes and devices are validated in C++, once.
"""

from hesscope._core import build_info
from hesscope._ops.activation import activation_derivatives
from hesscope._ops.contract3 import contract3, contract3_scalar, higher_order_power
from hesscope._ops.density import smoothed_cdf, smoothed_density
from hesscope._ops.extend_basis import extend_basis
from hesscope._ops.factor_sum import factor_sum
from hesscope._ops.gemm import gemm
from hesscope._ops.gram import gram
from hesscope._ops.hadamard import walsh_hadamard
from hesscope._ops.huge_pages import empty_in_huge_pages
from hesscope._ops.lanczos import LanczosState, lanczos_update
from hesscope._ops.mlp import MlpObjective
from hesscope._ops.norm_jet import norm_jet, norm_jet_backward
from hesscope._ops.orthogonalize import multi_axpy, multi_dot
from hesscope._ops.pointwise_jet import pointwise_jet
from hesscope._ops.probes import probe_dot, probes
from hesscope._ops.product_sum import product_sum
from hesscope._ops.scaling import scale_columns
from hesscope._ops.softmax_jet import softmax, softmax_jet, softmax_jet_backward
from hesscope._ops.sparse import (
    csr_check,
    csr_lanczos_lanes,
    csr_lanczos_update,
    csr_matvec,
    csr_matvec_workspace_bytes,
)
from hesscope._ops.tridiagonal import sturm_count, tridiagonal_eigen

__all__ = [
    "LanczosState",
    "MlpObjective",
    "activation_derivatives",
    "build_info",
    "contract3",
    "contract3_scalar",
    "csr_check",
    "csr_lanczos_lanes",
    "csr_lanczos_update",
    "csr_matvec",
    "csr_matvec_workspace_bytes",
    "empty_in_huge_pages",
    "extend_basis",
    "factor_sum",
    "gemm",
    "gram",
    "higher_order_power",
    "lanczos_update",
    "multi_axpy",
    "multi_dot",
    "norm_jet",
    "norm_jet_backward",
    "pointwise_jet",
    "probe_dot",
    "probes",
    "product_sum",
    "scale_columns",
    "smoothed_cdf",
    "smoothed_density",
    "softmax",
    "softmax_jet",
    "softmax_jet_backward",
    "sturm_count",
    "tridiagonal_eigen",
    "walsh_hadamard",
]
