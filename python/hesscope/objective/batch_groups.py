"""The batches of an objective in groups, an objective for each."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from hesscope import _checks
from hesscope.objective.data import Batch, Data
from hesscope.objective.objective import Objective

_WHERE = "batch_groups"
_SEEDS = 2**20  # between the groups: more than a group has batches


@dataclass(frozen=True)
class BatchGroups:
    """Parts of an objective's data.

    Attributes
    ----------
    objectives
        One for each group of batches, of the same model, loss and options.
    weights
        Of the groups: with these, the weighted mean of the objectives is the objective of all the data.
    """

    objectives: tuple[Objective, ...]
    weights: tuple[float, ...]


def batch_groups(objective: Objective, num_groups: int = 8) -> BatchGroups:
    """Deal the batches of an objective out to groups: batch i goes to group ``i mod num_groups``.

    Parameters
    ----------
    objective
        With ``reduction="mean"``, and at least as many batches as groups.
    num_groups
        At least 2; an interval over the data has one degree of freedom less.

    Returns
    -------
    BatchGroups
        For :func:`hesscope.batch_interval`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or value, there are too few batches, or a group has no target that
        counts.

    Notes
    -----
    One pass over the data, for the weights; the model is not evaluated. A list is divided; of any other
    source every group reads all batches and skips those of the others. With ``rng_seed`` every batch has a
    mask of its own, but another one than in ``objective``.
    """
    if not isinstance(objective, Objective):
        msg = f"{_WHERE}: objective must be an Objective, got {type(objective).__name__}"
        raise TypeError(msg)
    count = _checks.integer(_WHERE, "num_groups", num_groups, least=2)
    if objective.reduction != "mean":
        msg = (
            f"{_WHERE}: objective must have reduction='mean', got {objective.reduction!r}: a sum grows with "
            "the data, so that a population of it is not defined"
        )
        raise ValueError(msg)
    weights = [0.0] * count
    batches = 0
    for index, source in objective.batches():
        weights[index % count] += objective.coefficients(objective.prepare(source))[1]
        batches += 1
    if batches < count:
        advice = "; a single batch can be split into a list of smaller ones" if batches == 1 else ""
        msg = f"{_WHERE}: objective must have at least num_groups = {count} batches, got {batches}{advice}"
        raise ValueError(msg)
    if min(weights) <= 0:
        msg = f"{_WHERE}: every group must have a target that counts, got weights {weights}"
        raise ValueError(msg)
    return BatchGroups(tuple(_part(objective, g, count) for g in range(count)), tuple(weights))


class _Every:
    """Every so-manieth batch of a re-iterable source."""

    def __init__(self, source: Data, first: int, step: int) -> None:
        self._source, self._first, self._step = source, first, step

    def __iter__(self) -> Iterator[Batch]:
        return itertools.islice(iter(self._source), self._first, None, self._step)


def _part(objective: Objective, first: int, step: int) -> Objective:
    """Return the objective of some of the batches; model and parameters are shared."""
    part = copy.copy(objective)
    data = objective.data
    if data.kind == "list":
        part.data = Data(data.source[first::step], "list")
    else:
        part.data = Data(_Every(data, first, step), "stream")
    if objective.state.rng_seed is not None:
        part.state = copy.copy(objective.state)
        part.state.rng_seed = objective.state.rng_seed + _SEEDS * first
    return part
