"""H x = lambda M x for a diagonal M, and the diagonal of an optimizer."""

from __future__ import annotations

import math

import pytest
import scipy.linalg
import torch
from torch import nn

import hesscope as hs
from dense_networks import digits, traceless

NETWORKS = {"digits": digits, "traceless": traceless}


def generalised(network, diagonal):
    """Eigenvalues and vectors of the pair by LAPACK."""
    return scipy.linalg.eigh(network.hessian.numpy(), torch.diag(diagonal).numpy())


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS.keys())
class TestAgainstLapack:
    def test_eigenpairs_and_their_vectors(self, network):
        net = network()
        diagonal = hs.adam_preconditioner(net.objective, net.optimizer)
        values, vectors = generalised(net, diagonal)
        h = hs.preconditioned(net.operator(), diagonal)
        eig = hs.eigenpairs(h, 6, which="both_ends")
        size = abs(values).max()
        expected = [*values[-1:-4:-1], *values[2::-1]]
        assert abs(eig.values.numpy() - expected).max() <= 1e-8 * size
        x = h.to_parameters(eig.vectors)
        for value, mine, at in zip(eig.values, x, [-1, -2, -3, 2, 1, 0], strict=True):
            assert (
                net.hessian @ mine - value * diagonal * mine
            ).norm() <= 2e-8 * size * diagonal.max().sqrt()
            if min(abs(value - other) for other in values if other != values[at]) > 1e-6 * size:
                overlap = abs(mine.numpy() @ (diagonal.numpy() * vectors[:, at]))
                assert overlap == pytest.approx(1, abs=1e-6)
        assert torch.allclose((x * diagonal) @ x.T, torch.eye(6, dtype=x.dtype), atol=1e-12)
        assert torch.equal(h.to_parameters(eig.vectors[0]), x[0])

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
    def test_density_trace_norm_and_counts(self, network, dtype):
        net = network()
        diagonal = hs.adam_preconditioner(net.objective, net.optimizer)
        values = torch.from_numpy(generalised(net, diagonal)[0])
        h = hs.preconditioned(net.operator(dtype), diagonal)
        pairs = hs.eigenpairs(h, 8, which="magnitude")
        rho = hs.spectral_density(h, num_probes=16, num_steps=100, eigenpairs=pairs)
        for got, truth in [
            (rho.trace(), values.sum()),
            (rho.moment(2), values.square().mean()),
            (hs.trace(h, eigenpairs=pairs, products=64), values.sum()),
            (hs.frobenius_norm(h, eigenpairs=pairs), values.norm()),
            (rho.count(0.5 * float(values.max()), math.inf), (values >= 0.5 * values.max()).sum()),
            (hs.nuclear_norm(h, eigenpairs=pairs, num_probes=16), values.abs().sum()),
        ]:
            slack = 4 * torch.finfo(dtype).eps * float(values.abs().sum())
            assert got.interval[0] - slack <= truth <= got.interval[1] + slack
            assert got.error < max(0.5 * abs(float(truth)), 0.2 * float(values.abs().sum()))


def trained(make, steps=3, dtype=torch.float32, **options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).to(dtype)
    data = torch.randn(8, 3).to(dtype), torch.randn(8, 2).to(dtype)
    objective = hs.Objective(model, nn.MSELoss(), data)
    optimizer = make(model.parameters(), lr=0.01, **options)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(data[0]), data[1]).backward()
        optimizer.step()
    return objective, optimizer, data


def gradient(model, data):
    model.zero_grad()
    nn.functional.mse_loss(model(data[0]), data[1]).backward()
    return torch.cat([p.grad.reshape(-1) for p in model.parameters()])


