"""What a rule is given and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Step = Callable[..., Any]
"""Maps the coefficients ``[K, *shape]`` of the arguments that carry one, in order, to the result's.

Made once per batch as ``functools.partial(function, *saved)``, so that what is saved can be measured.
"""


@dataclass(frozen=True, slots=True)
class Shape:
    """Shape and dtype of a tensor whose value is not there."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)


@dataclass(slots=True)
class Call:
    """One operator of the captured graph on the values of a batch.

    Attributes
    ----------
    target
        The operator.
    args, kwargs
        Its arguments, positional ones complete. Tensors that its rule does not read are ``Shape``.
    out
        Its result: a tensor or a tuple, of values if its rule reads them, else of ``Shape``.
    carries
        Positions of the arguments that carry coefficients, in order; ``(i, j)`` is entry j of list i.
    used
        For a tuple, the entries that something uses.
    """

    target: Any
    args: list[Any]
    kwargs: dict[str, Any]
    out: Any
    carries: tuple[int | tuple[int, int], ...]
    used: frozenset[int]

    def at(self, position: int | tuple[int, int]) -> Any:
        """Return the argument at a position."""
        return self.args[position] if isinstance(position, int) else self.args[position[0]][position[1]]

    def with_arguments(self, values: Sequence[Any]) -> list[Any]:
        """Return the arguments with those that carry replaced."""
        args = [list(a) if isinstance(a, (list, tuple)) else a for a in self.args]
        for position, value in zip(self.carries, values, strict=True):
            if isinstance(position, int):
                args[position] = value
            else:
                args[position[0]][position[1]] = value
        return args


@dataclass(frozen=True)
class Rule:
    """How coefficients pass an operator.

    Attributes
    ----------
    build
        Makes the step of order 1 of a batch.
    positions
        Arguments that the result depends on smoothly; None for all floating-point tensors.
    outputs
        Entries of a tuple that depend on them, or a function that finds them from the positions of the
        arguments that carry; None for all floating-point tensors.
    reads
        True if ``build`` needs the values of the arguments, not only their shapes.
    reads_output
        True if it needs the value of the result.
    add
        Makes a step ``(target, scale, overwrite, *coefficients)`` that adds the result, scaled, to
        ``target [K, *shape]``, for operators that can do so without a temporary tensor.
    """

    build: Callable[[Call], Step]
    positions: tuple[int, ...] | None = None
    outputs: tuple[int, ...] | Callable[[tuple[Any, ...]], tuple[int, ...]] | None = None
    reads: bool = True
    reads_output: bool = False
    add: Callable[[Call], Step] | None = None


def align(t: Tensor, ndim: int) -> Tensor:
    """Insert dimensions of length 1 behind the first: ``[K, *shape] -> [K, 1, ..., *shape]``."""
    missing = ndim + 1 - t.ndim
    return t if missing <= 0 else t.reshape(t.shape[0], *[1] * missing, *t.shape[1:])


def spread(t: Tensor, shape: Sequence[int]) -> Tensor:
    """Broadcast ``[K, ...]`` to ``[K, *shape]``, as a view."""
    return align(t, len(shape)).expand(t.shape[0], *shape)


def shifted(dim: int, ndim: int) -> int:
    """Return the place of a dimension behind a new first one."""
    return dim % ndim + 1 if ndim else 1
