"""Checks of arguments that functions of operators share."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor

from hesscope import _checks


def function(where: str, f: object) -> Callable[[Tensor], Tensor]:
    """Return a callable, or raise TypeError."""
    if not callable(f):
        msg = f"{where}: f must be callable, got {type(f).__name__}"
        raise TypeError(msg)
    return f


def finite(where: str, name: str, number: object) -> float:
    """Return a finite number, or raise TypeError or ValueError."""
    value = _checks.real(where, name, number)
    if math.isinf(value):
        msg = f"{where}: {name} must be finite, got {value}"
        raise ValueError(msg)
    return value


def positive(where: str, name: str, number: object) -> float:
    """Return a positive, finite number, or raise TypeError or ValueError."""
    value = finite(where, name, number)
    if value <= 0:
        msg = f"{where}: {name} must be positive, got {value}"
        raise ValueError(msg)
    return value
