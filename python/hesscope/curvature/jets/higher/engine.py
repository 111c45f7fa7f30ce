"""The jets engine above first order: derivatives of an objective along directions, batch by batch."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from hesscope.curvature.jets.budget import working_set
from hesscope.curvature.jets.capture import CaptureError, capture, input_tensors, signature
from hesscope.curvature.jets.engine import JetsHessian
from hesscope.curvature.jets.higher.algebra import FIRST, Algebra
from hesscope.curvature.jets.higher.program import HigherPrepared, HigherProgram
from hesscope.curvature.jets.reads import holds
from hesscope.curvature.jets.trace import Listing
from hesscope.curvature.jets.verify import check_loss_coefficients
from hesscope.curvature.merge import join
from hesscope.curvature.plan import Group, Plan
from hesscope.objective.data import Batch


class JetsDerivatives:
    """Coefficients of an objective's gradient or loss along directions.

    Captured gradients, the plan of batches and the budget are those of a :class:`JetsHessian`; values
    of batches are kept here, one set for every kind of coefficients that was asked for.

    Parameters
    ----------
    hessian
        The Hessian of the objective, which captures and checks gradients.
    """

    name = "jets"

    def __init__(self, hessian: JetsHessian) -> None:
        self.hessian = hessian
        self._plan: Plan | None = None
        self._programs: dict[tuple[int, Algebra, bool], HigherProgram] = {}  # by the listing's identity
        self._losses: dict[Hashable, list[Listing]] = {}  # one for each path that was taken
        self._checked: set[int] = set()  # batches whose captured loss was checked since the last change
        self._prepared: dict[tuple[int, Algebra, bool], HigherPrepared] = {}

    @property
    def memory(self) -> int:
        """Bytes that kept values and batches occupy now."""
        return self.hessian.memory

    @property
    def kept(self) -> int:
        """Bytes of the values that are kept here."""
        return sum(prepared.size for prepared in self._prepared.values())

    def explain(self) -> str:
        """Say how contractions are computed: engine, captures, batches, memory, cost."""
        captured = [
            f"{algebra.name} of the {'loss' if scalar else 'gradient'}"
            for _, algebra, scalar in self._programs
            if algebra is not FIRST
        ]
        lines = ["engine: jets (coefficients through captured gradients and losses)"]
        if not captured:
            return "\n".join([*lines, "nothing is captured yet: the first contraction reads the data"])
        return "\n".join(
            [
                *lines,
                f"coefficients: {', '.join(dict.fromkeys(captured))}",
                f"batches: {0 if self._plan is None else self._plan.count}",
                f"memory: {self.memory / 2**20:.1f} MiB held of a budget of "
                f"{self.hessian.memory_budget / 2**20:.1f} MiB",
                "cost a row: T[u, u, .] about 4 gradients, T[u, v, .] 6; forward only v'Hv 4/3, T[v, v, v] 2",
            ]
        )

    def release(self) -> None:
        """Free all kept values and batches; what was captured stays."""
        self.hessian.release()

    def forget(self) -> None:
        """Free all values that are kept here: the batches are others, or have changed."""
        self._prepared.clear()
        self._checked.clear()
        self._plan = None

    def add(self, algebra: Algebra, directions: Sequence[Tensor], out: Tensor, *, scalar: bool) -> None:
        """Write the derivative along directions (rows ``[K, n]`` or one row for all) to ``out``.

        ``out`` is ``[K, n]``, or ``[K, 1]`` with ``scalar``; one row if the algebra sums over K.

        Raises
        ------
        CaptureError
            If a batch's gradient or loss cannot be captured, or has an operator without a rule.
        """
        plan = self.hessian._current_plan()
        if plan is not self._plan:
            self.forget()
            self._plan = plan
        with torch.inference_mode(False), torch.no_grad():
            for number, (group, batches) in enumerate(plan.walk()):
                batch = join(self.hessian.objective, batches)
                prepared = self._values(algebra, number, group, batch, scalar=scalar)
                self._add_batch(algebra, prepared, directions, out, scale=group.scale, overwrite=number == 0)

    def _add_batch(
        self,
        algebra: Algebra,
        prepared: HigherPrepared,
        directions: Sequence[Tensor],
        out: Tensor,
        *,
        scale: float,
        overwrite: bool,
    ) -> None:
        count = max(len(d) for d in directions)
        rows = working_set(self.hessian.memory_budget - self.memory, self.hessian.device)
        rows //= max(prepared.program.bytes_per_probe, 1)
        sparing = rows < 1  # not even one vector's coefficients fit
        rows = max(1, rows)
        for start in range(0, count, rows):
            part = slice(start, start + rows)
            prepared.add(
                [d if len(d) == 1 else d[part] for d in directions],
                out if algebra.collapsed else out[part],
                scale=scale,
                overwrite=overwrite and (start == 0 or not algebra.collapsed),
                sparing=sparing,
            )

    def _values(
        self, algebra: Algebra, number: int, group: Group, batch: Batch, *, scalar: bool
    ) -> HigherPrepared:
        place = (number, algebra, scalar)
        prepared = self._prepared.get(place)
        if prepared is None:
            index = group.entries[0].index
            listing = (
                self._loss(number, batch, index)
                if scalar
                else self.hessian.verified(number, group, batch).listing
            )
            program = self._program(algebra, listing, scalar=scalar)
            prepared, _ = self._run(program, batch, index)
            if self.memory + prepared.size <= self.hessian.memory_budget:
                self._prepared[place] = prepared
        return prepared

    def _program(self, algebra: Algebra, listing: Listing, *, scalar: bool) -> HigherProgram:
        key = (id(listing), algebra, scalar)  # the program keeps the listing alive
        if key not in self._programs:
            numels = self.hessian.objective.parameter_set.numels
            self._programs[key] = HigherProgram(listing, numels, algebra, scalar=scalar)
        return self._programs[key]

    def _loss(self, number: int, batch: Batch, index: int) -> Listing:
        """Return the captured loss of a batch; the first time, check value and slope by autograd."""
        objective = self.hessian.objective
        known = self._losses.setdefault(signature(objective, batch), [])
        with objective.evaluating(index):
            inputs = input_tensors(objective, batch)
            listing = next((one for one in known if holds(one, inputs)), None)
        if listing is not None and number in self._checked:
            return listing
        expected = torch.zeros(objective.n, dtype=self.hessian.dtype, device=self.hessian.device)
        objective.add_gradient(expected, batch, index, 1.0)
        if listing is None or not self._agrees(listing, batch, index, expected):
            if listing is not None:  # out of date: the model has numbers of its own
                known.remove(listing)
            listing = capture(objective, batch, index, what="loss").code
            self._check(listing, batch, index, expected)
            known.append(listing)
        self._checked.add(number)
        return listing

    def _agrees(self, listing: Listing, batch: Batch, index: int, expected: Tensor) -> bool:
        try:
            self._check(listing, batch, index, expected)
        except CaptureError:
            return False
        return True

    def _check(self, listing: Listing, batch: Batch, index: int, expected: Tensor) -> None:
        prepared, value = self._run(self._program(FIRST, listing, scalar=True), batch, index, value=True)
        check_loss_coefficients(self.hessian.objective, prepared, value, batch, index, expected)

    def _run(
        self, program: HigherProgram, batch: Batch, index: int, *, value: bool = False
    ) -> tuple[HigherPrepared, Tensor | None]:
        objective = self.hessian.objective
        with objective.evaluating(index), torch.no_grad():
            prepared, found = program.run(input_tensors(objective, batch), value=value)
        return prepared, None if found is None else found[0]
