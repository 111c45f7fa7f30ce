"""The graph of a batch's gradient: built once, differentiated once per product."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.autograd.graph import get_gradient_edge

from hesscope.curvature.custom_functions import is_custom
from hesscope.objective import Objective
from hesscope.objective.checks import refuse_constant
from hesscope.objective.data import Batch


@dataclass
class Graph:
    """The gradient of one batch's loss, with the graph that a product with H differentiates.

    Attributes
    ----------
    objective, index
        Whose loss, and the number of the batch, which seeds its evaluation.
    gradients
        For each selected parameter its gradient, or None where it has no second derivative.
    size
        Bytes that live as long as the graph: saved tensors and gradients, parameters and buffers
        not counted.
    replays
        True if products run parts of the model again (activation checkpointing).
    custom
        The kinds of nodes of custom functions.
    ends
        Where the graph ends, for one parameter of each dtype.
    """

    objective: Objective
    index: int
    gradients: list[Tensor | None]
    size: int
    replays: bool
    custom: frozenset[type]
    ends: tuple[object, ...]

    def reaches_parameters(self) -> bool:
        """Tell whether the graph still ends at the parameters.

        It does not after a parameter has had data of another precision for a while, as another engine may
        give it: torch then makes a new end, and derivatives of the old graph are zero without a word.
        """
        return self.ends == _ends(self.objective)

    def add_products(
        self, vectors: Tensor, out: Tensor, *, scale: float, overwrite: bool, retain: bool
    ) -> None:
        """Add ``scale`` times the products of this batch's H with rows ``[K, n]`` to ``out [K, n]``.

        With ``overwrite`` the old content of ``out`` does not count. Without ``retain`` the graph is
        used up.
        """
        # One vector after the other: batching them through vmap takes 1.3 to 3 times as long for wide
        # layers (and half as long for tiny ones).
        last = len(vectors) - 1
        for k, (vector, target) in enumerate(zip(vectors, out, strict=True)):
            products = self._multiply(vector, retain=retain or k < last)
            accumulate(
                products, target.split_with_sizes(self.objective.parameter_set.numels), scale, overwrite
            )

    def _multiply(self, vector: Tensor, *, retain: bool) -> Sequence[Tensor | None]:
        pieces = vector.split_with_sizes(self.objective.parameter_set.numels)
        outputs, cotangents = [], []
        for gradient, piece in zip(self.gradients, pieces, strict=True):
            if gradient is not None:
                outputs.append(gradient)
                cut = piece.view(gradient.shape)
                cotangents.append(cut if cut.dtype == gradient.dtype else cut.to(gradient.dtype))
        if not outputs:
            return [None] * len(pieces)
        return self._differentiate(outputs, cotangents, retain=retain)

    def _differentiate(
        self, outputs: list[Tensor], cotangents: list[Tensor], *, retain: bool
    ) -> tuple[Tensor | None, ...]:
        inputs = self.objective.parameter_set.tensors
        held = self.objective.evaluating(self.index) if self.replays else contextlib.nullcontext()
        try:
            with held:
                return backward(outputs, cotangents, inputs, retain=retain)
        except RuntimeError as error:
            explain_missing_derivative(error)
            raise


def accumulate(
    products: Sequence[Tensor | None],
    targets: Sequence[Tensor],  # flat, one per parameter
    scale: float,
    overwrite: bool,
) -> None:
    """Add ``scale * product`` to each target, in the precision of the target."""
    for product, flat in zip(products, targets, strict=True):
        if product is None:
            if overwrite:
                flat.zero_()
            continue
        target = flat.view(product.shape)
        if not overwrite:
            target.add_(product, alpha=scale)
        elif product.dtype == target.dtype:
            torch.mul(product, scale, out=target)
        else:  # convert first: a factor in low precision would be off for all entries alike
            target.copy_(product).mul_(scale)


def build_graph(objective: Objective, batch: Batch, index: int) -> Graph:
    """Evaluate a batch's loss and its gradient, and keep what a second derivative needs.

    Costs a little more than one gradient.
    """
    tensors = objective.parameter_set.tensors
    with objective.evaluating(index):
        loss = objective.batch_loss(batch, index)
        try:
            gradients = torch.autograd.grad(loss, tensors, create_graph=True, allow_unused=True)
        except RuntimeError as error:
            explain_missing_derivative(error)
            raise
    objective.confirm(batch, index, float(loss.detach()))
    refuse_constant(gradients, index)
    kept = [g if g is not None and g.requires_grad else None for g in gradients]
    size, replays, custom = inspect_graph([loss, *(g for g in kept if g is not None)], objective)
    return Graph(
        objective=objective,
        index=index,
        gradients=kept,
        size=size,
        replays=replays,
        custom=custom,
        ends=_ends(objective),
    )


def _ends(objective: Objective) -> tuple[object, ...]:
    of_each_dtype = {p.dtype: p for p in objective.parameter_set.tensors}
    with torch.inference_mode(False):
        return tuple(get_gradient_edge(p).node for p in of_each_dtype.values())


def explain_missing_derivative(error: RuntimeError, matrix: str = "hessian") -> None:
    """Raise an error that says what to do if ``error`` is about a missing second derivative."""
    text = str(error)
    signs = ("not implemented", "differentiate twice", "does not currently support double backward")
    if not any(sign in text for sign in signs):
        return
    msg = (
        f"{matrix}: every operation of the model must have a second derivative, got one that has none: "
        f"{text.splitlines()[0].strip()} Replace it by elementary operations{_difference(matrix)}; for a "
        "compiled model, pass the module that was compiled"
    )
    raise RuntimeError(msg) from error


def _difference(matrix: str) -> str:
    return ", or pass engine='finite_difference'" if matrix == "hessian" else ""


def inspect_graph(
    roots: list[Tensor], objective: Objective, matrix: str = "hessian"
) -> tuple[int, bool, frozenset[type]]:
    """Walk a graph: the bytes that its saved tensors occupy, whether hooks unpack them, custom functions.

    Refuses functions marked once_differentiable: where the incoming gradient is constant, torch takes
    their derivative for constant too, and H would silently lack their part.
    """
    outside = objective.parameter_set.tensors + objective.state.buffers()
    known = {t.untyped_storage().data_ptr() for t in outside}
    storages: dict[int, int] = {}
    for root in roots:
        _count_storage(root, storages)
    replays = False
    custom: set[type] = set()
    stack: list[Any] = [root.grad_fn for root in roots]
    seen: set[Any] = set()
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        _refuse_once_differentiable(node, matrix)
        if is_custom(node):
            custom.add(type(node))
        stack.extend(following for following, _ in node.next_functions)
        for saved in _saved(node):
            if getattr(saved, "unpack_hook", None) is not None:
                replays = True
                continue
            with contextlib.suppress(RuntimeError):  # an output of its own node, or already freed
                _count_storage(saved.data if hasattr(saved, "data") else saved.unpack(), storages)
    return sum(size for address, size in storages.items() if address not in known), replays, frozenset(custom)


def saved_tensors(roots: Sequence[Tensor]) -> Iterator[Tensor]:
    """Yield the tensors that the graph behind ``roots`` saves, those of hooks not."""
    stack: list[Any] = [root.grad_fn for root in roots]
    seen: set[Any] = set()
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        stack.extend(following for following, _ in node.next_functions)
        for saved in _saved(node):
            if getattr(saved, "unpack_hook", None) is None:
                with contextlib.suppress(RuntimeError):  # an output of its own node, or already freed
                    tensor = saved.data if hasattr(saved, "data") else saved.unpack()
                    if isinstance(tensor, Tensor) and tensor.layout == torch.strided:
                        yield tensor


@functools.cache
def _saved_names(kind: Any) -> tuple[str, ...]:
    return tuple(name for name in dir(kind) if name.startswith("_raw_saved_"))


def _saved(node: Any) -> list[Any]:
    found: list[Any] = []
    kind: Any = type(node)
    for name in _saved_names(kind):
        try:
            value = getattr(node, name)
        except RuntimeError:
            continue
        found.extend(value if isinstance(value, (tuple, list)) else [value])
    return [saved for saved in found if saved is not None]


def _count_storage(tensor: Tensor | None, storages: dict[int, int]) -> None:
    if isinstance(tensor, Tensor) and tensor.layout == torch.strided:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()


def backward(
    outputs: Sequence[Tensor], cotangents: Sequence[Tensor], inputs: Sequence[Tensor], *, retain: bool
) -> tuple[Tensor | None, ...]:
    """Do what ``torch.autograd.grad`` does, without its checks of shapes.

    Those import sympy at their first use (about a second) and take a fifth of the time of a product
    of a small network.
    """
    engine = getattr(torch.autograd.graph, "_engine_run_backward", None)
    if engine is None:
        return torch.autograd.grad(outputs, inputs, cotangents, retain_graph=retain, allow_unused=True)
    # positional: retain_graph, create_graph, inputs, allow_unused
    products: tuple[Tensor | None, ...] = engine(
        tuple(outputs), tuple(cotangents), retain, False, tuple(inputs), True, accumulate_grad=False
    )
    return products


def _nothing(_: object) -> None:
    pass


_ONCE = once_differentiable(_nothing).__code__  # of the wrapper, which all marked functions share


def _refuse_once_differentiable(node: Any, matrix: str) -> None:
    function = getattr(type(node), "_forward_cls", None)
    backward = getattr(function, "backward", None)
    if getattr(backward, "__code__", None) is _ONCE:
        msg = (
            f"{matrix}: every operation of the model must have a second derivative, got "
            f"{getattr(function, '__name__', function)}, whose backward is marked once_differentiable. "
            f"Replace it by elementary operations{_difference(matrix)}"
        )
        raise RuntimeError(msg)
