"""Operators from matrices and functions: products, counts, bits, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
import torch

import hesscope as hs
from hesscope.testing import dot_bound, prescribed_spectrum


def symmetric(n, dtype=torch.float64, seed=0):
    a = torch.randn(n, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return ((a + a.T) / 2).to(dtype)


def sparse(n=200, dtype=np.float64):
    a = scipy.sparse.random_array((n, n), density=0.03, rng=np.random.default_rng(0), dtype=dtype)
    return (a + a.T + scipy.sparse.diags_array(np.arange(n, dtype=dtype))).tocsr()


def rows(k, n, dtype=torch.float64):
    return torch.randn(k, n, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)


MAKERS = {
    "torch": lambda a: a,
    "torch transposed": lambda a: a.T,
    "torch coo": lambda a: a.to_sparse_coo(),
    "torch csr": lambda a: a.to_sparse_csr(),
    "torch csc": lambda a: a.to_sparse_csc(),
    "numpy": lambda a: a.numpy(),
    "numpy fortran": lambda a: np.asfortranarray(a.numpy()),
    "numpy big-endian": lambda a: a.numpy().astype(a.numpy().dtype.newbyteorder(">")),
    "scipy csr": lambda a: scipy.sparse.csr_array(a.numpy()),
    "scipy coo": lambda a: scipy.sparse.coo_array(a.numpy()),
    "scipy matrix": lambda a: scipy.sparse.csc_matrix(a.numpy()),
}


def small_sparse_and_dense(dtype):
    a = symmetric(45, dtype)
    return a * (a.abs() > 1)


@pytest.mark.filterwarnings("ignore:Sparse CS")  # torch: beta state
@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_matrices_of_every_library_multiply_alike(kind, dtype):
    a, v = small_sparse_and_dense(dtype), rows(3, 45, dtype)
    h = hs.from_matrix(MAKERS[kind](a))
    assert (h.shape, h.dtype, h.bitwise_rows) == ((45, 45), dtype, True)
    want = v.double() @ a.double()
    eps = torch.finfo(dtype).eps
    bound = 45 * eps * (v.double().abs() @ a.double().abs())
    assert ((h.rows(v).double() - want).abs() <= bound).all()
    assert torch.equal(h @ v[0], h.rows(v)[0])
    assert torch.equal(h @ v.T, h.rows(v).T)
    assert h.products == 3 + 1 + 3 + 3 + 3


def test_dense_products_are_summed_in_float64():
    a, v = symmetric(500, torch.float32), rows(2, 500, torch.float32)
    exact = v.double() @ a.double()
    bound = dot_bound(a[None], v[:, None]) + torch.finfo(torch.float32).eps * exact.abs()
    assert ((hs.from_matrix(a).rows(v).double() - exact).abs() <= bound).all()


@pytest.mark.parametrize("make", [lambda: hs.from_matrix(symmetric(300)), lambda: hs.from_matrix(sparse())])
def test_a_row_does_not_depend_on_its_batch_or_on_the_threads(make):
    h = make()
    v = rows(8, h.shape[0] + 5)[:, : h.shape[0]]
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        together = h.rows(v)
        torch.set_num_threads(1)
        alone = torch.cat([h.rows(v[r : r + 1]) for r in range(8)])
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(together, alone)


@pytest.mark.parametrize(
    "make",
    [
        lambda: hs.from_matrix(symmetric(70)),
        lambda: hs.from_matrix(sparse()),
        lambda: hs.from_function(lambda v: 2 * v, 64, dtype=torch.float64),
        lambda: prescribed_spectrum(torch.linspace(-1, 1, 64)),
    ],
)
def test_products_go_where_they_should(make):
    h = make()
    n = h.shape[0]
    for k in (3, 5, 2):  # the workspace grows and is used again
        v, wide = rows(k, n), torch.full((k, n + 9), torch.nan, dtype=torch.float64)
        want, out = h.rows(v), wide[:, :n]
        assert h.rows(v, out=out) is out
        assert torch.equal(out, want)
        assert wide[:, n:].isnan().all()
    before = h.products
    with pytest.raises(ValueError, match=r"rows: out must have the shape of vectors, \[2, \d+\], got \[1"):
        h.rows(v, out=rows(1, n))
    with pytest.raises(TypeError, match=r"rows: out must be torch.float64, got torch.float32"):
        h.rows(v, out=rows(2, n, torch.float32))
    assert h.products == before


def test_the_matrix_is_copied():
    a = symmetric(4)
    h, v = hs.from_matrix(a), rows(1, 4)
    before = h.rows(v)
    a.zero_()
    assert torch.equal(h.rows(v), before)


def test_integers_become_float64_and_dtype_converts():
    laplacian = (
        2 * np.eye(5, dtype=np.int64) - np.eye(5, k=1, dtype=np.int64) - np.eye(5, k=-1, dtype=np.int64)
    )
    h = hs.from_matrix(laplacian)
    assert (h @ torch.ones(5, dtype=torch.float64)).tolist() == [1, 0, 0, 0, 1]
    assert hs.from_matrix(laplacian, dtype=torch.float32).dtype == torch.float32
    assert hs.from_matrix(scipy.sparse.csr_array(laplacian), dtype=torch.float32).dtype == torch.float32
    assert hs.from_matrix(torch.eye(3, dtype=torch.bfloat16), dtype=torch.float32).dtype == torch.float32


@pytest.mark.parametrize("form", [lambda a: a, lambda a: scipy.sparse.csr_array(a)], ids=["dense", "sparse"])
def test_asymmetry_of_rounding_is_averaged_out(form):
    a = symmetric(20).numpy().copy()
    a[3, 5] += 1e-12
    h, eye = hs.from_matrix(form(a)), torch.eye(20, dtype=torch.float64)
    columns = h.rows(eye)
    assert torch.equal(columns, columns.T)


@pytest.mark.parametrize("form", [lambda a: a, lambda a: scipy.sparse.csr_array(a)], ids=["dense", "sparse"])
def test_bad_matrices_are_refused(form):
    asymmetric = np.eye(4)
    asymmetric[0, 1] = 0.25
    with pytest.raises(ValueError, match=r"matrix must be symmetric, .* is 0\.25 of the largest"):
        hs.from_matrix(form(asymmetric))
    with pytest.raises(ValueError, match=r"from_matrix: matrix must be square, got shape \[2, 3\]"):
        hs.from_matrix(form(np.ones((2, 3))))
    for bad in (np.nan, np.inf):
        broken = np.eye(3)
        broken[1, 1] = bad
        with pytest.raises(ValueError, match="from_matrix: matrix must be finite"):
            hs.from_matrix(form(broken))
    with pytest.raises(TypeError, match="from_matrix: matrix must be real"):
        hs.from_matrix(form(np.eye(3, dtype=np.complex128)))
    with pytest.raises(TypeError, match=r"from_matrix: dtype must be torch\.float32 or"):
        hs.from_matrix(form(np.eye(3)), dtype=torch.float16)


def test_what_is_no_matrix_is_refused():
    with pytest.raises(TypeError, match=r"must be real, float32 or float64, got torch\.float16"):
        hs.from_matrix(torch.eye(3, dtype=torch.float16))
    with pytest.raises(TypeError, match="from_matrix: matrix must be a torch tensor, NumPy array or SciPy"):
        hs.from_matrix([[1.0]])
    with pytest.raises(TypeError, match="from_matrix: matrix must hold numbers"):
        hs.from_matrix(np.array([["a"]]))
    with pytest.raises(ValueError, match="n must be at least 1"):
        hs.from_matrix(np.empty((0, 0)))


@pytest.mark.parametrize("batched", [False, True])
def test_a_function_is_an_operator(batched):
    a, v = symmetric(7), rows(3, 10)[:, :7]
    h = hs.from_function(lambda x: x @ a, 7, dtype=torch.float64, batched=batched)
    assert h.products == 3  # the test of symmetry
    assert torch.allclose(h.rows(v), v @ a, rtol=1e-13, atol=1e-13)
    assert h.products == 6
    assert hs.from_function(lambda x: x, 7, check_symmetric=False).products == 0


def scale_in_place(v):
    return v.mul_(2)


def test_an_operator_says_what_it_is():
    assert repr(hs.from_matrix(torch.eye(5))) == "<dense matrix, 5 x 5, torch.float32, cpu>"


def test_bad_functions_are_named():
    def triangular(v):
        return torch.tril(torch.ones(6, 6)) @ v

    with pytest.raises(ValueError, match=r"f \(.*triangular\) must be symmetric, .* check_symmetric=False"):
        hs.from_function(triangular, 6)
    with pytest.raises(ValueError, match=r"f \(scale_in_place\) must not modify its argument"):
        hs.from_function(scale_in_place, 6)
    with pytest.raises(ValueError, match=r"must return \[6\] on cpu, got \[3\] on cpu"):
        hs.from_function(lambda v: v[:3], 6)
    with pytest.raises(TypeError, match=r"must return torch\.float32, got torch\.float64"):
        hs.from_function(lambda v: v.double(), 6)
    with pytest.raises(TypeError, match="must return a tensor, got ndarray"):
        hs.from_function(lambda v: v.numpy(), 6)
    with pytest.raises(ValueError, match="must return finite products"):
        hs.from_function(lambda v: v * torch.nan, 6)
    with pytest.raises(TypeError, match="from_function: n must be an integer, got str 'a'"):
        hs.from_function(lambda v: v, "a")
    with pytest.raises(TypeError, match="from_function: f must be callable, got Tensor"):
        hs.from_function(torch.eye(3), 3)
    with pytest.raises(ValueError, match="n must be at least 1, got 0"):
        hs.from_function(lambda v: v, 0)


def test_the_symmetry_test_allows_noise_and_any_scale():
    a = symmetric(200, torch.float32)

    def noisy(v):  # the relative error of products in bfloat16
        return (a @ v) * (1 + 4e-3 * torch.randn(200, generator=torch.Generator().manual_seed(3)))

    hs.from_function(noisy, 200)
    hs.from_function(lambda v: 1e-20 * (a @ v), 200)
    hs.from_function(torch.zeros_like, 200)
    with pytest.raises(ValueError, match="must be symmetric"):
        hs.from_function(lambda v: 1e-20 * (torch.tril(a) @ v), 200)


def test_scipy_operators_go_both_ways():
    a = symmetric(30)
    linear = scipy.sparse.linalg.aslinearoperator(a.numpy())
    h, v = hs.from_scipy(linear), rows(4, 30)
    assert torch.allclose(h.rows(v), v @ a, rtol=1e-13, atol=1e-13)
    top = scipy.sparse.linalg.eigsh(h.to_scipy(), k=1, which="LA", return_eigenvectors=False)
    assert top[0] == pytest.approx(torch.linalg.eigvalsh(a)[-1].item(), rel=1e-10)
    with pytest.raises(ValueError, match=r"from_scipy: operator must be square, got shape \[2, 3\]"):
        hs.from_scipy(np.ones((2, 3)))
    with pytest.raises(TypeError, match="from_scipy: operator must be real"):
        hs.from_scipy(np.eye(2) * 1j)
    with pytest.raises(ValueError, match="must be symmetric"):
        hs.from_scipy(np.tri(5))


def test_shifts_and_factors():
    a, v = symmetric(9), rows(2, 9)
    h = hs.from_matrix(a)
    assert torch.allclose(hs.shifted(h, 2.0).rows(v), v @ a + 2 * v, rtol=1e-13, atol=1e-13)
    assert torch.allclose(hs.scaled(h, -3.0).rows(v), -3 * (v @ a), rtol=1e-13, atol=1e-13)
    assert h.products == 4
    assert hs.shifted(h, 1.0).bitwise_rows
    with pytest.raises(ValueError, match="scaled: factor must not be NaN"):
        hs.scaled(h, float("nan"))
    with pytest.raises(ValueError, match="shifted: shift must be finite"):
        hs.shifted(h, float("inf"))


def test_operands_are_checked():
    h = hs.from_matrix(symmetric(5))
    with pytest.raises(ValueError, match=r"rows: vectors must have shape \[K, 5\], got \[2, 4\]"):
        h.rows(rows(2, 4))
    with pytest.raises(TypeError, match=r"vectors must be torch\.float64, got torch\.float32"):
        h.rows(rows(2, 5, torch.float32))
    with pytest.raises(ValueError, match=r"@: the right operand must have shape \[5\] or \[5, K\]"):
        h @ rows(1, 4)[0]
    assert h.rows(rows(0, 5)).shape == (0, 5)
