"""Random signs that are balanced between the layers of a network, so that entries between layers cancel.

The variance of z'Hz comes from the entries beside the diagonal, and in a network most of them join different
layers: with relu, ``d^2 f / dW_l^2`` is zero, and what the residuals contribute to H is all between layers.
So four signs are drawn together: one random vector, its layers coloured in turn with four colours, and the
signs of the colours flipped by the rows of a Hadamard matrix of order four. In the mean of the four
forms, entries between layers of different colours cancel exactly; entries within a colour are seen once, not
four times. Probing with Hadamard vectors: Stathopoulos, Laeuchli and Orginos (2013), SIAM J. Sci. Comput. 35.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_COLOURS = 4
_SIGNS = {1: ((1,),), 2: ((1, 1), (1, -1)), 4: ((1, 1, 1, 1), (1, -1, 1, -1), (1, 1, -1, -1), (1, -1, -1, 1))}


@dataclass(frozen=True)
class Signs:
    """How many probes are made of a random vector, and where they flip its signs.

    Attributes
    ----------
    members
        1: the vector itself; 2 or 4.
    layers
        Ranges of coordinates; layer i has colour ``i % members``.
    """

    members: int = 1
    layers: tuple[slice, ...] = ()

    def expand(self, vectors: Tensor) -> Tensor:
        """Return ``[G, n] -> [G members, n]``, those of a vector side by side."""
        if self.members == 1:
            return vectors
        out = vectors.repeat_interleave(self.members, dim=0)
        for member, signs in enumerate(_SIGNS[self.members]):
            rows = out[member :: self.members]
            for index, part in enumerate(self.layers):
                if signs[index % self.members] < 0:
                    rows[:, part].neg_()
        return out


PLAIN = Signs()


def balanced(layers: Sequence[slice]) -> Signs:
    """Return signs for layers: four at a time, two for two layers, one for a single one."""
    colours = _COLOURS if len(layers) > 2 else len(layers)
    return Signs(colours, tuple(layers)) if colours > 1 else PLAIN


def variances(forms: Tensor) -> tuple[float, float]:
    """Estimate from forms ``[G, members]``, per form: the variance of means of groups, and of plain signs."""
    members = forms.shape[1]
    between = float(forms.mean(dim=1).var())
    if members == 1:
        return between, between
    within = float(forms.var(dim=1).mean())
    return members * between, between + within * (members - 1) / members


def single(forms: Tensor) -> Tensor:
    """Return one independent sample per group: ``[G, members] -> [G]``."""
    return torch.as_tensor(forms.mean(dim=1))
