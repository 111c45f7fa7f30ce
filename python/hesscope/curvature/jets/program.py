"""Running a captured gradient: the primal once per batch, the coefficients of K vectors at a time."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hesscope.curvature.allocations import Allocations
from hesscope.curvature.jets.call import Call, Step
from hesscope.curvature.jets.footprint import Footprint, held_bytes
from hesscope.curvature.jets.layout import channels_last, convolved, faster_last
from hesscope.curvature.jets.partition import Moving, Partition, partition
from hesscope.curvature.jets.trace import Instruction, Listing, Ref, is_random, references


@dataclass(slots=True)
class Compiled:
    """A step on the values of one batch: what it takes, where it puts its result, what is free then."""

    step: Step
    sources: tuple[int, ...]
    index: int
    terms: tuple[int, ...]
    adds: bool
    free: tuple[int, ...]


@dataclass(slots=True)
class _Turn:
    """An instruction of the primal: computed, made a step of, or both; what is not needed after it."""

    instruction: Instruction
    computes: bool
    moving: Moving | None
    free: tuple[int, ...]


# views that depend on the order in memory
_RESHAPES = {
    torch.ops.aten.view.default: torch.ops.aten.reshape.default,
    torch.ops.aten._unsafe_view.default: torch.ops.aten.reshape.default,
}


class Program:
    """A gradient and how coefficients pass it, for all batches of one signature.

    Parameters
    ----------
    listing
        The gradient.
    numels
        Entries of each selected parameter.

    Attributes
    ----------
    footprint
        The memory that a batch needs; None before the first was evaluated.
    """

    def __init__(self, listing: Listing, numels: Sequence[int]) -> None:
        self.numels = list(numels)
        self.listing = listing
        self.parts: Partition = partition(listing, len(numels))
        self._frees = _last_uses(self.parts)
        self._schedules: dict[bool, list[_Turn]] = {}
        self.footprint: Footprint | None = None
        self._convolved = convolved(listing)
        self._channels_last: bool | None = None

    def prepare(
        self, inputs: Sequence[Tensor], *, gradient: bool, counter: Allocations | None = None
    ) -> tuple[Prepared, list[Tensor | None] | None]:
        """Compute what products on a batch need; with ``gradient``, its gradient as well.

        Costs about 2/3 of a gradient without it; the first time that much more, to choose a layout, which
        ``counter`` does not count.
        """
        if self._channels_last is None:
            run = functools.partial(self._trial, inputs)
            self._channels_last = bool(self._convolved) and faster_last(self.listing, inputs[0].device, run)
        with counter or contextlib.nullcontext():
            return self._prepare(inputs, self._channels_last, gradient=gradient)

    def _trial(self, inputs: Sequence[Tensor], last: bool) -> None:
        self._prepare(inputs, last, gradient=True)

    def _prepare(
        self, inputs: Sequence[Tensor], last: bool, *, gradient: bool
    ) -> tuple[Prepared, list[Tensor | None] | None]:
        if gradient not in self._schedules:
            self._schedules[gradient] = self._schedule(gradient)
        values: list[Any] = [None] * len(self.listing.shapes)
        values[: len(inputs)] = [t.detach() for t in inputs]
        for index, constant in self.listing.constants.items():
            values[index] = constant
        ordered = self._convolved if last else frozenset[int]()
        for index in ordered:
            values[index] = channels_last(values[index])
        outputs = {i for i in self.listing.outputs if i is not None} if gradient else set()
        kept: dict[int, Any] = {i: values[i] for i in outputs if i < len(inputs)}
        steps: list[Compiled] = []
        for turn in self._schedules[gradient]:
            instruction = turn.instruction
            index = instruction.index
            try:
                if turn.computes:
                    value = self._value(instruction, values, last)
                    values[index] = channels_last(value) if index in ordered else value
                    if index in outputs:
                        kept[index] = values[index]
                if turn.moving is not None:
                    steps.append(self._compile(turn.moving, values))
            except Exception as error:
                error.add_note(f"at {instruction.target}")
                raise
            for i in turn.free:
                values[i] = None
        found = [None if i is None else kept[i] for i in self.listing.outputs] if gradient else None
        outside = {t.untyped_storage().data_ptr() for t in inputs}
        return Prepared(self, steps, held_bytes([c.step for c in steps], outside)), found

    def _value(self, instruction: Instruction, values: list[Any], last: bool) -> Any:
        args = _resolve(instruction.args, values, self.listing.shapes)
        target = _RESHAPES.get(instruction.target, instruction.target) if last else instruction.target
        return target(*args, **_named(instruction, values))

    def _compile(self, moving: Moving, values: list[Any]) -> Compiled:
        call = self._call(moving, values)
        build = moving.rule.add if moving.adds and moving.rule.add is not None else moving.rule.build
        return self._compiled(moving, build(call))

    def _call(self, moving: Moving, values: list[Any]) -> Call:
        """Return what a rule is given: the instruction on the values of the batch."""
        instruction = moving.instruction
        shapes = self.listing.shapes
        out = values[instruction.index]
        return Call(
            target=instruction.target,
            args=_resolve(instruction.args, values, shapes),
            kwargs=_named(instruction, values),
            out=instruction.value if out is None else out,
            carries=moving.carries,
            used=moving.used,
        )

    def _compiled(self, moving: Moving, step: Step) -> Compiled:
        index = moving.instruction.index
        return Compiled(
            step, moving.sources, index, tuple(moving.terms), moving.adds, self._frees.get(index, ())
        )

    def _schedule(self, gradient: bool) -> list[_Turn]:
        """Return the primal's instructions that are needed, each with the values that end there."""
        needed = set(self.parts.read)
        if gradient:
            needed.update(i for i in self.listing.outputs if i is not None)
        computed: set[int] = set()
        for instruction in reversed(self.listing.code):
            if instruction.index in needed or is_random(instruction.target):
                computed.add(instruction.index)
                needed.update(_references(instruction))
        turns: list[_Turn] = []
        last: dict[int, int] = {}
        for instruction in self.listing.code:
            moving = self.parts.moving.get(instruction.index)
            if instruction.index in computed or moving is not None:
                for index in (*_references(instruction), instruction.index):
                    last[index] = len(turns)
                turns.append(_Turn(instruction, instruction.index in computed, moving, ()))
        ends: dict[int, list[int]] = {}
        for index, number in last.items():
            ends.setdefault(number, []).append(index)
        for number, turn in enumerate(turns):
            turn.free = tuple(ends.get(number, ()))
        return turns


