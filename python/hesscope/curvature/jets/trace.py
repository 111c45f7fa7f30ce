"""From a traced graph to a list of instructions: no mutation, no repetition, nothing unused."""

from __future__ import annotations

import operator
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx

from hesscope.curvature.jets.primitives import ops
from hesscope.curvature.jets.writes import Writes, changes_entries, functional, shape_of

aten = torch.ops.aten


@dataclass(frozen=True, slots=True)
class Ref:
    """The result of an instruction, as an argument of another."""

    index: int


@dataclass(slots=True)
class Instruction:
    """One operator: where its result goes, its arguments (with ``Ref``) and what the result is."""

    index: int
    target: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    value: Any  # Shape, a tuple of Shape and None, or None


@dataclass(slots=True)
class Listing:
    """A gradient as straight-line code.

    Attributes
    ----------
    inputs
        Number of inputs; their results are 0 to inputs - 1.
    shapes
        What every result is, by its index.
    constants
        Tensors that are no inputs, by index.
    code
        The instructions, in order.
    outputs
        For each selected parameter the index of its gradient, or None.
    guards
        (index, value): results that the code behind the loss has read, with what it found; None if only
        the shape counts. The listing is right where they are the same.
    """

    inputs: int
    shapes: list[Any] = field(default_factory=list)
    constants: dict[int, Tensor] = field(default_factory=dict)
    code: list[Instruction] = field(default_factory=list)
    outputs: list[int | None] = field(default_factory=list)
    guards: list[tuple[int, Tensor | None]] = field(default_factory=list)

    def separate_guards(self, count: int, values: Sequence[Tensor | None]) -> None:
        """Take the outputs from ``count`` on for what was read, with these values."""
        tail = self.outputs[count:]
        self.guards = [(i, value) for i, value in zip(tail, values, strict=True) if i is not None]
        self.outputs = self.outputs[:count]


def references(argument: Any) -> list[int]:
    """Return the results that an argument refers to."""
    if isinstance(argument, Ref):
        return [argument.index]
    if isinstance(argument, (tuple, list)):
        return [i for entry in argument for i in references(entry)]
    return []


def is_random(target: Any) -> bool:
    """Tell whether an operator draws random numbers."""
    return torch.Tag.nondeterministic_seeded in getattr(target, "tags", ())


STOPS = "hesscope_stops"  # in a traced node's meta: autograd takes the result for a constant


def stop(x: Any) -> Any:
    """Return a tensor as it is; nothing is differentiated through this."""
    return x


def listing(module: fx.GraphModule, inputs: int, selected: int) -> Listing:
    """Translate a traced graph, whose first ``selected`` inputs are the parameters.

    Raises
    ------
    NotImplementedError
        If an operator writes into a view that cannot be put back.
    """
    builder = _Builder(module, inputs, selected)
    for node in module.graph.nodes:
        builder.add(node)
    return without_unused(builder.result)


