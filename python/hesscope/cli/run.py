"""What ``demo`` and ``density`` share: a spectrum, its table, its file and its picture."""

from __future__ import annotations

import argparse
import tempfile
import warnings
from pathlib import Path

from hesscope import results
from hesscope.cli import console
from hesscope.operators import SymmetricOperator
from hesscope.report.plot import save_picture
from hesscope.report.summary import Summary
from hesscope.report.table import table
from hesscope.results import RunFailed, Status
from hesscope.spectrum import SpectralDensity, resume, spectral_density

PROBES, STEPS, SEED = 8, 100, 0
RESULTS, PICTURE = "spectrum.safetensors", "spectrum.png"


def make_folder(path: Path) -> None:
    """Create the output folder: before the run, so that a run is not lost for want of one.

    Raises
    ------
    CommandError
        If it cannot be created.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"--output must be a folder that can be written, got {path}: {error.strerror}"
        raise console.CommandError(msg) from error


def compute(operator: SymmetricOperator, options: argparse.Namespace) -> SpectralDensity:
    """Run stochastic Lanczos quadrature, or resume it, as the options say.

    If a product fails midway, that is said, and what was computed before is the result.
    """
    try:
        return _run(operator, options)
    except RunFailed as failure:
        console.complain("error", failure)
        partial: SpectralDensity = failure.partial
        return partial


def _run(operator: SymmetricOperator, options: argparse.Namespace) -> SpectralDensity:
    before = getattr(options, "resume", None)
    keep_state = getattr(options, "state", False)
    if before is None:
        return spectral_density(
            operator,
            num_probes=options.probes or PROBES,
            num_steps=options.steps or STEPS,
            seed=SEED if options.seed is None else options.seed,
            reorthogonalize=getattr(options, "reorthogonalize", "none"),
            progress=not options.quiet,
            keep_state=keep_state,
        )
    if options.seed is not None:
        msg = "--seed must not be given with --resume: the probes go on with the seed in the file"
        raise console.CommandError(msg)
    density = results.load(before)
    if not isinstance(density, SpectralDensity):
        msg = f"--resume must name a file with a spectral density, got a {type(density).__name__} in {before}"
        raise console.CommandError(msg)
    return resume(
        density,
        operator,
        num_probes=options.probes,
        num_steps=options.steps,
        progress=not options.quiet,
        keep_state=keep_state,
    )


def present(rho: SpectralDensity, folder: Path, *, title: str, state: bool = False) -> int:
    """Print the table and the sentences, write the files, and return the exit code."""
    summary = Summary(rho)
    console.say()
    console.say(table(summary))
    console.say()
    for sentence in summary.sentences():
        console.say(sentence, wrap=True)
    console.say()
    _save(rho, folder / RESULTS, state=state)
    _draw(rho, folder / PICTURE, title)
    failures = {
        Status.INTERRUPTED: console.INTERRUPTED,
        Status.NONFINITE_OPERATOR: console.FAILED,
        Status.OPERATOR_FAILED: console.FAILED,
    }
    return failures.get(rho.status, console.OK)


def _save(rho: SpectralDensity, path: Path, *, state: bool) -> None:
    """Write the results file; in the folder for temporary files if it does not fit where it should go."""
    try:
        rho.save(path, state=state)
    except OSError as error:
        console.complain("warning", error)
        path = Path(tempfile.mkdtemp(prefix="hesscope-")) / path.name
        rho.save(path, state=state)
    console.say(f"results   {path}   (hesscope.load reads it)")


def _draw(rho: SpectralDensity, path: Path, title: str) -> None:
    """Write the picture; the rest of the run is worth keeping without it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of matplotlib, about fonts and caches
            save_picture(rho, path, title=title)
    except (ImportError, OSError) as error:
        console.complain("warning", f"no picture: {error}")
    else:
        console.say(f"picture   {path}")
