"""Noticing data that are others when they are read again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch import Tensor

from hesscope.objective.checksum import checksum


class Readings:
    """The batches of a stream as they were first read: every later reading must give them again.

    Two values of an objective are compared or combined as those of one function, which they are not if
    each was computed from other data.

    Parameters
    ----------
    tensors
        Returns the tensors of a batch.
    """

    def __init__(self, tensors: Callable[[Any], list[Tensor]]) -> None:
        self._tensors = tensors
        self._sums: list[int] = []
        self._complete = False  # the stream was once read to its end

    def read(self, source: Iterable[Any]) -> Iterator[Any]:
        """Go through the batches once.

        Raises
        ------
        ValueError
            If a batch has other tensors than at the first reading, or batches are missing or too many.
        """
        count = 0
        for batch in source:
            found = checksum(self._tensors(batch))
            if count == len(self._sums) and not self._complete:
                self._sums.append(found)
            elif count == len(self._sums) or found != self._sums[count]:
                _refuse(f"another batch {count}")
            yield batch
            count += 1
        if count < len(self._sums):
            _refuse(f"{count} batches after {len(self._sums)} or more")
        self._complete = True


def _refuse(got: str) -> None:
    msg = (
        f"Objective: data must give the same batches in the same order every time, got {got}; "
        "switch off shuffling and augmentation, pass list(data) to hold one reading of it, or make a new "
        "Objective of other data"
    )
    raise ValueError(msg)