class Prepared:
    """Steps on the values of one batch: products with its H, for any number of vectors.

    Attributes
    ----------
    size
        Bytes of the values that the steps hold, parameters not counted.
    """

    def __init__(self, program: Program, steps: list[Compiled], size: int) -> None:
        self.program = program
        self.steps = steps
        self.size = size

    def add_products(self, vectors: Tensor, out: Tensor, *, scale: float, overwrite: bool) -> None:
        """Add ``scale`` times the products of this batch's H with rows ``[K, n]`` to ``out [K, n]``.

        With ``overwrite`` the old content of ``out`` does not count.
        """
        program = self.program
        shapes = program.listing.shapes
        values: list[Any] = [None] * len(shapes)
        targets: list[Tensor] = []
        parts = zip(
            vectors.split_with_sizes(program.numels, 1), out.split_with_sizes(program.numels, 1), strict=True
        )
        for number, (piece, target) in enumerate(parts):
            shape = shapes[number].shape
            values[number] = piece.view(len(piece), *shape).to(shapes[number].dtype)
            targets.append(target.view(len(piece), *shape))
        fresh = set(range(len(targets))) if overwrite else set()
        for source, parameter in program.parts.direct:
            _add(targets[parameter], values[source], scale, parameter in fresh)
            fresh.discard(parameter)
        for compiled in self.steps:
            coefficients = [values[i] for i in compiled.sources]
            if compiled.adds:
                (parameter,) = compiled.terms
                _add_in_place(compiled, targets[parameter], scale, parameter in fresh, coefficients)
                fresh.discard(parameter)
            else:
                result = compiled.step(*coefficients)
                values[compiled.index] = result
                for parameter in compiled.terms:
                    _add(targets[parameter], result, scale, parameter in fresh)
                    fresh.discard(parameter)
                del result
            del coefficients
            for i in compiled.free:
                values[i] = None
        for parameter in fresh:
            targets[parameter].zero_()


def _add_in_place(
    compiled: Compiled, target: Tensor, scale: float, overwrite: bool, coefficients: list[Tensor]
) -> None:
    if target.dtype == coefficients[0].dtype:
        compiled.step(target, scale, overwrite, *coefficients)
    else:  # low precision: add in that of the target
        part = torch.empty(target.shape, dtype=coefficients[0].dtype, device=target.device)
        compiled.step(part, 1.0, True, *coefficients)
        _add(target, part, scale, overwrite)


def _add(target: Tensor, part: Tensor, scale: float, overwrite: bool) -> None:
    if not overwrite:
        target.add_(part, alpha=scale)
    elif part.dtype == target.dtype:
        torch.mul(part, scale, out=target)
    else:
        target.copy_(part).mul_(scale)


def _references(instruction: Instruction) -> list[int]:
    return references(instruction.args) + references(tuple(instruction.kwargs.values()))


def _named(instruction: Instruction, values: list[Any]) -> dict[str, Any]:
    return {
        key: values[entry.index] if isinstance(entry, Ref) else entry
        for key, entry in instruction.kwargs.items()
    }


def _resolve(args: Iterable[Any], values: list[Any], shapes: list[Any]) -> list[Any]:
    """Put values in place of references, shapes where the value is not there."""
    found: list[Any] = []
    for entry in args:
        if isinstance(entry, Ref):
            value = values[entry.index]
            found.append(shapes[entry.index] if value is None else value)
        elif isinstance(entry, (tuple, list)):
            found.append(_resolve(entry, values, shapes))
        else:
            found.append(entry)
    return found


def _last_uses(parts: Partition) -> dict[int, tuple[int, ...]]:
    """Return after which moving instruction which coefficients are not needed any more."""
    last: dict[int, int] = {}
    for index, moving in parts.moving.items():
        for source in (*moving.sources, index):
            last[source] = index
    ends: dict[int, list[int]] = {}
    for source, index in last.items():
        ends.setdefault(index, []).append(source)
    return {index: tuple(found) for index, found in ends.items()}
