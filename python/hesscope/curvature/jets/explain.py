"""What the jets engine says about itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hesscope.curvature.jets.engine import JetsHessian


def describe(engine: JetsHessian) -> str:
    """Return how products are computed: captures, batches, memory, cost."""
    lines = [f"engine: jets (coefficients of all vectors of a call through the captured {engine.captures})"]
    plan = engine._plan
    if plan is None or not engine._programs:
        return "\n".join([*lines, "nothing is captured yet: the first product reads the data"])
    total, kept = len(plan.groups), len(engine._prepared)
    again = "" if kept == total else f"; {total - kept} are computed again for every call"
    reading = "; read again for every call" if plan.streams else ""
    moving = [len(program.parts.moving) for program in engine._programs.values()]
    probe = max(program.parts.bytes_per_probe for program in engine._programs.values())
    lines += [
        f"captured: {len(moving)} in {engine.capture_seconds:.1f} s, with "
        f"{', '.join(map(str, moving))} operators that depend on the vectors",
        f"batches: {plan.count}, {plan.merging}{reading}",
        f"values: {kept} of {total} batches kept{again}",
        f"memory: {engine.memory / 2**20:.1f} MiB held of a budget of {engine.memory_budget / 2**20:.1f} MiB"
        f"; {probe / 2**20:.1f} MiB for each vector of a call",
        f"cost of a product: about {engine.cost:g} gradients, {engine.cost + 1:g} where values are not kept",
    ]
    return "\n".join(lines)
