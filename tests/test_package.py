"""The package as installed: version, import time, stub, instruction sets."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import hesscope as hs
from hesscope import _core

ROOT = Path(__file__).parents[1]


def test_the_version_is_written_once():
    written = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert hs.__version__ == written
    assert _core.build_info()["version"] == written
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout
    elsewhere = [
        name
        for name in tracked.split()
        if name.endswith((".py", ".txt", ".cmake", ".h", ".cpp"))
        and f'"{written}"' in (ROOT / name).read_text()
    ]
    assert not elsewhere


def test_importing_is_quick_and_brings_no_heavy_package():
    code = (
        "import torch, sys, time; before = set(sys.modules); start = time.perf_counter(); import hesscope;"
        "print(time.perf_counter() - start); print(' '.join(set(sys.modules) - before))"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(hs.__file__).parents[1])}
    runs = [
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
        )
        for _ in range(3)
    ]
    seconds, modules = min(float(run.stdout.split()[0]) for run in runs), set(runs[0].stdout.split()[1:])
    assert seconds < 0.3
    assert not modules & {"scipy", "matplotlib", "sklearn", "matplotlib.pyplot"}


def test_the_stub_lists_what_the_module_has():
    tree = ast.parse((Path(hs.__file__).parent / "_core.pyi").read_text())
    stub = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    stub |= {node.target.id for node in tree.body if isinstance(node, ast.AnnAssign)}
    module = {name for name in dir(_core) if not name.startswith("__")}
    assert stub == module


def test_every_public_name_is_documented_and_exists():
    for name in hs.__all__:
        assert getattr(hs, name).__doc__ or name == "__version__", name


def test_the_metadata_supports_what_the_readme_says():
    metadata = importlib.metadata.metadata("hesscope")
    assert metadata["Requires-Python"] == ">=3.11"
    assert not any("torchvision" in line for line in metadata.get_all("Requires-Dist"))


@pytest.mark.skipif(sys.platform != "linux", reason="reads ELF objects with nm")
def test_code_for_a_newer_machine_stays_in_its_namespace(core_build):
    """A weak symbol in an object compiled for x86-64-v4 could be linked into code for x86-64-v2."""
    objects = [p for p in core_build.objects.rglob("*.o") if re.search(r"hesscope_cpu_v[34]\.dir", str(p))]
    assert objects
    for path in objects:
        names = subprocess.run(["nm", "-C", path], capture_output=True, text=True, check=True).stdout
        weak = re.findall(r"^[0-9a-f]+ [WVu] (.*)$", names, re.MULTILINE)
        strangers = [name for name in weak if not re.search(r"cpu_v[34]|math_v[34]", name)]
        assert not strangers, f"{path.name}: {strangers[:5]}"
