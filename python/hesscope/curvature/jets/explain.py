"""What the jets engine says about itself."""

from __future__ import annotations

import operator
from collections import Counter
from typing import TYPE_CHECKING

from hesscope.curvature.jets.program import Program
from hesscope.curvature.jets.rules import kind
from hesscope.curvature.plan import Plan

if TYPE_CHECKING:
    from hesscope.curvature.jets.engine import JetsHessian

_MANY = 8  # vectors whose memory is told beside that of one


def describe(engine: JetsHessian) -> str:
    """Return how products are computed: engine and why, captures, batches, memory, cost."""
    lines = [f"engine: jets (coefficients of all vectors of a call through the captured {engine.captures})"]
    if engine.may_fall_back:
        lines.append("why: engine='auto' takes it wherever that can be captured, else 'autograd'")
    else:
        lines.append("why: engine='jets' was asked for")
    plan, programs = engine._plan, list(engine._programs.values())
    if plan is None or not programs or not engine._used:
        return "\n".join([*lines, "nothing is captured yet: the first product reads the data"])
    return "\n".join(
        [
            *lines,
            _captured(engine, programs),
            _batches(plan),
            _values(engine, plan),
            _memory(engine),
            _vectors(engine),
            _cost(engine),
        ]
    )


def _captured(engine: JetsHessian, programs: list[Program]) -> str:
    kinds: Counter[str] = Counter()
    for program in programs:
        moving = (m.instruction.target for m in program.parts.moving.values())
        kinds.update(kind(target) for target in moving if target is not operator.getitem)
    listed = ", ".join(f"{count} {name}" for name, count in kinds.most_common())
    total = ", ".join(str(len(program.listing.code)) for program in programs)
    return (
        f"captured: {len(programs)} in {engine.capture_seconds:.1f} s, of {total} operators; of those that "
        f"depend on the vectors {listed or 'none'}"
    )


def _batches(plan: Plan) -> str:
    reading = "; read again for every call" if plan.streams else ""
    parts = ""
    if plan.limit is not None:
        parts = f"; cut into parts of at most {plan.limit} samples, for memory_budget"
    return f"batches: {plan.count}, {plan.merging}{parts}{reading}"


def _values(engine: JetsHessian, plan: Plan) -> str:
    total, kept = len(plan.groups), len(engine._prepared)
    again = "" if kept == total else f"; {total - kept} are computed again for every call"
    what = "batches" if plan.limit is None else "parts"
    return f"values: {kept} of {total} {what} kept{again}"


def _memory(engine: JetsHessian) -> str:
    one, many = engine.peak(1), engine.peak(_MANY)
    return (
        f"memory: {_mib(engine.memory)} held of a budget of {_mib(engine.memory_budget)}; a product needs "
        f"{_mib(one)} with one vector, {_mib(many)} with {_MANY}, what is held and its result included"
    )


def _vectors(engine: JetsHessian) -> str:
    pairs = {
        (engine.at_once(program, 1 << 30, kept=number in engine._prepared), program.footprint.probe)
        for number, program in engine._used.items()
        if program.footprint is not None
    }
    least, most = min(rows for rows, _ in pairs), max(probe for _, probe in pairs)
    return f"vectors: {least} at once, {_mib(most)} each"


def _cost(engine: JetsHessian) -> str:
    found = [p.footprint for p in engine._used.values() if p.footprint is not None]
    gradient, product = sum(f.gradient_flops for f in found), sum(f.product_flops for f in found)
    counted = ""
    if gradient > 0:
        counted = (
            f"; its matrix products and convolutions are {product:.2g} operations, {product / gradient:.1f} "
            "times those of a gradient"
        )
    return (
        f"cost of a product: about {engine.cost:g} gradients, {engine.cost + 1:g} where values are not kept"
        f"{counted}"
    )


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
