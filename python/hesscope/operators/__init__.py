"""Symmetric operators: what every Krylov method in the package works on."""

from hesscope.operators.affine import scaled, shifted
from hesscope.operators.base import SymmetricOperator
from hesscope.operators.block import block
from hesscope.operators.from_function import from_function, from_scipy
from hesscope.operators.from_matrix import from_matrix
from hesscope.operators.preconditioned import preconditioned

__all__ = [
    "SymmetricOperator",
    "block",
    "from_function",
    "from_matrix",
    "from_scipy",
    "preconditioned",
    "scaled",
    "shifted",
]
