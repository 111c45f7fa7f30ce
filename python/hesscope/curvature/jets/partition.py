"""Which results depend on the parameters, and what a product with H needs of the rest."""

from __future__ import annotations

import operator
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import torch

from hesscope.curvature.jets.call import Rule, Shape
from hesscope.curvature.jets.capture import CaptureError
from hesscope.curvature.jets.rules import CONSTANT, RULES
from hesscope.curvature.jets.trace import Instruction, Listing, references

_PICK = Rule(lambda call: operator.itemgetter(call.args[1]), reads=False)


@dataclass
class Moving:
    """An instruction whose result moves with the parameters.

    Attributes
    ----------
    carries
        Positions of the arguments that carry coefficients.
    sources
        The results they come from.
    used
        Of a tuple, the entries that something uses.
    terms
        Parameters to whose gradient the result is added.
    adds
        True if it goes there and nowhere else, by a rule that can add in place.
    """

    instruction: Instruction
    rule: Rule
    carries: tuple[Any, ...]
    sources: tuple[int, ...]
    used: frozenset[int]
    terms: list[int] = field(default_factory=list)
    adds: bool = False


@dataclass
class Partition:
    """A listing, split: every moving instruction by the index of its result, and what they read.

    Attributes
    ----------
    read
        Results whose value some rule reads.
    direct
        Parameters whose gradient is, or contains, the coefficient of a parameter itself: (source,
        parameter).
    bytes_per_probe
        Bytes of coefficients that are alive at once, for one vector.
    """

    listing: Listing
    moving: dict[int, Moving]
    read: set[int]
    direct: list[tuple[int, int]]
    bytes_per_probe: int = 0


def partition(listing: Listing, selected: int) -> Partition:
    """Split a listing whose first ``selected`` inputs are the parameters.

    Raises
    ------
    CaptureError
        If an operator that depends on them has no rule; the message names all of those.
    """
    used = _uses(listing)
    flags: list[Any] = [i < selected for i in range(listing.inputs)]
    flags += [False] * (len(listing.shapes) - listing.inputs)
    moving: dict[int, Moving] = {}
    missing: list[str] = []
    for instruction in listing.code:
        found = _classify(instruction, flags, used[instruction.index], missing)
        if found is not None:
            moving[instruction.index] = found
    if missing:
        names = ", ".join(dict.fromkeys(missing))
        msg = f"no rule for {names}"
        raise CaptureError(msg)
    live = _prune(listing, moving, flags)
    read: set[int] = set()
    for index, item in live.moving.items():
        if item.rule.reads:
            read.update(references(item.instruction.args))
            read.update(references(tuple(item.instruction.kwargs.values())))
        if item.rule.reads_output:
            read.add(index)
    live.read = read
    live.bytes_per_probe = _peak(live)
    return live


def _uses(listing: Listing) -> dict[int, frozenset[int]]:
    """Return for each tuple the entries that are taken from it."""
    used: dict[int, set[int]] = {i: set() for i in range(len(listing.shapes))}
    for instruction in listing.code:
        if instruction.target is operator.getitem:
            used[instruction.args[0].index].add(instruction.args[1])
    return {index: frozenset(entries) for index, entries in used.items()}


def _classify(
    instruction: Instruction, flags: list[Any], used: frozenset[int], missing: list[str]
) -> Moving | None:
    """Decide whether a result moves; record that in ``flags``."""
    target, args = instruction.target, instruction.args
    if target is operator.getitem:
        entries = flags[args[0].index]
        if not entries or not entries[args[1]]:
            return None
        flags[instruction.index] = True
        return Moving(instruction, _PICK, (0,), (args[0].index,), frozenset())
    rule = RULES.get(target)
    carries, sources = _carriers(instruction, flags, None if rule is None else rule.positions)
    if not carries or target in CONSTANT or not _floats(instruction.value):
        return None
    if rule is None:
        if not isinstance(instruction.value, tuple) or used:
            missing.append(str(target))
        return None
    if not isinstance(instruction.value, tuple):
        flags[instruction.index] = True
        return Moving(instruction, rule, carries, sources, used)
    outputs = rule.outputs(carries) if callable(rule.outputs) else rule.outputs
    flags[instruction.index] = tuple(
        _is_float(entry) and (outputs is None or i in outputs) for i, entry in enumerate(instruction.value)
    )
    used = frozenset(i for i in used if flags[instruction.index][i])
    return Moving(instruction, rule, carries, sources, used) if used else None


