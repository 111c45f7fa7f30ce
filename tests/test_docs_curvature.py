"""The example in docs/curvature_matrices.md runs and says what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "curvature_matrices.md").read_text(encoding="utf-8")


def test_the_example_runs(capsys):
    (block,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    names = {}
    exec(block, names)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["H", "G", "F", "E", "C", "noise"]
    top = {line[0]: float(line.split()[1]) for line in lines[:5]}
    # at random weights classes are near equally likely: the three Fishers are of one size
    assert top["F"] == pytest.approx(top["G"], rel=0.5)
    assert 0 < top["C"] <= top["E"] * 1.001
