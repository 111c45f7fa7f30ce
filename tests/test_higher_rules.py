"""Every rule above first order: T[u, u, .], T[u, v, .] through gradients, v'Hv and T[v, v, v] through losses.

The oracle is nested autograd with elementary norms; elementwise operators, whose derivatives the rules take
from autograd too, are compared with extrapolated differences of products with H instead.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import hesscope as hs
import test_jets_rules as first
from jets_cases import RELATIVE, function_objective, positive, smooth
from third_order_cases import assert_close, assert_third_order, difference, units

DIFFERENCE = 1e-8  # relative error of the extrapolated difference in float64
EXTRA = {
    "hardsigmoid": F.hardsigmoid,
    "erfc": torch.erfc,
    "asin": lambda x: (0.3 * x.tanh()).asin(),
    "acos": lambda x: (0.3 * x.tanh()).acos(),
    "square_of_negative": lambda x: (x - 1) ** 2,
    "prelu": lambda x: F.prelu(x, x[0, :1].exp()),
}


# PyTorch has no derivative of its backward, which has 1/6 in float32: H comes from the jets engine
NO_DOUBLE_BACKWARD = {"hardsigmoid"}


def differences(objective, h, u, v):
    return torch.stack(
        [difference(objective, lambda row=row: h @ row, along) for along, row in zip(u, v, strict=True)]
    )


def assert_is_difference(objective, engine="autograd"):
    """Compare with differences along every one of five directions, and along one for five others."""
    d3 = hs.third_order(objective, engine="jets")
    h = hs.hessian(objective, engine=engine)
    for k in (1, 5):
        u, v = units(k, objective.n, 1), units(k, objective.n, 2)
        expected = differences(objective, h, u, v)
        squares = differences(objective, h, u, u)
        products = h.rows(u)
        size = float(products.norm())
        assert_close(d3.contract(u, v), expected, size, DIFFERENCE)
        assert_close(d3.contract(u, u), squares, size, DIFFERENCE)
        exact = RELATIVE if engine == "autograd" else torch.finfo(torch.float32).eps
        assert_close(d3.quadratic_form(u), (products * u).sum(1), size, exact)
        assert_close(d3.cubic_form(u), (squares * u).sum(1), size, DIFFERENCE)


@pytest.mark.parametrize("name", first.POINTWISE | EXTRA)
def test_pointwise(name):
    function = (first.POINTWISE | EXTRA)[name]
    scale = 0.3 if name == "tan" else 1.0  # away from the poles
    # its argument is not linear in the parameters, so that it carries coefficients of all orders
    objective = function_objective(lambda x: function(scale * (x.sin() + x)), smooth(3, 4))
    assert_is_difference(objective, "jets" if name in NO_DOUBLE_BACKWARD else "autograd")


@pytest.mark.parametrize("name", first.POSITIVE)
def test_pointwise_on_positive_numbers(name):
    function = first.POSITIVE[name]
    assert_is_difference(function_objective(lambda x: function(x + 0.1 * x.sin()), positive(3, 4) + 0.5))


@pytest.mark.parametrize("shapes", [((3, 4), (3, 4)), ((3, 1), (2, 1, 4)), ((), (3, 4))])
@pytest.mark.parametrize("name", first.BINARY)
def test_binary_with_broadcasting(name, shapes):
    a, b = (positive(*shape, seed=i) for i, shape in enumerate(shapes))
    function = first.BINARY[name]
    assert_third_order(function_objective(lambda a, b: function(a, b).sin() + function(a.exp(), b), a, b))


@pytest.mark.parametrize("name", ["div", "pow", "atan2", "addcdiv", "maximum"])
def test_binary_is_the_difference(name):
    a, b = positive(3, 4), positive(3, 4, seed=1)
    function = first.BINARY[name]
    assert_is_difference(function_objective(lambda a, b: function(a + 0.1 * a * a, b), a, b))


@pytest.mark.parametrize("name", first.SHAPES)
def test_shapes_indices_and_reductions(name):
    relative = 1e-6 if name == "convert" else 1e-10  # through float32
    function = first.SHAPES[name]
    assert_third_order(
        function_objective(lambda x: function(x.sin() + 0.5 * x), smooth(2, 3, 4)), relative=relative
    )


@pytest.mark.parametrize("name", first.PRODUCTS)
def test_products(name):
    function, *shapes = first.PRODUCTS[name]
    inputs = [smooth(*s, seed=i) for i, s in enumerate(shapes)]
    assert_third_order(function_objective(function, *inputs))
    assert_third_order(function_objective(lambda *a: function(*(t.sin() for t in a)), *inputs))


@pytest.mark.parametrize(
    ("shape", "kernel", "options"),
    [
        ((2, 4, 6, 5), (3, 4, 3, 3), {"stride": 2, "padding": 1}),
        ((2, 4, 7, 7), (6, 2, 3, 3), {"groups": 2, "dilation": 2}),
        ((2, 4, 9), (3, 4, 3), {"stride": 2}),
    ],
)
def test_convolutions(shape, kernel, options):
    convolve = {3: F.conv1d, 4: F.conv2d}[len(shape)]
    inputs = [smooth(*shape), smooth(*kernel, seed=1) * 0.3, smooth(kernel[0], seed=2)]
    assert_third_order(function_objective(lambda x, w, b: convolve(x.sin(), w, b, **options).tanh(), *inputs))


def test_transposed_convolution():
    def convolve(x, w, b):
        return F.conv_transpose2d(x.sin(), w, b, stride=2, padding=1, output_padding=1).tanh()

    # nested autograd cannot: output_padding is lost in its third derivative
    weight = 0.3 * smooth(4, 3, 3, 3, seed=1)
    assert_is_difference(function_objective(convolve, smooth(2, 4, 3, 3), weight, smooth(3)))


@pytest.mark.parametrize("name", first.POOLING)
def test_pooling(name):
    function = first.POOLING[name]
    assert_third_order(function_objective(lambda x: function(x.sin() + x), smooth(2, 3, 6, 6)))


@pytest.mark.parametrize("name", first.NORMS)
def test_norms(name):
    objective = function_objective(first.NORMS[name], smooth(5, 3, 4), smooth(4), smooth(4, seed=1))
    assert_third_order(objective)
    assert_is_difference(objective)


@pytest.mark.parametrize("padding_idx", [None, 2])
def test_embeddings(padding_idx):
    assert_third_order(
        function_objective(
            lambda w: F.embedding(first.INDEX, w, padding_idx=padding_idx).sin() * w[0, 0], smooth(4, 3)
        )
    )


@pytest.mark.parametrize("name", first.LOSSES)
def test_losses(name):
    function = first.LOSSES[name]
    assert_third_order(function_objective(lambda x: function(x + x.sin()), smooth(5, 3)))


@pytest.mark.parametrize("causal", [False, True])
def test_attention(causal):
    def attend(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal)

    assert_third_order(function_objective(attend, *(smooth(2, 2, 4, 3, seed=i) for i in range(3))))


def test_what_has_no_third_derivative_gives_zero():
    assert_third_order(function_objective(lambda x: x[:, 1:] * 2, smooth(3, 4)), zero=True)


def test_an_operator_without_a_rule_is_refused_by_name():
    from hesscope.curvature.jets.capture import CaptureError
    from hesscope.curvature.jets.higher import rules

    objective = function_objective(torch.tanh, smooth(3))
    u = units(2, 3, 1)
    table = dict(rules.TABLE)
    del rules.TABLE[torch.ops.aten.tanh_backward.default]
    try:
        with pytest.raises(CaptureError, match=r"third_order: engine='jets'.*aten\.tanh_backward"):
            hs.third_order(objective, engine="jets").contract(u, u)
        d3 = hs.third_order(objective)
        with pytest.warns(UserWarning, match=r"falling back to engine='autograd'.*aten\.tanh_backward"):
            got = d3.contract(u, u)
    finally:
        rules.TABLE.update(table)
    assert d3.engine == "autograd"
    assert_close(got, hs.third_order(objective, engine="jets").contract(u, u), 0.0)
