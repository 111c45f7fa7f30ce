"""Custom autograd functions whose backward hides from autograd what it depends on.

A backward that detaches what was saved, leaves PyTorch for NumPy, or uses what the forward computed on the
side, is a constant to autograd: the second derivative lacks its part, without a sign of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor

from hesscope import _ops
from hesscope.curvature.shadow import Shadow
from hesscope.objective import Objective
from hesscope.objective.data import Batch

_ALLOWED = 0.2  # of the larger of the two: what is hidden is off by all of it
_NOISES = 64
_SHORTER = 0.25  # the second step

_Values = list[tuple[float, float]]  # of every output: a sum, and the part of it that autograd follows


def custom_nodes(roots: Sequence[Tensor | None]) -> list[Any]:
    """Return the nodes of custom functions in the graphs behind ``roots``, in a fixed order."""
    seen: set[object] = set()
    nodes: list[Any] = []
    stack: list[Any] = [root.grad_fn for root in roots if root is not None]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if is_custom(node):
            nodes.append(node)
        stack += [following for following, _ in node.next_functions]
    return nodes


def is_custom(node: object) -> bool:
    """Tell whether a node of a graph is a custom function's."""
    return isinstance(node, torch.autograd.function.BackwardCFunction)


def require_second_derivatives(objective: Objective, batch: Batch, index: int) -> None:
    """Compare how the backwards of custom functions change with what autograd sees of it.

    Each is called with the same cotangents at weights that have moved a little. Autograd must see the
    change in the saved tensors that it follows. A backward that depends on the cotangent alone, as of a
    rounding that passes gradients on, changes neither way. Where the changes with two steps disagree, as at
    kinks, nothing is concluded.

    Parameters
    ----------
    objective
        What is differentiated.
    batch, index
        A prepared batch, and its number.

    Raises
    ------
    RuntimeError
        If autograd sees another change: products with H would lack a part.

    Notes
    -----
    Cost: a gradient and four evaluations of the batch; memory that of a gradient and a copy of the weights.
    """
    epsilon = max(
        torch.finfo(torch.promote_types(p.dtype, torch.float32)).eps for p in objective.parameter_set.tensors
    )
    squares = sum(float(p.detach().double().square().sum()) for p in objective.parameter_set.tensors)
    unit = epsilon ** (1 / 3) * ((squares / objective.n) ** 0.5 or 1.0)
    signs = _ops.probes(1, objective.n, dtype=objective.dtype, device=objective.device)
    pieces = signs[0].split_with_sizes(objective.parameter_set.numels)
    changes: list[list[list[_Change]]] = []  # of every step, backward and output
    with Shadow(objective, torch.float32) as shadow, torch.enable_grad():
        converted = shadow.convert(batch)
        backwards, path = _backwards(objective, shadow, converted, index)
        for step in (unit, _SHORTER * unit):
            ends = []
            for sign in (1.0, -1.0):
                shadow.move(pieces, sign * step)
                with objective.evaluating(index):
                    shadow.convert_buffers()
                    nodes = custom_nodes([objective.batch_loss(converted, index)])
                    if [type(node) for node in nodes] != path:
                        return  # other operations there: no difference to speak of
                    ends.append([found.at(nodes[i]) for i, found in backwards.items()])
            changes.append([_changes(a, b, 2 * step) for a, b in zip(*ends, strict=True)])
    for found, *steps in zip(backwards.values(), *changes, strict=True):
        for size, long, short in zip(found.sizes, *steps, strict=True):
            noise = _NOISES * epsilon * size / (2 * _SHORTER * unit)
            if _near(long.true, short.true, noise) and not long.agrees(noise) and not short.agrees(noise):
                _refuse(found.name, long)


def _refuse(name: str, change: _Change) -> NoReturn:
    off = abs(change.true - change.followed) / max(abs(change.true), abs(change.followed))
    msg = (
        f"hessian: every operation of the model must have a second derivative, got {name}, whose backward "
        f"does not let autograd see what it depends on: its change is off by {off:.0%} from differences. "
        "Replace it by elementary operations, or pass engine='finite_difference'"
    )
    raise RuntimeError(msg)


def _near(a: float, b: float, noise: float) -> bool:
    return abs(a - b) <= _ALLOWED * max(abs(a), abs(b)) + noise


