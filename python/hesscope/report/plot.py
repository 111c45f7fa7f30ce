"""``plot``: a spectral density a person would want to look at."""

from __future__ import annotations

import importlib.util
import math
import os
from typing import TYPE_CHECKING, cast

import torch

from hesscope.report.curve import Curve, smooth
from hesscope.report.labels import place_labels
from hesscope.report.numbers import effort, number, with_error
from hesscope.report.resolved import ResolvedEigenvalue, resolved_eigenvalues
from hesscope.report.scale import Scale, choose_scale, ticks

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from hesscope.spectrum import SpectralDensity

# Okabe and Ito's blue and vermilion: told apart by every kind of colour vision, and in grey.
POSITIVE, NEGATIVE, INK, FAINT = "#0072B2", "#D55E00", "#333333", "#666666"
_X_MARGIN = 0.03
_NAMES = {POSITIVE: "positive", NEGATIVE: "negative"}
_SIZE, _DPI = (9.0, 5.2), 150
_MAX_STICKS = 60
# A logarithmic picture ends at this share of one eigenvalue's peak, or of the highest density.
_FLOOR_EIGENVALUES, _FLOOR_HEIGHT = 0.1, 1e-5
_LEAST_HEIGHT = 1e-2  # and shows at least the two decades below the highest density
# Share of the axes' height kept free for labels, and without any.
_LABEL_ROOM, _ROOM = 0.26, 0.06


def plot(
    rho: SpectralDensity,
    *,
    ax: Axes | None = None,
    log: bool = True,
    x_scale: str = "auto",
    max_labels: int = 12,
    title: str | None = None,
) -> Axes:
    """Draw a spectral density: bulk, outliers, both signs and the error across probes.

    The bulk is smoothed with kernels as wide as the recurrence leaves it open; eigenvalues that it
    resolved one by one are sticks with their values. The band is the pointwise 95 % t-interval across
    probes of the logarithm of the density. It is left out at resolved eigenvalues, whose values are known
    far better than their sampled weights, and for a single probe.

    Parameters
    ----------
    rho
        From :func:`hesscope.spectral_density`, or a file.
    ax
        matplotlib axes to draw into; new ones, in a new figure, by default.
    log
        Logarithmic density axis, on which a single eigenvalue shows beside millions.
    x_scale
        "linear"; "asinh": logarithmic on both sides of zero, and the density is in eigenvalues per decade;
        "auto": "asinh" if outliers would squeeze the bulk into one column of pixels.
    max_labels
        Write the values of at most so many resolved eigenvalues: the most negative, then the largest in size.
    title
        First line above the picture; "Spectral density" by default.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If ``x_scale`` is unknown.

    Notes
    -----
    No products with the operator.
    """
    require_matplotlib()
    scale = choose_scale(rho.nodes, rho.weights, x_scale)
    curve = smooth(rho, scale)
    sticks = sorted(
        sorted(resolved_eigenvalues(rho), key=lambda e: -abs(e.value))[:_MAX_STICKS], key=lambda e: e.value
    )
    if ax is None:
        ax = _new_axes()
    # A linear axis shows a density of integral one; the other counts eigenvalues per decade.
    unit = 1.0 if scale.is_linear else float(rho.n)
    floor, top = _limits(curve, rho.n, log=log, labels=bool(sticks) and max_labels > 0)
    _scale_axes(ax, curve, scale, log=log, limits=(floor * unit, top * unit), floor=floor)
    _draw_curve(ax, curve, unit, floor, _signs(rho), _near(curve, sticks, scale))
    # What was resolved is at least one eigenvalue, however little of it the probes happened to see.
    heights = [max(curve.at(e.value), curve.peak / rho.n) * unit for e in sticks]
    _draw_sticks(ax, sticks, heights, floor * unit)
    _describe(ax, rho, scale, title, sticks=bool(sticks), band=curve.lower is not None)
    # A constrained layout moves the axes when it draws; the labels need to know where they end up.
    cast("Figure", ax.get_figure(root=True)).draw_without_rendering()
    labelled = _labelled(sticks, max_labels)
    place_labels(ax, [sticks[i] for i in labelled], [heights[i] for i in labelled])
    return ax


