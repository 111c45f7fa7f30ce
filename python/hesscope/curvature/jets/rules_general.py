"""Rules of operators without a formula of their own here: the product with the Jacobian by autograd.

Autograd has u -> J'u, which is linear in u; its derivative in u, applied to the coefficient, is J a'.
One pass a probe: for operators that are rare or small.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from hesscope.curvature.jets.call import Call, Rule, Step
from hesscope.curvature.jets.rules_indexing import fold, loop

aten = torch.ops.aten


def general(call: Call) -> Step:
    """Build for any operator that autograd differentiates, whose derivative is differentiable in turn."""
    leaves = [call.at(position).detach().requires_grad_() for position in call.carries]
    with torch.inference_mode(False), torch.enable_grad():
        out = call.target(*call.with_arguments(leaves), **call.kwargs)
        wanted = tuple(sorted(call.used)) if isinstance(call.out, tuple) else None
        found = [out] if wanted is None else [out[i] for i in wanted]
        directions = [torch.zeros_like(part, requires_grad=True) for part in found]
        pulled = torch.autograd.grad(found, leaves, directions, create_graph=True, allow_unused=True)
    count = len(call.out) if wanted is not None else 0
    return functools.partial(_push, tuple(pulled), tuple(directions), wanted, count)


def _push(
    pulled: tuple[Tensor | None, ...],
    directions: tuple[Tensor, ...],
    wanted: tuple[int, ...] | None,
    count: int,
    *coefficients: Tensor,
) -> Any:
    rows: list[tuple[Tensor, ...]] = []
    with torch.inference_mode(False):
        for row in zip(*coefficients, strict=True):
            pairs = [(p, t) for p, t in zip(pulled, row, strict=True) if p is not None and p.requires_grad]
            parts = torch.autograd.grad(
                [p for p, _ in pairs],
                directions,
                [t.expand(p.shape) for p, t in pairs],
                retain_graph=True,
                allow_unused=True,
                materialize_grads=True,
            )
            rows.append(parts)
    columns = [torch.stack(column) for column in zip(*rows, strict=True)]
    if wanted is None:
        return columns[0]
    return tuple(columns[wanted.index(i)] if i in wanted else None for i in range(count))


# positions of the arguments that carry; entries of a tuple that depend on them
_GENERAL: dict[Any, tuple[tuple[int, ...] | None, tuple[int, ...] | None]] = {
    aten.prod.default: (None, None),
    aten.prod.dim_int: (None, None),
    aten.cumprod.default: (None, None),
    aten.nansum.default: (None, None),
    aten.renorm.default: (None, None),
    aten.dist.default: (None, None),
    aten.norm.Scalar: (None, None),
    aten.linalg_cross.default: (None, None),
    aten.vdot.default: (None, None),
    aten.addmv.default: (None, None),
    aten.addr.default: (None, None),
    aten.addbmm.default: (None, None),
    aten._trilinear.default: (None, None),
    aten.block_diag.default: (None, None),
    aten.fill.Tensor: ((1,), None),
    aten.masked_fill.Tensor: ((0, 2), None),
    aten.index_fill.int_Scalar: ((0,), None),
    aten.index_fill.int_Tensor: ((0, 3), None),
    aten.scatter.value: ((0,), None),
    aten.scatter_reduce.two: ((0, 3), None),
    aten.index_reduce.default: ((0, 3), None),
    aten.grid_sampler_2d.default: ((0, 1), None),
    aten.grid_sampler_2d_backward.default: ((0, 1, 2), None),
    aten.grid_sampler_3d.default: ((0, 1), None),
    aten.grid_sampler_3d_backward.default: ((0, 1, 2), None),
    aten.linalg_inv_ex.default: ((0,), (0,)),
    aten.linalg_cholesky_ex.default: ((0,), (0,)),
    aten.linalg_lu_factor_ex.default: ((0,), (0,)),
    aten.linalg_lu_solve.default: ((0, 2), None),
    aten.linalg_solve_triangular.default: ((0, 1), None),
    aten.linalg_matrix_exp.default: (None, None),
    aten._linalg_eigh.default: ((0,), (0, 1)),
    aten.linalg_qr.default: ((0,), (0, 1)),
    aten.cholesky_inverse.default: ((0,), None),
    aten.cholesky_solve.default: ((0, 1), None),
}

# linear operators on images, into whose batch K is folded
_FOLDED = [
    aten.upsample_nearest1d.default,
    aten.upsample_nearest3d.default,
    aten._upsample_nearest_exact1d.default,
    aten._upsample_nearest_exact2d.default,
    aten._upsample_nearest_exact3d.default,
    aten.upsample_linear1d.default,
    aten.upsample_trilinear3d.default,
    aten.upsample_bicubic2d.default,
    aten.replication_pad1d.default,
    aten.replication_pad3d.default,
    aten.reflection_pad3d.default,
    aten._adaptive_avg_pool3d.default,
]

# linear operators, one probe at a time
_LOOPED = [
    aten.upsample_nearest1d_backward.default,
    aten.upsample_nearest3d_backward.default,
    aten._upsample_nearest_exact1d_backward.default,
    aten._upsample_nearest_exact2d_backward.default,
    aten._upsample_nearest_exact3d_backward.default,
    aten.upsample_linear1d_backward.default,
    aten.upsample_trilinear3d_backward.default,
    aten.upsample_bicubic2d_backward.default,
    aten.replication_pad1d_backward.default,
    aten.replication_pad3d_backward.default,
    aten.reflection_pad3d_backward.default,
    aten._adaptive_avg_pool3d_backward.default,
    aten.max_pool3d_with_indices_backward.default,
    aten.adaptive_max_pool3d_backward.default,
    aten.max_unpool2d.default,
    aten.max_unpool3d.default,
    aten.pixel_shuffle.default,
    aten.pixel_unshuffle.default,
    aten.channel_shuffle.default,
    aten.rot90.default,
    aten.take.default,
    aten.masked_select.default,
    aten.masked_scatter_backward.default,
    aten.diag_embed.default,
    aten.trace.default,
    aten.affine_grid_generator.default,
]

# linear in two arguments together
_JOINT = {
    aten.index_copy.default: (0, 3),
    aten.diagonal_scatter.default: (0, 1),
    aten.put.default: (0, 2),
}


def _table() -> dict[Any, Rule]:
    rules = {t: Rule(general, positions=p, outputs=o) for t, (p, o) in _GENERAL.items()}
    rules |= {target: Rule(fold, reads=False) for target in _FOLDED}
    rules |= {target: Rule(loop, positions=(0,)) for target in _LOOPED}
    rules |= {target: Rule(general, positions=positions) for target, positions in _JOINT.items()}
    return rules


TABLE: dict[Any, Rule] = _table()

# linear in the arguments that carry, jointly
LINEAR: frozenset[Any] = frozenset(
    [
        *_FOLDED,
        *_LOOPED,
        *_JOINT,
        aten.nansum.default,
        aten.block_diag.default,
        aten.fill.Tensor,
        aten.masked_fill.Tensor,
        aten.index_fill.int_Scalar,
        aten.index_fill.int_Tensor,
        aten.scatter.value,
    ]
)