def _carriers(
    instruction: Instruction, flags: list[Any], positions: tuple[int, ...] | None
) -> tuple[tuple[Any, ...], tuple[int, ...]]:
    carries: list[Any] = []
    sources: list[int] = []
    for position, argument in enumerate(instruction.args):
        if positions is not None and position not in positions:
            continue
        entries = argument if isinstance(argument, (tuple, list)) else [argument]
        for number, entry in enumerate(entries):
            for index in references(entry):
                if flags[index] is True:
                    carries.append(position if entries[0] is argument else (position, number))
                    sources.append(index)
    return tuple(carries), tuple(sources)


def _is_float(value: Any) -> bool:
    """Tell whether a result can depend on the parameters smoothly; complex ones, for they have no rules."""
    return isinstance(value, Shape) and (value.dtype.is_floating_point or value.dtype.is_complex)


def _floats(value: Any) -> bool:
    return any(map(_is_float, value)) if isinstance(value, tuple) else _is_float(value)


def _prune(listing: Listing, moving: dict[int, Moving], flags: list[Any]) -> Partition:
    """Keep what the outputs need, and let sums of gradients go to their parameter term by term."""
    counts = Counter(i for item in listing.code for i in references(item.args))
    counts.update(i for i in listing.outputs if i is not None)
    direct: list[tuple[int, int]] = []
    for parameter, output in enumerate(listing.outputs):
        stack = [] if output is None or flags[output] is not True else [output]
        while stack:
            index = stack.pop()
            item = moving.get(index)
            if item is None:
                direct.append((index, parameter))
            elif counts[index] == 1 and _is_plain_sum(item, listing):
                stack += item.sources
            else:
                item.terms.append(parameter)
    needed = {index for index, item in moving.items() if item.terms}
    for index in sorted(moving, reverse=True):
        if index in needed:
            needed.update(moving[index].sources)
    live = {index: item for index, item in moving.items() if index in needed}
    users = Counter(source for item in live.values() for source in item.sources)
    for index, item in live.items():
        item.adds = item.rule.add is not None and len(item.terms) == 1 and users[index] == 0
    return Partition(listing, live, set(), direct)


def _is_plain_sum(item: Moving, listing: Listing) -> bool:
    instruction = item.instruction
    shapes = [listing.shapes[i] for i in item.sources]
    return (
        instruction.target is torch.ops.aten.add.Tensor
        and instruction.kwargs.get("alpha", 1) == 1
        and all(shape == instruction.value for shape in shapes)
    )


def _peak(live: Partition) -> int:
    """Return the most bytes of coefficients of one vector that are alive at once; views are free."""
    last: dict[int, int] = {}
    for index, item in live.moving.items():
        last.update((source, index) for source in item.sources)
    ends: dict[int, list[int]] = {}
    for source, index in last.items():
        ends.setdefault(index, []).append(source)
    sizes: dict[int, int] = {}
    now = peak = 0
    for index, item in live.moving.items():
        view = not (item.rule.reads or item.rule.reads_output) and len(item.sources) == 1
        sizes[index] = 0 if view or item.adds else coefficient_bytes(item.instruction.value)
        now += sizes[index]
        peak = max(peak, now)
        now -= sum(sizes.get(source, 0) for source in ends.get(index, []))
    return peak


def coefficient_bytes(value: Any) -> int:
    """Return the bytes of one coefficient of a result, or of all entries of a tuple."""
    if isinstance(value, tuple):
        return sum(map(coefficient_bytes, value))
    if not isinstance(value, Shape):
        return 0
    return int(torch.Size(value.shape).numel() * value.dtype.itemsize)
