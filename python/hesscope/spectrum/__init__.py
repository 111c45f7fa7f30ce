"""Densities, counts and traces from small tridiagonal matrices, each with an error bar."""

from hesscope.spectrum import files as _files  # noqa: F401 - so that hesscope.load knows the kind
from hesscope.spectrum.density import spectral_density
from hesscope.spectrum.result import SpectralDensity
from hesscope.spectrum.resume import resume

__all__ = ["SpectralDensity", "resume", "spectral_density"]
