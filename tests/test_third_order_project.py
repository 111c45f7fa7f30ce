"""The third derivative on a small basis."""

from __future__ import annotations

import itertools

import pytest
import torch

import hesscope as hs
from jets_cases import vectors
from third_order_cases import assert_close, objective_of, objective_of_tensor, random_symmetric


def orthonormal(k, n, seed=1):
    return torch.linalg.qr(vectors(k, n, seed=seed).T)[0].T.contiguous()


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 8])
def test_all_entries_from_the_fewest_contractions(k):
    t = random_symmetric(8, k)
    d3, q = hs.third_order(objective_of_tensor(t)), orthonormal(k, 8)
    got = d3.project(q)
    expected = torch.einsum("ijk,ai,bj,ck->abc", t, q, q, q)
    assert_close(got.dense(), expected, 0.0)
    assert got.asymmetry <= 1e-14
    halves = (k // 2, k - k // 2)
    assert got.contractions == k + sum(m * (m - 1) // 2 for m in halves)
    assert got.contractions <= k * k / 4 + k / 2 + 0.25
    assert got.frobenius_norm() == pytest.approx(float(expected.norm()))
    u, v = vectors(2, k, seed=3).contiguous()
    assert_close(got.contract(u, v), torch.einsum("abc,a,b->c", expected, u, v), 0.0)
    rows = got.contract(u, vectors(4, k, seed=4).contiguous())
    assert rows.shape == (4, k)


@pytest.mark.parametrize("name", ["perceptron", "gpt"])
def test_of_a_network(name):
    objective = objective_of(name)
    d3, q = hs.third_order(objective), orthonormal(5, objective.n)
    got = d3.project(q).dense()
    for i, j, l in itertools.combinations_with_replacement(range(5), 3):  # noqa: E741
        assert_close(got[i, j, l], d3.contract(q[i], q[j], q[l]), float(got.norm()))
    assert torch.equal(got, got.permute(2, 0, 1))


def test_entries_that_differ_between_orders_are_seen(monkeypatch):
    d3, q = hs.third_order(objective_of_tensor(random_symmetric(6))), orthonormal(4, 6)
    contract = d3.contract
    monkeypatch.setattr(d3, "contract", lambda u, v: contract(u, v) + (1e-3 * q[0] if u is v else 0))
    assert d3.project(q).asymmetry == pytest.approx(1e-3 * 2 / 3, rel=1e-6)  # of three, one differs


def test_is_saved_and_loaded(tmp_path):
    d3, q = hs.third_order(objective_of_tensor(random_symmetric(6))), orthonormal(4, 6)
    got = d3.project(q)
    got.save(tmp_path / "t.safetensors")
    back = hs.load(tmp_path / "t.safetensors")
    assert isinstance(back, hs.ProjectedTensor)
    assert torch.equal(back.dense(), got.dense())
    assert str(back) == str(got)
    assert "4 directions: 20 entries" in str(got)


def test_wrong_bases_are_named():
    objective = objective_of("perceptron")
    d3, n = hs.third_order(objective), objective.n
    q = orthonormal(3, n)
    cases = [
        (2 * q, r"basis must have orthonormal rows, but \|QQ' - I\| has an entry of 3"),
        (q[[0, 0]], "basis must have orthonormal rows"),
        (q[:0], "basis must have at least one vector"),
        (orthonormal(65, n), "basis must have at most 64 vectors, got 65"),
        (q[:, 1:], rf"basis must have shape \[{n}\] or \[K, {n}\]"),
    ]
    for basis, message in cases:
        with pytest.raises(ValueError, match=f"project: {message}"):
            d3.project(basis)
    with pytest.raises(TypeError, match=r"project: basis must be torch\.float64"):
        d3.project(q.to(torch.float32))