@dataclass(frozen=True)
class _Change:
    """How fast a sum of an output changes along the step, and as far as autograd follows."""

    true: float
    followed: float

    def agrees(self, noise: float) -> bool:
        return _near(self.true, self.followed, noise)


def _changes(ahead: _Values, behind: _Values, distance: float) -> list[_Change]:
    return [
        _Change((a - b) / distance, (c - d) / distance) for (a, c), (b, d) in zip(ahead, behind, strict=True)
    ]


def _backwards(
    objective: Objective, shadow: Shadow, batch: Batch, index: int
) -> tuple[dict[int, _Backward], list[type]]:
    """Return the backwards that a gradient runs, by the number of their nodes, and the kinds of all nodes."""
    cotangents: dict[int, list[Tensor]] = {}
    with objective.evaluating(index):
        shadow.convert_buffers()
        loss = objective.batch_loss(batch, index)
        nodes = custom_nodes([loss])
        hooks = [node.register_hook(_recorder(cotangents, i, node)) for i, node in enumerate(nodes)]
        torch.autograd.grad(loss, objective.parameter_set.tensors, retain_graph=True, allow_unused=True)
        for hook in hooks:
            hook.remove()
        found = {i: _Backward(nodes[i], given) for i, given in sorted(cotangents.items())}
    return found, [type(node) for node in nodes]


def _recorder(cotangents: dict[int, list[Tensor]], i: int, node: Any) -> Callable[[Any, Any], None]:
    def record(_: Any, given: Sequence[Tensor | None]) -> None:
        cotangents[i] = _dense(node, given)

    return record


def _dense(node: Any, cotangents: Sequence[Tensor | None]) -> list[Tensor]:
    """Return cotangents, zeros for those that are missing."""
    return [
        torch.zeros(tuple(meta.shape), dtype=meta.dtype, device=meta.device) if given is None else given
        for given, meta in zip(cotangents, node._input_metadata, strict=True)
    ]


class _Context:
    """A custom function's context, whose tensors that autograd follows are leaves."""

    def __init__(self, node: Any) -> None:
        self._node = node
        self.followed: list[Tensor] = []
        self.saved_tensors = tuple(self._leaf(t) for t in node.saved_tensors)
        for name, value in vars(node).items():
            setattr(self, name, self._leaf(value))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._node, name)

    def _leaf(self, value: Any) -> Any:
        if not isinstance(value, Tensor) or not value.requires_grad:
            return value
        self.followed.append(value.detach().clone().requires_grad_())
        return self.followed[-1]


class _Backward:
    """The backward of one node: its cotangents, and how it depends on what autograd follows."""

    def __init__(self, node: Any, cotangents: Sequence[Tensor]) -> None:
        function = type(node)._forward_cls
        self.name = function.__name__
        named_backward = function.backward is not torch.autograd.Function.backward
        self._backward = function.backward if named_backward else function.vjp
        self._cotangents = cotangents
        context = _Context(node)
        outputs = self._call(context)
        self.sizes = [float(x.detach().double().norm()) for x in outputs]
        self._slopes: list[Sequence[Tensor | None]] = [
            torch.autograd.grad(total, context.followed, retain_graph=True, allow_unused=True)
            if total.requires_grad
            else [None] * len(context.followed)
            for total in _weighted(outputs)
        ]

    def at(self, node: Any) -> _Values:
        """Return for every output a weighted sum at another node, and its part that autograd follows."""
        context = _Context(node)
        totals = [float(total.detach()) for total in _weighted(self._call(context))]
        followed = [
            sum(
                float((slope.double() * value.detach().double()).sum())
                for slope, value in zip(slopes, context.followed, strict=True)
                if slope is not None
            )
            for slopes in self._slopes
        ]
        return list(zip(totals, followed, strict=True))

    def _call(self, context: _Context) -> list[Tensor]:
        outputs = self._backward(context, *self._cotangents)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        return [x for x in outputs if isinstance(x, Tensor) and x.numel() > 0]


def _weighted(outputs: Sequence[Tensor]) -> list[Tensor]:
    """Return sums of the entries of tensors with random signs."""
    sums = []
    for x in outputs:
        signs = _ops.probes(1, x.numel(), dtype=torch.float64, device=x.device)
        sums.append((signs[0] * x.double().reshape(-1)).sum())
    return sums
