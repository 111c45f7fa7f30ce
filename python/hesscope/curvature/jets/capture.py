"""Capturing the gradient of a batch's loss as a list of operators, once per signature of the input."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

from hesscope.curvature.jets.decompositions import decompositions
from hesscope.curvature.jets.reads import VALUE_READ, Reads
from hesscope.curvature.jets.rms_norms import fuse_rms_norms
from hesscope.curvature.jets.stops import mark_stops
from hesscope.curvature.jets.trace import Listing, listing
from hesscope.curvature.jets.tracing import light
from hesscope.objective import Objective
from hesscope.objective.data import Batch, tensors


class CaptureError(RuntimeError):
    """The gradient cannot be captured, or an operator in it has no rule; the message names it."""


@dataclass
class Captured:
    """The gradient of a batch's loss, as operators on inputs.

    Attributes
    ----------
    code
        The operators; the first inputs are the selected parameters.
    seconds
        What the capture took.
    """

    code: Listing
    seconds: float


def input_tensors(objective: Objective, batch: Batch) -> list[Tensor]:
    """Return what the gradient depends on: selected parameters, others, buffers, the batch's tensors.

    To be called where the model is evaluated, so that its buffers are those it uses. Every tensor is
    there once.
    """
    selected = objective.parameter_set.tensors
    others = [parameter for _, _, _, parameter in objective.parameter_set.watched]
    candidates = [*selected, *others, *objective.state.buffers(), *tensors(batch)]
    return list({id(t): t for t in candidates}.values())


def signature(objective: Objective, batch: Batch) -> Hashable:
    """Return what a captured gradient is good for: shapes, dtypes and nesting of everything it reads."""
    found = [
        *objective.parameter_set.tensors,
        *(parameter for _, _, _, parameter in objective.parameter_set.watched),
        *objective.state.buffers(),
        *tensors(batch),
    ]
    first: dict[int, int] = {}
    same = tuple(first.setdefault(id(t), i) for i, t in enumerate(found))
    leaves, nesting = pytree.tree_flatten(batch)
    rest = tuple(_literal(leaf) for leaf in leaves)
    described = tuple((tuple(t.shape), tuple(t.stride()), t.dtype, t.device) for t in found)
    return (described, same, str(nesting), rest, objective.state.flags())


def _literal(leaf: Any) -> Hashable:
    if isinstance(leaf, Tensor):
        return "tensor"
    if leaf is None or isinstance(leaf, (bool, int, float, str)):
        return (type(leaf).__name__, leaf)
    return (type(leaf).__name__, id(leaf))


def capture(objective: Objective, batch: Batch, index: int, *, what: str = "gradient") -> Captured:
    """Record the operators that compute the gradient of one batch's loss, or ("loss") the loss itself.

    Costs a gradient, and Python time in proportion to the number of operators.

    Raises
    ------
    CaptureError
        If the loss depends on values in a way that operators do not show (``.item()``, ``if``), or
        writes into tensors that are read elsewhere.
    """
    start = time.perf_counter()
    parameters = objective.parameter_set.tensors

    reads = Reads(len(parameters))
    count = len(parameters) if what == "gradient" else 1

    def traced_outputs(*_: Tensor) -> list[Tensor | None]:
        with reads, mark_stops(reads.read):
            loss = objective.raw_loss(batch).reshape(())
        found: tuple[Tensor | None, ...] = (loss,)
        if what == "gradient":
            found = torch.autograd.grad(loss, parameters, allow_unused=True)
        return [*found, *(tensor for tensor, _ in reads.found)]

    with objective.evaluating(index), _elementary(objective), light():
        inputs = input_tensors(objective, batch)
        try:
            traced = make_fx(traced_outputs, decompositions(), tracing_mode="real")(*inputs)
            code = fuse_rms_norms(listing(traced, len(inputs), len(parameters)))
            code.separate_guards(count, [value for _, value in reads.found])
        except Exception as error:
            raise CaptureError(_reason(error)) from error
    return Captured(code, time.perf_counter() - start)


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    if "_local_scalar_dense" in text or "data-dependent" in text.lower():
        return f"aten._local_scalar_dense: {VALUE_READ}"
    return f"{type(error).__name__}: {text[:300]}"


@contextlib.contextmanager
def _elementary(objective: Objective) -> Iterator[None]:
    """Choose implementations that consist of elementary operators."""
    fused = torch._C._get_mkldnn_enabled()
    try:
        if any(isinstance(module, nn.RNNBase) for module in objective.state.modules):
            torch._C._set_mkldnn_enabled(False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch._C._set_mkldnn_enabled(fused)
