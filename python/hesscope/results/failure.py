"""The error of a run whose operator failed: it carries what was computed before."""

from __future__ import annotations

from typing import Any


class RunFailed(RuntimeError):
    """A product raised an error, or the operator changed, in the middle of a run.

    The original error is the cause (``__cause__``).

    Attributes
    ----------
    partial
        The result of the steps before, valid, with status OPERATOR_FAILED. From ``spectral_density`` and
        ``resume`` a :class:`~hesscope.SpectralDensity`, which can be saved and resumed.
    """

    def __init__(self, message: str, partial: Any) -> None:
        super().__init__(message)
        self.partial = partial


class NotDefinedError(ValueError):
    """A function is not defined on the spectrum that was computed, which this error keeps.

    Attributes
    ----------
    partial
        The :class:`~hesscope.SpectralDensity`: with a shift, or another function, it costs no product. From
        ``apply_function`` the :class:`~hesscope.KrylovSpace` of b, whose ``apply`` takes them.
    """

    def __init__(self, message: str, partial: Any) -> None:
        super().__init__(message)
        self.partial = partial