def require_matplotlib() -> None:
    """Raise an ImportError that says what to install, unless matplotlib is there."""
    if importlib.util.find_spec("matplotlib") is None:
        msg = "plot: needs matplotlib, which is not installed: pip install 'hesscope[plot]'"
        raise ImportError(msg)


def save_picture(rho: SpectralDensity, path: str | os.PathLike[str], *, title: str | None = None) -> None:
    """Draw a spectral density into an image file, without a display; see :func:`plot`."""
    require_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE, layout="constrained")
    plot(rho, ax=figure.add_subplot(), title=title)
    figure.savefig(path, dpi=_DPI)


def _new_axes() -> Axes:
    from matplotlib import pyplot

    figure = pyplot.figure(figsize=_SIZE, layout="constrained")
    return figure.add_subplot()


def _limits(curve: Curve, n: int, *, log: bool, labels: bool) -> tuple[float, float]:
    """Return the lowest and highest density of the picture."""
    highest = float(curve.density.max())
    room = _LABEL_ROOM if labels else _ROOM
    if not log:
        return 0.0, highest / (1 - room)
    floor = max(_FLOOR_EIGENVALUES * curve.peak / n, _FLOOR_HEIGHT * highest)
    floor = min(floor, _LEAST_HEIGHT * highest)
    return floor, highest * (highest / floor) ** (room / (1 - room))


def _near(curve: Curve, sticks: list[ResolvedEigenvalue], scale: Scale) -> torch.Tensor:
    """Mark the grid points within a kernel's reach of a resolved eigenvalue: ``[G]``, bool."""
    if not sticks:
        return torch.zeros_like(curve.grid, dtype=torch.bool)
    centres = scale.forward(torch.tensor([e.value for e in sticks], dtype=torch.float64))
    distance = (scale.forward(curve.grid)[:, None] - centres).abs().amin(dim=1)
    return distance < 3.5 * curve.narrowest


def _labelled(sticks: list[ResolvedEigenvalue], max_labels: int) -> list[int]:
    """Return the indices of the sticks to label, ascending: the most negative, then the largest in size."""
    lowest = 0 if sticks and sticks[0].value < 0 else None
    order = sorted(range(len(sticks)), key=lambda i: (i != lowest, -abs(sticks[i].value)))
    return sorted(order[:max_labels])


def _scale_axes(
    ax: Axes, curve: Curve, scale: Scale, *, log: bool, limits: tuple[float, float], floor: float
) -> None:
    x0, x1 = _x_limits(curve, scale, floor)
    if not scale.is_linear:
        ax.set_xscale("asinh", linear_width=scale.linear_width)
        major, minor = ticks(scale, x0, x1)
        ax.set_xticks(major, [_power(tick) for tick in major])
        ax.set_xticks(minor, minor=True)
    if log:
        ax.set_yscale("log")
    ax.set_xlim(x0, x1)
    ax.set_ylim(*limits)
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=9)


def _x_limits(curve: Curve, scale: Scale, floor: float) -> tuple[float, float]:
    """Return the range where the density can be seen, and a little more."""
    u = scale.forward(curve.grid)
    seen = u[curve.density >= max(floor, _FLOOR_HEIGHT * float(curve.density.max()))]
    margin = _X_MARGIN * float(seen[-1] - seen[0])
    ends = torch.stack([seen[0] - margin, seen[-1] + margin])
    lower, upper = scale.inverse(ends).tolist()
    return lower, upper


def _power(tick: float) -> str:
    if tick == 0:
        return "0"
    exponent = round(math.log10(abs(tick)))
    sign = "-" if tick < 0 else ""
    return f"${sign}10^{{{exponent}}}$" if abs(exponent) > 1 else f"{tick:g}".replace("-", "−")


