"""What everything that is measured of a third derivative needs of it: its contractions."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from hesscope.objective import Objective
from hesscope.operators import SymmetricOperator


class TrilinearForm(ABC):
    """A symmetric tensor T of order 3, known by its contractions.

    Attributes
    ----------
    objective
        What it is the third derivative of.
    """

    objective: Objective

    @property
    @abstractmethod
    def hessian(self) -> SymmetricOperator:
        """The Hessian of the objective, which shares what is kept between calls."""

    @property
    @abstractmethod
    def contractions(self) -> int:
        """Contractions computed since creation, one per row."""

    @abstractmethod
    def contract(self, u: Tensor, v: Tensor, w: Tensor | None = None, *, reduction: str = "none") -> Tensor:
        """Contract T with two directions, or with three; rows ``[K, n]`` are paired."""

    @abstractmethod
    def cubic_form(self, v: Tensor) -> Tensor:
        """Compute ``T[v, v, v]``."""

    @abstractmethod
    def operator(self, d: Tensor) -> SymmetricOperator:
        """Return ``T[d, ., .]`` as an operator."""
