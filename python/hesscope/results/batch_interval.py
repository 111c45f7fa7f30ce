"""A number or a curve with two intervals: for the data there are, and for where they come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from torch import Tensor

from hesscope.results.estimate import Band, Estimate

Result = TypeVar("Result", Estimate, Band)


@dataclass(frozen=True, eq=False)
class BatchInterval(Generic[Result]):
    """Two answers to two questions.

    Attributes
    ----------
    on_data
        The statistic of H of these batches; its interval is about having few probes.
    population
        The statistic of the H of endlessly many batches: corrected for bias, with an interval about having
        few probes and few batches.
    bias
        What ``on_data`` is too large by, as the groups tell: an estimate.
    data_error
        Half-width of the 95 % interval over the data alone.
    num_groups
        Groups of batches, one more than there are degrees of freedom.
    """

    on_data: Result
    population: Result
    bias: float | Tensor
    data_error: float | Tensor
    num_groups: int

    def __str__(self) -> str:
        if isinstance(self.on_data, Estimate):
            return f"{self.on_data} on these data; {self.population} for their population"
        return f"curves of {len(self.on_data.grid)} points on these data and for their population"
