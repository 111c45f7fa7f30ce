"""The parts of a picture: axes, curve, sticks, and what is written around them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hesscope.report.curve import Curve
from hesscope.report.numbers import effort, number, with_error
from hesscope.report.resolved import ResolvedEigenvalue
from hesscope.report.scale import Scale, ticks

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

    from hesscope.spectrum import SpectralDensity

# Okabe and Ito's blue and vermilion: told apart by every kind of colour vision, and in grey.
POSITIVE, NEGATIVE, INK, FAINT = "#0072B2", "#D55E00", "#333333", "#666666"
_NAMES = {POSITIVE: "positive", NEGATIVE: "negative"}


def scale_axes(ax: Axes, scale: Scale, x: tuple[float, float], y: tuple[float, float], *, log: bool) -> None:
    """Set scales, limits and ticks."""
    if not scale.is_linear:
        ax.set_xscale("asinh", linear_width=scale.linear_width)
        major, minor = ticks(scale, *x)
        ax.set_xticks(major, [_power(tick) for tick in major])
        ax.set_xticks(minor, minor=True)
    if log:
        ax.set_yscale("log")
    ax.set_xlim(*x)
    ax.set_ylim(*y)
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=9)


def _power(tick: float) -> str:
    if tick == 0:
        return "0"
    exponent = round(math.log10(abs(tick)))
    sign = "-" if tick < 0 else ""
    return f"${sign}10^{{{exponent}}}$" if abs(exponent) > 1 else f"{tick:g}".replace("-", "−")


def signs_of(rho: SpectralDensity) -> list[tuple[str, float, float]]:
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


def draw_curve(
    ax: Axes,
    curve: Curve,
    unit: float,
    floor: float,
    signs: list[tuple[str, float, float]],
    near: Tensor,
) -> None:
    """Draw the smoothed density in the colours of its signs, with its band except where ``near [G]``."""
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


def draw_sticks(ax: Axes, sticks: list[ResolvedEigenvalue], heights: list[float], floor: float) -> None:
    """Draw resolved eigenvalues as lollipops of the given heights."""
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


def describe(
    ax: Axes, rho: SpectralDensity, scale: Scale, title: str | None, *, sticks: bool, band: bool
) -> None:
    """Write title, facts, axis labels and legend."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    trace = rho.trace()
    largest, smallest = rho.largest_eigenvalue(), rho.smallest_eigenvalue()
    facts = (
        f"n = {rho.n:,}   {effort(rho.num_probes, rho.num_steps, rho.n - rho.num_sampled)}   "
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
        for colour, _, _ in signs_of(rho)
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