class _Builder:
    """Hash-consing: an instruction that was seen before is not emitted again."""

    def __init__(self, module: fx.GraphModule, inputs: int, selected: int) -> None:
        self.module = module
        self.moves = set(range(selected))  # results that depend on the parameters
        self.result = Listing(inputs)
        self.writes = Writes(self._emit_complete, self._constant_tensor)
        self.seen: dict[Hashable, Ref] = {}
        self.producers: dict[int, Instruction] = {}

    def add(self, node: fx.Node) -> None:
        if node.op == "placeholder":
            self.writes.set(node, self._result(_value(node)))
        elif node.op == "get_attr":
            self.writes.set(node, self._constant(str(node.target)))
        elif node.op == "output":
            outputs: Any = node.args[0]
            found = [self.writes.present(n) if isinstance(n, fx.Node) else None for n in outputs]
            self.result.outputs = [None if ref is None else ref.index for ref in found]
        else:
            result = self._operator(node)
            if node.meta.get(STOPS) and isinstance(result, Ref) and result.index in self.moves:
                result = self._emit(stop, (result,), {}, _value(node))
            if changes_entries(node.target):
                self.writes.write(node, node.args[0], result)  # type: ignore[arg-type]
            self.writes.set(node, result)

    def _result(self, value: Any) -> Ref:
        self.result.shapes.append(value)
        return Ref(len(self.result.shapes) - 1)

    def _constant(self, name: str) -> Ref:
        key = ("constant", name)
        if key not in self.seen:
            self.seen[key] = self._constant_tensor(operator.attrgetter(name)(self.module).detach())
        return self.seen[key]

    def _constant_tensor(self, tensor: Tensor) -> Ref:
        ref = self._result(shape_of(tensor))
        self.result.constants[ref.index] = tensor
        return ref

    def _operator(self, node: fx.Node) -> Any:
        args: Any = fx.map_arg(tuple(node.args), self.writes.present)
        kwargs: Any = fx.map_arg(dict(node.kwargs), self.writes.present)
        target = node.target
        if target is aten.as_strided.default and args[0].index in self.moves:
            return self.writes.strided(node, node.args[0], node.args[1:])  # type: ignore[arg-type]
        if isinstance(target, torch._ops.OpOverload):
            args, kwargs = _complete(target, args, kwargs)
            if target._schema.is_mutable:
                target = functional(target)
                args = args[: sum(not a.kwarg_only for a in target._schema.arguments)]
        same = self._simplified(target, args, _value(node))
        if same is not None:
            return same
        if target is aten._log_softmax_backward_data.default:
            target, args = self._through_logits(args)
        return self._emit(target, args, kwargs, _value(node))

    def _emit_complete(self, target: Any, args: tuple[Any, ...], value: Any) -> Ref:
        if isinstance(target, torch._ops.OpOverload):
            args, kwargs = _complete(target, args, {})
            return self._emit(target, args, kwargs, value)
        return self._emit(target, args, {}, value)

    def _emit(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], value: Any) -> Ref:
        key = (target, _frozen(args), _frozen(kwargs))
        if not is_random(target) and key in self.seen:
            return self.seen[key]
        ref = self._result(value)
        instruction = Instruction(ref.index, target, args, kwargs, value)
        self.result.code.append(instruction)
        self.producers[ref.index] = instruction
        if target is not stop and not self.moves.isdisjoint(references(args)):
            self.moves.add(ref.index)
        self.seen[key] = ref
        return ref

    def _simplified(self, target: Any, args: tuple[Any, ...], value: Any) -> Any:
        """Return an earlier result that is the same, if it is seen at once."""
        if target in (aten.detach.default, aten.alias.default, aten.lift_fresh.default):
            return args[0]
        if target in _RESHAPES and value == self.result.shapes[args[0].index]:
            return args[0]
        if target in (aten.t.default, aten.transpose.int):
            before = self.producers.get(args[0].index)
            if before is not None and before.target is target and before.args[1:] == args[1:]:
                return before.args[0]
        if target is aten.pow.Tensor_Scalar and args[1] == 1:
            return args[0]
        if target is ops.normalized.default:
            return self._normalized(args)
        return None

    def _normalized(self, args: tuple[Any, ...]) -> Any:
        """Return the normalised tensor whose mean and rstd are given, from the forward pass."""
        origin = self._behind_views(args[2].index)
        if origin is None or origin.target is not operator.getitem:
            return None
        norm = self.producers.get(origin.args[0].index)
        if norm is None or norm.target is not ops.normalize.default or norm.args[0] != args[0]:
            return None
        key = (operator.getitem, _frozen((Ref(norm.index), 0)), _frozen({}))
        return self.seen.get(key)

    def _through_logits(self, args: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        """Return the backward of log-softmax as a function of the logits, if they are known."""
        g, y, dim, dtype = args
        forward = self.producers.get(y.index)
        if forward is None or forward.target is not aten._log_softmax.default or forward.args[1] != dim:
            return aten._log_softmax_backward_data.default, args
        x = forward.args[0]
        if self.result.shapes[x.index].dtype != dtype or self.result.shapes[y.index].dtype != dtype:
            return aten._log_softmax_backward_data.default, args
        return ops.log_softmax_backward.default, (g, x, y, dim)

    def _behind_views(self, index: int) -> Instruction | None:
        found = self.producers.get(index)
        while found is not None and found.target in _RESHAPES:
            found = self.producers.get(found.args[0].index)
        return found


_RESHAPES = {
    aten.view.default,
    aten._unsafe_view.default,
    aten.reshape.default,
    aten.expand.default,
    aten.squeeze.dims,
    aten.unsqueeze.default,
}


def _complete(
    target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Write out all positional arguments of an operator."""
    full, named = list(args), dict(kwargs)
    for position, argument in enumerate(target._schema.arguments):
        if argument.kwarg_only or position < len(full):
            continue
        full.append(named.pop(argument.name) if argument.name in named else argument.default_value)
    return tuple(full), named


def _frozen(value: Any) -> Hashable:
    if isinstance(value, (tuple, list)):
        return (type(value).__name__, *map(_frozen, value))
    if isinstance(value, dict):
        return tuple((key, _frozen(entry)) for key, entry in sorted(value.items()))
    return (type(value).__name__, value)  # 1, 1.0 and True are different


def _value(node: fx.Node) -> Any:
    return shape_of(node.meta.get("val"))


def without_unused(result: Listing) -> Listing:
    """Remove instructions and constants that no output needs."""
    live = {i for i in result.outputs if i is not None}
    kept = []
    for instruction in reversed(result.code):
        if instruction.index in live or is_random(instruction.target):
            kept.append(instruction)
            live.update(references(instruction.args))
            live.update(references(tuple(instruction.kwargs.values())))
    result.code = kept[::-1]
    result.constants = {i: t for i, t in result.constants.items() if i in live}
    return result
