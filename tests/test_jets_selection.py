"""Choosing, ordering, accumulating, scattering, linear algebra: against double backward."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from jets_cases import assert_agrees, function_objective, smooth

REDUCTIONS = {
    "max_of_all": lambda x: x.max() ** 2,
    "min_of_all": lambda x: x.min() ** 2,
    "ties": lambda x: (x * x).clamp_max(0.5).max() * x.sum(),
    "median": lambda x: x.median() ** 2,
    "median_along": lambda x: x.median(1)[0] ** 2,
    "aminmax": lambda x: x.aminmax(dim=1),
    "aminmax_of_all": lambda x: [part**2 for part in x.aminmax()],
    "kthvalue": lambda x: x.kthvalue(2, 0, keepdim=True)[0] ** 2,
    "sort": lambda x: x.sort(1, descending=True)[0] ** 2,
    "sort_stable": lambda x: x.sort(stable=True, dim=0)[0] ** 2,
    "topk": lambda x: x.topk(2, 1)[0] ** 2,
    "mode": lambda x: x.mode(0)[0] ** 2,
    "cummax": lambda x: x.cummax(1)[0] ** 2,
    "cummin": lambda x: x.cummin(0)[0] ** 2,
    "quantile": lambda x: x.quantile(0.3, dim=1) ** 2,
    "prod": lambda x: x.prod(),
    "prod_along": lambda x: x.prod(1, keepdim=True),
    "cumprod": lambda x: x.cumprod(1),
    "var_mean": lambda x: torch.var_mean(x, 1),
    "std_mean": lambda x: torch.std_mean(x, (0, 1), correction=0, keepdim=True),
    "nansum": lambda x: torch.where(x > 1, float("nan"), x * x).nansum(),
    "nanmean": lambda x: x.square().nanmean(),
    "norm_1": lambda x: x.norm(1) ** 2,
    "norm_3": lambda x: x.norm(3, dim=1),
    "norm_inf": lambda x: x.norm(float("inf")) ** 2,
    "norm_of_matrix": lambda x: torch.linalg.matrix_norm(x),
    "dist": lambda x: torch.dist(x, x.flip(0) * 2),
    "renorm": lambda x: x.renorm(2, 0, 1.0),
    "cov": torch.cov,
    "corrcoef": torch.corrcoef,
    "diff": lambda x: x.diff(dim=1) ** 2,
    "logsumexp": lambda x: x.logsumexp((0, 1), keepdim=True),
    "best_class": lambda x: x.gather(1, x.argmax(1, keepdim=True)) ** 2,
}


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions_and_order_statistics(name):
    assert_agrees(function_objective(REDUCTIONS[name], smooth(3, 4)))


ROWS = torch.tensor([[0, 2, 1], [4, 2, 0]])[:, :, None].expand(2, 3, 4)
REPEATED = torch.tensor([[0, 2, 1], [2, 2, 0]])[:, :, None].expand(2, 3, 4)
HALF = torch.full((2, 5, 4), 0.5, dtype=torch.float64)
FIRST, SECOND = torch.tensor([0, 1]), torch.tensor([1, 1])
MOVES = {
    "scatter": lambda x: HALF.scatter(1, ROWS, x),
    "scatter_into": lambda x: x.scatter(1, ROWS[:, 1:2] % 3, x[:, :1] * 2),
    "scatter_number": lambda x: x.scatter(1, ROWS[:, 1:2] % 3, 2.0) ** 2,
    "scatter_sum": lambda x: HALF.scatter_reduce(1, REPEATED, x, "sum"),
    "scatter_mean": lambda x: HALF.scatter_reduce(1, REPEATED, x, "mean"),
    "scatter_max": lambda x: HALF.scatter_reduce(1, REPEATED, x, "amax") ** 2,
    "index_add": lambda x: HALF.index_add(1, torch.tensor([0, 1, 1]), x),
    "index_copy": lambda x: HALF.index_copy(1, torch.tensor([2, 0, 1]), x),
    "index_fill": lambda x: x.index_fill(1, torch.tensor([1]), 2.0) ** 2,
    "index_put": lambda x: x.index_put((FIRST, SECOND), x[:, 0] * 2),
    "index_put_adds": lambda x: HALF.index_put((FIRST * 0, SECOND), x[:, 0], accumulate=True),
    "masked_fill": lambda x: (x * x).masked_fill(x.detach() > 0, torch.tensor(2.0).double()),
    "masked_scatter": lambda x: x.masked_scatter(x.detach() > 0, x * x),
    "masked_select": lambda x: x.masked_select(x.detach() > 0) ** 2,
    "select_scatter": lambda x: x.select_scatter(x[:, 0] * 2, 1, 1),
    "slice_scatter": lambda x: x.slice_scatter(x[:, :1] * 2, 1, 1, 2),
    "diagonal_scatter": lambda x: x.diagonal_scatter(x[:, 0, :3] * 2, 0, 1, 2),
    "take": lambda x: x.take(torch.tensor([0, 5, 5])) ** 2,
    "take_along": lambda x: x.take_along_dim(torch.tensor([[[0]], [[1]]]), 1) ** 2,
    "repeat_interleave": lambda x: x.repeat_interleave(torch.tensor([1, 2, 3]), 1) ** 2,
    "rot90": lambda x: x.rot90(1, (0, 1)),
    "as_strided": lambda x: x.as_strided((2, 3), (1, 2), 1) ** 2,
    "diag_embed": torch.diag_embed,
    "block_diag": lambda x: torch.block_diag(x[0], torch.ones(1, 2, dtype=x.dtype), x[1]),
    "combinations": lambda x: torch.combinations(x[0, 0]),
    "cat_with_nothing": lambda x: torch.cat([torch.zeros(0, dtype=x.dtype), x[0], x[1] * 2]),
    "trace": lambda x: (x[0] @ x[1].T).trace() ** 2,
    "circular": lambda x: F.pad(x, (1, 1), mode="circular"),
}


@pytest.mark.parametrize("name", MOVES)
def test_scattering_and_gathering(name):
    assert_agrees(function_objective(MOVES[name], smooth(2, 3, 4)))


MATRICES = {
    "inverse": torch.linalg.inv,
    "solve": lambda a: torch.linalg.solve(a, a * a),
    "solve_vector": lambda a: torch.linalg.solve(a, a[0]),
    "solve_from_the_right": lambda a: torch.linalg.solve(a.mT, a * a, left=False),
    "solve_triangular": lambda a: torch.linalg.solve_triangular(a.tril(), a, upper=False),
    "cholesky": lambda a: torch.linalg.cholesky(a @ a.mT + torch.eye(3)),
    "cholesky_solve": lambda a: torch.cholesky_solve(a, torch.linalg.cholesky(a @ a.mT + torch.eye(3))),
    "determinant": torch.linalg.det,
    "determinant_transposed": lambda a: torch.linalg.det(a.mT) ** 2,
    "log_determinant": lambda a: torch.logdet(a @ a.mT + torch.eye(3)),
    "slogdet": lambda a: torch.linalg.slogdet(-a)[1],
    "eigenvalues": lambda a: torch.linalg.eigvalsh(a + a.mT),
    "qr": lambda a: torch.linalg.qr(a)[1].abs(),
    "matrix_exp": torch.linalg.matrix_exp,
    "matrix_power": lambda a: torch.linalg.matrix_power(a, 3),
    "multi_dot": lambda a: torch.linalg.multi_dot([a, a * a, a]),
    "cross": lambda a: torch.linalg.cross(a, a.flip(0) * 2),
    "addmv": lambda a: torch.addmv(a[0], a, a[1], beta=0.5, alpha=2),
    "addr": lambda a: torch.addr(a, a[0], a[1]),
    "addbmm": lambda a: torch.addbmm(a, a[None], a[None]),
    "vdot": lambda a: torch.vdot(a[0], a[1]),
    "kron": lambda a: torch.kron(a, a[:2, :2]),
    "bilinear": lambda a: F.bilinear(a, a * a, a[None].expand(2, 3, 3)),
}


@pytest.mark.parametrize("name", MATRICES)
def test_linear_algebra(name):
    a = smooth(3, 3) + 2 * torch.eye(3, dtype=torch.float64)
    assert_agrees(function_objective(MATRICES[name], a))
