"""Which eigenvalues are asked for."""

from __future__ import annotations

import torch
from torch import Tensor

WHICH = ("largest", "smallest", "both_ends", "magnitude")


def select(values: Tensor, which: str, k: int) -> Tensor:
    """Return the indices of the k wanted ones among ascending values, in the order of a result: ``[k]``.

    "both_ends" takes half from each end, the odd one from the upper (as SciPy does). The first k of
    "both_ends" are not a prefix of the first k + 1; for every other choice they are.
    """
    m = values.shape[0]
    descending = torch.arange(m - 1, -1, -1)
    if which == "largest":
        return descending[:k]
    if which == "smallest":
        return torch.arange(k)
    if which == "magnitude":
        return values.abs().argsort(descending=True, stable=True)[:k]
    return torch.cat([descending[: k - k // 2], descending[m - k // 2 :]])


def differ(old: Tensor, new: Tensor, which: str, margin: float) -> bool:
    """Whether wanted values ``[k]``, both in the order of a result, differ by more than rounding."""
    if which == "magnitude":  # +x and -x are equally wanted
        old, new = old.abs(), new.abs()
    return bool(((old - new).abs() > margin).any())
