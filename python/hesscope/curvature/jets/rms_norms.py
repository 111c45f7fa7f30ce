"""RMS norms that models write out in elementary operators, found in a listing and put together.

``x * rsqrt(mean(x^2) + eps)`` is what ``torch.nn.RMSNorm`` runs on a CPU and what language models have in
their own code (Zhang and Sennrich, 2019). Its backward is always the same dozen operators. Both become
the primitives that layer norm has, so that one kernel serves them.
"""

from __future__ import annotations

import math
import operator
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from hesscope.curvature.jets.call import Shape
from hesscope.curvature.jets.primitives import ops
from hesscope.curvature.jets.trace import Instruction, Listing, Ref, references, without_unused

aten = torch.ops.aten


@dataclass(frozen=True)
class _Norm:
    """An RMS norm of x: where x, y, rstd and mean(x^2) + eps are, and the dimensions."""

    x: int
    y: int
    rstd: int
    shifted: int
    dims: tuple[int, ...]
    eps: float


def fuse_rms_norms(listing: Listing) -> Listing:
    """Replace RMS norms and their backward passes by primitives; the listing is changed."""
    producers = {instruction.index: instruction for instruction in listing.code}
    reads = Counter(i for instruction in listing.code for i in references(instruction.args))
    reads.update(i for i in listing.outputs if i is not None)
    norms = []
    for instruction in listing.code:
        norm = _norm(instruction, producers, listing.shapes)
        if norm is not None and reads[norm.shifted] == 1:
            _replace_norm(norm, producers, listing.shapes)
            norms.append(norm)
    by_input: dict[int, list[_Norm]] = {}
    for norm in norms:
        by_input.setdefault(norm.x, []).append(norm)
    for instruction in listing.code:
        _replace_backward(instruction, producers, by_input, listing.shapes)
    return without_unused(listing) if norms else listing


def _norm(y: Instruction, producers: dict[int, Instruction], shapes: Sequence[Any]) -> _Norm | None:
    """Recognise y = x * rsqrt(mean(x^2) + eps)."""
    for x, rstd in _orders(y, aten.mul.Tensor):
        root = producers.get(rstd)
        shifted = _argument(root, aten.rsqrt.default, producers)
        if shifted is None or shifted.target not in (aten.add.Scalar, aten.add.Tensor):
            continue
        mean, eps = _producer(shifted.args[0], producers), shifted.args[1]
        square = _argument(mean, aten.mean.dim, producers)
        if mean is None or square is None or not isinstance(eps, (int, float)):
            continue
        dims, keep = mean.args[1:3]
        squared = square.target is aten.pow.Tensor_Scalar and square.args == (Ref(x), 2)
        if squared and keep and dims and shapes[x] == shapes[y.index] and _plain(shifted, mean):
            return _Norm(x, y.index, rstd, shifted.index, _places(dims, shapes[x]), float(eps))
    return None


def _replace_norm(norm: _Norm, producers: dict[int, Instruction], shapes: list[Any]) -> None:
    """Put the primitive in the place of mean(x^2) + eps, which nothing but its root reads."""
    root, y, shifted = producers[norm.rstd], producers[norm.y], producers[norm.shifted]
    shifted.target, shifted.args = ops.normalize.default, (Ref(norm.x), list(norm.dims), norm.eps, False)
    shifted.kwargs, shifted.value = {}, (y.value, root.value, root.value)
    shapes[norm.shifted] = shifted.value
    for instruction, entry in ((y, 0), (root, 2)):
        instruction.target, instruction.args = operator.getitem, (Ref(norm.shifted), entry)
        instruction.kwargs = {}


