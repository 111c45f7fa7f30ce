"""``plot``: a spectral density a person would want to look at."""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING, cast

import torch

from hesscope.report.curve import Curve, smooth
from hesscope.report.draw import describe, draw_curve, draw_sticks, scale_axes, signs_of
from hesscope.report.labels import place_labels
from hesscope.report.resolved import ResolvedEigenvalue, resolved_eigenvalues
from hesscope.report.scale import Scale, choose_scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from hesscope.spectrum import SpectralDensity

_X_MARGIN = 0.03
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
    scale_axes(ax, scale, _x_limits(curve, scale, floor), (floor * unit, top * unit), log=log)
    draw_curve(ax, curve, unit, floor, signs_of(rho), _near(curve, sticks, scale))
    # What was resolved is at least one eigenvalue, however little of it the probes happened to see.
    heights = [max(curve.at(e.value), curve.peak / rho.n) * unit for e in sticks]
    draw_sticks(ax, sticks, heights, floor * unit)
    describe(ax, rho, scale, title, sticks=bool(sticks), band=curve.lower is not None)
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


def _x_limits(curve: Curve, scale: Scale, floor: float) -> tuple[float, float]:
    """Return the range where the density can be seen, and a little more."""
    u = scale.forward(curve.grid)
    seen = u[curve.density >= max(floor, _FLOOR_HEIGHT * float(curve.density.max()))]
    margin = _X_MARGIN * float(seen[-1] - seen[0])
    ends = torch.stack([seen[0] - margin, seen[-1] + margin])
    lower, upper = scale.inverse(ends).tolist()
    return lower, upper
