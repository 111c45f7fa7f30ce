"""Densities, counts and traces from small tridiagonal matrices, each with an error bar."""

from hesscope.spectrum import files as _files  # noqa: F401 - so that hesscope.load knows the kind
from hesscope.spectrum.batch_interval import batch_interval
from hesscope.spectrum.blocks import block_densities
from hesscope.spectrum.condition import condition_number
from hesscope.spectrum.counts import count
from hesscope.spectrum.density import spectral_density
from hesscope.spectrum.diagonal import diagonal
from hesscope.spectrum.functions import nuclear_norm, spectral_sum, trace_inverse
from hesscope.spectrum.logdet import logdet
from hesscope.spectrum.norms import frobenius_norm
from hesscope.spectrum.participation import participation
from hesscope.spectrum.ranks import effective_rank
from hesscope.spectrum.result import SpectralDensity
from hesscope.spectrum.resume import resume
from hesscope.spectrum.trace import trace

__all__ = [
    "SpectralDensity",
    "batch_interval",
    "block_densities",
    "condition_number",
    "count",
    "diagonal",
    "effective_rank",
    "frobenius_norm",
    "logdet",
    "nuclear_norm",
    "participation",
    "resume",
    "spectral_density",
    "spectral_sum",
    "trace",
    "trace_inverse",
]
