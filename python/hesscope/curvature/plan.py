"""What a product goes through: batches, merged where that is exact, with their weights."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass

from hesscope.curvature.fingerprint import address_key
from hesscope.curvature.graph import Graph
from hesscope.objective import Objective
from hesscope.objective.data import Batch, concatenate, narrowed, tensors


@dataclass
class Entry:
    """One batch of the data.

    Attributes
    ----------
    index
        Its number.
    scale
        Factor of its loss, before the division by the sum of the weights.
    batch
        The batch, or None where it is read again for every product.
    """

    index: int
    scale: float
    batch: Batch | None


@dataclass
class Group:
    """Consecutive batches that are evaluated as one, or a part of that.

    Attributes
    ----------
    entries
        The batches.
    scale
        Factor of the group's loss in the objective.
    part
        Which samples of the joined batches, if not all.
    """

    entries: list[Entry]
    scale: float
    graph: Graph | None = None
    part: slice | None = None


@dataclass
class Plan:
    """All groups of a data set, and what was decided about them.

    Attributes
    ----------
    groups
        In the order of the data; a batch in which nothing counts is in none.
    count
        Number of batches of the data.
    held
        Bytes of batches that were read from a stream and are kept.
    streams
        True if the batches do not fit and are read again for every product.
    merging
        What was decided about merging, for a person to read.
    limit
        Samples that a group has at most, where large batches were cut; otherwise None.
    uncut
        The groups before that.
    """

    objective: Objective
    groups: list[Group]
    count: int
    held: int
    streams: bool
    merging: str = ""
    limit: int | None = None
    uncut: list[Group] | None = None

    def walk(self) -> Iterator[tuple[Group, list[Batch]]]:
        """Go through the data once: (group, its batches as the source gives them, or the part of them)."""
        reader = self.objective.batches() if self.streams else iter(())
        last: list[Entry] = []
        batches: list[Batch] = []
        for group in self.groups:
            if group.entries is not last:  # parts of one batch follow each other
                last, batches = group.entries, [self._read(reader, entry) for entry in group.entries]
            yield group, batches if group.part is None else [narrowed(concatenate(batches), group.part)]

    def _read(self, reader: Iterator[tuple[int, Batch]], entry: Entry) -> Batch:
        if not self.streams:
            return entry.batch
        return next(batch for index, batch in reader if index == entry.index)

    def held_key(self) -> Hashable:
        """Return a key of the batches of a stream that are held: they may be shared with others."""
        if self.objective.data.kind != "stream" or self.streams:
            return None
        return address_key(t for g in self.groups for entry in g.entries for t in tensors(entry.batch))


def read_plan(objective: Objective, budget: int) -> Plan:
    """Go through the data once, without the model: every batch a group of its own.

    Batches of a stream are held if all of them fit into a quarter of the budget.
    """
    entries: list[Entry] = []
    divisor, held, streams = 0.0, 0, False
    for index, batch in objective.batches():
        scale, share = objective.coefficients(objective.prepare(batch))
        divisor += share
        entries.append(Entry(index, scale, batch))
        if objective.data.kind == "stream":
            held += sum(t.numel() * t.element_size() for t in tensors(batch))
            streams = streams or held > budget // 4
            if streams:
                held = 0
                for entry in entries:
                    entry.batch = None
    total = objective.total(divisor)
    groups = [Group([entry], entry.scale / total) for entry in entries if entry.scale != 0]
    return Plan(objective, groups, len(entries), held, streams)
