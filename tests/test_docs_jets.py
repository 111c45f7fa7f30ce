"""The example in docs/jets.md runs and says what the page says."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = (Path(__file__).parents[1] / "docs" / "jets.md").read_text(encoding="utf-8")


def test_the_example_runs_and_the_table_lists_what_it_prints(capsys):
    (block,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    names = {}
    exec(block, names)
    predicted, *lines = capsys.readouterr().out.splitlines()
    assert 0 < float(predicted) < 20
    table = PAGE.split("## What explain() says")[1].split("##")[0]
    listed = re.findall(r"`([^`]+)`", " ".join(row.split("|")[1] for row in table.splitlines() if "|" in row))
    assert [line.split(": ")[0] for line in lines] == listed * 2
    small = names["small"]
    assert small.memory <= small.memory_budget
    assert names["H"].engine == small.engine == "jets"
