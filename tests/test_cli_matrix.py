"""``hesscope density --matrix``: other matrices of the same objective."""

from __future__ import annotations

import pytest
import torch

import hesscope as hs
from hesscope.cli import main

PROBLEM = """
import torch
import hesscope as hs
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)).double()
x, y = torch.randn(8, 3).double(), torch.arange(8) % 2
objective = hs.Objective(model, torch.nn.CrossEntropyLoss(), (x, y))
operator = hs.hessian(objective)
"""


@pytest.fixture
def run(tmp_path):
    (tmp_path / "problem.py").write_text(PROBLEM, encoding="utf-8")

    def call(name, matrix):
        where = ["--output", str(tmp_path), "--probes", "2", "--steps", "12", "--quiet"]
        code = main(["density", f"{tmp_path / 'problem.py'}:{name}", "--matrix", matrix, *where])
        return code, tmp_path / "spectrum.safetensors"

    return call


@pytest.mark.parametrize(
    ("matrix", "make"),
    [
        ("hessian", hs.hessian),
        ("ggn", hs.ggn),
        ("fisher", hs.fisher),
        ("gradient-covariance", hs.gradient_covariance),
    ],
)
def test_the_spectrum_is_that_of_the_matrix(matrix, make, run):
    code, path = run("objective", matrix)
    assert code == 0
    names = {}
    exec(PROBLEM, names)
    expected = hs.spectral_density(make(names["objective"]), num_probes=2, num_steps=12)
    # the largest node has converged: Ritz values of 12 steps agree to the square root of rounding
    top = expected.nodes.max()
    assert abs(hs.load(path).nodes.max() - top) <= torch.finfo(torch.float64).eps ** 0.5 * top


def test_an_operator_is_what_it_is(run, capsys):
    assert run("operator", "hessian")[0] == 0
    assert run("operator", "ggn")[0] == 2
    assert "--matrix must be left out, for operator in problem.py is an operator" in capsys.readouterr().err
