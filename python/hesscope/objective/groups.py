"""Named groups of parameters: layers, attention heads, anything that a name or a rule tells apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from hesscope.objective.objective import Objective

Group = slice | Tensor


def parameter_groups(
    objective: Objective, by: str | Callable[[str], str | None] = "module"
) -> dict[str, Group]:
    """Group the entries of a vector by the names of the parameters they belong to.

    Parameters
    ----------
    objective
        Whose parameters.
    by
        "parameter": one group each. "module": those of one module together (weight and bias of a layer),
        under the module's name. A function: parameters with the same result together; None leaves one out.

    Returns
    -------
    dict[str, slice or Tensor]
        By name, in the order of the parameters: a range where it is one, else int64 indices. For
        :func:`hesscope.block_densities`, :func:`hesscope.block`.

    Raises
    ------
    TypeError, ValueError
        If the objective is none, ``by`` is unknown, or no parameter is left.
    """
    if not isinstance(objective, Objective):
        msg = f"parameter_groups: objective must be an Objective, got {type(objective).__name__}"
        raise TypeError(msg)
    rules: dict[str, Callable[[str], str | None]] = {
        "parameter": lambda name: name,
        "module": lambda name: name.rpartition(".")[0] or name,
    }
    if not callable(by) and by not in rules:
        msg = f"parameter_groups: by must be 'parameter', 'module' or a function of a name, got {by!r}"
        raise ValueError(msg)
    rule = by if callable(by) else rules[by]
    ranges: dict[str, list[slice]] = {}
    for name, part in objective.slices.items():
        group = rule(name)
        if group is not None:
            ranges.setdefault(group, []).append(part)
    if not ranges:
        msg = f"parameter_groups: by must leave a parameter, got None for all of {list(objective.slices)[:8]}"
        raise ValueError(msg)
    return {name: _joined(parts) for name, parts in ranges.items()}


def attention_heads(
    objective: Objective,
    num_heads: int,
    *,
    fused: Sequence[str] = (),
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
) -> dict[str, Tensor]:
    """Group the parameters of an attention layer by head.

    Parameters
    ----------
    objective
        Whose parameters.
    num_heads
        Heads of the layer.
    fused
        Names of parameters whose first dimension stacks query, key and value, each split into heads, as in
        ``in_proj_weight`` and ``in_proj_bias`` of ``nn.MultiheadAttention``.
    rows
        Parameters whose first dimension is split into heads: separate projections and their biases.
    columns
        Parameters whose second dimension is: the weight of the output projection.

    Returns
    -------
    dict[str, Tensor]
        "head 0", "head 1", ...: int64 indices into a vector of length n.

    Raises
    ------
    ValueError
        If a name is unknown, a dimension does not divide by the heads, or no name is given.
    """
    if num_heads < 1 or not (fused or rows or columns):
        msg = f"attention_heads: num_heads must be at least 1 with a parameter to split, got {num_heads}"
        raise ValueError(msg)
    parts: list[Tensor] = []  # [num_heads, entries of each]
    for names, dim, stacked in ((fused, 0, 3), (rows, 0, 1), (columns, 1, 1)):
        parts += [_split(objective, name, dim, stacked, num_heads) for name in names]
    whole = torch.cat(parts, dim=1)
    return {f"head {h}": whole[h].contiguous() for h in range(num_heads)}


def _split(objective: Objective, name: str, dim: int, stacked: int, heads: int) -> Tensor:
    if name not in objective.slices:
        msg = f"attention_heads: parameters must be among {list(objective.slices)[:8]}, got {name!r}"
        raise ValueError(msg)
    part, shape = objective.slices[name], objective.parameters[name].shape
    if len(shape) <= dim or shape[dim] % (stacked * heads):
        msg = (
            f"attention_heads: dimension {dim} of {name} must divide by {stacked * heads}, got {list(shape)}"
        )
        raise ValueError(msg)
    entries = torch.arange(part.start, part.stop).reshape(shape).movedim(dim, 0)
    return entries.reshape(stacked, heads, -1).movedim(1, 0).reshape(heads, -1)


def _joined(parts: list[slice]) -> Group:
    start, stop = parts[0].start, parts[-1].stop
    if sum(part.stop - part.start for part in parts) == stop - start:
        return slice(start, stop)
    return torch.cat([torch.arange(part.start, part.stop) for part in parts])
