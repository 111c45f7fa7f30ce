"""Writing in place, replaced by new values: what a later reader of the storage sees.

A tensor that is written into gets a new value, and through the views that led to it, so does the tensor
that owns the storage. A view that is read afterwards is taken anew from the owner's present value.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx

from hesscope.curvature.jets.call import Shape
from hesscope.curvature.jets.tracing import device_of

aten = torch.ops.aten

Emit = Callable[[Any, tuple[Any, ...], Any], Any]
"""Adds an operator on these arguments, with a result of this shape, to the listing; returns the result."""


class Writes:
    """Present values of the nodes of a graph whose operators may write in place.

    Parameters
    ----------
    emit
        Adds an operator to the listing.
    constant
        Adds a constant tensor.
    """

    def __init__(self, emit: Emit, constant: Callable[[torch.Tensor], Any]) -> None:
        self.emit = emit
        self.constant = constant
        self.known: dict[fx.Node, Any] = {}
        self._views: dict[fx.Node, tuple[fx.Node, Any, tuple[Any, ...]]] = {}
        self._versions: dict[fx.Node, int] = {}  # of owners that were written into
        self._seen: dict[fx.Node, int] = {}  # the owner's version that a node's value belongs to

    def set(self, node: fx.Node, value: Any) -> None:
        """Record the result of a node."""
        self.known[node] = value
        called: Any = node.target
        target = _METADATA.get(called, called)
        if node.op == "call_function" and _is_view(target, node) and isinstance(node.args[0], fx.Node):
            self._views[node] = (node.args[0], target, node.args[1:])
        owner = self._owner(node)
        if owner in self._versions:
            self._seen[node] = self._versions[owner]

    def present(self, node: fx.Node) -> Any:
        """Return what a node reads as now."""
        if self._versions:
            owner = self._owner(node)
            version = self._versions.get(owner, 0)
            if node is not owner and self._seen.get(node, 0) != version:
                parent, target, rest = self._views[node]
                self.known[node] = self._take(node, parent, target, rest)
                self._seen[node] = version
        return self.known[node]

    def _take(self, node: fx.Node, parent: fx.Node, target: Any, rest: tuple[Any, ...]) -> Any:
        """Return a view of the parent's present value."""
        if target is None:
            return self.present(parent)
        if target is aten.as_strided.default:
            return self.strided(node, parent, rest)
        return self.emit(target, (self.present(parent), *rest), shape_of(node.meta["val"]))

    def strided(self, node: fx.Node, parent: fx.Node, rest: tuple[Any, ...]) -> Any:
        """Return ``as_strided(parent, ...)`` as an index into its entries, in the order of its storage."""
        order, flat, index = self._layout(parent, rest)
        del order
        return self.emit(aten.index.Tensor, (flat, [index]), shape_of(node.meta["val"]))

    def _layout(self, parent: fx.Node, rest: tuple[Any, ...]) -> tuple[list[int], Any, Any]:
        """Return the order of dimensions in storage, the entries in that order, and what is indexed."""
        value = parent.meta["val"]
        order, index = _dense(value, *rest)
        shape = [value.shape[d] for d in order]
        sorted_ = self.present(parent)
        if order != list(range(value.ndim)):
            sorted_ = self.emit(aten.permute.default, (sorted_, order), Shape(tuple(shape), value.dtype))
        flat = self.emit(
            aten.reshape.default, (sorted_, [value.numel()]), Shape((value.numel(),), value.dtype)
        )
        return order, flat, self.constant(index.to(device_of(value)))

    def write(self, node: fx.Node, target: fx.Node, value: Any) -> None:
        """Record that ``node`` puts ``value`` in place of ``target``.

        Raises
        ------
        NotImplementedError
            If ``target`` is a view that cannot be put back, as one of overlapping windows.
        """
        self._views[node] = (target, None, ())
        owner = target
        while owner in self._views:
            parent, view, rest = self._views[owner]
            if view is operator.getitem:
                owner, value = self._put_piece(owner, parent, rest[0], value)
            else:
                owner, value = parent, self._put_back(parent, view, rest, value)
        self.known[owner] = value
        self._versions[owner] = self._versions.get(owner, 0) + 1

    def _owner(self, node: fx.Node) -> fx.Node:
        while node in self._views:
            node = self._views[node][0]
        return node

    def _put_back(self, parent: fx.Node, view: Any, rest: tuple[Any, ...], value: Any) -> Any:
        """Return the parent's value after a view of it became ``value``."""
        if view in (None, aten.detach.default, aten.alias.default):
            return value
        if view is aten.as_strided.default:
            return self._put_strided(parent, rest, value)
        shape = shape_of(parent.meta["val"])
        if view in _SCATTERS:
            return self.emit(_SCATTERS[view], (self.present(parent), value, *rest), shape)
        if view in _SHAPED:
            return self.emit(aten.reshape.default, (value, list(shape.shape)), shape)
        if view in (aten.t.default, aten.transpose.int):
            return self.emit(view, (value, *rest), shape)
        if view is aten.permute.default:
            return self.emit(view, (value, _inverse(rest[0])), shape)
        msg = f"an operator writes into the result of {view}, a view that cannot be put back"
        raise NotImplementedError(msg)

    def _put_strided(self, parent: fx.Node, rest: tuple[Any, ...], value: Any) -> Any:
        order, flat, index = self._layout(parent, rest)
        shape = shape_of(parent.meta["val"])
        sorted_ = Shape(tuple(shape.shape[d] for d in order), shape.dtype)
        entries = Shape((parent.meta["val"].numel(),), shape.dtype)
        written = self.emit(aten.index_put.default, (flat, [index], value), entries)
        whole = self.emit(aten.reshape.default, (written, list(sorted_.shape)), sorted_)
        return self.emit(aten.permute.default, (whole, _inverse(order)), shape)

    def _put_piece(self, piece: fx.Node, pieces: fx.Node, number: Any, value: Any) -> tuple[fx.Node, Any]:
        """Put one result of split or unbind back; return (what was split, its value)."""
        source, values = pieces.args[0], pieces.meta["val"]
        assert isinstance(source, fx.Node)
        shape = shape_of(source.meta["val"])
        named = dict(zip(("self", "sizes", "dim"), pieces.args, strict=False)) | dict(pieces.kwargs)
        if pieces.target is aten.unbind.int:
            where = (pieces.args[1] if len(pieces.args) > 1 else 0, number)
            return source, self.emit(
                aten.select_scatter.default, (self.present(source), value, *where), shape
            )
        dim: Any = named.get("dim", 0)
        start = sum(v.shape[dim] for v in values[:number])
        end = start + piece.meta["val"].shape[dim]
        rest = (self.present(source), value, dim, start, end)
        return source, self.emit(aten.slice_scatter.default, rest, shape)


