"""Checks of arguments that several functions share. Each names the function, the argument and what came."""

from __future__ import annotations

import math
import reprlib


def integer(where: str, name: str, value: object, *, least: int = 0, below: int = 2**63) -> int:
    """Return ``value`` if it is an integer in ``[least, below)``, else raise TypeError or ValueError."""
    several = math.prod(getattr(value, "shape", ())) != 1
    if isinstance(value, bool) or several or not hasattr(value, "__index__"):
        msg = f"{where}: {name} must be an integer, got {shown(value)}"
        raise TypeError(msg)
    number: int = value.__index__()
    if number < least:
        msg = f"{where}: {name} must be at least {least}, got {number}"
        raise ValueError(msg)
    if number >= below:
        msg = f"{where}: {name} must be below {below}, got {number}"
        raise ValueError(msg)
    return number


def real(where: str, name: str, value: object) -> float:
    """Return ``value`` as a float that is not NaN, else raise TypeError or ValueError."""
    several = math.prod(getattr(value, "shape", ())) != 1
    if isinstance(value, bool) or several or not hasattr(value, "__float__"):
        msg = f"{where}: {name} must be a number, got {shown(value)}"
        raise TypeError(msg)
    number = float(value)
    if math.isnan(number):
        msg = f"{where}: {name} must not be NaN"
        raise ValueError(msg)
    return number


def choice(where: str, name: str, value: object, choices: tuple[str, ...]) -> str:
    """Return ``value`` if it is one of ``choices``, else raise ValueError."""
    if not isinstance(value, str) or value not in choices:
        msg = f"{where}: {name} must be one of {', '.join(map(repr, choices))}, got {reprlib.repr(value)}"
        raise ValueError(msg)
    return value


def shown(value: object) -> str:
    """Return the type of a wrong argument and, where that is short, what it is: of a tensor the shape."""
    kind = type(value).__name__
    shape = getattr(value, "shape", None)
    return f"{kind} {reprlib.repr(value)}" if shape is None else f"{kind} of shape {list(shape)}"
