"""Frozen results: values with error bars, why the computation stopped, and files."""

from hesscope.results.batch_interval import BatchInterval
from hesscope.results.eigenpairs import Eigenpairs
from hesscope.results.estimate import Band, Estimate, Status
from hesscope.results.failure import NotDefinedError, RunFailed
from hesscope.results.files import load
from hesscope.results.function_product import FunctionProduct
from hesscope.results.gradient import EigenvalueGradient, GradientEstimate
from hesscope.results.injective_norm import InjectiveNorm
from hesscope.results.lipschitz import LipschitzEstimate
from hesscope.results.log_determinant import LogDeterminant
from hesscope.results.solution import Solution
from hesscope.results.stability import CurvatureStability
from hesscope.results.vector_estimate import VectorEstimate

__all__ = [
    "Band",
    "BatchInterval",
    "CurvatureStability",
    "Eigenpairs",
    "EigenvalueGradient",
    "Estimate",
    "FunctionProduct",
    "GradientEstimate",
    "InjectiveNorm",
    "LipschitzEstimate",
    "LogDeterminant",
    "NotDefinedError",
    "RunFailed",
    "Solution",
    "Status",
    "VectorEstimate",
    "load",
]
