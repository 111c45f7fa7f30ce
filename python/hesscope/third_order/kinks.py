"""Which operations of a loss have kinks, and whether it bends anywhere else.

Derivatives are taken along the branch that each kink (relu at 0, max-pool at a tie) selects. Of a loss that
is piecewise linear in every layer's weights nothing is left but products of weights, and a third derivative
says nothing about how kinks move.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hesscope.objective import Objective
from hesscope.objective.data import Batch

# fmt: off
_KINKED = frozenset(
    (
        "relu", "threshold", "hardtanh", "clamp", "clamp_min", "clamp_max", "abs", "leaky_relu",
        "_prelu_kernel", "rrelu_with_noise", "maximum", "minimum", "fmax", "fmin", "max", "min",
        "amax", "amin", "aminmax", "max_pool2d_with_indices", "max_pool3d_with_indices",
        "adaptive_max_pool2d", "adaptive_max_pool3d", "sort", "topk", "kthvalue", "median",
        "nanmedian", "mode", "cummax", "cummin", "softshrink", "hardshrink", "hardsigmoid",
        "multi_margin_loss", "multilabel_margin_loss_forward",
    )
)
_PRODUCTS = frozenset(
    ("mul", "mm", "addmm", "bmm", "baddbmm", "mv", "dot", "addmv", "addbmm", "convolution")
)
_NEUTRAL = frozenset(
    ("native_dropout", "_reshape_alias", "lift", "zeros_like", "ones_like", "sign", "sgn")
)
# fmt: on


@dataclass(frozen=True)
class Kinks:
    """What a loss is made of.

    Attributes
    ----------
    names
        Its operations that have kinks, sorted.
    bends
        Whether it has another operation that is not linear, or a product of what is no weight.
    """

    names: tuple[str, ...]
    bends: bool

    @property
    def alone(self) -> bool:
        """Whether kinks, and products with weights, are all that is not linear."""
        return bool(self.names) and not self.bends

    def require_bend(self) -> None:
        """Raise ValueError if kinks are alone."""
        if self.alone:
            msg = (
                f"third_order: objective must bend somewhere, but its only nonlinear operations have kinks "
                f"({', '.join(self.names)}). Its third derivative would be that along the branches selected "
                "here, of products of weights, and miss how kinks move; ThirdOrder.lipschitz compares "
                "Hessians, and sees them"
            )
            raise ValueError(msg)


def find_kinks(objective: Objective, batch: Batch, index: int) -> Kinks:
    """Record the operations of a prepared batch's loss: one forward pass."""
    recorder = _Recorder(objective.parameter_set.tensors)
    with torch.inference_mode(False), torch.enable_grad(), objective.evaluating(index), recorder:
        objective.raw_loss(batch)
    return Kinks(tuple(sorted(recorder.kinks)), recorder.bends)


class _Recorder(TorchDispatchMode):
    """Sees every operation of which an argument depends on the weights."""

    def __init__(self, weights: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        from hesscope.curvature.jets import rules_indexing, rules_linear

        linear = [*rules_linear.TABLE, *rules_indexing.TABLE]
        self._linear = frozenset(_name(operator) for operator in linear) | _NEUTRAL
        self._weights = {t.untyped_storage().data_ptr() for t in weights}
        self._moving: set[int] = set(self._weights)  # storages that depend on the weights
        self._held: list[Tensor] = []  # so that no storage is given to another tensor meanwhile
        self.kinks: set[str] = set()
        self.bends = False

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run an operation, and note what it is."""
        out = func(*args, **(kwargs or {}))
        given = [s for s in _storages([*args, *(kwargs or {}).values()]) if s in self._moving]
        if given:
            self._note(func, [s for s in given if s not in self._weights], args)
            self._held += [t for t in tree_leaves(out) if isinstance(t, Tensor)]
            self._moving.update(_storages(out))
        return out

    def _note(self, func: Callable[..., Any], activations: list[int], args: tuple[Any, ...]) -> None:
        name = _name(func)
        if name in _KINKED:
            self.kinks.add(name)
        elif name in _PRODUCTS:
            self.bends |= len(activations) > 1  # with a bias or an earlier sum: counted as one, too
        elif name == "div":
            self.bends |= any(s in self._moving for s in _storages(args[1:]))
        elif name not in self._linear:
            self.bends = True


def _name(operator: Any) -> str:
    """Return the name of an operator, without overload and the mark of one that works in place."""
    return str(getattr(operator, "overloadpacket", operator)).rpartition(".")[2].rstrip("_")


def _storages(values: Any) -> Iterator[int]:
    return (t.untyped_storage().data_ptr() for t in tree_leaves(values) if isinstance(t, Tensor))
