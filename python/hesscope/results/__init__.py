"""Frozen results: values with error bars, why the computation stopped, and files."""

from hesscope.results.eigenpairs import Eigenpairs
from hesscope.results.estimate import Band, Estimate, Status
from hesscope.results.failure import NotDefinedError, RunFailed
from hesscope.results.files import load
from hesscope.results.function_product import FunctionProduct
from hesscope.results.log_determinant import LogDeterminant
from hesscope.results.solution import Solution
from hesscope.results.vector_estimate import VectorEstimate

__all__ = [
    "Band",
    "Eigenpairs",
    "Estimate",
    "FunctionProduct",
    "LogDeterminant",
    "NotDefinedError",
    "RunFailed",
    "Solution",
    "Status",
    "VectorEstimate",
    "load",
]
