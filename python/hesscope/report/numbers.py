"""Numbers as people read them: few digits, real minus signs, errors to two digits."""

from __future__ import annotations

import math

from hesscope.results import Estimate

_PLAIN = 1e7  # from here on numbers are written with an exponent
_DIGITS = 6  # never more significant digits than this, however small the error


def number(value: float) -> str:
    """Format to three significant digits, or to the unit: 10.0, −0.0208, 12,345, 1.23e−7."""
    places = _decimals(value, 3)
    return _fixed(value, max(places, 0) if abs(value) < _PLAIN else places)


def effort(num_probes: int, num_steps: int, eigenpairs: int = 0) -> str:
    """Format the size of a run: 8 probes × 100 steps, and 10 eigenpairs that were given."""
    probes, steps = ("" if count == 1 else "s" for count in (num_probes, num_steps))
    given = f" beside {eigenpairs} eigenpair{'' if eigenpairs == 1 else 's'}" if eigenpairs else ""
    return f"{num_probes} probe{probes} × {num_steps} step{steps}{given}"


def with_error(value: float, error: float) -> str:
    """Format value ± error, both to the place of the error's second digit: 60 ± 27.

    An error that is not known, or below the sixth digit of the value, is left out.
    """
    if not math.isfinite(error):
        return number(value)
    places = _places(value, error)
    shown = _fixed(error, places)
    return _fixed(value, places) if shown == "0" else f"{_fixed(value, places)} ± {shown}"


def value_of(estimate: Estimate, *, scale: float = 1.0, unit: str = "") -> str:
    """Format the value of an estimate as precisely as its error allows."""
    return _fixed(scale * estimate.value, _estimate_places(estimate, scale)) + unit


def interval_of(estimate: Estimate, *, scale: float = 1.0, unit: str = "") -> str:
    """Format the interval of an estimate: [45, 73]; an end that is not known is ∞."""
    places = _estimate_places(estimate, scale)
    lower, upper = (_fixed(scale * end, places) for end in estimate.interval)
    return f"[{lower}, {upper}]{unit}"


def _estimate_places(estimate: Estimate, scale: float) -> int:
    value, error = scale * estimate.value, scale * estimate.error
    return _places(value, error) if math.isfinite(error) else _decimals(value, 3)


def _places(value: float, error: float) -> int:
    """Decimal places for a value with an error."""
    most = _decimals(value or error, _DIGITS)
    return min(_decimals(error, 2), most) if error > 0 else most


def _decimals(value: float, digits: int) -> int:
    """Decimal places that show so many significant digits."""
    if value == 0 or not math.isfinite(value):
        return 0
    rounded = float(f"{value:.{digits - 1}e}")  # 9.996 has two digits before the point
    return digits - 1 - math.floor(math.log10(abs(rounded)))


def _fixed(value: float, places: int) -> str:
    if not math.isfinite(value):
        return "∞" if value > 0 else "−∞"
    rounded = round(value, places)
    if rounded == 0:
        text = "0"
    elif 1e-4 <= abs(rounded) < _PLAIN and places < 10:
        text = f"{rounded:,.{max(places, 0)}f}"
    else:
        digits = max(places + math.floor(math.log10(abs(rounded))), 0)
        mantissa, exponent = f"{rounded:.{digits}e}".split("e")
        text = f"{mantissa}e{int(exponent)}"
    return text.replace("-", "−")
