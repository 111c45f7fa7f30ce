"""The examples in docs/functions.md run, in order, and say what the page says."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = (Path(__file__).parents[1] / "docs" / "functions.md").read_text(encoding="utf-8")


def test_the_examples_run(capsys):
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    names = {}
    exec("\n".join(blocks), names)
    lines = [re.split(r" {2,}|(?<=:) ", line, maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    printed = [line[0].strip() for line in lines]
    assert printed == [
        *(
            "tr exp(H)",
            "nuclear norm",
            "log det",
            "trace inverse",
            "effective rank",
            "above 0.1",
            "condition",
        ),
        *("to 10 %", "refused:", "log det", "without pairs", "with pairs", "steps", "products", "kept"),
        "MINRES",
        *("sharpness", "density"),
    ]
    h, damping, b = names["H"], names["damping"], names["b"]
    eye = names["torch"].eye(h.shape[0], dtype=b.dtype)
    values = names["torch"].linalg.eigvalsh(h.rows(eye))
    assert names["again"].interval[0] <= (values + damping).log().sum() <= names["again"].interval[1]
    assert names["square_root"].products == 80
    assert names["smooth"].status.name == "CONVERGED"
    spectrum = names["torch"].linalg.eigh(h.rows(eye).double())
    truth = (
        b.double() @ spectrum.eigenvectors * (spectrum.eigenvalues + damping).log() @ spectrum.eigenvectors.T
    )
    assert (names["logarithm"].x - truth).norm() <= 1e-4 * truth.norm()
    residual = h @ names["step"].x + damping * names["step"].x - b
    assert residual.norm() <= 1e-8 * b.norm()
    assert names["faster"].products <= names["step"].products
    assert names["newton"].shape == b.shape
    assert 0 < names["sharpness"].values[0] < 38 / 0.01
    x, diagonal = names["x"], names["hs"].adam_preconditioner(names["objective"], names["optimizer"])
    gap = h.rows(x) - names["sharpness"].values[:, None] * diagonal * x
    assert gap.norm() <= 1e-6 * h.rows(x).norm()


def test_what_the_page_names_exists():
    import hesscope as hs

    names = set(re.findall(r"\bhs\.([A-Za-z_]+)", PAGE))
    assert {"apply_function", "preconditioned", "adam_preconditioner"} <= names
    assert [name for name in sorted(names) if not hasattr(hs, name)] == []