def changes_entries(target: Any) -> bool:
    """Tell whether an operator writes numbers in place."""
    return isinstance(target, torch._ops.OpOverload) and target._schema.is_mutable and target not in _METADATA


def functional(target: Any) -> Any:
    """Return the operator that returns what ``target`` writes in place.

    Raises
    ------
    NotImplementedError
        If there is none.
    """
    packet, name = target.overloadpacket.__name__, target._overloadname
    for renamed in (_METADATA, _RENAMED):
        if target in renamed:
            return renamed[target]
    if packet.endswith("_") and not packet.endswith("__"):
        found = getattr(getattr(aten, packet[:-1], None), name, None)
        if found is not None:
            return found
    msg = f"{target} writes in place, and there is no operator that returns what it writes"
    raise NotImplementedError(msg)


def _inverse(order: Sequence[int]) -> list[int]:
    places = [d % len(order) for d in order]
    return [places.index(d) for d in range(len(places))]


def _dense(
    value: Any, size: Sequence[int], stride: Sequence[int], offset: int | None = None
) -> tuple[list[int], torch.Tensor]:
    """Return in which order the dimensions of a tensor lie in storage, and what ``as_strided`` reads there.

    Raises
    ------
    NotImplementedError
        If the tensor is not all of its storage.
    """
    order = sorted(range(value.ndim), key=lambda d: -value.stride()[d])
    expected = 1
    for d in reversed(order):
        if value.shape[d] != 1 and value.stride(d) != expected:
            expected = -1
            break
        expected *= value.shape[d]
    if expected < 0 or value.storage_offset() != 0:
        msg = "aten.as_strided.default reads a tensor that is a part of another"
        raise NotImplementedError(msg)
    index = torch.full(tuple(size), offset or 0)
    for d, (length, step) in enumerate(zip(size, stride, strict=True)):
        index += (torch.arange(length) * step).view([-1 if i == d else 1 for i in range(len(size))])
    return order, index


def shape_of(value: Any) -> Any:
    """Return what a traced value is: Shape, a tuple of them, or None."""
    if isinstance(value, torch.Tensor):
        return Shape(tuple(value.shape), value.dtype)
    if isinstance(value, (tuple, list)):
        return tuple(map(shape_of, value))
    return None


def _is_view(target: Any, node: fx.Node) -> bool:
    if target is operator.getitem:
        pieces = node.args[0]
        return isinstance(pieces, fx.Node) and _is_view(pieces.target, pieces)
    schema = getattr(target, "_schema", None)
    if schema is None or schema.is_mutable:
        return False
    return any(result.alias_info is not None for result in schema.returns)


# these change no entry, only how the tensor is read from then on
_METADATA = {
    aten.transpose_.default: aten.transpose.int,
    aten.t_.default: aten.t.default,
    aten.unsqueeze_.default: aten.unsqueeze.default,
    aten.squeeze_.dim: aten.squeeze.dim,
    aten.detach_.default: aten.detach.default,
}

_RENAMED = {
    aten.bernoulli_.float: aten.bernoulli.p,
    aten._index_put_impl_.default: aten.index_put.default,
    aten.normal_.default: aten.normal_functional.default,
    aten.pow_.Scalar: aten.pow.Tensor_Scalar,
    aten.pow_.Tensor: aten.pow.Tensor_Tensor,
}

_SCATTERS = {
    aten.slice.Tensor: aten.slice_scatter.default,
    aten.select.int: aten.select_scatter.default,
    aten.diagonal.default: aten.diagonal_scatter.default,
}

_SHAPED = {
    aten.view.default,
    aten._unsafe_view.default,
    aten._reshape_alias.default,
    aten.unsqueeze.default,
    aten.squeeze.default,
    aten.squeeze.dim,
    aten.squeeze.dims,
}