def _replace_backward(
    last: Instruction,
    producers: dict[int, Instruction],
    by_input: dict[int, list[_Norm]],
    shapes: Sequence[Any],
) -> None:
    """Recognise (rest +) h * rstd + 2 x * (-sum(h * x) * rstd^3 / (2 N))."""
    for first, second in _orders(last, aten.add.Tensor):
        inner = producers.get(second)
        found = _through_square(inner, producers, by_input, shapes) if _plain(last) else None
        if found is None or inner is None:
            continue
        h, norm = found
        args = (Ref(h), Ref(norm.y), Ref(norm.rstd), list(norm.dims), False)
        direct = {h, norm.rstd}
        if _is_product(producers.get(first), direct):
            last.target, last.args = ops.normalize_backward.default, args
            return
        before = producers.get(first)
        for rest, product in _orders(before, aten.add.Tensor):
            if before is not None and _plain(before) and _is_product(producers.get(product), direct):
                inner.target, inner.args = ops.normalize_backward.default, args
                last.args = (Ref(rest), Ref(inner.index))
                return


def _through_square(
    inner: Instruction | None,
    producers: dict[int, Instruction],
    by_input: dict[int, list[_Norm]],
    shapes: Sequence[Any],
) -> tuple[int, _Norm] | None:
    """Recognise 2 x * (expand(-1/2 sum(h * x) * rstd^3) / N): h, and the norm of x it belongs to."""
    for scaled, doubled in _orders(inner, aten.mul.Tensor):
        twice, share = producers.get(doubled), producers.get(scaled)
        if twice is None or twice.target is not aten.mul.Scalar or twice.args[1] != 2:
            continue
        spread = _argument(share, aten.div.Scalar, producers)
        weight = _argument(spread, aten.expand.default, producers)
        for half, cubed in _orders(weight, aten.mul.Tensor):
            power, halved = producers.get(cubed), producers.get(half)
            if power is None or power.target is not aten.pow.Tensor_Scalar or power.args[1] != 3:
                continue
            total = _argument(halved, aten.mul.Scalar, producers)
            if halved is None or halved.args[1] != -0.5 or total is None or share is None:
                continue
            product = _argument(total, aten.sum.dim_IntList, producers)
            for norm in by_input.get(twice.args[0].index, []):
                shape = shapes[norm.x]
                same = power.args[0] == Ref(norm.rstd) and _places(total.args[1], shape) == norm.dims
                count = math.prod(shape.shape[d] for d in norm.dims)
                if not same or share.args[1] != count or not total.args[2]:
                    continue
                for h, x in _orders(product, aten.mul.Tensor):
                    if x == norm.x and shapes[h] == shape:
                        return h, norm
    return None


def _orders(instruction: Instruction | None, target: Any) -> Iterator[tuple[int, int]]:
    """Yield the two arguments of a symmetric operator in both orders."""
    if instruction is not None and instruction.target is target:
        a, b = instruction.args[:2]
        if isinstance(a, Ref) and isinstance(b, Ref):
            yield a.index, b.index
            yield b.index, a.index


def _is_product(instruction: Instruction | None, factors: set[int]) -> bool:
    return any({a, b} == factors for a, b in _orders(instruction, aten.mul.Tensor))


def _producer(argument: Any, producers: dict[int, Instruction]) -> Instruction | None:
    return producers.get(argument.index) if isinstance(argument, Ref) else None


def _argument(
    instruction: Instruction | None, target: Any, producers: dict[int, Instruction]
) -> Instruction | None:
    """Return what made the first argument of an instruction, if that has this target."""
    if instruction is None or instruction.target is not target:
        return None
    return _producer(instruction.args[0], producers)


def _plain(*instructions: Instruction) -> bool:
    """Tell whether sums and means have no options: no factor of the second term, no other dtype."""
    return all(
        i.kwargs.get("alpha", 1) == 1
        and i.kwargs.get("dtype") is None
        and (i.target is not aten.add.Scalar or i.args[2:] in ((), (1,)))
        for i in instructions
    )


def _places(dims: Sequence[int], shape: Shape) -> tuple[int, ...]:
    """Return dimensions counted from the last, which a new first one does not move, in order."""
    return tuple(sorted(d % shape.ndim - shape.ndim for d in dims))
