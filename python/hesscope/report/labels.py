"""Labels of sticks that do not overlap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from hesscope.report.numbers import number
from hesscope.report.resolved import ResolvedEigenvalue

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE = 8.0
# Heights of the axes, in shares: the leader rises to _ELBOW, leans towards its label and ends below it.
_ELBOW, _FOOT = 0.80, 0.85
_LINE = "#999999"


def place_labels(ax: Axes, eigenvalues: Sequence[ResolvedEigenvalue], heights: Sequence[float]) -> None:
    """Write the values above their sticks, moved sideways where they would touch, with leaders.

    Parameters
    ----------
    ax
        Axes with final limits, scales and position.
    eigenvalues
        Those to label, ascending.
    heights
        Where their sticks end, in data coordinates.
    """
    box = ax.get_window_extent()
    dpi = cast("Figure", ax.get_figure(root=True)).dpi
    line_height = 1.45 * SIZE * dpi / 72 / box.width  # share of the axes' width
    wanted = [
        float(ax.transAxes.inverted().transform(ax.transData.transform((e.value, h)))[0])
        for e, h in zip(eigenvalues, heights, strict=True)
    ]
    placed = spread(wanted, line_height, line_height / 2, 1 - line_height / 2)
    for eigenvalue, height, x, target in zip(eigenvalues, heights, wanted, placed, strict=True):
        top = ax.transAxes.inverted().transform(ax.transData.transform((eigenvalue.value, height)))[1]
        ax.plot(
            [x, x, target],
            [min(top + 0.015, _ELBOW), _ELBOW, _FOOT],
            transform=ax.transAxes,
            color=_LINE,
            linewidth=0.6,
            zorder=1,
        )
        ax.text(
            target,
            _FOOT + 0.01,
            number(eigenvalue.value),
            transform=ax.transAxes,
            rotation=90,
            ha="center",
            va="bottom",
            fontsize=SIZE,
            color="#333333",
        )


def spread(wanted: Sequence[float], step: float, lower: float, upper: float) -> list[float]:
    """Move ascending positions at least ``step`` apart inside [lower, upper], each as little as possible.

    Positions that would touch form a block around their mean; a block that leaves the interval is pushed
    back and may then push its neighbour.
    """
    blocks: list[tuple[float, int]] = []
    for position in wanted:
        blocks.append((position, 1))
        while len(blocks) > 1 and _touch(blocks[-2], blocks[-1], step):
            (right, b), (left, a) = blocks.pop(), blocks.pop()
            blocks.append(((left * a + right * b) / (a + b), a + b))
    placed = [centre + step * (i - (count - 1) / 2) for centre, count in blocks for i in range(count)]
    for i, position in enumerate(placed):
        placed[i] = max(position, lower if i == 0 else placed[i - 1] + step)
    limit = upper
    for i in reversed(range(len(placed))):
        placed[i] = min(placed[i], limit)
        limit = placed[i] - step
    return placed


def _touch(left: tuple[float, int], right: tuple[float, int], step: float) -> bool:
    return right[0] - left[0] < step * (left[1] + right[1]) / 2
