"""The README does what it says: its Python runs, its files exist, its commands are the project's."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import hesscope as hs
from hesscope.cli import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
COMMANDS = re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=[f"block{i}" for i in range(len(BLOCKS))])
def test_every_python_block_runs(block, tmp_path):
    (tmp_path / "block.py").write_text(block, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(Path(hs.__file__).parents[1]), "MPLBACKEND": "agg"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "block.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "largest eigenvalue" in done.stdout
    assert hs.load(tmp_path / "digits.safetensors").num_probes == 8
    assert (tmp_path / "digits.png").stat().st_size > 0


def test_the_python_block_is_the_example_and_short():
    example = (ROOT / "examples" / "digits.py").read_text(encoding="utf-8")
    assert [example] == BLOCKS
    lines = [
        line for line in BLOCKS[0].splitlines() if line and not line.startswith(('"""', "import", "from"))
    ]
    assert len(lines) <= 20


def test_the_two_commands_are_there_and_their_extras_exist():
    assert COMMANDS[0] == "pip install '.[demo]' && hesscope demo\n"
    assert COMMANDS[1] == "pip install '.[test]' && pytest\n"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {"demo", "test"} <= project["optional-dependencies"].keys()
    assert project["scripts"]["hesscope"] == "hesscope.cli:main"


def test_every_file_that_is_linked_exists():
    links = re.findall(r"\]\(([^)\s]+)\)", README)
    assert len(links) > 5
    missing = [link for link in links if not link.startswith("http") and not (ROOT / link).exists()]
    assert not missing


def test_every_name_of_the_package_exists():
    names = set(re.findall(r"\bhs\.([A-Za-z_]+)", README))
    assert "spectral_density" in names
    assert [name for name in sorted(names) if not hasattr(hs, name)] == []
    methods = set(re.findall(r"\brho\.([a-z_]+)\(", README))
    assert [name for name in sorted(methods) if not hasattr(hs.SpectralDensity, name)] == []


def test_the_example_problem_runs_with_the_command(tmp_path, capsys):
    problem = f"{ROOT / 'examples' / 'problem.py'}:objective"
    assert (
        main(["density", problem, "--output", str(tmp_path), "--probes", "2", "--steps", "6", "--quiet"]) == 0
    )
    assert "641" in capsys.readouterr().out


def test_the_picture_is_not_heavy():
    picture = ROOT / "docs" / "figures" / "digits.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size <= 200_000
