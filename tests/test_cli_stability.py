"""``hesscope stability``: what it prints and writes, and how it fails."""

from __future__ import annotations

from pathlib import Path

import pytest

import hesscope as hs
from hesscope.cli import main

EXAMPLE = Path(__file__).parents[1] / "examples" / "problem.py"
PROBLEM = """
import torch
import hesscope as hs
torch.manual_seed(0)
model = torch.nn.Linear(3, 2)
objective = hs.Objective(model, lambda m, b: -m(b).square().sum(), torch.randn(8, 3))
operator = hs.hessian(objective)
"""


def run(problem, folder, *more):
    return main(["stability", problem, "--output", str(folder), "--quiet", *more])


def test_it_prints_a_table_and_writes_a_file(tmp_path, capsys):
    assert run(f"{EXAMPLE}:objective", tmp_path, "--pairs", "3", "--evaluations", "2", "--seed", "1") == 0
    printed = capsys.readouterr().out
    found = hs.load(tmp_path / "stability.safetensors")
    assert str(found) in printed
    assert "stability.safetensors" in printed
    assert len(found.eigenvalues) == 3
    assert len(found.positions) == 3


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("operator", "operator in problem.py must be a hesscope.Objective, got"),
        ("objective", "curvature_stability: objective must have positive curvature here"),
        ("nothing", "problem.py must define 'nothing'"),
    ],
)
def test_what_it_cannot_answer_is_one_line(name, message, tmp_path, capsys):
    (tmp_path / "problem.py").write_text(PROBLEM, encoding="utf-8")
    assert run(f"{tmp_path / 'problem.py'}:{name}", tmp_path) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1


def test_wrong_options_are_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(f"{EXAMPLE}:objective", tmp_path, "--pairs", "0")
    assert "must be at least 1" in capsys.readouterr().err
    assert run(f"{EXAMPLE}:objective", tmp_path, "--pairs", "1") == 2
    assert "curvature_stability: k must be at least 2, got 1" in capsys.readouterr().err
