"""Densities, counts and traces from small tridiagonal matrices, each with an error bar."""

from hesscope.spectrum import files as _files  # noqa: F401 - so that hesscope.load knows the kind
from hesscope.spectrum.blocks import block_densities
from hesscope.spectrum.density import spectral_density
from hesscope.spectrum.diagonal import diagonal
from hesscope.spectrum.norms import frobenius_norm
from hesscope.spectrum.participation import participation
from hesscope.spectrum.result import SpectralDensity
from hesscope.spectrum.resume import resume
from hesscope.spectrum.trace import trace

__all__ = [
    "SpectralDensity",
    "block_densities",
    "diagonal",
    "frobenius_norm",
    "participation",
    "resume",
    "spectral_density",
    "trace",
]
