"""``plot_density``: a spectral density a person would want to look at."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from hesscope.report.curve import Curve, smooth
from hesscope.report.labels import number, place_labels, with_error
from hesscope.report.resolved import ResolvedEigenvalue, resolved_eigenvalues
from hesscope.report.scale import Scale, choose_scale, ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from hesscope.spectrum import SpectralDensity

# Okabe and Ito's blue and vermilion: told apart by every kind of colour vision, and in grey.
POSITIVE, NEGATIVE, INK, FAINT = "#0072B2", "#D55E00", "#333333", "#666666"
_MAX_STICKS = 60
# A logarithmic picture ends at this share of one eigenvalue's peak, or of the highest density.
_FLOOR_EIGENVALUES, _FLOOR_HEIGHT = 0.1, 1e-5
# Share of the axes' height kept free for labels, and without any.
_LABEL_ROOM, _ROOM = 0.26, 0.06


def plot_density(
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
        Write the values of at most so many resolved eigenvalues, those largest in size.
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
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        msg = "plot: needs matplotlib, which is not installed; pip install 'hesscope[plot]'"
        raise ImportError(msg) from error
    del Figure
    q = rho.quadrature
    scale = choose_scale(q.nodes, q.weights, x_scale)
    curve = smooth(q.nodes, q.weights, q.residuals, scale)
    sticks = resolved_eigenvalues(q.nodes, q.weights, q.residuals, rho.n)
    sticks = sorted(sorted(sticks, key=lambda e: -abs(e.value))[:_MAX_STICKS], key=lambda e: e.value)
    if ax is None:
        ax = _new_axes()
    # A linear axis shows a density of integral one; the other counts eigenvalues per decade.
    unit = 1.0 if scale.is_linear else float(rho.n)
    floor, top = _limits(curve, rho.n, log=log, labels=bool(sticks) and max_labels > 0)
    _scale_axes(ax, curve, scale, log=log, limits=(floor * unit, top * unit))
    _draw_curve(ax, curve, unit, floor, _near(curve, sticks, scale))
    # What was resolved is at least one eigenvalue, however little of it the probes happened to see.
    heights = [max(curve.at(e.value), curve.peak / rho.n) * unit for e in sticks]
    _draw_sticks(ax, sticks, heights, floor * unit)
    _describe(ax, rho, scale, title, band=curve.lower is not None)
    labelled = sorted(range(len(sticks)), key=lambda i: -abs(sticks[i].value))[:max_labels]
    ax.get_figure(root=True).draw_without_rendering()  # a constrained layout moves the axes only now
    place_labels(ax, [sticks[i] for i in sorted(labelled)], [heights[i] for i in sorted(labelled)])
    return ax


def _new_axes() -> Axes:
    from matplotlib import pyplot

    figure = pyplot.figure(figsize=(9.0, 5.2), layout="constrained")
    return figure.add_subplot()


def _limits(curve: Curve, n: int, *, log: bool, labels: bool) -> tuple[float, float]:
    """Return the lowest and highest density of the picture."""
    highest = float(curve.density.max())
    room = _LABEL_ROOM if labels else _ROOM
    if not log:
        return 0.0, highest / (1 - room)
    floor = max(_FLOOR_EIGENVALUES * curve.peak / n, _FLOOR_HEIGHT * highest)
    return floor, highest * (highest / floor) ** (room / (1 - room))


def _near(curve: Curve, sticks: list[ResolvedEigenvalue], scale: Scale) -> torch.Tensor:
    """Mark the grid points within a kernel's reach of a resolved eigenvalue: ``[G]``, bool."""
    if not sticks:
        return torch.zeros_like(curve.grid, dtype=torch.bool)
    centres = scale.forward(torch.tensor([e.value for e in sticks], dtype=torch.float64))
    distance = (scale.forward(curve.grid)[:, None] - centres).abs().amin(dim=1)
    return distance < 3.5 * curve.narrowest


def _scale_axes(ax: Axes, curve: Curve, scale: Scale, *, log: bool, limits: tuple[float, float]) -> None:
    x0, x1 = float(curve.grid[0]), float(curve.grid[-1])
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


def _power(tick: float) -> str:
    if tick == 0:
        return "0"
    exponent = round(math.log10(abs(tick)))
    sign = "-" if tick < 0 else ""
    return f"${sign}10^{{{exponent}}}$" if abs(exponent) > 1 else f"{tick:g}".replace("-", "−")


def _draw_curve(ax: Axes, curve: Curve, unit: float, floor: float, near: torch.Tensor) -> None:
    x, y = curve.grid.numpy(), curve.density
    # One grid point beyond, so that lines leave through the bottom of the picture.
    visible = torch.nn.functional.max_pool1d((y >= floor).double()[None], 3, 1, 1)[0] > 0
    y = y.clamp(min=1e-3 * floor)
    for colour, side in ((NEGATIVE, curve.grid <= 0), (POSITIVE, curve.grid >= 0)):
        line = torch.where(visible & side, y * unit, torch.nan).numpy()
        ax.fill_between(x, floor * unit, line, color=colour, alpha=0.16, linewidth=0)
        ax.plot(x, line, color=colour, linewidth=1.5)
        if curve.lower is not None and curve.upper is not None:
            shown = (visible & side & ~near).numpy()
            lower, upper = curve.lower.clamp(min=floor) * unit, curve.upper * unit
            ax.fill_between(
                x, lower.numpy(), upper.numpy(), where=shown.tolist(), color=colour, alpha=0.3, linewidth=0
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


def _describe(ax: Axes, rho: SpectralDensity, scale: Scale, title: str | None, *, band: bool) -> None:
    """Write title, facts, axis labels and legend."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    trace = rho.trace()
    probes = f"{rho.num_probes} probe{'' if rho.num_probes == 1 else 's'} × {rho.num_steps} steps"
    facts = (
        f"n = {rho.n:,}   {probes}   λ$_{{\\rm max}}$ = {number(rho.largest_eigenvalue().value)}   "
        f"λ$_{{\\rm min}}$ = {number(rho.smallest_eigenvalue().value)}   tr H = {with_error(trace.value, trace.error)}"
    )
    ax.set_title(title or "Spectral density", loc="left", fontsize=12, color=INK, pad=40)
    ax.annotate(facts, (0, 1), (0, 25), xycoords="axes fraction", textcoords="offset points", va="bottom", fontsize=9, color=FAINT)
    ax.set_xlabel("eigenvalue λ" if scale.is_linear else "eigenvalue λ  (logarithmic on both sides of zero)")
    ax.set_ylabel("density" if scale.is_linear else "eigenvalues per decade")
    ax.axvline(0, color=INK, linewidth=0.6, alpha=0.4, zorder=0)
    handles = [
        Patch(facecolor=NEGATIVE, alpha=0.5, label="negative curvature"),
        Patch(facecolor=POSITIVE, alpha=0.5, label="positive curvature"),
        Line2D([], [], color=FAINT, marker="o", markersize=4.5, linewidth=0.9, label="single eigenvalue"),
    ]
    if band:
        handles.append(Patch(facecolor=FAINT, alpha=0.4, label="95 % band across probes"))
    ax.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1.0), ncol=4, frameon=False, fontsize=8.5, borderaxespad=0.3, handlelength=1.2, borderpad=0.2, columnspacing=1.5)
