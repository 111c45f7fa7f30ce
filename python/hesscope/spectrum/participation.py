"""Where in a network an eigenvector lives."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from hesscope.objective import Objective
from hesscope.results import Eigenpairs
from hesscope.spectrum.blocks import check_size


def participation(eig: Eigenpairs, parts: Objective | Mapping[str, slice]) -> dict[str, Tensor]:
    """Share of each eigenvector's squared norm that lies in each named part.

    Parameters
    ----------
    eig
        k eigenpairs of length n.
    parts
        The objective, for one part per parameter; or ranges of the vector by name, which may overlap.

    Returns
    -------
    dict[str, Tensor]
        By name: shape ``[k]``, float64, CPU. Parts that cover the vector once sum to 1.

    Raises
    ------
    ValueError
        If a range does not lie within the vector or has a step, or the objective has another n.
    TypeError
        If ``parts`` is something else.
    """
    n = eig.vectors.shape[1]
    if isinstance(parts, Objective):
        check_size("participation", "parts", parts, n, "the eigenvectors")
        parts = dict(zip(parts.parameter_set.names, parts.parameter_set.slices, strict=True))
    if not isinstance(parts, Mapping) or not all(isinstance(part, slice) for part in parts.values()):
        msg = f"participation: parts must be an Objective or slices by name, got {type(parts).__name__}"
        raise TypeError(msg)
    shares = {}
    for name, part in parts.items():
        start, stop, step = part.start or 0, n if part.stop is None else part.stop, part.step or 1
        if not 0 <= start <= stop <= n or step != 1:
            msg = f"participation: slice {name!r} must lie within [0, {n}) with step 1, got {part}"
            raise ValueError(msg)
        shares[name] = eig.vectors[:, start:stop].double().square().sum(dim=1).cpu()
    whole = eig.vectors.double().square().sum(dim=1).cpu()
    return {name: share / whole for name, share in shares.items()}
