"""The picture, the table and the sentences: what they show is what the spectrum is."""

from __future__ import annotations

import importlib.util
import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import colors
from matplotlib.figure import Figure

import hesscope as hs
from hesscope.report import curve, labels, numbers, plot, resolved, scale
from hesscope.report.summary import Summary
from hesscope.report.table import table


def spectrum_of(eigenvalues: torch.Tensor, *, num_probes: int = 4, num_steps: int = 40) -> hs.SpectralDensity:
    """Run Lanczos on diag(eigenvalues) turned by a reflection, so that Rademacher probes are not special."""
    n = len(eigenvalues)
    u = torch.randn(n, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    u /= u.norm()

    def reflect(v: torch.Tensor) -> torch.Tensor:  # v: [K, n]
        return v - 2 * (v @ u)[:, None] * u

    operator = hs.from_function(
        lambda v: reflect(eigenvalues * reflect(v)), n, dtype=torch.float64, batched=True
    )
    return hs.spectral_density(operator, num_probes=num_probes, num_steps=num_steps)


def semicircle(n: int) -> torch.Tensor:
    """Quantiles of Wigner's density on [-2, 2], by bisection of its distribution function."""
    q = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    low, high = torch.full_like(q, -2.0), torch.full_like(q, 2.0)
    for _ in range(60):
        x = (low + high) / 2
        below = 0.5 + x * (4 - x**2).sqrt() / (4 * math.pi) + (x / 2).asin() / math.pi
        low, high = torch.where(below < q, x, low), torch.where(below < q, high, x)
    return low


OUTLIERS = [-2.0, -0.3, 1.0, 1.5, 7.0]


@pytest.fixture(scope="module")
def bulk() -> hs.SpectralDensity:
    return spectrum_of(semicircle(2000))


@pytest.fixture(scope="module")
def atom() -> hs.SpectralDensity:
    return spectrum_of(torch.tensor([0.0] * 3000 + OUTLIERS, dtype=torch.float64), num_steps=12)


@pytest.fixture(scope="module")
def heavy() -> hs.SpectralDensity:
    """A bulk a thousand times smaller than the largest of its many outliers, of both signs."""
    small = 1e-3 * semicircle(1500)
    large = torch.logspace(-1.5, 0.5, 20, dtype=torch.float64)
    return spectrum_of(torch.cat([small, large, -large[:5]]), num_probes=5, num_steps=90)


def axes():
    return Figure(figsize=(9, 5), layout="constrained").add_subplot()


def texts(ax) -> list[str]:
    return [text.get_text() for text in ax.texts if text.get_rotation() == 90]


def test_eigenvalues_that_stand_alone_are_found_and_no_others(atom):
    found = resolved.resolved_eigenvalues(atom)
    error = torch.tensor([e.value for e in found], dtype=torch.float64) - torch.tensor(
        sorted([0.0, *OUTLIERS]), dtype=torch.float64
    )
    # The recurrence ends after as many steps as there are distinct eigenvalues: Ritz values are exact.
    assert bool((error.abs() <= atom.rounding).all())
    zero = next(e for e in found if e.value == 0)
    assert 2900 < zero.count < 3006


def test_no_eigenvalue_of_a_bulk_is_called_resolved():
    # Twice as many steps as there is room for between 2000 eigenvalues would resolve the edge, 25 do not.
    assert resolved.resolved_eigenvalues(spectrum_of(semicircle(2000), num_steps=25)) == []


def test_copies_of_an_eigenvalue_are_merged_into_one(atom):
    nodes = torch.tensor([1.0, 2.0, 2.0 + 1e-9, 3.0], dtype=torch.float64)
    weights = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    residuals = torch.tensor([1.0, 1.0, 1e-8, 1.0], dtype=torch.float64)
    value, mass, residual = resolved.merge_copies(nodes, weights, residuals, 1e-6)
    assert torch.allclose(value, torch.tensor([1.0, 2.0 + 0.6e-9, 3.0], dtype=torch.float64), rtol=1e-15)
    assert torch.allclose(mass, torch.tensor([0.1, 0.5, 0.4], dtype=torch.float64))
    assert residual.tolist() == [1.0, 1e-8, 1.0]


@pytest.mark.parametrize("name", ["bulk", "atom", "heavy"])
@pytest.mark.parametrize("x_scale", ["linear", "asinh"])
def test_the_curve_has_mass_one_on_its_axis(name, x_scale, request):
    rho = request.getfixturevalue(name)
    axis = scale.choose_scale(rho.nodes, rho.weights, x_scale)
    drawn = curve.smooth(rho, axis)
    u = axis.forward(drawn.grid)
    mass = float(torch.trapezoid(drawn.density, u))
    # Gaussians end 4 widths from the outermost node; the grid has at least 1.6 points a width there, for
    # which the trapezoidal rule's error exp(-2 pi^2 / h^2), h in widths, is far below that.
    assert abs(mass - 1) <= math.erfc(4 / math.sqrt(2))


def test_the_curve_follows_a_density_without_ripples(bulk):
    drawn = curve.smooth(bulk, scale.Scale(math.inf))
    inner = drawn.grid.abs() < 1.5
    truth = (4 - drawn.grid[inner] ** 2).sqrt() / (2 * math.pi)
    # Smoothing by a width w changes a density f by w^2 f'' / 2: w = 0.7 * 4 pi / (2 * 40), |f''| < 0.31 here.
    # Sampling: a probe's weights fluctuate like sqrt(2 / (n share)), share = w sqrt(4 pi) f; 4 probes.
    width = 0.7 * 4 * math.pi / 80
    bias = width**2 * 0.31 / 2
    noise = truth * (2 / (2000 * width * math.sqrt(4 * math.pi) * truth) / 4).sqrt()
    assert bool(((drawn.density[inner] - truth).abs() <= bias + 4 * noise).all())


def test_the_band_holds_the_curve_and_a_single_probe_has_none(heavy):
    drawn = curve.smooth(heavy, scale.choose_scale(heavy.nodes, heavy.weights, "auto"))
    assert bool((drawn.lower <= drawn.density).all())
    assert bool((drawn.upper >= drawn.density).all())
    alone = spectrum_of(semicircle(500), num_probes=1)
    assert curve.smooth(alone, scale.Scale(math.inf)).lower is None
    ax = plot.plot(alone, ax=axes())
    assert "95 % band across probes" not in [text.get_text() for text in ax.get_legend().get_texts()]


def test_the_axis_is_logarithmic_only_where_outliers_ask_for_it(bulk, heavy):
    assert plot.plot(bulk, ax=axes()).get_xscale() == "linear"
    assert plot.plot(heavy, ax=axes()).get_xscale() == "asinh"
    assert plot.plot(heavy, ax=axes(), x_scale="linear").get_xscale() == "linear"
    assert plot.plot(heavy, ax=axes(), log=False).get_yscale() == "linear"


def test_outliers_are_labelled_with_their_values_the_most_negative_first(heavy):
    shown = texts(plot.plot(heavy, ax=axes(), max_labels=4))
    smallest = numbers.number(heavy.smallest_eigenvalue().value)
    largest = torch.logspace(-1.5, 0.5, 20)[-3:].tolist()
    assert shown == [smallest, *(numbers.number(value) for value in largest)]
    assert texts(plot.plot(heavy, ax=axes(), max_labels=0)) == []


def test_labels_do_not_overlap_and_stay_in_the_picture(heavy):
    ax = plot.plot(heavy, ax=axes(), max_labels=25)
    figure = ax.figure
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in ax.texts]
    assert len(boxes) > 20
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)