def _signs(rho: SpectralDensity) -> list[tuple[str, float, float]]:
    """Return (colour, lower, upper) for the signs that eigenvalues have.

    Where all have one sign, so has the tail of the outermost kernel that leans over zero.
    """
    both = [(NEGATIVE, -math.inf, 0.0), (POSITIVE, 0.0, math.inf)]
    if rho.num_steps == 1 and not bool(rho.quadrature.ended.all()):
        return both  # one node says nothing of the signs
    if float(rho.nodes.min()) >= -rho.rounding:
        return [(POSITIVE, -math.inf, math.inf)]
    if float(rho.nodes.max()) <= rho.rounding:
        return [(NEGATIVE, -math.inf, math.inf)]
    return both


def _draw_curve(
    ax: Axes,
    curve: Curve,
    unit: float,
    floor: float,
    signs: list[tuple[str, float, float]],
    near: torch.Tensor,
) -> None:
    x, y = curve.grid.numpy(), curve.density
    # One grid point beyond, so that lines leave through the bottom of the picture.
    visible = torch.nn.functional.max_pool1d((y >= floor).double()[None], 3, 1, 1)[0] > 0
    y = y.clamp(min=1e-3 * floor)
    for colour, lower, upper in signs:
        side = (curve.grid >= lower) & (curve.grid <= upper)
        line = torch.where(visible & side, y * unit, torch.nan).numpy()
        ax.fill_between(x, floor * unit, line, color=colour, alpha=0.16, linewidth=0)
        ax.plot(x, line, color=colour, linewidth=1.5)
        if curve.lower is not None and curve.upper is not None:
            shown = (visible & side & ~near).numpy()
            below, above = curve.lower.clamp(min=floor) * unit, curve.upper * unit
            ax.fill_between(
                x, below.numpy(), above.numpy(), where=shown.tolist(), color=colour, alpha=0.3, linewidth=0
            )


def _draw_sticks(ax: Axes, sticks: list[ResolvedEigenvalue], heights: list[float], floor: float) -> None:
    for eigenvalue, height in zip(sticks, heights, strict=True):
        colour = NEGATIVE if eigenvalue.value < 0 else POSITIVE
        ax.plot([eigenvalue.value] * 2, [floor, height], color=colour, linewidth=0.9)
        ax.plot(
            [eigenvalue.value],
            [height],
            marker="o",
            color=colour,
            markersize=4.5,
            markeredgecolor="white",
            markeredgewidth=0.7,
        )


def _describe(
    ax: Axes, rho: SpectralDensity, scale: Scale, title: str | None, *, sticks: bool, band: bool
) -> None:
    """Write title, facts, axis labels and legend."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    trace = rho.trace()
    largest, smallest = rho.largest_eigenvalue(), rho.smallest_eigenvalue()
    facts = (
        f"n = {rho.n:,}   {effort(rho.num_probes, rho.num_steps)}   "
        f"λ$_{{\\rm max}}$ = {number(largest.value)}   λ$_{{\\rm min}}$ = {number(smallest.value)}   "
        f"tr H = {with_error(trace.value, trace.error)}"
    )
    ax.set_title(title or "Spectral density", loc="left", fontsize=12, color=INK, pad=40)
    ax.annotate(
        facts,
        (0, 1),
        (0, 25),
        xycoords="axes fraction",
        textcoords="offset points",
        va="bottom",
        fontsize=9,
        color=FAINT,
    )
    ax.set_xlabel("eigenvalue λ" if scale.is_linear else "eigenvalue λ  (logarithmic on both sides of zero)")
    ax.set_ylabel("density" if scale.is_linear else "eigenvalues per decade")
    ax.axvline(0, color=INK, linewidth=0.6, alpha=0.4, zorder=0)
    handles: list[Artist] = [
        Patch(facecolor=colour, alpha=0.5, label=f"{_NAMES[colour]} curvature")
        for colour, _, _ in _signs(rho)
    ]
    if sticks:
        handles.append(
            Line2D(
                [], [], color=FAINT, marker="o", markersize=4.5, linewidth=0.9, label="resolved eigenvalue"
            )
        )
    if band:
        handles.append(Patch(facecolor=FAINT, alpha=0.4, label="95 % band across probes"))
    ax.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        ncol=4,
        frameon=False,
        fontsize=8.5,
        borderaxespad=0.3,
        handlelength=1.2,
        borderpad=0.2,
        columnspacing=1.5,
    )
