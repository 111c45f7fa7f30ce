"""Arguments of the command ``hesscope``, and which function serves them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import hesscope
from hesscope.cli import console
from hesscope.cli.demo import demo
from hesscope.cli.density import MATRICES, density
from hesscope.cli.info import info
from hesscope.cli.run import PROBES, STEPS
from hesscope.cli.stability import EVALUATIONS, PAIRS, stability

_DESCRIPTION = "Look at the Hessian spectrum of a PyTorch model: its density, its ends, its trace."
_EXIT_CODES = (
    "exit codes: 0 done; 1 products with H became NaN or inf; 2 an error, named on stderr; 130 Ctrl-C"
)
_DENSITY = """\
Compute the Hessian spectrum of an objective of your own.

PROBLEM is FILE.py:NAME. The file is run; NAME in it must be a hesscope.Objective, a
SymmetricOperator, or a function without arguments that returns one of them:

    # problem.py
    import hesscope as hs
    objective = hs.Objective(model, loss, data)

    $ hesscope density problem.py:objective

Ctrl-C ends the run early and keeps what is done; --resume goes on from there.
"""

_STABILITY = """\
Say how stable the curvature of an objective of your own is where its weights are.

PROBLEM is FILE.py:NAME, as for density; NAME must be a hesscope.Objective or a function that returns one:

    $ hesscope stability problem.py:objective
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    Parameters
    ----------
    arguments
        What follows the name of the command; ``sys.argv[1:]`` by default.
    """
    console.tolerate_narrow_encodings()
    options = parser().parse_args(arguments)
    try:
        with console.one_line_warnings():
            return int(options.run(options))
    except KeyboardInterrupt:
        console.complain("stopped", "by Ctrl-C")
        return console.INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # nobody reads on; this silences the interpreter's complaint at exit
        return console.FAILED
    except (
        console.CommandError,
        ValueError,
        TypeError,
        OSError,
        RuntimeError,
        MemoryError,
        ImportError,
    ) as error:
        if options.traceback:
            raise
        console.complain("error", error)
        return console.USAGE


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(prog="hesscope", description=_DESCRIPTION, epilog=_EXIT_CODES)
    top.add_argument("--version", action="version", version=f"hesscope {hesscope.__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_demo(commands)
    _add_density(commands)
    _add_stability(commands)
    _add_info(commands)
    return top


def _add_demo(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "train a small network on scikit-learn's digits and show the spectrum of its Hessian"
    command = commands.add_parser("demo", help=text, description=f"{text[0].upper()}{text[1:]}.")
    _add_run_options(command, Path("hesscope-demo"))
    command.set_defaults(run=demo)


def _add_density(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "density",
        help="show the spectrum of an objective of your own",
        description=_DENSITY,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("problem", metavar="PROBLEM", help="FILE.py:NAME")
    _add_run_options(command, Path("hesscope-density"))
    command.add_argument(
        "--matrix",
        choices=tuple(MATRICES),
        default="hessian",
        help="of an objective (default: hessian); the others need its loss to be a criterion",
    )
    command.add_argument(
        "--reorthogonalize",
        choices=("none", "full", "selective"),
        default="none",
        help="'full' keeps M vectors in memory, so that every eigenvalue appears once (default: none, right "
        "for densities)",
    )
    command.add_argument(
        "--resume", type=Path, metavar="FILE", help="go on from a results file, to more probes or steps"
    )
    command.add_argument(
        "--state",
        action="store_true",
        help="also save 2n numbers a probe, so that --resume need not repeat products for more steps",
    )
    command.set_defaults(run=density)


def _add_stability(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "stability",
        help="say whether a minimum is robust: sharpness, and how far one can move before it doubles",
        description=_STABILITY,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = command.add_argument
    add("problem", metavar="PROBLEM", help="FILE.py:NAME")
    _add_output(command, Path("hesscope-stability"))
    add("--pairs", type=_count, default=PAIRS, metavar="K", help=f"eigenpairs (default: {PAIRS})")
    add(
        "--evaluations",
        type=_seed,
        default=EVALUATIONS,
        metavar="E",
        help=f"how often the sharpness is computed elsewhere; 0 only predicts (default: {EVALUATIONS})",
    )
    _add_conduct(command)
    command.set_defaults(run=stability)


def _add_info(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "print versions, compiler, backends and devices"
    command = commands.add_parser("info", help=text, description=f"{text[0].upper()}{text[1:]}.")
    command.set_defaults(run=info, traceback=False)


def _add_run_options(command: argparse.ArgumentParser, output: Path) -> None:
    add = command.add_argument
    _add_output(command, output)
    add(
        "--probes",
        type=_count,
        metavar="K",
        help=f"random vectors; more narrow the errors (default: {PROBES})",
    )
    add("--steps", type=_count, metavar="M", help=f"Lanczos steps; more resolve finer (default: {STEPS})")
    _add_conduct(command)


def _add_output(command: argparse.ArgumentParser, output: Path) -> None:
    command.add_argument(
        "--output",
        type=Path,
        default=output,
        metavar="DIR",
        help=f"folder of the results (default: {output})",
    )


def _add_conduct(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--seed", type=_seed, metavar="S", help="of all that is random (default: 0)")
    add("--quiet", action="store_true", help="no progress bar")
    add("--traceback", action="store_true", help="on an error, show where it happened")


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        msg = f"must be at least 1, got {number}"
        raise argparse.ArgumentTypeError(msg)
    return number


def _seed(text: str) -> int:
    number = int(text)
    if not 0 <= number < 2**63:
        msg = f"must be from 0 to 2^63 - 1, got {number}"
        raise argparse.ArgumentTypeError(msg)
    return number
