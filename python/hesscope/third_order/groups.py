"""Groups of probes, one after the other, for estimates that rest on contractions with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from hesscope import _checks, _ops
from hesscope._ops.probes import ProbeKind
from hesscope.curvature.fingerprint import fingerprint
from hesscope.krylov.interrupt import deferred_interrupt
from hesscope.krylov.progress import progress_bar
from hesscope.results import Status
from hesscope.third_order.form import TrilinearForm

GROUPS = 8  # whose means an interval rests on


class ProbeGroups:
    """Probes of one estimate: addressed by their seed, with everything they depend on watched.

    Parameters
    ----------
    where
        Name of the function, for messages.
    third
        The third derivative.
    seed
        Of the probes.
    progress
        Show a bar.

    Attributes
    ----------
    status
        COMPLETE, or why the groups ended early.
    stopped
        Set by a sample that Ctrl-C cut off: it does not count.
    """

    def __init__(self, where: str, third: TrilinearForm, seed: int, *, progress: bool = False) -> None:
        self.where, self.third = where, third
        self.seed = _checks.integer(where, "seed", seed)
        self.progress = bool(progress)
        self.status = Status.COMPLETE
        self.stopped = False
        self._next = 0

    def probes(self, count: int, *, kind: ProbeKind = "rademacher") -> Tensor:
        """Return the next ``count`` probes: ``[count, n]``."""
        objective = self.third.objective
        first, self._next = self._next, self._next + count
        return _ops.probes(
            count,
            objective.n,
            kind=kind,
            seed=self.seed,
            first_probe=first,
            dtype=objective.dtype,
            device=objective.device,
        )

    def each(self, count: int, sample: Callable[[], Tensor]) -> Iterator[Tensor]:
        """Yield ``sample()`` so many times.

        Ctrl-C, or a sample that is not finite, ends the sequence early and sets ``status``. A first sample
        that Ctrl-C cuts off raises KeyboardInterrupt: there is nothing to return.

        Raises
        ------
        ValueError
            If the first sample is not finite.
        RuntimeError
            If weights, buffers or data change meanwhile.
        """
        before = fingerprint(self.third.objective)
        with (
            deferred_interrupt() as interruption,
            progress_bar(self.where, count, shown=self.progress) as bar,
        ):
            for number in range(count):
                found = sample()
                bar.update()
                if self.stopped:
                    if number == 0:
                        raise KeyboardInterrupt
                    self.status = Status.INTERRUPTED
                    return
                if fingerprint(self.third.objective) != before:
                    msg = (
                        f"{self.where}: objective must not change during a run, but its parameters, buffers "
                        "or data did"
                    )
                    raise RuntimeError(msg)
                if not bool(torch.isfinite(found).all()):
                    if number == 0:
                        msg = f"{self.where}: contractions must be finite, got NaN or inf for the first probe"
                        raise ValueError(msg)
                    self.status = Status.NONFINITE_OPERATOR
                    return
                yield found
                if interruption.requested:
                    self.status = Status.INTERRUPTED
                    return


def group_size(num_probes: int) -> tuple[int, int]:
    """Return how many groups, of how many probes each, hold at least ``num_probes``."""
    groups = min(num_probes, GROUPS)
    return groups, -(-num_probes // groups)


class Running:
    """Mean and spread of vectors that come one after the other (Welford 1962), in float64."""

    def __init__(self, like: Tensor) -> None:
        self.count = 0
        self.mean = torch.zeros_like(like, dtype=torch.float64)
        self._squares = torch.zeros_like(self.mean)

    def add(self, sample: Tensor) -> None:
        """Take one more."""
        self.count += 1
        change = sample.double() - self.mean
        self.mean += change / self.count
        self._squares += change * (sample - self.mean)

    def half_width(self, student: Callable[[int], float]) -> Tensor:
        """Return half the width of the t-interval of every entry; ``inf`` for fewer than two."""
        if self.count < 2:
            return torch.full_like(self.mean, torch.inf)
        deviation = (self._squares / (self.count - 1) / self.count).sqrt()
        return student(self.count - 1) * deviation