@given(
    st.lists(st.floats(0, 1), max_size=12).map(sorted),
    st.floats(1e-3, 0.08),
)
def test_spreading_keeps_order_distance_and_limits(wanted, step):
    placed = labels.spread(wanted, step, 0.0, 1.0)
    rounding = 1e-12
    assert all(b - a >= step - rounding for a, b in itertools.pairwise(placed))
    assert all(-rounding <= x <= 1 + rounding for x in placed)
    if all(b - a >= step for a, b in itertools.pairwise(wanted)):
        assert placed == pytest.approx(wanted, abs=rounding)


def colours_of(ax) -> set[str]:
    return {colors.to_hex(line.get_color()).upper() for line in ax.lines}


def test_the_sign_of_curvature_has_its_colour():
    positive = plot.plot(spectrum_of(semicircle(500) + 2.5), ax=axes())
    negative = plot.plot(spectrum_of(semicircle(500) - 2.5), ax=axes())
    both = plot.plot(spectrum_of(semicircle(500)), ax=axes())
    assert colours_of(positive) & {plot.POSITIVE, plot.NEGATIVE} == {plot.POSITIVE}
    assert colours_of(negative) & {plot.POSITIVE, plot.NEGATIVE} == {plot.NEGATIVE}
    assert colours_of(both) >= {plot.POSITIVE, plot.NEGATIVE}


