"""Running a captured gradient or loss on coefficients above first order."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from hesscope.curvature.jets.capture import CaptureError
from hesscope.curvature.jets.higher.again import schedule
from hesscope.curvature.jets.higher.algebra import Algebra, Jet
from hesscope.curvature.jets.higher.rules import build, build_add, has_rule
from hesscope.curvature.jets.higher.wanted import coefficients_wanted
from hesscope.curvature.jets.partition import Moving
from hesscope.curvature.jets.program import Compiled, Prepared, Program
from hesscope.curvature.jets.trace import Listing


@dataclass(frozen=True)
class Output:
    """One output of a program: its place in a result ``[K, m]``, and its shape."""

    part: slice
    shape: tuple[int, ...]


class HigherProgram(Program):
    """A gradient or a loss, and how the coefficients of an algebra pass it.

    Parameters
    ----------
    listing
        What was captured; its first inputs are the parameters.
    numels
        Entries of each selected parameter.
    algebra
        Which coefficients.
    scalar
        True if the listing is of a loss, False if it is of a gradient.

    Raises
    ------
    CaptureError
        If an operator that depends on the parameters has no rule of that order; all are named.
    """

    def __init__(self, listing: Listing, numels: Sequence[int], algebra: Algebra, *, scalar: bool) -> None:
        super().__init__(listing, numels)
        self.algebra = algebra
        self._wanted, self._by_output = coefficients_wanted(self.parts, algebra)
        missing = [
            str(moving.instruction.target)
            for moving in self.parts.moving.values()
            if moving.instruction.target is not operator.getitem and not has_rule(moving.instruction.target)
        ]
        if missing:
            names = ", ".join(dict.fromkeys(missing))
            msg = f"no rule above first order for {names}"
            raise CaptureError(msg)
        self.outputs = [Output(slice(0, 1), ())] if scalar else _outputs(listing, numels)
        self.bytes_per_probe = algebra.size * self.parts.bytes_per_probe

    def run(
        self, inputs: Sequence[Tensor], *, value: bool = False
    ) -> tuple[HigherPrepared, list[Tensor | None] | None]:
        """Compute what coefficients of a batch need; with ``value``, the captured outputs as well."""
        prepared, found = self.prepare(inputs, gradient=value)
        return HigherPrepared(self, prepared), found

    def _compile(self, moving: Moving, values: list[Any]) -> Compiled:
        if moving.instruction.target is operator.getitem:
            return super()._compile(moving, values)
        call = self._call(moving, values)
        if moving.adds:
            step = build_add(call, self.algebra, moving.rule)
        else:
            index = moving.instruction.index
            by_output = {o: tuple(sorted(found)) for o, found in self._by_output.get(index, {}).items()}
            step = build(call, self.algebra, tuple(sorted(self._wanted[index])), moving.rule, by_output)
        return self._compiled(moving, step)


def _outputs(listing: Listing, numels: Sequence[int]) -> list[Output]:
    """Return where the parts of a gradient go: one behind the other."""
    start, found = 0, []
    for number, numel in enumerate(numels):
        found.append(Output(slice(start, start + numel), listing.shapes[number].shape))
        start += numel
    return found


class HigherPrepared:
    """Steps on the values of one batch.

    Attributes
    ----------
    size
        Bytes of the values that the steps hold, parameters not counted.
    """

    def __init__(self, program: HigherProgram, prepared: Prepared) -> None:
        self.program = program
        self.steps = prepared.steps
        self.size = prepared.size

    @cached_property
    def _sparing(self) -> list[Compiled]:
        steps = {compiled.index: compiled for compiled in self.steps}
        return [replace(steps[index], free=free) for index, free in schedule(self.program.parts)]

    def add(
        self,
        directions: Sequence[Tensor],
        out: Tensor,
        *,
        scale: float,
        overwrite: bool,
        sparing: bool = False,
    ) -> None:
        """Add ``scale`` times the derivative along directions to ``out``.

        Parameters
        ----------
        directions
            Rows ``[K, n]``, one tensor for each direction of the algebra; one row counts for all K.
        out
            ``[K, n]`` for a gradient, ``[K, 1]`` for a loss; one row if the algebra sums over K.
        scale
            Factor.
        overwrite
            True if the old content of ``out`` does not count.
        sparing
            Compute cheap results again instead of holding them.
        """
        program, algebra = self.program, self.program.algebra
        scale *= algebra.factor
        values = self._seeds(directions)
        targets = [out[:, o.part].view(len(out), *o.shape) for o in program.outputs]
        fresh = set(range(len(targets))) if overwrite else set()
        for compiled in self._sparing if sparing else self.steps:
            jets = [values[i] for i in compiled.sources]
            if compiled.adds:
                (output,) = compiled.terms
                if _add_in_place(compiled, targets[output], scale, output in fresh, jets):
                    fresh.discard(output)
            else:
                result = compiled.step(*jets)
                values[compiled.index] = result
                for output in compiled.terms:
                    part = result[algebra.top]
                    if part is not None:
                        _add(targets[output], part, scale, output in fresh)
                        fresh.discard(output)
                del result
            del jets
            for i in compiled.free:
                values[i] = None
        if algebra.order == 1:
            for source, output in program.parts.direct:
                _add(targets[output], values[source][0], scale, output in fresh)
                fresh.discard(output)
        for output in fresh:
            targets[output].zero_()

    def _seeds(self, directions: Sequence[Tensor]) -> list[Any]:
        program = self.program
        shapes = program.listing.shapes
        values: list[Any] = [None] * len(shapes)
        pieces = [d.split_with_sizes(program.numels, 1) for d in directions]
        for number in range(len(program.numels)):
            jet: list[Tensor | None] = []
            for seed in program.algebra.seeds:
                if seed is None:
                    jet.append(None)
                    continue
                piece = pieces[seed][number]
                jet.append(piece.view(len(piece), *shapes[number].shape).to(shapes[number].dtype))
            values[number] = tuple(jet)
        return values


def _add_in_place(compiled: Compiled, target: Tensor, scale: float, overwrite: bool, jets: list[Jet]) -> bool:
    dtype = next((t.dtype for jet in jets for t in jet if t is not None), None)
    if dtype is None:  # nothing of it moves
        return False
    if target.dtype == dtype:
        return bool(compiled.step(target, scale, overwrite, *jets))
    part = torch.empty(target.shape, dtype=dtype, device=target.device)  # low precision: add in the target's
    if not compiled.step(part, 1.0, True, *jets):
        return False
    _add(target, part, scale, overwrite)
    return True


def _add(target: Tensor, part: Tensor, scale: float, overwrite: bool) -> None:
    if not overwrite:
        target.add_(part, alpha=scale)
    elif part.dtype == target.dtype and part.shape == target.shape:
        torch.mul(part, scale, out=target)
    else:
        target.copy_(part).mul_(scale)
