"""Frozen results: values with error bars, why the computation stopped, and files."""

from hesscope.results.estimate import Band, Estimate, Status
from hesscope.results.failure import RunFailed
from hesscope.results.files import load

__all__ = ["Band", "Estimate", "RunFailed", "Status", "load"]
