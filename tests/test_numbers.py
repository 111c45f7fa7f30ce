"""Numbers as people read them."""

from __future__ import annotations

import math

import pytest

from hesscope.report import numbers


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (10, "10.0"),
        (9.996, "10.0"),
        (-0.0208, "−0.0208"),
        (12345, "12,345"),
        (2e9, "2.00e9"),
        (1.234e-7, "1.23e−7"),
        (9.9999e-6, "1.00e−5"),
        (0, "0"),
        (-math.inf, "−∞"),
    ],
)
def test_numbers_have_three_digits(value, text):
    assert numbers.number(value) == text


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (59.7, 26.6, "60 ± 27"),
        (-0.5, 0.012, "−0.500 ± 0.012"),
        (1e6, 1234, "1,000,000 ± 1,200"),
        (57.1, 9.5e-15, "57.1000"),
        (3, math.inf, "3.00"),
        (0, 0, "0"),
    ],
)
def test_errors_have_two_digits(value, error, text):
    assert numbers.with_error(value, error) == text
