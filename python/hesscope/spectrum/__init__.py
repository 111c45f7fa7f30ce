"""Densities, counts and traces from small tridiagonal matrices, each with an error bar."""

from hesscope.spectrum.density import resume, spectral_density
from hesscope.spectrum.result import SpectralDensity

__all__ = ["SpectralDensity", "resume", "spectral_density"]
