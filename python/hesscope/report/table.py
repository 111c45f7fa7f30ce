"""The numbers of a spectrum as a short table of text."""

from __future__ import annotations

from hesscope.report.numbers import effort, interval_of, number, value_of
from hesscope.report.summary import Summary

_GAP = 3


def table(summary: Summary) -> str:
    """Return the table: n, ends of the spectrum, trace, negative share, cost; each with its 95 % interval.

    Parameters
    ----------
    summary
        What to show.

    Returns
    -------
    str
        Lines of at most 80 characters, without a newline at the end.
    """
    rho = summary.rho
    share = summary.negative_curvature
    rows = [
        ("", "value", "95 % interval"),
        ("eigenvalues n", f"{rho.n:,}", ""),
        ("largest eigenvalue", value_of(summary.largest), interval_of(summary.largest)),
        ("smallest eigenvalue", value_of(summary.smallest), interval_of(summary.smallest)),
        ("trace", value_of(summary.trace), interval_of(summary.trace)),
        (
            "negative share of Σ|λ|",
            value_of(share, scale=100, unit=" %"),
            interval_of(share, scale=100, unit=" %"),
        ),
        (
            "products with H",
            f"{rho.products:,}",
            effort(rho.num_probes, rho.num_steps, rho.n - rho.num_sampled),
        ),
        ("time", f"{number(rho.seconds)} s", f"{number(1000 * rho.seconds / rho.products)} ms a product"),
    ]
    first, second = (max(len(row[i]) for row in rows) + _GAP for i in (0, 1))
    return "\n".join(f"{name:<{first}}{value:<{second}}{note}".rstrip() for name, value, note in rows)