class TestOptimizers:
    @pytest.mark.parametrize("steps", [1, 5])
    @pytest.mark.parametrize(
        ("make", "options"),
        [
            (torch.optim.Adam, {}),
            (torch.optim.Adam, {"betas": (0.8, 0.95), "eps": 1e-3}),
            (torch.optim.Adam, {"amsgrad": True}),
            (torch.optim.AdamW, {"weight_decay": 0.0}),
            (torch.optim.RMSprop, {}),
            (torch.optim.RMSprop, {"centered": True, "eps": 1e-3}),
        ],
    )
    def test_a_step_moves_by_lr_over_the_diagonal(self, make, options, steps):
        """Of the optimizer itself: its next step is -lr m / P with the state after that step."""
        objective, optimizer, data = trained(make, steps, torch.float64, **options)
        parameters = list(objective.model.parameters())
        before = torch.cat([p.detach().reshape(-1) for p in parameters])
        slope = gradient(objective.model, data)
        optimizer.step()
        moved = torch.cat([p.detach().reshape(-1) for p in parameters]) - before
        diagonal = hs.adam_preconditioner(objective, optimizer)
        if make is torch.optim.RMSprop:
            momentum = slope
        else:
            momentum = torch.cat([optimizer.state[p]["exp_avg"].reshape(-1) for p in parameters])
        assert torch.allclose(moved, -0.01 * momentum / diagonal, rtol=1e-9, atol=1e-15)

    def test_a_subset_in_the_order_of_the_objective(self):
        objective, optimizer, _ = trained(torch.optim.Adam)
        whole = hs.adam_preconditioner(objective, optimizer)
        part = hs.Objective(objective.model, nn.MSELoss(), objective.data.source, params=["1.*"])
        assert torch.equal(hs.adam_preconditioner(part, optimizer), whole[16:])
        assert whole.dtype == torch.float32
        assert (whole > 0).all()

    def test_low_precision_parameters_give_float32(self):
        objective, optimizer, _ = trained(torch.optim.Adam, dtype=torch.bfloat16)
        diagonal = hs.adam_preconditioner(objective, optimizer)
        assert diagonal.dtype == objective.dtype == torch.float32
        assert diagonal.shape == (objective.n,)

    def test_what_has_no_preconditioner_is_refused(self):
        objective, adam, _ = trained(torch.optim.Adam)
        fresh = torch.optim.Adam(objective.model.parameters())
        part = torch.optim.Adam(objective.model[0].parameters())
        up = trained(torch.optim.Adam, maximize=True)
        zero = trained(torch.optim.Adam, eps=0.0)
        zero[1].state[zero[0].model[0].bias]["exp_avg_sq"][1] = 0
        for arguments, error, message in [
            ((3, adam), TypeError, "objective must be an Objective, got int"),
            ((objective, 3), TypeError, r"optimizer must be a torch.optim Adam, AdamW or RMSprop, got .*int"),
            (
                (objective, torch.optim.SGD(objective.model.parameters())),
                TypeError,
                "got .*SGD",
            ),
            ((objective, torch.optim.NAdam(objective.model.parameters())), TypeError, "NAdam"),
            ((objective, fresh), ValueError, "must have taken a step, but has no state for 0.weight"),
            ((objective, part), ValueError, "must have taken a step"),
            ((trained(torch.optim.Adam)[0], adam), ValueError, "must hold every parameter .* lacks 0.weight"),
            (up[:2], ValueError, "must minimize, got maximize=True for 0.weight"),
            (zero[:2], ValueError, "must be positive and finite, got 0.0 in 0.bias; with eps=0"),
        ]:
            with pytest.raises(error, match=f"adam_preconditioner: .*{message}"):
                hs.adam_preconditioner(*arguments)
        # A parameter that was frozen while the optimizer stepped.
        frozen, optimizer, _ = trained(torch.optim.Adam)
        del optimizer.state[frozen.model[1].bias]
        with pytest.raises(ValueError, match=r"has no state for 1.bias; a parameter without a gradient"):
            hs.adam_preconditioner(frozen, optimizer)


class TestDiagonals:
    def test_products_count_for_both_and_rows_are_bitwise(self):
        a = torch.randn(40, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        a = a + a.T
        m = torch.rand(40, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 0.1
        h = hs.from_matrix(a)
        p = hs.preconditioned(h, m)
        eye = torch.eye(40, dtype=torch.float64)
        truth = a / (m[:, None] * m).sqrt()
        assert torch.allclose(p.rows(eye), truth, rtol=1e-14)
        assert p.products == h.products == 40
        assert p.bitwise_rows
        m.zero_()  # a copy was taken
        assert torch.allclose(p.rows(eye[:1]), truth[:1], rtol=1e-14)
        description = p.description()
        assert description["of"]["operator"] == "dense matrix"
        assert 0.1 <= description["diagonal_range"][0] <= description["diagonal_range"][1] <= 1.2

    def test_the_operator_behind_is_watched(self):
        net = digits()
        h = hs.preconditioned(net.operator(), torch.ones(net.objective.n, dtype=torch.float64))
        before = h.fingerprint()
        with torch.no_grad():
            bias = net.objective.model[2].bias
            bias.add_(1)
            changed = h.fingerprint() != before
            bias.sub_(1)
        assert changed

    @pytest.mark.parametrize(
        ("diagonal", "error", "message"),
        [
            (3, TypeError, r"diagonal must be a floating tensor \[4\], got int"),
            (torch.ones(4, dtype=torch.int64), TypeError, "got torch.int64"),
            (torch.ones(3), ValueError, r"diagonal must have shape \[4\], got \[3\]"),
            (torch.ones(4, device="meta"), ValueError, "diagonal must be on cpu, got meta"),
            (torch.tensor([1.0, 0, 2, 3]), ValueError, "must be positive and finite .* got 0.0 in entry 1"),
            (torch.tensor([1.0, 2, -2, 3]), ValueError, "got -2.0 in entry 2"),
            (torch.tensor([1.0, math.nan, 2, math.inf]), ValueError, "got nan in entry 1 and 2 such"),
            (
                torch.full((4,), 1e-300, dtype=torch.float64),
                ValueError,
                "torch.float32 holds, got 1e-300 in entry 0",
            ),
        ],
    )
    def test_bad_diagonals_are_named(self, diagonal, error, message):
        h = hs.from_matrix(torch.eye(4))
        with pytest.raises(error, match=f"preconditioned: .*{message}"):
            hs.preconditioned(h, diagonal)

    def test_other_bad_arguments(self):
        with pytest.raises(TypeError, match="operator must be a SymmetricOperator, got Tensor"):
            hs.preconditioned(torch.eye(3), torch.ones(3))
        p = hs.preconditioned(hs.from_matrix(torch.eye(4)), torch.ones(4))
        with pytest.raises(ValueError, match=r"to_parameters: vectors must have shape \[4\] or \[k, 4\]"):
            p.to_parameters(torch.ones(3))
        with pytest.raises(TypeError, match="to_parameters: vectors must be a tensor, got NoneType"):
            p.to_parameters(None)
