"""``hesscope stability FILE.py:NAME``: whether a minimum is robust."""

from __future__ import annotations

import argparse

from hesscope.cli import console
from hesscope.cli.density import find_problem, importable, parse
from hesscope.cli.run import make_folder
from hesscope.objective import Objective
from hesscope.third_order import curvature_stability

PAIRS, EVALUATIONS = 4, 6
RESULTS = "stability.safetensors"


def stability(options: argparse.Namespace) -> int:
    """Serve ``hesscope stability`` and return the exit code."""
    path, name = parse(options.problem)
    make_folder(options.output)
    with importable(path.parent):
        objective, name = find_problem(path, name, show_traceback=options.traceback)
        if not isinstance(objective, Objective):
            msg = f"{name} in {path.name} must be a hesscope.Objective, got {type(objective).__name__}"
            raise console.CommandError(msg)
        found = curvature_stability(
            objective,
            k=options.pairs,
            max_evaluations=options.evaluations,
            seed=options.seed or 0,
            progress=not options.quiet,
        )
    console.say()
    console.say(str(found))
    console.say()
    target = options.output / RESULTS
    found.save(target)
    console.say(f"results   {target}   (hesscope.load reads it)")
    return console.OK
