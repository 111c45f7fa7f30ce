"""Arrows between folders point one way (docs/architecture.md). A rule that nothing checks is a wish."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CSRC = ROOT / "csrc"
PACKAGE = ROOT / "python" / "hesscope"

INCLUDE = re.compile(r'^\s*#\s*include\s+[<"]([^>"]+)[>"]', re.MULTILINE)
STANDARD = re.compile(r"^[a-z_0-9]+$")  # <vector>, <cstdint>: no folder, no suffix

# folder -> what its files may include, as regular expressions on the text between the quotes
ALLOWED = {
    "include": [r"hesscope/"],
    "math": [r"math/", r"hesscope/types\.h"],
    "kernels": [r"hesscope/", r"kernels/"],
    "backends/reference": [r"hesscope/", r"math/", r"kernels/", r"backends/reference/"],
    "backends/cpu": [r"hesscope/", r"math/", r"kernels/", r"backends/cpu/", r"(pthread|sys/mman)\.h"],
    "backends/cuda": [
        r"hesscope/",
        r"math/",
        r"kernels/",
        r"backends/cuda/",
        r"cuda_runtime\.h",
        r"cuda_bf16\.h",
        r"cuda_emulation\.h",
    ],
    "backends/no_cuda": [r"hesscope/", r"kernels/", r"backends/no_cuda/"],
    "ops": [r"hesscope/", r"kernels/", r"ops/"],
    "algo": [r"hesscope/", r"algo/"],
    "io": [r"hesscope/", r"io/", r"(fcntl|unistd)\.h$"],
    "programs": [r"hesscope/", r"[a-z_]+\.h$"],
    "bindings": [r"hesscope/", r"bindings/", r"pybind11/"],
    "../benchmarks/cpp": [r"hesscope/", r"[a-z_]+\.h$"],
}

# package -> packages of hesscope it must not import
FORBIDDEN = {
    "third_order": ["report", "cli"],
    "krylov": ["curvature", "third_order", "spectrum", "report", "cli"],
    "spectrum": ["third_order", "curvature", "report", "cli"],
    "curvature": ["third_order", "krylov", "spectrum", "report", "cli"],
    "objective": ["third_order", "curvature", "krylov", "spectrum", "report", "cli"],
    "operators": ["third_order", "curvature", "krylov", "spectrum", "report", "cli"],
    "_ops": ["third_order", "curvature", "krylov", "spectrum", "report", "cli", "operators", "objective"],
    "report": ["cli"],
}

# the one place where a method of a result hands over to the layer above, lazily
LAZY_EXCEPTIONS = {("spectrum", "report")}


def sources(folder: str) -> list[Path]:
    found = sorted(p for p in (CSRC / folder).rglob("*") if p.suffix in {".h", ".cpp", ".cu", ".cuh"})
    assert found, f"no sources in {folder}"
    return found


@pytest.mark.parametrize("folder", ALLOWED)
def test_includes_follow_the_table(folder):
    wrong = [
        f"{folder}/{path.name} includes {name}"
        for path in sources(folder)
        for name in INCLUDE.findall(path.read_text())
        if not STANDARD.match(name) and not any(re.match(rule, name) for rule in ALLOWED[folder])
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("folder", [f for f in ALLOWED if f != "bindings"])
def test_the_core_knows_no_framework(folder):
    # "torch.", a string of its own, begins the name of a dtype in a results file.
    words = re.compile(r'\b(torch(?!\.")|Python\.h|pybind11|PyObject)\b')
    code_only = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
    wrong = [
        f"{folder}/{path.name}"
        for path in sources(folder)
        if words.search(code_only.sub("", path.read_text()))
    ]
    assert not wrong


def imports(path: Path) -> list[tuple[str, bool]]:
    """Modules that a file imports, and whether lazily (inside a function)."""
    tree = ast.parse(path.read_text())
    top = {id(node) for node in tree.body}
    for node in tree.body:  # `if TYPE_CHECKING:` costs nothing at run time
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            top -= {id(node)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, id(node) not in top) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.append((node.module or "", id(node) not in top))
            found += [(f"{node.module}.{alias.name}", id(node) not in top) for alias in node.names]
    return found


@pytest.mark.parametrize("layer", FORBIDDEN)
def test_python_layers_import_downwards(layer):
    folder, file = PACKAGE / layer, PACKAGE / f"{layer}.py"
    paths = sorted(folder.rglob("*.py")) if folder.is_dir() else [file]
    assert paths
    wrong = []
    for path in paths:
        for module, lazy in imports(path):
            for other in FORBIDDEN[layer]:
                allowed = lazy and (layer, other) in LAZY_EXCEPTIONS
                if re.match(rf"hesscope\.{other}(\.|$)", module) and not allowed:
                    wrong.append(f"{path.relative_to(ROOT)} imports {module}")
    assert not wrong, "\n".join(wrong)


def test_only_ops_imports_the_core():
    wrong = [
        str(path.relative_to(ROOT))
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.parent.name != "_ops"
        and any(re.match(r"hesscope\._core(\.|$)", module) for module, _ in imports(path))
    ]
    assert not wrong


def test_the_rule_catches_a_wrong_include(tmp_path):
    (tmp_path / "bad.cpp").write_text('#include "backends/cpu/parallel.h"\n#include <vector>\n')
    names = INCLUDE.findall((tmp_path / "bad.cpp").read_text())
    assert [
        n for n in names if not any(re.match(r, n) for r in ALLOWED["ops"]) and not STANDARD.match(n)
    ] == ["backends/cpu/parallel.h"]