@pytest.mark.parametrize(
    "eigenvalues", [[0.0] * 5, [3.0], [1e-300, -1e-300], [1e9, 2e9, -1e9], [0.0, 5.0], [-1.0, 1.0]]
)
@pytest.mark.parametrize("num_steps", [1, 4])
def test_extreme_spectra_can_be_drawn(eigenvalues, num_steps, tmp_path):
    rho = spectrum_of(torch.tensor(eigenvalues, dtype=torch.float64), num_probes=2, num_steps=num_steps)
    plot.save_picture(rho, tmp_path / "picture.png")
    assert table(Summary(rho))
    assert all(Summary(rho).sentences())


def test_a_picture_is_a_small_png_with_a_title(heavy, tmp_path):
    plot.save_picture(heavy, tmp_path / "picture.png", title="A title")
    data = (tmp_path / "picture.png").read_bytes()
    assert data.startswith(b"\x89PNG")
    assert len(data) < 200_000
    ax = heavy.plot(ax=axes(), title="A title")
    assert ax.get_title(loc="left") == "A title"


def test_missing_matplotlib_names_what_to_install(bulk, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ImportError, match=r"pip install 'hesscope\[plot\]'"):
        bulk.plot()


def test_an_unknown_axis_is_refused(bulk):
    with pytest.raises(ValueError, match="plot: x_scale must be 'auto', 'linear' or 'asinh', got 'log'"):
        bulk.plot(x_scale="log")


def test_ticks_are_zero_and_powers_of_ten_on_both_sides():
    major, minor = scale.ticks(scale.Scale(2e-3), -0.5, 30.0)
    assert major == pytest.approx([-0.1, -0.01, 0, 0.01, 0.1, 1, 10])
    assert all(-0.5 <= tick <= 30 for tick in minor)


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e3))
def test_the_axis_and_its_inverse_agree(x, width):
    axis = scale.Scale(width)
    u = axis.forward(torch.tensor(x, dtype=torch.float64))
    back = float(axis.inverse(u))
    # sinh(asinh(x)) amplifies one rounding of its argument by |u| coth(u) <= |u| + 1, of up to 21 here.
    assert abs(back - x) <= 50 * torch.finfo(torch.float64).eps * (abs(x) + width)


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


def test_the_table_shows_every_number_with_its_interval(heavy):
    text = table(Summary(heavy))
    for words in (
        "eigenvalues n",
        "1,525",
        "largest",
        "smallest",
        "trace",
        "negative share",
        "products",
        "time",
    ):
        assert words in text
    assert "5 probes × 90 steps" in text
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("[") == 4


def sentences(*eigenvalues: float, **options: int) -> tuple[str, str]:
    return Summary(spectrum_of(torch.tensor(eigenvalues, dtype=torch.float64), **options)).sentences()


def test_a_saddle_a_minimum_and_doubt_are_told_apart():
    assert sentences(*[1.0] * 20, -0.5)[1].startswith("Saddle-like")
    assert sentences(*[1.0] * 20, 0.5)[1].startswith("Minimum-like")
    unsure = Summary(spectrum_of(semicircle(2000) + 2.0, num_steps=6)).sentences()[1]
    assert unsure.startswith("No negative curvature was found")


def test_rounding_is_not_called_a_saddle():
    # Singular, with the rounding of float64: the smallest eigenvalue comes out at about -1e-16.
    assert sentences(*[0.0] * 30, 1.0, 2.0)[1].startswith("Minimum-like")


def test_sharp_flat_and_even_are_told_apart():
    assert sentences(*[0.1] * 50, 20.0)[0].startswith("Sharp in few directions, flat in most")
    assert sentences(*[0.0] * 50, 20.0)[0].startswith("Sharp in few directions, flat in the rest")
    assert sentences(*[10.0] * 50, 20.0)[0].startswith("Evenly curved")
    assert sentences(*[-1.0] * 5)[0].startswith("No direction curves upwards")
    assert "2/λmax = 0.100" in sentences(*[0.1] * 50, 20.0)[0]
