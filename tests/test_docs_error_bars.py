"""The example in docs/error_bars.md runs, and its table is the one that was recorded."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "error_bars.md").read_text(encoding="utf-8")


def test_the_example_runs(capsys):
    (block,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    exec(block, {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all(re.match(r"-?[\d.e+-]+ (±|in) ", line) for line in lines), lines


@pytest.mark.parametrize(
    ("mark", "name"), [("coverage", "coverage.json"), ("unseen spectra", "coverage_unseen.json")]
)
def test_the_table_is_the_recorded_one(mark, name):
    record = json.loads((ROOT / "benchmarks" / "results" / name).read_text(encoding="utf-8"))
    table = PAGE.split(f"<!-- {mark} -->")[1].split(f"<!-- /{mark} -->")[0]
    cells = {line.split("|")[1].strip(): line for line in table.splitlines() if line.startswith("| ")}
    for row in record["rows"]:
        assert f"{100 * row['coverage']:.1f}" in cells[row["case"]]
        assert not row["verdict"].startswith("TOO"), row
    assert f"{record['runs']:,} runs" in table


@pytest.mark.parametrize("word", ["batch_interval", "XTrace", "nuclear_norm", "cdf_band", "until="])
def test_every_error_bar_is_explained(word):
    assert word in PAGE.split("## Coverage")[0]
